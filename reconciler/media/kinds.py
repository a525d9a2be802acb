"""What an upload is, by its first bytes: whether that fits the type that it is declared to be."""

from collections.abc import Mapping

import puremagic

HEAD = 64 * 1024
"""Bytes that are looked at."""

STARTS: tuple[tuple[int, bytes, frozenset[str]], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", frozenset({"image/png", "image/apng"})),
    (0, b"\xff\xd8\xff", frozenset({"image/jpeg"})),
    (0, b"GIF87a", frozenset({"image/gif"})),
    (0, b"GIF89a", frozenset({"image/gif"})),
    (8, b"WEBP", frozenset({"image/webp"})),
    (8, b"WAVE", frozenset({"audio/wav"})),
    (8, b"AVI ", frozenset({"video/x-msvideo"})),
    (0, b"II*\x00", frozenset({"image/tiff"})),
    (0, b"MM\x00*", frozenset({"image/tiff"})),
    (0, b"\x1a\x45\xdf\xa3", frozenset({"video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska"})),
    (0, b"OggS", frozenset({"audio/ogg", "video/ogg", "application/ogg"})),
    (0, b"fLaC", frozenset({"audio/flac"})),
    (0, b"ID3", frozenset({"audio/mpeg", "audio/aac"})),
    (0, b"\xff\xfb", frozenset({"audio/mpeg"})),
    (0, b"\xff\xf3", frozenset({"audio/mpeg"})),
    (0, b"\xff\xf2", frozenset({"audio/mpeg"})),
    (0, b"\xff\xf1", frozenset({"audio/aac"})),
    (0, b"\xff\xf9", frozenset({"audio/aac"})),
)
"""The usual media by their signatures: puremagic takes some of them for others."""

BRANDS: Mapping[bytes, frozenset[str]] = {
    **dict.fromkeys((b"avif", b"avis"), frozenset({"image/avif"})),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), frozenset({"image/heic", "image/heif"})),
    **dict.fromkeys((b"mif1", b"msf1", b"miaf"), frozenset({"image/heif", "image/heic", "image/avif"})),
    b"qt  ": frozenset({"video/quicktime"}),
    **dict.fromkeys((b"M4A ", b"M4B "), frozenset({"audio/mp4"})),
}
"""What a brand of an ISO base media file says of it; all others are MP4."""

MP4 = frozenset({"video/mp4", "audio/mp4"})

ALIASES: Mapping[str, str] = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "video/avi": "video/x-msvideo",
    "audio/opus": "audio/ogg",
}

SIGNED = ("image/", "video/", "audio/")
"""Types that have signatures: what begins with none of them is not of these."""

EXTENSIONS: Mapping[str, str] = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/svg+xml": ".svg",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/aac": ".aac",
    "application/pdf": ".pdf",
}


def usual(content_type: str) -> str:
    """The type under its usual name, in small letters and without parameters."""
    bare = content_type.partition(";")[0].strip().lower()
    return ALIASES.get(bare, bare)


def extension(content_type: str) -> str:
    """What a storage key of that type ends in; "" where that is not known."""
    return EXTENSIONS.get(usual(content_type), "")


def by_bytes(head: bytes) -> frozenset[str]:
    """The types that the first bytes can be of; none where they say nothing."""
    if head[4:8] == b"ftyp":
        brands = [head[at : at + 4] for at in (8, *range(16, min(len(head), _box(head)), 4))]
        told = [BRANDS[each] for each in brands if each in BRANDS]
        # The brand that says most: an AVIF says `mif1` too, and an MP4 nothing that is known here.
        return min(told, key=len) if told else MP4
    for at, sign, types in STARTS:
        if head[at : at + len(sign)] == sign and (at == 0 or head[:4] == b"RIFF"):
            return types
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return frozenset()
    return frozenset(usual(each.mime_type) for each in found if each.mime_type)


def _box(head: bytes) -> int:
    return int.from_bytes(head[:4], "big")


def fits(content_type: str, head: bytes) -> bool:
    """Whether bytes that begin so can be of that type.

    An image, video or audio has to begin like one of that type. Anything else must not begin like these.
    """
    declared, found = usual(content_type), by_bytes(head)
    if declared in found:
        return True
    if declared.startswith(SIGNED):
        return False
    return not any(each.startswith(SIGNED) for each in found)
