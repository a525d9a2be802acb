"""What the store can do, probed at the start and again from time to time, since it may change; and what live
mode needs of the database.
"""

from collections.abc import Callable
from dataclasses import replace

import structlog

from reconciler.engine.runtime.context import Ports, RuntimeSettings
from reconciler.errors import Halt, Retryable, StoreUnavailable
from reconciler.model import Capabilities, DeleteMode, ListingOrder, Mode
from reconciler.ports import Prober

log = structlog.get_logger(__name__)

PROBE_SECONDS = 3_600.0
"""How long a daemon relies on a probe. An hour: a change by an upgrade or a switched setting is noticed
within it, and 60 requests an hour cost nothing."""

REPROBE_SECONDS = 300.0
"""The same for a store that makes no copies: it may only be full, and nothing is deleted until it does."""


async def abilities(prober: Prober, declared: ListingOrder | None) -> Capabilities:
    """Probe the store. Returns what it was just seen to do, with the order by which it is joined.

    Raises StoreUnavailable and Halt; see `Prober`.
    """
    found = await prober.probe(declared)
    return replace(found, order=found.order_under(declared))


async def keep_probing(
    ports: Ports, declared: ListingOrder | None, tell: Callable[[Capabilities], None]
) -> None:
    """Probe from time to time, as long as the store does what it did when `ports` were wired.

    Raises StoreUnavailable once it no longer does: the daemon starts over with what is true now. Where
    versions may be locked nothing is probed again, since the scratch keys of each probe would stay.
    """
    while not ports.capabilities.object_lock:
        await ports.clock.sleep(REPROBE_SECONDS if ports.capabilities.copies_nothing else PROBE_SECONDS)
        try:
            found = await abilities(ports.prober, declared)
        except (Retryable, Halt) as error:
            log.debug("store not probed again", reason=str(error))
            continue
        tell(found)
        # The keys that a batch may have are learned in use, and depend on the load of the moment as well.
        if replace(found, batch_size=ports.capabilities.batch_size) != ports.capabilities:
            raise StoreUnavailable("the store does other things than when it was last probed: starting over")


async def require_rights(ports: Ports, settings: RuntimeSettings) -> None:
    """Raise Halt in live mode if the role may not remove rows, or may not bring back what it removed."""
    if settings.mode is Mode.LIVE:
        undoable = settings.policy.delete_mode is not DeleteMode.DIRECT
        await ports.marks.require_rights(undoable=undoable)
