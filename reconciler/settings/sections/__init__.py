"""The groups of settings that share a prefix: name, unit, default and why that default."""

from reconciler.settings.sections.bucket import (
    BucketSettings,
    InventorySettings,
    QuarantineSettings,
    SweepSettings,
)
from reconciler.settings.sections.catalog import CatalogSettings, KeyColumns, MediaColumns
from reconciler.settings.sections.deciding import (
    AdoptionSettings,
    BreakerSettings,
    ErasureSettings,
    LeaseSettings,
    QuotaSettings,
    quota_of,
)
from reconciler.settings.sections.serving import AdminSettings, MediaSettings, OidcSettings, WebSettings
from reconciler.settings.sections.telling import CdnSettings, EventsSettings

__all__ = [
    "AdminSettings",
    "AdoptionSettings",
    "BreakerSettings",
    "BucketSettings",
    "CatalogSettings",
    "CdnSettings",
    "ErasureSettings",
    "EventsSettings",
    "InventorySettings",
    "KeyColumns",
    "LeaseSettings",
    "MediaColumns",
    "MediaSettings",
    "OidcSettings",
    "QuarantineSettings",
    "QuotaSettings",
    "SweepSettings",
    "WebSettings",
    "quota_of",
]
