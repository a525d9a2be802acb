"""History: what was found and deleted under a key, by which pass and whose word, and what became of it."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from reconciler.catalog.marks.history import Place
from reconciler.catalog.open import Catalog
from reconciler.model import KeyHistory, KeyState, LedgerFilter, LedgerLine, UndoScope


async def history(catalog: Catalog, key: str) -> KeyHistory:
    """All that is recorded about the key within `LEDGER_RETENTION`."""
    mark, lines = await catalog.mark_list.look(key), await catalog.history.of_key(key)
    rows = await catalog.records.lookup([key])
    state, since = last_state(lines)
    if mark is not None:
        state, since = KeyState.MARKED, mark.mark.first_seen_at
    if state is KeyState.DELETED and not await catalog.recovery.removals(UndoScope(keys=(key,)), limit=1):
        state = KeyState.GONE
    if state is KeyState.ERASED and await catalog.erasure.waits(key):
        state = KeyState.ERASING
    return KeyHistory(
        key=key,
        state=state,
        since=since,
        mark=mark,
        lines=lines,
        rows=[row.id for row in rows if row.storage_key == key],
    )


async def ledger(
    catalog: Catalog, wanted: LedgerFilter, size: int = 1_000, *, after: Place | None = None
) -> AsyncIterator[Sequence[LedgerLine]]:
    """The lines of the ledger that the filter lets through, the oldest first, page by page, behind `after`.

    What a transaction that is open now writes may be missing: a later call has it.
    """
    while page := await catalog.history.page(wanted, after, size):
        yield page
        after = Place(page[-1].at, page[-1].id)


def last_state(lines: Sequence[LedgerLine]) -> tuple[KeyState, datetime | None]:
    """The state that the newest telling line left, and its time; a deletion counts as recoverable."""
    for line in reversed(lines):
        match line.event, line.result:
            case "result", "deleted":
                return KeyState.DELETED, line.at
            case "restored", _:
                return KeyState.RESTORED, line.at
            case "purged", _:
                return KeyState.ERASED if line.reason == "erasure" else KeyState.GONE, line.at
            case "erased", _:
                return KeyState.ERASED, line.at
            case _:
                continue
    return (KeyState.KEPT, lines[-1].at) if lines else (KeyState.UNKNOWN, None)
