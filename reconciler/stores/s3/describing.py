"""What an object says of itself: its content type, its metadata and its tags."""

from collections.abc import Mapping
from typing import Any, Final

from reconciler.errors import StoreUnavailable
from reconciler.model import Described
from reconciler.model.sanity import believable
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import bare_etag
from reconciler.stores.s3.reading import moment
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.witness import Witness

_METADATA: Final = "x-amz-meta-"


class BucketDescriptions:
    """`ports.Descriptions` of one bucket."""

    def __init__(self, calls: Calls, witness: Witness) -> None:
        self._calls = calls
        self._witness = witness

    async def of(self, key: str, *, tags: bool = False) -> Described | None:
        try:
            headers = await self._calls.carry_out(
                "HeadObject",
                lambda: self._calls.client.head_headers(Bucket=self._calls.bucket, Key=key),
                _same,
            )
        except Refusal as refusal:
            if refusal.missing:
                return None
            raise await self._witness.blame("HeadObject", key, refusal) from None
        except StoreUnavailable as error:
            raise await self._witness.blame("HeadObject", key, error) from None
        said = await self._tags(key) if tags else None
        if tags and said is None:
            return None
        return Described(
            size=int(headers.get("content-length", "0")),
            etag=bare_etag(headers.get("etag", "")),
            last_modified=believable(moment(headers.get("last-modified"))),
            content_type=headers.get("content-type", ""),
            metadata={
                name.removeprefix(_METADATA): text
                for name, text in headers.items()
                if name.startswith(_METADATA)
            },
            tags=said,
        )

    async def _tags(self, key: str) -> dict[str, str] | None:
        try:
            return await self._calls.send("GetObjectTagging", _read_tags, Key=key)
        except Refusal as refusal:
            if refusal.missing:
                return None
            raise self._calls.place.explain("GetObjectTagging", refusal) from None


def _same(headers: Mapping[str, str]) -> Mapping[str, str]:
    return headers


def _read_tags(answer: Any) -> dict[str, str]:  # noqa: ANN401 - botocore's dict
    return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", ())}
