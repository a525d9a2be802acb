"""The columns of an inventory that are read, under one spelling: CSV has `ETag`, the others `e_tag`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a CSV file is written: between fields, between records, and whether their names come first."""

    delimiter: str
    separator: str
    header: bool


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
    md5: bool = False
    """Whether what stands for the ETag is an MD5 in base64, which a HEAD has in hexadecimal."""
    deleted: str | None = None
    """Names a column that has a value where the line is of no current version."""
    dialect: Dialect | None = None
    """Of plain CSV, whose keys are as they are; None where CSV is what S3 writes."""
    sequence: str | None = None
    """Of a key's rows the one with the greatest text there counts, unless that is a delete marker."""
    bucket: str | None = None
    """What every row has to say in the column of that name."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Those without which nothing is read."""
        further = ("isdeletemarker", self.sequence) if self.sequence else (self.deleted,)
        known = (self.key, self.size, self.modified, self.etag, "bucket" if self.bucket else None)
        return tuple(each for each in (*known, *further) if each)

    @property
    def versions(self) -> bool:
        """Whether each version of an object is listed, and delete markers as well."""
        return {"islatest", "isdeletemarker"} <= set(self.names)
