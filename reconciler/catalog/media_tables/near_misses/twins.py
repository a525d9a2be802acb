"""Rows that spell the object of a mark otherwise, looked up at its claim."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import compress

from reconciler.catalog.db import bounds
from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import references
from reconciler.catalog.media_tables.near_misses.noted import PAIRED
from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import RESERVED_PREFIX, Mark, Verdict
from reconciler.model.spelling import addresses, forms, forms_within, fronts, roots, spellings


async def twins(
    connection: AnyConnection, media: MediaTables, marks: Sequence[Mark], prefixes: Sequence[str]
) -> Mapping[str, str]:
    """The marks whose object a row spells otherwise by now, with that spelling.

    Such a row lies outside the prefixes, or is newer than the mark; the sweep has checked all others. What
    departed had a row then, so there any row counts. Those of `WrittenSince` are noted. Others are looked up
    by the index, so only spellings that `spellings` can list are found.
    """
    going = [mark for mark in marks if mark.verdict is not Verdict.DANGLING]
    if not going:
        return {}
    keys = [mark.storage_key for mark in going]
    found = {row["storage_key"]: row["row_key"] for row in await connection.fetch(PAIRED, keys)}
    bucket = await connection.fetchval(f"SELECT coalesce(bucket, '') FROM {SCHEMA}.site") or ""
    plainly = not (media.references or media.pads)
    if plainly and not await _spelled_anywhere(connection, media, going, bucket, prefixes):
        return found
    spelled: dict[str, list[Mark]] = {}
    for mark in going:
        for other in spellings(mark.storage_key, bucket, prefixes):
            spelled.setdefault(other, []).append(mark)
    for row in await lookup(connection, media, list(spelled)):
        # A column that is padded with blanks finds the key itself as well, which is no other spelling.
        for mark in spelled.get(row.storage_key, ()):
            departed = mark.verdict is Verdict.DEPARTED
            if departed or is_twin(row.storage_key, row.created_at, mark, tuple(prefixes)):
                found[mark.storage_key] = row.storage_key
    outside = [key for key in spelled if _is_outside(key, tuple(prefixes))]
    for key in await references.named(connection, media, outside):
        found |= {mark.storage_key: key for mark in spelled[key]}
    return found


async def _spelled_anywhere(
    connection: AnyConnection,
    media: MediaTables,
    marks: Sequence[Mark],
    bucket: str,
    prefixes: Sequence[str],
) -> bool:
    """Whether any row may have one of the spellings, which is rare. The database builds the spellings itself.

    Sending all of them takes four times as long. Where an index is in byte order, a single look tells what no
    row begins with, and most of them are not even built.
    """
    keys = [mark.storage_key for mark in marks if storable(mark.storage_key)]
    unused, inside = await _unused(connection, media, bucket, prefixes) if media.ordered else ((), False)
    before = [root for root in roots(bucket) if storable(root) and not root.startswith(unused)]
    if before == [""]:
        # A form is a whole spelling then.
        kept, marked = (*prefixes, RESERVED_PREFIX) if inside else ("",), {*keys}
        spelled = [
            form
            for form in forms_within(keys, prefixes, kept)
            if not form.startswith(unused) and form not in marked
        ]
    else:
        spelled = [form for key in keys for form in forms(key, prefixes)]
    whole = [each for key in keys for each in addresses(key, bucket) if not each.startswith(unused)]
    if not (spelled or whole):
        return False
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {media.media} WHERE {media.equal_key} = ANY ("
        "ARRAY(SELECT root || form FROM unnest($1::text[]) form, unnest($2::text[]) root) || $3::text[])"
        f" AND {media.equal_key} <> ALL ($4::text[]))",
        spelled,
        before,
        whole,
        keys,
    )
    return found


async def _unused(
    connection: AnyConnection, media: MediaTables, bucket: str, prefixes: Sequence[str]
) -> tuple[tuple[str, ...], bool]:
    """The fronts with which no row begins, and whether all rows lie in the prefixes."""
    asked = [front for front in fronts(bucket, prefixes) if storable(front)]
    stretches = [
        *(bounds.of_prefix(front) for front in asked),
        *((each,) for each in bounds.outside(prefixes)),
    ]
    looks, values = list[str](), list[str]()
    for stretch in stretches:
        where, limits = bounds.condition(media.ordered_key, stretch, len(values) + 1)
        values += limits
        # Ordered, so that the index is read from that place on, and not the table up to the first hit.
        looks.append(
            f"(SELECT {media.ordered_key} FROM {media.media} WHERE {where}"
            f" ORDER BY {media.ordered_key} LIMIT 1) IS NULL"
        )
    none = await connection.fetchval(f"SELECT ARRAY[{', '.join(looks)}]", *values)
    return tuple(compress(asked, none)), all(none[len(asked) :])


def is_twin(key: str, created_at: datetime | None, mark: Mark, prefixes: tuple[str, ...]) -> bool:
    """Whether a row of that other spelling keeps the marked object."""
    return _is_outside(key, prefixes) or created_at is None or created_at >= mark.first_seen_at


def _is_outside(key: str, prefixes: tuple[str, ...]) -> bool:
    return not key.startswith(prefixes) or key.startswith(RESERVED_PREFIX)
