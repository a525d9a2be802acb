"""Which columns of a strange database name the objects of a bucket, and how they spell the keys.

Names and shapes only rank what is tried. What counts is whether values name objects that are there.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log10

from reconciler.model import KeyForm, SeenColumn, SeenTable, holds_several
from reconciler.planning.conventions import (
    FIELDS,
    KEYS_OF_OBJECTS,
    MEDIA_TABLES,
    PARTS_OF_KEYS,
    TEXTS,
    called,
    plainly,
)

TRIED_COLUMNS = 12
TRIED_FORMS = 6
TRIED_VALUES = 12
"""Values of each column and form that are looked up in the bucket."""
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+/", re.IGNORECASE)
"""What stands before the path of an address."""
ENOUGH = 0.1
"""The share of values looked up that have to name objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A column that may name objects, and the spellings to try, the likeliest first. `score` ranks."""

    table: SeenTable
    column: SeenColumn
    forms: tuple[KeyForm, ...]
    score: float

    @property
    def several(self) -> bool:
        """Whether one value may hold the keys of several objects."""
        return holds_several(self.column.kind)

    @property
    def tried(self) -> Sequence[str]:
        """The values to look up, from all over the sample."""
        texts = self.column.texts
        return texts[:: max(1, len(texts) // TRIED_VALUES)][:TRIED_VALUES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How many of the values that were looked up name an object, in this form."""

    candidate: Candidate
    form: KeyForm
    found: int
    tried: int

    @property
    def share(self) -> float:
        return self.found / self.tried if self.tried else 0.0


def candidates(tables: Sequence[SeenTable], listed: Collection[str], bucket: str) -> Sequence[Candidate]:
    """The columns worth a look in the bucket, the likeliest first. `listed`: some of the bucket's keys."""
    listed = frozenset(listed)
    ends = _behind_slashes(listed)
    fronts = frozenset(first_part(key) for key in listed) - {""}
    found = []
    for table in tables:
        for column in table.columns:
            if column.texts and (column.kind in TEXTS or holds_several(column.kind)):
                forms = tuple(_forms(column, listed, ends, fronts, bucket))
                if forms:
                    score = _named(table, column) + _seen(column, forms, listed, fronts)
                    found.append(Candidate(table=table, column=column, forms=forms, score=score))
    return sorted(found, key=lambda each: -each.score)[:TRIED_COLUMNS]


def within(tables: Sequence[SeenTable], prefixes: Sequence[str]) -> Sequence[SeenTable]:
    """The tables with their arrays and JSON alone, and with those texts in these that may name objects of the
    prefixes as `values`: what is to be tried as the values of any other column is.
    """
    return [
        replace(
            table,
            columns=[
                replace(
                    column, values=[text for each in column.held for text in each if _may(text, prefixes)]
                )
                for column in table.columns
            ],
        )
        for table in tables
    ]


def _may(text: str, prefixes: Sequence[str]) -> bool:
    return "\n" not in text and any((prefix or "/") in text for prefix in prefixes)


def first_part(key: str) -> str:
    """The key up to its first slash, that included; "" without one."""
    front, slash, _ = key.partition("/")
    return f"{front}/" if slash else ""


def _forms(
    column: SeenColumn,
    listed: frozenset[str],
    ends: Mapping[str, str],
    fronts: frozenset[str],
    bucket: str,
) -> Sequence[KeyForm]:
    """The ways in which the column's values may spell keys, those that listed keys speak for first."""
    made: dict[KeyForm, None] = {}
    values = [value for value in column.texts if not value.isspace() and "\n" not in value]
    for strip in dict.fromkeys(front for value in values for front in _strippable(value, bucket)):
        cut = any("?" in value for value in values if strip and value.startswith(strip))
        made[KeyForm(strip=strip, cut_query=cut)] = None
    if values and _is_keyish(column):
        made[KeyForm()] = None
        bare = [value for value in values if "://" not in value and not value.startswith("/")]
        made.update((KeyForm(add=ends[value]), None) for value in bare if value in ends)
        if bare:
            made.update(dict.fromkeys(KeyForm(add=front) for front in sorted(fronts)))
    hits = {form: sum(form.key(value) in listed for value in values) for form in made}
    return sorted(made, key=lambda form: (-hits[form], form.add != ""))[:TRIED_FORMS]


def _strippable(value: str, bucket: str) -> Iterator[str]:
    """What may stand in front of the key: nothing, a slash, an address with or without the bucket."""
    if "://" in value:
        if address := ADDRESS.match(value):
            root = address[0]
            if value.startswith(f"{root}{bucket}/"):
                yield f"{root}{bucket}/"
            yield root
            yield root + first_part(value.removeprefix(root))
    elif value.startswith("/"):
        if value.startswith(f"/{bucket}/"):
            yield f"/{bucket}/"
        yield "/"
    elif value.startswith(f"{bucket}/"):
        yield f"{bucket}/"
        yield ""
    elif "/" in value:
        yield ""


def _behind_slashes(keys: Collection[str]) -> Mapping[str, str]:
    """By what stands behind a slash of a key, what stands before it, the slash included."""
    found: dict[str, str] = {}
    for key in keys:
        at = key.find("/")
        while at >= 0:
            found.setdefault(key[at + 1 :], key[: at + 1])
            at = key.find("/", at + 1)
    return found


def _is_keyish(column: SeenColumn) -> bool:
    return any(part in plainly(column.name) for part in (*PARTS_OF_KEYS, "name", "location", "src"))


def _named(table: SeenTable, column: SeenColumn) -> float:
    """How likely names and shape alone make it."""
    name = plainly(column.name)
    score = 3 - 3 * KEYS_OF_OBJECTS.index(name) / len(KEYS_OF_OBJECTS) if name in KEYS_OF_OBJECTS else 0.0
    score += 2 * any(word in plainly(table.name.partition(".")[2]) for word in MEDIA_TABLES)
    score += 2 * (column.name in table.uniques) + column.required
    score += sum(
        called(table, names, kinds) != "" for kinds, names in (FIELDS["size_bytes"], FIELDS["created_at"])
    )
    return score


def _seen(
    column: SeenColumn, forms: Sequence[KeyForm], listed: frozenset[str], fronts: frozenset[str]
) -> float:
    """How likely the listed keys make it."""
    best = 0.0
    for form in forms:
        keys = [form.key(value) for value in column.texts]
        hits = sum(key in listed for key in keys) / len(keys)
        near = sum(first_part(key) in fronts for key in keys) / len(keys) if not form.add else 0.0
        best = max(best, 6 * hits + 4 * near)
    return best


def likeliest(evidence: Sequence[Evidence]) -> Sequence[Evidence]:
    """Of each column the form that names most objects, where enough do; the best column first."""
    best: dict[tuple[str, str], Evidence] = {}
    for each in evidence:
        at = (each.candidate.table.name, each.candidate.column.name)
        if each.share >= ENOUGH and (at not in best or _better(each, best[at])):
            best[at] = each
    return sorted(best.values(), key=_worth, reverse=True)


def _better(one: Evidence, other: Evidence) -> bool:
    return (one.share, one.form.plain) > (other.share, other.form.plain)


def _worth(each: Evidence) -> float:
    """An index of objects names many, each once; an avatar or a log line is not in one."""
    table, column = each.candidate.table, each.candidate.column
    rows = max(1.0, table.rows * each.share)
    return _named(table, column) + log10(rows) + 4 * each.share + 1.5 * each.form.plain


def same_objects(one: SeenColumn, one_form: KeyForm, other: SeenColumn, other_form: KeyForm) -> bool:
    """Whether two columns of a table name one object in most rows that have both."""
    pairs = [
        (one_form.key(a), other_form.key(b))
        for a, b in zip(one.values, other.values, strict=False)
        if a and b
    ]
    return 2 * sum(a == b for a, b in pairs) > len(pairs)
