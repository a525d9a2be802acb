"""Lines of a CDN's or a server's access log: which medium was had, when and by what. Pure.

Read are CloudFront's standard logs (tab-separated, and as JSON), Cloudflare's Logpush and Fastly's JSON, and
the combined or common format of servers, which Fastly writes too, with or without a syslog header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from reconciler.model.keys import LONGEST_KEY

HAD: Final = frozenset({200, 206, 304})
"""Answers by which somebody got a medium, or has it."""

METHODS: Final = frozenset({"GET", "HEAD"})

FIELDS: Final = b"#Fields:"

# Of each value: its names in CloudFront's logs, in Cloudflare's, and in the JSON that Fastly proposes.
METHOD = ("cs-method", "ClientRequestMethod", "request_method", "method")
TARGET = ("cs-uri-stem", "ClientRequestURI", "ClientRequestPath", "url", "request_uri", "path")
HOSTS = ("x-host-header", "cs(Host)", "ClientRequestHost", "host")
STATUS = ("sc-status", "EdgeResponseStatus", "response_status", "status")
AGENT = ("cs(User-Agent)", "ClientRequestUserAgent", "request_user_agent", "user_agent")
TIME = ("timestamp", "EdgeStartTimestamp", "EdgeEndTimestamp", "time_start", "time")

LONGEST: Final = 1 << 16
"""Bytes of a line; servers limit requests to less."""

LINE = re.compile(
    rb'"(?P<method>[A-Z]+) (?P<target>(?:[^"\\]|\\.)*?)(?: HTTP/[0-9.]+)?"'
    rb"(?: HTTP/[0-9.]+)? (?P<status>[0-9]{3})\b"
)
"""The request in a line of a server's log, and its answer."""

NAMED = re.compile(rb'[^"]*"(?:[^"\\]|\\.)*"[^"]*"((?:[^"\\]|\\.)*)"')
"""What follows that: where the request came from, and by what, in quotes."""

BRACKETED = re.compile(rb"\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\]")
WRITTEN_OUT = re.compile(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
ISO = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
NAMES = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
MONTHS = {name: number for number, name in enumerate(NAMES.split(), 1)}
ESCAPED = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)


class Unreadable(ValueError):
    """A line that is of no format that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line: a request and its answer. `targets` are the readings of its path, as it was sent;
    `hosts` the names by which it was asked for, as far as they are known. `at` is Unix time.
    """

    method: str
    targets: Sequence[bytes]
    hosts: Sequence[str]
    status: int
    agent: str
    at: float

    @property
    def had(self) -> bool:
        return self.status in HAD and self.method in METHODS


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """How URLs name media: by host ("" for any), and by what stands in the path around the storage key."""

    host: str
    before: bytes
    after: bytes

    @classmethod
    def of(cls, template: str) -> Address:
        """Of a template such as `https://cdn.example/{key}`, or `/media/{key}`. Raises ValueError."""
        before, found, after = template.partition("{key}")
        parts = urlsplit(before)
        if not found or "{" in before + after or not parts.path.startswith("/") or parts.query:
            message = (
                f"{template!r}: write a URL or a path with {{key}} in it, as https://cdn.example/{{key}}"
            )
            raise ValueError(message)
        return cls(
            host=(parts.hostname or "").lower(),
            before=unquote_to_bytes(parts.path),
            after=unquote_to_bytes(after.partition("?")[0]),
        )

    def keys(self, request: Request) -> Sequence[str]:
        """The storage keys that a request may have named; none where it is of another host or place."""
        hosts = [host.lower().partition(":")[0] for host in request.hosts]
        if self.host and hosts and self.host not in hosts:
            return ()
        found = (self._key(target) for target in request.targets)
        return tuple(dict.fromkeys(key for key in found if key is not None))

    def _key(self, target: bytes) -> str | None:
        path = unquote_to_bytes(_path(target))
        if not (path.startswith(self.before) and path.endswith(self.after)):
            return None
        raw = path[len(self.before) : len(path) - len(self.after)]
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            return None
        return key if key and "\0" not in key and len(raw) <= LONGEST_KEY else None


class LogReader:
    """Reads the lines of one log; what its headers say holds for the lines after them."""

    def __init__(self) -> None:
        self._fields: Sequence[str] = ()

    def read(self, line: bytes) -> Request | None:
        """The request that a line is of; None for a header or an empty line. Raises Unreadable."""
        if line.startswith(b"#"):
            if line.startswith(FIELDS):
                self._fields = line[len(FIELDS) :].decode("latin-1").split()
            return None
        if not line.strip():
            return None
        if len(line) > LONGEST:
            raise Unreadable("too long")
        try:
            if line.startswith(b"{"):
                return _of_json(line)
            if self._fields:
                return _of_fields(dict(zip(self._fields, line.decode().split("\t"), strict=False)))
            return _of_server(line)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise Unreadable(str(error)) from None


def _of_json(line: bytes) -> Request:
    told = json.loads(line)
    if "cs-uri-stem" in told:
        return _of_fields({name: str(value) for name, value in told.items()})
    return Request(
        method=str(_first(told, METHOD)),
        targets=(str(_first(told, TARGET)).encode("utf-8", "surrogatepass"),),
        hosts=_hosts(told),
        status=int(_first(told, STATUS)),
        agent=str(_first(told, AGENT, "")),
        at=_moment(_first(told, TIME)),
    )


def _of_fields(told: Mapping[str, str]) -> Request:
    """A line of CloudFront's. It escapes percent signs in some of its logs and not in others, so a path with
    an escaped one has two readings. Both count: what is counted too much stays.
    """
    target = told["cs-uri-stem"].encode()
    at = f"{told['date']}T{told['time']}+00:00" if "date" in told else _first(told, TIME)
    return Request(
        method=told["cs-method"],
        targets=(target, target.replace(b"%25", b"%")) if b"%25" in target else (target,),
        hosts=_hosts(told),
        status=int(told["sc-status"]),
        agent=unquote_to_bytes(told.get("cs(User-Agent)", "")).decode("latin-1"),
        at=_moment(at),
    )


def _of_server(line: bytes) -> Request:
    found = LINE.search(line)
    if found is None:
        raise Unreadable("no request in it")
    named = NAMED.match(line, found.end())
    target = found["target"]
    return Request(
        method=found["method"].decode(),
        targets=(ESCAPED.sub(_unescaped, target) if b"\\" in target else target,),
        hosts=_hosts_of(target),
        status=int(found["status"]),
        agent=named[1].decode("latin-1") if named else "",
        at=_written_time(line),
    )


def _first(told: Mapping[str, object], names: Sequence[str], default: object = None) -> str:
    for name in names:
        if (value := told.get(name)) is not None:
            return value  # type: ignore[return-value]  # a text or a number, which each caller turns into one
    if default is None:
        raise KeyError(names[0])
    return default  # type: ignore[return-value]  # as above


def _hosts(told: Mapping[str, object]) -> Sequence[str]:
    return [str(told[name]) for name in HOSTS if told.get(name)]


def _hosts_of(target: bytes) -> Sequence[str]:
    """Of a request line that a proxy was sent: it may hold a whole URL."""
    scheme, found, rest = target.partition(b"://")
    if not found or not scheme.isalpha():
        return ()
    return (rest.partition(b"/")[0].decode("latin-1"),)


def _path(target: bytes) -> bytes:
    scheme, found, rest = target.partition(b"://")
    if found and scheme.isalpha():
        target = b"/" + rest.partition(b"/")[2]
    return target.partition(b"?")[0].partition(b"#")[0]


def _unescaped(found: re.Match[bytes]) -> bytes:
    """What a server wrote instead of a byte that could end its quotes."""
    return bytes([int(found[1], 16)]) if found[1] else found[2]


def _moment(told: str | float) -> float:
    """A time as Unix time: a text of ISO 8601, or a number of seconds, milli-, micro- or nanoseconds."""
    if isinstance(told, str) and not re.fullmatch(r"[0-9.]+", told):
        at = datetime.fromisoformat(told)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    number = float(told)
    if not 0 <= number < LATEST * 1e9:
        raise Unreadable("no time")
    while number > LATEST:
        number /= 1_000
    return number


LATEST: Final = 10_000_000_000.0
"""Seconds; a greater number counts smaller parts of one."""


def _written_time(line: bytes) -> float:
    if found := BRACKETED.search(line):
        day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
        apart = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == b"-" else 1)
        at = datetime(
            int(year), MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=timezone(apart)
        )
        return at.timestamp()
    if found := ISO.search(line):
        return _moment(found[0].decode())
    if found := WRITTEN_OUT.search(line):
        return parsedate_to_datetime(found[0].decode()).timestamp()
    raise Unreadable("no time in it")
