"""What the admin API costs: a sweep beside its requests, and the memory of a long stream."""

from __future__ import annotations

import itertools
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from reconciler.model import Role
from reconciler.operations import tokens
from tests.servers import execute
from tools.benchmarks.corpus import PREFIX, keys_by_day
from tools.benchmarks.figures import TIMES, Figure, at_most, for_comparison
from tools.benchmarks.programs import ProgramFailed, listing_server
from tools.benchmarks.resting import SETTLED_SECONDS, Replica, replica
from tools.benchmarks.site import CREDENTIALS, Site, environment

ROUNDS = 7
A_SECOND = 50
"""Requests at the API."""
CALLERS = 5
"""Connections that they come on."""
SCRAPE_SECONDS = 0.5
"""Between two requests for `/metrics`, in every sweep: each takes several milliseconds itself."""
SAMPLE_SECONDS = 0.02
"""Between two looks at a replica's memory."""
LOOK_SECONDS = 0.25
PASS_SECONDS = 300.0
FAILURE = 400
"""Statuses from here on are failures."""
CALM = {
    "DRY_RUN": "true",
    "BUCKET__LISTING_ORDER": "bytes",
    "SWEEP_INTERVAL": "24h",
    "RETENTION_INTERVAL": "24h",
}
"""Sweeps begin when they are asked for."""

MARKS = """
INSERT INTO reconciler.marks
SELECT (jsonb_populate_record(m, jsonb_build_object('storage_key', '{prefix}many/' || n))).*
FROM reconciler.marks m CROSS JOIN generate_series(1, {number}) n
WHERE m.storage_key = (SELECT min(storage_key) FROM reconciler.marks)
"""


class Caller:
    """A connection to the API, which is kept."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """The answer's JSON. Raises ProgramFailed where it is no success."""
        self._connection.request(method, f"/api/v1{path}", json.dumps(body) if body else None, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= FAILURE:
            raise ProgramFailed(f"{method} {path}: {answer.status} {text[:500].decode()}")
        return json.loads(text)

    def count_lines(self, path: str) -> int:
        """The lines of a stream, none of which is kept."""
        self._connection.request(
            "GET", f"/api/v1{path}", headers={**self._headers, "Accept": "application/x-ndjson"}
        )
        answer = self._connection.getresponse()
        lines = 0
        while part := answer.read(1 << 16):
            lines += part.count(b"\n")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A leader that serves the admin API too."""

    replica: Replica
    database: str
    keys: int
    port: int
    token: str

    def caller(self) -> Caller:
        return Caller(self.port, self.token)


def beside_a_sweep(site: Site, keys: int, cache: Path) -> list[Figure]:
    """Sweeps of a running daemon, by turns with requests at its API and without."""
    took: dict[bool, list[float]] = {False: [], True: []}
    answered: list[float] = []
    scraped: dict[bool, list[float]] = {False: [], True: []}
    asked = 0.0
    with served(site, keys, cache) as daemon:
        for _, busy in itertools.product(range(ROUNDS), (False, True)):
            with ExitStack() as load:
                load.enter_context(_scraped(daemon, scraped[busy]))
                if busy:
                    load.enter_context(_asked(daemon, answered))
                began = time.perf_counter()
                took[busy].append(_swept(daemon, keys))
                asked += busy * (time.perf_counter() - began)
    without, beside = median(took[False]), median(took[True])
    title = f"admin API, {A_SECOND} requests a second beside a sweep of {keys:,} keys"
    return [
        at_most(title, "the sweep against one without", beside / without, 1.1, TIMES),
        at_most(title, "/metrics meanwhile, p99", 1_000 * _percentile(scraped[True], 99), 100, " ms"),
        for_comparison(title, "/metrics without, p99", 1_000 * _percentile(scraped[False], 99), " ms"),
        for_comparison(title, "the sweep without", without, " s"),
        for_comparison(title, "requests answered a second", len(answered) / asked),
        for_comparison(title, "an answer, median", 1_000 * median(answered), " ms"),
        for_comparison(title, "an answer, p99", 1_000 * _percentile(answered, 99), " ms"),
    ]


def streaming(site: Site, marks: int, cache: Path) -> list[Figure]:
    """The memory of a replica that streams so many marks, above what it holds when idle."""
    with served(site, 10_000, cache) as daemon:
        execute(daemon.database, MARKS.format(prefix=PREFIX, number=marks))
        daemon.caller().ask("GET", "/marks?limit=1000")
        time.sleep(SETTLED_SECONDS)
        idle = daemon.replica.resident()
        peaks = [idle]
        began = time.perf_counter()
        with _sampled(daemon, peaks):
            lines = daemon.caller().count_lines("/marks")
        seconds = time.perf_counter() - began
    if lines <= marks:
        raise ProgramFailed(f"the stream has {lines:,} lines, for {marks:,} marks and more")
    title = f"admin API, {marks:,} marks as a stream"
    return [
        at_most(title, "memory beyond an idle replica's", max(peaks) - idle, 20, " MiB"),
        for_comparison(title, "memory of the idle replica", idle, " MiB"),
        for_comparison(title, "marks a second", lines / seconds),
    ]


@contextmanager
def served(site: Site, keys: int, cache: Path) -> Iterator[Served]:
    """A leader in dry run on a bucket and a table of so many keys, once its first passes have ended."""
    file = cache / f"tokens-{time.monotonic_ns()}"
    token = tokens.issue(file, "bench", Role.APPROVER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    admin = {"ADMIN__HOST": "127.0.0.1", "ADMIN__PORT": str(port), "ADMIN__TOKENS_FILE": str(file)}
    with listing_server(keys, cache) as endpoint, site.database(keys) as database:
        surroundings = environment(database, endpoint, {**CALM, **admin}, CREDENTIALS)
        with replica(surroundings, leads=True) as leader:
            daemon = Served(replica=leader, database=database, keys=keys, port=port, token=token)
            _await(lambda: len(daemon.caller().ask("GET", "/status")["passes"]) > 1)
            yield daemon


def _await(done: Callable[[], bool]) -> None:
    """Look until it is so. Raises ProgramFailed where it takes too long, or the API answers with an error."""
    deadline = time.monotonic() + PASS_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise ProgramFailed(f"a pass took more than {PASS_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def _swept(daemon: Served, keys: int) -> float:
    """The seconds of a sweep that is asked for, from its beginning to its end."""
    caller = daemon.caller()
    asked = caller.ask("POST", "/passes", {"kind": "sweep"})

    def ended() -> bool:
        asked.update(caller.ask("GET", f"/operations/{asked['id']}"))
        return bool(asked["ended_at"])

    _await(ended)
    swept = caller.ask("GET", f"/passes/{asked['pass_id']}")
    if (swept["objects"], swept["state"]) != (keys, "released"):
        raise ProgramFailed(f"the sweep should have looked at {keys:,} objects: {swept}")
    begun, end = (datetime.fromisoformat(asked[name]) for name in ("begun_at", "ended_at"))
    return (end - begun).total_seconds()


def _paths(keys: int) -> Sequence[str]:
    """What a page and a script look at. Not the usage of a virtual key: here one owns every row."""
    medium = next(day[0] for _, day in keys_by_day(keys) if day)
    lists = ("marks", "media", "passes", "holds", "operations", "ledger", "audit")
    looks = ("/status", "/drift", "/stats", "/settings", f"/media/{quote(medium, safe='')}", "/passes/1")
    return (*looks, *(f"/{name}" for name in lists))


@contextmanager
def _asked(daemon: Served, answered: list[float]) -> Iterator[None]:
    """`A_SECOND` requests, in turn, until the context ends; how long each answer took."""
    paths, ending = itertools.cycle(_paths(daemon.keys)), threading.Event()
    failures: list[Exception] = []

    def ask(number: int) -> None:
        caller, due = daemon.caller(), time.perf_counter() + number / A_SECOND
        try:
            while not ending.wait(max(0.0, due - time.perf_counter())):
                began = time.perf_counter()
                caller.ask("GET", next(paths))
                answered.append(time.perf_counter() - began)
                due += CALLERS / A_SECOND
        except (OSError, HTTPException, ProgramFailed) as failure:
            failures.append(failure)

    with _threads(ending, *(partial(ask, number) for number in range(CALLERS))):
        yield
    if failures:
        raise ProgramFailed(f"a request beside the sweep failed: {failures[0]}")


@contextmanager
def _scraped(daemon: Served, took: list[float]) -> Iterator[None]:
    """Read `/metrics` again and again until the context ends."""
    ending = threading.Event()

    def scrape() -> None:
        while not ending.wait(SCRAPE_SECONDS):
            began = time.perf_counter()
            daemon.replica.metrics()
            took.append(time.perf_counter() - began)

    with _threads(ending, scrape):
        yield


@contextmanager
def _sampled(daemon: Served, memory: list[float]) -> Iterator[None]:
    """Note what the replica holds, again and again until the context ends."""
    ending = threading.Event()

    def sample() -> None:
        while not ending.wait(SAMPLE_SECONDS):
            memory.append(daemon.replica.resident())

    with _threads(ending, sample):
        yield


@contextmanager
def _threads(ending: threading.Event, *work: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        ending.set()
        for each in threads:
            each.join()


def _percentile(values: Sequence[float], percent: int) -> float:
    """The nearest rank, so one of the values."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
