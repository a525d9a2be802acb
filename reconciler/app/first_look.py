"""`init` and `explain`: both sides are opened to look at them, and nothing else."""

from collections.abc import Callable
from dataclasses import replace

from reconciler.app import wiring
from reconciler.catalog.media_tables import survey
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.model import Capabilities, Explained, ListingOrder
from reconciler.operations import explain as explaining
from reconciler.operations.init import Looked, look
from reconciler.settings import Settings
from reconciler.stores.s3 import Bucket, open_bucket

UNKNOWN = Capabilities(
    order=ListingOrder.NONE, conditional_batch_delete=False, conditional_delete=False, probed=False
)
"""What is known of a store that was not probed: a probe writes scratch keys."""


async def init(settings: Settings, tell: Callable[[str], None]) -> Looked:
    """Look at database and bucket, and propose settings; `tell` receives a line for each thing looked at.

    Writes nothing. Raises NotDone where nothing fits, ConfigError, Retryable, Halt.
    """
    async with (
        open_bucket(wiring.bucket_config(settings)) as bucket,
        survey.opened(wiring.catalog_config(settings)) as tables,
    ):
        return await look(tables, bucket.listing, bucket.store(UNKNOWN), settings.bucket.name, tell)


async def explain(settings: Settings, key: str) -> Explained:
    """See `operations.explain`."""
    async with (
        open_catalog(wiring.catalog_config(settings)) as catalog,
        open_bucket(wiring.bucket_config(settings)) as bucket,
    ):
        await catalog.require_schema()
        return await explaining.explain(sight(settings, catalog, bucket), key)


def sight(settings: Settings, catalog: Catalog, bucket: Bucket) -> explaining.Sight:
    """What an explanation looks at."""
    return explaining.Sight(
        catalog=catalog,
        store=bucket.store(UNKNOWN),
        versions=bucket.versions,
        locks=bucket.locks,
        bucket=settings.bucket.name,
        policy=replace(settings.policy(), delete_mode=wiring.delete_mode_of(settings, UNKNOWN)),
        mode=settings.mode(),
        undo_window=settings.undo_window,
    )
