"""Bringing one object back from where it was hidden, and proof that it is there."""

from __future__ import annotations

from reconciler.engine.gateway import WriteGateway
from reconciler.engine.steering import Ports
from reconciler.errors import StoreUnavailable
from reconciler.model import CopyResult, HiddenObject, Return, Returned


async def bring_back(ports: Ports, gateway: WriteGateway, hidden: HiddenObject) -> Returned:
    """The object at its own key again, never over another one. Success is said after a HEAD 200 alone.

    Raises Refused, LeaseLost, Halt; a store that does not answer makes it FAILED.
    """
    if not await ports.recovery.claim_return(hidden.id):
        return _told(hidden, Return.REFUSED, "it is being purged, or was brought back or erased meanwhile")
    try:
        return await _out_of_quarantine(ports, gateway, hidden)
    except StoreUnavailable as error:
        return _told(hidden, Return.FAILED, str(error))


async def _out_of_quarantine(ports: Ports, gateway: WriteGateway, hidden: HiddenObject) -> Returned:
    source = hidden.hidden.quarantine_key
    assert source is not None
    copied = await gateway.copy(source, hidden.storage_key, only_new=True)
    if copied.result is CopyResult.OCCUPIED:
        return await _what_is_there(ports, hidden)
    if copied.result is CopyResult.MISSING:
        return _told(hidden, Return.REFUSED, f"its copy {source} is not in the quarantine any more")
    if copied.result is not CopyResult.COPIED:
        refused = copied.result is CopyResult.IMPOSSIBLE
        return _told(hidden, Return.REFUSED if refused else Return.FAILED, copied.detail)
    if await ports.store.head(hidden.storage_key) is None:
        return _told(hidden, Return.FAILED, "the store says that it copied it, and has nothing there")
    return _told(hidden, Return.RESTORED)


async def _what_is_there(ports: Ports, hidden: HiddenObject) -> Returned:
    """The same object, or another that must not be written over. ETags change when parts are copied."""
    there, copy = await ports.store.head(hidden.storage_key), hidden.hidden
    if there is None:
        return _told(hidden, Return.FAILED, "its key is being written to by somebody else")
    if there.size == copy.size and (there.etag == copy.etag or "-" in there.etag + (copy.etag or "")):
        return _told(hidden, Return.PRESENT)
    return _told(hidden, Return.REFUSED, "another object lies at its key, and is not written over")


def _told(hidden: HiddenObject, outcome: Return, reason: str = "") -> Returned:
    return Returned(storage_key=hidden.storage_key, outcome=outcome, reason=reason, size=hidden.hidden.size)
