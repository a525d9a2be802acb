"""The gateway's tables, which the first migration creates only where neither exists."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    text,
)

from tests.migration.tables.columns import TIME

GATEWAY = MetaData(schema="public")

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
    # In byte order, so that its unique index also serves the sweep.
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
