"""What a CDN is told to forget."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from urllib.parse import quote


class CdnProvider(StrEnum):
    """Whose API is asked."""

    CLOUDFLARE = "cloudflare"
    CLOUDFRONT = "cloudfront"
    FASTLY = "fastly"
    BUNNY = "bunny"
    WEBHOOK = "webhook"


class CloudflarePlan(StrEnum):
    """What Cloudflare's limits go by."""

    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """A CDN's answer, by URL or tag: `done` has the provider's own id of the purge, `refused` the reason.

    `away` says why it takes nothing at all, which stays as it was; `after` is how long it asks for.
    """

    done: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    away: str = ""
    after: timedelta | None = None


def cache_tag(virtual_key_id: str) -> str:
    """The tag that the media service gives to every medium of a virtual key (`Cache-Tag`)."""
    return f"vk-{quote(virtual_key_id, safe='')}"
