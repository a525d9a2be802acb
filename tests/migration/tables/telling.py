"""What is still to be told to others."""

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from tests.migration.tables.columns import KEY, OWN, TIME

channels = Table(
    "channels",
    OWN,
    Column("name", Text, primary_key=True),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("url_column", Text),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("due_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("last_error", Text),
    comment="Who is told of what; the leader keeps it by its settings",
)

outbox = Table(
    "outbox",
    OWN,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("channel", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("storage_key", KEY),
    Column("ledger_id", BigInteger),
    Column("payload", JSONB, nullable=False),
    Column("created_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("due_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Index("outbox_storage_key_idx", "channel", "storage_key", "id"),
    comment="What is still to be told; a row goes once it has arrived",
)

switched_off = Table(
    "switched_off",
    OWN,
    Column("channel", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    comment="Channels whose receivers want no more",
)
