"""One word for one thing: a pass has a kind, and is released. An older program cannot use this schema.

The indexes are made again: a column that is renamed keeps its old name in them.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE reconciler.passes RENAME COLUMN marker TO kind")
    op.execute("ALTER TABLE reconciler.passes RENAME COLUMN armed_xid TO released_xid")
    op.execute("DROP INDEX reconciler.passes_marker_id_idx, reconciler.passes_tripped_idx")
    op.execute("CREATE INDEX passes_kind_id_idx ON reconciler.passes (kind, id)")
    op.execute("CREATE INDEX passes_tripped_idx ON reconciler.passes (kind, id) WHERE state = 'tripped'")
    op.execute("UPDATE reconciler.passes SET state = 'released' WHERE state = 'armed'")


def downgrade() -> None:
    op.execute("UPDATE reconciler.passes SET state = 'armed' WHERE state = 'released'")
    op.execute("ALTER TABLE reconciler.passes RENAME COLUMN released_xid TO armed_xid")
    op.execute("ALTER TABLE reconciler.passes RENAME COLUMN kind TO marker")
    op.execute("DROP INDEX reconciler.passes_kind_id_idx, reconciler.passes_tripped_idx")
    op.execute("CREATE INDEX passes_marker_id_idx ON reconciler.passes (marker, id)")
    op.execute("CREATE INDEX passes_tripped_idx ON reconciler.passes (marker, id) WHERE state = 'tripped'")
