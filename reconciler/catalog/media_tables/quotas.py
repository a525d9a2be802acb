"""What owners keep under each quota, added up over the gateway's rows, and what of it is evicted first.

A row counts under the quota of the first rule that matches it, for an owner that exists. A storage key counts
once for an owner, however many of its rows name it. What goes anyway counts as gone: rows soft-deleted or
expired, rows with a mark for another reason, and what is claimed. So nothing is evicted for its sake.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from uuid import UUID

from reconciler.catalog.db import bounds
from reconciler.catalog.db.config import literal
from reconciler.catalog.db.connections import AnyConnection, Database, Row
from reconciler.catalog.db.expressions import before
from reconciler.catalog.db.patient import patient
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import matching
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import (
    QUOTA_REACHED,
    VERDICTS,
    Evict,
    Mark,
    Owner,
    Policy,
    Quota,
    QuotaOwner,
    QuotaStanding,
    QuotaUse,
    Record,
    Terms,
    Usage,
    VirtualKey,
    reference_to,
)

LOCK = 5_021_387_415
"""The advisory lock of claims that add up; an arbitrary number of ours."""

OWNERS = 10_000
"""Owners beyond a quota that one reading of the table notes; and how many of them one statement ranks."""
AT_ONCE = 100

_OWN = ", ".join(literal(each) for each in VERDICTS if each.spec.sums)

# `free`: may be evicted, as far as the row alone says. A row without an account has no quota or no owner.
ROWS = """
SELECT a.quota, a.owner, {id} COLLATE "C" AS id, {key} COLLATE "C" AS key, {size} AS size, a.created,
       coalesce(a.accessed, a.created) AS used,
       coalesce(a.created <= {fresh} AND (a.accessed IS NULL OR a.accessed <= a.recent), false) AS free
FROM {tables}
CROSS JOIN LATERAL (SELECT {place} AS place) p
CROSS JOIN LATERAL (SELECT {quota} AS quota, {owner} AS owner, {recent} AS recent, {created} AS created,
                           {accessed} AS accessed) a
WHERE {within} AND {asked} AND a.owner IS NOT NULL AND ({ending}) IS NOT TRUE
  AND NOT EXISTS (SELECT FROM {schema}.marks k WHERE k.storage_key = {key} COLLATE "C"
                  AND (k.verdict NOT IN ({own})
                       OR k.state = 'claimed' AND k.operation_id IS DISTINCT FROM {operation}::uuid))
"""

ONE_ROW_A_KEY = "SELECT r.*, ARRAY[r.id] AS ids FROM ({rows}) r"

# An object is what most of its rows allow: it goes only where each of them may, and counts as the smallest.
SOME_ROWS_A_KEY = """
SELECT quota, owner, key, min(id) AS id, array_agg(id) AS ids, min(size) AS size, max(created) AS created,
       max(used) AS used, bool_and(free) AS free
FROM ({rows}) r GROUP BY quota, owner, key
"""

BEYOND = """
SELECT quota, owner FROM ({kept}) k WHERE {after} GROUP BY quota, owner HAVING {share} > 1
ORDER BY quota, owner LIMIT {limit}
"""

RANKED = """
SELECT owner, ids, size, bytes::text, objects, bytes_before::text, objects_before, at::text, created::text, id
FROM (SELECT k.*, {at} AS at, sum(size) OVER own AS bytes, count(*) OVER own AS objects,
             coalesce(sum(size) FILTER (WHERE free) OVER prior, 0) AS bytes_before,
             count(*) FILTER (WHERE free) OVER prior AS objects_before
      FROM ({kept}) k
      WINDOW own AS (PARTITION BY owner),
             prior AS (PARTITION BY owner ORDER BY {at}, created, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) r
WHERE {chosen}
"""

# Of a few keys of owners that may have millions: all rows count, and only those are sorted which go before
# the last of these keys. A row without a date compares with none, and goes last.
RANKED_SOME = """
WITH k AS NOT MATERIALIZED (SELECT f.*, {at} AS at FROM ({kept}) f),
     last AS (SELECT DISTINCT ON (owner) owner, at, created, id FROM k WHERE {chosen}
              ORDER BY owner, at DESC, created DESC, id DESC),
     whole AS (SELECT owner, sum(size) AS bytes, count(*) AS objects FROM k GROUP BY owner),
     ranked AS (SELECT k.*, coalesce(sum(k.size) FILTER (WHERE k.free) OVER prior, 0) AS bytes_before,
                       count(*) FILTER (WHERE k.free) OVER prior AS objects_before
                FROM k JOIN last ON last.owner = k.owner
                WHERE ((k.at, k.created, k.id) <= (last.at, last.created, last.id)) IS NOT FALSE
                WINDOW prior AS (PARTITION BY k.owner ORDER BY k.at, k.created, k.id
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))
SELECT owner, ids, size, bytes::text, objects, bytes_before::text, objects_before
FROM ranked JOIN whole USING (owner) WHERE {chosen}
"""

NEAREST = """
SELECT quota, owner, objects, bytes::text, share, place, reached
FROM (SELECT o.*, row_number() OVER (PARTITION BY quota ORDER BY share DESC, owner) AS place,
             ARRAY[{reached}] AS reached
      FROM (SELECT quota, owner, count(*) AS objects, sum(size) AS bytes, ({share})::float AS share
            FROM ({kept}) k GROUP BY quota, owner) o) p
WHERE place <= {top} ORDER BY quota, place
"""


async def beyond(
    database: Database, media: MediaTables, policy: Policy, now: datetime, draw: int
) -> AsyncIterator[Mapping[str, Usage]]:
    """The rows to be evicted by their ids, `draw` storage keys at a time.

    Reads the whole table once, and then the rows of owners that keep too much. Nothing is read where no quota
    evicts, or the tables do not say how old a row is and when it was read.
    """
    quotas = {each.name: each for each in policy.evicting}
    if not quotas or media.media_time("created_at") is None or media.media_time("last_accessed_at") is None:
        return
    last: Row | None = None
    while True:
        async with patient(database.config) as connection:
            found = await _beyond(connection, media, policy, now, last)
        for name, those in groupby(found, lambda row: row["quota"]):
            owners = [row["owner"] for row in those]
            for start in range(0, len(owners), AT_ONCE):
                some = owners[start : start + AT_ONCE]
                async for page in _evicted(database, media, policy, quotas[name], some, now, draw):
                    yield page
        if len(found) < OWNERS:
            return
        last = found[-1]


async def add_usage(
    connection: AnyConnection,
    media: MediaTables,
    policy: Policy,
    marks: Iterable[Mark],
    named: dict[str, list[Record]],
    now: datetime,
    operation: UUID | None = None,
) -> None:
    """Add to rows of these marks what their owners keep, for the verdicts that read it.

    What `operation` has claimed counts as there; what any other has, as gone.
    """
    keys = {mark.storage_key for mark in marks if mark.verdict.spec.sums} & named.keys()
    rows = [row for key in keys for row in named[key] if row.storage_key == key]
    if found := await usages(connection, media, policy, rows, now, operation):
        for key in keys:
            named[key] = [replace(row, usage=found.get(row.id)) for row in named[key]]


async def usages(
    connection: AnyConnection,
    media: MediaTables,
    policy: Policy,
    rows: Iterable[Record],
    now: datetime,
    operation: UUID | None = None,
) -> Mapping[str, Usage]:
    """What the owner of each row keeps, by the row's id; rows that no quota counts are left out."""
    wanted: dict[Quota, tuple[set[str], set[str]]] = {}
    for row in rows:
        terms: Terms = policy.rules.first_for(row) or policy
        owner = _owner(row, terms.quota)
        if terms.quota is not None and owner is not None:
            owners, keys = wanted.setdefault(terms.quota, (set(), set()))
            owners.add(owner)
            keys.add(row.storage_key)
    found: dict[str, Usage] = {}
    for quota, (owners, keys) in wanted.items():
        values: list[object] = []
        kept = _kept(media, policy, [quota], now, values, owners=owners, operation=operation)
        # Hashed: `= ANY` of a parameter compares each of the owner's rows with each key.
        chosen = f"(key IN (SELECT unnest({_given(values, sorted(keys))}::text[]))) IS TRUE"
        ranked = RANKED_SOME.format(kept=kept, at=_at(quota), chosen=chosen)
        found |= _usages(await connection.fetch(ranked, *values), policy)
    return found


def quota_for(policy: Policy, key: str, owner: Owner, media_type: str) -> Quota | None:
    """The quota under which an object that is about to be put would count; None where none does."""
    key_of_it = VirtualKey(id=owner.id or "", enabled=True, expires_at=None, group=owner.group)
    row = replace(reference_to(key), virtual_key_id=owner.id, owner=key_of_it, media_type=media_type)
    terms: Terms = policy.rules.first_for(row) or policy
    return terms.quota


async def kept_by(
    connection: AnyConnection, media: MediaTables, policy: Policy, quota: Quota, owner: str, now: datetime
) -> tuple[int, int]:
    """How many objects the owner keeps under the quota, and their bytes. Reads all of the owner's rows."""
    values: list[object] = []
    kept = _kept(media, policy, [quota], now, values, owners=[owner])
    row = await connection.fetchrow(
        f"SELECT count(*) AS objects, coalesce(sum(size), 0)::text AS bytes FROM ({kept}) k", *values
    )
    assert row is not None, "a sum has a row"
    return row["objects"], int(row["bytes"])


async def standings(
    connection: AnyConnection, media: MediaTables, policy: Policy, now: datetime, top: int
) -> Sequence[QuotaStanding]:
    """How each quota is used, and the `top` owners that are nearest to it. Reads the whole table once."""
    values: list[object] = []
    query = NEAREST.format(
        kept=_kept(media, policy, policy.quotas, now, values),
        share=_share(policy.quotas),
        reached=", ".join(
            f"count(*) FILTER (WHERE share >= {each}) OVER (PARTITION BY quota)" for each in QUOTA_REACHED
        ),
        top=int(top),
    )
    found: dict[str, list[Row]] = {}
    for row in await connection.fetch(query, *values):
        found.setdefault(row["quota"], []).append(row)
    return [
        QuotaStanding(
            quota=quota,
            reached=tuple(rows[0]["reached"]) if rows else (0,) * len(QUOTA_REACHED),
            nearest=tuple(
                QuotaUse(
                    owner=row["owner"], objects=row["objects"], bytes=int(row["bytes"]), share=row["share"]
                )
                for row in rows
            ),
        )
        for quota in policy.quotas
        for rows in (found.get(quota.name, []),)
    ]


async def _beyond(
    connection: AnyConnection, media: MediaTables, policy: Policy, now: datetime, last: Row | None
) -> Sequence[Row]:
    values: list[object] = []
    kept = _kept(media, policy, policy.evicting, now, values)
    after = "true"
    if last is not None:
        after = f"(quota, owner) > ({_given(values, last['quota'])}, {_given(values, last['owner'])})"
    query = BEYOND.format(kept=kept, after=after, share=_share(policy.evicting), limit=OWNERS)
    rows: Sequence[Row] = await connection.fetch(query, *values)
    return rows


async def _evicted(
    database: Database,
    media: MediaTables,
    policy: Policy,
    quota: Quota,
    owners: Sequence[str],
    now: datetime,
    draw: int,
) -> AsyncIterator[Mapping[str, Usage]]:
    last: Row | None = None
    while True:
        values: list[object] = []
        kept = _kept(media, policy, [quota], now, values, owners=owners)
        exceeds = []
        if quota.max_bytes is not None:
            exceeds.append(f"size > 0 AND bytes - bytes_before > {_given(values, quota.max_bytes)}::bigint")
        if quota.max_objects is not None:
            exceeds.append(f"objects - objects_before > {_given(values, quota.max_objects)}::bigint")
        chosen = f"free AND ({' OR '.join(exceeds)})"
        if last is not None:
            place = [_given(values, last[name]) for name in ("owner", "at", "created", "id")]
            reached = f"{place[0]}, {place[1]}::text::timestamptz, {place[2]}::text::timestamptz, {place[3]}"
            chosen += f" AND (owner, at, created, id) > ({reached})"
        chosen += f" ORDER BY owner, at, created, id LIMIT {int(draw)}"
        async with database.connection() as connection:
            rows = await connection.fetch(RANKED.format(kept=kept, at=_at(quota), chosen=chosen), *values)
        if rows:
            yield _usages(rows, policy)
        if len(rows) < draw:
            return
        last = rows[-1]


def _usages(rows: Iterable[Row], policy: Policy) -> dict[str, Usage]:
    counting = policy.counting
    return {
        row_id: Usage(
            counting=counting,
            owner=row["owner"],
            size=row["size"],
            bytes=int(row["bytes"]),
            objects=row["objects"],
            bytes_before=int(row["bytes_before"]),
            objects_before=row["objects_before"],
        )
        for row in rows
        for row_id in row["ids"]
    }


def _kept(
    media: MediaTables,
    policy: Policy,
    quotas: Collection[Quota],
    now: datetime,
    values: list[object],
    owners: Collection[str] | None = None,
    operation: UUID | None = None,
) -> str:
    """A query for what counts under these quotas, of these owners or of all: a line for each key of an owner.

    Adds its parameters to `values`.
    """
    terms: list[Terms] = [*policy.rules.each, policy]
    within, limits = bounds.condition(media.ordered_key, bounds.managed(policy.prefixes), len(values) + 1)
    values += limits
    sinces = {each.recent_access: "" for each in terms}
    for each in sinces:
        sinces[each] = f"{_given(values, before(now, each))}::timestamptz"
    names = ", ".join(literal(each.name) for each in quotas)
    asked = f"a.quota IN ({names})"
    if owners is not None:
        (quota,) = quotas
        asked += f" AND {_of(media, quota, _given(values, sorted(owners)))}"
    ending = ["false"]
    if (deleted := media.media_time("deleted_at")) is not None:
        ending.append(f"{deleted} IS NOT NULL")
    if media.media_time("expires_at") is not None:
        ending.append(media.until(_given(values, now), media="expires_at"))
    rows = ROWS.format(
        id=f"({media.identity.text})",
        key=f"({media.key_text})",
        size=media.size,
        fresh=f"{_given(values, before(now, policy.grace_period))}::timestamptz",
        tables=f"{media.media} JOIN {media.keys} ON {media.owned}" if media.has_keys else media.media,
        place=matching.place(media, policy.rules),
        quota=_by_place([literal(each.quota.name) if each.quota else "NULL" for each in terms]),
        owner=_by_place([_owner_of(media, each.quota) for each in terms]),
        recent=_by_place([sinces[each.recent_access] for each in terms]),
        created=media.created,
        accessed=media.accessed,
        within=within,
        asked=asked,
        ending=" OR ".join(ending),
        schema=SCHEMA,
        own=_OWN,
        operation=_given(values, operation),
    )
    return (ONE_ROW_A_KEY if media.unique else SOME_ROWS_A_KEY).format(rows=rows)


def _by_place(each: Sequence[str]) -> str:
    """SQL: what stands at the row's place, of one expression for each rule and the last for all others."""
    if len({*each}) == 1:
        return each[0]
    arms = " ".join(f"WHEN {at} THEN {what}" for at, what in enumerate(each[:-1]))
    return f"CASE p.place {arms} ELSE {each[-1]} END"


def _owner_of(media: MediaTables, quota: Quota | None) -> str:
    """SQL: the owner that a quota names, as text; NULL where there is none."""
    if quota is None:
        return "NULL::text"
    if quota.owner is QuotaOwner.KEY_GROUP:
        return media.rule_value("key_group") or "NULL::text"
    return f'({media.owner_id}::text COLLATE "C")'


def _owner(row: Record, quota: Quota | None) -> str | None:
    if quota is None or row.owner is None:
        return None
    return row.owner.group if quota.owner is QuotaOwner.KEY_GROUP else row.virtual_key_id


def _of(media: MediaTables, quota: Quota, owners: str) -> str:
    """SQL that an index on the virtual key can answer: whether a row is of these owners."""
    if quota.owner is QuotaOwner.VIRTUAL_KEY:
        return f"{media.owner_id} = ANY({owners}::text[]::{media.owner_type}[])"
    group = media.rule_value("key_group") or "NULL::text"
    return (
        f"{media.as_key(media.owner_id)} IN (SELECT {media.key_id} FROM {media.keys}"
        f" WHERE {group} = ANY({owners}::text[]))"
    )


def _share(quotas: Iterable[Quota]) -> str:
    """SQL over the lines of one owner: how much of the quota it keeps, by the limit that it is nearer to."""
    arms = []
    for each in quotas:
        parts = []
        if each.max_bytes is not None:
            parts.append(f"sum(size) / {each.max_bytes}::numeric")
        if each.max_objects is not None:
            parts.append(f"count(*) / {each.max_objects}::numeric")
        arms.append(f"WHEN {literal(each.name)} THEN greatest({', '.join(parts)})")
    return f"CASE quota {' '.join(arms)} END"


def _at(quota: Quota) -> str:
    """What the order of eviction follows; what was never accessed was last used when it was made."""
    return "used" if quota.evict is Evict.LEAST_RECENTLY_ACCESSED else "created"


def _given(values: list[object], value: object) -> str:
    """The parameter that has this value."""
    values.append(value)
    return f"${len(values)}"
