"""Finds rows that may deserve a retention verdict, by index: SQL nominates, the pure policy decides.

Ids are read by keyset in large pages, then the rows in small ones, so that neither a snapshot nor the
memory grows with the number found.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Database, Row
from reconciler.catalog.db.expressions import before
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import matching, quotas
from reconciler.catalog.media_tables.tables import MediaTables, record_from
from reconciler.model import FOREVER, OwnerRead, Policy, Record, Terms, Verdict

DRAW = 20_000
"""Ids that one statement reads: rows of one instant (a bulk update's) are sorted again by each statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One way to be nominated: a condition, and the indexed column whose order the keyset follows; where
    that is "", it follows the id alone.

    The parameters of `condition` start at $1.
    """

    condition: str
    values: tuple[object, ...]
    order: str = ""
    order_type: str = ""


class Instants:
    """Moments before `now` as parameters of a query, each once."""

    def __init__(self, now: datetime) -> None:
        self.values: list[datetime] = []
        self._now = now

    def before(self, duration: timedelta) -> str:
        """The parameter that has the moment so long ago."""
        moment = before(self._now, duration)
        if moment not in self.values:
            self.values.append(moment)
        return f"${1 + self.values.index(moment)}"


class Nominator:
    """Pages of candidates for one verdict."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    async def pages(
        self, verdict: Verdict, policy: Policy, now: datetime, page_size: int
    ) -> AsyncIterator[Sequence[Record]]:
        """See `ports.Records.nominate`. No connection is held while the caller works."""
        if verdict.spec.sums:
            async for usages in quotas.beyond(self._database, self._media, policy, now, DRAW):
                async for rows in self._read([*usages], page_size):
                    yield [replace(_as_seen(row, now), usage=usages[row.id]) for row in rows]
            return
        for branch in await self._branches(verdict, policy, now):
            async for ids in self._ids(branch, policy):
                async for rows in self._read(ids, page_size):
                    yield [_as_seen(row, now) for row in rows]

    async def _read(self, ids: Sequence[str], page_size: int) -> AsyncIterator[Sequence[Record]]:
        for start in range(0, len(ids), page_size):
            if rows := await self._rows(ids[start : start + page_size]):
                yield rows

    async def _branches(self, verdict: Verdict, policy: Policy, now: datetime) -> list[Branch]:
        if verdict.spec.owner is not OwnerRead.NOTHING and not self._media.has_keys:
            return []
        return await NOMINATIONS[verdict](self, policy, now)

    def _until(self, field: str, instant: datetime, extra: str = "", *more: datetime) -> list[Branch]:
        column = self._media.media_time(field)
        if column is None:
            return []
        return [
            Branch(
                condition=f"{self._media.until('$1', media=field)}{extra}",
                values=(instant, *more),
                order=column,
                order_type=self._media.media_type(field),
            )
        ]

    async def _expired(self, policy: Policy, now: datetime) -> list[Branch]:
        expires = self._media.media_time("expires_at")
        # The shortest grace of all, as below.
        everyone: list[Terms] = [policy, *policy.rules.each]
        deleted = before(now, min(policy.grace_after_soft_delete(terms) for terms in everyone))
        if expires is None:
            return self._until("deleted_at", deleted)
        # A row that is both expired and deleted is read once, or it would be counted twice.
        apart = f" AND {self._media.until('$2', media='expires_at')} IS NOT TRUE"
        return [*self._until("expires_at", now), *self._until("deleted_at", deleted, apart, now)]

    async def _stale(self, policy: Policy, now: datetime) -> list[Branch]:
        media = self._media
        created = media.media_time("created_at")
        if created is None or media.media_time("last_accessed_at") is None:
            return []
        sooner = [rule for rule in policy.rules.each if rule.media_retention < policy.media_retention]
        by_time: dict[str, str] = {"order": created, "order_type": media.media_type("created_at")}
        found = []
        if sooner and media.virtual_key_index and (owners := matching.owners(media, sooner)):
            # Younger rows than the global settings let go are read by owner, and the rest not at all.
            at = Instants(now)
            within = f"{owners} AND {self._created(at, min(each.media_retention for each in sooner))}"
            if policy.media_retention != FOREVER:
                within += f" AND NOT {self._created(at, policy.media_retention)}"
            found.append(self._by_owner(f"{within} AND {self._due(at, policy)}", *at.values))
            sooner = []
        loosest = min([policy.media_retention, *(each.media_retention for each in sooner)])
        if loosest != FOREVER:
            at = Instants(now)
            condition = f"{self._created(at, loosest)} AND {self._due(at, policy)}"
            found.append(Branch(condition=condition, values=tuple(at.values), **by_time))
        return found

    def _created(self, at: Instants, retention: timedelta) -> str:
        return self._media.until(at.before(retention), media="created_at")

    def _due(self, at: Instants, policy: Policy) -> str:
        """SQL: whether the row is stale under the first rule that matches it, or the global settings."""
        arms = [
            f"WHEN {matching.condition(self._media, rule.match)} THEN {self._due_under(at, rule)}"
            for rule in policy.rules.each
        ]
        others = self._due_under(at, policy)
        return f"CASE {' '.join(arms)} ELSE {others} END" if arms else others

    def _due_under(self, at: Instants, terms: Terms) -> str:
        if terms.media_retention == FOREVER:
            return "false"
        unseen = self._media.until(at.before(terms.recent_access), media="last_accessed_at")
        accessed = self._media.media_time("last_accessed_at")
        return f"{self._created(at, terms.media_retention)} AND ({accessed} IS NULL OR {unseen})"

    async def _revoked(self, policy: Policy, now: datetime) -> list[Branch]:
        media = self._media
        # A key not yet recorded as disabled by a pass (`plan` records nothing) counts as first seen now.
        ended = f"NOT {media.key_enabled} AND coalesce(r.first_seen_at, $2) <= $1"
        if media.key_time("expires_at") is not None:
            ended = f"({ended} OR {media.until('$1', keys='expires_at')})"
        those = (
            f"{media.as_key(media.owner_id)} IN (SELECT {media.key_id} FROM {media.keys}"
            f" LEFT JOIN {SCHEMA}.revoked_keys r"
            f' ON r.key_id = {media.key_id}::text COLLATE "C" WHERE {ended})'
        )
        # The shortest grace of all: `planning` decides by the one that holds for the row.
        grace = min([policy.key_grace, *(each.key_grace for each in policy.rules.each)])
        return [self._by_owner(those, before(now, grace), now)]

    async def _ownerless(self, policy: Policy, now: datetime) -> list[Branch]:  # noqa: ARG002
        media = self._media
        missing = await self._missing_owners() if media.virtual_key_index else None
        if missing is None:
            none = (
                f"{media.owner_id} IS NOT NULL AND NOT EXISTS (SELECT FROM {media.keys} WHERE {media.owned})"
            )
            return [Branch(condition=none, values=())]
        return [self._by_owner(f"{media.owner_id} = ANY($1::text[]::{media.owner_type}[])", missing)]

    def _by_owner(self, condition: str, *values: object) -> Branch:
        order, order_type = self._media.owner_id, self._media.owner_type
        return Branch(condition=condition, values=values, order=order, order_type=order_type)

    async def _missing_owners(self) -> list[str]:
        media = self._media
        # Steps from one distinct key id to the next along the index: millions of rows name only few.
        query = f"""
            WITH RECURSIVE named(id) AS (
                (SELECT {media.owner_id} FROM {media.media}
                 WHERE {media.owner_id} IS NOT NULL ORDER BY 1 LIMIT 1)
                UNION ALL
                SELECT (SELECT {media.owner_id} FROM {media.media}
                        WHERE {media.owner_id} > named.id ORDER BY 1 LIMIT 1)
                FROM named WHERE named.id IS NOT NULL
            )
            SELECT ARRAY(SELECT named.id::text FROM named WHERE named.id IS NOT NULL
                AND NOT EXISTS (SELECT FROM {media.keys}
                                WHERE {media.key_id} = {media.as_key("named.id")}))
        """
        async with self._database.connection() as connection:
            missing: list[str] = await connection.fetchval(query)
        return missing

    async def _ids(self, branch: Branch, policy: Policy) -> AsyncIterator[list[str]]:
        """Ids in the prefixes that meet the condition, `DRAW` at a time."""
        last: tuple[str, str] | None = None
        while True:
            async with self._database.connection() as connection:
                drawn = await self._draw(connection, branch, policy, last)
            if drawn:
                yield [row_id for _, row_id in drawn]
            if len(drawn) < DRAW:
                return
            last = drawn[-1]

    async def _draw(
        self, connection: AnyConnection, branch: Branch, policy: Policy, last: tuple[str, str] | None
    ) -> list[tuple[str, str]]:
        """Position and id of each."""
        media = self._media
        values: list[object] = list(branch.values)
        within, limits = bounds.condition(media.ordered_key, bounds.managed(policy.prefixes), len(values) + 1)
        values += limits
        order = (branch.order, *media.identity.columns) if branch.order else media.identity.columns
        after = ""
        if last is not None:
            values += last if branch.order else last[1:]
            reached = media.identity.values(f"${len(values)}")
            if branch.order:
                reached = (f"${len(values) - 1}::text::{branch.order_type}", *reached)
            after = f" AND ({', '.join(order)}) > ({', '.join(reached)})"
        # The position is passed as text, which is exact where a Python time or integer might not be.
        position = f"{branch.order}::text" if branch.order else "''"
        drawn: list[Row] = await connection.fetch(
            f"SELECT {position}, {media.identity.text} FROM {media.media}"
            f" WHERE {branch.condition} AND {within}{after}"
            f" ORDER BY {', '.join(order)} LIMIT {DRAW}",
            *values,
        )
        return [(at, row_id) for at, row_id in drawn]

    async def _rows(self, ids: Sequence[str]) -> list[Record]:
        media = self._media
        async with self._database.connection() as connection:
            # Read the rows as they are now: they may have changed or gone since their ids were read.
            rows = await connection.fetch(
                f"SELECT {media.columns} FROM {media.joined}"
                f" WHERE {media.identity.among('$1')} ORDER BY {media.ordered_key}",
                list(ids),
            )
            return [record_from(row) for row in rows]


NOMINATIONS: Mapping[Verdict, Callable[[Nominator, Policy, datetime], Awaitable[list[Branch]]]] = {
    Verdict.EXPIRED: Nominator._expired,  # noqa: SLF001 - its own
    Verdict.STALE: Nominator._stale,  # noqa: SLF001
    Verdict.REVOKED: Nominator._revoked,  # noqa: SLF001
    Verdict.OWNERLESS: Nominator._ownerless,  # noqa: SLF001
}
"""Each nominates at least the rows that its rule in `planning.retention` accepts; rows beyond a quota are
nominated by `quotas`."""


def _as_seen(record: Record, now: datetime) -> Record:
    """The record, with its owner disabled since now where no pass has recorded the disabling."""
    owner = record.owner
    if owner is None or owner.enabled or owner.disabled_since is not None:
        return record
    return replace(record, owner=replace(owner, disabled_since=now))
