"""Undo: bring back what was deleted, while a leader runs."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from reconciler.engine.lead import erasures, ownership
from reconciler.engine.recover.undo import Emit, Undo, Undone
from reconciler.engine.runtime.context import Ports, RuntimeSettings, SettingsInForce
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Mode, UndoScope
from reconciler.model.moments import moment
from reconciler.planning.formatting import counted, named

Note = Callable[[str, str, str], Awaitable[None]]
"""Writes down who has ordered what, and what that was about."""


async def undo(
    ports: Ports,
    in_force: SettingsInForce,
    bucket: str,
    scope: UndoScope,
    *,
    author: str,
    mode: Mode,
    emit: Emit,
    note: Note,
    hold_for: timedelta | None = None,
) -> Undone:
    """Bring back what is in the scope, or in dry run only say what would come; each goes to `emit`.

    What came back is on hold for as long as `hold_for`, or else the settings, say. Raises NotDone where
    database and bucket are not tied, Halt where the bucket is not this database's, Retryable.
    """
    if await ownership.verify(ports, bucket) is None:
        message = "bucket and database are not tied to each other: nothing was ever deleted here"
        raise NotDone(ErrorKind.NOT_READY, "not_tied", message)

    await erasures.require_known(ports)

    def runtime() -> RuntimeSettings:
        now = in_force()
        return replace(now, mode=mode, hold_for=hold_for or now.hold_for)

    async def sealed(_: float) -> UUID:
        raise AssertionError("an undo claims and deletes nothing")

    guard = WriteGuard(ports, lambda: mode, lambda: True, sealed)
    undone = await Undo(ports, guard, runtime, author, emit).run(scope)
    if mode is Mode.LIVE:
        came = f"{counted(undone.objects, 'object')} and {counted(undone.records, 'row')} came back"
        await note(author, "undo", f"{_told(scope)}: {came}")
    return undone


def _told(scope: UndoScope) -> str:
    if scope.keys:
        return named(scope.keys)
    if scope.pass_id is not None:
        return f"pass {scope.pass_id}"
    return f"since {moment(scope.since)}" + (f" until {moment(scope.until)}" if scope.until else "")
