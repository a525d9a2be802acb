"""What the libraries would load and this program never uses: memory that an idle replica holds for years."""

from __future__ import annotations

import ctypes
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType


@contextmanager
def without(*optional: str) -> Iterator[None]:
    """Import a library as if these packages were not installed, which it uses only where they are."""
    hidden = [name for name in optional if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: an import raises ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class _Nothing:
    """What stands for a class or a function that is imported and never used."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


@contextmanager
def hollow(module: str, *names: str) -> Iterator[None]:
    """Import a library as if this module of it, which it always imports, held these names and nothing else.

    Whoever imports the module afterwards finds it whole.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = stand_in = ModuleType(module)
    vars(stand_in).update(dict.fromkeys(names, _Nothing))
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def without_certificates() -> Iterator[None]:
    """Import a library that makes TLS contexts of its own, which we never use: they trust nobody."""
    names = ssl.get_default_verify_paths()
    kept = {name: os.environ.get(name) for name in (names.openssl_cafile_env, names.openssl_capath_env)}
    os.environ.update(dict.fromkeys(kept, os.devnull))
    try:
        yield
    finally:
        for name, value in kept.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def give_back() -> None:
    """Give freed memory back to the system, where the C library knows how; it would keep what a pass took."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
