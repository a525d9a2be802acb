"""Receivers of events: those that are switched off, Postgres' own, and events that are told again."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Delivered, Message, Replayed, Subscription, SwitchedOff

CHANNEL = "notify"

LONGEST = 7_999
"""Bytes of a notification; Postgres takes no more."""

LISTENERS = ("webhook", CHANNEL)
"""The channels that are told of events."""

SWITCH_OFF = f"""
WITH closed AS (DELETE FROM {SCHEMA}.channels WHERE name = $1)
INSERT INTO {SCHEMA}.switched_off (channel, address, kinds, reason) VALUES ($1, $2, $3::text[], $4)
ON CONFLICT (channel) DO UPDATE SET address = excluded.address, kinds = excluded.kinds,
    reason = excluded.reason, at = clock_timestamp()
"""

SWITCH_ON = f"""
WITH again AS (DELETE FROM {SCHEMA}.switched_off WHERE channel = $1 RETURNING channel, kinds)
INSERT INTO {SCHEMA}.channels (name, kinds) SELECT channel, kinds FROM again
ON CONFLICT (name) DO NOTHING RETURNING name
"""

LISTED = f"SELECT channel, at, reason FROM {SCHEMA}.switched_off ORDER BY channel"

OPEN = f"SELECT name FROM {SCHEMA}.channels WHERE name = ANY($1::text[]) ORDER BY name"

# As the trigger writes it (migration 0021), in the ledger's order, and not what waits anyway.
AGAIN = f"""
WITH page AS (
    SELECT *, what || ' ' || CASE WHEN event IN ('result', 'restored') THEN result ELSE event END AS kind
    FROM {SCHEMA}.ledger
    WHERE mode = 'live' AND (at, id) > ($1::timestamptz, $2::bigint) AND at < $3 ORDER BY at, id LIMIT $4
), told AS (
    INSERT INTO {SCHEMA}.outbox (channel, kind, storage_key, ledger_id, payload)
    SELECT c.name, l.kind, l.storage_key, l.id, jsonb_strip_nulls(jsonb_build_object(
        'at', l.at, 'epoch', l.epoch, 'operation_id', l.operation_id, 'pass_id', l.pass_id,
        'verdict', l.verdict, 'reason', l.reason, 'detail', l.detail, 'record_id', l.record_id,
        'variant_of', l.variant_of, 'owners', l.owners, 'bytes', l.bytes, 'etag', l.etag))
    FROM page l JOIN {SCHEMA}.channels c ON l.kind = ANY (c.kinds)
    WHERE c.name = ANY($5::text[]) AND NOT $6::boolean
      AND NOT EXISTS (SELECT FROM {SCHEMA}.outbox o WHERE o.channel = c.name
                        AND o.storage_key = l.storage_key AND o.ledger_id = l.id)
    ORDER BY l.id
), last AS (SELECT at, id FROM page ORDER BY at DESC, id DESC LIMIT 1)
SELECT (SELECT at FROM last) AS at, (SELECT id FROM last) AS id,
       (SELECT count(*) FROM page l WHERE EXISTS (
           SELECT FROM {SCHEMA}.channels c
           WHERE c.name = ANY($5::text[]) AND l.kind = ANY (c.kinds))) AS events
"""

LINES = 10_000
"""Lines of the ledger that are told again in one transaction."""


class Event(Protocol):
    """An event as it is sent; `short` is without what may be long."""

    @property
    def text(self) -> str: ...

    @property
    def short(self) -> str: ...


class Place(NamedTuple):
    """Where a line of the ledger stands among the others."""

    at: datetime
    id: int


class Receivers:
    """What an operator asks about receivers, and what the leader notes of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def switch_off(self, subscription: Subscription, reason: str) -> None:
        """Close the channel until a person, or another address, opens it: nothing more is kept for it."""
        async with self._database.connection() as connection:
            kinds = list(subscription.kinds)
            await connection.execute(SWITCH_OFF, subscription.channel, subscription.address, kinds, reason)

    async def switch_on(self, channel: str) -> bool:
        """Open it again; False where it was not switched off."""
        async with self._database.connection() as connection:
            return await connection.fetchval(SWITCH_ON, channel) is not None

    async def switched_off(self) -> Sequence[SwitchedOff]:
        async with self._database.connection() as connection:
            return [SwitchedOff(**dict(row)) for row in await connection.fetch(LISTED)]

    async def open(self) -> Sequence[str]:
        """The channels of events that are open."""
        async with self._database.connection() as connection:
            return [row["name"] for row in await connection.fetch(OPEN, list(LISTENERS))]

    async def replay(self, since: datetime, until: datetime, *, dry_run: bool) -> Replayed:
        """Have every event of that time told again to the receivers that are open, but for what waits still.

        In transactions of some thousand lines: what one that is cut short has put there is not put twice.
        """
        place, events = Place(since - timedelta(microseconds=1), 2**62), 0
        channels = await self.open()
        while True:

            async def work(connection: AnyConnection, place: Place = place) -> tuple[Place | None, int]:
                row = await connection.fetchrow(AGAIN, *place, until, LINES, channels, dry_run)
                assert row is not None
                return (None if row["at"] is None else Place(row["at"], row["id"])), row["events"]

            following, more = await self._database.transaction(work)
            events += more
            if following is None:
                return Replayed(events=events, channels=channels)
            place = following


class NotifyChannel:
    """`ports.Channel` for whoever listens on this database. Who does not listen just then misses it."""

    receiver = CHANNEL
    batch = 1_000

    def __init__(
        self, database: Database, name: str, kinds: Sequence[str], render: Callable[[Message], Event | None]
    ) -> None:
        self._database = database
        self._name = name
        self._render = render
        self.subscription = Subscription(channel=CHANNEL, kinds=kinds, address=name)

    async def send(self, messages: Sequence[Message]) -> Delivered:
        events = [event for message in messages if (event := self._render(message)) is not None]
        texts = [_fitting(event) for event in events]
        async with self._database.connection() as connection:
            await connection.execute(
                "SELECT pg_notify($1, t.text) FROM unnest($2::text[]) WITH ORDINALITY AS t (text, place)"
                " ORDER BY t.place",
                self._name,
                texts,
            )
        return Delivered(arrived=dict.fromkeys([message.id for message in messages]))


def _fitting(event: Event) -> str:
    return event.text if len(event.text.encode()) <= LONGEST else event.short
