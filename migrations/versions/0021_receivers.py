"""Passes that trip are told too, and receivers that want no more are switched off."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciler.switched_off (
            channel text PRIMARY KEY,
            address text NOT NULL,
            kinds text[] NOT NULL,
            reason text NOT NULL,
            at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """
    )
    op.execute("COMMENT ON TABLE reconciler.switched_off IS 'Channels whose receivers want no more'")
    # Of passes that trip one after the other, for want of a decision, the first is told.
    op.execute(
        """
        CREATE FUNCTION reconciler.tell_of_trip() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
            INSERT INTO reconciler.outbox (channel, kind, payload)
            SELECT c.name, 'pass tripped', pg_catalog.jsonb_build_object(
                'at', pg_catalog.clock_timestamp(), 'epoch', NEW.epoch, 'pass_id', NEW.id,
                'pass_kind', NEW.kind, 'mode', NEW.mode, 'reason', NEW.trip_reason)
            FROM reconciler.channels c
            WHERE 'pass tripped' OPERATOR(pg_catalog.=) ANY (c.kinds)
              AND NOT EXISTS (SELECT FROM reconciler.passes p
                              WHERE p.kind OPERATOR(pg_catalog.=) NEW.kind
                                AND p.state OPERATOR(pg_catalog.=) 'tripped'
                                AND p.id OPERATOR(pg_catalog.<>) NEW.id);
            RETURN NULL;
        END
        $body$
        """
    )
    op.execute(
        """
        CREATE TRIGGER tell AFTER UPDATE OF state ON reconciler.passes FOR EACH ROW
            WHEN (NEW.state = 'tripped' AND OLD.state <> 'tripped')
            EXECUTE FUNCTION reconciler.tell_of_trip()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER tell ON reconciler.passes")
    op.execute("DROP FUNCTION reconciler.tell_of_trip()")
    op.execute("DROP TABLE reconciler.switched_off")
