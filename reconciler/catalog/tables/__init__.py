"""The tables as SQLAlchemy knows them, to compare migrations with. Runtime SQL is in the stores.

`OWN` are the reconciler's, in a Postgres schema of their own; `GATEWAY` the gateway's, which the
first migration creates only where neither exists.
"""

from reconciler.catalog.tables import leading, marking, recovering  # each registers its tables in OWN
from reconciler.catalog.tables.columns import OWN
from reconciler.catalog.tables.gateway import GATEWAY

__all__ = ["GATEWAY", "OWN", "leading", "marking", "recovering"]
