"""What an upload is, by its first bytes."""

from __future__ import annotations

import pytest

from reconciler.media.kinds import extension, fits

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4, "big") + body


AVIF, MP4 = ftyp(b"avif", b"mif1", b"miaf"), ftyp(b"isom", b"iso2", b"mp41")


@pytest.mark.parametrize(
    ("declared", "head"),
    [
        ("image/png", PNG),
        ("IMAGE/PNG; charset=x", PNG),
        ("image/jpg", b"\xff\xd8\xff\xe0"),
        ("image/gif", b"GIF89a"),
        ("image/webp", b"RIFF\x00\x00\x00\x00WEBPVP8 "),
        ("image/avif", AVIF),
        ("image/avif", ftyp(b"mif1", b"avif")),
        ("image/heic", ftyp(b"heic", b"mif1")),
        ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"></svg>'),
        ("video/mp4", MP4),
        ("audio/mp4", MP4),
        ("video/quicktime", ftyp(b"qt  ")),
        ("video/webm", b"\x1a\x45\xdf\xa3"),
        ("audio/mpeg", b"ID3\x04"),
        ("audio/wave", b"RIFF\x00\x00\x00\x00WAVEfmt "),
        ("application/pdf", b"%PDF-1.7 "),
        ("text/plain", b"hello"),
        ("application/octet-stream", bytes(2000)),
    ],
)
def test_bytes_of_the_declared_type_fit(declared: str, head: bytes) -> None:
    assert fits(declared, head)


@pytest.mark.parametrize(
    ("declared", "head"),
    [
        ("image/png", b"<html>"),
        ("image/png", b"\xff\xd8\xff"),
        ("image/png", b"GIF89a"),
        ("image/avif", MP4),
        ("video/mp4", AVIF),
        ("video/mp4", b""),
        ("image/webp", b"\x00\x00\x00\x00\x00\x00\x00\x00WEBP"),
        ("text/html", PNG),
        ("application/octet-stream", MP4),
    ],
)
def test_bytes_of_another_do_not(declared: str, head: bytes) -> None:
    assert not fits(declared, head)


def test_a_key_ends_as_its_type_does() -> None:
    assert [extension(each) for each in ("image/jpg", "video/mp4", "image/strange")] == [".jpg", ".mp4", ""]
