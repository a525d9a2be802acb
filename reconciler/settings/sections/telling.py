"""Who is told of what went, and who tells us."""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from reconciler.settings import values
from reconciler.settings.types import (
    MAY_BE_EMPTY,
    Flag,
    NoColumn,
    Section,
    written,
)


class EventsSettings(Section):
    """What the store tells of its objects, and what others are told. See [events](events.md)."""

    queue_url: Annotated[str | None, written(values.queue_url)] = None
    """The URL of a queue (SQS) in which the bucket's event notifications arrive: what it names is looked at
    within a minute, instead of at the next sweep. Messages are deleted from it, so it must be this program's
    alone. Default: none."""
    webhook_url: Annotated[str | None, written(values.webhook)] = None
    """Where events are sent: CloudEvents in JSON, each signed as Standard Webhooks say. https, or http on
    this machine. Default: none."""
    webhook_secret_file: Annotated[str | None, written(values.file_path)] = None
    """A file of the secrets that sign them, `whsec_…`, one a line. It is read for each batch, and with
    several lines each signs: so a secret is replaced without a gap. Required with `webhook_url`."""
    notify: Annotated[str | None, written(values.channel)] = None
    """A channel of Postgres on which the same events are notified, such as `media_events`. Who does not
    listen just then misses them. Default: none."""

    @property
    def told(self) -> bool:
        """Whether anybody is told."""
        return self.webhook_url is not None or self.notify is not None

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if (self.webhook_url is None) != (self.webhook_secret_file is None):
            raise ValueError("WEBHOOK_URL and WEBHOOK_SECRET_FILE go together: set both, or neither")
        return self


class CdnSettings(Section):
    """A CDN that is told to forget what was deleted, and the media of a virtual key that is disabled. See
    [the CDN](cdn.md).
    """

    provider: Annotated[
        Literal["none", "cloudflare", "cloudfront", "fastly", "bunny", "webhook"],
        written(values.one_of("none", "cloudflare", "cloudfront", "fastly", "bunny", "webhook")),
    ] = "none"
    """Whose API is asked; `webhook` is an address of your own. Default: `none`, and nothing is sent."""
    url: Annotated[str | None, written(values.url_template)] = None
    """The public URL of an object, with `{key}` for its storage key: `https://cdn.example/{key}`. The key is
    percent-encoded. Default: none, and only rows tell URLs: an orphan has none then."""
    url_column: NoColumn = "PublicUrl"
    """The column of the media table that has a medium's public URL, which is purged too. Used where the table
    has this column; empty for none."""
    zone: Annotated[str, written(values.zone), MAY_BE_EMPTY] = ""
    """What the provider calls what is purged: Cloudflare's zone, CloudFront's distribution, Fastly's service,
    Bunny's pull zone. Required but for `webhook`."""
    plan: Annotated[
        Literal["free", "pro", "business", "enterprise"],
        written(values.one_of("free", "pro", "business", "enterprise")),
    ] = "free"
    """Cloudflare's plan, by which its limits go. `free`: the strictest."""
    token_file: Annotated[str | None, written(values.file_path)] = None
    """A file with the provider's API token, which may purge and nothing else. It is read for each request.
    Required but for `cloudfront`, which takes the usual AWS credentials, and `webhook`."""
    api_url: Annotated[str | None, written(values.endpoint_url)] = None
    """The webhook's address. For the others another address of their API than the public one."""
    tags: Flag = False
    """Whether each response bears the tag `vk-<id>` of its virtual key, as those of `reconciler media` do. A
    key that ends is then purged by its tag, in one request for all of its media. False: a tag that no
    response bears purges nothing."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider == "none":
            return self
        named = {
            "ZONE": self.zone or self.provider == "webhook",
            "TOKEN_FILE": self.token_file or self.provider in {"cloudfront", "webhook"},
            "API_URL": self.api_url or self.provider != "webhook",
            "URL or URL_COLUMN": self.url or self.url_column,
        }
        if missing := [name for name, given in named.items() if not given]:
            raise ValueError(f"PROVIDER {self.provider} needs {', '.join(missing)}")
        return self

    @property
    def on(self) -> bool:
        """Whether anybody is told."""
        return self.provider != "none"
