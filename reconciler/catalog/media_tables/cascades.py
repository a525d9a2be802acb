"""Side effects of a row's removal, and what may prevent it: reported before anything is deleted."""

from collections.abc import Callable, Sequence

from reconciler.catalog.db.connections import AnyConnection, Row
from reconciler.catalog.media_tables.departing import DELETED

# The media table with its partitions; then every table whose rows go with theirs, however far away. For a
# partition its parent's constraint is reported, and not its own. A constraint that is NOT ENFORCED (Postgres
# 18) does nothing, whatever its ON DELETE action; older system catalogues have no such column.
REFERENCES = """
WITH RECURSIVE enforced AS (
    SELECT f.* FROM pg_constraint f
    WHERE f.contype = 'f' AND f.conparentid = 0
      AND coalesce((to_jsonb(f) ->> 'conenforced')::boolean, true)
), media (oid) AS (
    SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid::regclass)
), going (oid) AS (
    SELECT oid FROM media
    UNION SELECT f.conrelid FROM going g JOIN enforced f ON f.confrelid = g.oid AND f.confdeltype = 'c'
)
SELECT n.nspname || '.' || c.relname AS name, f.confdeltype::text AS action,
       f.conrelid IN (SELECT oid FROM media) AS back, f.confrelid IN (SELECT oid FROM media) AS direct,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = f.conrelid AND i.indisvalid AND i.indpred IS NULL
               AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey) AS indexed
FROM enforced f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.confrelid IN (SELECT oid FROM going)
ORDER BY name
"""

# Eight is the event DELETE. Triggers of constraints are internal, and are reported as constraints; ours keeps
# no row.
TRIGGERS = f"""
SELECT t.tgname::text AS name FROM pg_trigger t
WHERE t.tgrelid IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid::regclass))
  AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'D' AND t.tgtype & 8 <> 0
  AND t.tgname <> '{DELETED}'
ORDER BY 1
"""

RULES = """
SELECT r.rulename::text AS name FROM pg_rewrite r
WHERE r.ev_class = $1::oid AND r.ev_type = '4' AND r.ev_enabled <> 'D' ORDER BY 1
"""

PUT_OFF = "with its object, and `reconciler marks list --state refused` shows it"


async def warnings(connection: AnyConnection, table: str, oid: int) -> list[str]:
    """One line for each kind of side effect of a removal, and for each kind of cause that may prevent it."""
    found = await connection.fetch(REFERENCES, oid)
    lines = [
        *_references(table, found),
        _named(
            await connection.fetch(TRIGGERS, oid),
            f"{table}: a removal fires <names>; it is tried once and rolled back before the object goes, and"
            f" a row that they keep is put off {PUT_OFF}",
        ),
        _named(
            await connection.fetch(RULES, oid),
            f"{table}: the rule <names> rewrites every DELETE, so no row can be removed and none loses its"
            " object; drop the rule for retention to work",
        ),
    ]
    return [each for each in lines if each]


def _references(table: str, found: Sequence[Row]) -> list[str]:
    def those(line: str, wanted: Callable[[Row], bool]) -> str:
        return _named([row for row in found if wanted(row)], f"{table}: {line}")

    return [
        those(
            "rows of <names> go with a removed row (ON DELETE CASCADE), and no undo brings them back; where"
            " they have to outlive it make it ON DELETE SET NULL, where the media has to stay as long as they"
            " do make it NO ACTION (such a row is then put off)",
            lambda row: row["action"] == "c" and not row["back"],
        ),
        those(
            "by <names>, rows of this very table would go with a removed row (ON DELETE CASCADE); a row that"
            f" would take another one along is put off {PUT_OFF}; remove the rows that refer to it first, or"
            " make it ON DELETE SET NULL",
            lambda row: row["action"] == "c" and row["back"],
        ),
        those(
            "references of <names> are emptied with a removed row (ON DELETE SET NULL or SET DEFAULT), and an"
            " undo brings the row back, and not the reference; keep it elsewhere where it matters",
            lambda row: row["action"] in {"n", "d"},
        ),
        those(
            f"a row that <names> refers to cannot be removed (NO ACTION or RESTRICT); it is put off"
            f" {PUT_OFF}; remove the reference first, or make it ON DELETE CASCADE or SET NULL",
            lambda row: row["action"] in {"a", "r"},
        ),
        those(
            "the foreign key of <names> has no index, so each removal reads that whole table; CREATE INDEX"
            " CONCURRENTLY on the referring columns",
            lambda row: not row["indexed"],
        ),
    ]


def _named(found: Sequence[Row], line: str) -> str:
    """The line with `<names>` replaced by the names found; empty where none was."""
    names = ", ".join(dict.fromkeys(row["name"] for row in found))
    return line.replace("<names>", names) if names else ""
