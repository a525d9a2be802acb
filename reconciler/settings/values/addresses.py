"""URLs, hosts and paths of files."""

import re
from urllib.parse import urlsplit

from reconciler.settings.values.words import texts

_REPORTS = re.compile(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?")

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


def reports(raw: object) -> str | None:
    """`gs://BUCKET/PATH`, the path of any length; None for none."""
    if raw is None:
        return None
    if isinstance(raw, str) and _REPORTS.fullmatch(raw) and raw.isprintable():
        return raw
    raise ValueError("must be a bucket of Google's and a path, such as gs://reports/inventory_reports")


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


def webhook(raw: object) -> str:
    """`https://host/path`; plain http only on this machine, since what is told is nobody else's."""
    found = issuer(raw)
    if found is None:
        raise ValueError("must be a URL such as https://hooks.example/media")
    return found
