"""Translate the database's URL from libpq's parameters, which providers hand out, into those of asyncpg.

asyncpg sends a parameter that it does not know to the server as a setting, and the server refuses the login
with "unrecognized configuration parameter". So each parameter of libpq (its manual, 34.1.2) is passed on,
put in asyncpg's words, left out where it changes nothing here, or refused by its name.
"""

import ssl
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote, unquote, urlsplit

ALLOWED = "must be postgresql://user:password@host:port/database, one host, the primary"

PASSED = frozenset(
    {
        *("host", "port", "dbname", "user", "password", "passfile", "service", "options", "application_name"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs"),
        *("krbsrvname", "gsslib", "connect_timeout"),
    }
)
"""Parameters that are passed on. `connect_timeout` is removed again before asyncpg sees the URL."""

WITHOUT_EFFECT = frozenset(
    {
        # Details of the driver's protocol, for which every value is right.
        *("client_encoding", "fallback_application_name", "load_balance_hosts", "sslcompression"),
        *("min_protocol_version", "max_protocol_version", "gssdelegation"),
        # Dead connections are found by time-outs of statements and of the lease.
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        # asyncpg has none. Providers demand it in every URL; sslmode=verify-full keeps others out.
        "channel_binding",
    }
)
"""Parameters of libpq that are accepted and left out."""

HARMLESS = {
    "gssencmode": frozenset({"disable", "prefer"}),
    "sslcertmode": frozenset({"disable", "allow"}),
    "sslsni": frozenset({"1"}),
    "replication": frozenset({"false", "off", "no", "0"}),
    "requiressl": frozenset({"0"}),
    "ssl": frozenset({"0", "false"}),
}
"""Parameters that are left out with one of these values, and refused with another."""

REFUSED = frozenset(
    {
        *("hostaddr", "require_auth", "requirepeer", "servicefile", "sslcrldir", "sslkeylogfile"),
        *("scram_client_key", "scram_server_key", "oauth_issuer", "oauth_client_id", "oauth_client_secret"),
        *("oauth_scope",),
        *HARMLESS,
    }
)
"""Parameters of libpq that would matter, and that asyncpg cannot honour."""

ELSEWHERE = {
    "schema": "name the schema in RECONCILER_CATALOG__MEDIA_TABLE, such as app.files",
    "currentSchema": "name the schema in RECONCILER_CATALOG__MEDIA_TABLE, such as app.files",
    "pgbouncer": "name Postgres itself, on its own port, and remove it",
}
"""What other drivers' parameters mean here."""


LONGEST_WAIT = timedelta(seconds=30)
"""The longest wait for one connection. `LEASE__TTL` allows no longer wait for an unresponsive server."""


def database_url(raw: object) -> str:
    """The URL with the parameters that asyncpg takes, and `connect_timeout`.

    `postgres://` becomes `postgresql://`. Raises ValueError that names what is wrong, never a password.
    """
    if not isinstance(raw, str):
        raise ValueError(ALLOWED)  # noqa: TRY004 - pydantic gathers ValueErrors only
    try:
        parts = urlsplit(raw)
        usable = parts.port != 0
    except ValueError:
        raise ValueError(f"{ALLOWED} (percent-encode special characters of the password)") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError(ALLOWED)
    given = parameters(parts.query)
    if not usable or "," in parts.netloc or not (parts.hostname or "host" in given):
        raise ValueError(ALLOWED)
    database = parts.path.removeprefix("/")
    if not database and not given.get("dbname"):
        raise ValueError(f"{ALLOWED} (the database's name is missing)")
    if parts.fragment or set(database) & set("/@"):
        raise ValueError(f"{ALLOWED} (percent-encode special characters of the password)")
    return _written(raw, parts.scheme, _adapted(given))


def parameters(query: str) -> dict[str, str]:
    """The parameters of a URL, the last of each name. A plus stays a plus, as in libpq."""
    pairs = (each.partition("=") for each in query.split("&") if each)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def split_timeout(url: str) -> tuple[str, timedelta | None]:
    """The URL without `connect_timeout`, and its value; None where it is absent, or for ever (0)."""
    given = parameters(urlsplit(url).query)
    if "connect_timeout" not in given:
        return url, None
    seconds = int(given.pop("connect_timeout"))
    wait = min(timedelta(seconds=seconds), LONGEST_WAIT) if seconds > 0 else None
    return _written(url, urlsplit(url).scheme, given), wait


def _written(url: str, scheme: str, given: dict[str, str]) -> str:
    bare = url.partition("?")[0]
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items() if value)
    return "postgresql" + bare[len(scheme) :] + (f"?{query}" if query else "")


def _adapted(given: dict[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in given.items():
        if name in TRANSLATED:
            kept |= TRANSLATED[name](value)
        elif name in PASSED:
            kept[name] = value
        elif value not in HARMLESS.get(name, ()) and name not in WITHOUT_EFFECT:
            raise ValueError(_refusal(name))
    return kept


def _sslmode(value: str) -> dict[str, str]:
    # node-postgres' name for what libpq does with `require` where no root certificate is named.
    return {"sslmode": "require" if value == "no-verify" else value}


def _tls(value: str) -> dict[str, str]:
    """`ssl=true` of other drivers and libpq's old `requiressl=1`."""
    if value in HARMLESS["ssl"]:
        return {}
    if value in {"1", "true"}:
        return {"sslmode": "require"}
    raise ValueError("ssl: must be true or false; libpq's name for it is sslmode")


def _root_certificate(value: str) -> dict[str, str]:
    """`system`: the certificates that the machine trusts, which asyncpg does not know by that name."""
    if value != "system":
        return {"sslrootcert": value}
    trusted = ssl.get_default_verify_paths().cafile
    if trusted is None:
        raise ValueError("sslrootcert=system: this machine has no file of certificates; name one")
    return {"sslrootcert": trusted}


def _timeout(value: str) -> dict[str, str]:
    if not value.isascii() or not value.isdigit() or len(value) > 6:  # noqa: PLR2004 - a week of seconds
        raise ValueError("connect_timeout: must be a whole number of seconds, such as 10")
    return {"connect_timeout": value}


TRANSLATED: dict[str, Callable[[str], dict[str, str]]] = {
    "sslmode": _sslmode,
    "ssl": _tls,
    "requiressl": _tls,
    "sslrootcert": _root_certificate,
    "connect_timeout": _timeout,
}


def _refusal(name: str) -> str:
    if name in ELSEWHERE:
        return f"parameter {name!r} is another driver's: {ELSEWHERE[name]}"
    if name in REFUSED:
        return f"parameter {name!r} cannot be honoured by this program's driver: remove it"
    advice = "remove it, or write options=-c%20name%3Dvalue for a setting of the server"
    return f"parameter {name!r} is none of libpq's: {advice}"
