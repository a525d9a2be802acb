"""What the media service asks and writes."""

from sqlalchemy import BigInteger, Column, Table, text

from tests.migration.tables.columns import KEY, OWN, TIME

link_generations = Table(
    "link_generations",
    OWN,
    Column("virtual_key", KEY, primary_key=True),
    Column("generation", BigInteger, nullable=False, server_default=text("1")),
    Column("raised_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    comment="How often all links to the media of a virtual key were ended; a link is signed with it",
)
