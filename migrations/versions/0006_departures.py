"""Rows that left the media table, until a pass has marked what they named."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.departures (
            id bigint GENERATED ALWAYS AS IDENTITY (CACHE 100) PRIMARY KEY,
            storage_key text COLLATE "C",
            left_at timestamptz NOT NULL,
            virtual_key text COLLATE "C",
            kept text
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE reconciler.departures IS"
        " 'Rows that left the media table, until a pass has marked what they named'"
    )
    op.execute("ALTER TABLE reconciler.marks ADD COLUMN left_rows text[]")
    op.execute(
        "CREATE INDEX marks_left_rows_idx ON reconciler.marks (first_seen_at) WHERE left_rows IS NOT NULL"
    )
    op.execute("CREATE INDEX marks_departed_idx ON reconciler.marks (storage_key) WHERE verdict = 'departed'")


def downgrade() -> None:
    for name in ("departed", "departed_key", "truncated"):
        op.execute(f"DROP FUNCTION IF EXISTS reconciler.{name}() CASCADE")
    op.execute("DROP INDEX reconciler.marks_departed_idx")
    op.execute("ALTER TABLE reconciler.marks DROP COLUMN left_rows")
    op.execute("DROP TABLE reconciler.departures")
