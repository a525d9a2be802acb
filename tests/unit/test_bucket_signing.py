"""Our signature of requests is botocore's, whatever key, header and credentials."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from reconciler.stores.s3.signing import signed

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
secrets = st.text("abcDEF019/+=", min_size=1, max_size=40)


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Any:
    """Botocore takes the time from its own clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
        yield


@given(
    method=st.sampled_from(["HEAD", "GET", "PUT", "DELETE"]),
    key=keys,
    parameters=st.dictionaries(st.sampled_from(["versionId", "list-type", "prefix", "start-after"]), keys),
    values=st.dictionaries(st.sampled_from(["If-Match", "x-amz-copy-source", "x-amz-storage-class"]), values),
    secret=secrets,
    token=st.none() | secrets,
    port=st.sampled_from(["", ":80", ":8333"]),
)
def test_it_is_the_same(
    method: str,
    key: str,
    parameters: dict[str, str],
    values: dict[str, str],
    secret: str,
    token: str | None,
    port: str,
) -> None:
    path = f"/bucket/{quote(key, safe='/~')}"
    query = "&".join(f"{name}={quote(text, safe='-_.~')}" for name, text in sorted(parameters.items()))
    url = f"http://store{port}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, headers=values)
    request.context["client_config"] = SimpleNamespace(s3=None)
    auth.S3SigV4Auth(Credentials("access", secret, token), "s3", "eu-west-1").add_auth(request)
    ours = signed(
        method,
        "store" if port == ":80" else f"store{port}",
        path,
        query,
        values,
        credentials=("access", secret, token),
        scope=("eu-west-1", "s3"),
        now=NOW,
    )
    theirs = {name.lower(): value for name, value in request.headers.items()}
    assert {name.lower(): value for name, value in ours.items()} == theirs
