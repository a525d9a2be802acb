"""Plan a table's files with PyIceberg, which reads nothing: its own reader knows no back-pressure.

Imported late: PyIceberg comes with an extra. Manifests are given to it as bytes that were fetched before.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile
from pyiceberg.manifest import DataFile, FileFormat, ManifestContent, read_manifest_list
from pyiceberg.table import DataScan
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil

from reconciler.errors import InventoryRefused
from reconciler.model import InventoryFile

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMES: Final = frozenset({"s3", "s3a", "s3n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A table's current snapshot, which was made at `made_at` by the store's clock."""

    name: str
    digest: str
    made_at: datetime
    manifest_list: str
    metadata: TableMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The snapshot's files, and how many rows they hold together."""

    files: Sequence[InventoryFile]
    rows: int


def current(loaded: Mapping[str, Any], name: str) -> Current:
    """The snapshot of what loadTable answers. Raises InventoryRefused where there is none."""
    try:
        metadata = TableMetadataUtil.parse_obj(dict(loaded["metadata"]))
    except Exception as error:  # noqa: BLE001 - PyIceberg has some of its own, which have no base
        raise InventoryRefused(f"inventory {name} has metadata that cannot be read: {_line(error)}") from None
    snapshot = metadata.current_snapshot()
    if snapshot is None:
        raise InventoryRefused(f"inventory {name} has no snapshot yet: the first takes up to some hours")
    return Current(
        name=f"{name} snapshot {snapshot.snapshot_id}",
        digest=f"{metadata.table_uuid}/{snapshot.snapshot_id}",
        made_at=_EPOCH + timedelta(milliseconds=snapshot.timestamp_ms),
        manifest_list=snapshot.manifest_list,
        metadata=metadata,
    )


def manifests(current: Current, read: Mapping[str, bytes]) -> list[str]:
    """Where the manifests are that the list names, which was read. Raises InventoryRefused."""
    try:
        listed = list(read_manifest_list(_Bytes(current.manifest_list, read)))
    except Exception as error:  # noqa: BLE001 - of an Avro decoder, whatever it meets
        raise _unreadable(current, error) from None
    live = [each for each in listed if each.has_added_files() or each.has_existing_files()]
    if any(each.content == ManifestContent.DELETES for each in live):
        raise _deletes(current)
    return [each.manifest_path for each in listed]


def plan(current: Current, read: Mapping[str, bytes]) -> Planned:
    """The files of the snapshot, whose manifests were read. Raises InventoryRefused for what is not read.

    That is other formats than Parquet, and delete files, without which gone objects would be there again.
    """
    scan = DataScan(
        table_metadata=current.metadata, io=_Fetched(read), options={"include_empty_files": "true"}
    )
    try:
        found = list(scan.plan_files())
    except Exception as error:  # noqa: BLE001 - of an Avro decoder, whatever it meets
        raise _unreadable(current, error) from None
    if any(each.delete_files for each in found):
        raise _deletes(current)
    if others := {each.file.file_format for each in found} - {FileFormat.PARQUET}:
        raise InventoryRefused(f"inventory {current.name} has files in {', '.join(sorted(others))}")
    return Planned(
        files=tuple(_file(each.file, current) for each in found),
        rows=sum(each.file.record_count for each in found),
    )


def bucket_of(location: str) -> str:
    """The bucket of an `s3://` location. Raises InventoryRefused for another."""
    parts = urlsplit(location)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise InventoryRefused(f"the inventory's file {location} is in no bucket of this store")
    return parts.netloc


def key_of(location: str, beside: str) -> str:
    """The key of a location in the bucket of another. Raises InventoryRefused."""
    if bucket_of(location) != bucket_of(beside):
        raise InventoryRefused(f"the inventory's file {location} is in another bucket than {beside}")
    # As it is: a location is no URL, and a `%` or `?` in it stands for itself.
    return location.partition("://")[2].partition("/")[2]


def _file(file: DataFile, current: Current) -> InventoryFile:
    key = key_of(file.file_path, current.manifest_list)
    return InventoryFile(key=key, size=file.file_size_in_bytes, md5=None)


def _deletes(current: Current) -> InventoryRefused:
    return InventoryRefused(
        f"inventory {current.name} has delete files, which are not applied here: wait until the store has"
        " compacted the table"
    )


def _unreadable(current: Current, error: Exception) -> InventoryRefused:
    return InventoryRefused(f"inventory {current.name} has manifests that cannot be read: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(repr(error).split())[:200]


class _Fetched(FileIO):  # type: ignore[misc]  # PyIceberg is not always there
    """Nothing but what was fetched."""

    def __init__(self, read: Mapping[str, bytes]) -> None:
        super().__init__()
        self._read = read

    def new_input(self, location: str) -> InputFile:
        return _Bytes(location, self._read)

    def new_output(self, location: str) -> OutputFile:
        raise NotImplementedError

    def delete(self, location: str | InputFile | OutputFile) -> None:
        raise NotImplementedError


class _Bytes(InputFile):  # type: ignore[misc]
    def __init__(self, location: str, read: Mapping[str, bytes]) -> None:
        super().__init__(location)
        self._content = read[location]

    def __len__(self) -> int:
        return len(self._content)

    def exists(self) -> bool:
        return True

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002, FBT001, FBT002 - PyIceberg's
        return io.BytesIO(self._content)
