"""Content delivery networks, which are told to forget what was deleted."""

from reconciler.stores.cdn.channel import CdnChannel
from reconciler.stores.cdn.opening import CdnConfig, open_cdn, verify

__all__ = ["CdnChannel", "CdnConfig", "open_cdn", "verify"]
