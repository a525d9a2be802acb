"""What a look at a strange database shows: tables, columns, and some of their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["KeyForm", "SeenColumn", "SeenTable", "holds_several"]


def holds_several(kind: str) -> bool:
    """Whether one value of a column of that type may hold several texts: an array, or JSON."""
    return kind.endswith("[]") or kind in {"json", "jsonb"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyForm:
    """How a column's value becomes an object's key: without `strip` at its front, and with `add` there.

    `cut_query`: also without a question mark and what follows it, as in a signed address.
    """

    strip: str = ""
    add: str = ""
    cut_query: bool = False

    @property
    def plain(self) -> bool:
        """Whether the value is the key."""
        return self == KeyForm()

    def key(self, value: str) -> str:
        """The object's key; a value without `strip` at its front keeps what it has."""
        key = self.add + value.removeprefix(self.strip)
        return key.partition("?")[0] if self.cut_query else key


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenColumn:
    """`kind` is its base type, as `doctor` names it. `values` are some of its texts, row by row, None where a
    row has none or a long one. `held` are the first texts in each array or JSON, row by row. `generated`:
    Postgres computes it from others.
    """

    name: str
    kind: str
    required: bool = False
    generated: bool = False
    values: Sequence[str | None] = ()
    held: Sequence[Sequence[str]] = ()

    @property
    def texts(self) -> Sequence[str]:
        """The values that are there, each once, in their order."""
        return tuple(dict.fromkeys(value for value in self.values if value))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTable:
    """A table, as `schema.table`. `rows` is an estimate where there are many.

    `identity` are the columns that identify a row, none where nothing does. `uniques` are the columns that do
    so alone. `owners` has by column the table and the column that a foreign key names. Where it is not
    `readable`, by this role and at that moment, it has no columns here.
    """

    name: str
    rows: int = 0
    readable: bool = True
    columns: Sequence[SeenColumn] = ()
    identity: tuple[str, ...] = ()
    uniques: frozenset[str] = frozenset()
    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def column(self, name: str) -> SeenColumn | None:
        return next((each for each in self.columns if each.name == name), None)
