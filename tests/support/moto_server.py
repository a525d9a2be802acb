"""`moto.server`, which finds its services once: for each request it would look at each of its 175 folders.

That is a quarter of the processor time that a request takes. And it has S3 Metadata, as a test has put it:
`PUT /bucket?metadataConfiguration` with the answer to the same GET, or with nothing.
"""

from typing import Any

from moto import backends
from moto.s3.responses import S3Response
from moto.server import main

_services = tuple(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: _services

_metadata: dict[str, bytes] = {}
_answer = S3Response._bucket_response


def _with_metadata(self: S3Response, request: Any, full_url: str) -> Any:
    if "metadataConfiguration" not in self._get_querystring(request, full_url):
        return _answer(self, request, full_url)
    bucket = self.parse_bucket_name_from_url(request, full_url)
    if request.method == "PUT":
        _metadata[bucket] = request.data
    found = _metadata.get(bucket)
    return (
        (200, {}, found) if found else (404, {}, "<Error><Code>MetadataConfigurationNotFound</Code></Error>")
    )


S3Response._bucket_response = _with_metadata  # type: ignore[method-assign]

main()
