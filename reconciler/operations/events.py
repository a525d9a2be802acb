"""Events: which keys the store's named, and what receivers of ours are told again."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from reconciler.catalog.open import Catalog
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import ListedHint, Replayed


async def hints(
    catalog: Catalog, *, found: bool = False, size: int = 1_000
) -> AsyncIterator[Sequence[ListedHint]]:
    """The hints, what was found first; `found`: only these."""
    offset = 0
    while page := await catalog.hints.page(size, offset, found=found):
        yield page
        offset += len(page)


async def resume(catalog: Catalog, channel: str, *, author: str) -> None:
    """Open a channel again whose receiver wanted no more. Raises NotDone where it is not switched off."""
    if not await catalog.receivers.switch_on(channel):
        message = f"{channel}: this channel is not switched off"
        raise NotDone(ErrorKind.CONFLICT, "not_switched_off", message, channel=channel)
    await catalog.orders.note(author, "resumed", f"the channel {channel}")


async def replay(
    catalog: Catalog, since: datetime, until: datetime | None, *, dry_run: bool, author: str
) -> Replayed:
    """Have the events of the ledger's lines of that time told again. Raises NotDone where nobody is told."""
    end = until or await catalog.records.now()
    done = await catalog.receivers.replay(since, end, dry_run=dry_run)
    if not done.channels:
        message = "no channel of events is open: no leader knows of a receiver, or it is switched off"
        raise NotDone(ErrorKind.NOT_READY, "no_receiver", message)
    if not dry_run:
        await catalog.orders.note(author, "replayed", f"{done.events} events since {since.isoformat()}")
    return done
