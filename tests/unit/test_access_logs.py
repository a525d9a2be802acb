"""Lines of access logs: which medium was had, and when, in each format and of each strange key."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Uncounted
from reconciler.planning.access_logs import Address, LogReader, Request, Unreadable

AT = datetime(2026, 11, 30, 12, 30, 5, tzinfo=UTC).timestamp()
STRANGE = 'image/2026//é a+b%2F?#&=\n"\\.png'
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
ADDRESS = Address.of("https://cdn.example/media/{key}")

HEADERS = b"""#Version: 1.0
#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) \
cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol"""


def lines(path: str, status: int = 200, method: str = "GET", host: str = "cdn.example") -> dict[str, bytes]:
    """One request in each format."""
    agent = "Mozilla/5.0 (GoogleBot)"
    written = path.replace("\\", "\\\\").replace('"', '\\"')
    request = f'"{method} {written}?v=1 HTTP/1.1" {status} 512'
    flare = {
        "ClientRequestHost": host,
        "ClientRequestMethod": method,
        "ClientRequestURI": f"{path}?v=1",
        "ClientRequestUserAgent": agent,
        "EdgeResponseStatus": status,
    }
    fastly = {
        "timestamp": "2026-11-30T12:30:05+0000",
        "host": host,
        "url": f"{path}?v=1",
        "request_method": method,
        "request_user_agent": agent,
        "response_status": str(status),
    }
    front = (
        f"2026-11-30\t12:30:05\tDFW3\t512\t192.0.2.1\t{method}\td1.cloudfront.net\t{path}\t{status}\t-\t"
        f"{quote(agent)}\tv=1\t-\tHit\tabc==\t{host}\thttps"
    )
    front_json = {
        "date": "2026-11-30",
        "time": "12:30:05",
        "cs-method": method,
        "cs-uri-stem": path,
        "sc-status": status,
        "cs(User-Agent)": quote(agent),
        "x-host-header": host,
    }
    return {
        "cloudfront": front.encode(),
        "cloudfront json": json.dumps(front_json).encode(),
        "cloudflare ns": json.dumps({**flare, "EdgeStartTimestamp": int(AT) * 10**9}).encode(),
        "cloudflare s": json.dumps({**flare, "EdgeStartTimestamp": int(AT)}).encode(),
        "cloudflare rfc": json.dumps({**flare, "EdgeStartTimestamp": "2026-11-30T12:30:05Z"}).encode(),
        "fastly json": json.dumps(fastly).encode(),
        "fastly syslog": f"<134>2026-11-30T12:30:05Z cache-1 media[7]: 192.0.2.1 - - {request}".encode(),
        "fastly": f'192.0.2.1 "-" "-" Mon, 30 Nov 2026 12:30:05 GMT {request}'.encode(),
        "combined": f'192.0.2.1 - - [30/Nov/2026:13:30:05 +0100] {request} "-" "{agent}"'.encode(),
        "common": f"192.0.2.1 - - [30/Nov/2026:12:30:05 +0000] {request}".encode(),
    }


def read(line: bytes) -> Request | None:
    reader = LogReader()
    if b"\t" in line:
        for header in HEADERS.splitlines():
            assert reader.read(header) is None
    return reader.read(line)


@pytest.mark.parametrize("name", lines("/"))
def test_each_format_tells_what_was_had_and_when(name: str) -> None:
    found = read(lines(f"/media/{quote(STRANGE, safe='/')}")[name])
    assert found is not None
    assert found.had
    assert (found.method, found.status, found.at) == ("GET", 200, AT)
    assert STRANGE in ADDRESS.keys(found)
    if name in {"cloudfront", "combined", "fastly json"} or "flare" in name:
        assert Uncounted(agents=["googlebot"]).matches(found.agent)
    for status, method, had in (
        (206, "GET", True),
        (304, "HEAD", True),
        (404, "GET", False),
        (200, "PUT", False),
    ):
        other = read(lines("/media/x", status, method)[name])
        assert other is not None
        assert other.had == had


@given(key=KEYS)
def test_each_key_is_read_from_its_path_and_no_other(key: str) -> None:
    for name, line in lines(f"/media/{quote(key, safe='/')}").items():
        found = read(line)
        assert found is not None, name
        keys = ADDRESS.keys(found)
        assert key in keys
        assert len(keys) == 1 or name == "cloudfront"


def test_a_percent_sign_that_cloudfront_may_have_escaped_is_read_both_ways() -> None:
    found = read(lines("/media/a%2520b")["cloudfront"])
    assert found is not None
    assert ADDRESS.keys(found) == ("a%20b", "a b")


def test_what_a_server_escapes_in_its_quotes_is_what_was_sent() -> None:
    for written in (
        rb"/media/a\x22b\xC3\xA9",
        rb"/media/a\"b\xc3\xa9",
        b"https://cdn.example/media/a%22b%C3%A9",
    ):
        line = b'x - - [30/Nov/2026:12:30:05 +0000] "GET ' + written + b' HTTP/1.1" 200 1'
        found = read(line)
        assert found is not None
        assert ADDRESS.keys(found) == ('a"bé',)


@pytest.mark.parametrize(
    ("template", "path", "key"),
    [
        ("https://cdn.example/{key}", "/image/a.png", "image/a.png"),
        ("https://CDN.example:8443/{key}", "/image/a.png", "image/a.png"),
        ("https://other.example/{key}", "/image/a.png", None),
        ("/v1/media/{key}", "/v1/media/image/a.png", "image/a.png"),
        ("/v1/media/{key}", "/v1/medium/image/a.png", None),
        ("/a b/{key}/raw?v=1", "/a%20b/image/a.png/raw", "image/a.png"),
        ("/m/{key}/raw", "/m/image/a.png/raw", "image/a.png"),
        ("/{key}", "/%ff", None),
        ("/{key}", "/a%00b", None),
        ("/{key}", "/", None),
        ("/{key}", "/" + "x" * 3_000, None),
        ("/{key}", "//a", "/a"),
    ],
)
def test_urls_are_read_by_their_template(template: str, path: str, key: str | None) -> None:
    found = read(lines(path)["cloudflare s"])
    assert found is not None
    assert Address.of(template).keys(found) == (() if key is None else (key,))


@pytest.mark.parametrize(
    "template", ["", "https://cdn.example/", "{key}", "cdn.example/{key}", "/{id}/{key}", "/?k={key}"]
)
def test_a_template_without_a_place_for_the_key_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"https://cdn\.example/"):
        Address.of(template)


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"{",
        b"[]",
        b'{"method": "GET"}',
        b'{"method": "GET", "url": "/a", "status": [], "time": 1}',
        b'{"method": "GET", "url": "/a", "status": 200, "time": NaN}',
        b'{"method": "GET", "url": "/a", "status": 200, "time": 1e999}',
        b'{"method": "GET", "url": "/a", "status": 200, "time": -1}',
        b'"GET /a HTTP/1.1" 200 1',
        b'x [99/Nov/2026:12:30:05 +0000] "GET /a HTTP/1.1" 200 1',
        b"2026-11-30\t12:30:05\tDFW3",
        b'x [30/Nov/2026:12:30:05 +0000] "GET /' + b"x" * (1 << 17) + b'" 200 1',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_request_is_said_to_be_unreadable(line: bytes) -> None:
    with pytest.raises(Unreadable):
        read(line)


@given(line=st.binary(max_size=80), begins=st.sampled_from([b"", b"{", b"2026-11-30\t12:30:05\tx\t5\t"]))
def test_no_line_is_more_than_unreadable(line: bytes, begins: bytes) -> None:
    with suppress(Unreadable):
        read(begins + line)
