"""The one place that times, bounds and repeats requests to the store."""

import random
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from aiohttp import ClientError as HTTPError
from botocore import exceptions, xform_name
from botocore.parsers import ResponseParserError

from reconciler.errors import ConfigError, LoginMissing
from reconciler.stores.s3.answers import DeleteAnswer
from reconciler.stores.s3.config import BucketConfig
from reconciler.stores.s3.faults import BucketAddress, Refusal
from reconciler.stores.s3.refusals import TIMED_OUT

T = TypeVar("T")

ATTEMPTS: Final = 5
"""Attempts, the first included. With the pauses below, we give up an unreachable store after about 1.5 s."""
FIRST_PAUSE: Final = 0.1
"""Seconds: the longest pause after the first failure; it doubles with each."""
LONGEST_PAUSE: Final = 5.0
_QUERY: Final = re.compile(r'\?[^"\s]*')
_PLAIN: Final = ("WRONG_VERSION_NUMBER", "record layer failure", "UNEXPECTED_MESSAGE")
"""How OpenSSL calls what a server without TLS answers."""
_NO_TLS: Final = "the server does not speak TLS on this port: use http:// in RECONCILER_BUCKET__ENDPOINT_URL"
"""The query of an address in a message, which is of no use to the reader."""


def pause_after(failures: int) -> float:
    """Seconds to wait after that many failures (1 for the first): capped, doubling, fully jittered.

    Full jitter spreads clients that failed together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (failures - 1))
    return random.uniform(0, ceiling)


class Calls:
    """Sends requests to one bucket. Each attempt has a deadline, and transient failures are repeated.

    botocore's own retries are off: its `standard` mode has a quota, which about a hundred
    outstanding retries exhaust for the whole client.
    """

    def __init__(self, client: Any, config: BucketConfig) -> None:  # noqa: ANN401 - made at run time
        self.client = client
        self.bucket = config.name
        self.place = BucketAddress(
            bucket=config.name, endpoint_url=config.endpoint_url, setting=config.setting
        )
        self.timeout = config.request_timeout.total_seconds()
        """Seconds that one attempt may take."""
        self.may_delete = config.may_delete
        """Called before each attempt to delete; it raises where nothing more may be sent."""
        self._on_request = config.on_request

    def deadline(self) -> float:
        """The monotonic time until which a call that begins now may start further attempts."""
        return anyio.current_time() + self.timeout

    async def send(self, operation: str, read: Callable[[Any], T], /, **asked: Any) -> T:  # noqa: ANN401
        """Send the operation with the parameters `asked`, as S3 names both; see `carry_out`."""
        return await self.carry_out(operation, self._request(operation, asked), read)

    async def send_until(
        self,
        deadline: float,
        may_send: Callable[[], None] | None,
        operation: str,
        read: Callable[[Any], T],
        /,
        **asked: Any,  # noqa: ANN401 - as botocore's
    ) -> T:
        """The same, with a deadline and a veto of its own."""
        request = self._request(operation, asked)
        return await self.carry_out(operation, request, read, deadline=deadline, may_send=may_send)

    def _request(self, operation: str, asked: Mapping[str, Any]) -> Callable[[], Awaitable[Any]]:
        return partial(getattr(self.client, xform_name(operation)), Bucket=self.bucket, **asked)

    async def carry_out(
        self,
        operation: str,
        call: Callable[[], Awaitable[Any]],
        read: Callable[[Any], T],
        *,
        deadline: float | None = None,
        may_send: Callable[[], None] | None = None,
    ) -> T:
        """Call, and return `read` of the answer. `read` may raise Refusal for an error inside a 200.

        `may_send` is called before each attempt, and raises where no further attempt may be sent.

        Raises Refusal where no retry can help, StoreUnavailable after the last attempt, ConfigError
        where there are no credentials to sign with.
        """
        until = self.deadline() if deadline is None else deadline
        failures = 0
        while True:
            if may_send is not None:
                may_send()
            try:
                return await self._attempt(operation, call, read)
            except Refusal as refusal:
                if not refusal.transient:
                    raise
                failures += 1
                pause = pause_after(failures)
                if failures == ATTEMPTS or anyio.current_time() + pause >= until:
                    raise self.place.unavailable(operation, refusal, failures) from None
            await anyio.sleep(pause)

    async def _attempt(
        self, operation: str, call: Callable[[], Awaitable[Any]], read: Callable[[Any], T]
    ) -> T:
        began = anyio.current_time()
        outcome = "unavailable"
        try:
            answer = read(await self._answered(call))
            outcome = answer.outcome if isinstance(answer, DeleteAnswer) else "ok"
        except Refusal as refusal:
            outcome = refusal.outcome
            raise
        finally:
            if self._on_request is not None:
                self._on_request(operation, outcome, anyio.current_time() - began)
        return answer

    async def _answered(self, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - botocore's dict
        try:
            with anyio.fail_after(self.timeout):
                return await call()
        except TimeoutError:
            raise Refusal(TIMED_OUT, f"no answer within {self.timeout:g} s", status=0) from None
        except exceptions.ClientError as error:
            raise _refusal(error) from None
        except exceptions.ReadTimeoutError as error:
            raise Refusal(TIMED_OUT, _QUERY.sub("", str(error)), status=0) from None
        except ResponseParserError:
            raise Refusal("Unreadable", "the answer is cut off or not XML", status=0) from None
        except (exceptions.ConnectionError, exceptions.HTTPClientError, HTTPError) as error:
            why = _NO_TLS if any(sign in str(error) for sign in _PLAIN) else _QUERY.sub("", str(error))
            raise Refusal("Unreachable", why, status=0) from None
        except (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
        ) as error:
            raise LoginMissing(
                f"{error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role "
                f"that may use {self.place}"
            ) from None
        except exceptions.ParamValidationError:
            # Only the bucket's name is still checked.
            raise ConfigError(f"{self.place}: {self.place.setting} is no name of a bucket") from None
        except exceptions.BotoCoreError as error:
            raise ConfigError(f"{self.place} cannot be used: {' '.join(str(error).split())}") from None


def _refusal(error: exceptions.ClientError) -> Refusal:
    answer = error.response
    fault = answer.get("Error", {})
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # HEAD answers have no body, and proxies write HTML: then there is only the status.
    # botocore has an empty message as None.
    return Refusal(str(fault.get("Code") or status), str(fault.get("Message") or ""), status=status)
