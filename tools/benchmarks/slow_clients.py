"""`python -m tools.benchmarks.slow_clients PORT PATH TOKEN`: a thousand clients that hardly read.

Each asks for the medium, reads the first bytes of the answer, and then a little now and then. Prints a line
once all have been answered, and ends with standard input. Exits with 1 where one was not answered with 200.
"""

import argparse
import select
import socket
import sys
import time

CLIENTS = 1_000
A_PART = 4_096
PAUSE_SECONDS = 0.5
ANSWER_SECONDS = 60.0


def _asked(port: int, request: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, A_PART)
    client.settimeout(ANSWER_SECONDS)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    return client


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.slow_clients", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("token")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parser.parse_args()
    request = f"GET {options.path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {options.token}\r\n\r\n"
    clients = [_asked(options.port, request.encode()) for _ in range(options.clients)]
    if not all(client.recv(A_PART).startswith(b"HTTP/1.1 200 ") for client in clients):
        return 1
    print("answered", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        began = time.monotonic()
        for client in clients:
            if not client.recv(A_PART):
                return 1
        time.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - began)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
