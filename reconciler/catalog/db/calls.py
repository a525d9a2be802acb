"""Calls to the database: their errors are translated into ours, and each call is counted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.errors import translated
from reconciler.errors import ReconcilerError

OK, RETRIED, FAILED = "ok", "retried", "failed"


@contextmanager
def called(config: CatalogConfig) -> Iterator[None]:
    """Wraps one transaction or read. Raises what `errors.translated` does."""
    with translated(config.where):
        started = time.monotonic()
        try:
            yield
        except ReconcilerError:
            # The database did answer; the error comes from how the answer was used.
            _report(config, OK, started)
            raise
        except Exception:
            _report(config, FAILED, started)
            raise
        _report(config, OK, started)


def retried(config: CatalogConfig) -> None:
    """Count an attempt that is followed by another."""
    if config.on_call is not None:
        config.on_call(RETRIED, None)


def _report(config: CatalogConfig, outcome: str, started: float) -> None:
    if config.on_call is not None:
        config.on_call(outcome, time.monotonic() - started)
