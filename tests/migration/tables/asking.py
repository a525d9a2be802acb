"""What was asked for over HTTP: who changed what, and work that takes a while."""

from sqlalchemy import BigInteger, Boolean, Column, Identity, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from tests.migration.tables.columns import OWN, TIME

audit = Table(
    "audit",
    OWN,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("caller", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("asked", Text, nullable=False),
    Column("status", Integer),
    Column("outcome", Text),
    Column("idempotency_key", Text),
    Column("digest", Text),
    Column("location", Text),
    Column("answer", Text),
    Index("audit_at_idx", "at"),
    Index(
        "audit_idempotency_idx",
        "caller",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    comment="Who changed what over HTTP, and what came of it",
)

jobs = Table(
    "jobs",
    OWN,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("asked", JSONB, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("author", Text, nullable=False),
    Column("asked_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("begun_at", TIME),
    Column("ended_at", TIME),
    Column("cancel", Boolean, nullable=False, server_default=text("false")),
    Column("taken_by", Text),
    Column("taken_until", TIME),
    Column("done", BigInteger, nullable=False, server_default=text("0")),
    Column("pass_id", BigInteger),
    Column("result", JSONB),
    Column("error", Text),
    Index("jobs_open_idx", "asked_at", postgresql_where=text("state IN ('waiting', 'running')")),
    Index("jobs_asked_at_idx", "asked_at"),
    comment="Work that was asked for over HTTP and takes a while",
)
