"""What keeps the promises on strangers' stores and schemas: each feature has its statements side by side."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# --- healing, purging and holds ------------------------------------------------------------------------

HOLDS: tuple[str, ...] = (
    "ALTER TABLE reconciler.holds ADD COLUMN pass_id bigint",
    "ALTER TABLE reconciler.restores ADD COLUMN vouched boolean NOT NULL DEFAULT false",
    """
    CREATE TABLE reconciler.held_keys (
        storage_key text COLLATE "C" NOT NULL,
        virtual_key text COLLATE "C" NOT NULL,
        PRIMARY KEY (storage_key, virtual_key)
    )
    """,
    "CREATE INDEX held_keys_virtual_key_idx ON reconciler.held_keys (virtual_key)",
    """
    COMMENT ON TABLE reconciler.held_keys IS
        'Keys that rows of virtual keys on hold were seen to name, whatever becomes of row and key'
    """,
    """
    ALTER TABLE reconciler.hidden ADD COLUMN owners text[] COLLATE "C" NOT NULL DEFAULT '{}'::text[]
    """,
    "ALTER TABLE reconciler.hidden ADD COLUMN despite_hold boolean NOT NULL DEFAULT false",
    "ALTER TABLE reconciler.marks ADD COLUMN confirmed_id bigint NOT NULL DEFAULT 0",
    """
    UPDATE reconciler.marks SET confirmed_id =
        CASE WHEN verdict IN ('orphan', 'dangling') THEN coalesce(last_sweep_id, 0) ELSE last_pass_id END
    """,
)

HOLDS_DOWN: tuple[str, ...] = (
    "ALTER TABLE reconciler.marks DROP COLUMN confirmed_id",
    "ALTER TABLE reconciler.hidden DROP COLUMN despite_hold",
    "ALTER TABLE reconciler.hidden DROP COLUMN owners",
    "DROP TABLE reconciler.held_keys",
    "ALTER TABLE reconciler.restores DROP COLUMN vouched",
    "ALTER TABLE reconciler.holds DROP COLUMN pass_id",
)

# --- rows that cannot be removed -----------------------------------------------------------------------

# A row may be refused for as long as nobody mends what keeps it; what was said last is shown.
REFUSED_ROWS: tuple[str, ...] = (
    "ALTER TABLE reconciler.marks ADD COLUMN refusals integer NOT NULL DEFAULT 0, ADD COLUMN last_error text",
    "CREATE INDEX marks_refused_idx ON reconciler.marks (storage_key) WHERE last_error IS NOT NULL",
)

REFUSED_ROWS_DOWN: tuple[str, ...] = (
    "DROP INDEX reconciler.marks_refused_idx",
    "ALTER TABLE reconciler.marks DROP COLUMN refusals, DROP COLUMN last_error",
)

# --- removed rows, kept as they were -------------------------------------------------------------------

# `removed` stays for the rows that were removed before. A function with settings of its own: what a value
# looks like depends on the session's, and those may be the user's while his triggers run.
REMOVED_ROWS: tuple[str, ...] = (
    """
    ALTER TABLE reconciler.ledger
        ADD COLUMN row_columns text[], ADD COLUMN row_types text[], ADD COLUMN row_values text[]
    """,
    "DROP INDEX reconciler.ledger_removed_idx",
    """
    CREATE INDEX ledger_removed_idx ON reconciler.ledger (storage_key)
        WHERE removed IS NOT NULL OR row_values IS NOT NULL OR event = 'restored'
    """,
    """
    CREATE FUNCTION reconciler.written(value anyelement) RETURNS text
        LANGUAGE sql STABLE STRICT PARALLEL SAFE
        SET search_path = pg_catalog, pg_temp
        SET "TimeZone" = 'UTC'
        SET "DateStyle" = 'ISO, YMD'
        SET "IntervalStyle" = 'postgres'
        SET extra_float_digits = 1
        SET bytea_output = 'hex'
        SET lc_monetary = 'C'
    AS $$ SELECT pg_catalog.format('%s', value) $$
    """,
    "COMMENT ON FUNCTION reconciler.written IS 'A value as its type writes it, whatever the session says'",
)

REMOVED_ROWS_DOWN: tuple[str, ...] = (
    "DROP FUNCTION reconciler.written(anyelement)",
    "DROP INDEX reconciler.ledger_removed_idx",
    """
    CREATE INDEX ledger_removed_idx ON reconciler.ledger (storage_key)
        WHERE removed IS NOT NULL OR event = 'restored'
    """,
    "ALTER TABLE reconciler.ledger DROP COLUMN row_columns, DROP COLUMN row_types, DROP COLUMN row_values",
)

# --- which database this is ----------------------------------------------------------------------------

SITE: tuple[str, ...] = ("ALTER TABLE reconciler.site ADD COLUMN lineage jsonb",)

SITE_DOWN: tuple[str, ...] = ("ALTER TABLE reconciler.site DROP COLUMN lineage",)

# --- passes and their limits ---------------------------------------------------------------------------

PASSES: tuple[str, ...] = (
    """
    CREATE TABLE reconciler.spellings (
        folded text COLLATE "C" NOT NULL,
        pass_id bigint NOT NULL REFERENCES reconciler.passes (id) ON DELETE CASCADE,
        is_row boolean NOT NULL,
        storage_key text COLLATE "C" NOT NULL,
        PRIMARY KEY (folded, pass_id, is_row, storage_key)
    )
    """,
    """
    CREATE INDEX spellings_objects_idx ON reconciler.spellings (storage_key, pass_id, folded) WHERE NOT is_row
    """,
    """
    COMMENT ON TABLE reconciler.spellings IS
        'What a sweep found on one side only, by the folded key: what folds alike is a near miss'
    """,
)

PASSES_DOWN: tuple[str, ...] = ("DROP TABLE reconciler.spellings",)

# --- what a store refuses ------------------------------------------------------------------------------

REFUSALS: tuple[str, ...] = ()

REFUSALS_DOWN: tuple[str, ...] = ()

# --- what a store does to keys and versions ------------------------------------------------------------

STORES: tuple[str, ...] = ()

STORES_DOWN: tuple[str, ...] = ()

# --- the mapped tables ---------------------------------------------------------------------------------

MAPPED: tuple[str, ...] = ()

MAPPED_DOWN: tuple[str, ...] = ()

# --- variants: objects that go with a record ------------------------------------------------------------

VARIANTS = tuple(
    f'ALTER TABLE reconciler.{table} ADD COLUMN variant_of text COLLATE "C"'
    for table in ("marks", "hidden", "ledger")
) + tuple(
    f"CREATE INDEX {table}_variant_of_idx ON reconciler.{table} (variant_of) WHERE variant_of IS NOT NULL"
    for table in ("hidden", "ledger")
)

VARIANTS_DOWN = tuple(
    f"ALTER TABLE reconciler.{table} DROP COLUMN variant_of" for table in ("ledger", "hidden", "marks")
)


def upgrade() -> None:
    for statement in (
        *HOLDS,
        *REFUSED_ROWS,
        *REMOVED_ROWS,
        *SITE,
        *PASSES,
        *REFUSALS,
        *STORES,
        *MAPPED,
        *VARIANTS,
    ):
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        *VARIANTS_DOWN,
        *MAPPED_DOWN,
        *STORES_DOWN,
        *REFUSALS_DOWN,
        *PASSES_DOWN,
        *SITE_DOWN,
        *REMOVED_ROWS_DOWN,
        *REFUSED_ROWS_DOWN,
        *HOLDS_DOWN,
    ):
        op.execute(statement)
