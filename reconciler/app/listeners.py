"""Whoever is told of events: a webhook, and who listens on the database. Imported only where there is one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from reconciler.catalog.open import Catalog
from reconciler.catalog.receivers import NotifyChannel
from reconciler.errors import ConfigError
from reconciler.ports import Channel
from reconciler.settings import Settings, read_secret
from reconciler.stores.http import Unreachable, open_http

try:
    from reconciler.engine.tell import cloud_events
    from reconciler.stores import webhook
except ModuleNotFoundError as error:
    message = (
        f"events need the extra `events` ({error.name} is missing): pip install 'media-reconciler[events]'"
    )
    raise ConfigError(message) from None


@asynccontextmanager
async def open_listeners(settings: Settings, catalog: Catalog) -> AsyncIterator[Sequence[Channel]]:
    """Their channels."""
    events, found = settings.events, list[Channel]()
    kinds = tuple(cloud_events.TYPES)
    render = partial(cloud_events.event_of, source=cloud_events.source_of(settings.bucket.name))
    async with open_http() as http:
        if events.webhook_url is not None and events.webhook_secret_file is not None:
            config = webhook.WebhookConfig(
                url=events.webhook_url,
                kinds=kinds,
                secrets=partial(secrets_in, events.webhook_secret_file),
                render=render,
                switch_off=catalog.receivers.switch_off,
            )
            found.append(webhook.WebhookChannel(http, config))
        if events.notify is not None:
            found.append(NotifyChannel(catalog.database, events.notify, kinds, render))
        yield found


async def verify(settings: Settings) -> str:
    """Ask the webhook for its options, which tells it nothing. Raises ValueError that says what is wrong."""
    url, file = settings.events.webhook_url, settings.events.webhook_secret_file
    assert url is not None
    assert file is not None
    try:
        webhook.signers(secrets_in(file))
    except (OSError, ValueError) as error:
        message = f"the file of EVENTS__WEBHOOK_SECRET_FILE cannot be used: {error}"
        raise ValueError(message) from None
    async with open_http() as http:
        try:
            answer = await http.ask("OPTIONS", url, {})
        except Unreachable as error:
            raise ValueError(str(error)) from None
    if answer.status == webhook.GONE or answer.away:
        message = f"the webhook answers {answer}"
        raise ValueError(message)
    return f"the webhook answers (HTTP {answer.status} where it was asked for its options)"


def secrets_in(file: str) -> Sequence[str]:
    """The secrets of a file, one a line. Raises OSError, UnicodeDecodeError."""
    return [line.strip() for line in read_secret(file).splitlines() if line.strip()]
