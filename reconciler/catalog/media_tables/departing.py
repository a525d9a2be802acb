"""The triggers that note rows which leave the media table. They go with the guard: see `triggers`.

A note is a hint: a pass makes a mark of it, and the claim decides from the rows as they are then. Deletions
are noted by one statement for all rows of a statement, on the table and on each partition, since a DELETE
that names a partition fires only that one's. A row-level trigger notes a changed key: a WHEN clause costs the
other updates nothing, where a transition table would hold a copy of each. It does not fire for a row that the
same update moves to another partition: such a key is left to the sweep.

SECURITY DEFINER, because a cascade runs them as the user who deletes (Postgres 15) or as the owner of the
table (18), and neither needs a right on our schema. They are not ALWAYS enabled: what a subscription applies
was decided elsewhere, and fires no trigger of a statement anyhow.
"""

import re
from collections.abc import Sequence

from reconciler.catalog.db.config import TableMapping, literal, qualified, quoted
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.user_code import REMOVING

CHANNEL = "reconciler_departures"
"""What is notified has no payload: the notes are read from their table."""

DELETED, MOVED, TRUNCATED = "reconciler_departed", "reconciler_departed_key", "reconciler_truncated"
"""The triggers' names; their functions are named alike, without the schema's name."""

# A transaction that has notified cannot be prepared (PREPARE TRANSACTION), so where transactions may be, the
# poll alone looks.
_NOTIFY = f"""
    IF current_setting('max_prepared_transactions') = '0' THEN
        PERFORM pg_notify('{CHANNEL}', '');
    END IF;
"""

_NOTE = f"INSERT INTO {SCHEMA}.departures (storage_key, left_at, virtual_key, kept)"

# Our own removals are in the ledger, and their objects are gone. A row whose text cannot be made (it may be
# too long) is noted without it: whatever happens here must not keep a row from being deleted. A partition may
# have the columns in another order: its rows are written in that of the table, which is the argument.
DEPARTED = f"""
DECLARE
    noted integer;
    moment timestamptz := clock_timestamp();
BEGIN
    IF current_setting('{REMOVING}', true) = 'on' THEN
        RETURN NULL;
    END IF;
    BEGIN
        IF TG_NARGS = 0 THEN
            {_NOTE}
                SELECT gone.<key>::text COLLATE "C", moment, <owner>, gone::text
                FROM departed gone WHERE gone.<key> IS NOT NULL<counts>;
        ELSE
            EXECUTE (
                SELECT replace($note$ {_NOTE}
                    SELECT gone.<key>::text COLLATE "C", $1, <owner>, ROW(<row>)::text
                    FROM departed gone WHERE gone.<key> IS NOT NULL<counts>
                $note$, '<row>', string_agg(format('gone.%I', attname), ', ' ORDER BY attnum))
                FROM pg_attribute WHERE attrelid = TG_ARGV[0]::regclass AND attnum > 0 AND NOT attisdropped
            ) USING moment;
        END IF;
        GET DIAGNOSTICS noted = ROW_COUNT;
    EXCEPTION WHEN OTHERS THEN
        {_NOTE}
            SELECT gone.<key>::text COLLATE "C", moment, <owner>, NULL
            FROM departed gone WHERE gone.<key> IS NOT NULL<counts>;
        GET DIAGNOSTICS noted = ROW_COUNT;
    END;
    IF noted > 0 THEN{_NOTIFY}    END IF;
    RETURN NULL;
END
"""

DEPARTED_KEY = f"""
BEGIN
    {_NOTE}
        SELECT gone.<key>::text COLLATE "C", clock_timestamp(), <owner>, NULL
        FROM (SELECT OLD.*) gone WHERE gone.<key> IS NOT NULL<counts>;
    IF FOUND THEN{_NOTIFY}    END IF;
    RETURN NULL;
END
"""

# No trigger of a row sees a TRUNCATE: it is noted as such, without a key.
TRUNCATE = f"""
BEGIN
    INSERT INTO {SCHEMA}.departures (left_at) VALUES (clock_timestamp());
    RETURN NULL;
END
"""

# The text of a row is made under the settings in which it is read again.
_DEFINER = (
    "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'"
    " SET intervalstyle = 'postgres' SET extra_float_digits = '1' SET bytea_output = 'hex'"
)

FUNCTIONS = ("departed", "departed_key", "truncated")

DROP = tuple(f"DROP FUNCTION IF EXISTS {SCHEMA}.{name}() CASCADE" for name in FUNCTIONS)
"""Dropping their function drops the triggers."""

_TREE = """
WITH RECURSIVE tables (oid) AS (
    SELECT {media}::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tables t ON t.oid = i.inhparent
)
SELECT t.oid, c.relkind FROM tables t JOIN pg_class c ON c.oid = t.oid WHERE c.relkind IN ('r', 'p')
"""

_NAMES = (
    "(SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute"
    " WHERE attrelid = {table} AND attnum > 0 AND NOT attisdropped)"
)

# A trigger for each row is copied to the partitions by Postgres. The columns' types are looked up where the
# SQL runs, so that a script does the same.
INSTALL = f"""
DO $install$
DECLARE
    media regclass := to_regclass(:table);
    owner text := 'NULL::text';
    each record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = media AND attname = :key) THEN
        RAISE EXCEPTION '% has no column %, so no trigger is installed', media, :key;
    ELSIF EXISTS (SELECT FROM pg_attribute WHERE attrelid = media AND attname = :owner) THEN
        owner := 'gone."' || replace(:owner, '"', '""') || '"::text';
    END IF;
    FOR each IN SELECT * FROM (VALUES ('departed', :deleted), ('departed_key', :moved),
                                      ('truncated', :truncated)) AS f (name, body) LOOP
        EXECUTE format('CREATE FUNCTION {SCHEMA}.%I() RETURNS trigger LANGUAGE plpgsql <definer> AS %L',
            each.name, replace(each.body, '<owner>', owner));
    END LOOP;
    FOR each IN {_TREE.format(media="media")} LOOP
        EXECUTE format('CREATE TRIGGER {DELETED} AFTER DELETE ON %s REFERENCING OLD TABLE AS departed'
            ' FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.departed(%s)', each.oid::regclass,
            CASE WHEN {_NAMES.format(table="each.oid")} <> {_NAMES.format(table="media")}
                THEN quote_literal(:table) END);
        EXECUTE format('CREATE TRIGGER {TRUNCATED} AFTER TRUNCATE ON %s'
            ' FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.truncated()', each.oid::regclass);
    END LOOP;
    EXECUTE format('CREATE TRIGGER {MOVED} AFTER UPDATE ON %s FOR EACH ROW'
        ' WHEN (OLD.%I::text COLLATE "C" IS DISTINCT FROM NEW.%I::text COLLATE "C")'
        ' EXECUTE FUNCTION {SCHEMA}.departed_key()', media, :key, :key);
END
$install$
""".replace("<definer>", _DEFINER.replace("'", "''"))

# Whether all are there and enabled, on the table and on each partition; and whether any is.
STATE = f"""
WITH tree AS ({_TREE.format(media="to_regclass($1)")}), wanted AS (
    SELECT oid, name FROM tree CROSS JOIN unnest(ARRAY['{DELETED}', '{MOVED}', '{TRUNCATED}']) AS w (name)
), found AS (
    SELECT g.oid, g.tgenabled FROM wanted w
    LEFT JOIN pg_trigger g ON g.tgrelid = w.oid AND g.tgname = w.name
        AND g.tgfoid = ANY(ARRAY(SELECT to_regprocedure('{SCHEMA}.' || f || '()')::oid
                                 FROM unnest($2::text[]) AS f))
)
SELECT count(oid) = 0 AS absent, bool_and(oid IS NOT NULL) AS whole,
       coalesce(bool_or(tgenabled IN ('D', 'R')), false) AS disabled,
       (SELECT count(*) = cardinality($2::text[]) FROM unnest($2::text[], $3::text[]) AS b (name, body)
        JOIN pg_proc p ON p.oid = to_regprocedure('{SCHEMA}.' || b.name || '()')
        WHERE p.prosecdef AND replace(p.prosrc, 'NULL::text', $4) = b.body) AS current
FROM found
"""


COUNT = f"SELECT count(*) FROM {SCHEMA}.departures"


def installation(tables: TableMapping) -> str:
    """The statement that makes them, after `DROP`."""
    deleted, moved, truncated = (literal(body) for body in bodies(tables))
    values = {
        ":table": literal(qualified(tables.media_table)),
        ":key": literal(tables.media.storage_key),
        ":owner": literal(tables.media.virtual_key_id),
        ":deleted": deleted,
        ":moved": moved,
        ":truncated": truncated,
    }
    return re.sub("|".join(values), lambda found: values[found.group()], INSTALL).strip()


def bodies(tables: TableMapping) -> Sequence[str]:
    """The bodies of `FUNCTIONS`, in their order; the owner's column is filled in where the SQL runs."""
    counts = "".join(
        f' AND gone.{quoted(column)}::text COLLATE "C" = {literal(value)}'
        for column, value in tables.media_where
    )
    key = quoted(tables.media.storage_key)
    filled = (body.replace("<key>", key).replace("<counts>", counts) for body in (DEPARTED, DEPARTED_KEY))
    return (*filled, TRUNCATE)


async def whole(connection: AnyConnection, tables: TableMapping) -> bool | None:
    """Whether every departure from the table is noted; None where no such trigger is installed."""
    owner = f"gone.{quoted(tables.media.virtual_key_id)}::text"
    written = [body.replace("<owner>", owner) for body in bodies(tables)]
    table = qualified(tables.media_table)
    row = await connection.fetchrow(STATE, table, list(FUNCTIONS), written, owner)
    assert row is not None, "a count has a row"
    if row["absent"]:
        return None
    return bool(row["whole"] and row["current"] and not row["disabled"])
