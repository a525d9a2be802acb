"""Schemas as strangers have them: what to create, how it is mapped, and how a row of it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

COLUMNS = "RECONCILER_CATALOG__MEDIA_COLUMNS__"
KEYS = "RECONCILER_CATALOG__KEY_COLUMNS__"

MAPPED = {
    "RECONCILER_CATALOG__MEDIA_TABLE": "gate.media",
    "RECONCILER_CATALOG__KEYS_TABLE": "gate.owners",
    f"{COLUMNS}ID": "id",
    f"{COLUMNS}STORAGE_KEY": "path",
    f"{COLUMNS}VIRTUAL_KEY_ID": "owner",
    f"{COLUMNS}SIZE_BYTES": "size",
    f"{COLUMNS}CREATED_AT": "made",
    f"{COLUMNS}EXPIRES_AT": "expires",
    f"{COLUMNS}LAST_ACCESSED_AT": "used",
    f"{COLUMNS}DELETED_AT": "",
    f"{KEYS}ID": "id",
    f"{KEYS}IS_ENABLED": "active",
    f"{KEYS}EXPIRES_AT": "",
}

PARTITIONED = """ PARTITION BY RANGE (made);
CREATE TABLE gate.old PARTITION OF gate.media FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE gate.new PARTITION OF gate.media FOR VALUES FROM ('2024-01-01') TO (MAXVALUE)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Types by column of `gate.media` (`owner_id` and `active` are of `gate.owners`), and what goes along.

    `id` is the SQL of the n-th row's id, `owner` that of the one owner's; `time` makes a time of the column's
    type of a timestamptz. `never` is how "no end" is written, beside NULL.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    primary: str = "id"
    before: str = ""
    after: str = ""
    id: str = "{n}"
    owner: str = "7"
    enabled: str = "true"
    time: str = "{}"
    never: str = "NULL"
    size: str = "5"
    settings: Mapping[str, str] = field(default_factory=dict)
    written: str = "path"
    """The column that a writer fills, where the key's is generated from it."""
    key: str = "{}"
    """How a writer writes a key."""

    def script(self) -> str:
        types = {
            "id": "bigint",
            "path": "text",
            "owner": "bigint",
            "size": "bigint",
            **dict.fromkeys(("made", "expires", "used"), "timestamptz"),
            **self.types,
        }
        owner, active = types.pop("owner_id", types["owner"]), types.pop("active", "boolean")
        columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
        return (
            f"CREATE SCHEMA gate; {self.before};"
            f" CREATE TABLE gate.owners (id {owner} PRIMARY KEY, active {active});"
            f" INSERT INTO gate.owners VALUES ({self.owner}, {self.enabled});"
            f" CREATE TABLE gate.media ({columns}, PRIMARY KEY ({self.primary})){self.after}"
        )

    def row(self, number: int, made: str, expires: str, *, used: str = "now()") -> str:
        """An INSERT of one row; its key is the parameter $1, times are SQL of a timestamptz."""

        def at(time: str) -> str:
            return self.never if time == "never" else self.time.format(f"({time})")

        return (
            f"INSERT INTO gate.media (id, {self.written}, owner, size, made, expires, used) VALUES"
            f" ({self.id.format(n=number)}, $1, {self.owner}, {self.size},"
            f" {at(made)}, {at(expires)}, {at(used)})"
        )


def _epoch(unit: str, kind: str, factor: int, never: str = "0") -> Shape:
    return Shape(
        types=dict.fromkeys(("made", "expires", "used"), kind),
        time=f"(extract(epoch FROM {{}}) * {factor})::{kind}",
        never=never,
        settings={"RECONCILER_CATALOG__EPOCH_UNIT": unit},
    )


UUID = "('00000000-0000-0000-0000-' || lpad('{n}', 12, '0'))::{kind}"

SHAPES: dict[str, Shape] = {
    # Ids that are unique only together with what the table is partitioned by: row 0 and row 1 share one.
    "partitioned by time": Shape(primary="id, made", after=PARTITIONED, id="{n} / 2"),
    "partitioned, both columns named": Shape(
        primary="made, id", after=PARTITIONED, id="{n} / 2", settings={f"{COLUMNS}ID": "id, made"}
    ),
    "partitioned, ids of text": Shape(
        primary="id, made", types={"id": "text"}, after=PARTITIONED, id="""'a"b,' || {n} / 2"""
    ),
    "composite": Shape(
        types={"id": "smallint", "tenant": "uuid DEFAULT gen_random_uuid()"},
        primary="tenant, id",
        id="1",
    ),
    "char keys": Shape(types={"path": "char(500)"}),
    "nested domains": Shape(
        before="CREATE DOMAIN gate.d1 AS text CHECK (value <> ''); CREATE DOMAIN gate.d2 AS gate.d1;"
        " CREATE DOMAIN gate.u1 AS uuid; CREATE DOMAIN gate.u2 AS gate.u1;"
        " CREATE DOMAIN gate.t1 AS timestamptz; CREATE DOMAIN gate.t2 AS gate.t1",
        types={"path": "gate.d2", "id": "gate.u2", "expires": "gate.t2"},
        id=UUID.replace("{kind}", "uuid"),
    ),
    "small integers": Shape(types={"id": "smallint", "owner": "integer", "owner_id": "smallint"}),
    "numeric ids": Shape(types={"id": "numeric(20, 0)", "owner": "numeric(20, 0)", "owner_id": "bigint"}),
    "char ids": Shape(
        types={"id": "char(36)", "owner": "char(40)"}, id=UUID.replace("{kind}", "char(36)"), owner="'o 7'"
    ),
    "flags as numbers": Shape(types={"active": "smallint"}, enabled="1"),
    "dates": Shape(
        types=dict.fromkeys(("made", "expires", "used"), "date"), time="{}::date", never="'infinity'"
    ),
    "seconds": _epoch("s", "bigint", 1),
    "short seconds": _epoch("s", "integer", 1, "-1"),
    "milliseconds": _epoch("ms", "double precision", 1_000, "'Infinity'"),
    "microseconds": _epoch("us", "numeric", 1_000_000, "'NaN'"),
    "local time": Shape(
        types=dict.fromkeys(("made", "expires", "used"), "timestamp"),
        time="{} AT TIME ZONE 'Pacific/Kiritimati'",
        never="'0001-01-01 BC'",
        settings={"RECONCILER_CATALOG__TIME_ZONE": "Pacific/Kiritimati"},
    ),
    "zero times": Shape(never="'0001-01-01'"),
    "windows' zero times": Shape(never="'1601-01-01'"),
    "infinite times": Shape(never="'-infinity'"),
    "the calendar's end": Shape(never="'294276-12-31'"),
    "before Christ": Shape(never="'4713-01-01 BC'"),
    "sizes that are none": Shape(types={"size": "numeric"}, size="'NaN'"),
    "sizes beyond all": Shape(types={"size": "numeric"}, size="1e300"),
    "negative sizes": Shape(size="-9223372036854775808"),
    "greatest sizes": Shape(size="9223372036854775807"),
    "leading slashes": Shape(
        types={"url": "text", "path": "text COLLATE \"C\" GENERATED ALWAYS AS (ltrim(url, '/')) STORED"},
        written="url",
        key="/{}",
    ),
}

VIRTUAL = Shape(
    types={"url": "text", "path": "text GENERATED ALWAYS AS (split_part(url, '//cdn/', 2)) VIRTUAL"},
    written="url",
    key="https://cdn/{}",
)
"""Since Postgres 18."""

CITEXT = Shape(before="CREATE EXTENSION citext", types={"path": "citext"})
COLLATED = Shape(
    before="CREATE COLLATION gate.folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    types={
        "path": "text COLLATE gate.folded",
        "owner": 'text COLLATE "de-x-icu"',
        "owner_id": 'text COLLATE "en-x-icu"',
    },
    owner="'k'",
)
"""Where Postgres has the extension, and ICU."""
