"""Ownership: settle which database a bucket belongs to, where only an operator can know."""

from datetime import timedelta

import anyio

from reconciler.engine.lead import adoption, lease
from reconciler.engine.lead.adoption import Situation
from reconciler.engine.runtime.context import Limits, Ports
from reconciler.engine.runtime.tasks import task_group
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import HeldBy
from reconciler.model.moments import moment


async def look(ports: Ports, bucket: str) -> Situation:
    """What bucket and database say of each other. Raises Halt where the identity cannot be read."""
    return await adoption.look(ports, bucket)


async def adopt(
    ports: Ports,
    bucket: str,
    prefixes: tuple[str, ...],
    limits: Limits,
    *,
    upload_window: timedelta,
    wait: timedelta,
) -> int:
    """Make the bucket this database's, under the lease. Returns how many marks were withdrawn.

    Raises NotDone where the lease is not had within `wait`, Retryable where it could not be done now.
    """
    tenure, ttl, clock = lease.Tenure(), limits.lease_ttl, ports.clock
    got = await lease.acquire(ports.lease, lease.holder_name(), ttl, clock, wait, tenure)
    if isinstance(got, HeldBy):
        raise lease_held(got, wait)
    try:
        async with task_group() as group:
            group.start_soon(lease.keep, ports.lease, got, ttl, clock, tenure)
            withdrawn = await adoption.adopt(ports, bucket, prefixes, got, limits.longest_call, upload_window)
            group.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(5, shield=True):
            await lease.release(ports.lease, got)
    return withdrawn


def lease_held(by: HeldBy, wait: timedelta) -> NotDone:
    """Another replica holds the lease."""
    return NotDone(
        ErrorKind.CONFLICT,
        "lease_held",
        f"the lease is held by {by.holder} until {moment(by.expires_at)} unless renewed; waited"
        f" {wait.total_seconds():g} s. Wait longer, or stop the other replica",
        holder=by.holder,
        expires_at=by.expires_at,
    )
