"""Shares of a comparison as tasks of Ray: it places them, and repeats those whose process died.

https://docs.ray.io/en/latest/ray-core/tasks.html: a task whose worker dies is repeated `max_retries` times,
one that raises is not. `memory` of a task limits nothing, so DuckDB's own limit does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final, TypeVar

from reconciler.errors import ConfigError, InventoryRefused

Share = TypeVar("Share")
Outcome = TypeVar("Outcome")

ADDRESS: Final = "RAY_ADDRESS"
"""Ray's own variable: where its cluster is. Without it Ray is started here for each comparison."""

QUIET: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""It tells its makers nothing, and says nothing on our standard output, where a worker that died is told of
whatever `log_to_driver` says."""

RETRIES: Final = 3

LOOK_SECONDS: Final = 1.0
"""The longest wait for a task before whoever watches hears that we are alive, and may end it."""

IDLE_SECONDS: Final = 1_800.0
"""So long no task may have ended: a cluster without a processor for us would let us wait for ever."""


def require_extra() -> None:
    """Raise ConfigError where the extra is not installed."""
    if find_spec("ray") is None:
        raise ConfigError("RECONCILER_INVENTORY__ENGINE=ray needs ray: pip install 'media-reconciler[ray]'")


@contextmanager
def connected() -> Iterator[None]:
    """Ray, at its address or started here. Raises InventoryRefused where it fails, or a task of ours in it.

    To be used in another thread than the main one, whose handler of SIGTERM Ray would replace.
    """
    os.environ |= QUIET
    import ray  # noqa: PLC0415 - an extra of its own

    here: dict[str, Any] = {} if os.environ.get(ADDRESS) else {"address": "local", "include_dashboard": False}
    try:
        try:
            ray.init(log_to_driver=False, configure_logging=False, **here)
            yield
        finally:
            ray.shutdown()
    except (ray.exceptions.RayError, ConnectionError) as error:
        line = str(error).strip().rpartition("\n")[2]
        raise InventoryRefused(f"the comparison on Ray failed: {type(error).__name__}: {line}") from None


def carry_out(
    work: Callable[[Share], Outcome], shares: Sequence[Share], step: Callable[[], None]
) -> Iterator[tuple[int, Outcome]]:
    """The place of each share among them with its outcome, in the order in which they come.

    `work` and what it takes and returns are pickled. What is not asked for any more ends with the connection.
    """
    import ray  # noqa: PLC0415 - an extra of its own

    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_carry_out)
    places = {remote.remote(work, share): place for place, share in enumerate(shares)}
    waiting, last = list(places), time.monotonic()
    while waiting:
        step()
        done, waiting = ray.wait(waiting, num_returns=1, timeout=LOOK_SECONDS)
        for each in done:
            last = time.monotonic()
            yield places[each], ray.get(each)
        if time.monotonic() - last > IDLE_SECONDS:
            raise InventoryRefused(f"no task of the comparison has ended on Ray for {IDLE_SECONDS:.0f} s")


def _carry_out(work: Callable[[Share], Outcome], share: Share) -> Outcome:
    return work(share)
