"""Events of the store: which keys they named, and what looks at them came to."""

from collections.abc import AsyncIterator, Sequence

from reconciler.catalog.open import Catalog
from reconciler.model import ListedHint


async def hints(
    catalog: Catalog, *, found: bool = False, size: int = 1_000
) -> AsyncIterator[Sequence[ListedHint]]:
    """The hints, what was found first; `found`: only these."""
    offset = 0
    while page := await catalog.hints.page(size, offset, found=found):
        yield page
        offset += len(page)
