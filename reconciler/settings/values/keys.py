"""Prefixes and shapes of storage keys, and what is uploaded under them."""

import json

from reconciler.model import REPLACEMENT_CHARACTER, RESERVED_PREFIX, KeyShape
from reconciler.settings.values.numbers import size

KEY_BYTES = 1024
"""The longest key that S3 takes."""


PREFIX_FORMS = (
    'a JSON list of prefixes that each end in "/", such as ["image/", "video/"]; [""] is the whole bucket'
)


UPLOAD_PARTS = ("{kind}", "{date}", "{id}", "{extension}")


LARGEST_UPLOAD = 80 * 1024**3
"""An upload has at most 10,000 parts, of 8 MiB."""


def limits(raw: object) -> dict[str, int]:
    """Sizes by the beginning of a content type: JSON in the environment, a mapping in YAML."""
    allowed = 'must be sizes by the beginning of a content type, such as {"image/": "64MiB"}'
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raise ValueError(allowed) from None
    if not isinstance(raw, dict) or not raw:
        raise ValueError(allowed)
    found = {}
    for name, written in sorted(raw.items()):
        most = size(written)
        if not isinstance(name, str) or name != name.strip().lower() or most is None or most > LARGEST_UPLOAD:
            raise ValueError(f"{allowed}, each at most 80GiB")
        found[name] = most
    return found


def upload_key(raw: object) -> str:
    """A storage key with parts in braces to be filled in."""
    if not isinstance(raw, str) or not raw:
        raise ValueError("must be a storage key with {id} in it")
    left = raw
    for part in UPLOAD_PARTS:
        left = left.replace(part, "")
    if "{id}" not in raw or "{" in left or "}" in left:
        raise ValueError(f"must have {{id}} in it, and in braces no more than {', '.join(UPLOAD_PARTS)}")
    return raw


def prefixes(raw: object) -> tuple[str, ...]:
    """A JSON list in the environment, a list in YAML; at least one, none inside another."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raise ValueError(f"must be {PREFIX_FORMS}") from None
    if not isinstance(raw, list | tuple) or not raw or not all(isinstance(entry, str) for entry in raw):
        raise ValueError(f"must be {PREFIX_FORMS}")
    found: tuple[str, ...] = tuple(sorted(raw))
    for entry in found:
        _check_prefix(entry)
    for index, entry in enumerate(found):
        inside = next((later for later in found[index + 1 :] if later.startswith(entry)), None)
        if inside == entry:
            raise ValueError(f"{entry!r} is named twice")
        if inside is not None:
            raise ValueError(f"{inside!r} is inside {entry!r}: name each key once, so drop one of the two")
    return found


def _check_prefix(entry: str) -> None:
    if entry and not entry.endswith("/"):
        raise ValueError(f'{entry!r} must end in "/", else it would take in its siblings; {PREFIX_FORMS}')
    if entry.startswith(RESERVED_PREFIX):
        raise ValueError(f"{entry!r} is the reconciler's own corner of the bucket and is never managed")
    if len(entry.encode("utf-8", "surrogatepass")) > KEY_BYTES:
        raise ValueError(f"{entry[:40]!r}… is longer than the {KEY_BYTES} bytes of a key")
    if REPLACEMENT_CHARACTER in entry or not entry.isprintable():
        raise ValueError(f"{entry!r} must not hold U+FFFD or control characters")


def pattern(raw: object) -> KeyShape:
    """A regular expression that a whole key matches, as RE2 reads it."""
    allowed = "must be a regular expression that the whole key matches"
    if isinstance(raw, KeyShape):
        return raw
    if not isinstance(raw, str):
        raise ValueError(allowed)  # noqa: TRY004 - as above
    shape = KeyShape(raw)
    if shape.fault is not None:
        rules = "RE2's syntax: without look-around, references back and possessive repetition"
        raise ValueError(f"{allowed} ({shape.fault}), in {rules}")
    return shape
