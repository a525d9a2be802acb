"""The tables as SQLAlchemy knows them: what migrations are compared with. Runtime SQL is in the stores.

`OWN` are the reconciler's, in a Postgres schema of their own; `GATEWAY` the gateway's, which the
first migration creates only where neither exists.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

from reconciler.catalog.schema import SCHEMA

KEY = Text(collation="C")
"""Storage keys: byte order everywhere."""

TIME = DateTime(timezone=True)


class Xid8(UserDefinedType[int]):
    """A transaction id that never wraps."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


# So that a database that is read back compares as well.
ischema_names["xid8"] = Xid8

OWN = MetaData(schema=SCHEMA)
GATEWAY = MetaData(schema="public")


def _singleton() -> Column[int]:
    return Column("singleton", SmallInteger, primary_key=True, server_default=text("1"))


def _one_row(name: str) -> CheckConstraint:
    return CheckConstraint("singleton = 1", name=name)


created = Table(
    "created",
    OWN,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    comment="What of the gateway's schema the migrations made, and may drop again",
)

site = Table(
    "site",
    OWN,
    _singleton(),
    Column("site_id", Uuid, nullable=False),
    Column("bucket", Text),
    Column("prefixes", ARRAY(Text)),
    Column("bound_at", TIME),
    Column("nonce", Uuid),
    Column("pending_nonce", Uuid),
    _one_row("site_one_row"),
    comment="Which bucket this database is tied to",
)

lease = Table(
    "lease",
    OWN,
    _singleton(),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("nonce", Uuid),
    Column("expires_at", TIME, nullable=False),
    Column("released", Boolean, nullable=False, server_default=text("false")),
    Column("acquired_at", TIME),
    _one_row("lease_one_row"),
    comment="Who leads until when; renewed often, so claims lock `term` instead",
)

term = Table(
    "term",
    OWN,
    _singleton(),
    Column("epoch", BigInteger, nullable=False),
    Column("nonce", Uuid),
    Column("mode", Text),
    Column("live_since", TIME),
    Column("cluster", BigInteger),
    _one_row("term_one_row"),
    comment="The fencing token that every writing transaction locks and compares",
)

passes = Table(
    "passes",
    OWN,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("marker", Text, nullable=False),
    Column("cutoff", TIME, nullable=False),
    Column("config_hash", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("listing_order", Text),
    Column("state", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("tally", JSONB, nullable=False),
    Column("finished_at", TIME),
    Column("trip_reason", Text),
    Column("both_sides", Boolean, nullable=False, server_default=text("false")),
    Column("armed_xid", Xid8),
    Column("policy", JSONB),
    Column("decided_by", Text),
    Column("decided_at", TIME),
    Index("passes_marker_id_idx", "marker", "id"),
    Index("passes_tripped_idx", "marker", "id", postgresql_where=text("state = 'tripped'")),
)

spending = Table(
    "spending",
    OWN,
    Column("since", TIME, primary_key=True),
    Column("verdict", Text, primary_key=True),
    Column("prefix", KEY, primary_key=True),
    Column("keys", BigInteger, nullable=False),
    comment="Keys claimed by five minutes, but for those that a person approved: what the caps are asked of",
)

ranges = Table(
    "ranges",
    OWN,
    Column("pass_id", BigInteger, ForeignKey(f"{SCHEMA}.passes.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("prefix", KEY, nullable=False),
    Column("after", KEY, nullable=False),
    Column("upto", KEY),
    Column("watermark", KEY, nullable=False),
    Column("done", Boolean, nullable=False, server_default=text("false")),
    Column("tally", JSONB, nullable=False),
)

marks = Table(
    "marks",
    OWN,
    Column("storage_key", KEY, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("pass_id", BigInteger, ForeignKey(f"{SCHEMA}.passes.id"), nullable=False),
    Column("object_etag", Text),
    Column("object_last_modified", TIME),
    Column("first_seen_at", TIME, nullable=False),
    Column("last_seen_at", TIME, nullable=False),
    Column("last_pass_id", BigInteger, nullable=False),
    Column("last_sweep_id", BigInteger),
    Column("sightings", Integer, nullable=False),
    Column("due_at", TIME, nullable=False),
    Column("previewed_at", TIME),
    Column("state", Text, nullable=False, server_default=text("'found'")),
    Column("not_before", TIME),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("operation_id", Uuid),
    Column("epoch", BigInteger),
    Column("claimed_xid", Xid8),
    Column("attempted_at", TIME),
    Column("records", JSONB),
    Column("delete_object", Boolean),
    Column("verify_absence", Boolean),
    Column("object_gone_at", TIME),
    Column("delete_mode", Text),
    Column("quarantine_key", Text),
    CheckConstraint("state IN ('found', 'claimed')", name="marks_state"),
    Index("marks_found_idx", "due_at", "storage_key", postgresql_where=text("state = 'found'")),
    Index("marks_claimed_idx", "storage_key", postgresql_where=text("state = 'claimed'")),
)

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
    comment="Objects to bring back where they are gone: a row needs them",
)

budget = Table(
    "budget",
    OWN,
    _singleton(),
    Column("paid_until", TIME, nullable=False),
    _one_row("budget_one_row"),
    comment="Until when the keys already granted use up the rate of them all",
)

pause = Table(
    "pause",
    OWN,
    _singleton(),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("changed_at", TIME),
    Column("changed_by", Text),
    Column("reason", Text),
    _one_row("pause_one_row"),
    comment="Whether every replica has to stop deleting; who said so, and why",
)

holds = Table(
    "holds",
    OWN,
    Column("kind", Text, primary_key=True),
    Column("target", KEY, primary_key=True),
    Column("author", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("until", TIME),
    Column("added_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("kind IN ('key', 'prefix', 'virtual_key')", name="holds_kind"),
    Index("holds_until_idx", "until"),
    comment="What is deliberately kept, why, by whom and until when; one that has ended frees its keys",
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
    CheckConstraint("mode IN ('quarantine', 'versioned')", name="hidden_mode"),
    CheckConstraint(
        "state IN ('hidden', 'restoring', 'restored', 'left over', 'purging')", name="hidden_state"
    ),
    Index("hidden_storage_key_idx", "storage_key"),
    Index("hidden_hidden_at_idx", "hidden_at"),
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
    CheckConstraint(
        "event IN ('intent', 'result', 'cancelled', 'restored', 'purged', 'aborted', 'erased')",
        name="ledger_event",
    ),
    CheckConstraint("what IN ('object', 'record', 'upload')", name="ledger_what"),
    Index("ledger_at_idx", "at"),
    Index(
        "ledger_removed_idx",
        "storage_key",
        postgresql_where=text("removed IS NOT NULL OR event = 'restored'"),
    ),
    Index("ledger_freed_idx", "at", postgresql_where=text("event IN ('purged', 'aborted')")),
)

revoked_keys = Table(
    "revoked_keys",
    OWN,
    Column("key_id", KEY, primary_key=True),
    Column("first_seen_at", TIME, nullable=False),
    comment="Since when a virtual key is known to be disabled",
)

virtual_keys = Table(
    "VirtualKeys",
    GATEWAY,
    Column("Id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("KeyName", String(100), nullable=False),
    Column("KeyHash", String(128), nullable=False, unique=True),
    Column("IsEnabled", Boolean, nullable=False, server_default=text("true")),
    Column("ExpiresAt", TIME),
    Column("CreatedAt", TIME, nullable=False, server_default=text("now()")),
)

media_records = Table(
    "MediaRecords",
    GATEWAY,
    Column("Id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    # In byte order, so that the index that keeps it unique also serves the sweep.
    Column("StorageKey", String(500, collation="C"), nullable=False, unique=True),
    Column(
        "VirtualKeyId",
        Uuid,
        ForeignKey("public.VirtualKeys.Id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("MediaType", String(50), nullable=False),
    Column("ContentType", String(100)),
    Column("SizeBytes", BigInteger),
    Column("ContentHash", String(64)),
    Column("Provider", String(50)),
    Column("Model", String(100)),
    Column("Prompt", Text),
    Column("StorageUrl", Text),
    Column("PublicUrl", Text),
    Column("ExpiresAt", TIME),
    Column("CreatedAt", TIME, nullable=False, server_default=text("now()")),
    Column("LastAccessedAt", TIME),
    Column("AccessCount", Integer, server_default=text("0")),
    Index("IX_MediaRecords_VirtualKeyId", "VirtualKeyId"),
    Index("IX_MediaRecords_ExpiresAt", "ExpiresAt"),
    Index("IX_MediaRecords_CreatedAt", "CreatedAt"),
)
