"""The rows among the spellings: a claim looks from them, since they are fewer than the objects."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX spellings_rows_idx ON reconciler.spellings (pass_id, folded, storage_key) WHERE is_row"
    )


def downgrade() -> None:
    op.execute("DROP INDEX reconciler.spellings_rows_idx")
