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


def upgrade() -> None:
    for statement in (*RESTORES,):
        op.execute(statement)


def downgrade() -> None:
    for statement in (*RESTORES_DOWN,):
        op.execute(statement)
