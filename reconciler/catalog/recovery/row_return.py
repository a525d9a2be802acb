"""Restores a removed row from the ledger, inside Postgres: as it was, or with a report of what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from reconciler.catalog.db.connections import COLLISIONS, AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import kept_rows
from reconciler.catalog.media_tables.kept_rows import Column
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import in_their_settings
from reconciler.catalog.recovery.soft_deleted import PARTIAL
from reconciler.model import RemovedRow, Return

# The columns that the ledger has of the row, and which were NULL: nothing of those can be lost. `former` is
# a row kept as JSON, as until migration 0003.
KEPT = f"""
SELECT l.removed IS NOT NULL AS former,
       coalesce(l.row_columns, ARRAY(SELECT jsonb_object_keys(l.removed))) AS names,
       l.row_types AS types,
       CASE WHEN l.removed IS NULL
            THEN ARRAY(SELECT u.v IS NULL FROM unnest(l.row_values) WITH ORDINALITY u (v, n) ORDER BY n)
            ELSE ARRAY(SELECT l.removed -> k = 'null' FROM jsonb_object_keys(l.removed) k) END AS nulls
FROM {SCHEMA}.ledger l WHERE l.id = $1 AND (l.removed IS NOT NULL OR l.row_values IS NOT NULL)
"""

# All values, read from their storage only once: `||` makes an array in memory.
VALUES = f"(SELECT row_values || '{{}}'::text[] AS v FROM {SCHEMA}.ledger WHERE id = $1 OFFSET 0) kept"

NOTED = f"""
SELECT r.detail FROM {SCHEMA}.ledger l JOIN {SCHEMA}.ledger r
    ON r.storage_key = l.storage_key AND r.operation_id = l.operation_id AND r.record_id = l.record_id
WHERE l.id = $1 AND r.event = 'restored' AND r.what = 'record' AND r.result = '{PARTIAL}' LIMIT 1
"""

NOTE = f"""
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, record_id, verdict, reason, result, detail, pass_id,
     owners)
SELECT operation_id, (SELECT epoch FROM {SCHEMA}.term), 'restored', 'live', 'record', storage_key, record_id,
       verdict, $2, $3, $4, pass_id, owners
FROM {SCHEMA}.ledger WHERE id = $1
"""

# Settings under which texts might be read otherwise than written, if those of role or database applied. Kept
# dates, intervals and numbers are read alike under any other setting.
SETTINGS = """
SET LOCAL lc_monetary = 'C';
SET LOCAL "IntervalStyle" = 'postgres';
SET LOCAL xmloption = content
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """A kept value that has a column: its place in the ledger's arrays, from 1, and its type at that time."""

    place: int
    type: str | None
    column: Column

    @property
    def text(self) -> str:
        return f"kept.v[{self.place}]"


@dataclass(slots=True)
class _Plan:
    """The values to insert by column, and in `amiss` the columns left out or changed, with the reason."""

    former: bool
    values: list[_Value]
    amiss: dict[str, str]

    def without(self, names: Mapping[str, str]) -> _Plan:
        values = [each for each in self.values if each.column.name not in names]
        return _Plan(self.former, values, {**self.amiss, **names})


class RowReturn:
    """Puts removed rows back, in the caller's transaction."""

    def __init__(self, media: MediaTables) -> None:
        self._media = media

    async def put_back(self, connection: AnyConnection, row: RemovedRow, author: str) -> tuple[Return, str]:
        """Restore one row, in a savepoint. If its table refuses it, say why; it stays in the ledger."""
        amiss: dict[str, str] = {}
        try:
            async with connection.transaction():
                await connection.execute(SETTINGS)
                outcome, reason = await self._row_back(connection, row, amiss)
        except COLLISIONS:
            raise
        except asyncpg.PostgresError as error:
            left = f"; it would come without {_listed(amiss)}" if amiss else ""
            return Return.REFUSED, _explained(error) + left
        if outcome is not Return.REFUSED:
            detail = ", ".join(sorted(amiss)) if outcome is Return.PARTIAL else None
            await connection.execute(NOTE, row.ledger_id, author, outcome.value, detail)
        return outcome, reason

    async def _row_back(
        self, connection: AnyConnection, row: RemovedRow, amiss: dict[str, str]
    ) -> tuple[Return, str]:
        """`amiss` is filled in step by step, so that an error on the way can report it."""
        plan = await self._plan(connection, row)
        if plan is None:
            return Return.REFUSED, "the ledger no longer has the row"
        amiss |= plan.amiss
        try:
            async with connection.transaction():
                inserted = await self._insert(connection, row, plan)
        except COLLISIONS:
            raise
        except asyncpg.PostgresError:
            unreadable = await _unreadable(connection, row, plan)
            if not unreadable:
                raise
            amiss |= unreadable
            inserted = await self._insert(connection, row, plan.without(unreadable))
        if not inserted:
            return await self._there(connection, row)
        if amiss:
            return Return.PARTIAL, f"without {_listed(amiss)}; the ledger still has what it was"
        return Return.RESTORED, ""

    async def _plan(self, connection: AnyConnection, row: RemovedRow) -> _Plan | None:
        kept = await connection.fetchrow(KEPT, row.ledger_id)
        if kept is None:
            return None
        columns = {each.name: each for each in await kept_rows.columns(connection, self._media.oids[0])}
        plan = _Plan(former=kept["former"], values=[], amiss={})
        retyped: list[_Value] = []
        types = kept["types"] or [None] * len(kept["names"])
        for place, (name, kind, null) in enumerate(zip(kept["names"], types, kept["nulls"], strict=True), 1):
            column = columns.get(name)
            if column is not None and not column.computed:
                plan.values.append(_Value(place=place, type=kind, column=column))
                if kind not in {None, column.type} and not null:
                    retyped.append(plan.values[-1])
            elif not null and not (column is not None and plan.former):
                # As JSON, computed columns were kept with the rest.
                plan.amiss[name] = "which the table computes now" if column else "which the table lacks"
        for each in retyped:
            if not await _reads_alike(connection, row, each):
                plan.amiss[each.column.name] = f"which was {each.type} and is {each.column.type}"
        return plan

    async def _insert(self, connection: AnyConnection, row: RemovedRow, plan: _Plan) -> bool:
        table = self._media.names[0]
        names = ", ".join(each.column.quoted for each in plan.values)
        if plan.former:
            source = (
                f"SELECT {names} FROM jsonb_populate_record(NULL::{table},"
                f" (SELECT removed FROM {SCHEMA}.ledger WHERE id = $1))"
            )
        else:
            read = ", ".join(each.column.read(each.text) for each in plan.values)
            source = f"SELECT {read} FROM {VALUES}"
        # Identity columns get their former values, those GENERATED ALWAYS too.
        async with in_their_settings(connection):
            return bool(
                await connection.fetchval(
                    f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE {source}"
                    " ON CONFLICT DO NOTHING RETURNING true",
                    row.ledger_id,
                )
            )

    async def _there(self, connection: AnyConnection, row: RemovedRow) -> tuple[Return, str]:
        """Why nothing was inserted: the row exists, in full or in part; or something keeps it out."""
        media = self._media
        there = await connection.fetchval(
            f"SELECT true FROM {media.media} WHERE {media.identity.equals('$1')}", row.record_id
        )
        if not there:
            return Return.REFUSED, "another row took its place, or a trigger of the table keeps it out"
        if lacking := await connection.fetchval(NOTED, row.ledger_id):
            return Return.REFUSED, (
                f"it came back without {lacking}, of which the ledger still has the values; give the table"
                " such columns again, delete the row and undo it again, or take them from row_values of"
                f" line {row.ledger_id} of reconciler.ledger"
            )
        return Return.PRESENT, ""


async def _reads_alike(connection: AnyConnection, row: RemovedRow, value: _Value) -> bool:
    """Whether a column whose type has changed takes the value and returns it in full.

    Compared in the former type where that still exists: 1.50 may be written 1.5000 now.
    """
    now = f"{SCHEMA}.written({value.column.read(value.text)})"
    for given in (f"{SCHEMA}.written(({now})::{value.type})", now):
        try:
            async with connection.transaction():
                query = f"SELECT {given} IS NOT DISTINCT FROM {value.text} FROM {VALUES}"
                if await connection.fetchval(query, row.ledger_id):
                    return True
        except COLLISIONS:
            raise
        except asyncpg.PostgresError:
            continue
    return False


async def _unreadable(connection: AnyConnection, row: RemovedRow, plan: _Plan) -> dict[str, str]:
    """The columns whose types no longer take the kept value: a label, an attribute or a check has changed."""
    found: dict[str, str] = {}
    for each in () if plan.former else plan.values:
        try:
            async with connection.transaction():
                read = each.column.read(each.text)
                await connection.fetchval(f"SELECT ({read}) IS NULL FROM {VALUES}", row.ledger_id)
        except (*COLLISIONS, asyncpg.InsufficientPrivilegeError):
            raise
        except asyncpg.PostgresError as error:
            found[each.column.name] = f"which its type does not take ({type(error).__name__})"
    return found


def _listed(amiss: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({why})" for name, why in sorted(amiss.items()))


def _explained(error: asyncpg.PostgresError) -> str:
    """The error in one line that says what a person can do about it."""
    message = str(error).splitlines()[0]
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return f"what it belongs to is gone ({error.detail or message}); make that again, then undo it again"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        lacking = "USAGE on it" if "for schema" in message else "INSERT on the media table"
        return f"{message}; GRANT {lacking}, then undo it again"
    return message
