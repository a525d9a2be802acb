"""What blocks the program: locks on one of the tables, and prepared transactions left open.

Only statements and texts, because a connection that has just failed for a lock also asks.
"""

from collections.abc import Sequence

import asyncpg

from reconciler.catalog.db.config import TableMapping, qualified
from reconciler.model.moments import moment

# Holders of a lock on one of the tables that keeps others from removing rows, or even from reading them. A
# prepared transaction has no process; its lock on its own id, in the same virtual transaction, names it.
HOLDERS = """
WITH RECURSIVE tables (name, oid) AS (
    SELECT name, to_regclass(name)::oid FROM unnest($1::text[]) AS given (name)
    UNION SELECT t.name, i.inhrelid FROM tables t JOIN pg_inherits i ON i.inhparent = t.oid
)
SELECT DISTINCT t.name, l.mode, l.pid, a.application_name, a.xact_start AS since, x.gid, x.prepared
FROM pg_locks l JOIN tables t ON t.oid = l.relation
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks own ON l.pid IS NULL AND own.virtualtransaction = l.virtualtransaction
    AND own.locktype = 'transactionid'
LEFT JOIN pg_prepared_xacts x ON x.transaction = own.transactionid
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
ORDER BY t.name, l.pid
"""

PREPARED = "SELECT gid, owner::text, database::text, prepared FROM pg_prepared_xacts ORDER BY prepared"


def names(tables: TableMapping) -> list[str]:
    """The tables that `HOLDERS` takes as its parameter."""
    return [qualified(each) for each in (tables.media_table, tables.keys_table) if each]


def holder(row: asyncpg.Record) -> str:
    """One row of `HOLDERS` in words."""
    mode = "ACCESS EXCLUSIVE" if row["mode"] == "AccessExclusiveLock" else row["mode"]
    since = row["prepared"] or row["since"]
    by = f"prepared transaction {row['gid']}" if row["gid"] else f"pid {row['pid']}"
    name = f" ({row['application_name']})" if row["application_name"] else ""
    opened = f", open since {moment(since)}" if since else ""
    return f"{row['name']} is locked ({mode}) by {by}{name}{opened}"


def warnings(held: Sequence[asyncpg.Record], prepared: Sequence[asyncpg.Record]) -> list[str]:
    """One line for each row of `HOLDERS` and of `PREPARED`, with what to do about it."""
    return [
        *(
            f"{holder(row)}: passes and deletions wait for it, and fail; wait for its end, or end it"
            " (pg_terminate_backend, or COMMIT PREPARED or ROLLBACK PREPARED)"
            for row in held
        ),
        *(
            f"prepared transaction {row['gid']} of {row['owner']} in database {row['database']}, open since"
            f" {moment(row['prepared'])}: every deletion waits for its end, and so does VACUUM;"
            " if its program has forgotten it, COMMIT PREPARED or ROLLBACK PREPARED it there"
            for row in prepared
        ),
    ]
