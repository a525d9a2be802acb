"""Columns that name objects of the managed prefixes and are not mapped: what only they name is an orphan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from reconciler.catalog.db.config import TableMapping, split_table
from reconciler.catalog.media_tables.survey import view_of_keys
from reconciler.model import KeyForm, SeenColumn, SeenTable
from reconciler.operations.init import objects_there
from reconciler.planning.key_column import Candidate, Evidence, candidates, likeliest, same_objects, within
from reconciler.ports import Listing, ObjectStore

VALUES = 4
"""Values of each column that are looked up. One object that is there is enough to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTables:
    """`named` has by `schema.table.column` a value that is the key of an object. `held` has likewise what
    names one in another way (an address, a text in an array or in JSON), and what makes that count: a
    statement that makes a view, and the column of it to declare.

    `variants` are those of the media table. `looked` tables were looked at; `unreadable` could not be.
    """

    named: Mapping[str, str]
    held: Mapping[str, tuple[str, str, str]]
    variants: tuple[str, ...]
    looked: int
    unreadable: tuple[str, ...]


async def look(
    tables: Sequence[SeenTable],
    listing: Listing,
    store: ObjectStore,
    prefixes: Sequence[str],
    *,
    bucket: str,
    mapped: TableMapping,
    role: str,
    covered: Collection[str] = (),
) -> OtherTables:
    """Look up some values of each likely column, but of those that a declared view reads (`covered`).

    `role` is to read the views. Raises what the adapters raise.
    """
    listed = [key for prefix in prefixes for key in (await listing.list_page(prefix)).keys]
    media = ".".join(split_table(mapped.media_table))
    key = mapped.media.storage_key
    declared = {*covered, *(f"{media}.{name}" for name in (key, *mapped.variants))}
    declared |= {
        f"{'.'.join(split_table(table))}.{column}"
        for table, _, column in (name.rpartition(".") for name in mapped.also_referenced)
    }
    readable = [table for table in tables if table.readable]

    async def named(where: Sequence[SeenTable]) -> Sequence[Evidence]:
        evidence: list[Evidence] = []
        for each in candidates(where, listed, bucket):
            if full_name(each) not in declared:
                evidence += await _try(store, each, listed, tuple(prefixes))
        return likeliest(evidence)

    ours = next((table for table in readable if table.name == media), None)
    keys = ours.column(key) if ours else None
    found = [each for each in await named(readable) if not _is_the_rows(each, media, keys)]
    return OtherTables(
        named={
            full_name(each.candidate): each.candidate.column.texts[0] for each in found if each.form.plain
        },
        held={
            full_name(each.candidate): through_a_view(each, role)
            for each in (*found, *await named(within(readable, prefixes)))
            if each.candidate.several or not each.form.plain
        },
        variants=tuple(each.candidate.column.name for each in found if each.candidate.table.name == media),
        looked=len(readable),
        unreadable=tuple(table.name for table in tables if not table.readable),
    )


def full_name(of: Candidate) -> str:
    """`schema.table.column`."""
    return f"{of.table.name}.{of.column.name}"


def through_a_view(of: Evidence, role: str) -> tuple[str, str, str]:
    """What `held` has of it."""
    table, column = of.candidate.table.name, of.candidate.column
    return column.texts[0], *view_of_keys(table, column.name, column.kind, of.form, role)


def _is_the_rows(each: Evidence, media: str, keys: SeenColumn | None) -> bool:
    """Whether it names, in another spelling, what the mapped key names."""
    return (
        each.candidate.table.name == media
        and keys is not None
        and same_objects(keys, KeyForm(), each.candidate.column, each.form)
    )


async def _try(
    store: ObjectStore, candidate: Candidate, listed: Sequence[str], prefixes: tuple[str, ...]
) -> Sequence[Evidence]:
    found = []
    for form in candidate.forms:
        keys = [key for key in map(form.key, candidate.tried) if key.startswith(prefixes)][:VALUES]
        if keys:
            there = await objects_there(store, keys, listed)
            found.append(Evidence(candidate=candidate, form=form, found=len(there), tried=len({*keys})))
    return found
