"""Reservations: objects that are on their way, before their rows are there.

An older program knows none: to it such an object is one without a row, which its grace period keeps.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.reservations (
            id uuid PRIMARY KEY,
            storage_key text COLLATE "C" NOT NULL,
            owner text NOT NULL,
            owner_group text,
            content_type text NOT NULL,
            size bigint,
            content_hash text,
            idempotency_key text,
            fingerprint text,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            expires_at timestamptz NOT NULL,
            state text NOT NULL DEFAULT 'open'
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE reconciler.reservations IS 'Objects on their way: kept until their rows are there'"
    )
    op.execute(
        "CREATE UNIQUE INDEX reservations_open_idx ON reconciler.reservations (storage_key)"
        " WHERE state = 'open'"
    )
    op.execute(
        "CREATE UNIQUE INDEX reservations_idempotency_idx ON reconciler.reservations"
        " (owner, idempotency_key) WHERE idempotency_key IS NOT NULL"
    )
    op.execute("CREATE INDEX reservations_expires_at_idx ON reconciler.reservations (expires_at)")
    op.execute("CREATE INDEX reservations_owner_idx ON reconciler.reservations (owner) WHERE state = 'open'")


def downgrade() -> None:
    op.execute("DROP TABLE reconciler.reservations")
