"""Words and names."""

import json
import re
from collections.abc import Callable

from reconciler.settings import identifiers

BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{0,100}")


REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


LONGEST_NAME = 200
"""Bytes of a person's name."""


def boolean(raw: object) -> bool:
    """`true` or `false`. Other words are not guessed at, since one of these settings arms deletion."""
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in {"true", "false"}:
        return raw.lower() == "true"
    raise ValueError("must be true or false")


def one_of(*allowed: str) -> Callable[[object], str]:
    """One of a few words, in lower case."""

    def parse(raw: object) -> str:
        if isinstance(raw, str) and raw in allowed:
            return raw
        raise ValueError(f"must be {' or '.join(allowed)}" if len(allowed) > 1 else f"must be {allowed[0]}")

    return parse


def bucket_name(raw: object) -> str:
    if isinstance(raw, str) and BUCKET_NAME.fullmatch(raw):
        return raw
    raise ValueError("must be a bucket's name alone, without s3:// and without a path")


def region(raw: object) -> str:
    if isinstance(raw, str) and REGION.fullmatch(raw):
        return raw
    raise ValueError("must be a region's name such as eu-central-1")


def person(raw: object) -> str:
    """Raises ValueError for what is no name: it is recorded with what the person ordered."""
    name = str(raw).strip()
    if len(name.encode(errors="surrogateescape")) > LONGEST_NAME or not name.isprintable():
        message = f"must be a name of at most {LONGEST_NAME} bytes"
        raise ValueError(message)
    return name


def claim(raw: object) -> str:
    """A claim's name, or a value of one."""
    if isinstance(raw, str) and raw.isprintable() and len(raw) <= LONGEST_NAME:
        return raw
    message = f"must be up to {LONGEST_NAME} visible characters"
    raise ValueError(message)


def texts(raw: object) -> tuple[str, ...]:
    """A JSON list of texts in the environment, a list in YAML."""
    allowed = 'must be a JSON list of texts such as ["media-team"]'
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raise ValueError(allowed) from None
    if not isinstance(raw, list | tuple) or not all(isinstance(each, str) and each for each in raw):
        raise ValueError(allowed)
    return tuple(raw)


def zone(raw: object) -> str:
    """A provider's id, which is a part of a path."""
    if isinstance(raw, str) and IDENTIFIER.fullmatch(raw):
        return raw
    raise ValueError("must be up to 100 letters, digits, - and _")


def channel(raw: object) -> str:
    """A channel of Postgres (NOTIFY), which may be any text of a name's length."""
    if isinstance(raw, str) and raw.isprintable() and 0 < len(raw.encode()) <= identifiers.IDENTIFIER_BYTES:
        return raw
    raise ValueError("must be a name of up to 63 bytes, such as media_events")
