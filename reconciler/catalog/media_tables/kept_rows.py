"""A removed row as the ledger keeps it: each column's own text, and how to make a row of it again.

No value of a row leaves Postgres, and none is converted to another type: JSON would change hstore, the JSON
null and the order of keys in `json`, and cannot hold all that `json` can (R-56, R-57).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA

# Each column's base type, under all domains: it determines how values are written.
COLUMNS = """
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attgenerated <> '' AS computed,
       CASE WHEN b.typnamespace = 'pg_catalog'::regnamespace THEN b.typname::text ELSE '' END AS base,
       coalesce((SELECT e.typname::text FROM pg_type e
                 WHERE e.oid = b.typelem AND b.typcategory = 'A'
                   AND e.typnamespace = 'pg_catalog'::regnamespace), '') AS element,
       EXISTS (SELECT FROM pg_cast c WHERE c.castsource = 'text'::regtype AND c.casttarget = b.oid
                 AND c.castmethod = 'f') AS casts
FROM pg_attribute a
CROSS JOIN LATERAL (
    WITH RECURSIVE chain (oid) AS (
        SELECT a.atttypid
        UNION ALL
        SELECT t.typbasetype FROM chain JOIN pg_type t ON t.oid = chain.oid WHERE t.typtype = 'd'
    )
    SELECT t.* FROM chain JOIN pg_type t ON t.oid = chain.oid WHERE t.typtype <> 'd'
) b
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_ITSELF = frozenset({"text", "varchar", "xml"})
"""A cast to text changes no byte of these; the output function of xml drops the declared encoding."""

_STEADY = frozenset({"bool", "bpchar", "int2", "int4", "int8", "json", "jsonb", "numeric", "oid", "uuid"})
"""Types whose text depends on no setting, so that none has to be fixed to read it."""

_NAMES = frozenset(
    {
        "regclass",
        "regcollation",
        "regconfig",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
    }
)
"""Numbers written as names, which may be gone or ambiguous by the time they are read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the media table as it is now. `type` is spelled as Postgres declares it."""

    name: str
    type: str
    computed: bool
    base: str
    element: str
    casts: bool

    @property
    def quoted(self) -> str:
        return '"' + self.name.replace('"', '""') + '"'

    @property
    def written(self) -> str:
        """The value in the media table `m` as its type's output text; NULL where it is NULL.

        Not by a cast, which gives another text for char(n), inet and user-defined types.
        """
        value = f"m.{self.quoted}"
        if self.base in _ITSELF:
            return f"{value}::pg_catalog.text"
        if self.base in _NAMES:
            return f"{value}::pg_catalog.oid::pg_catalog.text"
        if self.element in _NAMES:
            return f"{value}::pg_catalog.oid[]::pg_catalog.text"
        if self.base in _STEADY:
            return f"CASE WHEN {value} IS NOT NULL THEN pg_catalog.format('%s', {value}) END"
        return f"{SCHEMA}.written({value})"

    def read(self, text: str) -> str:
        """The column's value from an expression for its text, by the type's input function.

        A cast from text, where one exists, would be used instead; within an array the input function is used.
        """
        if self.casts:
            return f"(ARRAY[{text}]::pg_catalog.text::{self.type}[])[1]"
        return f"({text})::{self.type}"


async def columns(connection: AnyConnection, table: int) -> list[Column]:
    return [Column(**dict(row)) for row in await connection.fetch(COLUMNS, table)]


def kept(found: Sequence[Column]) -> list[Column]:
    """The columns that are kept: all that the table does not compute itself."""
    return [each for each in found if not each.computed]


def as_array(wanted: Sequence[Column]) -> str:
    """The values of these columns of `m`, as one array of texts."""
    return f"ARRAY[{', '.join(each.written for each in wanted)}]::pg_catalog.text[]"
