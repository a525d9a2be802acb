"""The ledger's ids are never given twice, a restore from a backup included."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
oldest = "0004"


def upgrade() -> None:
    # Only an adoption of a bucket changes the site id. No database writes a line a microsecond, so what any
    # other has given for this bucket is below the microseconds since 1970, and what it gives from now on is
    # between those of its own adoption and now. SECURITY DEFINER: the daemon has no right on the sequence.
    op.execute(
        """
        CREATE FUNCTION reconciler.skip_ids() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            ids constant regclass := pg_get_serial_sequence('reconciler.ledger', 'id');
            microseconds constant bigint := extract(epoch FROM clock_timestamp()) * 1000000;
        BEGIN
            PERFORM setval(ids, greatest(nextval(ids), microseconds));
            RETURN NULL;
        END
        $body$
        """
    )
    op.execute(
        """
        CREATE TRIGGER skip_ids AFTER UPDATE OF site_id ON reconciler.site FOR EACH ROW
            WHEN (NEW.site_id <> OLD.site_id)
            EXECUTE FUNCTION reconciler.skip_ids()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER skip_ids ON reconciler.site")
    op.execute("DROP FUNCTION reconciler.skip_ids()")
