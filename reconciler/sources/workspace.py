"""A folder on local disk for one comparison, and what processes left there that were killed in one."""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from reconciler.errors import CatalogUnavailable, InventoryRefused, StoreUnavailable
from reconciler.model import InventoryUsed

LISTED: Final = "listed-"
"""How the names of an inventory's files begin."""

_PREFIX: Final = "reconciler-inventory-"
LOCK: Final = "lock"


@contextmanager
def workspace(directory: str | None, used: InventoryUsed | None) -> Iterator[Path]:
    """A folder in `directory` (the system's for temporary files where None); it goes with the context.

    It stays where the store or the database is away, and where the process is killed: who compares the same
    inventory next finds what is in it. Folders of other inventories go first, unless their process lives: it
    holds a lock. With None for the inventory nobody takes it up.
    """
    above = Path(directory or tempfile.gettempdir())
    mine = None if used is None else above / f"{_PREFIX}{_name_of(used)}"
    try:
        for folder in above.glob(f"{_PREFIX}*"):
            if folder != mine:
                _remove_if_left(folder)
        made, lock = (mine and _taken(mine)) or _fresh(above)
    except OSError as error:
        raise _no_room(above, error) from None
    with lock:
        kept = False
        try:
            yield made
        except OSError as error:
            raise _no_room(above, error) from None
        except (StoreUnavailable, CatalogUnavailable):
            kept = used is not None
            raise
        finally:
            if not kept:
                shutil.rmtree(made, ignore_errors=True)


def _name_of(used: InventoryUsed) -> str:
    return hashlib.sha256(f"{used.name}\n{used.digest}".encode()).hexdigest()[:16]


def _taken(folder: Path) -> tuple[Path, IO[str]] | None:
    """The folder, locked; None where a living process has it, or another user has made one of that name."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & stat.S_IWOTH:
        return None
    lock = (folder / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = not os.fstat(lock.fileno()).st_nlink
    except BlockingIOError:
        gone = True
    if gone:  # or the process that had it removed it just now
        lock.close()
        return None
    return folder, lock


def _fresh(above: Path) -> tuple[Path, IO[str]]:
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=above))
    lock = (made / LOCK).open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return made, lock


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError), (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


def _no_room(above: Path, error: OSError) -> InventoryRefused:
    why = error.strerror or str(error)
    return InventoryRefused(
        f"{os.fspath(above)} (RECONCILER_INVENTORY__DIRECTORY) cannot take an inventory: {why}; nothing of it"
        " is used"
    )
