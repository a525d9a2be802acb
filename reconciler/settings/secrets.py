"""Which values of the environment are secrets, so that nothing prints them."""

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "PGPASSWORD",
)
HEADER_VARIABLES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
URL_VARIABLES = ("RECONCILER_DATABASE_URL", "RECONCILER_BUCKET__ENDPOINT_URL")

# Also for an unusable address: we never show it, but a driver may quote it.
CREDENTIALS = re.compile(r"://([^:/@]*):(.*)@([^/?#]*)(?:/([^?]*))?")
PASSWORD_PARAMETER = re.compile(r"[?&]password=([^&#]*)")


def known_secrets(environ: Mapping[str, str] | None = None, *database_urls: str) -> frozenset[str]:
    """The secrets in the environment, and those of further addresses of databases."""
    environ = os.environ if environ is None else environ
    found = {environ.get(name, "") for name in SECRET_VARIABLES}
    for name in HEADER_VARIABLES:
        for pair in environ.get(name, "").split(","):
            # The whole header, and the header without its first word (Bearer, Basic).
            header = unquote(pair.partition("=")[2]).strip()
            found |= {header, header.rpartition(" ")[2]}
    for url in (*(environ.get(name, "") for name in URL_VARIABLES), *database_urls):
        found |= set(_passwords(url))
    return frozenset(found - {""})


def holds_password(database_url: str) -> bool:
    """Whether the address has a password in it, whatever that is."""
    found = CREDENTIALS.search(database_url)
    return bool(found and found[2]) or PASSWORD_PARAMETER.search(database_url) is not None


def _passwords(url: str) -> Iterator[str]:
    if found := CREDENTIALS.search(url):
        user, password, host, database = found.groups()
        # A password that equals another part would mask the address in every message.
        if unquote(password) not in {unquote(user), host, database}:
            yield password
    if found := PASSWORD_PARAMETER.search(url):
        yield found[1]
