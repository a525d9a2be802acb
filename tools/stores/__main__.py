"""`python -m tools.stores NAME`: start a store, run the contract suite of the bucket on it, and end it."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from reconciler.embedded.client import Supervisor, start_supervisor
from reconciler.errors import ReconcilerError
from tests.servers import GIVEN, S3Server, start_moto, start_seaweedfs
from tools.stores import ceph, juicefs, swift

STORES: Final[dict[str, Callable[[Supervisor], S3Server]]] = {
    "ceph": ceph.start,
    "ceph-tls": partial(ceph.start, tls=True),
    "swift": swift.start,
    "juicefs": juicefs.start,
    "juicefs-without-etags": partial(juicefs.start, etags=False),
    "seaweedfs": start_seaweedfs,
    "moto": start_moto,
}
SUITE: Final = ("tests/contract", "-k", "given")
"""Unless told otherwise: every test that is run on each store."""


def main() -> int:
    """Start, use, end. Returns pytest's status, or 2 where the store did not start."""
    asked, passed_on = _parser().parse_known_args()
    # Both end the program in order: the supervisor ends the store, whatever becomes of this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    supervisor = start_supervisor()
    try:
        server = STORES[asked.name](supervisor)
        if asked.keep:
            _wait(server)
            return 0
        return _run_suite(server, passed_on)
    except KeyboardInterrupt:
        return 0 if asked.keep else 130
    except ReconcilerError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        supervisor.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.stores", description=__doc__)
    parser.add_argument("name", choices=STORES)
    parser.add_argument("--keep", action="store_true", help="print endpoint and credentials, and wait")
    parser.epilog = "Anything else goes to pytest."
    return parser


def _wait(server: S3Server) -> None:
    told = {**server.environment(), "RECONCILER_BUCKET__ENDPOINT_URL": server.endpoint_url}
    for name, value in told.items():
        print(f"export {name}={shlex.quote(value)}", flush=True)
    while True:
        signal.pause()


def _run_suite(server: S3Server, passed_on: list[str]) -> int:
    environment = {**os.environ, GIVEN: server.to_json()}
    plugin = ("-n", "1", "-p", "tools.stores.differences")
    suite = [sys.executable, "-m", "pytest", *plugin, *(passed_on or SUITE)]
    return subprocess.run(suite, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
