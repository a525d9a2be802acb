"""The outbox. Triggers fill it (migration 0014), so that whoever writes the ledger need not think of it.

A row is deleted once it has arrived; so no reader has a place in it, which ids that are committed out of
order could slip behind.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import OBJECT_REVOKED, Delivered, Message, Subscription, Term, Unsent

FIRST_REST, LONGEST_REST = timedelta(seconds=1), timedelta(minutes=5)
"""Of a channel whose receiver is away; it doubles."""

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
"""Of a message that its receiver refused; it doubles."""

# Another address is another receiver.
FORGIVE = f"DELETE FROM {SCHEMA}.switched_off WHERE channel = $1 AND address <> $2"

OPEN = f"""
INSERT INTO {SCHEMA}.channels (name, kinds, url_column)
SELECT $1, $2::text[], $3 WHERE NOT EXISTS (SELECT FROM {SCHEMA}.switched_off WHERE channel = $1)
ON CONFLICT (name) DO UPDATE
SET kinds = excluded.kinds, url_column = excluded.url_column, due_at = clock_timestamp()
"""

CLOSE = f"DELETE FROM {SCHEMA}.channels WHERE name <> ALL($1::text[])"

FORGET = f"""
DELETE FROM {SCHEMA}.outbox o WHERE o.created_at < clock_timestamp() - $1::interval
    AND NOT EXISTS (SELECT FROM {SCHEMA}.channels c WHERE c.name = o.channel)
"""

DUE = f"""
SELECT o.id, o.kind, o.storage_key, o.ledger_id, o.payload::text AS payload, o.created_at, o.attempts
FROM {SCHEMA}.outbox o
WHERE o.channel = $1 AND o.due_at <= clock_timestamp()
  AND EXISTS (SELECT FROM {SCHEMA}.channels c WHERE c.name = $1 AND c.due_at <= clock_timestamp())
  AND NOT EXISTS (SELECT FROM {SCHEMA}.outbox e
                  WHERE e.channel = $1 AND e.storage_key = o.storage_key AND e.id < o.id
                    AND e.due_at > clock_timestamp())
ORDER BY o.id LIMIT $2
"""

# A message has one line in the ledger at most, and so has a key whose object and row were told of at once.
NOTED = f""", noted AS (
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, verdict, reason, detail, pass_id, owners)
SELECT DISTINCT ON (storage_key) (payload ->> 'operation_id')::uuid, $3, 'uncached', 'live', 'object',
    storage_key, coalesce(payload ->> 'verdict', ''), coalesce(payload ->> 'reason', ''), answer,
    (payload ->> 'pass_id')::bigint,
    CASE WHEN payload ? 'owners' THEN ARRAY(SELECT jsonb_array_elements_text(payload -> 'owners')) END
FROM gone WHERE answer IS NOT NULL AND storage_key IS NOT NULL ORDER BY storage_key, id
) SELECT count(*) FROM gone
"""

ARRIVED = f"""
WITH gone AS (
    DELETE FROM {SCHEMA}.outbox o USING unnest($1::bigint[], $2::text[]) AS a (id, answer)
    WHERE o.id = a.id RETURNING o.id, o.storage_key, o.payload, a.answer
){NOTED}
"""

# Whatever names no other virtual key than these.
ENDED = f"""
WITH gone AS (
    DELETE FROM {SCHEMA}.outbox o
    WHERE o.channel = $4 AND o.created_at < $5 AND o.payload -> 'owners' <@ to_jsonb($1::text[])
      AND o.payload -> 'owners' <> '[]'
    RETURNING o.id, o.storage_key, o.payload,
              ($2::text[])[array_position($1::text[], o.payload -> 'owners' ->> 0)] AS answer
){NOTED}
"""

REFUSED = f"""
UPDATE {SCHEMA}.outbox o
SET attempts = o.attempts + 1, last_error = r.reason,
    due_at = clock_timestamp() + least($3::interval * power(2, least(o.attempts, 20)), $4::interval)
FROM unnest($1::bigint[], $2::text[]) AS r (id, reason) WHERE o.id = r.id
"""

AWAY = f"""
UPDATE {SCHEMA}.channels
SET failures = failures + 1, last_error = $2,
    due_at = clock_timestamp() + coalesce(
        $3::interval, least($4::interval * power(2, least(failures, 20)), $5::interval))
WHERE name = $1
"""

WELL = f"UPDATE {SCHEMA}.channels SET failures = 0, last_error = NULL WHERE name = $1 AND failures > 0"

BACKLOG = f"""
SELECT coalesce(c.name, o.channel, s.channel) AS name, coalesce(o.pending, 0) AS pending, o.oldest,
       coalesce(c.failures, 0) AS failures, coalesce(c.last_error, s.reason) AS last_error,
       s.channel IS NOT NULL AS switched_off
FROM {SCHEMA}.channels c
FULL JOIN (SELECT channel, count(*) AS pending, min(created_at) AS oldest FROM {SCHEMA}.outbox GROUP BY 1) o
    ON o.channel = c.name
FULL JOIN {SCHEMA}.switched_off s ON s.channel = coalesce(c.name, o.channel)
"""

UNSENT = ("pending", "oldest", "failures", "last_error", "switched_off")


SPREADING = f"""
SELECT payload ->> 'after' AS after, payload -> 'owners' ->> 0 AS owner
FROM {SCHEMA}.outbox WHERE id = $1 FOR UPDATE
"""

SPREAD = f"""
WITH next AS (
    SELECT {{key}} AS key, to_jsonb(m) AS row FROM {{media}}
    WHERE {{owner}} = $2::text::{{owner_type}} AND ($3::text IS NULL OR {{key}} > $3) ORDER BY 1 LIMIT $5
), written AS (
    INSERT INTO {SCHEMA}.outbox (channel, kind, storage_key, payload)
    SELECT o.channel, $4, n.key, o.payload - 'after' || jsonb_strip_nulls(
        jsonb_build_object('url', n.row ->> c.url_column))
    FROM next n CROSS JOIN {SCHEMA}.outbox o JOIN {SCHEMA}.channels c ON c.name = o.channel WHERE o.id = $1
    ORDER BY n.key
)
SELECT max(key) FROM next
"""

SPREAD_TO = f"""
UPDATE {SCHEMA}.outbox SET payload = payload || jsonb_build_object('after', $2::text) WHERE id = $1
"""

SPREAD_AT_ONCE = 10_000
"""Media of a virtual key that become messages in one transaction."""


class PostgresOutbox:
    """`ports.Outbox` on Postgres."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    async def open(self, term: Term, subscriptions: Sequence[Subscription], keep: timedelta) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            for each in subscriptions:
                await connection.execute(FORGIVE, each.channel, each.address)
                await connection.execute(OPEN, each.channel, list(each.kinds), each.url_column)
            await connection.execute(CLOSE, [each.channel for each in subscriptions])
            await connection.execute(FORGET, keep)

        await self._database.transaction(work)

    async def due(self, channel: str, limit: int) -> Sequence[Message]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(DUE, channel, limit)
        return [Message(**{**row, "payload": json.loads(row["payload"])}) for row in rows]

    async def settle(self, term: Term, channel: str, delivered: Delivered) -> int:
        arrived, refused = delivered.arrived, delivered.refused

        async def work(connection: AnyConnection) -> int:
            await stand(connection, term)
            gone = 0
            if arrived:
                gone += await connection.fetchval(ARRIVED, list(arrived), list(arrived.values()), term.epoch)
            if delivered.ended:
                ended = list(delivered.ended), list(delivered.ended.values())
                gone += await connection.fetchval(ENDED, *ended, term.epoch, channel, delivered.ended_at)
            for one in delivered.spread:
                await self._spread(connection, one)
            if refused:
                wait = FIRST_WAIT, LONGEST_WAIT
                await connection.execute(REFUSED, list(refused), list(refused.values()), *wait)
            if delivered.away:
                rest = delivered.after, FIRST_REST, LONGEST_REST
                await connection.execute(AWAY, channel, delivered.away, *rest)
            else:
                await connection.execute(WELL, channel)
            return gone

        return await self._database.transaction(work)

    async def _spread(self, connection: AnyConnection, message_id: int) -> None:
        """Write messages for the next of the virtual key's media; after the last, the message itself goes."""
        message = await connection.fetchrow(SPREADING, message_id)
        if message is None:
            return
        media = self._media
        last = await connection.fetchval(
            SPREAD.format(
                key=f'{media.key_text} COLLATE "C"',
                media=media.media,
                owner=media.owner_id,
                owner_type=media.owner_type,
            ),
            message_id,
            message["owner"],
            message["after"],
            OBJECT_REVOKED,
            SPREAD_AT_ONCE,
        )
        if last is None:
            await connection.execute(f"DELETE FROM {SCHEMA}.outbox WHERE id = $1", message_id)
        else:
            await connection.execute(SPREAD_TO, message_id, last)

    async def ended(self, virtual_keys: Collection[str]) -> tuple[frozenset[str], datetime]:
        media = self._media
        ended = "false"
        if media.has_keys:
            ended = (
                f'NOT EXISTS (SELECT FROM {media.keys} WHERE {media.key_id}::text COLLATE "C" = o.id'
                f" AND {media.key_enabled} AND ({media.owner_expires} > clock_timestamp()) IS NOT FALSE)"
            )
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT clock_timestamp() AS at,"
                f" ARRAY(SELECT o.id FROM unnest($1::text[]) AS o (id) WHERE {ended}) AS ended",
                list(virtual_keys),
            )
        assert row is not None
        return frozenset(row["ended"]), row["at"]

    async def backlog(self) -> Mapping[str, Unsent]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(BACKLOG)
        return {row["name"]: Unsent(**{name: row[name] for name in UNSENT}) for row in rows}
