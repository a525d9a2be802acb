"""Programs in a network of their own, which holds loopback alone: Ray listens on every address it finds.

What they may reach are ports of this machine's loopback, under their own numbers: two relays that meet at a
Unix socket, which knows no network.

`python -m tests.support.alone FOLDER PORTS MODULE …` is what runs within.
"""

from __future__ import annotations

import fcntl
import runpy
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path

UNSHARE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""Whatever is started within ends with the first process."""

LOOPBACK = "127.0.0.1"
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41


@cache
def can_be_alone() -> bool:
    """Whether this machine allows it, as it does to root."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def alone(
    module: str, *arguments: str, ports: Sequence[int], environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """The running program, which is killed at the end with all that it started."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="alone-"))
        for port in ports:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(f"{folder}/{port}")
            listening.listen()
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            _relay(listening, partial(socket.create_connection, (LOOPBACK, port)))
        within = [sys.executable, "-m", __name__, folder, ",".join(map(str, ports)), module, *arguments]
        program = subprocess.Popen(
            [*UNSHARE, *within], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with program:
            try:
                yield program
            finally:
                program.kill()


def _relay(listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Until what listens is shut down."""

    def accept() -> None:
        with listening, suppress(OSError):
            while True:
                here, _ = listening.accept()
                threading.Thread(target=_joined, args=(here, connect()), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _joined(here: socket.socket, there: socket.socket) -> None:
    with here, there:
        back = threading.Thread(target=_pump, args=(there, here), daemon=True)
        back.start()
        _pump(here, there)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while some := source.recv(65_536):
            target.sendall(some)
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    folder, ports, module, *arguments = sys.argv[1:]
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))
    for port in ports.split(","):
        _relay(socket.create_server((LOOPBACK, int(port))), partial(_to, str(Path(folder) / port)))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _to(path: str) -> socket.socket:
    there = socket.socket(socket.AF_UNIX)
    there.connect(path)
    return there


if __name__ == "__main__":
    main()
