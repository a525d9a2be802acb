"""The places where we reach into botocore, and why.

Unmodified, aiobotocore spends 64 ms of processor time on a page of 1,000 keys (measured, Python 3.11):
two full XML parses and a dateutil call for each key. With the hooks below it takes 1.8 ms. An unmodified HEAD
takes 1.5 ms, a third of which finds the same endpoint again; with the hooks it takes 0.9 ms.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from xml.sax.saxutils import escape

import aiobotocore.session
from aiobotocore.parsers import AioResponseParserFactory, AioRestXMLParser
from botocore.handlers import _handle_200_error  # type: ignore[attr-defined]  # not in the stubs
from botocore.loaders import JSONFileLoader, create_loader
from botocore.utils import parse_timestamp

from reconciler.model import Digest
from reconciler.stores.s3 import config

RAW_OPERATIONS: Final = frozenset({"ListObjectsV2", "DeleteObjects"})
"""Operations whose bodies are passed on unparsed: we have our own parsers, which also look for an error
document inside a 200."""

NO_MATTER_FOR_ENDPOINTS: Final = ("Key", "Prefix", "CopySource")
"""Parameters that botocore's endpoint rules declare and no rule reads (1.40). Its endpoint cache uses them in
its key all the same, so each storage key misses the cache and passes through every rule: 0.5 ms a request."""

SERVICES: Final = frozenset({"oidc", "portal.sso", "s3", "signin", "sqs", "sts"})
"""Services whose regions are read: the store, its queue of events, and those that credentials come from."""

DESCRIBED: Final = (frozenset(config.OPERATIONS) - {"LoadTable"}) | {
    "UploadPart",
    "CreateSession",
    "HeadBucket",
    "PutBucketLifecycleConfiguration",
}
"""The store's operations whose descriptions are read: ours, but for that of a table catalog, two by
which botocore finds a bucket's region and logs in to a directory bucket, and one that no daemon sends."""

_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_PLAIN: Final = re.compile(r"[\w./-]*+")
_CHECKSUM_HEADERS: Final = ("x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm")


class _RawBodies(AioRestXMLParser):
    """Leaves the body of a successful ListObjectsV2 or DeleteObjects as it is, under `Body`."""

    async def parse(self, response: Mapping[str, Any], shape: Any) -> Any:  # noqa: ANN401 - botocore's shapes
        if response["context"].get("operation_name") in RAW_OPERATIONS and response["status_code"] == 200:  # noqa: PLR2004
            return {"Body": response["body"], "ResponseMetadata": {"HTTPStatusCode": 200}}
        return await super().parse(response, shape)


class _Parsers(AioResponseParserFactory):
    def create_parser(self, protocol_name: str) -> Any:  # noqa: ANN401 - botocore's parser
        if protocol_name == "rest-xml":
            return _RawBodies(timestamp_parser=read_date)
        return super().create_parser(protocol_name)


def read_date(text: str) -> datetime:
    """Read a date as headers and XML write it; botocore reads any other form.

    dateutil, which botocore calls for each date, takes 0.3 ms.
    """
    try:
        date = datetime.fromisoformat(text) if text[4:5] == "-" else parsedate_to_datetime(text)
    except (TypeError, ValueError):
        date = None
    return date if date is not None and date.tzinfo is not None else parse_timestamp(text)


class LeanFiles(JSONFileLoader):
    """Botocore's data without what no request of ours reads, and in plain dicts: 5 MiB instead of 15."""

    def _load_file(self, full_path: str, open_method: Callable[[str, str], BinaryIO]) -> Any:  # noqa: ANN401
        if not Path(full_path).is_file():
            return None
        with open_method(full_path, "rb") as file:
            return json.load(file, object_hook=_lean)


def _lean(found: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found.get("documentation"), str):
        found["documentation"] = ""
    if isinstance(operations := found.get("operations"), dict) and operations.keys() >= DESCRIBED:
        found["operations"] = {name: operations[name] for name in DESCRIBED}
        found["shapes"] = _reached(found["operations"], found["shapes"])
    if isinstance(services := found.get("services"), dict):
        found["services"] = {name: services[name] for name in SERVICES & services.keys()}
    return found


def _reached(operations: Any, shapes: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The shapes that the operations name, or that these shapes name in turn."""
    reached: dict[str, Any] = {}
    unread = [operations]
    while unread:
        match unread.pop():
            case {"shape": str(name)}:
                if name not in reached:
                    reached[name] = shapes[name]
                    unread.append(shapes[name])
            case dict(found):
                unread += found.values()
            case list(found):
                unread += found
    return reached


def raw_session() -> aiobotocore.session.AioSession:
    """A session whose clients leave the bodies of RAW_OPERATIONS unparsed."""
    session = aiobotocore.session.get_session()
    session.register_component("response_parser_factory", _Parsers())
    loader = create_loader(session.get_config_variable("data_path"))
    loader.file_loader = LeanFiles()
    session.register_component("data_loader", loader)
    return session


def tune(client: Any) -> None:  # noqa: ANN401 - made at run time by botocore
    """Register our handlers with one client: the 200 check, and the body and digest of DeleteObjects.

    The client then finds its endpoint once for each bucket: see NO_MATTER_FOR_ENDPOINTS.
    """
    for name in NO_MATTER_FOR_ENDPOINTS:
        client._ruleset_resolver._param_definitions.pop(name, None)  # noqa: SLF001 - no other way in
    events = client.meta.events
    events.unregister("before-parse.s3.*", _handle_200_error)
    events.register_first("before-parse.s3.*", error_inside_success)
    events.register("before-parameter-build.s3.DeleteObjects", _write_body)
    events.register_last("before-call.s3.DeleteObjects", _send_written_body)
    events.register("before-sign.s3.DeleteObjects", _digest_with_md5)
    events.register("before-parameter-build.s3.PutObject", _vouch_with_md5)
    events.register("before-parameter-build.s3.UploadPart", _vouch_with_md5)
    events.register("before-call.s3.HeadBucket", _never_redirect)


def error_inside_success(operation_model: Any, **kwargs: Any) -> None:  # noqa: ANN401 - botocore's event
    """Run botocore's search for an error inside a 200, which makes it a 500, where we do not parse the body.

    The search parses the whole body with ElementTree a second time: 5 ms a page.
    """
    if operation_model.name not in RAW_OPERATIONS:
        _handle_200_error(operation_model=operation_model, **kwargs)


def _write_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:  # noqa: ANN401
    """Write the XML ourselves, and leave botocore an empty list: its serializer takes 9 ms for 1,000 keys.

    `Digest`, next to `Objects`, is our own field: the digest to send with the body; MD5 unless given.
    """
    context["delete_body"] = delete_body(params["Delete"]["Objects"])
    context["delete_digest"] = params["Delete"].get("Digest", Digest.MD5)
    params["Delete"] = {"Objects": []}


def _send_written_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:  # noqa: ANN401
    params["body"] = context["delete_body"]


def delete_body(entries: Iterable[Mapping[str, str]]) -> bytes:
    """The body of a verbose DeleteObjects for entries with a Key and, where given, ETag and VersionId."""
    objects = "".join(
        "<Object>"
        + "".join(f"<{name}>{_escaped(text)}</{name}>" for name, text in entry.items())
        + "</Object>"
        for entry in entries
    )
    return f'<Delete xmlns="{_NAMESPACE}">{objects}<Quiet>false</Quiet></Delete>'.encode()


def _escaped(text: str) -> str:
    """Escape for XML. Line ends become references, which no reader normalises."""
    if _PLAIN.fullmatch(text):
        return text
    return escape(text, {"\r": "&#13;", "\n": "&#10;"})


def _digest_with_md5(request: Any, **_: Any) -> None:  # noqa: ANN401 - botocore's event
    """Send Content-MD5 in place of CRC32, where the caller asks for it.

    botocore >= 1.36 sends CRC32 whatever `request_checksum_calculation` says, which older stores answer with
    MissingContentMD5 (I-22); directory buckets of S3 accept only CRC32
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html).
    """
    if request.context["delete_digest"] is not Digest.MD5:
        return
    for name in _CHECKSUM_HEADERS:
        del request.headers[name]
    digest = hashlib.md5(request.data, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def _vouch_with_md5(params: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - botocore's event
    """Send Content-MD5 with the few bytes that we put. Every store accepts it, and buckets that lock new
    objects demand a digest (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html).
    """
    if "Body" not in params:
        return  # A URL, for bytes that somebody else puts.
    digest = hashlib.md5(params["Body"], usedforsecurity=False).digest()
    params["ContentMD5"] = base64.b64encode(digest).decode()


def _never_redirect(context: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - botocore's event
    """Stop botocore from following redirects. After a 301 it asks HeadBucket for the bucket's region, and
    after a 301 to that it asks again without end.
    """
    context.setdefault("s3_redirect", {})["redirected"] = True
