"""A program of ours that `demo --keep` leaves up, started on a free port."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

from anyio import to_thread

from reconciler.embedded.client import ATTEMPTS, HOST, ServerFailed, Supervisor, free_ports


async def start(
    supervisor: Supervisor,
    name: str,
    subcommand: str,
    environment: Mapping[str, str],
    port_setting: str,
    ready: Callable[[int], bool],
) -> int:
    """Start it, and wait until it is `ready` on a port, which is returned. Raises ServerFailed."""
    settings = {
        **environment,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "RECONCILER_WEB__HOST": HOST,
        "RECONCILER_WEB__PORT": "0",
    }
    for attempt in range(1, ATTEMPTS + 1):
        port = free_ports(1)
        command = [sys.executable, "-m", "reconciler", subcommand]
        supervisor.start(name, command, env={**settings, port_setting: str(port)})
        wait = partial(supervisor.wait_for, name, partial(ready, port), f"the {name}")
        try:
            await to_thread.run_sync(wait, abandon_on_cancel=True)
        except ServerFailed:
            # It ends at once where its port was taken meanwhile.
            if attempt == ATTEMPTS or supervisor.poll(name) is None:
                raise
        else:
            break
    return port


def asked(
    port: int, method: str, path: str, headers: Mapping[str, str], good: Callable[[HTTPResponse], bool]
) -> bool:
    """Whether it gives a good answer."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(method, path, headers=dict(headers))
        return good(connection.getresponse())
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
