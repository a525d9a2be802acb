"""The forms in which a value may be written. Each parser raises ValueError saying what is allowed."""

import json
import math
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from reconciler.model import REPLACEMENT_CHARACTER, RESERVED_PREFIX, KeyShape
from reconciler.settings import identifiers

LONGEST = timedelta(days=36_500)
"""A hundred years: beyond it `now - duration` would leave the calendar of Postgres and Python."""

UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
NUMBER = r"\d{1,12}(?:\.\d{1,9})?"
SHORT_FORM = re.compile(rf"(?:{NUMBER}(?:ms|[wdhms]))+", re.ASCII)
SHORT_PART = re.compile(rf"({NUMBER})(ms|[wdhms])", re.ASCII)
ISO_FORM = re.compile(
    rf"P(?=.)(?:({NUMBER})W)?(?:({NUMBER})D)?(?:T(?=.)(?:({NUMBER})H)?(?:({NUMBER})M)?(?:({NUMBER})S)?)?",
    re.ASCII,
)
WHOLE = re.compile(r"\d{1,18}", re.ASCII)
DECIMAL = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{0,100}")
REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
KEY_BYTES = 1024
"""The longest key that S3 takes."""

DURATION_FORMS = "a duration such as 90d, 24h, 15m, 30s, 1h30m or 0s, or in ISO 8601 such as PT24H"
PREFIX_FORMS = (
    'a JSON list of prefixes that each end in "/", such as ["image/", "video/"]; [""] is the whole bucket'
)


LONGEST_NAME = 200
"""Bytes of a person's name."""


UPLOAD_PARTS = ("{kind}", "{date}", "{id}", "{extension}")
LARGEST_UPLOAD = 80 * 1024**3
"""An upload has at most 10,000 parts, of 8 MiB."""


def duration(raw: object) -> timedelta:
    """`90d`, `1h30m`, `PT24H`; from 0s to a hundred years."""
    if isinstance(raw, timedelta):
        parsed: timedelta | None = raw
    else:
        parsed = _duration_of(raw) if isinstance(raw, str) else None
    if parsed is None:
        hint = ""
        if isinstance(raw, int | float) or (isinstance(raw, str) and DECIMAL.fullmatch(raw)):
            hint = " (a number alone has no unit)"
        raise ValueError(f"must be {DURATION_FORMS}{hint}")
    if not timedelta(0) <= parsed <= LONGEST:
        raise ValueError(f"must be from 0s to {LONGEST.days}d")
    return parsed


def _duration_of(text: str) -> timedelta | None:
    if SHORT_FORM.fullmatch(text):
        parts = [(float(number), unit) for number, unit in SHORT_PART.findall(text)]
        if len({unit for _, unit in parts}) != len(parts):
            return None
        return _seconds(sum(number * UNITS[unit] for number, unit in parts))
    matched = ISO_FORM.fullmatch(text)
    if matched is None:
        return None
    numbers = (float(group or 0) for group in matched.groups())
    return _seconds(sum(number * UNITS[unit] for number, unit in zip(numbers, "wdhms", strict=True)))


def _seconds(seconds: float) -> timedelta:
    # Anything beyond the longest is refused by the caller; this only keeps timedelta from overflowing.
    return timedelta(seconds=min(seconds, LONGEST.total_seconds() * 2))


def at_least(least: timedelta, text: str) -> Callable[[object], timedelta]:
    """A duration that cannot be shorter than `least`, which `text` spells."""

    def parse(raw: object) -> timedelta:
        parsed = duration(raw)
        if parsed < least:
            raise ValueError(f"must be at least {text}")
        return parsed

    return parse


def between(least: timedelta, text: str, most: timedelta, most_text: str) -> Callable[[object], timedelta]:
    """A duration from one to another, both included, which the texts spell."""

    def parse(raw: object) -> timedelta:
        parsed = duration(raw)
        if not least <= parsed <= most:
            raise ValueError(f"must be from {text} to {most_text}")
        return parsed

    return parse


def whole(least: int, most: int, unit: str) -> Callable[[object], int]:
    """A whole number in digits; neither `1e9` nor `nan` nor a boolean."""
    allowed = f"must be a whole number of {unit}, from {least} to {most}"

    def parse(raw: object) -> int:
        if isinstance(raw, str) and WHOLE.fullmatch(raw):
            number = int(raw)
        elif isinstance(raw, int) and not isinstance(raw, bool):
            number = raw
        else:
            raise ValueError(allowed)
        if not least <= number <= most:
            raise ValueError(allowed)
        return number

    return parse


SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kKMGTP]i?B|B)?", re.ASCII)
_STEPS = {unit: place for place, unit in enumerate("KMGTP", 1)}


LEAST_MEMORY = 512 * 1024**2


def size(raw: object) -> int | None:
    """Bytes, as a whole number or with a unit; None stands for `none`."""
    if raw is None or raw == "none":
        return None
    match = SIZE.fullmatch(str(raw)) if isinstance(raw, str | int) and not isinstance(raw, bool) else None
    found = 0
    if match:
        number, unit = match.groups(default="B")
        found = int(Decimal(number) * (1024 if "i" in unit else 1000) ** _STEPS.get(unit[0].upper(), 0))
    if not 0 < found < 2**60:
        raise ValueError("must be a number of bytes from 1 on, such as 10GiB, 500MB or 1048576, or none")
    return found


def room(raw: object) -> int:
    """Bytes, without `none`."""
    found = size(raw)
    if found is None:
        raise ValueError("must be a number of bytes, such as 40GiB")
    return found


def memory(raw: object) -> int:
    """Bytes, as many as a comparison needs."""
    found = room(raw)
    if found < LEAST_MEMORY:
        raise ValueError("must be at least 512MiB")
    return found


def objects(raw: object) -> int | None:
    """A number of objects; None stands for `none`."""
    if raw is None or raw == "none":
        return None
    try:
        return whole(1, 10**12, "objects")(raw)
    except ValueError as error:
        raise ValueError(f"{error}, or none") from None


def _decimal(raw: object) -> float | None:
    if isinstance(raw, str) and DECIMAL.fullmatch(raw):
        return float(raw)
    if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        return float(raw)
    return None


def fraction(raw: object) -> float:
    """A share from 0 to 1."""
    number = _decimal(raw)
    if number is None or not 0 <= number <= 1:
        raise ValueError("must be a fraction from 0 to 1, such as 0.1 for ten per cent")
    return number


def rate(raw: object) -> float | None:
    """Keys a second; None stands for `unlimited`."""
    if raw is None or raw == "unlimited":
        return None
    number = _decimal(raw)
    if number is None or number <= 0:
        raise ValueError("must be a positive number of keys a second, such as 100, or unlimited")
    return number


def price(raw: object) -> float:
    """A sum of money, in a currency that is not ours to know."""
    number = _decimal(raw)
    if number is None or number < 0:
        raise ValueError("must be a price such as 0.023, or 0 for none")
    return number


def interval(raw: object) -> timedelta | None:
    """A duration; None stands for `never`."""
    return None if raw is None or raw == "never" else duration(raw)


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


LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def issuer(raw: object) -> str | None:
    """An identity provider's address; None for none. Keys that came over plain http could be anybody's."""
    if raw is None:
        return None
    allowed = "must be https://host, or http:// on this machine, without credentials, query or fragment"
    if not isinstance(raw, str):
        raise ValueError(allowed)  # noqa: TRY004 - pydantic gathers ValueErrors only
    try:
        parts = urlsplit(raw)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    except ValueError:
        safe = False
    if not safe or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(allowed)
    return raw


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


def origins(raw: object) -> tuple[str, ...]:
    """Origins of web pages, as browsers send them: a scheme, a host in small letters, maybe a port."""
    found = texts(raw)
    for each in found:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", each):
            message = f"{each!r} is no origin: must be https://host or https://host:port, without a path"
            raise ValueError(message)
    return found


def host(raw: object) -> str:
    if isinstance(raw, str) and re.fullmatch(r"[A-Za-z0-9:.%_-]{1,253}", raw):
        return raw
    raise ValueError("must be an address to listen on, such as 0.0.0.0, 127.0.0.1 or ::")


def file_path(raw: object) -> str | None:
    """A file's path; None for no file."""
    if raw is None:
        return None
    if isinstance(raw, str) and raw and "\0" not in raw:
        return raw
    raise ValueError("must be the path of a file")


def endpoint_url(raw: object) -> str:
    """`http(s)://host[:port]`; credentials come from the usual AWS chain and never from here."""
    allowed = "must be http://host:port or https://host, without credentials, query or fragment"
    if not isinstance(raw, str):
        raise ValueError(allowed)  # noqa: TRY004 - pydantic gathers ValueErrors only
    try:
        parts = urlsplit(raw)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or parts.scheme not in {"http", "https"}
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError(allowed)
    return raw.rstrip("/")


def queue_url(raw: object) -> str:
    """`https://host/account/queue`, as SQS calls its queues."""
    allowed = "must be a queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/media-events"
    try:
        url = endpoint_url(raw)
        named = urlsplit(url).path.strip("/")
    except ValueError:
        raise ValueError(allowed) from None
    if not named:
        raise ValueError(allowed)
    return url


def url_template(raw: object) -> str | None:
    """An address with `{key}` in its path or query; None for none."""
    if raw is None:
        return None
    allowed = "must be http:// or https://, a host, and {key} once behind it, without credentials or fragment"
    if not isinstance(raw, str):
        raise ValueError(allowed)  # noqa: TRY004 - pydantic gathers ValueErrors only
    try:
        parts = urlsplit(raw)
        usable = bool(parts.hostname) and parts.scheme in {"http", "https"} and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or raw.count("{key}") != 1 or "{key}" in parts.netloc or parts.fragment:
        raise ValueError(allowed)
    return raw


def zone(raw: object) -> str:
    """A provider's id, which is a part of a path."""
    if isinstance(raw, str) and IDENTIFIER.fullmatch(raw):
        return raw
    raise ValueError("must be up to 100 letters, digits, - and _")


def webhook(raw: object) -> str:
    """`https://host/path`; plain http only on this machine, since what is told is nobody else's."""
    found = issuer(raw)
    if found is None:
        raise ValueError("must be a URL such as https://hooks.example/media")
    return found


def channel(raw: object) -> str:
    """A channel of Postgres (NOTIFY), which may be any text of a name's length."""
    if isinstance(raw, str) and raw.isprintable() and 0 < len(raw.encode()) <= identifiers.IDENTIFIER_BYTES:
        return raw
    raise ValueError("must be a name of up to 63 bytes, such as media_events")


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


def time_zone(raw: object) -> str | None:
    """A place's name in the time zone database; None where none is declared."""
    if raw is None:
        return None
    known = available_timezones()
    if isinstance(raw, str) and ZONE.fullmatch(raw) and (not known or raw in known):
        return raw
    raise ValueError("must be a time zone's name such as Europe/Berlin or UTC")


def unit(raw: object) -> str | None:
    """The unit of times stored as numbers; None where none is declared."""
    return None if raw is None else one_of("s", "ms", "us")(raw)
