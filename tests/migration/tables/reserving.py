"""Objects on their way, before their rows are there."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, Uuid, text

from tests.migration.tables.columns import KEY, OWN, TIME

reservations = Table(
    "reservations",
    OWN,
    Column("id", Uuid, primary_key=True),
    Column("storage_key", KEY, nullable=False),
    Column("owner", Text, nullable=False),
    Column("owner_group", Text),
    Column("content_type", Text, nullable=False),
    Column("size", BigInteger),
    Column("content_hash", Text),
    Column("idempotency_key", Text),
    Column("fingerprint", Text),
    Column("created_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("expires_at", TIME, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Index("reservations_open_idx", "storage_key", unique=True, postgresql_where=text("state = 'open'")),
    Index(
        "reservations_idempotency_idx",
        "owner",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index("reservations_expires_at_idx", "expires_at"),
    Index("reservations_owner_idx", "owner", postgresql_where=text("state = 'open'")),
    comment="Objects on their way: kept until their rows are there",
)
