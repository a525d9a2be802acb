"""Mask what must not be printed: by its form, and by its value where we know it."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"

URL_CREDENTIALS = re.compile(r"(?<=://)(?:([^\s:/@]*):)?[^\s/]*@")
PASSWORD = re.compile(
    r"(?i)\b(password|passwd|[\w-]*secret[\w-]*|x-amz-(?:security-token|signature|credential)|session_token)"
    r"(\s*[=:]\s*)[^\s,;&]+"
)
AUTHORIZATION = re.compile(r"(?i)\b((?:proxy-)?authorization['\"]?\s*[=:]\s*)[^\r\n]+")
BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{6,}")
ACCESS_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")

SHORTEST = 6
"""The shortest secret, in characters, that is masked by its value: a shorter one is part of many words."""


class Known:
    """The values of this program's secrets, in every form in which a message may carry them."""

    def __init__(self) -> None:
        self._pattern: re.Pattern[str] | None = None

    def set(self, secrets: Iterable[str]) -> None:
        """Replace the secrets set before."""
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def hide(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


KNOWN = Known()
"""The program's one instance, like its logging: all printed text passes through it."""


def _forms(secret: str) -> set[str]:
    plain = {secret, unquote(secret)}
    encoded = {
        encode(form) for form in plain for encode in (quote, quote_plus, lambda one: quote(one, safe=""))
    }
    lower = {re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in encoded}
    escaped = {text[1:-1] for form in plain for text in (json.dumps(form), repr(form))}
    return plain | encoded | lower | escaped


def mask(text: str) -> str:
    """The text without credentials: those in URLs, headers and key-value pairs, and the known ones."""
    text = KNOWN.hide(text)
    text = URL_CREDENTIALS.sub(lambda found: f"{found[1]}:{HIDDEN}@" if found[1] else f"{HIDDEN}@", text)
    text = AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
    text = BEARER.sub(rf"\1\2{HIDDEN}", text)
    text = ACCESS_KEY_ID.sub(HIDDEN, text)
    return PASSWORD.sub(rf"\1\2{HIDDEN}", text)
