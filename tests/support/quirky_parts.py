"""Uploads in parts of the quirky store: begun, copied or put part by part, listed, completed, aborted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from urllib.parse import unquote, unquote_plus
from xml.sax.saxutils import escape

from tests.support.faulty_store import NAMESPACE, Answer, Request, error


@dataclass(slots=True)
class Parts:
    """The uploads that nobody has completed yet, by id: the key, and the parts by number."""

    decode_twice: bool = False
    """The source of a part is decoded once more than it was encoded, as Ceph 16 does."""
    begun: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    _count: int = 0

    def answer(
        self,
        operation: str,
        key: str,
        query: Mapping[str, str],
        request: Request,
        read: Callable[[str], bytes | None],
        write: Callable[[str, bytes, str], str],
    ) -> Answer:
        """`read` gives an object's bytes, `write` stores one with that ETag, which it returns."""
        upload = query.get("uploadId", "")
        if operation in {"CreateMultipartUpload", "ListMultipartUploads"}:
            return self._begin(key) if operation == "CreateMultipartUpload" else self._list()
        if upload not in self.begun:
            return Answer(error("NoSuchUpload"), 404)
        if operation == "AbortMultipartUpload":
            del self.begun[upload]
            return Answer("", 204)
        if operation == "CompleteMultipartUpload":
            return self._complete(key, self.begun.pop(upload)[1], write)
        return self._add(self.begun[upload][1], int(query["partNumber"]), operation, request, read)

    def _add(
        self,
        parts: dict[int, bytes],
        number: int,
        operation: str,
        request: Request,
        read: Callable[[str], bytes | None],
    ) -> Answer:
        body = request.body if operation == "UploadPart" else self._copied(request, read)
        if body is None:
            return Answer(error("NoSuchKey"), 404)
        parts[number] = body
        etag = f'"{md5(body, usedforsecurity=False).hexdigest()}"'
        if operation == "UploadPart":
            return Answer(headers={"ETag": etag})
        return Answer(f"<CopyPartResult><ETag>{escape(etag)}</ETag></CopyPartResult>")

    @staticmethod
    def _complete(key: str, parts: Mapping[int, bytes], write: Callable[[str, bytes, str], str]) -> Answer:
        bodies = [parts[number] for number in sorted(parts)]
        etag = write(key, b"".join(bodies), etag_of(bodies))
        name = "CompleteMultipartUploadResult"
        return Answer(f"<{name}><ETag>&quot;{etag}&quot;</ETag></{name}>")

    def _begin(self, key: str) -> Answer:
        self._count += 1
        self.begun[str(self._count)] = (key, {})
        return Answer(
            f"<InitiateMultipartUploadResult><UploadId>{self._count}</UploadId></InitiateMultipartUploadResult>"
        )

    def _list(self) -> Answer:
        uploads = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
            for upload, (key, _) in self.begun.items()
        )
        return Answer(
            f"<ListMultipartUploadsResult {NAMESPACE}><IsTruncated>false</IsTruncated>{uploads}"
            "</ListMultipartUploadsResult>"
        )

    def _copied(self, request: Request, read: Callable[[str], bytes | None]) -> bytes | None:
        source = unquote(request.headers["x-amz-copy-source"]).partition("/")[2]
        whole = read(unquote_plus(source) if self.decode_twice else source)
        span = request.headers.get("x-amz-copy-source-range", "").removeprefix("bytes=")
        if whole is None or not span:
            return whole
        first, last = map(int, span.split("-"))
        return whole[first : last + 1]


def etag_of(parts: list[bytes]) -> str:
    """As S3 makes it of an object that was uploaded in parts."""
    digests = b"".join(md5(part, usedforsecurity=False).digest() for part in parts)
    return f"{md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
