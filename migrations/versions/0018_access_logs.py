"""How far access logs have been read, so that none of their lines counts twice."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.access_logs (
            head text,
            digest text,
            bytes bigint NOT NULL,
            name text NOT NULL,
            version text,
            read_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (head, digest)
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE reconciler.access_logs IS"
        " 'How far access logs have been read, by their first line and by what was read'"
    )
    op.execute("CREATE INDEX access_logs_name_idx ON reconciler.access_logs (name)")
    op.execute("CREATE INDEX access_logs_read_at_idx ON reconciler.access_logs (read_at)")


def downgrade() -> None:
    op.execute("DROP TABLE reconciler.access_logs")
