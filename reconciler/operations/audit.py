"""The audit: who changed what over HTTP."""

from collections.abc import Sequence

from reconciler.catalog.open import Catalog
from reconciler.model import AuditLine


async def page(
    catalog: Catalog, before: int | None = None, size: int = 100, *, caller: str | None = None
) -> Sequence[AuditLine]:
    """The changes, the newest first, behind the one `before`; of one caller, or of all."""
    return await catalog.audit.page(before, size, caller)
