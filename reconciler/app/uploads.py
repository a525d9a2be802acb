"""Puts together what the media service takes uploads with."""

from reconciler.catalog.open import Catalog
from reconciler.errors import ConfigError
from reconciler.media.uploads import UploadSite, UploadTerms
from reconciler.planning.keys import protection
from reconciler.settings import Settings
from reconciler.stores.s3 import Bucket

COLUMNS = "RECONCILER_MEDIA__UPLOAD_COLUMNS"
KEY = "RECONCILER_MEDIA__UPLOAD_KEY"

BEGINNINGS = ("image/", "video/", "audio/", "application/")
"""One content type of each kind, by its beginning."""


def terms(settings: Settings) -> UploadTerms | None:
    """What may be uploaded; None where nothing may. Raises ConfigError where a key would not be managed."""
    asked = settings.media
    if not asked.uploads:
        return None
    policy = settings.policy()
    made = UploadTerms(
        limits=asked.upload_limits,
        key=asked.upload_key,
        columns=asked.upload_columns,
        url_for=asked.upload_for,
        policy=lambda: policy,
    )
    for beginning in BEGINNINGS:
        if not any(each.startswith(beginning) or beginning.startswith(each) for each in asked.upload_limits):
            continue
        key = made.new_key(f"{beginning}any", 0)
        if (why := protection(key, policy)) is not None:
            raise ConfigError(
                f"{KEY}={asked.upload_key}: {beginning}… would be {key!r}, not managed ({why.value});"
                " begin it with one of RECONCILER_BUCKET__PREFIXES, or take such types out of"
                " RECONCILER_MEDIA__UPLOAD_LIMITS"
            )
    return made


async def site(settings: Settings, catalog: Catalog, bucket: Bucket, outside: Bucket) -> UploadSite | None:
    """What uploads are made with. Raises ConfigError where the tables do not take their rows."""
    if not settings.media.uploads:
        return None
    catalog.served.require_callers()
    await catalog.reservations.require_columns(settings.media.upload_columns, COLUMNS)
    return UploadSite(reservations=catalog.reservations, writer=bucket.writer, outside=outside.writer)
