"""Building blocks of our tables: column types, and what limits a table to one row."""

from sqlalchemy import CheckConstraint, Column, DateTime, MetaData, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

from reconciler.catalog.db.schema import SCHEMA

KEY = Text(collation="C")
"""Storage keys: byte order everywhere."""

TIME = DateTime(timezone=True)


class Xid8(UserDefinedType[int]):
    """A transaction id that never wraps."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


# Makes the type known when a database is read back, so that it compares as well.
ischema_names["xid8"] = Xid8

OWN = MetaData(schema=SCHEMA)


def singleton() -> Column[int]:
    return Column("singleton", SmallInteger, primary_key=True, server_default=text("1"))


def one_row(name: str) -> CheckConstraint:
    return CheckConstraint("singleton = 1", name=name)
