-- The least that two roles need: one that runs `reconciler migrate`, and one that the daemon runs as.
-- For the superuser or the owner of the gateway's tables, once, in the gateway's database:
--   psql --set=ON_ERROR_STOP=1 --file=grants.sql
-- Give both roles a way to log in (a password, a certificate, IAM) as you do elsewhere.
-- For mapped tables write their names instead; nothing here gives a right on any other table.

CREATE ROLE reconciler_owner LOGIN;
CREATE ROLE reconciler LOGIN;

-- The schema of the reconciler's own tables. The role that migrates owns it.
CREATE SCHEMA reconciler AUTHORIZATION reconciler_owner;

-- Only the owner of the gateway's tables can install the triggers, because Postgres lets no other role switch
-- one to ALWAYS: run `reconciler migrate --install-triggers` as that role, or give it the output of --sql.

-- What the daemon reads and removes. Postgres requires UPDATE to lock a row; on the id only,
-- since no row is ever changed. INSERT restores rows; without it an undo restores objects only. Where a
-- column's type is of another schema, GRANT USAGE ON SCHEMA that schema as well.
GRANT USAGE ON SCHEMA public TO reconciler;
GRANT SELECT, INSERT, DELETE, UPDATE ("Id") ON public."MediaRecords" TO reconciler;
GRANT SELECT, UPDATE ("Id") ON public."VirtualKeys" TO reconciler;

-- Its own tables, those of later migrations included. CREATE is for the table into which a listing without
-- order is copied; it goes with its pass.
GRANT USAGE, CREATE ON SCHEMA reconciler TO reconciler;
ALTER DEFAULT PRIVILEGES FOR ROLE reconciler_owner IN SCHEMA reconciler
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO reconciler;

-- Optional: names the session whose open transaction holds deletions back (metric deletion_blocked).
-- GRANT pg_read_all_stats TO reconciler;
