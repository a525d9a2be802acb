"""One key, spelled in many ways: a row's spelling of a key need not be the store's.

A leading slash, the bucket's name, an address (path-style, virtual-hosted, with a query), percent-encoding
and `+`, Unicode's forms, case, doubled or turned slashes, blanks at either end, a managed prefix cut off or
put twice: `folds` removes all of these. Two keys with the same folded form are not the same key, but so
close that neither an object nor a row is deleted for the difference (R-69, I-53).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from unicodedata import normalize
from urllib.parse import quote, quote_plus, unquote

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/+([^/]*)", re.IGNORECASE)
_QUERY = re.compile(r"[?#].*\Z", re.DOTALL)
_SLASHES = re.compile(r"[/\\]+")
_HEX = re.compile(r"%[0-9A-F]{2}")
_ENCODED_TWICE = 2
ENCODED_SLASHES = ("%2F", "%2f")
_SIMPLE = re.compile(r"/?[a-z0-9_.-]+(?:/[a-z0-9_.-]+)*+/?")
"""A key in which nothing can be written otherwise. Most keys are such, and take a fifth of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """The orphans that a pass has noted. `gathered`: the fingerprints of those that only a plan knows."""

    pass_id: int
    bucket: str
    prefixes: tuple[str, ...]
    gathered: Sequence[str] = ()

    def folded(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """The keys, each once with every fingerprint."""
        return [(key, each) for key in keys for each in fingerprints(key, self.bucket, self.prefixes)]


def fingerprints(key: str, bucket: str, prefixes: Sequence[str]) -> tuple[str, ...]:
    """What the folded key is compared by, short however long the key is: see `folds`."""
    return tuple(
        sha256(folded.encode(errors="surrogatepass")).hexdigest()[:32]
        for folded in folds(key, bucket, prefixes)
    )


def folds(key: str, bucket: str, prefixes: Sequence[str]) -> tuple[str, ...]:
    """The key, under its managed prefix, without anything in which spellings of it may differ.

    A key in none of the prefixes may have lost any of them: it is folded under each.
    """
    text = _plain(key)
    name, roots, named = _folded_parts(bucket, tuple(prefixes))
    if text.startswith("/"):
        text = _from_the_first(text, [f"{name}/", *roots] if name else roots)
    text = text.strip("/ ")
    while name and not text.startswith(named) and text.startswith(f"{name}/"):
        text = text[len(name) + 1 :].lstrip("/ ")
    root = next((root for root in named if text.startswith(root)), None)
    if root is None:
        return tuple(f"{root}{text}" for root in roots)
    while text.startswith(root + root):
        text = text[len(root) :]
    return (text,)


@lru_cache(maxsize=16)
def _folded_parts(bucket: str, prefixes: tuple[str, ...]) -> tuple[str, Sequence[str], tuple[str, ...]]:
    """The bucket's name, the prefixes, and those that have a name, each folded and the longest first."""
    name, *under = (_plain(part).strip("/") for part in (bucket, *prefixes))
    roots = sorted({f"{root}/" if root else "" for root in under}, key=len, reverse=True)
    return name, roots, tuple(filter(None, roots))


def spellings(key: str, bucket: str, prefixes: Sequence[str]) -> frozenset[str]:
    """Other spellings of the key that a row may have, if they can be looked up: each a whole key."""
    return frozenset(_spellings(key, bucket, prefixes)) - {key, ""}


def meant(key: str, bucket: str, prefixes: Sequence[str]) -> Sequence[str]:
    """Keys in the managed prefixes that someone may mean who writes this one: an address, a path with the
    bucket's name, another prefix or none, percent-encoded, in another form of Unicode, in capitals.
    """
    texts = dict.fromkeys((key, unquote(key), unquote(key.replace("+", " "))))
    found: dict[str, None] = {}
    for text in texts:
        path = _SCHEME.sub("/", text, count=1) if _SCHEME.match(text) else text
        path = _SLASHES.sub("/", _QUERY.sub("", path) or path).strip()
        path = _from_the_first(path, [f"{bucket}/", *prefixes]) if path.startswith("/") else path
        path = path.lstrip("/").removeprefix(f"{bucket}/")
        under = next((prefix for prefix in prefixes if prefix and path.startswith(prefix)), "")
        spelled = [path] if under or "" in prefixes else []
        spelled += [f"{prefix}{path.removeprefix(under)}" for prefix in prefixes]
        for each in spelled:
            for form in (each, normalize("NFC", each), normalize("NFD", each), each.lower()):
                found[form] = None
    return [each for each in found if each and each != key and each not in prefixes]


def _plain(key: str) -> str:
    if _SIMPLE.fullmatch(key):
        return key
    text = _SCHEME.sub("/", key, count=1) if _SCHEME.match(key) else key
    text = _QUERY.sub("", text) or text
    for _ in range(_ENCODED_TWICE):
        text = unquote(text.replace("+", " "))
    text = normalize("NFC", normalize("NFC", text.replace("+", " ")).casefold())
    return _SLASHES.sub("/", text).strip()


def _from_the_first(text: str, parts: Sequence[str]) -> str:
    """The rest of an absolute path or address, from the first bucket name or prefix in it."""
    found = [at for part in parts if part and (at := text.find(f"/{part}")) >= 0]
    return text[min(found) :] if found else text


def _spellings(key: str, bucket: str, prefixes: Sequence[str]) -> Iterator[str]:
    for form in forms(key, prefixes):
        for root in roots(bucket):
            yield f"{root}{form}"
    yield from addresses(key, bucket)


def forms(key: str, prefixes: Sequence[str]) -> set[str]:
    """What may stand behind each of `roots`: with `addresses`, all spellings, and the key itself."""
    under = next((prefix for prefix in prefixes if prefix and key.startswith(prefix)), "")
    found = {key, key[len(under) :], f"{key} ", f"{under}{key}"}
    if _SIMPLE.fullmatch(key):
        return found.union(key.replace("/", slash) for slash in ENCODED_SLASHES)
    return found | _written_otherwise(key)


def forms_within(keys: Sequence[str], prefixes: Sequence[str], kept: tuple[str, ...]) -> list[str]:
    """The `forms` of all keys that begin with one of `kept`, without the keys themselves."""
    slashed = all("/" in each for each in kept)
    found: list[str] = []
    for key in keys:
        if slashed and _SIMPLE.fullmatch(key):
            # Without the encoded ones, which have no slash: to build them took half of a claim of 1,000.
            under = next((prefix for prefix in prefixes if prefix and key.startswith(prefix)), "")
            spelled: Iterable[str] = (key[len(under) :], f"{key} ", f"{under}{key}")
        else:
            spelled = forms(key, prefixes)
        found += [form for form in spelled if form.startswith(kept) and form != key]
    return found


def roots(bucket: str) -> Sequence[str]:
    return ("", "/", f"{bucket}/", f"/{bucket}/")


def addresses(key: str, bucket: str) -> Sequence[str]:
    return (f"s3://{bucket}/{key}", f"gs://{bucket}/{key}")


def fronts(bucket: str, prefixes: Sequence[str]) -> Sequence[str]:
    """What many other spellings begin with, and few rows, if any."""
    found = [*filter(None, roots(bucket)), *addresses("", bucket)]
    for prefix in filter(None, prefixes):
        found += [prefix * 2, *(prefix.replace("/", slash) for slash in ENCODED_SLASHES if "/" in prefix)]
    return found


def _written_otherwise(key: str) -> set[str]:
    forms = {normalize(form, key) for form in ("NFC", "NFD")}
    forms |= {unquote(key), unquote(key.replace("+", " ")), key.lower(), _SLASHES.sub("/", key), key.strip()}
    encoded = {quote(key), quote(key, safe=""), quote_plus(key, "/")}
    return forms | encoded | {_HEX.sub(lambda digits: digits[0].lower(), form) for form in encoded}
