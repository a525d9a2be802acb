"""Who stores how much."""

from reconciler.catalog.open import Catalog
from reconciler.model import Storage, StorageBy


async def storage(catalog: Catalog, by: StorageBy, top: int) -> Storage:
    """The rows in the managed prefixes by `by`, the `top` largest apart. Reads the whole media table once."""
    return await catalog.statistics.storage((by,), top)
