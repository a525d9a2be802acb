"""The columns of an inventory that are read, under one spelling: CSV has `ETag`, the others `e_tag`."""

from dataclasses import dataclass
from typing import Final

COLUMNS: Final = ("key", "size", "lastmodifieddate", "etag")
"""Those that every inventory needs, as `plainly` spells them."""


def plainly(name: str) -> str:
    return name.replace("_", "").lower()


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of an inventory's files, in their order, as `plainly` spells them."""

    names: tuple[str, ...]

    def has(self, name: str) -> bool:
        return name in self.names

    @property
    def versions(self) -> bool:
        """Whether each version of an object is listed, and delete markers as well."""
        return self.has("islatest") and self.has("isdeletemarker")
