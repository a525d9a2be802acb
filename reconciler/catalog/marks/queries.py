"""An operator's view of marks: list them, show one, retry, cancel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from reconciler.catalog import holds
from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import LIVE_SINCE, MARK_COLUMNS, SEEN_ENOUGH, SEEN_LATELY, mark_from
from reconciler.catalog.marks import ledger
from reconciler.catalog.marks.ledger import Entry
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.pass_groups import STATE, superseded
from reconciler.model import Hold, ListedMark, Mark, MarkFilter, MarkState, PassKind, PassState

# As for the collector, the delay of every mark restarts when dry run turns into live. The current delay is
# read from the newest pass, since these commands read no setting but the database's URL.
LIVE = f"""
SELECT {LIVE_SINCE} + coalesce(
    (SELECT make_interval(secs => (policy->>'delete_delay')::double precision) FROM {SCHEMA}.passes
     WHERE policy IS NOT NULL ORDER BY id DESC LIMIT 1), '0') AS due
"""
DUE_AT = (
    f"CASE WHEN p.kind = 'departure' AND p.cutoff >= {LIVE_SINCE} THEN m.due_at"
    " ELSE greatest(m.due_at, live.due) END"
)
LISTED_COLUMNS = MARK_COLUMNS.replace("m.due_at", f"{DUE_AT} AS due_at")

# The mark's state is computed only for marks that meet the other conditions, in key order from the last one.
# That it is in order stands inside too: else each page computes it for all marks, and sorts them.
LIST = f"""
SELECT * FROM (
    SELECT {LISTED_COLUMNS}, m.not_before, m.attempts, m.refusals, m.last_error, m.operation_id, m.epoch,
           p.kind,
           {STATE} AS pass_state,
           CASE WHEN m.state = 'claimed' THEN 'claimed'
                WHEN {{held}} THEN 'held'
                WHEN m.refusals > 0 THEN 'refused'
                WHEN p.state <> 'released' THEN 'unreleased'
                WHEN {DUE_AT} > clock_timestamp() OR m.not_before > clock_timestamp()
                     OR NOT {SEEN_ENOUGH} OR NOT {SEEN_LATELY} THEN 'waiting'
                ELSE 'due' END AS stands
    FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id CROSS JOIN ({LIVE}) live
    WHERE m.storage_key > $1::text AND m.storage_key >= $2::text
      AND ($3::text IS NULL OR m.storage_key < $3)
      AND ($4::text IS NULL OR m.verdict = $4) AND ($5::bigint[] IS NULL OR m.pass_id = ANY($5))
      AND ($6::text[] IS NULL OR m.storage_key = ANY($6))
    ORDER BY m.storage_key
) each
WHERE $7::text IS NULL OR stands = $7
ORDER BY storage_key LIMIT $8
"""

# This waits for a claim in progress, which then wins: a claimed mark can no longer be cancelled.
CANCEL = f"""
DELETE FROM {SCHEMA}.marks m WHERE m.storage_key = ANY($1::text[]) AND m.state = 'found'
RETURNING {MARK_COLUMNS}
"""


# Only marks with an error: the reason why they were not deleted. A former epoch's claim is left to a rescue.
RETRY = f"""
UPDATE {SCHEMA}.marks SET not_before = least(not_before, clock_timestamp())
WHERE last_error IS NOT NULL AND ($1::text[] IS NULL OR storage_key = ANY($1)) RETURNING storage_key
"""

WENT = f"""
SELECT at, pass_id FROM {SCHEMA}.ledger
WHERE storage_key = $1 AND event = 'result' AND result = 'deleted' AND mode = 'live'
ORDER BY at DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Went:
    """When an object or a row of a key was last deleted, and by which pass."""

    at: datetime
    pass_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The result for each key whose mark was to be cancelled; `claimed` ones are deleted all the same."""

    cancelled: tuple[str, ...]
    claimed: tuple[str, ...]
    unmarked: tuple[str, ...]


class MarkList:
    """Reads and cancels marks without a lease: neither can delete anything."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._list = LIST.format(held=holds.held_condition(media, "clock_timestamp()"))

    async def page(self, wanted: MarkFilter, after: str = "", limit: int = 1000) -> Sequence[ListedMark]:
        """The first `limit` marks that match the filter, in key order from `after` on."""
        ((low, high),) = bounds.of_prefix(wanted.prefix)
        async with self._database.connection() as connection:
            passes = await superseded(connection, wanted.pass_id)
        return await self._marks(
            bounds.comparable(after),
            bounds.comparable(low),
            high and bounds.comparable(high),
            wanted.verdict and wanted.verdict.value,
            passes,
            None,
            wanted.state and wanted.state.value,
            limit,
        )

    async def look(self, key: str) -> ListedMark | None:
        """The mark of one key, or None."""
        if not bounds.storable(key):
            return None
        found = await self._marks("", "", None, None, None, [key], None, 1)
        return found[0] if found else None

    async def went(self, key: str) -> Went | None:
        """The key's last deletion by the ledger, whether or not it was restored since."""
        if not bounds.storable(key):
            return None
        async with self._database.connection() as connection:
            row = await connection.fetchrow(WENT, key)
            return Went(at=row["at"], pass_id=row["pass_id"]) if row else None

    async def retry(self, keys: Sequence[str] | None) -> set[str]:
        """Let failed marks be tried again at once, of these keys or of all; returns their keys."""
        wanted = None if keys is None else [key for key in keys if bounds.storable(key)]
        async with self._database.connection() as connection:
            return {row["storage_key"] for row in await connection.fetch(RETRY, wanted)}

    async def _marks(self, *arguments: object) -> list[ListedMark]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._list, *arguments)
            held = await holds.held(connection, self._media, [row["storage_key"] for row in rows])
            return [_listed(row, held) for row in rows]

    async def cancel(self, keys: Sequence[str], author: str, reason: str) -> Cancelled:
        """Withdraw the marks of these keys, and record the author and the reason.

        The next pass that finds such a key marks it again, with a new delay, unless it is on hold.
        """
        wanted = [key for key in dict.fromkeys(keys) if bounds.storable(key)]

        async def work(connection: AnyConnection) -> tuple[list[str], list[str]]:
            marks = [mark_from(row) for row in await connection.fetch(CANCEL, wanted)]
            await _write_down(connection, marks, f"cancelled by {author}: {reason}")
            left = await connection.fetch(
                f"SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])", wanted
            )
            return [mark.storage_key for mark in marks], [row["storage_key"] for row in left]

        cancelled, claimed = await self._database.transaction(work)
        unmarked = [key for key in dict.fromkeys(keys) if key not in {*cancelled, *claimed}]
        return Cancelled(cancelled=tuple(sorted(cancelled)), claimed=tuple(claimed), unmarked=tuple(unmarked))


async def _write_down(connection: AnyConnection, marks: Sequence[Mark], detail: str) -> None:
    epoch = await connection.fetchval(f"SELECT epoch FROM {SCHEMA}.term")
    entries = [Entry(ledger.OBJECT, mark, detail=detail) for mark in marks]
    await ledger.append(connection, ledger.CANCELLED, None, epoch, entries)


def _listed(row: asyncpg.Record, held: Mapping[str, Hold]) -> ListedMark:
    return ListedMark(
        mark=mark_from(row),
        state=MarkState(row["stands"]),
        kind=PassKind(row["kind"]),
        pass_state=PassState(row["pass_state"]),
        hold=held.get(row["storage_key"]),
        not_before=row["not_before"],
        attempts=row["attempts"],
        refusals=row["refusals"],
        last_error=row["last_error"],
        operation_id=row["operation_id"],
        epoch=row["epoch"],
    )
