"""Marks: list them, look at one, have those that failed tried again, withdraw some."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from reconciler.catalog.marks.queries import Cancelled
from reconciler.catalog.open import Catalog
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import ListedMark, MarkFilter, UndoScope
from reconciler.model.moments import moment
from reconciler.planning.formatting import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Keys whose marks are tried again by the next collection, and those that have no mark that failed."""

    keys: frozenset[str]
    unmarked: Sequence[str]


async def pages(
    catalog: Catalog, wanted: MarkFilter, after: str = "", size: int = 1_000
) -> AsyncIterator[Sequence[ListedMark]]:
    """The marks that the filter lets through, by key, behind the key `after`."""
    while found := await page(catalog, wanted, after, size):
        yield found
        after = found[-1].mark.storage_key


async def page(
    catalog: Catalog, wanted: MarkFilter, after: str = "", size: int = 1_000
) -> Sequence[ListedMark]:
    """The next of them."""
    return await catalog.mark_list.page(wanted, after, size)


async def show(catalog: Catalog, key: str) -> ListedMark:
    """The mark on this key. Raises NotDone, which says when the key was deleted, if it was."""
    found = await catalog.mark_list.look(key)
    if found is None:
        raise await _unmarked(catalog, key)
    return found


async def _unmarked(catalog: Catalog, key: str) -> NotDone:
    message = f"{key}: there is no mark on this key"
    went, scope = await catalog.mark_list.went(key), UndoScope(keys=(key,))
    if went is None:
        return NotDone(ErrorKind.NOT_FOUND, "no_mark", message, key=key)
    message += f": it was deleted at {moment(went.at)}, by pass {went.pass_id}"
    deleted = {"key": key, "deleted_at": went.at, "pass_id": went.pass_id}
    if await catalog.recovery.removals(scope, limit=1):
        return NotDone(ErrorKind.NOT_FOUND, "deleted_recoverably", message, **deleted)
    restored = await catalog.history.of_key(key)
    if restored and restored[-1].event == "restored":
        message += f", and restored at {moment(restored[-1].at)} by {restored[-1].reason}"
        return NotDone(ErrorKind.NOT_FOUND, "restored", message, **deleted)
    if await catalog.recovery.gone(scope):
        message += ", and cannot come back: it was deleted for good, or purged since"
        return NotDone(ErrorKind.NOT_FOUND, "deleted_for_good", message, **deleted)
    message += ", and nothing of it is left to bring back"
    return NotDone(ErrorKind.NOT_FOUND, "nothing_left", message, **deleted)


async def retry(catalog: Catalog, keys: Sequence[str] | None, *, author: str) -> Retried:
    """Have marks tried again at once that failed, or whose rows the database does not let go; None is all."""
    retried = await catalog.mark_list.retry(keys)
    if retried:
        await catalog.orders.note(author, "marks retry", counted(len(retried), "mark"))
    unmarked = [key for key in dict.fromkeys(keys or ()) if key not in retried]
    return Retried(keys=frozenset(retried), unmarked=unmarked)


async def cancel(catalog: Catalog, keys: Sequence[str], *, author: str, reason: str) -> Cancelled:
    """Withdraw the marks on these keys. Raises NotDone for no reason."""
    if not reason.strip():
        message = "say why, for those who find it in the ledger"
        raise NotDone(ErrorKind.INVALID, "reason_missing", message)
    return await catalog.mark_list.cancel(keys, author, reason)
