"""A queue of Amazon SQS, by which a bucket tells of its objects."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiohttp import ClientError as HTTPError
from botocore.exceptions import BotoCoreError, ClientError

from reconciler.errors import ConfigError, QueueUnavailable
from reconciler.model import QueueMessage
from reconciler.stores.s3 import hooks
from reconciler.stores.s3.session import Session

AT_ONCE: Final = 10
"""Messages a call: SQS gives no more."""

WAIT_SECONDS: Final = 10
"""How long a call waits for the first message. SQS allows 20; a term that ends cancels it."""

HIDDEN_SECONDS: Final = 60
"""How long a message that was received is hidden from others, and then comes again."""

CONNECT_SECONDS: Final = 5.0
_REGION: Final = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws|api\.aws)")


class SqsQueue:
    """`ports.Queue` on SQS."""

    def __init__(self, client: Any, url: str) -> None:  # noqa: ANN401 - made at run time by botocore
        self._client = client
        self._url = url

    async def receive(self) -> Sequence[QueueMessage]:
        answer = await self._ask(
            self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=AT_ONCE,
                WaitTimeSeconds=WAIT_SECONDS,
                VisibilityTimeout=HIDDEN_SECONDS,
            )
        )
        return [
            QueueMessage(body=each["Body"], receipt=each["ReceiptHandle"])
            for each in answer.get("Messages", ())
        ]

    async def delete(self, messages: Sequence[QueueMessage]) -> None:
        for start in range(0, len(messages), AT_ONCE):
            entries = [
                {"Id": str(number), "ReceiptHandle": each.receipt}
                for number, each in enumerate(messages[start : start + AT_ONCE])
            ]
            # One that fails comes again, which changes nothing.
            await self._ask(self._client.delete_message_batch(QueueUrl=self._url, Entries=entries))

    async def sets_aside(self) -> bool:
        return "RedrivePolicy" in await self._attributes("RedrivePolicy")

    async def waiting(self) -> int:
        """About how many messages wait. Raises QueueUnavailable."""
        found = await self._attributes("ApproximateNumberOfMessages")
        return int(found.get("ApproximateNumberOfMessages", 0))

    async def _attributes(self, name: str) -> Any:  # noqa: ANN401 - botocore's
        answer = await self._ask(self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name]))
        return answer.get("Attributes", {})

    async def _ask(self, call: Any) -> Any:  # noqa: ANN401 - botocore's
        try:
            return await call
        except ClientError as error:
            of = error.response.get("Error", {})
            reason = f"{of.get('Code', '')}: {of.get('Message', '')}"
        except (BotoCoreError, HTTPError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        message = (
            f"the queue {self._url} (RECONCILER_EVENTS__QUEUE_URL) cannot be read:"
            f" {' '.join(reason.split())}; meanwhile only sweeps see what its events would say"
        )
        raise QueueUnavailable(message)


@asynccontextmanager
async def open_queue(url: str, region: str | None) -> AsyncIterator[SqsQueue]:
    """Open the queue until the context ends. No request is sent. `region` counts where the URL names none.

    Raises ConfigError where it cannot be opened.
    """
    parts = urlsplit(url)
    named = _REGION.search(parts.hostname or "")
    session = Session(botocore_session=hooks.raw_session())
    try:
        client = session.client(
            "sqs",
            endpoint_url=f"{parts.scheme}://{parts.netloc}",
            region_name=named[1] if named else region or session.region_name or "us-east-1",
            verify=False if parts.scheme == "http" else None,
            config=AioConfig(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=WAIT_SECONDS + CONNECT_SECONDS,
                retries={"total_max_attempts": 2, "mode": "standard"},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        message = f"the queue {url} cannot be opened: {error}"
        raise ConfigError(message) from None
    async with client as opened:
        yield SqsQueue(opened, url)
