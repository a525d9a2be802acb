"""How settings are written, by kind, and what is marked about them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

from reconciler.settings import identifiers, values


class Runtime:
    """Marks a setting that the runtime file may set, and that takes effect without a restart."""


RUNTIME = Runtime()


class MayBeEmpty:
    """Marks a setting for which an empty value has a meaning."""


MAY_BE_EMPTY = MayBeEmpty()


def written(parse: Callable[[object], object]) -> BeforeValidator:
    return BeforeValidator(parse)


Flag: TypeAlias = Annotated[bool, written(values.boolean)]
Duration: TypeAlias = Annotated[timedelta, written(values.duration)]
Seconds: TypeAlias = Annotated[timedelta, written(values.at_least(timedelta(seconds=1), "1s"))]
Days: TypeAlias = Annotated[int, written(values.whole(0, values.LONGEST.days, "days"))]
Count: TypeAlias = Annotated[int, written(values.whole(0, 10**12, "keys"))]
Bytes: TypeAlias = Annotated[int | None, written(values.size)]
"""A size; None where it is `none`."""
Objects: TypeAlias = Annotated[int | None, written(values.objects)]
QuotaOwner: TypeAlias = Annotated[
    Literal["virtual_key", "key_group"], written(values.one_of("virtual_key", "key_group"))
]
Evict: TypeAlias = Annotated[
    Literal["never", "oldest", "least_recently_accessed"],
    written(values.one_of("never", "oldest", "least_recently_accessed")),
]
Column: TypeAlias = Annotated[str, written(identifiers.column)]
Columns: TypeAlias = Annotated[str, written(identifiers.identity)]
"""A column's name, or several with commas between them."""
NoColumn: TypeAlias = Annotated[str, written(identifiers.column_or_none), MAY_BE_EMPTY]
"""A column's name; empty where the table has no such column."""
Table: TypeAlias = Annotated[str, written(identifiers.table)]
NoTable: TypeAlias = Annotated[str, written(identifiers.table_or_none), MAY_BE_EMPTY]
"""A table's name; empty where there is none."""


class Section(BaseModel):
    """A group of settings that share a prefix of their names."""

    model_config = ConfigDict(frozen=True, extra="forbid")
