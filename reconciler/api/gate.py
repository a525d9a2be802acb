"""Who may: a bearer token, a role, and patience with those that guess."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request

from reconciler.api.problems import Problem, not_allowed, not_authenticated
from reconciler.model import Caller, Role
from reconciler.operations.tokens import TokensFile, bearer

FAILURES = 10
"""Failed attempts of an address within the window, after which it is not listened to."""

WINDOW_SECONDS = 60.0

ADDRESSES = 10_000
"""Addresses that are remembered; the one that failed longest ago is forgotten first."""

MISSING, WRONG, FORBIDDEN, THROTTLED = "missing", "wrong", "forbidden", "throttled"
REASONS = (MISSING, WRONG, FORBIDDEN, THROTTLED)
"""Why a request was refused."""


@dataclass(slots=True)
class _Failures:
    count: int
    since: float


class Throttle:
    """Counts failed attempts by address. A token that is known is let in all the same: behind a proxy, all
    callers have one address.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failed: OrderedDict[str, _Failures] = OrderedDict()

    def wait(self, address: str) -> float:
        """The seconds until an address is listened to again; 0 at once."""
        failures = self._failed.get(address)
        if failures is None or failures.count < FAILURES:
            return 0.0
        return max(0.0, failures.since + WINDOW_SECONDS - self._monotonic())

    def failed(self, address: str) -> None:
        now = self._monotonic()
        failures = self._failed.pop(address, None)
        if failures is None or now >= failures.since + WINDOW_SECONDS:
            failures = _Failures(count=0, since=now)
        failures.count += 1
        self._failed[address] = failures
        if len(self._failed) > ADDRESSES:
            self._failed.popitem(last=False)


class Provider(Protocol):
    """Whoever else knows tokens."""

    async def caller(self, token: str) -> Caller | None:
        """Whose it is; None for nobody's."""
        ...


class Gate:
    """Lets callers in. `refused` hears the reason of each refusal, one of `REASONS`."""

    def __init__(
        self,
        tokens: TokensFile | None,
        refused: Callable[[str], None],
        monotonic: Callable[[], float],
        provider: Provider | None = None,
    ) -> None:
        self._tokens = tokens
        self._provider = provider
        self._refused = refused
        self._throttle = Throttle(monotonic)

    def require(self, caller: Caller, needed: Role) -> None:
        """Raises Problem, 403, where the caller's role is not enough."""
        if not caller.role.may(needed):
            self._refused(FORBIDDEN)
            raise not_allowed(caller.role, needed)

    async def known(self, request: Request) -> Caller:
        """Who asks. Raises as `admit` does."""
        given = request.headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        return await self.admit(token.strip() if scheme.lower() == "bearer" else "", address_of(request))

    async def admit(self, token: str, address: str) -> Caller:
        """Whose token that is; "" is none. Raises Problem: 401, or 429 after too many failures."""
        if token and (known := self._known(token)):
            return known
        if wait := self._throttle.wait(address):
            self._refused(THROTTLED)
            detail = "too many requests of this address came without a token that is known"
            raise Problem(429, "too_many_failures", detail, {"Retry-After": str(int(wait) + 1)})
        if token and self._provider and (caller := await self._provider.caller(token)):
            return caller
        self._throttle.failed(address)
        self._refused(WRONG if token else MISSING)
        raise not_authenticated("the token is not known" if token else "there is no bearer token")

    def _known(self, token: str) -> Caller | None:
        return bearer(self._tokens.look(), token) if self._tokens else None


def address_of(request: Request) -> str:
    """Where the request came from, as the connection says: a header could claim anything."""
    return request.client.host if request.client else ""
