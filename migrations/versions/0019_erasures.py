"""Erasures as a person orders them, and the certificates of what became of them."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
oldest = "0004"


WHAT = "'object', 'record', 'upload'"


def allow(what: str) -> None:
    """What a line of the ledger may be about."""
    op.execute(
        "ALTER TABLE reconciler.ledger DROP CONSTRAINT ledger_what,"
        f" ADD CONSTRAINT ledger_what CHECK (what IN ({what}))"
    )


def upgrade() -> None:
    allow(f"{WHAT}, 'virtual_key'")
    op.execute(
        """
        CREATE TABLE reconciler.erasures (
            id uuid PRIMARY KEY,
            kind text NOT NULL,
            subject text[] COLLATE "C",
            author text NOT NULL,
            reason text NOT NULL,
            ordered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            made_until timestamptz,
            replays text,
            state text NOT NULL DEFAULT 'open',
            said text,
            rows_removed bigint NOT NULL DEFAULT 0,
            texts_removed bigint NOT NULL DEFAULT 0,
            versions_removed bigint NOT NULL DEFAULT 0,
            uploads_aborted bigint NOT NULL DEFAULT 0,
            finished_at timestamptz
        )
        """
    )
    op.execute("COMMENT ON TABLE reconciler.erasures IS 'Erasures that were ordered'")
    op.execute("CREATE INDEX erasures_open_idx ON reconciler.erasures (ordered_at) WHERE state = 'open'")
    op.execute(
        """
        CREATE TABLE reconciler.erasure_keys (
            erasure_id uuid NOT NULL REFERENCES reconciler.erasures (id) ON DELETE CASCADE,
            storage_key text COLLATE "C" NOT NULL,
            noted boolean NOT NULL DEFAULT false,
            PRIMARY KEY (erasure_id, storage_key)
        )
        """
    )
    op.execute("COMMENT ON TABLE reconciler.erasure_keys IS 'The storage keys of open erasures'")
    op.execute(
        """
        CREATE TABLE reconciler.certificates (
            digest text PRIMARY KEY,
            number bigint NOT NULL,
            erasure_id uuid,
            at timestamptz NOT NULL DEFAULT clock_timestamp(),
            document text NOT NULL,
            copied boolean NOT NULL DEFAULT false
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE reconciler.certificates IS 'What was erased: signed JSON, chained by digest'"
    )
    op.execute("CREATE INDEX certificates_number_idx ON reconciler.certificates (number)")


def downgrade() -> None:
    for table in ("certificates", "erasure_keys", "erasures"):
        op.execute(f"DROP TABLE reconciler.{table}")
    op.execute("DELETE FROM reconciler.ledger WHERE what = 'virtual_key'")
    allow(WHAT)
