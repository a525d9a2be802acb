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

# A trip used to be taken back by the next pass that was let through: those are over, and must not wait
# for a decision. `spending` counts claimed keys by five minutes: the caps are asked of each claim.
LATCH = (
    "ALTER TABLE reconciler.passes ADD COLUMN policy jsonb",
    "ALTER TABLE reconciler.passes ADD COLUMN decided_by text",
    "ALTER TABLE reconciler.passes ADD COLUMN decided_at timestamptz",
    "CREATE INDEX passes_tripped_idx ON reconciler.passes (marker, id) WHERE state = 'tripped'",
    """
    UPDATE reconciler.passes p SET state = 'failed'
    WHERE p.state = 'tripped' AND EXISTS (
        SELECT FROM reconciler.passes n WHERE n.marker = p.marker AND n.state = 'armed' AND n.id > p.id)
    """,
    """
    CREATE TABLE reconciler.spending (
        since timestamptz NOT NULL,
        verdict text NOT NULL,
        prefix text COLLATE "C" NOT NULL,
        keys bigint NOT NULL,
        PRIMARY KEY (since, verdict, prefix)
    )
    """,
    """
    COMMENT ON TABLE reconciler.spending IS
        'Keys claimed by five minutes, but for those that a person approved: what the caps are asked of'
    """,
)

LATCH_DOWN = (
    "DROP TABLE reconciler.spending",
    "DROP INDEX reconciler.passes_tripped_idx",
    "UPDATE reconciler.passes SET state = 'failed' WHERE state = 'discarded'",
    "ALTER TABLE reconciler.passes DROP COLUMN decided_at",
    "ALTER TABLE reconciler.passes DROP COLUMN decided_by",
    "ALTER TABLE reconciler.passes DROP COLUMN policy",
)


# Made only where `reconciler migrate --install-triggers` asks for them; the triggers go with them.
TRIGGERS_DOWN = tuple(
    f"DROP FUNCTION IF EXISTS reconciler.{name} CASCADE"
    for name in ("guard_record()", "guard_keys(text)", "guard_key(text)", "guard_probe(text)")
)


SEAL = (
    "ALTER TABLE reconciler.site ADD COLUMN nonce uuid, ADD COLUMN pending_nonce uuid",
    # A term that ended by itself may have a holder who is still alive.
    "ALTER TABLE reconciler.lease ADD COLUMN released boolean NOT NULL DEFAULT false",
    "ALTER TABLE reconciler.lease ADD COLUMN acquired_at timestamptz",
    "UPDATE reconciler.lease SET released = true WHERE epoch = 0",
    # In which cluster the passes were stamped.
    "ALTER TABLE reconciler.term ADD COLUMN cluster bigint",
)

SEAL_DOWN = (
    "ALTER TABLE reconciler.term DROP COLUMN cluster",
    "ALTER TABLE reconciler.lease DROP COLUMN released, DROP COLUMN acquired_at",
    "ALTER TABLE reconciler.site DROP COLUMN nonce, DROP COLUMN pending_nonce",
)


HIDDEN = (
    """
    CREATE TABLE reconciler.hidden (
        id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        storage_key text COLLATE "C" NOT NULL,
        operation_id uuid NOT NULL,
        pass_id bigint,
        verdict text NOT NULL,
        mode text NOT NULL CONSTRAINT hidden_mode CHECK (mode IN ('quarantine', 'versioned')),
        quarantine_key text,
        version_ids text[] NOT NULL,
        marker_ids text[] NOT NULL,
        bytes bigint NOT NULL,
        etag text,
        last_modified timestamptz,
        hidden_at timestamptz NOT NULL,
        state text NOT NULL CONSTRAINT hidden_state
            CHECK (state IN ('hidden', 'restoring', 'restored', 'left over', 'purging')),
        claimed_at timestamptz,
        erased boolean NOT NULL DEFAULT false
    )
    """,
    "COMMENT ON TABLE reconciler.hidden IS 'Objects that were deleted, and where they still are'",
    "CREATE INDEX hidden_storage_key_idx ON reconciler.hidden (storage_key)",
    "CREATE INDEX hidden_hidden_at_idx ON reconciler.hidden (hidden_at)",
    "ALTER TABLE reconciler.marks ADD COLUMN delete_mode text, ADD COLUMN quarantine_key text",
    "ALTER TABLE reconciler.ledger ADD COLUMN recovery jsonb, ADD COLUMN removed jsonb",
    "ALTER TABLE reconciler.ledger DROP CONSTRAINT ledger_event, DROP CONSTRAINT ledger_what",
    """
    ALTER TABLE reconciler.ledger
        ADD CONSTRAINT ledger_event
            CHECK (event IN ('intent', 'result', 'cancelled', 'restored', 'purged', 'aborted', 'erased')),
        ADD CONSTRAINT ledger_what CHECK (what IN ('object', 'record', 'upload'))
    """,
    """
    CREATE INDEX ledger_removed_idx ON reconciler.ledger (storage_key)
        WHERE removed IS NOT NULL OR event = 'restored'
    """,
    "CREATE INDEX ledger_freed_idx ON reconciler.ledger (at) WHERE event IN ('purged', 'aborted')",
)

HIDDEN_DOWN = (
    "DROP INDEX reconciler.ledger_freed_idx",
    "DROP INDEX reconciler.ledger_removed_idx",
    "DELETE FROM reconciler.ledger WHERE event NOT IN ('intent', 'result', 'cancelled')",
    "ALTER TABLE reconciler.ledger DROP CONSTRAINT ledger_event, DROP CONSTRAINT ledger_what",
    """
    ALTER TABLE reconciler.ledger
        ADD CONSTRAINT ledger_event CHECK (event IN ('intent', 'result', 'cancelled')),
        ADD CONSTRAINT ledger_what CHECK (what IN ('object', 'record'))
    """,
    "ALTER TABLE reconciler.ledger DROP COLUMN removed, DROP COLUMN recovery",
    "ALTER TABLE reconciler.marks DROP COLUMN quarantine_key, DROP COLUMN delete_mode",
    "DROP TABLE reconciler.hidden",
)


def upgrade() -> None:
    for statement in (*RESTORES, *CONTROL, *HOLDS, *SEAL, *HIDDEN, *LATCH):
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        *LATCH_DOWN,
        *HIDDEN_DOWN,
        *SEAL_DOWN,
        *TRIGGERS_DOWN,
        *HOLDS_DOWN,
        *CONTROL_DOWN,
        *RESTORES_DOWN,
    ):
        op.execute(statement)
