"""Who may act, on what, and how fast: tables of one row; and the record of what the migrations made."""

from sqlalchemy import BigInteger, Boolean, Column, Identity, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from tests.migration.tables.columns import OWN, TIME, one_row, singleton

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
    singleton(),
    Column("site_id", Uuid, nullable=False),
    Column("bucket", Text),
    Column("prefixes", ARRAY(Text)),
    Column("bound_at", TIME),
    Column("nonce", Uuid),
    Column("pending_nonce", Uuid),
    Column("lineage", JSONB),
    one_row("site_one_row"),
    comment="Which bucket this database is tied to",
)

lease = Table(
    "lease",
    OWN,
    singleton(),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("nonce", Uuid),
    Column("expires_at", TIME, nullable=False),
    Column("released", Boolean, nullable=False, server_default=text("false")),
    Column("acquired_at", TIME),
    one_row("lease_one_row"),
    comment="Who leads until when; renewed often, so claims lock `term` instead",
)

term = Table(
    "term",
    OWN,
    singleton(),
    Column("epoch", BigInteger, nullable=False),
    Column("nonce", Uuid),
    Column("mode", Text),
    Column("live_since", TIME),
    Column("cluster", BigInteger),
    one_row("term_one_row"),
    comment="The fencing token that every writing transaction locks and compares",
)

replicas = Table(
    "replicas",
    OWN,
    Column("name", Text, primary_key=True),
    Column("said_at", TIME, nullable=False),
    Column("says", JSONB, nullable=False),
    comment="What each replica last said of itself: its mode, what it does next, and why it is halted",
)

orders = Table(
    "orders",
    OWN,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("author", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("about", Text, nullable=False),
    comment="What people have ordered, for the replicas to log",
)

budget = Table(
    "budget",
    OWN,
    singleton(),
    Column("paid_until", TIME, nullable=False),
    one_row("budget_one_row"),
    comment="Until when the keys already granted use up the rate of them all",
)

pause = Table(
    "pause",
    OWN,
    singleton(),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("changed_at", TIME),
    Column("changed_by", Text),
    Column("reason", Text),
    one_row("pause_one_row"),
    comment="Whether every replica has to stop deleting; who said so, and why",
)
