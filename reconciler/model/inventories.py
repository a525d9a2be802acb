"""An inventory: a list of the bucket that the store made, some hours or days ago."""

from dataclasses import dataclass
from datetime import datetime

from reconciler.model.enums import Word
from reconciler.model.objects import RESERVED_PREFIX

EXPORTS = f"{RESERVED_PREFIX}exports/"
"""Where machines that share one comparison leave files for each other, a folder for each comparison."""


class SweepSource(Word):
    """Where a sweep learns what the bucket holds."""

    LIST = "list"
    INVENTORY = "inventory"
    S3_METADATA = "s3_metadata"
    LISTING_PARQUET = "listing_parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryUsed:
    """The inventory of a pass. `name` is its manifest's key, `digest` the manifest's MD5, or what the store
    has for those: two inventories that began at one time and have another digest are not the same.

    `began_at` is when the store began to look (T0): what came later may be in it or not. `delivered_at` is
    when it was complete (T1), up to a day after that.
    """

    name: str
    digest: str
    began_at: datetime
    delivered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFile:
    """One file of an inventory, of that size in bytes and that MD5 (hexadecimal; None where none is told)."""

    key: str
    size: int
    md5: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryConfiguration:
    """What the store says of one of the bucket's inventories; `destination` is a bucket's name.

    `filters` is the prefix that it is limited to, or another sign of a filter; "" for the whole bucket.
    `fields` are the optional columns, by S3's names.
    """

    id: str
    enabled: bool
    filters: str
    all_versions: bool
    format: str
    destination: str
    prefix: str
    fields: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataTable:
    """What the store says of the bucket's live inventory table. `error` is "" where there is none.

    `warehouse` is the ARN of the table bucket.
    """

    enabled: bool
    status: str
    error: str
    warehouse: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nominated:
    """What an inventory was compared with, and when: `read_at` is the time of the rows' snapshot (R).

    `parts_dated_by_start`: it dates an object that came in parts by when its upload began.
    """

    used: InventoryUsed
    read_at: datetime
    parts_dated_by_start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSeen:
    """What an inventory and the rows' snapshot hold under one managed prefix.

    `recent` are objects without a row that are too young to be nominated, or of no known age; `unripe` rows
    without an object that are too young to be missing.
    """

    objects: int = 0
    bytes: int = 0
    rows: int = 0
    recent: int = 0
    unripe: int = 0
