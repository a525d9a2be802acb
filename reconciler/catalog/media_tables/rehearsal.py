"""Tries whether the rows of a claim can be removed, before anything irreversible, and rolls back.

A foreign key, a trigger, a rule or a missing right may keep a row, or other rows of the media table may go
with it. If that came out only after the object is gone, a live row would have lost it (R-52, R-53).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import asyncpg

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.media_tables.tables import MediaTables, record_from
from reconciler.catalog.media_tables.user_code import BUSY, NotRemoved, explained, is_of, remove_rows
from reconciler.model import ClaimedKey, Remove

CHUNK = 250
"""Keys tried in one statement. A refused one is then found by trying them one by one."""

BUDGET = 5.0
"""Seconds that a claim spends on this, with its rows and marks locked meanwhile. Keys not tried by then are
left to the next claim."""

SLOWEST = 5.0
"""Seconds that the removal of one key's rows may take, where a foreign key has no index or a trigger works
hard. Each claim tries at least one key, so it always makes progress."""

ENDED = ("08", "25006", "57P")
"""SQLSTATEs, or classes of them, that do not concern a row: the connection or the server is gone."""

# Rows changed by this transaction, or by others since it began. Compared by age, since ids wrap around.
CHANGED = "SELECT {id} AS id FROM {table} WHERE age(m.xmin) <= age(pg_current_xact_id()::xid)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """Storage keys that cannot be claimed now, with the reason.

    `refused`: the database refuses to remove their rows. `busy`: others hold a lock that is needed. `left`:
    the time was over before they were tried.
    """

    refused: dict[str, str] = field(default_factory=dict)
    busy: dict[str, str] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


async def rehearse(connection: AnyConnection, media: MediaTables, keys: Sequence[ClaimedKey]) -> Rehearsed:
    """Try the removal of the rows that the keys' decisions name, in the claim's transaction."""
    result = Rehearsed()
    tried = {key.mark.storage_key: _ids(key.decision) for key in keys if key.decision.records}
    names = list(tried)
    over = anyio.current_time() + BUDGET
    for start in range(0, len(names), CHUNK):
        chunk = {name: tried[name] for name in names[start : start + CHUNK]}
        left = over - anyio.current_time()
        if left <= 0:
            result.left.update(chunk)
            continue
        ids = [each for one in chunk.values() for each in one]
        if await _refusal(connection, media, ids, left) is not None:
            await _one_by_one(connection, media, chunk, result)
    return result


def _ids(decision: Remove) -> list[str]:
    return [ref.id for ref in decision.records]


async def _one_by_one(
    connection: AnyConnection, media: MediaTables, chunk: Mapping[str, Sequence[str]], result: Rehearsed
) -> None:
    over = anyio.current_time() + BUDGET
    for number, (name, ids) in enumerate(chunk.items()):
        if number and anyio.current_time() > over:
            result.left.add(name)
            continue
        error = await _refusal(connection, media, ids, SLOWEST)
        if error is None:
            continue
        if is_of(error, BUSY):
            result.busy[name] = explained(error)
        elif isinstance(error, asyncpg.QueryCanceledError):
            result.refused[name] = (
                f"its removal takes longer than {SLOWEST:g} s: a trigger, or a foreign key without an index"
            )
        else:
            result.refused[name] = explained(error)


async def _refusal(
    connection: AnyConnection, media: MediaTables, ids: Sequence[str], seconds: float
) -> Exception | None:
    """Why these rows alone cannot be removed in so many seconds; None if they can. All is rolled back."""
    changed: dict[str, str | None] = {}
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await connection.execute(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")
        if await remove_rows(connection, media, ids):
            found = CHANGED.format(id=media.identity.text, table=media.table)
            others = [row["id"] for row in await connection.fetch(found)]
            changed = dict.fromkeys(others) | await _versions(connection, media, others)
    except NotRemoved as refusal:
        return refusal
    except asyncpg.PostgresError as error:
        if is_of(error, ENDED) or isinstance(error, asyncpg.InvalidCachedStatementError):
            raise
        said: Exception = error
        return said
    finally:
        await savepoint.rollback()
    return await _changes(connection, media, changed) if changed else None


async def _changes(
    connection: AnyConnection, media: MediaTables, changed: Mapping[str, str | None]
) -> NotRemoved | None:
    """An error if the removal, rolled back by now, changed other rows in what a verdict reads."""
    before = await _versions(connection, media, list(changed))
    others = sum(changed[each] != version for each, version in before.items())
    if not others:
        return None
    return NotRemoved(
        f"{others} other {'row' if others == 1 else 'rows'} of {media.names[0]} would be changed in what"
        " decides about them, by ON DELETE SET NULL or by a trigger"
    )


async def _versions(
    connection: AnyConnection, media: MediaTables, ids: Sequence[str]
) -> dict[str, str | None]:
    """The hash of what a verdict reads, by id, of those rows that count."""
    rows = await connection.fetch(
        f"SELECT {media.columns} FROM {media.joined} WHERE {media.identity.among('$1')}", list(ids)
    )
    return {record.id: record.version for record in map(record_from, rows)}
