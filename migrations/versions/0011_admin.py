"""Who changed what over HTTP, and work that was asked for and takes a while."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.audit (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT clock_timestamp(),
            caller text NOT NULL,
            role text NOT NULL,
            address text NOT NULL,
            action text NOT NULL,
            target text NOT NULL,
            asked text NOT NULL,
            status integer,
            outcome text,
            idempotency_key text,
            digest text,
            location text,
            answer text
        )
        """
    )
    op.execute("COMMENT ON TABLE reconciler.audit IS 'Who changed what over HTTP, and what came of it'")
    op.execute("CREATE INDEX audit_at_idx ON reconciler.audit (at)")
    op.execute(
        "CREATE UNIQUE INDEX audit_idempotency_idx ON reconciler.audit (caller, idempotency_key)"
        " WHERE idempotency_key IS NOT NULL"
    )
    op.execute(
        """
        CREATE TABLE reconciler.jobs (
            id uuid PRIMARY KEY,
            kind text NOT NULL,
            asked jsonb NOT NULL,
            dry_run boolean NOT NULL,
            author text NOT NULL,
            asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            state text NOT NULL DEFAULT 'waiting',
            begun_at timestamptz,
            ended_at timestamptz,
            cancel boolean NOT NULL DEFAULT false,
            taken_by text,
            taken_until timestamptz,
            done bigint NOT NULL DEFAULT 0,
            pass_id bigint,
            result jsonb,
            error text
        )
        """
    )
    op.execute("COMMENT ON TABLE reconciler.jobs IS 'Work that was asked for over HTTP and takes a while'")
    op.execute(
        "CREATE INDEX jobs_open_idx ON reconciler.jobs (asked_at) WHERE state IN ('waiting', 'running')"
    )
    op.execute("CREATE INDEX jobs_asked_at_idx ON reconciler.jobs (asked_at)")


def downgrade() -> None:
    for table in ("jobs", "audit"):
        op.execute(f"DROP TABLE reconciler.{table}")
