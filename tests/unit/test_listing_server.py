"""The benchmarks' listing server, held to what a store promises: every key once, in byte order."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import httpx
import pytest

from tools.benchmarks.corpus import keys_by_day

ROOT = Path(__file__).parents[2]
KEYS = sorted(
    [f"image/{n:03}/{n * 7919 % 1000:04}.png" for n in range(60)] + ["image/0", "image0", "video/z"]
)
TOKEN = re.compile("<NextContinuationToken>(.+?)</NextContinuationToken>")


@contextmanager
def listing_server(*options: str) -> Iterator[httpx.Client]:
    """A server of its own, which ends with the pipe that it reads."""
    command = [sys.executable, "-m", "tools.benchmarks.listing_server", "--end-with-stdin", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                yield client
        finally:
            server.stdin.close()
            assert server.wait(10) == 0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    key_file = tmp_path_factory.mktemp("keys") / "keys"
    key_file.write_text("\n".join(KEYS))
    with listing_server("--key-file", str(key_file)) as client:
        yield client


def page(client: httpx.Client, **query: str | int) -> tuple[list[str], str | None]:
    """The keys of one page, and the token of the next."""
    parameters = {name.replace("_", "-"): value for name, value in query.items()}
    text = client.get("/bench", params={"list-type": 2, **parameters}).raise_for_status().text
    keys = re.findall("<Key>(.+?)</Key>", text)
    assert f"<KeyCount>{len(keys)}</KeyCount>" in text
    token = TOKEN.search(text)
    assert f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>" in text
    return keys, token[1] if token else None


@pytest.mark.parametrize("prefix", ["", "image/", "image/0", "video/", "none/", "zz"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pages_by_token_hold_every_key_of_the_prefix_once(
    client: httpx.Client, prefix: str, size: int
) -> None:
    keys, token = page(client, prefix=prefix, max_keys=size)
    while token:
        more, token = page(client, prefix=prefix, max_keys=size, continuation_token=token)
        assert more
        keys += more
    assert keys == [key for key in KEYS if key.startswith(prefix)]


@pytest.mark.parametrize("after", ["", "a", "image/", "image/0", "image/030", KEYS[-1], "zzz"])
@pytest.mark.parametrize("prefix", ["", "image/", "video/"])
def test_start_after_begins_behind_the_key_named(client: httpx.Client, prefix: str, after: str) -> None:
    keys, _ = page(client, prefix=prefix, start_after=after)
    assert keys == [key for key in KEYS if key.startswith(prefix) and key > after]


def test_reserved_objects_are_stored_listed_and_removed(client: httpx.Client) -> None:
    path = "/bench/.reconciler/identity"
    etag = client.put(path, content=b"who").raise_for_status().headers["etag"]
    assert client.get(path).content == b"who"
    first, token = page(client, max_keys=2)
    assert first == [".reconciler/identity", KEYS[0]]
    assert token
    assert page(client, max_keys=1, continuation_token=token)[0] == [KEYS[1]]
    assert client.delete(path, headers={"If-Match": '"other"'}).status_code == 412
    assert client.delete(path, headers={"If-Match": etag}).status_code == 204
    assert client.head(path).status_code == 404


def test_a_batch_of_deletions_takes_reserved_objects(client: httpx.Client) -> None:
    name = ".reconciler/a & \u00fc"
    client.put(f"/bench/{quote(name)}", content=b"x").raise_for_status()
    assert page(client, prefix=".reconciler/", encoding_type="url")[0] == [quote(name)]
    body = f"<Delete><Object><Key>{escape(name)}</Key></Object></Delete>".encode()
    answer = client.post("/bench?delete", content=body)
    assert f"<Deleted><Key>{escape(name)}</Key></Deleted>" in answer.text
    assert page(client, prefix=".reconciler/")[0] == []


def test_another_bucket_does_not_exist(client: httpx.Client) -> None:
    response = client.get("/other", params={"list-type": 2})
    assert response.status_code == 404
    assert "<Code>NoSuchBucket</Code>" in response.text


def test_the_made_up_keys_are_the_same_in_every_start(tmp_path: Path) -> None:
    expected = [key for _, keys in keys_by_day(2500) for key in keys]
    assert expected == sorted(set(expected))
    for _ in range(2):
        with listing_server("--keys", "2500", "--cache", str(tmp_path), "--delay-ms", "1") as client:
            keys, token = page(client)
            while token:
                more, token = page(client, continuation_token=token)
                keys += more
        assert keys == expected
