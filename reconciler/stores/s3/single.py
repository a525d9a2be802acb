"""Send one request that removes one thing, under the deadline of its batch."""

from collections.abc import Callable
from typing import Final

import anyio

from reconciler.errors import StoreUnavailable
from reconciler.model import DeletionResult, ObjectResult
from reconciler.stores.s3.answers import failed
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.witness import Witness

TOO_LATE: Final = "not asked: the batch has used up its time"


async def remove(
    calls: Calls,
    limiter: anyio.CapacityLimiter,
    witness: Witness,
    operation: str,
    key: str,
    *,
    until: float,
    may_send: Callable[[], None] | None,
    **asked: str,
) -> DeletionResult | Refusal:
    """DELETED, FAILED where no answer came by `until`, or the store's refusal.

    Raises Halt for a refusal that holds for every key.
    """
    async with limiter:
        if anyio.current_time() >= until:
            return failed(key, TOO_LATE)
        try:
            await calls.send_until(until, may_send, operation, lambda _: None, Key=key, **asked)
        except StoreUnavailable as error:
            return failed(key, str(error))
        except Refusal as refusal:
            if refusal.fatal and not await witness.answers("HeadObject"):
                raise calls.place.explain(operation, refusal) from None
            return refusal
    return DeletionResult(key=key, result=ObjectResult.DELETED)
