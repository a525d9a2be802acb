"""From which transaction on a pass has not seen what others wrote."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE reconciler.passes ADD COLUMN begun_xid xid8")


def downgrade() -> None:
    # The triggers know of near misses by now, which earlier ones did not.
    for name in ("record()", "keys(text)", "key(text)", "near(text)", "plain(text)", "probe(text)"):
        op.execute(f"DROP FUNCTION IF EXISTS reconciler.guard_{name} CASCADE")
    op.execute("ALTER TABLE reconciler.passes DROP COLUMN begun_xid")
