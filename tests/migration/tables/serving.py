"""What the media service asks and writes."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, text

from tests.migration.tables.columns import KEY, OWN, TIME

link_generations = Table(
    "link_generations",
    OWN,
    Column("virtual_key", KEY, primary_key=True),
    Column("generation", BigInteger, nullable=False, server_default=text("1")),
    Column("raised_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    comment="How often all links to the media of a virtual key were ended; a link is signed with it",
)

access_logs = Table(
    "access_logs",
    OWN,
    Column("head", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text),
    Column("read_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Index("access_logs_name_idx", "name"),
    Index("access_logs_read_at_idx", "read_at"),
    comment="How far access logs have been read, by their first line and by what was read",
)
