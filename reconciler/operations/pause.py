"""Pause: stop every deletion on every replica, and let them go on."""

from dataclasses import dataclass

from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Pause
from reconciler.planning import formatting
from reconciler.ports import PauseSwitch


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The pause that stands. `ours`: it is this one, and not an earlier one whose reason is kept."""

    standing: Pause
    ours: bool


async def pause(switch: PauseSwitch, *, by: str, reason: str) -> Paused:
    """Stop every replica."""
    before = await switch.read()
    standing = await switch.pause(by, reason)
    # Another operator may have been quicker between the two calls, with other words or the same.
    return Paused(
        standing=standing, ours=standing != before and (standing.by, standing.reason) == (by, reason)
    )


async def resume(switch: PauseSwitch, *, by: str) -> Pause:
    """Let every replica go on. Returns how the switch stood before."""
    return await switch.resume(by)


async def require_running(switch: PauseSwitch) -> None:
    """Raises NotDone while every deletion is stopped, for what is to end in deletions."""
    standing = await switch.read()
    if standing.paused:
        message = f"{formatting.pause(standing)}: nothing is deleted, so nothing of this was done"
        fields = {"since": standing.at, "by": standing.by, "reason": standing.reason}
        raise NotDone(ErrorKind.CONFLICT, "paused", message, **fields)
