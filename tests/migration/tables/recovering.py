"""Deletions and where the deleted still is: tombstones, the restore queue, hidden objects, the ledger."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from tests.migration.tables.columns import KEY, OWN, TIME

tombstones = Table(
    "tombstones",
    OWN,
    Column("storage_key", KEY, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("operation_id", Uuid, nullable=False),
    Column("gone_at", TIME, nullable=False),
    Column("ends_at", TIME, nullable=False),
    Column("recoverable", Boolean, nullable=False, server_default=text("false")),
    Index("tombstones_ends_at_idx", "ends_at"),
)

restores = Table(
    "restores",
    OWN,
    Column("storage_key", KEY, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("queued_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("not_before", TIME),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("vouched", Boolean, nullable=False, server_default=text("false")),
    comment="Objects to bring back where they are gone: a row needs them",
)

hidden = Table(
    "hidden",
    OWN,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("storage_key", KEY, nullable=False),
    Column("operation_id", Uuid, nullable=False),
    Column("pass_id", BigInteger),
    Column("verdict", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("quarantine_key", Text),
    Column("version_ids", ARRAY(Text), nullable=False),
    Column("marker_ids", ARRAY(Text), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("etag", Text),
    Column("last_modified", TIME),
    Column("hidden_at", TIME, nullable=False),
    Column("state", Text, nullable=False),
    Column("claimed_at", TIME),
    Column("erased", Boolean, nullable=False, server_default=text("false")),
    Column("variant_of", KEY),
    Column("owners", ARRAY(KEY), nullable=False, server_default=text("'{}'::text[]")),
    Column("despite_hold", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("mode IN ('quarantine', 'versioned')", name="hidden_mode"),
    CheckConstraint(
        "state IN ('hidden', 'restoring', 'restored', 'left over', 'purging')", name="hidden_state"
    ),
    Index("hidden_storage_key_idx", "storage_key"),
    Index("hidden_hidden_at_idx", "hidden_at"),
    Index("hidden_variant_of_idx", "variant_of", postgresql_where=text("variant_of IS NOT NULL")),
    comment="Objects that were deleted, and where they still are",
)

ledger = Table(
    "ledger",
    OWN,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("operation_id", Uuid),
    Column("event", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("storage_key", KEY, nullable=False),
    Column("record_id", Text),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("result", Text),
    Column("detail", Text),
    Column("bytes", BigInteger),
    Column("etag", Text),
    Column("pass_id", BigInteger),
    Column("epoch", BigInteger, nullable=False),
    Column("mode", Text, nullable=False),
    Column("recovery", JSONB),
    Column("removed", JSONB),
    Column("row_columns", ARRAY(Text)),
    Column("row_types", ARRAY(Text)),
    Column("row_values", ARRAY(Text)),
    Column("variant_of", KEY),
    Column("owners", ARRAY(Text)),
    CheckConstraint(
        "event IN ('intent', 'result', 'cancelled', 'restored', 'purged', 'aborted', 'erased', 'uncached',"
        " 'adopted', 'unadopted')",
        name="ledger_event",
    ),
    CheckConstraint("what IN ('object', 'record', 'upload', 'virtual_key')", name="ledger_what"),
    Index("ledger_at_idx", "at"),
    Index(
        "ledger_removed_idx",
        "storage_key",
        postgresql_where=text("removed IS NOT NULL OR row_values IS NOT NULL OR event = 'restored'"),
    ),
    Index("ledger_variant_of_idx", "variant_of", postgresql_where=text("variant_of IS NOT NULL")),
    Index("ledger_freed_idx", "at", postgresql_where=text("event IN ('purged', 'aborted')")),
)
