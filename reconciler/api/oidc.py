"""Callers with a token of an identity provider: OpenID Connect, checked with the keys that it publishes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import anyio
import anyio.to_thread
import structlog
from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import KeySet

from reconciler.model import Caller, Role
from reconciler.settings.values import LOOPBACK

log = structlog.get_logger(__name__)

ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
]
"""Only what a public key checks: to an algorithm that takes a secret, the public key would be that secret."""

LEEWAY_SECONDS = 60
"""How far the provider's clock may be off."""

KEYS_SECONDS = 600.0
"""How long published keys are believed."""

AGAIN_SECONDS = 10.0
"""The least time between two readings of them, whatever tokens name."""

FETCH_SECONDS = 5.0
LARGEST = 1 << 20
"""Bytes of what a provider publishes."""

LONGEST_TOKEN = 16_384
LONGEST_NAME = 200

UNFIT = (JoseError, ValueError, TypeError, KeyError, RecursionError)
"""What is raised for a token, or for keys, that are none: what strangers send has any shape."""

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Reads what is at an address. Raises OSError, TimeoutError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Whose tokens are taken, for whom, and what in them says who it is and what they may.

    `roles` has, for each role, the values of the claim that give it. A claim in another is named with dots.
    """

    issuer: str
    audience: str
    role_claim: str
    name_claim: str
    roles: Mapping[Role, Sequence[str]]


async def fetch(address: str) -> bytes:
    """Read what is at an https address, or one on this machine; no redirection is followed."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        message = f"{address} is not https"
        raise ValueError(message)
    return await anyio.to_thread.run_sync(_read_from, address, abandon_on_cancel=True)


def _read_from(address: str) -> bytes:
    asked = Request(address, headers={"Accept": "application/json"})  # noqa: S310 - https, as checked
    with build_opener(_NoRedirect()).open(asked, timeout=FETCH_SECONDS) as answer:
        found: bytes = answer.read(LARGEST)
    return found


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Oidc:
    """Checks tokens of one provider."""

    def __init__(self, provider: Described, fetch: Fetch, monotonic: Callable[[], float]) -> None:
        self._provider = provider
        self._fetch = fetch
        self._monotonic = monotonic
        self._alone = anyio.Lock()
        self._keys: KeySet | None = None
        self._read_at: float | None = None
        self._registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": provider.issuer},
            aud={"essential": True, "value": provider.audience},
            exp={"essential": True},
        )

    async def caller(self, token: str) -> Caller | None:
        """Who shows the token; None where it is none of the provider's for us, or gives no role."""
        if len(token) > LONGEST_TOKEN or token.count(".") != 2:  # noqa: PLR2004 - header, claims, signature
            return None
        claims = await self._claims(token)
        return self._as_caller(claims) if claims is not None else None

    async def _claims(self, token: str) -> Mapping[str, object] | None:
        """What the token says, if the provider has signed it and it is in force."""
        for fresh in (False, True):
            keys = await self._known_keys(fresh=fresh)
            if keys is None:
                continue
            try:
                decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
                self._registry.validate(decoded.claims)
            except ClaimError:
                return None
            except UNFIT:
                continue
            return decoded.claims
        return None

    async def _known_keys(self, *, fresh: bool) -> KeySet | None:
        """The published keys. A token that they do not check may be of a new one, so they are read again
        then, but not for every such token.
        """
        async with self._alone:
            age = None if self._read_at is None else self._monotonic() - self._read_at
            if age is None or age >= (AGAIN_SECONDS if fresh else KEYS_SECONDS):
                self._read_at = self._monotonic()
                try:
                    self._keys = await self._read()
                except (OSError, TimeoutError, *UNFIT) as error:
                    # Those that are known stay good: a provider that is away must not lock everyone out.
                    log.warning("the identity provider's keys cannot be read", reason=str(error))
            return self._keys

    async def _read(self) -> KeySet:
        issuer = self._provider.issuer
        found = json.loads(await self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
        if found["issuer"] != issuer:
            message = f"{issuer} says that it is {found['issuer']}"
            raise ValueError(message)
        return KeySet.import_key_set(json.loads(await self._fetch(str(found["jwks_uri"]))))

    def _as_caller(self, claims: Mapping[str, object]) -> Caller | None:
        name = _at(claims, self._provider.name_claim)
        given = _at(claims, self._provider.role_claim)
        values = {given} if isinstance(given, str) else {*given} if isinstance(given, list) else set()
        roles = [role for role in Role if values & {*self._provider.roles.get(role, ())}]
        if not isinstance(name, str) or not 0 < len(name.encode()) <= LONGEST_NAME or not name.isprintable():
            return None
        return Caller(name=name, role=roles[-1]) if roles else None


def _at(claims: Mapping[str, object], path: str) -> object:
    """The claim of that name, or the one inside others that dots lead to."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
