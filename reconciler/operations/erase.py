"""Erasure on request: nothing of these keys may ever come back."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.catalog.open import Catalog
from reconciler.model import Erased
from reconciler.planning.formatting import named


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased; `named` are keys that a row still names, ascending: those have to be erased again."""

    erased: Erased
    named: Sequence[str] = ()

    @property
    def complete(self) -> bool:
        erased = self.erased
        return not (erased.held or erased.claimed or erased.returning or self.named)


async def erase(catalog: Catalog, keys: Sequence[str], *, author: str, despite_hold: bool = False) -> Erasure:
    """Erase all of the keys, or none where one is on hold and that is not overruled."""
    erased = await catalog.erasure.erase(keys, author, despite_hold=despite_hold)
    if not erased.held and {*keys} - {*erased.unknown}:
        await catalog.orders.note(author, "erase", named(keys))
    return await _with_rows(catalog, keys, erased)


async def preview(catalog: Catalog, keys: Sequence[str]) -> Erasure:
    """What `erase` would do, without doing it."""
    return await _with_rows(catalog, keys, await catalog.erasure.look(keys))


async def _with_rows(catalog: Catalog, keys: Sequence[str], erased: Erased) -> Erasure:
    if erased.held:
        return Erasure(erased=erased)
    rows = await catalog.records.lookup(keys)
    return Erasure(erased=erased, named=sorted({row.storage_key for row in rows}))
