"""The whole mapping that a strange database and bucket suggest, once it is known what names the objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.model import KeyForm, SeenTable
from reconciler.planning.conventions import (
    ACCESS_COUNTS,
    BUCKETS,
    COUNTED_TIMES,
    DISABLED,
    ENABLED,
    FAMILIES,
    FIELDS,
    GROUPS,
    HASHES,
    IDS,
    INTEGERS,
    KEYS_TABLES,
    MEDIA_TYPES,
    MODELS,
    MOMENTS,
    OWNERS,
    PROVIDERS,
    SHA256,
    TEXTS,
    called,
    plainly,
)
from reconciler.planning.key_column import Evidence, same_objects

AT_MOST_PREFIXES = 20
"""With more first parts of keys than this, as where each user has one, the whole bucket is proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A mapping. `columns` and `key_columns` have every field, "" where there is no such column.

    Not proposed are `content_hash` and `key_hash`, since neither whether ETags are MD5s nor what was hashed
    is seen from the tables, and `access_count`, which no verdict reads.

    `generated` names the column to make for the objects' keys, "" where `key_column` holds them. `otherwise`
    are further columns that name objects by no plain key: a view has to give theirs. `notes` are lines about
    what was left out, and why.
    """

    table: str
    key_column: str
    form: KeyForm
    generated: str
    columns: Mapping[str, str]
    keys_table: str = ""
    key_columns: Mapping[str, str] = field(default_factory=dict)
    epoch_unit: str | None = None
    media_where: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[str, ...] = ()
    also_referenced: tuple[str, ...] = ()
    otherwise: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSeen:
    """The first part of keys, with what each side has under it; counts end at a bound."""

    prefix: str
    rows: int
    objects: int
    more_objects: bool = False


def propose(tables: Sequence[SeenTable], named: Sequence[Evidence], bucket: str) -> Proposal:
    """The mapping for the best of `named`, which is not empty: the columns that name objects, best first."""
    best, *others = named
    table, key = best.candidate.table, best.candidate.column.name
    notes: list[str] = []
    generated = "" if best.form.plain else _free(table, "object_key")
    unit = _epoch_unit(table)
    columns = {"id": ",".join(table.identity), "storage_key": generated or key}
    columns |= {field: _field(table, field, unit) for field in FIELDS}
    columns["media_type"] = called(table, MEDIA_TYPES, None)
    columns["provider"] = called(table, PROVIDERS, None)
    columns["model"] = called(table, MODELS, None)
    columns["access_count"] = called(table, ACCESS_COUNTS, INTEGERS)
    keys, owner = _keys_table(tables, table, notes)
    columns["virtual_key_id"] = owner
    if not table.identity:
        notes.append(f"{table.name} has no primary key and no unique column, so no row of it can be named")
    variants, referenced, otherwise = _further(best, others)
    if generated or best.candidate.column.generated:
        notes.append(
            f"{generated or key} is a generated column, which no trigger can watch: deletions wait for open"
            " transactions instead, and `reconciler migrate --install-triggers` is refused"
        )
    return Proposal(
        table=table.name,
        key_column=key,
        form=best.form,
        generated=generated,
        columns={name: columns[name] for name in ORDER},
        keys_table=keys.name if keys else "",
        key_columns=_key_columns(keys) if keys else {},
        epoch_unit=unit if _counts_time(table, columns) else None,
        media_where=_filter(table, bucket),
        variants=variants,
        also_referenced=referenced,
        otherwise=otherwise,
        notes=tuple(notes),
    )


ORDER = (
    *("id", "storage_key", "virtual_key_id", "size_bytes", "created_at", "expires_at"),
    *("last_accessed_at", "deleted_at", "media_type", "provider", "model", "access_count"),
)
"""The fields of the media table, in the settings' order."""


FLAGS = INTEGERS | {"boolean"}


def _free(table: SeenTable, name: str) -> str:
    """A name that no column has."""
    return name if table.column(name) is None else f"reconciler_{name}"


def _field(table: SeenTable, field: str, unit: str | None) -> str:
    """The column for the field; one that counts times only where their unit is known."""
    kinds, names = FIELDS[field]
    found = called(table, names, kinds)
    column = table.column(found)
    if column is not None and field != "size_bytes" and column.kind not in MOMENTS and unit is None:
        return ""
    return found


UNITS = (("s", 10**9, 10**10), ("ms", 10**12, 10**13), ("us", 10**15, 10**16))
"""What a count since 1970 is between 2001 and 2286, in each unit."""


def _epoch_unit(table: SeenTable) -> str | None:
    """The unit in which the table counts times, where all of its values agree."""
    units: set[str | None] = set()
    for name, (_, names) in FIELDS.items():
        column = table.column(called(table, names, COUNTED_TIMES)) if name != "size_bytes" else None
        for text in column.texts if column else ():
            number = float(text)
            units.add(next((unit for unit, low, high in UNITS if low <= number < high), None))
    return units.pop() if len(units) == 1 else None


def _counts_time(table: SeenTable, columns: Mapping[str, str]) -> bool:
    """Whether any of the proposed times is a number."""
    times = (table.column(columns[field]) for field in FIELDS if field != "size_bytes")
    return any(column is not None and column.kind not in MOMENTS for column in times)


def _keys_table(
    tables: Sequence[SeenTable], media: SeenTable, notes: list[str]
) -> tuple[SeenTable | None, str]:
    """The table of keys that own media, and the owner's column. Users are none: they have no end of use."""
    by_name = {table.name: table for table in tables}
    owner = called(media, OWNERS, IDS)
    for column, (target, there) in media.owners.items():
        keys = by_name.get(target)
        if keys is not None and _is_keys(keys) and keys.identity == (there,):
            if called(keys, ENABLED, FLAGS):
                return keys, column
            notes.append(_no_flag(keys))
            return None, column
    for keys in tables:
        if owner and "key" in plainly(owner) and _is_keys(keys) and _comparable(media, owner, keys):
            if called(keys, ENABLED, FLAGS):
                return keys, owner
            notes.append(_no_flag(keys))
    target, there = media.owners.get(owner, ("", ""))
    others = by_name.get(target)
    if others is not None and others.identity == (there,) and (flag := called(others, ENABLED, FLAGS)):
        notes.append(
            f"{target} owns media, and its {flag} says who may. By its name it is no table of keys: set"
            f" keys_table to it, and key_columns to id {there} and is_enabled {flag}, to end media with it"
        )
    return None, owner


def _no_flag(keys: SeenTable) -> str:
    """The note about a table of keys that cannot be mapped as it is."""
    line = f"{keys.name} seems to own media, but no column says whether a key may be used"
    if contrary := called(keys, DISABLED, {"boolean"}):
        schema, _, name = keys.name.partition(".")
        made = f'ADD COLUMN is_enabled boolean GENERATED ALWAYS AS (NOT "{contrary}") STORED'
        why = f"{line}: {contrary} says the contrary; this rewrites the table under an exclusive lock"
        return f'{why}: ALTER TABLE "{schema}"."{name}" {made}'
    return line


def _is_keys(table: SeenTable) -> bool:
    name = plainly(table.name.partition(".")[2])
    return table.readable and any(name in {word, f"{word}s"} or word in name for word in KEYS_TABLES)


def _comparable(media: SeenTable, owner: str, keys: SeenTable) -> bool:
    one, other = media.column(owner), keys.column(keys.identity[0]) if len(keys.identity) == 1 else None
    return (
        one is not None and other is not None and any({one.kind, other.kind} <= kinds for kinds in FAMILIES)
    )


def _key_columns(keys: SeenTable) -> Mapping[str, str]:
    return {
        "id": keys.identity[0],
        "is_enabled": called(keys, ENABLED, FLAGS),
        "expires_at": called(keys, FIELDS["expires_at"][1], MOMENTS),
        "group_id": called(keys, GROUPS, None),
        "key_hash": _hashes(keys),
    }


def _hashes(keys: SeenTable) -> str:
    """The column of SHA-256 sums in hexadecimal digits, by its name and by what it holds."""
    column = keys.column(called(keys, HASHES, TEXTS))
    if column is None or not all(SHA256.fullmatch(text) for text in column.texts):
        return ""
    return column.name


def _filter(table: SeenTable, bucket: str) -> Mapping[str, str]:
    """The rows of this bucket, where a column says whose each is."""
    column = table.column(called(table, BUCKETS, TEXTS))
    return {column.name: bucket} if column is not None and bucket in column.texts else {}


def _further(
    best: Evidence, others: Sequence[Evidence]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Evidence, ...]]:
    """Variants in the same table, and columns elsewhere, that name objects too; and those of no plain key."""
    variants, referenced, otherwise = [], [], []
    for each in others:
        table, column = each.candidate.table, each.candidate.column
        if table.name == best.candidate.table.name:
            if same_objects(best.candidate.column, best.form, column, each.form):
                continue
            if each.form.plain:
                variants.append(column.name)
                continue
        elif each.form.plain:
            referenced.append(f"{table.name}.{column.name}")
            continue
        otherwise.append(each)
    return tuple(sorted(variants)), tuple(sorted(referenced)), tuple(otherwise)


# --- the managed prefixes -------------------------------------------------------------------------------


def managed(seen: Sequence[PrefixSeen]) -> tuple[str, ...]:
    """The prefixes in which both sides have something; the whole bucket where keys have no such parts."""
    both = [each.prefix for each in seen if each.rows and each.objects]
    if "" in both or len(both) > AT_MOST_PREFIXES:
        return ("",)
    return tuple(sorted(both))
