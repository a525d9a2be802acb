"""DuckDB as it is used here: bounded memory, threads and disk, and nothing fetched at run time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.errors import ConfigError, InventoryRefused

if TYPE_CHECKING:
    import duckdb

ASIDE: Final = 200 * 1024 * 1024
"""Bytes of the allowed memory that DuckDB does not count: the process itself, and what it takes beyond."""

A_THREAD: Final = 128 * 1024 * 1024
"""Bytes that each thread needs: with less, plain scans run out of memory instead of spilling."""

_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")


def require_extra(source: str = "inventory", *names: str) -> None:
    """Raise ConfigError where the extra, or what it has for that source, is not installed."""
    if lacking := [name for name in names or ("duckdb", "pyarrow") if find_spec(name) is None]:
        raise ConfigError(
            f"RECONCILER_SWEEP__SOURCE={source} needs {' and '.join(lacking)}: pip install"
            " 'media-reconciler[inventory]'"
        )


def threads(memory: int) -> int:
    """As many as this process has processors, and as the memory allows."""
    return max(1, min(_processors(), (memory - ASIDE) // A_THREAD))


def _processors() -> int:
    found = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_MAX.read_text(encoding="ascii").split()
        return found if quota == "max" else max(1, min(found, int(quota) // int(period)))
    except (OSError, ValueError):
        return found


@contextmanager
def connected(
    memory: int, spill: Path, disk: int, most_threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory, of that many bytes, which spills up to `disk` bytes to that folder.

    `most_threads`: where others work on the same machine.

    Raises InventoryRefused for what DuckDB cannot read, or has no room for.
    """
    import duckdb  # noqa: PLC0415 - an extra of its own

    # Nothing is installed or loaded by itself: what runs is what was deployed.
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{max(A_THREAD, memory - ASIDE)}B",
        "threads": min(threads(memory), most_threads or threads(memory)),
        "temp_directory": str(spill),
        "max_temp_directory_size": f"{disk}B",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": False,
    }
    try:
        with duckdb.connect(":memory:", config=config) as connection:
            yield connection
    except duckdb.Error as error:
        raise InventoryRefused(f"the inventory cannot be compared: {_first_line(error)}") from None


def out_of_memory(error: BaseException) -> bool:
    return type(error).__name__ == "OutOfMemoryException"


def files(paths: Iterable[Path]) -> str:
    """A list of files as SQL. The names are our own, but the folder's may have a quote."""
    return "[" + ", ".join(text(str(path)) for path in paths) + "]"


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
