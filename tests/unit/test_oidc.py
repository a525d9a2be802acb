"""Tokens of an identity provider: only its own, for us, in force, and signed with a key that it publishes."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from reconciler.api.oidc import AGAIN_SECONDS, KEYS_SECONDS, Described, Oidc, fetch
from reconciler.app.admin import serve_admin
from reconciler.errors import ConfigError
from reconciler.model import Caller, Role
from reconciler.settings import SettingsSource
from reconciler.telemetry.health import Health
from reconciler.telemetry.own_state import OwnState

pytestmark = pytest.mark.anyio

ISSUER, AUDIENCE = "https://id.example.org/realms/media", "reconciler"


class Issuer:
    """A provider that signs, and publishes its keys; `read` are the addresses that were asked for."""

    def __init__(self) -> None:
        self.keys = {"one": RSAKey.generate_key(2048, {"kid": "one"})}
        self.read: list[str] = []
        self.away = False
        self.now = 0.0

    async def fetch(self, address: str) -> bytes:
        self.read.append(address)
        if self.away:
            raise OSError("it is away")
        if address.endswith("/.well-known/openid-configuration"):
            return json.dumps({"issuer": ISSUER, "jwks_uri": "https://id.example.org/keys"}).encode()
        return json.dumps(KeySet(list(self.keys.values())).as_dict(private=False)).encode()

    def token(self, kid: str = "one", key: Any = None, alg: str = "RS256", **claims: Any) -> str:
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ada",
            "exp": int(time.time()) + 300,
            "realm_access": {"roles": ["everyone", "media-ops"]},
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": kid}, said, key or self.keys[kid], algorithms=[alg])

    def checked(self) -> Oidc:
        described = Described(
            issuer=ISSUER,
            audience=AUDIENCE,
            role_claim="realm_access.roles",
            name_claim="sub",
            roles={Role.VIEWER: ("everyone",), Role.OPERATOR: ("media-ops",), Role.APPROVER: ("heads",)},
        )
        return Oidc(described, self.fetch, lambda: self.now)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


async def test_a_token_of_the_provider_gives_the_highest_role_of_its_claim(issuer: Issuer) -> None:
    oidc = issuer.checked()
    assert await oidc.caller(issuer.token()) == Caller(name="ada", role=Role.OPERATOR)
    heads = issuer.token(realm_access={"roles": ["heads", "everyone"]}, aud=["other", AUDIENCE])
    assert await oidc.caller(heads) == Caller(name="ada", role=Role.APPROVER)
    assert await oidc.caller(issuer.token(realm_access={"roles": "everyone"})) == Caller(
        name="ada", role=Role.VIEWER
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://id.example.org/realms/other"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 2**40},
        {"iat": 2**40},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": 7},
        {"realm_access": None},
        {"realm_access": {"roles": ["nobody"]}},
        {"realm_access": {"roles": {"heads": True}}},
        {"realm_access": "heads"},
    ],
    ids=str,
)
async def test_a_token_that_does_not_say_who_may_what_here_lets_nobody_in(
    issuer: Issuer, claims: dict[str, Any]
) -> None:
    assert await issuer.checked().caller(issuer.token(**claims)) is None


async def test_a_signature_that_is_none_of_the_providers_lets_nobody_in(issuer: Issuer) -> None:
    oidc = issuer.checked()
    other = RSAKey.generate_key(2048, {"kid": "one"})
    public = issuer.keys["one"].as_pem(private=False)
    forged = [
        issuer.token(key=other),
        issuer.token(key=OctKey.import_key(b"a secret that is long enough, at least 32 bytes"), alg="HS256"),
        "eyJhbGciOiJub25lIn0." + issuer.token().split(".")[1] + ".",
        issuer.token()[:-4] + "AAAA",
        "a.b.c",
        "....",
        "x" * 20_000,
        "",
    ]
    assert public
    for token in forged:
        assert await oidc.caller(token) is None, token[:40]


async def test_keys_are_kept_and_read_again_for_a_new_one_and_not_for_every_stranger() -> None:
    issuer = Issuer()
    oidc = issuer.checked()
    for _ in range(3):
        assert await oidc.caller(issuer.token()) is not None
    assert len(issuer.read) == 2
    issuer.keys["two"] = ECKey.generate_key("P-256", {"kid": "two"})  # type: ignore[assignment]
    rotated = issuer.token("two", alg="ES256")
    assert await oidc.caller(rotated) is None
    issuer.now += AGAIN_SECONDS
    assert await oidc.caller(rotated) == Caller(name="ada", role=Role.OPERATOR)
    assert len(issuer.read) == 4
    for _ in range(20):
        assert await oidc.caller("a.b.c") is None
    assert len(issuer.read) == 4
    del issuer.keys["two"]
    issuer.now += KEYS_SECONDS
    assert await oidc.caller(rotated) is None


async def test_a_provider_that_is_away_locks_nobody_out_and_lets_nobody_in() -> None:
    issuer = Issuer()
    oidc = issuer.checked()
    issuer.away = True
    assert await oidc.caller(issuer.token()) is None
    issuer.away, issuer.now = False, AGAIN_SECONDS
    assert await oidc.caller(issuer.token()) is not None
    issuer.away, issuer.now = True, issuer.now + KEYS_SECONDS
    assert await oidc.caller(issuer.token()) is not None


async def test_keys_are_read_over_https_alone() -> None:
    for address in ("http://id.example.org/keys", "file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises((ValueError, OSError)):
            await fetch(address)


@pytest.mark.parametrize(
    "settings", [{}, {"AUDIENCE": "reconciler"}, {"VIEWERS": '["a"]'}, {"AUDIENCE": "", "APPROVERS": '["a"]'}]
)
async def test_a_provider_is_named_with_an_audience_and_with_who_may(settings: dict[str, str]) -> None:
    named = {f"RECONCILER_ADMIN__OIDC__{name}": value for name, value in settings.items()}
    source = SettingsSource(
        {
            "RECONCILER_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
            "RECONCILER_BUCKET__NAME": "media",
            "RECONCILER_BUCKET__PREFIXES": '["image/"]',
            "RECONCILER_ADMIN__OIDC__ISSUER": ISSUER,
            **named,
        }
    )
    with pytest.raises(ConfigError, match="set RECONCILER_ADMIN__OIDC__AUDIENCE"):
        await serve_admin(source, Health(), OwnState(), lambda _: None, started=anyio.Event())
