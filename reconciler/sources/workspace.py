"""A folder on local disk for one comparison, and the remains of processes that were killed in one."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from reconciler.errors import InventoryRefused

_PREFIX: Final = "reconciler-inventory-"
_LOCK: Final = "lock"


@contextmanager
def workspace(directory: str | None) -> Iterator[Path]:
    """A new folder in `directory` (the system's for temporary files where None); it goes with the context.

    Folders whose process is gone go first: the lock of a living one is held.
    """
    above = Path(directory or tempfile.gettempdir())
    try:
        for folder in above.glob(f"{_PREFIX}*"):
            _remove_if_left(folder)
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=above))
    except OSError as error:
        raise _no_room(above, error) from None
    with (made / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield made
        except OSError as error:
            raise _no_room(above, error) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError), (folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


def _no_room(above: Path, error: OSError) -> InventoryRefused:
    why = error.strerror or str(error)
    return InventoryRefused(
        f"{os.fspath(above)} (RECONCILER_INVENTORY__DIRECTORY) cannot take an inventory: {why}; nothing of it"
        " is used"
    )
