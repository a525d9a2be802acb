"""Connection strings as providers hand them out, by the manuals of libpq and of each provider."""

from __future__ import annotations

import ssl
from datetime import timedelta
from types import SimpleNamespace

import pytest

from reconciler.settings.addresses import database_url, split_timeout

BASE = "postgresql://gateway:s3cr3t@db:5432/media"


@pytest.mark.incident(46)
@pytest.mark.parametrize(
    ("given", "taken"),
    [
        # Neon: each string that its console shows.
        ("sslmode=require&channel_binding=require", "sslmode=require"),
        # node-postgres and Heroku.
        ("sslmode=no-verify", "sslmode=require"),
        ("ssl=true", "sslmode=require"),
        ("ssl=false", ""),
        # libpq's own, old and new.
        ("requiressl=1", "sslmode=require"),
        ("requiressl=0", ""),
        ("keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=5", ""),
        ("tcp_user_timeout=10000&gssencmode=disable&sslsni=1&sslcertmode=allow", ""),
        ("fallback_application_name=x&load_balance_hosts=disable&client_encoding=auto", ""),
        ("min_protocol_version=3.0&max_protocol_version=latest", ""),
        ("target_session_attrs=read-write&application_name=a%20b", None),
        ("sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&sslcert=c&sslkey=k", None),
        ("connect_timeout=10&options=-c%20role%3Dapp", None),
        # A plus is a plus, as libpq has it.
        ("options=-c%20a.b%3D1+2", "options=-c%20a.b%3D1%2B2"),
        # The last of a name counts; a name without a value says nothing.
        ("sslmode=disable&sslmode=require", "sslmode=require"),
        ("sslmode=", ""),
    ],
)
def test_what_providers_add_is_put_in_the_drivers_words(given: str, taken: str | None) -> None:
    wanted = given if taken is None else taken
    assert database_url(f"{BASE}?{given}") == (f"{BASE}?{wanted}" if wanted else BASE)


@pytest.mark.incident(46)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("gssencmode=require", "'gssencmode' cannot be honoured"),
        ("require_auth=scram-sha-256", "'require_auth' cannot be honoured"),
        ("replication=database", "'replication' cannot be honoured"),
        ("hostaddr=10.0.0.1", "'hostaddr' cannot be honoured"),
        ("schema=app", "RECONCILER_CATALOG__MEDIA_TABLE"),
        ("pgbouncer=true", "name Postgres itself"),
        ("connection_limit=5", "options=-c%20name%3Dvalue"),
        ("storage.allow_delete_query=true", "options=-c%20name%3Dvalue"),
        ("connect_timeout=soon", "whole number of seconds"),
        ("connect_timeout=-1", "whole number of seconds"),
        ("ssl=maybe", "sslmode"),
        ("requiressl=2", "sslmode"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(given: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        database_url(f"{BASE}?{given}")
    assert told in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_the_certificates_that_the_machine_trusts_are_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(cafile="/etc/trusted.pem")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: found)
    taken = database_url(f"{BASE}?sslmode=verify-full&sslrootcert=system")
    assert taken == f"{BASE}?sslmode=verify-full&sslrootcert=%2Fetc%2Ftrusted.pem"
    found.cafile = None
    with pytest.raises(ValueError, match="this machine has no file of certificates"):
        database_url(f"{BASE}?sslrootcert=system")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("connect_timeout=10", 10), ("connect_timeout=600", 30), ("connect_timeout=0", None)],
)
def test_the_time_to_connect_is_taken_out_of_the_url(given: str, seconds: int | None) -> None:
    wait = None if seconds is None else timedelta(seconds=seconds)
    assert split_timeout(f"{BASE}?sslmode=require&{given}") == (f"{BASE}?sslmode=require", wait)
    assert split_timeout(f"{BASE}?sslmode=require") == (f"{BASE}?sslmode=require", None)


def test_the_database_may_be_named_among_the_parameters() -> None:
    url = "postgresql://gateway@/?host=%2Frun%2Fpostgresql&dbname=media"
    assert database_url(url) == url
    with pytest.raises(ValueError, match="the database's name is missing"):
        database_url("postgresql://gateway@/?host=%2Frun%2Fpostgresql")
