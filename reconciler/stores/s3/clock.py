"""The store's clock, read from the `Date` header of any answer."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.witness import IDENTITY_KEY

_TELLING: Final = frozenset({400, 403, 404})
"""Refusals that come from the store itself and carry its time. A store whose clock is very far from ours
gives no other answer."""


class BucketClock:
    """`ports.StoreClock` of one bucket."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def date(self) -> datetime | None:
        """The store's time in whole seconds; None where it sends none. Raises StoreUnavailable, Halt."""
        try:
            return await self._calls.carry_out("HeadObject", self._ask, _date)
        except Refusal as refusal:
            raise self._calls.place.explain("HeadObject", refusal) from None

    async def _ask(self) -> Mapping[str, Any]:
        try:
            calls = self._calls
            answer: Mapping[str, Any] = await calls.client.head_object(Bucket=calls.bucket, Key=IDENTITY_KEY)
        except ClientError as error:
            if error.response["ResponseMetadata"].get("HTTPStatusCode") not in _TELLING:
                raise
            return error.response
        return answer


def _date(answer: Mapping[str, Any]) -> datetime | None:
    text = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date", "")
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
