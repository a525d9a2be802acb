"""What makes deletion safe under faults and undoable: each feature has its statements side by side."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RESTORES = (
    """
    CREATE TABLE reconciler.restores (
        storage_key text COLLATE "C" PRIMARY KEY,
        reason text NOT NULL,
        queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        not_before timestamptz,
        attempts integer NOT NULL DEFAULT 0
    )
    """,
    "COMMENT ON TABLE reconciler.restores IS 'Objects to bring back where they are gone: a row needs them'",
    "ALTER TABLE reconciler.tombstones ADD COLUMN recoverable boolean NOT NULL DEFAULT false",
)

RESTORES_DOWN = (
    "ALTER TABLE reconciler.tombstones DROP COLUMN recoverable",
    "DROP TABLE reconciler.restores",
)

# Both rows exist from the start, so that the first use is like every other.
CONTROL = (
    """
    CREATE TABLE reconciler.budget (
        singleton smallint DEFAULT 1 PRIMARY KEY CONSTRAINT budget_one_row CHECK (singleton = 1),
        paid_until timestamptz NOT NULL
    )
    """,
    "COMMENT ON TABLE reconciler.budget IS 'Until when the keys already granted use up the rate of them all'",
    "INSERT INTO reconciler.budget (paid_until) VALUES (clock_timestamp())",
    """
    CREATE TABLE reconciler.pause (
        singleton smallint DEFAULT 1 PRIMARY KEY CONSTRAINT pause_one_row CHECK (singleton = 1),
        paused boolean NOT NULL DEFAULT false,
        changed_at timestamptz,
        changed_by text,
        reason text
    )
    """,
    "COMMENT ON TABLE reconciler.pause IS 'Whether every replica has to stop deleting; who said so, and why'",
    "INSERT INTO reconciler.pause (paused) VALUES (false)",
)

CONTROL_DOWN = (
    "DROP TABLE reconciler.pause",
    "DROP TABLE reconciler.budget",
)


HOLDS = (
    """
    CREATE TABLE reconciler.holds (
        kind text NOT NULL CONSTRAINT holds_kind CHECK (kind IN ('key', 'prefix', 'virtual_key')),
        target text COLLATE "C" NOT NULL,
        author text NOT NULL,
        reason text NOT NULL,
        until timestamptz,
        added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (kind, target, author)
    )
    """,
    """
    COMMENT ON TABLE reconciler.holds IS
        'What is deliberately kept, why, by whom and until when; one that has ended frees its keys'
    """,
    "CREATE INDEX holds_until_idx ON reconciler.holds (until)",
)

HOLDS_DOWN = ("DROP TABLE reconciler.holds",)


# Made only where `reconciler migrate --install-triggers` asks for them; the triggers go with them.
TRIGGERS_DOWN = tuple(
    f"DROP FUNCTION IF EXISTS reconciler.{name} CASCADE"
    for name in ("guard_record()", "guard_keys(text)", "guard_key(text)", "guard_probe(text)")
)


SEAL = (
    "ALTER TABLE reconciler.site ADD COLUMN nonce uuid, ADD COLUMN pending_nonce uuid",
    # A term that ended by itself may have a holder who is still alive.
    "ALTER TABLE reconciler.lease ADD COLUMN released boolean NOT NULL DEFAULT false",
    "UPDATE reconciler.lease SET released = true WHERE epoch = 0",
    # In which cluster the passes were stamped.
    "ALTER TABLE reconciler.term ADD COLUMN cluster bigint",
)

SEAL_DOWN = (
    "ALTER TABLE reconciler.term DROP COLUMN cluster",
    "ALTER TABLE reconciler.lease DROP COLUMN released",
    "ALTER TABLE reconciler.site DROP COLUMN nonce, DROP COLUMN pending_nonce",
)


def upgrade() -> None:
    for statement in (*RESTORES, *CONTROL, *HOLDS, *SEAL):
        op.execute(statement)


def downgrade() -> None:
    for statement in (*SEAL_DOWN, *TRIGGERS_DOWN, *HOLDS_DOWN, *CONTROL_DOWN, *RESTORES_DOWN):
        op.execute(statement)
