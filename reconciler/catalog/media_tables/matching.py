"""Rules of retention over the gateway's tables: as SQL, and whether a row can match them at all."""

import re
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from reconciler.catalog.db.config import literal
from reconciler.catalog.media_tables.columns import INEXACT
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import Match, Policy, Quota, QuotaOwner, Rule, Rules

DIGITS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63, "numeric": 10**38}
"""Types of whole numbers, with the first that is too large for them."""
WHOLE = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)


def condition(media: MediaTables, match: Match) -> str:
    """SQL: whether a row of `media.media` matches; NULL is no. The same as `Rules.first_for` finds.

    Both compare the same expression's value, so that neither may fold a text in its own way.
    """
    return " AND ".join(_each(media, name, values) for name, values in match.given.items()) or "true"


def place(media: MediaTables, rules: Rules) -> str:
    """SQL: the place of the first rule that matches a row; the number of rules where none does."""
    arms = [f"WHEN {condition(media, rule.match)} THEN {at}" for at, rule in enumerate(rules.each)]
    return f"CASE {' '.join(arms)} ELSE {len(arms)} END" if arms else "0"


def _each(media: MediaTables, name: str, values: Sequence[str]) -> str:
    if name == "prefix":
        key = f'({media.key_text} COLLATE "C")'
        return "(" + " OR ".join(f"starts_with({key}, {literal(each)})" for each in values) + ")"
    value = media.rule_value(name)
    if value is None:
        return "false"
    among = f"{value} IN ({', '.join(map(literal, values))})"
    if name != "key_group":
        return among
    # The owner is not joined here. Its group's keys are looked up once for the whole statement.
    return f"{media.as_key(media.owner_id)} IN (SELECT {media.key_id} FROM {media.keys} WHERE {among})"


def owners(media: MediaTables, rules: Sequence[Rule]) -> str | None:
    """SQL that an index on the virtual key can answer: whether a row's is one that these rules name.

    None where one of them names none. A row for which it is false matches none of them.
    """
    ids: list[str] = []
    groups: list[str] = []
    for rule in rules:
        if not (rule.match.virtual_key_id or rule.match.key_group):
            return None
        ids += rule.match.virtual_key_id
        groups += () if rule.match.virtual_key_id else rule.match.key_group
    parts = []
    if ids:
        listed = ", ".join(map(literal, dict.fromkeys(ids)))
        parts.append(f"{media.owner_id} = ANY(ARRAY[{listed}]::text[]::{media.owner_type}[])")
    if groups:
        parts.append(_each(media, "key_group", tuple(dict.fromkeys(groups))))
    return f"({' OR '.join(parts)})"


def misfits(media: MediaTables, policy: Policy) -> Sequence[str]:
    """Rules that no row can match in these tables, and quotas that cannot be counted in them.

    A line for each, which says why and what to do.
    """
    never = [
        f"RECONCILER_RETENTION__RULES: rule {rule.name} can never match: {why}"
        for rule in policy.rules.each
        for name, values in rule.match.given.items()
        if (why := _misfit(media, name, values))
    ]
    return never + [
        f"{f'RECONCILER_RETENTION__RULES: rule {quota.name}' if quota.name else 'RECONCILER_QUOTA'}:"
        f" its quota needs {what}; map one with RECONCILER_CATALOG__{setting}"
        for quota in policy.quotas
        for what, setting, there in _needed(media, quota)
        if not there
    ]


def _needed(media: MediaTables, quota: Quota) -> Iterator[tuple[str, str, bool]]:
    """What a quota needs of the tables, the setting that maps it, and whether it is there."""

    def column(field: str) -> tuple[str, str, bool]:
        there = media.media_time(field) is not None
        return f"a column of the media table for {field}", f"MEDIA_COLUMNS__{field.upper()}", there

    yield column("virtual_key_id")
    if quota.owner is QuotaOwner.KEY_GROUP:
        there = media.rule_value("key_group") is not None
        yield "a column of the virtual keys' table for a key's group", "KEY_COLUMNS__GROUP_ID", there
    if quota.max_bytes is not None:
        yield column("size_bytes")
    if quota.evicts:
        yield column("created_at")
        yield column("last_accessed_at")


def _misfit(media: MediaTables, name: str, values: Sequence[str]) -> str | None:
    if name == "prefix":
        return None
    if media.rule_value(name) is None:
        return (
            f"{_WHERE[name]} has no column for its {name}; map one with RECONCILER_CATALOG__{_SETTING[name]}"
        )
    kind = media.rule_kind(name)
    if name == "key_group" and kind in {"numeric", *INEXACT}:
        return f"its key_group is {kind}, in which one value has several texts; map an integer or a text"
    wrong = [each for each in values if not _writable(each, kind)]
    return f"{name} {wrong[0]!r} is no {kind} as Postgres writes it" if wrong else None


def _writable(value: str, kind: str) -> bool:
    """Whether a column of that type may have a value of that text."""
    if kind in DIGITS:
        return WHOLE.fullmatch(value) is not None and abs(int(value)) < DIGITS[kind]
    if kind == "uuid":
        try:
            return str(UUID(value)) == value
        except ValueError:
            return False
    return True


_WHERE: Mapping[str, str] = {
    "virtual_key_id": "the media table",
    "key_group": "the virtual keys' table",
    "media_type": "the media table",
    "provider": "the media table",
    "model": "the media table",
}
_SETTING: Mapping[str, str] = {
    name: "KEY_COLUMNS__GROUP_ID" if name == "key_group" else f"MEDIA_COLUMNS__{name.upper()}"
    for name in _WHERE
}
