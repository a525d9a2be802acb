"""Rows that we made for objects without one."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from tests.migration.tables.columns import KEY, OWN, TIME

adoptions = Table(
    "adoptions",
    OWN,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("asked", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("begun_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("listed_at", TIME),
    Column("ended_at", TIME),
    Column("taken_until", TIME, nullable=False),
    Column("taken_by", Text, nullable=False),
    Column("passed_over", JSONB, nullable=False, server_default=text("'{}'")),
    comment="Passes that made rows for objects without one",
)

adoption_objects = Table(
    "adoption_objects",
    OWN,
    Column(
        "adoption_id",
        BigInteger,
        ForeignKey("reconciler.adoptions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("storage_key", KEY, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'found'")),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("owner", Text),
    Column("record_id", Text),
    Column("row_hash", Text),
    CheckConstraint("state IN ('found', 'adopted', 'left', 'undone')", name="adoption_objects_state"),
    Index(
        "adoption_objects_settled_idx",
        "storage_key",
        postgresql_where=text("state <> 'found'"),
    ),
    comment="What became of each object without a row",
)
