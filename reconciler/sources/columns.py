"""The columns of an inventory that are read, under one spelling: CSV has `ETag`, the others `e_tag`."""

from dataclasses import dataclass


def plainly(name: str) -> str:
    return name.replace("_", "").lower()


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of an inventory's files, in their order, and which of them is what: as `plainly` spells
    them. Parquet and ORC name their own; there `names` may be empty.
    """

    names: tuple[str, ...] = ()
    key: str = "key"
    size: str = "size"
    modified: str = "lastmodifieddate"
    etag: str = "etag"

    @property
    def needed(self) -> tuple[str, ...]:
        return self.key, self.size, self.modified, self.etag

    @property
    def versions(self) -> bool:
        """Whether each version of an object is listed, and delete markers as well."""
        return {"islatest", "isdeletemarker"} <= set(self.names)
