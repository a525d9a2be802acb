"""Erasures with proof: written down before the first deletion, carried on by whoever leads, and certified."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg

from reconciler.catalog import holds
from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.connections import COLLISIONS, AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.media_tables import kept_rows, variants
from reconciler.catalog.media_tables.records import require_tables
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import NotRemoved, explained, remove_rows
from reconciler.catalog.recovery.erasure import redact
from reconciler.catalog.recovery.soft_deleted import KEPT, NOT_KEPT
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Certified, ErasureCase, ErasureKind, ErasureState, Mode, Term, Traces, Wiped
from reconciler.model.keys import LONGEST_KEY, is_managed

CHUNK = 500
"""Rows or keys of one transaction."""

LONG = "SET LOCAL statement_timeout = '10min'"
"""The ledger has no index on the owner, nor on the key: both are looked for in all of it."""

CDN = "cdn"
"""The channel of the outbox that asks a CDN to forget."""

NUMBERING = 7_236_837_005_911_077
"""The advisory lock under which a certificate gets its number, and its place in the chain."""

_COLUMNS = (
    "e.id, e.kind, coalesce(e.subject, '{}') AS subject, e.author, e.reason, e.ordered_at, e.made_until,"
    " e.replays, e.state, e.said, e.rows_removed, e.texts_removed, e.versions_removed, e.uploads_aborted,"
    " e.finished_at"
)

ORDER = f"""
INSERT INTO {SCHEMA}.erasures (id, kind, subject, author, reason, made_until, replays)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

OPEN = f"SELECT {_COLUMNS} FROM {SCHEMA}.erasures e WHERE e.state = 'open' ORDER BY e.ordered_at, e.id"

SAME = f"SELECT id FROM {SCHEMA}.erasures WHERE state = 'open' AND kind = $1 AND subject = $2::text[]"

# Nothing of it is on its way any more.
UNRESERVE = f"""
DELETE FROM {SCHEMA}.reservations
WHERE CASE WHEN $1 THEN owner = ANY($2::text[]) ELSE storage_key = ANY($2::text[]) END
  AND ($3::timestamptz IS NULL OR created_at <= $3) RETURNING storage_key
"""

# With how many keys it has so far, and the number of its certificate.
SHOW = f"""
SELECT {_COLUMNS}, (SELECT count(*) FROM {SCHEMA}.erasure_keys k WHERE k.erasure_id = e.id) AS keys,
       (SELECT min(c.number) FROM {SCHEMA}.certificates c WHERE c.erasure_id = e.id) AS number
FROM {SCHEMA}.erasures e
"""

PAGE = f"""
{SHOW} WHERE ($2::uuid[] IS NULL OR e.id = ANY($2))
  AND ($3::timestamptz IS NULL OR (e.ordered_at, e.id) < ($3, $4::uuid))
ORDER BY e.ordered_at DESC, e.id DESC LIMIT $1
"""

KEYS = f"SELECT storage_key FROM {SCHEMA}.erasure_keys WHERE erasure_id = $1 ORDER BY storage_key"

ADD_KEYS = f"""
INSERT INTO {SCHEMA}.erasure_keys (erasure_id, storage_key)
SELECT $1, k.key FROM unnest($2::text[]) AS k (key) WHERE octet_length(k.key) <= {LONGEST_KEY}
ON CONFLICT DO NOTHING
"""

# What is anybody else's as well stays: it is named among what was kept.
OWNED = f"""
SELECT storage_key FROM {SCHEMA}.hidden WHERE owners = ARRAY[$1::text]
UNION SELECT storage_key FROM {SCHEMA}.marks WHERE owners = ARRAY[$1::text]
UNION SELECT storage_key FROM {SCHEMA}.departures WHERE virtual_key = $1 AND storage_key IS NOT NULL
"""

OWNED_ONCE = f"SELECT DISTINCT storage_key FROM {SCHEMA}.ledger WHERE owners = ARRAY[$1::text]"

SHARED = f"""
SELECT storage_key FROM {SCHEMA}.hidden WHERE $1 = ANY(owners) AND owners <> ARRAY[$1::text]
UNION
SELECT storage_key FROM {SCHEMA}.ledger WHERE $1 = ANY(owners) AND owners <> ARRAY[$1::text] AND {KEPT}
"""

# What can be brought back, or read, of these keys, and was not erased yet.
READABLE = f"""
SELECT storage_key, noted FROM {SCHEMA}.erasure_keys k WHERE erasure_id = $1 AND (
    NOT noted
    OR EXISTS (SELECT FROM {SCHEMA}.hidden h WHERE h.storage_key = k.storage_key AND NOT h.erased)
    OR EXISTS (SELECT FROM {SCHEMA}.marks m WHERE m.storage_key = k.storage_key AND m.left_rows IS NOT NULL)
    OR EXISTS (SELECT FROM {SCHEMA}.departures d WHERE d.storage_key = k.storage_key AND d.kept IS NOT NULL)
    OR EXISTS (SELECT FROM {SCHEMA}.ledger l WHERE l.storage_key = k.storage_key AND {KEPT}))
ORDER BY storage_key
"""

NOTED = f"""
UPDATE {SCHEMA}.erasure_keys SET noted = true WHERE erasure_id = $1 AND storage_key = ANY($2::text[])
"""

COUNT = f"""
UPDATE {SCHEMA}.erasures SET rows_removed = rows_removed + $2, texts_removed = texts_removed + $3,
    versions_removed = versions_removed + $4, uploads_aborted = uploads_aborted + $5
WHERE id = $1
"""

SAY = f"UPDATE {SCHEMA}.erasures SET said = $2 WHERE id = $1 AND said IS DISTINCT FROM $2"

# The key's object goes as that of any record which left the table: marked, claimed, and judged again.
LEAVE = f"""
INSERT INTO {SCHEMA}.departures (storage_key, left_at, virtual_key)
SELECT k.key, clock_timestamp(), k.owner FROM unnest($1::text[], $2::text[]) AS k (key, owner)
WHERE NOT EXISTS (SELECT FROM {SCHEMA}.departures d WHERE d.storage_key = k.key)
"""

# Keys about which something is under way: a departure, a mark, a copy that waits for its purge.
UNDER_WAY = f"""
SELECT storage_key FROM {SCHEMA}.departures WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.hidden
    WHERE storage_key = ANY($1::text[]) AND NOT (state = 'restored' AND mode = 'versioned')
"""

TRACES = f"""
SELECT count(DISTINCT storage_key) FILTER (
           WHERE event = 'result' AND what = 'object' AND result = 'deleted' AND at >= $2) AS deleted,
       count(*) FILTER (WHERE event = 'purged' AND at >= $2) AS purged,
       coalesce(array_agg(DISTINCT recovery ->> 'quarantine_key')
                FILTER (WHERE recovery ->> 'quarantine_key' IS NOT NULL), '{{}}') AS copies
FROM {SCHEMA}.ledger WHERE storage_key = ANY($1::text[])
"""

# What a CDN was asked to forget, and what it said; and what it has not answered.
UNCACHED = f"""
SELECT count(DISTINCT storage_key) AS answered, max(detail) AS answer, max(at) AS answered_at,
       (SELECT count(*) FROM {SCHEMA}.outbox o JOIN {SCHEMA}.channels c ON c.name = o.channel
        WHERE c.name = '{CDN}' AND o.storage_key = ANY($1::text[])) AS waiting
FROM {SCHEMA}.ledger WHERE event = 'uncached' AND storage_key = ANY($1::text[]) AND at >= $2
"""

NEWEST = f"SELECT digest, number, document FROM {SCHEMA}.certificates ORDER BY number DESC, at DESC LIMIT 1"

CERTIFY = f"""
INSERT INTO {SCHEMA}.certificates (digest, number, erasure_id, document) VALUES ($1, $2, $3, $4)
"""

DONE = f"""
UPDATE {SCHEMA}.erasures SET state = 'done', subject = NULL, said = NULL, finished_at = clock_timestamp()
WHERE id = $1 AND state = 'open' RETURNING id
"""

# For whoever follows the ledger, and has to erase it too.
TELL = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, detail, owners)
VALUES ($1, 'erased', 'live', 'virtual_key', '', '', 'erasure', $2, $3::text[])
"""

# The line of a row that is removed, in full for what listens to the ledger, and redacted at once.
LEFT = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, record_id, verdict, reason, result,
                             owners, row_columns, row_types, row_values)
SELECT (SELECT epoch FROM {SCHEMA}.term), 'result', 'live', 'record', {{key}} COLLATE "C", {{id}}, '',
       'erasure', 'left', ARRAY[{{owner}}::text], $2, $3, {{row}}
FROM {{table}} WHERE {{among}} RETURNING id
"""

FORGET_ROWS = f"UPDATE {SCHEMA}.ledger SET {NOT_KEPT} WHERE id = ANY($1::bigint[])"

UNCOPIED = f"SELECT digest, number, document FROM {SCHEMA}.certificates WHERE NOT copied ORDER BY number, at"

COPIED = f"UPDATE {SCHEMA}.certificates SET copied = true WHERE digest = $1"

DIGESTS = f"SELECT digest FROM {SCHEMA}.certificates"

IMPORT = f"""
INSERT INTO {SCHEMA}.certificates (digest, number, document, copied) VALUES ($1, $2, $3, true)
ON CONFLICT DO NOTHING
"""

# Every storage key that the database knows of, wherever it is written.
KNOWN_KEYS = f"""
SELECT storage_key FROM {SCHEMA}.ledger UNION SELECT storage_key FROM {SCHEMA}.hidden
UNION SELECT storage_key FROM {SCHEMA}.marks UNION SELECT storage_key FROM {SCHEMA}.departures
UNION SELECT storage_key FROM {SCHEMA}.tombstones
"""

KNOWN_OWNERS = f"""
SELECT DISTINCT o.owner FROM {SCHEMA}.ledger CROSS JOIN unnest(owners) AS o (owner)
UNION SELECT DISTINCT o.owner FROM {SCHEMA}.hidden CROSS JOIN unnest(owners) AS o (owner)
UNION SELECT DISTINCT o.owner FROM {SCHEMA}.marks CROSS JOIN unnest(owners) AS o (owner)
UNION SELECT DISTINCT virtual_key FROM {SCHEMA}.departures WHERE virtual_key IS NOT NULL
"""

Compose: TypeAlias = Callable[[int, str | None, datetime], Certified]
"""Makes the certificate of that number, behind the one of that digest, at that time."""


class PostgresErasures:
    """`ports.Erasures` on Postgres, and what a person asks of them."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    # --- what a person orders -----------------------------------------------------------------------

    async def order(
        self,
        kind: ErasureKind,
        subject: Sequence[str],
        author: str,
        reason: str,
        *,
        made_until: datetime | None = None,
        replays: str | None = None,
    ) -> UUID:
        """Write an erasure down; the leader begins it within seconds. One that is open for the same subject
        stands for both. Raises NotDone where the subject cannot be one of this database's.
        """

        async def work(connection: AnyConnection) -> UUID:
            return await self._order(connection, kind, subject, author, reason, made_until, replays)

        return await self._database.transaction(work)

    async def _order(
        self,
        connection: AnyConnection,
        kind: ErasureKind,
        subject: Sequence[str],
        author: str,
        reason: str,
        made_until: datetime | None,
        replays: str | None,
    ) -> UUID:
        subject = sorted(set(subject))
        if not subject or not all(storable(each) for each in subject):
            raise NotDone(ErrorKind.INVALID, "no_target", "say what to erase")
        if kind is ErasureKind.VIRTUAL_KEY:
            subject = [await self._as_owner(connection, subject[0])]
        if (same := await connection.fetchval(SAME, kind.value, subject)) is not None:
            found: UUID = same
            return found
        made = uuid4()
        await connection.execute(ORDER, made, kind.value, subject, author, reason, made_until, replays)
        if kind is ErasureKind.KEYS:
            await connection.execute(ADD_KEYS, made, subject)
        return made

    async def _as_owner(self, connection: AnyConnection, owner: str) -> str:
        """The id as the table writes it."""
        try:
            async with connection.transaction():
                written: str = await connection.fetchval(
                    f"SELECT $1::text::{self._media.owner_type}::text", owner
                )
        except asyncpg.DataError as error:
            raise NotDone(
                ErrorKind.INVALID, "no_such_id", f"{owner!r} cannot be the id of a virtual key: {error}"
            ) from None
        return written

    async def held(self, kind: ErasureKind, subject: Sequence[str]) -> bool:
        """Whether anything of it is on hold at the moment."""
        async with self._database.connection() as connection:
            keys = list(subject)
            if kind is ErasureKind.VIRTUAL_KEY:
                owner = await self._as_owner(connection, subject[0])
                if await connection.fetchval(
                    f"SELECT EXISTS (SELECT FROM {SCHEMA}.holds WHERE kind = 'virtual_key' AND target = $1"
                    " AND (until IS NULL OR until > clock_timestamp()))",
                    owner,
                ):
                    return True
                keys = [
                    row["key"]
                    for row in await connection.fetch(
                        f"SELECT DISTINCT {self._media.key_text} AS key FROM {self._media.media}"
                        f" WHERE {self._media.owner_id} = $1::text::{self._media.owner_type}",
                        owner,
                    )
                ]
            return bool(await holds.held(connection, self._media, keys))

    async def page(
        self,
        ids: Sequence[UUID] | None = None,
        limit: int = 100,
        before: tuple[datetime, UUID] | None = None,
    ) -> Sequence[ErasureCase]:
        """The erasures, the newest first, or those with these ids; behind time and id `before`."""
        at, last = before or (None, None)
        async with self._database.connection() as connection:
            rows = await connection.fetch(PAGE, limit, None if ids is None else list(ids), at, last)
            return [_case(row) for row in rows]

    async def certificates(
        self, case_id: UUID | None = None, number: int | None = None
    ) -> Sequence[Certified]:
        """The certificates, in their order; of one erasure, or with that number."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT digest, number, document FROM {SCHEMA}.certificates"
                " WHERE ($1::uuid IS NULL OR erasure_id = $1) AND ($2::bigint IS NULL OR number = $2)"
                " ORDER BY number, at",
                case_id,
                number,
            )
            return [Certified(**dict(row)) for row in rows]

    async def known_owners(self) -> set[str]:
        """Every virtual key that a row or a note of ours names."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            rows = await connection.fetch(
                f"SELECT DISTINCT {self._media.owner_id}::text AS owner FROM {self._media.table}"
                f" UNION {KNOWN_OWNERS}"
            )
            return {row["owner"] for row in rows if row["owner"] is not None}

    async def known_keys(self) -> set[str]:
        """Every storage key that a row or a note of ours names."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            rows = await connection.fetch(
                f"SELECT {self._media.key_text} AS storage_key FROM {self._media.table} UNION {KNOWN_KEYS}"
            )
            return {row["storage_key"] for row in rows if row["storage_key"] is not None}

    async def replay(
        self,
        certificates: Sequence[Certified],
        wanted: Sequence[tuple[ErasureKind, Sequence[str], datetime, str]],
        author: str,
        reason: str,
    ) -> Sequence[UUID]:
        """Order these erasures again, of kind, subject, end and digest, and know the certificates from now
        on, in one transaction.
        """

        async def work(connection: AnyConnection) -> list[UUID]:
            made = [
                await self._order(connection, kind, subject, author, reason, until, digest)
                for kind, subject, until, digest in wanted
            ]
            for each in certificates:
                await connection.execute(IMPORT, each.digest, each.number, each.document)
            return made

        return await self._database.transaction(work)

    # --- what the leader does -----------------------------------------------------------------------

    async def open(self) -> Sequence[ErasureCase]:
        async with self._database.connection() as connection:
            return [_case(row) for row in await connection.fetch(OPEN)]

    async def wipe(
        self, term: Term, case: ErasureCase, prefixes: Sequence[str], stays: Sequence[str] = ()
    ) -> Wiped:
        async def work(connection: AnyConnection) -> Wiped:
            standing = await stand(connection, term)
            if standing.paused or standing.mode not in {None, Mode.LIVE}:
                return Wiped()
            await require_tables(connection, self._media)
            await holds.claims_wait(connection)
            await holds.require_known(connection)
            return await self._wipe(connection, case, tuple(prefixes), stays)

        return await self._database.transaction(work)

    async def _wipe(
        self, connection: AnyConnection, case: ErasureCase, prefixes: tuple[str, ...], stays: Sequence[str]
    ) -> Wiped:
        """Rows go as a gateway removes them: the keys that they named are noted, and their objects are judged
        by the next pass. Rows that are locked, on hold or outside the prefixes stay.
        """
        media = self._media
        owned, subject = case.kind is ErasureKind.VIRTUAL_KEY, list(case.subject)
        reserved = await connection.fetch(UNRESERVE, owned, subject, case.made_until)
        await connection.execute(ADD_KEYS, case.id, [row["storage_key"] for row in reserved])
        where, values = self._rows_of(case)
        rows = await connection.fetch(
            f"SELECT {media.identity.text} AS id, {media.key_text} AS key, {media.owner_id}::text AS owner"
            f" FROM {media.media} WHERE {where} AND {media.identity.text} <> ALL(${len(values) + 1}::text[])"
            f" LIMIT {CHUNK} FOR UPDATE SKIP LOCKED",
            *values,
            list(stays),
        )
        held = await holds.held(connection, media, [row["key"] for row in rows])
        ours = {row["id"]: row for row in rows if is_managed(row["key"], prefixes) and row["key"] not in held}
        further = await variants.naming(connection, media, list(ours)) if media.variants else []
        gone, refused = await self._remove(connection, list(ours))
        left = {row["key"]: row["owner"] for row in ours.values() if row["id"] in gone}
        left |= {key: ours[row]["owner"] for row, key in further if row in gone and is_managed(key, prefixes)}
        await connection.execute(ADD_KEYS, case.id, sorted({*left, *(row["key"] for row in rows)}))
        await connection.execute(LEAVE, list(left), list(left.values()))
        await connection.execute(COUNT, case.id, len(gone), 0, 0, 0)
        return Wiped(
            rows=len(gone),
            stays=tuple(row["id"] for row in rows if row["id"] not in gone),
            refused=tuple(refused),
            more=len(rows) == CHUNK,
        )

    async def _remove(self, connection: AnyConnection, ids: Sequence[str]) -> tuple[set[str], list[str]]:
        """Remove locked rows, one by one where they do not go together: the ids, and why others stay."""
        if not ids:
            return set(), []
        try:
            async with connection.transaction():
                await self._note_rows(connection, ids)
                await remove_rows(connection, self._media, ids)
        except COLLISIONS:
            raise
        except (asyncpg.PostgresError, NotRemoved) as error:
            if len(ids) == 1:
                return set(), [explained(error)]
        else:
            return {*ids}, []
        gone, refused = set[str](), list[str]()
        for each in ids:
            one, why = await self._remove(connection, [each])
            gone |= one
            refused += why
        return gone, refused

    async def _note_rows(self, connection: AnyConnection, ids: Sequence[str]) -> None:
        media = self._media
        columns = kept_rows.kept(await kept_rows.columns(connection, media.oids[0]))
        note = LEFT.format(
            key=media.key_text,
            id=media.identity.text,
            owner=media.owner_id,
            row=kept_rows.as_array(columns),
            table=media.table,
            among=media.identity.among("$1"),
        )
        names, types = [each.name for each in columns], [each.type for each in columns]
        lines = await connection.fetch(note, list(ids), names, types)
        await connection.execute(FORGET_ROWS, [row["id"] for row in lines])

    async def rows(self, case: ErasureCase) -> set[str]:
        """The storage keys of the rows that are still there."""
        where, values = self._rows_of(case)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT DISTINCT {self._media.key_text} AS key FROM {self._media.media} WHERE {where}",
                *values,
            )
            return {row["key"] for row in rows}

    def _rows_of(self, case: ErasureCase) -> tuple[str, list[object]]:
        """A condition for the case's rows, and its values."""
        media = self._media
        until = f" AND coalesce({media.created} <= $2::timestamptz, $2 IS NULL OR {media.created} IS NULL)"
        if case.kind is ErasureKind.VIRTUAL_KEY:
            where = f"{media.owner_id} = $1::text::{media.owner_type}"
            return where + until, [case.subject[0], case.made_until]
        return f"{media.equal_key} = ANY($1::text[])" + until, [list(case.subject), case.made_until]

    async def discover(self, term: Term, case: ErasureCase, *, thoroughly: bool) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            if case.kind is not ErasureKind.VIRTUAL_KEY:
                return
            await connection.execute(LONG)
            query = f"{OWNED} UNION {OWNED_ONCE}" if thoroughly else OWNED
            found = [row["storage_key"] for row in await connection.fetch(query, case.subject[0])]
            await connection.execute(ADD_KEYS, case.id, found)

        await self._database.transaction(work)

    async def shared(self, case: ErasureCase) -> set[str]:
        if case.kind is not ErasureKind.VIRTUAL_KEY:
            return set()
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            rows = await connection.fetch(SHARED, case.subject[0])
            return {row["storage_key"] for row in rows}

    async def keys(self, case: ErasureCase) -> Sequence[str]:
        async with self._database.connection() as connection:
            return [row["storage_key"] for row in await connection.fetch(KEYS, case.id)]

    async def redact(self, term: Term, case: ErasureCase) -> None:
        """Take removed rows out of the ledger, and have copies purged, but for what is on hold."""
        async with self._database.connection() as connection:
            noted = {row["storage_key"]: row["noted"] for row in await connection.fetch(READABLE, case.id)}
        keys = list(noted)
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]

            async def work(connection: AnyConnection, part: Sequence[str] = part) -> None:
                await stand(connection, term)
                await connection.execute(LONG)
                await holds.claims_wait(connection)
                held = await holds.held(connection, self._media, part)
                free = [key for key in part if key not in held]
                new = [key for key in free if not noted[key]]
                texts = await redact(connection, free, new, case.author)
                await connection.execute(NOTED, case.id, free)
                await connection.execute(COUNT, case.id, 0, texts, 0, 0)

            await self._database.transaction(work)

    async def under_way(self, keys: Sequence[str]) -> set[str]:
        async with self._database.connection() as connection:
            return {row["storage_key"] for row in await connection.fetch(UNDER_WAY, list(keys))}

    async def leave(self, term: Term, case: ErasureCase, keys: Sequence[str]) -> None:
        """Note that these keys have no record any more, so that the next pass judges their objects."""
        owner = case.subject[0] if case.kind is ErasureKind.VIRTUAL_KEY else None

        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(LEAVE, list(keys), [owner] * len(keys))

        await self._database.transaction(work)

    async def count(self, term: Term, case: ErasureCase, *, versions: int, uploads: int) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(COUNT, case.id, 0, 0, versions, uploads)

        await self._database.transaction(work)

    async def say(self, case: ErasureCase, why: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SAY, case.id, why)

    async def traces(self, case: ErasureCase, keys: Sequence[str]) -> Traces:
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            row = await connection.fetchrow(TRACES, list(keys), case.ordered_at)
            cdn = await connection.fetchrow(UNCACHED, list(keys), case.ordered_at)
        assert row is not None, "a count has a row"
        assert cdn is not None, "a count has a row"
        return Traces(
            deleted=row["deleted"],
            purged=row["purged"],
            copies=tuple(row["copies"]),
            uncached=cdn["answered"],
            uncached_at=cdn["answered_at"],
            cdn_said=cdn["answer"],
            cdn_waits=cdn["waiting"],
        )

    async def certify(
        self,
        term: Term,
        case: ErasureCase,
        spared: Collection[str],
        compose: Compose,
    ) -> Certified | None:
        async def work(connection: AnyConnection) -> Certified | None:
            standing = await stand(connection, term)
            await connection.execute("SELECT pg_advisory_xact_lock($1)", NUMBERING)
            # A writer may have come since: what it wrote is looked for once more, and the erasure goes on.
            where, values = self._rows_of(case)
            rows = await connection.fetch(
                f"SELECT DISTINCT {self._media.key_text} AS key FROM {self._media.media} WHERE {where}",
                *values,
            )
            if {row["key"] for row in rows} - {*spared}:
                return None
            newest = await connection.fetchrow(NEWEST)
            made = compose(
                newest["number"] + 1 if newest else 1, newest["digest"] if newest else None, standing.now
            )
            if await connection.fetchval(DONE, case.id) is None:
                return None
            await connection.execute(CERTIFY, made.digest, made.number, case.id, made.document)
            await connection.execute(f"DELETE FROM {SCHEMA}.erasure_keys WHERE erasure_id = $1", case.id)
            if case.kind is ErasureKind.VIRTUAL_KEY:
                told = f"certificate {made.number}, {made.digest}"
                await connection.execute(TELL, term.epoch, told, list(case.subject))
            return made

        return await self._database.transaction(work)

    async def uncopied(self) -> Sequence[Certified]:
        async with self._database.connection() as connection:
            return [Certified(**dict(row)) for row in await connection.fetch(UNCOPIED)]

    async def copied(self, certificate: Certified) -> None:
        async with self._database.connection() as connection:
            await connection.execute(COPIED, certificate.digest)

    async def digests(self) -> set[str]:
        async with self._database.connection() as connection:
            return {row["digest"] for row in await connection.fetch(DIGESTS)}

    async def newest(self) -> Certified | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(NEWEST)
            return Certified(**dict(row)) if row else None


def _case(row: asyncpg.Record) -> ErasureCase:
    fields = dict(row)
    fields["kind"], fields["state"] = ErasureKind(row["kind"]), ErasureState(row["state"])
    fields["subject"] = tuple(row["subject"])
    return ErasureCase(**fields)
