"""Leadership: take the lease, keep it, and stop before another replica can hold it."""

import math
import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import anyio
import structlog

from reconciler.errors import LeaseLost, Retryable
from reconciler.model import HeldBy, Term
from reconciler.ports import Clock, Lease

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


@dataclass(slots=True)
class Tenure:
    """Until when, by our own monotonic clock, the lease is certainly ours: not at all before `acquire`."""

    good_until: float = -math.inf

    def extend(self, sent: float, ttl: timedelta) -> None:
        """Set it to 2/3 of the TTL after a good request was *sent*: no other replica can have it by then."""
        self.good_until = sent + ttl.total_seconds() * 2 / 3


def holder_name() -> str:
    """Our name, for the lease row and for people: host, pid, and a nonce because pids are reused."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"


async def acquire(
    lease: Lease, holder: str, ttl: timedelta, clock: Clock, wait: timedelta, tenure: Tenure
) -> Term | HeldBy:
    """Take the lease, trying for `wait`. Returns our term, or who holds the lease if that was not enough."""
    deadline = clock.monotonic() + wait.total_seconds()
    while True:
        sent = clock.monotonic()
        got = await lease.acquire(holder, ttl)
        if isinstance(got, Term):
            tenure.extend(sent, ttl)
        left = deadline - clock.monotonic()
        if isinstance(got, Term) or left <= 0:
            return got
        await clock.sleep(min(RETRY_SECONDS, left))


async def keep(
    lease: Lease,
    term: Term,
    ttl: timedelta,
    clock: Clock,
    tenure: Tenure,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Renew until cancelled. Notes in `tenure` how long each renewal is good for, and reports it to `tell`.

    Raises LeaseLost at two thirds of the TTL after the last good renewal was *sent*: by then no
    other replica can have it yet.
    """
    pause = _pause(ttl)
    while True:
        await clock.sleep(min(pause, max(0.0, tenure.good_until - clock.monotonic())))
        sent = clock.monotonic()
        if sent >= tenure.good_until:
            tell("lost")
            message = "the lease could not be renewed in time; another replica may lead from now on"
            raise LeaseLost(message)
        try:
            with anyio.fail_after(tenure.good_until - sent):
                await lease.renew(term, ttl)
        except LeaseLost:
            tell("lost")
            raise
        except (Retryable, TimeoutError) as error:
            tell("failed")
            log.warning("lease not renewed, trying again", reason=str(error) or "timed out")
            pause = RETRY_SECONDS
        else:
            tell("ok")
            tenure.extend(sent, ttl)
            pause = _pause(ttl)


async def release(lease: Lease, term: Term) -> None:
    """Expire the lease at once; if the database cannot be reached, it ends by itself."""
    try:
        await lease.release(term)
    except Retryable as error:
        log.warning("lease not released; it ends by itself", reason=str(error))


def _pause(ttl: timedelta) -> float:
    """A third of the TTL, plus or minus a tenth, so that replicas do not ask in step."""
    return ttl.total_seconds() / 3 * random.uniform(0.9, 1.1)
