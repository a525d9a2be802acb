"""Parse one page of ListObjectsV2 from bytes to columns, in one pass where the page has a usual form.

The fast path reads keys and sizes with one regular expression each, and is trusted only where both match
as often as the page has entries. Times and ETags, which only drift needs, stay in the page's text until
needed. A regular expression made for the layout of the page's first entry reads them then (AWS, MinIO,
SeaweedFS and moto write Key, LastModified, ETag, Size, with different quotes; others have other orders).
ElementTree parses everything else: prefixed namespaces, entities in keys, CDATA, comments, a missing ETag.
It is eight times slower, and right.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, overload
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from reconciler.errors import ListingBroken
from reconciler.model import GREATEST_SIZE, ObjectPage, believable_size
from reconciler.stores.s3.faults import Refusal

_FIELDS: Final = ("Key", "LastModified", "ETag", "Size")
STANDARD: Final = "STANDARD"
_OPEN: Final = "<Contents>"
_CLOSE: Final = "</Contents>"
_OPENING_TAG: Final = re.compile(r"<(\w+)>")
_QUOTE: Final = re.compile(r"<ETag>(&quot;|&#34;|\")")
_TRUNCATED: Final = re.compile(r"<IsTruncated>\s*(true|false)\s*</IsTruncated>")
_TOKEN: Final = re.compile(r"<NextContinuationToken>([^<]+)</NextContinuationToken>")
_REFERENCE: Final = re.compile(r"&(?:#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}))|(amp|lt|gt|quot|apos));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot express; some stores write them all the same."""
_REPLACED: Final = "\ufffd"
_URL_ENCODED: Final = re.compile(r"<EncodingType>\s*url\s*</EncodingType>")
_SEPARATOR: Final = "\0"
_FEW: Final = 8
"""How many entries of a page are read one by one: each takes a thirtieth of the time of the whole page."""
_KEYS: Final = re.compile(r"<Key>([^<]*+)</Key>")
_SIZES: Final = re.compile(r"<Size>([0-9]{1,30}+)</Size>")


def parse_page(body: bytes) -> ObjectPage:
    """The page in a ListObjectsV2 answer. Keys are decoded only where the answer says they are encoded.

    Bytes that are not UTF-8 become U+FFFD. Raises Refusal for an error document (it may be transient),
    ListingBroken for anything but a whole page: cut off, not a listing, or truncated without a
    token.
    """
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    page = _fast_page(text)
    return _careful_page(text) if page is None else page


# --- the fast path -------------------------------------------------------------------------------------


def _fast_page(text: str) -> ObjectPage | None:
    """The page, or None where anything about it is unusual."""
    first, last = text.find(_OPEN), text.rfind(_CLOSE)
    if first < 0 or last < first:
        return None
    frame = text[:first] + text[last + len(_CLOSE) :]
    whole = "<ListBucketResult" in frame and frame.rstrip().endswith("</ListBucketResult>")
    if not whole or "<!" in frame:
        return None
    ending = _fast_ending(frame)
    keys: Sequence[str] = _KEYS.findall(text)
    sizes = _SIZES.findall(text)
    # Both tags of each entry end in this, however they are spelled; a key that has it contains a raw ">".
    regular = len(keys) == len(sizes) and text.count("Contents>") == 2 * len(keys)
    # Looking for "&" in the column is cheaper than forbidding it in the pattern.
    if ending is None or not regular or "&" in _SEPARATOR.join(keys):
        return None
    rest = _Rest(text, keys)
    if _URL_ENCODED.search(frame):
        keys = _decoded(keys)
    etags, modified = _LateColumn(rest, 0), _LateColumn(rest, 1)
    # The tags of the storage class end in this, however they are spelled.
    plain = text.count("StorageClass>") == 2 * text.count(f"<StorageClass>{STANDARD}</StorageClass>")
    return ObjectPage(list(keys), _believed(map(int, sizes)), etags, modified, *ending, plain)


def _fast_ending(frame: str) -> tuple[str | None] | None:
    """Read the text around the entries: the next token (None at the end), or None where it is unclear."""
    truncated = _TRUNCATED.findall(frame)
    if truncated == ["false"]:
        return (None,)
    token = _token_in(frame)
    return (token,) if truncated == ["true"] and token else None


def _token_in(text: str) -> str | None:
    """The one token, with its references decoded; None where there is none, or more than one.

    Ceph's token is the last key of the page, and a key may have characters that XML cannot reference.
    """
    tokens = _TOKEN.findall(text)
    if len(tokens) != 1:
        return None
    token = _REFERENCE.sub(_character, tokens[0])
    return None if "&" in _REFERENCE.sub("", tokens[0]) else token


def _character(reference: re.Match[str]) -> str:
    digits16, digits10, name = reference.groups()
    if name is not None:
        return _NAMED[name]
    number = int(digits16, 16) if digits16 is not None else int(digits10)
    return chr(number) if number <= sys.maxunicode else _REPLACED


class _Rest:
    """ETags and times of a page's entries, read from its text on demand.

    The first few entries are read one by one; after that, the whole columns are read at once.
    """

    def __init__(self, text: str, written_keys: Sequence[str]) -> None:
        self._text = text
        self._keys = written_keys
        self._columns: tuple[Sequence[str], Sequence[str]] | None = None
        self._entries: dict[int, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def entry(self, index: int) -> tuple[str, str]:
        """ETag and time of one entry."""
        if self._columns is None and index not in self._entries:
            if len(self._entries) >= _FEW:
                self.columns()
            else:
                self._entries[index] = self._read_entry(self._keys[index])
        if self._columns is None:
            return self._entries[index]
        etags, modified = self._columns
        return etags[index], modified[index]

    def columns(self) -> tuple[Sequence[str], Sequence[str]]:
        if self._columns is None:
            self._columns = _fast_columns(self._text, len(self)) or self._careful_columns()
            self._text = ""
        return self._columns

    def _read_entry(self, key: str) -> tuple[str, str]:
        # A listing names a key once. Were it not so, the check of the order would fail before this reads.
        at = self._text.index(f"<Key>{key}</Key>")
        start, end = self._text.rindex(_OPEN, 0, at), self._text.index(_CLOSE, at) + len(_CLOSE)
        try:
            fields = _fields(ET.fromstring(self._text[start:end]))  # noqa: S314 - as in `_root_of`
        except ET.ParseError as error:
            raise ListingBroken(f"an entry of the listing is not XML: {error}") from None
        return bare_etag(fields.get("ETag", "")), fields.get("LastModified", "")

    def _careful_columns(self) -> tuple[Sequence[str], Sequence[str]]:
        page = _careful_page(self._text)
        if len(page.keys) != len(self):
            raise ListingBroken("two ways to read a page of the listing disagree on how many entries it has")
        return page.etags, page.modified


class _LateColumn(Sequence[str]):
    """One of the columns of a `_Rest`: ETags at 0, times at 1."""

    def __init__(self, rest: _Rest, which: int) -> None:
        self._rest = rest
        self._which = which

    def __len__(self) -> int:
        return len(self._rest)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rest.columns()[self._which])

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return self._rest.columns()[self._which][index]
        return self._rest.entry(index)[self._which]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # compares like a list


def _fast_columns(text: str, entries: int) -> tuple[Sequence[str], Sequence[str]] | None:
    """ETags and times, or None where not every entry is written as the first one is."""
    first = text.find(_OPEN)
    layout = _layout_of(text[first : text.find(_CLOSE, first)])
    if sorted(layout.order) != sorted(_FIELDS):
        return None
    rows = _pattern_of(layout).findall(text)
    if len(rows) != entries:
        return None
    columns = dict(zip(layout.order, zip(*rows, strict=True), strict=True))
    etags, modified = columns["ETag"], columns["LastModified"]
    # A quote in the value: this entry is written differently from the first one.
    if any(sign in _SEPARATOR.join(etags) for sign in '&"') or "&" in _SEPARATOR.join(modified):
        return None
    return etags, modified


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the entries of a page are written: the order of the fields, and the quotes around ETags."""

    order: tuple[str, ...]
    quote: str


def _layout_of(entry: str) -> _Layout:
    order = tuple(name for name in _OPENING_TAG.findall(entry) if name in _FIELDS)
    quoted = _QUOTE.search(entry)
    return _Layout(order, quoted[1] if quoted else "")


@lru_cache(maxsize=72)
def _pattern_of(layout: _Layout) -> re.Pattern[str]:
    """Match an entry up to its last field of interest, with other plain elements in between.

    The pattern is tuned for speed, which halves the time of a page: possessive quantifiers give up at
    once, and "anything but one character" is several times faster than a set of characters.
    """
    texts = dict.fromkeys(_FIELDS, "([^<]*+)")
    if layout.quote:
        texts["ETag"] = f"{layout.quote}([^{layout.quote[0]}]*+){layout.quote}"
    wanted = "|".join(f"{name}>" for name in _FIELDS)
    other = rf"(?:<(?!/|{wanted})\w++>[^<]*+</\w++>\s*+)*+"
    fields = (rf"{other}<{name}>{texts[name]}</{name}>\s*+" for name in layout.order)
    return re.compile(rf"{_OPEN}\s*+{''.join(fields)}")


def _decoded(keys: Sequence[str]) -> Sequence[str]:
    """`unquote_plus` of every key, in one call for all of them where no key holds the separator."""
    joined = _SEPARATOR.join(keys)
    if "%" not in joined and "+" not in joined:
        return keys
    decoded = unquote_plus(joined).split(_SEPARATOR)
    return decoded if len(decoded) == len(keys) else [unquote_plus(key) for key in keys]


# --- the careful path ----------------------------------------------------------------------------------


def _careful_page(text: str) -> ObjectPage:
    root = _root_of(text)
    frame_token = _token_in(text)
    if _name(root) != "ListBucketResult":
        raise ListingBroken(
            f"the store answered a listing with a document of another kind, <{_name(root)[:40]}>"
        )
    frame = {_name(child): child.text or "" for child in root if _name(child) != "Contents"}
    entries = [_fields(child) for child in root if _name(child) == "Contents"]
    try:
        keys: Sequence[str] = [entry["Key"] for entry in entries]
        sizes = _believed(int(entry["Size"]) for entry in entries)
    except (KeyError, ValueError) as error:
        raise ListingBroken(f"an entry of the listing has no readable key or size: {error}") from None
    if frame.get("EncodingType", "").strip() == "url":
        keys = _decoded(keys)
    if frame_token is not None:
        frame["NextContinuationToken"] = frame_token
    return ObjectPage(
        list(keys),
        sizes,
        [bare_etag(entry.get("ETag", "")) for entry in entries],
        [entry.get("LastModified", "") for entry in entries],
        _careful_ending(frame),
        all(entry.get("StorageClass", STANDARD) == STANDARD for entry in entries),
    )


def _careful_ending(frame: dict[str, str]) -> str | None:
    truncated = frame.get("IsTruncated", "").strip()
    token = frame.get("NextContinuationToken", "")
    if truncated == "false":
        return None
    if truncated != "true":
        raise ListingBroken("a page of the listing does not say whether more follows")
    if not token or _REPLACED in token:
        raise ListingBroken("a page of the listing is truncated and names no token to continue with")
    return token


def _root_of(text: str) -> ET.Element:
    """The document's root. Raises Refusal where it is an error document."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - expat bounds the growth of entities itself
    except ET.ParseError as error:
        mended = _mended(text)
        if mended != text:
            return _root_of(mended)
        raise ListingBroken(f"the store's answer to a listing is cut off or not XML: {error}") from None
    if _name(root) == "Error":
        raise error_document(root)
    return root


def _mended(text: str) -> str:
    """Replace what XML forbids with U+FFFD: a key that has it is kept, and the others can be read."""

    def mend(reference: re.Match[str]) -> str:
        digits = reference[1] or reference[2]
        return _REPLACED if digits and _FORBIDDEN.match(_character(reference)) else reference[0]

    return _FORBIDDEN.sub(_REPLACED, _REFERENCE.sub(mend, text))


# --- shared with the answer of DeleteObjects -----------------------------------------------------------


def error_document(root: ET.Element) -> Refusal:
    """The refusal that an `<Error>` document inside a 200 stands for."""
    fields = _fields(root)
    return Refusal(fields.get("Code", "UnknownError"), fields.get("Message", ""), status=200)


def _believed(sizes: Iterable[int]) -> list[int]:
    """Plausible sizes: a negative size, or one above any object's, would break sums and counters."""
    found = list(sizes)
    if not found or 0 <= min(found) <= max(found) <= GREATEST_SIZE:
        return found
    return [believable_size(size) for size in found]


def bare_etag(etag: str) -> str:
    """An ETag without its quotes and without the prefix of a weak one."""
    return etag.strip().removeprefix("W/").strip('"')


def _fields(element: ET.Element) -> dict[str, str]:
    """The texts of the element's children, by name."""
    return {_name(child): child.text or "" for child in element}


def _name(element: ET.Element) -> str:
    """The element's name without its namespace."""
    return element.tag.rpartition("}")[2]


local_name = _name
