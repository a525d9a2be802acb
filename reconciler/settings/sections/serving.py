"""What is served over HTTP, and to whom."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from reconciler.settings import identifiers, values
from reconciler.settings.types import (
    MAY_BE_EMPTY,
    Duration,
    Flag,
    QuotaOwner,
    Section,
    written,
)


class OidcSettings(Section):
    """An identity provider whose bearer tokens the admin API takes, by OpenID Connect."""

    issuer: Annotated[str | None, written(values.issuer)] = None
    """The provider's address, as its tokens name it in `iss`; https, or http on this machine. Its keys are
    found from there. Default: none."""
    audience: Annotated[str, written(values.claim), MAY_BE_EMPTY] = ""
    """What tokens for this API have in `aud`. No default: a token for another program must not do here."""
    role_claim: Annotated[str, written(values.claim)] = "roles"
    """The claim that says what a person may do, text or a list; one in another with dots between them, such
    as `realm_access.roles`."""
    name_claim: Annotated[str, written(values.claim)] = "sub"
    """The claim that names the person, for what is written down about orders. `sub`: it is never reused."""
    viewers: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Values of that claim that make a *viewer*: a JSON list such as `["media-team"]`."""
    operators: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Values of that claim that make an *operator*."""
    approvers: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Values of that claim that make an *approver*."""


class AdminSettings(Section):
    """Where the admin API is served, and who may call it. It is off unless it knows whom to let in."""

    host: Annotated[str, written(values.host)] = "0.0.0.0"
    """Address on which `run` serves the admin API. All of them: who calls it comes from outside the pod."""
    port: Annotated[int, written(values.whole(0, 65_535, "a port (0 takes a free one)"))] = 8081
    """TCP port of the admin API, which is never that of the metrics; 0 takes a free one."""
    tokens_file: Annotated[str | None, written(values.file_path)] = None
    """A file of hashed bearer tokens, one a line, as `reconciler token new` writes them. It is read again
    when it changes. Default: none, and the admin API is off unless OIDC__ISSUER is set."""
    cors_origins: Annotated[tuple[str, ...], written(values.origins)] = ()
    """Origins of web pages whose scripts may call the admin API with a token of their own (CORS): a JSON list
    such as `["https://console.example.org"]`. Default: none."""
    oidc: OidcSettings = OidcSettings()

    @property
    def on(self) -> bool:
        """Whether anybody could be let in."""
        return self.tokens_file is not None or self.oidc.issuer is not None


def _upload_limits() -> dict[str, int]:
    return {"audio/": 1024**3, "image/": 64 * 1024**2, "video/": 5 * 1024**3}


class MediaSettings(Section):
    """The media service, `reconciler media`: where it is served, to whom, and how. See [media](media.md)."""

    host: Annotated[str, written(values.host)] = "0.0.0.0"
    """Address on which `reconciler media` serves. All of them: who calls it comes from outside the pod."""
    port: Annotated[int, written(values.whole(0, 65_535, "a port (0 takes a free one)"))] = 8082
    """TCP port; 0 takes a free one. Its metrics and probes are at `WEB__PORT`."""
    access: Annotated[
        Literal["owner", "signed", "public"], written(values.one_of("owner", "signed", "public"))
    ] = "owner"
    """Who gets a medium: `owner`, who presents its virtual key; `signed`, also who has a link that the owner
    made; `public`, everybody. Default: `owner`, since what was public once stays copied."""
    owner: QuotaOwner = "virtual_key"
    """Whose media a virtual key opens: its own, or those of every key of its group
    (`CATALOG__KEY_COLUMNS__GROUP_ID`)."""
    delivery: Annotated[Literal["stream", "redirect"], written(values.one_of("stream", "redirect"))] = (
        "stream"
    )
    """`stream` sends the bytes; `redirect` sends the client to the store, by a URL that is good for
    `REDIRECT_FOR`. Default: `stream`, since a store is seldom reachable for whoever may see a medium."""
    redirect_url: Annotated[str | None, written(values.endpoint_url)] = None
    """The store's address as clients reach it, for `redirect`. Default: `BUCKET__ENDPOINT_URL`."""
    redirect_for: Annotated[timedelta, written(values.at_least(timedelta(seconds=1), "1s"))] = timedelta(
        minutes=1
    )
    """How long such a URL is good. It works for whoever has it, also after a deletion has begun. 1m: it is
    followed at once."""
    cache_for: Duration = timedelta(minutes=1)
    """How long a client, and for what needs no virtual key a CDN, may show a medium without asking again. 1m:
    so long is a deleted medium still seen."""
    link_keys_file: Annotated[str | None, written(values.file_path)] = None
    """A file of the secrets that links are signed with, one a line, `NAME SECRET`: the first signs, all are
    accepted. It is read again when it changes. Required for `signed`."""
    link_for: Annotated[timedelta, written(values.at_least(timedelta(minutes=1), "1m"))] = timedelta(hours=1)
    """How long a link is good, at most, and where its maker does not ask for less. At least 1m."""
    record_accesses: Flag = True
    """Write to the rows when media were last accessed, and how often, so that what is looked at does not
    become *stale*. The role needs `UPDATE` on these columns."""
    count_prefetch: Flag = True
    """Count what a browser asks for ahead (`Sec-Purpose` or `Purpose: prefetch`) as an access. Default: it
    counts, since a page that is then looked at asks no more, and what nobody seems to look at goes."""
    uncounted_agents: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Parts of the names (`User-Agent`), in any case, of what is served without counting as an access: a JSON
    list such as `["googlebot", "ahrefs"]`. Also for `reconciler access import`. Default: none, since a name
    that a person's browser has too would let go what is looked at."""
    requests: Annotated[int, written(values.whole(1, 100_000, "requests at once"))] = 1_000
    """Media that are sent at once; a further request is answered with 503. Each takes some 50 KiB."""
    requests_per_owner: Annotated[int, written(values.whole(1, 100_000, "requests at once"))] = 100
    """Media of one owner that are sent, or uploaded, at once; a further request is answered with 429."""
    uploads: Flag = False
    """Take uploads, and make their rows. The role needs `INSERT` on the media table. Default: off, since
    without it the service changes no object, and of a row only what counts accesses."""
    upload_limits: Annotated[dict[str, int], written(values.limits)] = Field(default_factory=_upload_limits)
    """What may be uploaded: the most bytes by the beginning of the content type, such as `{"image/": "64MiB",
    "video/mp4": "5GiB"}`. The longest that fits counts; `""` fits all types. Default: images up to 64 MiB,
    audio to 1 GiB and video to 5 GiB."""
    upload_key: Annotated[str, written(values.upload_key)] = "{kind}/{date}/{id}{extension}"
    """The storage key of an upload: `{kind}` is `image`, `video`, `audio` or `other`, `{date}` the day as
    `2026/11/30`, `{id}` made up, `{extension}` by the type. It has to lie below a managed prefix. Default: as
    Conduit's keys."""
    upload_columns: Annotated[dict[str, str], written(identifiers.row_filter)] = Field(default_factory=dict)
    """Further columns of the row of an upload, by name, such as `{"Provider": "upload"}`; in a value
    `{content_type}` stands for the type. Needed where the table requires a column that is not mapped."""
    upload_for: Annotated[
        timedelta, written(values.between(timedelta(minutes=1), "1m", timedelta(days=7), "7d"))
    ] = timedelta(hours=1)
    """How long a URL for an upload to the store is good, from 1m to 7d, S3's limit. 1h: a client takes it up
    at once. Its reservation ends an hour later."""


class WebSettings(Section):
    """Where metrics and probes are served."""

    host: Annotated[str, written(values.host)] = "0.0.0.0"
    """Address on which `run` serves `/metrics`, `/healthz` and `/readyz`. All of them: Prometheus and the
    kubelet come from outside the pod."""
    port: Annotated[int, written(values.whole(0, 65_535, "a port (0 takes a free one)"))] = 8080
    """TCP port; 0 takes a free one."""
