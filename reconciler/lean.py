"""What the libraries would load and this program never uses: memory that an idle replica holds for years."""

from __future__ import annotations

import ctypes
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
