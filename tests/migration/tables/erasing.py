"""Erasures that were ordered, their keys, and their certificates."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY

from tests.migration.tables.columns import KEY, OWN, TIME

_NONE = text("0")

erasures = Table(
    "erasures",
    OWN,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", ARRAY(KEY)),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ordered_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("made_until", TIME),
    Column("replays", Text),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("said", Text),
    Column("rows_removed", BigInteger, nullable=False, server_default=_NONE),
    Column("texts_removed", BigInteger, nullable=False, server_default=_NONE),
    Column("versions_removed", BigInteger, nullable=False, server_default=_NONE),
    Column("uploads_aborted", BigInteger, nullable=False, server_default=_NONE),
    Column("finished_at", TIME),
    Index("erasures_open_idx", "ordered_at", postgresql_where=text("state = 'open'")),
    comment="Erasures that were ordered",
)

erasure_keys = Table(
    "erasure_keys",
    OWN,
    Column("erasure_id", Uuid, ForeignKey(erasures.c.id, ondelete="CASCADE"), primary_key=True),
    Column("storage_key", KEY, primary_key=True),
    Column("noted", Boolean, nullable=False, server_default=text("false")),
    comment="The storage keys of open erasures",
)

certificates = Table(
    "certificates",
    OWN,
    Column("digest", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("erasure_id", Uuid),
    Column("at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("document", Text, nullable=False),
    Column("copied", Boolean, nullable=False, server_default=text("false")),
    Index("certificates_number_idx", "number"),
    comment="What was erased: signed JSON, chained by digest",
)
