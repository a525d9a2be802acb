"""Departures before all else, and their passes not for ever: the indexes that both take."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
oldest = "0004"

# That of the passes is on an expression, so that it serves the one query that has this expression. Where the
# planner believes that a pass has no marks, any other would take it, and read all marks of the pass a page.
INDEXES = {
    "marks_departed_due_idx": "marks (due_at, storage_key) WHERE verdict = 'departed' AND state = 'found'",
    "marks_departed_pass_idx": "marks ((pass_id + 0)) WHERE verdict = 'departed'",
    "passes_departures_idx": "passes (finished_at) WHERE kind = 'departure'",
}


def upgrade() -> None:
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON reconciler.{what}")
    op.execute("DROP INDEX reconciler.marks_departed_idx")


def downgrade() -> None:
    op.execute("CREATE INDEX marks_departed_idx ON reconciler.marks (storage_key) WHERE verdict = 'departed'")
    for name in INDEXES:
        op.execute(f"DROP INDEX reconciler.{name}")
