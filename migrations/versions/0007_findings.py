"""Findings without a foreign key to their pass: no pass is ever deleted, and each row cost a look-up."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
oldest = "0004"

FOUND = (("marks", ""), ("spellings", " ON DELETE CASCADE"))


def upgrade() -> None:
    for table, _ in FOUND:
        op.execute(f"ALTER TABLE reconciler.{table} DROP CONSTRAINT {table}_pass_id_fkey")


def downgrade() -> None:
    for table, rule in FOUND:
        op.execute(
            f"ALTER TABLE reconciler.{table} ADD CONSTRAINT {table}_pass_id_fkey"
            f" FOREIGN KEY (pass_id) REFERENCES reconciler.passes (id){rule}"
        )
