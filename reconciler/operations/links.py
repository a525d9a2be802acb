"""Signed links of the media service: ended, all of an owner at once."""

from collections.abc import Sequence

from reconciler.catalog.open import Catalog
from reconciler.planning.formatting import named


async def revoke(catalog: Catalog, virtual_keys: Sequence[str], *, by: str, reason: str) -> Sequence[str]:
    """End every link made so far to the media of these virtual keys, for the next request anywhere.

    Returns their ids as the tables write them. Raises NotDone where one is not known: none is ended then.
    """
    ended = await catalog.links.revoke(virtual_keys, by=by, reason=reason)
    await catalog.orders.note(by, "links revoke", f"{named(ended)}: {reason}")
    return ended
