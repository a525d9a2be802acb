"""Tokens of the admin API: each is shown once, when it is made, and kept as a hash, one a line in a file."""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Caller, Role

PREFIX = "mrt_"
"""What every token begins with, so that scanners for leaked secrets know one."""

BYTES = 32
"""Random bytes of a token. So many that a plain hash protects it: there is nothing to guess."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
LINE = re.compile(rf"({NAME.pattern})[ \t]+({'|'.join(Role)})[ \t]+sha256:([0-9a-f]{{64}})")

LONGEST = 512
"""Characters of what is taken for a token at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToken:
    """One line of the file: whose the token is, and its SHA-256 in hexadecimal digits."""

    caller: Caller
    digest: str


def issue(file: Path, name: str, role: Role) -> str:
    """Make a token, append its line to the file, which is made where it is missing, and return the token.

    Raises NotDone for a name that a line cannot hold, and where the file cannot be written.
    """
    if not NAME.fullmatch(name):
        message = f"{name!r}: a name has up to 100 letters, digits and any of . _ @ + -"
        raise NotDone(ErrorKind.INVALID, "no_token_name", message, name=name)
    token = PREFIX + secrets.token_urlsafe(BYTES)
    try:
        _append(file, f"{name} {role} sha256:{_digest(token)}\n")
    except OSError as error:
        message = f"{file}: cannot be written ({error.strerror})"
        raise NotDone(ErrorKind.NOT_READY, "tokens_file", message, file=str(file)) from None
    return token


def _append(file: Path, line: str) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as opened:
        if size := opened.seek(0, os.SEEK_END):
            opened.seek(size - 1)
            line = line if opened.read(1) == b"\n" else f"\n{line}"
        opened.write(line.encode())
        opened.flush()
        os.fsync(descriptor)


def read(text: str, warn: Callable[[str], None]) -> Sequence[KnownToken]:
    """The tokens in a file's text. Empty lines and those that begin with # say nothing; `warn` is told of any
    other that is no token's, which lets nobody in.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if matched := LINE.fullmatch(stripped):
            name, role, digest = matched.groups()
            found.append(KnownToken(caller=Caller(name=name, role=Role(role)), digest=digest))
        else:
            # What stands there may be a token in the clear.
            warn(f"line {number} is not `NAME ROLE sha256:DIGEST`, and lets nobody in")
    return found


def bearer(tokens: Sequence[KnownToken], given: str) -> Caller | None:
    """Whose token that is; None for nobody's. It takes as long wherever in the file the token stands."""
    if len(given) > LONGEST:
        return None
    digest, found = _digest(given), None
    for each in tokens:
        if hmac.compare_digest(each.digest, digest):
            found = each.caller
    return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


class TokensFile:
    """The tokens that the file holds now. A file that cannot be read lets nobody in."""

    def __init__(self, file: str, warn: Callable[[str], None]) -> None:
        self._file = Path(file)
        self._warn = warn
        self._stamp: tuple[int, ...] | None = ()
        self._tokens: Sequence[KnownToken] = ()

    def look(self) -> Sequence[KnownToken]:
        """The tokens: one stat, and one read where the file has changed."""
        stamp = self._stamped()
        if stamp != self._stamp:
            self._stamp, self._tokens = stamp, self._read()
        return self._tokens

    def _stamped(self) -> tuple[int, ...] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _read(self) -> Sequence[KnownToken]:
        try:
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self._warn(f"cannot be read ({why}): nobody is let in")
            return ()
        return read(text, self._warn)
