"""Who gives an order, for what is written down about it."""

from __future__ import annotations

import getpass
import os
import socket


def operator() -> str:
    """`user@host`; in a container, whose user may have no name, its number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
