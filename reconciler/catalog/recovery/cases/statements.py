"""What the database knows of an erasure, and of the keys of one."""

import asyncpg

from reconciler.catalog.db.connections import Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import ErasureCase, ErasureKind, ErasureState
from reconciler.model.keys import LONGEST_KEY

LONG = "SET LOCAL statement_timeout = '10min'"
"""The ledger has no index on the owner, nor on the key: both are looked for in all of it."""

COLUMNS = (
    "e.id, e.kind, coalesce(e.subject, '{}') AS subject, e.author, e.reason, e.ordered_at, e.made_until,"
    " e.replays, e.state, e.said, e.rows_removed, e.texts_removed, e.versions_removed, e.uploads_aborted,"
    " e.finished_at"
)

ADD_KEYS = f"""
INSERT INTO {SCHEMA}.erasure_keys (erasure_id, storage_key)
SELECT $1, k.key FROM unnest($2::text[]) AS k (key) WHERE octet_length(k.key) <= {LONGEST_KEY}
ON CONFLICT DO NOTHING
"""


class ErasureTables:
    """Where erasures are written down, and whose rows they are about."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media


def case_of(row: asyncpg.Record) -> ErasureCase:
    fields = dict(row)
    fields["kind"], fields["state"] = ErasureKind(row["kind"]), ErasureState(row["state"])
    fields["subject"] = tuple(row["subject"])
    return ErasureCase(**fields)
