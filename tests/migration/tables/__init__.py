"""The tables as SQLAlchemy knows them, which the migrations have to arrive at. The program uses none of it.

`OWN` are the reconciler's, in a Postgres schema of their own; `GATEWAY` the gateway's, which the
first migration creates only where neither exists.
"""

from tests.migration.tables import (
    adopting,
    asking,
    erasing,
    leading,
    marking,
    recovering,
    reserving,
    serving,
    telling,
)  # each registers its tables in OWN
from tests.migration.tables.columns import OWN
from tests.migration.tables.gateway import GATEWAY

__all__ = [
    "GATEWAY",
    "OWN",
    "adopting",
    "asking",
    "erasing",
    "leading",
    "marking",
    "recovering",
    "reserving",
    "serving",
    "telling",
]
