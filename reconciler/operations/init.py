"""The first look: what a database and a bucket suggest as settings. Reads both, and writes nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import anyio

from reconciler.catalog.db.config import quoted, split_table
from reconciler.catalog.media_tables.survey import Survey, generated_column, view_of_keys
from reconciler.errors import ErrorKind, KeyRefused, NotDone
from reconciler.model import RESERVED_PREFIX, KeyForm, SeenTable
from reconciler.planning import proposal
from reconciler.planning.formatting import counted
from reconciler.planning.key_column import Candidate, Evidence, candidates, first_part, likeliest, within
from reconciler.planning.proposal import PrefixSeen, Proposal
from reconciler.ports import Listing, ObjectStore

PAGES = 40
"""Pages that a look at the whole bucket takes: each part of it shows one."""
PAGES_OF_PREFIX = 20
COUNTED_PREFIXES = 25
HEADS_AT_ONCE = 16
NAMED = 3
"""Tables or parts that a line names."""

Tell = Callable[[str], None]
"""Takes a line about what is being looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found. `seen` are the first parts of keys on either side; `prefixes` those to manage.

    Of `sampled` rows with keys in these, `there` have their object; `missing` is the key of one that has
    not. `statements` are for the table's owner to run first, and `views` are too: statements that make
    views of keys that other columns have in arrays, JSON or addresses. The `unreadable` tables were not
    looked at.
    """

    database: str
    role: str
    bucket: str
    proposal: Proposal
    prefixes: tuple[str, ...]
    seen: tuple[PrefixSeen, ...]
    sampled: int
    there: int
    missing: str | None
    statements: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


async def look(survey: Survey, listing: Listing, store: ObjectStore, bucket: str, tell: Tell) -> Looked:
    """Look at both sides, and propose. Raises NotDone where nothing fits, and what the adapters raise."""
    listed = await _listed(listing)
    tell(f"bucket {bucket}: a sample of {counted(len(listed), 'key')}, some of each part")
    database, role = await survey.names()
    tables = await survey.tables()
    readable = [table for table in tables if table.readable]
    tell(f"database {database}: {counted(len(readable), 'table')} looked at, as role {role}")
    unreadable = tuple(table.name for table in tables if not table.readable)
    _require_something(listed, readable, unreadable, database, role, bucket)
    tried = candidates(readable, listed, bucket)
    evidence = [each for candidate in tried for each in await _try(store, candidate, listed)]
    named = likeliest(evidence)
    if not named:
        raise _nothing_fits(tried, listed, database, bucket)
    made = proposal.propose(readable, named, bucket)
    tell(f"{made.table}.{made.key_column} names objects of the bucket")
    rows = await survey.rows_by_prefix(made.table, made.key_column, made.media_where, made.form)
    seen = await _both_sides(listing, rows, listed)
    prefixes = proposal.managed(seen)
    if not prefixes:
        raise _nothing_fits(tried, listed, database, bucket)
    values = await survey.values(made.table, made.key_column, made.media_where, prefixes, made.form)
    stored = [each.prefix for each in seen if each.objects]
    views = await _views(store, readable, listed, bucket, stored, made.otherwise, role)
    made = replace(made, also_referenced=(*made.also_referenced, *views))
    keys = [made.form.key(value) for value in values]
    there = await objects_there(store, keys)
    return Looked(
        database=database,
        role=role,
        bucket=bucket,
        proposal=made,
        prefixes=prefixes,
        seen=seen,
        sampled=len(keys),
        there=sum(key in there for key in keys),
        missing=next((key for key in keys if key not in there), None),
        statements=_statements(made),
        views=tuple(views.values()),
        unreadable=unreadable,
    )


async def _views(
    store: ObjectStore,
    readable: Sequence[SeenTable],
    listed: Collection[str],
    bucket: str,
    prefixes: Sequence[str],
    otherwise: Sequence[Evidence],
    role: str,
) -> Mapping[str, str]:
    """For each column that names objects `otherwise`, and each array or JSON that holds keys of objects in
    the prefixes, a view: its column, and the statements that make it.
    """
    tried = candidates(within(readable, prefixes), listed, bucket)
    found = likeliest([each for candidate in tried for each in await _try(store, candidate, listed)])
    views = {}
    for each in (*otherwise, *found):
        table, column = each.candidate.table.name, each.candidate.column
        statement, key = view_of_keys(table, column.name, column.kind, each.form, role)
        views[key] = statement
    return views


def _statements(made: Proposal) -> tuple[str, ...]:
    if not made.generated:
        return ()
    return tuple(generated_column(made.table, made.key_column, made.generated, made.form))


async def _listed(listing: Listing) -> Collection[str]:
    """Keys from all over the bucket: of each of its first parts a page, as far as the pages go."""
    found: dict[str, None] = {}
    after, token = "", None
    for _ in range(PAGES):
        page = await listing.list_page("", start_after=after, token=token)
        found.update((key, None) for key in page.keys if not key.startswith(RESERVED_PREFIX))
        if page.next_token is None or not page.keys:
            break
        part = first_part(max(page.keys))
        # What follows the slash in byte order: the listing goes on behind this part.
        beyond = f"{part[:-1]}0"
        if part and beyond > after:
            after, token = beyond, None
        else:
            token = page.next_token
    return found.keys()


async def _try(store: ObjectStore, candidate: Candidate, listed: Collection[str]) -> Sequence[Evidence]:
    """Which of the candidate's values name an object, in each form, until one names all of them."""
    found = []
    for form in candidate.forms:
        keys = [form.key(value) for value in candidate.tried]
        there = await objects_there(store, keys, listed)
        found.append(Evidence(candidate=candidate, form=form, found=len(there), tried=len({*keys})))
        if len(there) == len({*keys}):
            break
    return found


async def objects_there(
    store: ObjectStore, keys: Sequence[str], listed: Collection[str] = ()
) -> Collection[str]:
    """Those of the keys that name an object."""
    found = {key for key in keys if key in listed}
    limiter = anyio.CapacityLimiter(HEADS_AT_ONCE)

    async def head(key: str) -> None:
        async with limiter:
            try:
                if await store.head(key) is not None:
                    found.add(key)
            except KeyRefused:
                return  # the store has no such key

    async with anyio.create_task_group() as group:
        for key in {*keys} - found - {""}:
            group.start_soon(head, key)
    return found


async def _both_sides(
    listing: Listing, rows: Mapping[str, int], listed: Collection[str]
) -> tuple[PrefixSeen, ...]:
    """What each side has under the first parts of keys; the parts with most rows come first."""
    parts = dict.fromkeys((*rows, *sorted({first_part(key) for key in listed})))
    seen = []
    for place, part in enumerate(parts):
        if part == "":
            objects, more = sum("/" not in key for key in listed), False
        elif place < COUNTED_PREFIXES:
            objects, more = await _count(listing, part)
        else:
            objects, more = sum(key.startswith(part) for key in listed), True
        seen.append(PrefixSeen(prefix=part, rows=rows.get(part, 0), objects=objects, more_objects=more))
    return tuple(seen)


async def _count(listing: Listing, prefix: str) -> tuple[int, bool]:
    """How many objects are under the prefix, and whether there are more than were counted."""
    objects, token = 0, None
    for _ in range(PAGES_OF_PREFIX):
        page = await listing.list_page(prefix, token=token)
        objects += len(page.keys)
        token = page.next_token
        if token is None:
            return objects, False
    return objects, True


# --- what fits nothing --------------------------------------------------------------------------------


def _require_something(
    listed: Collection[str],
    readable: Sequence[SeenTable],
    unreadable: Sequence[str],
    database: str,
    role: str,
    bucket: str,
) -> None:
    """Raises NotDone where a side is empty."""
    if not listed:
        raise _refusal("bucket_empty", f"the bucket {bucket!r} is empty, so no row can be matched with it")
    if not readable and unreadable:
        names = f"{', '.join(unreadable[:NAMED])}{' and others' if len(unreadable) > NAMED else ''}"
        message = f"this role may read no table of the database {database}: {names}"
        raise _refusal("unreadable", f"{message}; as their owner, in psql: {_to_read(unreadable, role)}")
    if not any(table.rows for table in readable):
        raise _refusal("database_empty", f"no table of the database {database} has a row")


def _to_read(tables: Sequence[str], role: str) -> str:
    """The statements that let the role read all tables of these tables' schemas."""
    schemas = dict.fromkeys(quoted(split_table(table)[0]) for table in tables)
    return " ".join(
        f"GRANT USAGE ON SCHEMA {schema} TO {quoted(role)};"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {quoted(role)};"
        for schema in schemas
    )


def _nothing_fits(tried: Sequence[Candidate], listed: Collection[str], database: str, bucket: str) -> NotDone:
    stored = next(iter(listed))
    near = ""
    if tried:
        best = tried[0]
        near = f"; the likeliest is {best.table.name}.{best.column.name}, such as {best.tried[0]!r}"
    return _refusal(
        "nothing_fits",
        f"no column of the database {database} names objects of the bucket {bucket!r}, which holds"
        f" {stored!r}{near}: is it the right database, and the right bucket?",
    )


def _refusal(code: str, message: str) -> NotDone:
    return NotDone(ErrorKind.NOT_FOUND, code, message)


def spelled(form: KeyForm) -> str:
    """How the column's values spell the objects' keys, in words."""
    if form.plain:
        return "as the bucket has them"
    parts = []
    if form.strip:
        parts.append("with a leading slash" if form.strip == "/" else f"with {form.strip!r} in front")
    if form.add:
        parts.append(f"without {form.add!r} in front")
    if form.cut_query:
        parts.append("with a query behind")
    return ", ".join(parts)
