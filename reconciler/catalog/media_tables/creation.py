"""Makes the gateway's two tables for a new gateway that has none: only on request, and recorded.

An empty table next to the gateway's real one makes every object look like an orphan. So nothing is made
where the database has a table of that name anywhere, in another schema or another case.
"""

import asyncpg

from reconciler.catalog.db.config import TableMapping, qualified, split_table
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import ConfigError

_BY_HAND = "or make both by hand: `reconciler migrate --sql --create-tables` prints the statements"

# Checked where the SQL runs and not where it is written, so that the script of `--sql` does the same.
REFUSE = f"""
DO $creation$
DECLARE
    media boolean := to_regclass('public."MediaRecords"') IS NOT NULL;
    keys boolean := to_regclass('public."VirtualKeys"') IS NOT NULL;
    alike text;
BEGIN
    IF media AND keys THEN
        RETURN;
    ELSIF media THEN
        RAISE EXCEPTION 'public."MediaRecords" exists and public."VirtualKeys" does not: '
            'create the missing table, or map the gateway''s own with RECONCILER_CATALOG__KEYS_TABLE';
    ELSIF keys THEN
        RAISE EXCEPTION 'public."VirtualKeys" exists and public."MediaRecords" does not: '
            'create the missing table, or map the gateway''s own with RECONCILER_CATALOG__MEDIA_TABLE';
    END IF;
    SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname) INTO alike
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND replace(lower(c.relname), '_', '') IN ('mediarecords', 'virtualkeys')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{SCHEMA}')
      AND n.nspname !~ '^pg_(toast|temp)';
    IF alike IS NOT NULL THEN
        RAISE EXCEPTION '% in this database: nothing was created, for an empty table would make every '
            'object an orphan. Name yours with RECONCILER_CATALOG__MEDIA_TABLE and '
            'RECONCILER_CATALOG__KEYS_TABLE, {_BY_HAND}', alike;
    END IF;
END
$creation$
"""

# Records the names, in the form that the migration's downgrade reads.
CREATE = f"""
DO $creation$
BEGIN
    IF to_regclass('public."MediaRecords"') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE public."VirtualKeys" (
        "Id" uuid DEFAULT gen_random_uuid() PRIMARY KEY,
        "KeyName" varchar(100) NOT NULL,
        "KeyHash" varchar(128) NOT NULL UNIQUE,
        "IsEnabled" boolean NOT NULL DEFAULT true,
        "ExpiresAt" timestamptz,
        "CreatedAt" timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE public."MediaRecords" (
        "Id" uuid DEFAULT gen_random_uuid() PRIMARY KEY,
        "StorageKey" varchar(500) COLLATE "C" NOT NULL UNIQUE,
        "VirtualKeyId" uuid NOT NULL REFERENCES public."VirtualKeys" ("Id") ON DELETE CASCADE,
        "MediaType" varchar(50) NOT NULL,
        "ContentType" varchar(100),
        "SizeBytes" bigint,
        "ContentHash" varchar(64),
        "Provider" varchar(50),
        "Model" varchar(100),
        "Prompt" text,
        "StorageUrl" text,
        "PublicUrl" text,
        "ExpiresAt" timestamptz,
        "CreatedAt" timestamptz NOT NULL DEFAULT now(),
        "LastAccessedAt" timestamptz,
        "AccessCount" integer DEFAULT 0
    );
    CREATE INDEX "IX_MediaRecords_VirtualKeyId" ON public."MediaRecords" ("VirtualKeyId");
    CREATE INDEX "IX_MediaRecords_ExpiresAt" ON public."MediaRecords" ("ExpiresAt");
    CREATE INDEX "IX_MediaRecords_CreatedAt" ON public."MediaRecords" ("CreatedAt");
    INSERT INTO {SCHEMA}.created (kind, name)
        VALUES ('table', 'public."MediaRecords"'), ('table', 'public."VirtualKeys"')
        ON CONFLICT DO NOTHING;
END
$creation$
"""

MADE_BY_US = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.created WHERE kind = 'table' AND to_regclass(name) = to_regclass($1))
"""

# Looks by name: to_regclass needs USAGE on the schema, and this must work without any right.
MISSING = """
SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = $1 AND c.relname = $2)
"""


def script() -> str:
    """The statements that make the tables, or refuse to."""
    return f"{REFUSE.strip()};\n{CREATE.strip()};\n"


def require_default(tables: TableMapping) -> None:
    """Raises ConfigError where the settings map other tables than the two that can be made."""
    if not tables.is_default:
        raise ConfigError(
            'migrate: --create-tables makes public."MediaRecords" and public."VirtualKeys" alone, and the'
            " settings map other tables or columns; create yours, or unset RECONCILER_CATALOG__…"
        )


async def refuse(connection: AnyConnection) -> None:
    """Raises ConfigError, with their names, where the gateway seems to have tables of its own already."""
    try:
        await connection.execute(REFUSE)
    except asyncpg.RaiseError as error:
        raise ConfigError(f"migrate: {error}") from error


async def create(connection: AnyConnection, lock: int) -> str:
    """Make both tables where neither exists; returns a line that says what was done. Raises ConfigError."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock)
        await refuse(connection)
        before = await connection.fetchval("SELECT to_regclass('public.\"MediaRecords\"') IS NOT NULL")
        await connection.execute(CREATE)
    names = 'public."MediaRecords" and public."VirtualKeys"'
    return f"{names} are there already" if before else f"created {names}"


async def missing(connection: AnyConnection, tables: TableMapping) -> str | None:
    """What to do about missing mapped tables, in one line; None where both are there."""
    names = [
        f"{setting}={name}"
        for setting, name in (
            ("RECONCILER_CATALOG__MEDIA_TABLE", tables.media_table),
            ("RECONCILER_CATALOG__KEYS_TABLE", tables.keys_table),
        )
        if name and await connection.fetchval(MISSING, *split_table(name))
    ]
    if not names:
        return None
    which = "this table is" if len(names) == 1 else "these tables are"
    make = "; a new gateway's are made by `reconciler migrate --create-tables`" if tables.is_default else ""
    database = await connection.fetchval("SELECT current_database()")
    return f"{which} not in the database {database}: {', '.join(names)}; name the ones that you have{make}"


async def made_by_us(connection: AnyConnection, tables: TableMapping) -> bool:
    """Whether the existing media table was made by `migrate` and not by the gateway."""
    return bool(await connection.fetchval(MADE_BY_US, qualified(tables.media_table)))
