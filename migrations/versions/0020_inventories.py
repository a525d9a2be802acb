"""Which inventory a sweep used, and the marks that an inventory nominated."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE reconciler.passes ADD COLUMN inventory jsonb")
    op.execute("ALTER TABLE reconciler.marks ADD COLUMN nominated boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE reconciler.marks DROP COLUMN nominated")
    op.execute("ALTER TABLE reconciler.passes DROP COLUMN inventory")
