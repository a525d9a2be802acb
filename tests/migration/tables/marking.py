"""Findings and what is kept: passes and their key ranges, marks, the counts for the caps, holds."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from reconciler.catalog.db.schema import SCHEMA
from tests.migration.tables.columns import KEY, OWN, TIME, Xid8

passes = Table(
    "passes",
    OWN,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
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
    Column("released_xid", Xid8),
    Column("policy", JSONB),
    Column("decided_by", Text),
    Column("decided_at", TIME),
    Column("begun_xid", Xid8),
    Column("superseded_by", BigInteger),
    Column("inventory", JSONB),
    Index("passes_kind_id_idx", "kind", "id"),
    Index("passes_tripped_idx", "kind", "id", postgresql_where=text("state = 'tripped'")),
    Index("passes_departures_idx", "finished_at", postgresql_where=text("kind = 'departure'")),
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

# Neither index begins with the pass. The statistics are of the pass before; where they say that this pass has
# no rows, an index that begins with the pass would look as good to the planner as one by the key.
spellings = Table(
    "spellings",
    OWN,
    Column("folded", KEY, primary_key=True),
    Column("pass_id", BigInteger, primary_key=True),
    Column("is_row", Boolean, primary_key=True),
    Column("storage_key", KEY, primary_key=True),
    Index("spellings_objects_idx", "storage_key", "pass_id", "folded", postgresql_where=text("NOT is_row")),
    Index("spellings_rows_idx", "pass_id", "folded", "storage_key", postgresql_where=text("is_row")),
    comment="What a sweep found on one side only, by the folded key: what folds alike is a near miss",
)

marks = Table(
    "marks",
    OWN,
    Column("storage_key", KEY, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("pass_id", BigInteger, nullable=False),
    Column("object_etag", Text),
    Column("object_last_modified", TIME),
    Column("first_seen_at", TIME, nullable=False),
    Column("last_seen_at", TIME, nullable=False),
    Column("last_pass_id", BigInteger, nullable=False),
    Column("last_sweep_id", BigInteger),
    Column("confirmed_id", BigInteger, nullable=False, server_default=text("0")),
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
    Column("refusals", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("variant_of", KEY),
    Column("left_rows", ARRAY(Text)),
    Column("owners", ARRAY(Text)),
    Column("nominated", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("state IN ('found', 'claimed')", name="marks_state"),
    Index("marks_found_idx", "due_at", "storage_key", postgresql_where=text("state = 'found'")),
    Index("marks_claimed_idx", "storage_key", postgresql_where=text("state = 'claimed'")),
    Index("marks_refused_idx", "storage_key", postgresql_where=text("last_error IS NOT NULL")),
    Index(
        "marks_departed_due_idx",
        "due_at",
        "storage_key",
        postgresql_where=text("verdict = 'departed' AND state = 'found'"),
    ),
    Index("marks_departed_pass_idx", text("(pass_id + 0)"), postgresql_where=text("verdict = 'departed'")),
    Index("marks_left_rows_idx", "first_seen_at", postgresql_where=text("left_rows IS NOT NULL")),
)

departures = Table(
    "departures",
    OWN,
    Column("id", BigInteger, Identity(always=True, cache=100), primary_key=True),
    Column("storage_key", KEY),
    Column("left_at", TIME, nullable=False),
    Column("virtual_key", KEY),
    Column("kept", Text),
    comment="Rows that left the media table, until a pass has marked what they named",
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
    Column("pass_id", BigInteger),
    CheckConstraint("kind IN ('key', 'prefix', 'virtual_key')", name="holds_kind"),
    Index("holds_until_idx", "until"),
    comment="What is deliberately kept, why, by whom and until when; one that has ended frees its keys",
)

held_keys = Table(
    "held_keys",
    OWN,
    Column("storage_key", KEY, primary_key=True),
    Column("virtual_key", KEY, primary_key=True),
    Index("held_keys_virtual_key_idx", "virtual_key"),
    comment="Keys that rows of virtual keys on hold were seen to name, whatever becomes of row and key",
)

revoked_keys = Table(
    "revoked_keys",
    OWN,
    Column("key_id", KEY, primary_key=True),
    Column("first_seen_at", TIME, nullable=False),
    comment="Since when a virtual key is known to be disabled",
)

hints = Table(
    "hints",
    OWN,
    Column("storage_key", KEY, primary_key=True),
    Column("appeared", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("notes", BigInteger, nullable=False, server_default=text("1")),
    Column("noted_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("due_at", TIME, nullable=False),
    Column("looked_at", TIME),
    Column("verdict", Text),
    Column("sightings", Integer, nullable=False, server_default=text("0")),
    Column("reason", Text),
    Index("hints_due_idx", "due_at"),
    Index("hints_found_idx", "looked_at", postgresql_where=text("verdict IS NOT NULL")),
    comment="Keys that the events of the store name, to be looked at before the next sweep",
)
