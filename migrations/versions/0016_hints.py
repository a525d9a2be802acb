"""Keys that the store's events name, to be looked at before the next sweep."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.hints (
            storage_key text COLLATE "C" PRIMARY KEY,
            appeared boolean NOT NULL,
            removed boolean NOT NULL,
            notes bigint NOT NULL DEFAULT 1,
            noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            due_at timestamptz NOT NULL,
            looked_at timestamptz,
            verdict text,
            sightings integer NOT NULL DEFAULT 0,
            reason text
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE reconciler.hints IS"
        " 'Keys that the events of the store name, to be looked at before the next sweep'"
    )
    op.execute("CREATE INDEX hints_due_idx ON reconciler.hints (due_at)")
    op.execute("CREATE INDEX hints_found_idx ON reconciler.hints (looked_at) WHERE verdict IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP TABLE reconciler.hints")
