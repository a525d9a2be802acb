"""Signed links: whoever has one gets the medium until it ends.

A link carries when it ends, the name of the secret that it is signed with, and an HMAC-SHA256 over these, the
method, the key and the owner. The owner is that of the row at the moment of the request, so a link ends when
the medium changes hands. With the owner goes a number that is raised to end all of its links.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from reconciler.model import LiveRow

BUCKET_SECONDS = 300
"""Ends are rounded up to it, so that links made within it are the same, and a cache has them once."""

LINE = re.compile(r"([A-Za-z0-9._-]{1,64})[ \t]+(\S{32,512})")
METHOD = "GET"
"""What a link is for; HEAD shows less, and is allowed with it."""

NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a link is for: a key, the id of the virtual key that owns it, and the number of its links."""

    key: str
    owner: str
    links: int = 0


def subject(key: str, row: LiveRow) -> Subject:
    """What a link to a medium is for, by the row that names it."""
    return Subject(key=key, owner=row.owner.id or "", links=row.links)


def signature(secret: str, name: str, of: Subject, ends: int) -> str:
    """Of the link to the subject that ends at that Unix time, in 43 characters that a URL can hold."""
    text = json.dumps(["media-link-1", name, METHOD, of.key, of.owner, of.links, ends])
    return _written(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())


def _written(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def end_of(now: float, seconds: float) -> int:
    """When a link ends that is made now for so long: rounded up."""
    return -int(-(now + seconds) // BUCKET_SECONDS) * BUCKET_SECONDS


def make(secrets: Mapping[str, str], subject: Subject, ends: int) -> str:
    """The path and the query of the link, signed with the first of the secrets, by their names."""
    name, secret = next(iter(secrets.items()))
    signed = signature(secret, name, subject, ends)
    return f"/v1/media/{quote(subject.key, safe='/')}?ends={ends}&by={name}&signature={signed}"


def seconds_left(
    secrets: Mapping[str, str], subject: Subject, query: Mapping[str, str], now: float
) -> float | None:
    """How long the link that a request shows is good for that subject; None where it is not."""
    given, name, signed = (query.get(each, "") for each in ("ends", "by", "signature"))
    secret = secrets.get(name)
    if secret is None or not NUMBER.fullmatch(given) or not signed.isascii():
        return None
    ends = int(given)
    if ends <= now or not hmac.compare_digest(signature(secret, name, subject, ends), signed):
        return None
    return ends - now


class LinkSecrets:
    """The secrets that the file holds now, by name, the one to sign with first. An unreadable file has none.

    `warn` hears of a file that cannot be read, and of lines that are none, without what stands there.
    """

    def __init__(self, file: str | None, warn: Callable[[str], None]) -> None:
        self._file = None if file is None else Path(file)
        self._warn = warn
        self._stamp: tuple[int, ...] | None = ()
        self._secrets: Mapping[str, str] = {}

    def look(self) -> Mapping[str, str]:
        """One stat, and one read where the file has changed."""
        if self._file is None:
            return {}
        stamp = self._stamped(self._file)
        if stamp != self._stamp:
            self._stamp, self._secrets = stamp, self._read(self._file)
        return self._secrets

    @staticmethod
    def _stamped(file: Path) -> tuple[int, ...] | None:
        try:
            found = file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _read(self, file: Path) -> Mapping[str, str]:
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
            self._warn(f"cannot be read ({why}): no link is good")
            return {}
        found: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            if matched := LINE.fullmatch(line.strip()):
                found.setdefault(*matched.groups())
            elif line.strip() and not line.startswith("#"):
                self._warn(f"line {number} is not `NAME SECRET`, with a secret of 32 characters or more")
        return found
