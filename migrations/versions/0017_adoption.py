"""Rows that we made for objects without one, so that each can be reported, resumed and undone."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
oldest = "0004"

EVENTS = "'intent', 'result', 'cancelled', 'restored', 'purged', 'aborted', 'erased', 'uncached'"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.adoptions (
            id bigint PRIMARY KEY,
            asked text NOT NULL,
            author text NOT NULL,
            dry_run boolean NOT NULL,
            begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            listed_at timestamptz,
            ended_at timestamptz,
            taken_until timestamptz NOT NULL,
            taken_by text NOT NULL,
            passed_over jsonb NOT NULL DEFAULT '{}'
        )
        """
    )
    op.execute("COMMENT ON TABLE reconciler.adoptions IS 'Passes that made rows for objects without one'")
    op.execute(
        """
        CREATE TABLE reconciler.adoption_objects (
            adoption_id bigint NOT NULL REFERENCES reconciler.adoptions (id) ON DELETE CASCADE,
            storage_key text COLLATE "C" NOT NULL,
            bytes bigint NOT NULL,
            state text NOT NULL DEFAULT 'found'
                CONSTRAINT adoption_objects_state CHECK (state IN ('found', 'adopted', 'left', 'undone')),
            reason text NOT NULL DEFAULT '',
            owner text,
            record_id text,
            row_hash text,
            PRIMARY KEY (adoption_id, storage_key)
        )
        """
    )
    op.execute("COMMENT ON TABLE reconciler.adoption_objects IS 'What became of each object without a row'")
    op.execute(
        "CREATE INDEX adoption_objects_settled_idx ON reconciler.adoption_objects (storage_key)"
        " WHERE state <> 'found'"
    )
    op.execute(
        "ALTER TABLE reconciler.ledger DROP CONSTRAINT ledger_event, ADD CONSTRAINT ledger_event"
        f" CHECK (event IN ({EVENTS}, 'adopted', 'unadopted'))"
    )


def downgrade() -> None:
    op.execute("DELETE FROM reconciler.ledger WHERE event IN ('adopted', 'unadopted')")
    op.execute(
        "ALTER TABLE reconciler.ledger DROP CONSTRAINT ledger_event, ADD CONSTRAINT ledger_event"
        f" CHECK (event IN ({EVENTS}))"
    )
    op.execute("DELETE FROM reconciler.spellings WHERE pass_id >= 4611686018427387904")
    op.execute("DROP TABLE reconciler.adoption_objects")
    op.execute("DROP TABLE reconciler.adoptions")
