"""Whose media a claim and a line of the ledger are about: the virtual keys of the rows that named them."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    for table in ("marks", "ledger"):
        op.execute(f"ALTER TABLE reconciler.{table} ADD COLUMN owners text[]")


def downgrade() -> None:
    for table in ("marks", "ledger"):
        op.execute(f"ALTER TABLE reconciler.{table} DROP COLUMN owners")
