"""Links of an owner that are ended all at once."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.link_generations (
            virtual_key text COLLATE "C" PRIMARY KEY,
            generation bigint NOT NULL DEFAULT 1,
            raised_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE reconciler.link_generations IS"
        " 'How often all links to the media of a virtual key were ended; a link is signed with it'"
    )


def downgrade() -> None:
    op.execute("DROP TABLE reconciler.link_generations")
