"""What is said of a medium: nothing that a browser would run, and nothing that a header could carry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.media import describing, links, paths
from reconciler.media.access import Grant
from reconciler.model import Owner, StoredMedium

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("video/mp4; codecs=avc1", "video/mp4"),
        ("audio/ogg", "audio/ogg"),
        ("image/svg+xml", describing.BYTES),
        ("image/SVG+XML; charset=utf-8", describing.BYTES),
        ("image/svg", describing.BYTES),
        ("image/x+xml", describing.BYTES),
        ("text/html", describing.BYTES),
        ("application/xhtml+xml", describing.BYTES),
        ("application/javascript", describing.BYTES),
        ("application/pdf", describing.BYTES),
        ("image/png\r\nX-Evil: 1", describing.BYTES),
        ("image/png, text/html", describing.BYTES),
        ("image/", describing.BYTES),
        ("", describing.BYTES),
    ],
)
def test_what_could_run_is_sent_as_bytes_to_save(stored: str, sent: str) -> None:
    kind = describing.content_type(stored)
    assert kind == sent
    how = "attachment" if kind == describing.BYTES else "inline"
    assert describing.disposition(kind, "a/b.png") == f'{how}; filename="b.png"'


@given(kind=st.text(max_size=40), key=KEYS, encoding=st.text(max_size=10), owner=st.text(max_size=10))
def test_no_text_of_a_writer_makes_a_header_of_its_own(
    kind: str, key: str, encoding: str, owner: str
) -> None:
    medium = StoredMedium(size=1, etag='"x"', modified=None, content_type=kind, content_encoding=encoding)
    grant = Grant(owner=Owner(id=owner), shared=False, seconds_left=None)
    told = describing.of_medium(medium, key) | describing.of_grant(grant, 60)
    for name, text in told.items():
        assert re.fullmatch(r"[\x20-\x7e]+", text), name
    assert re.fullmatch(
        r'(inline|attachment); filename="[A-Za-z0-9._ -]+"(; filename\*=UTF-8\'\'[A-Za-z0-9._~%-]+)?',
        told["Content-Disposition"],
    )


@given(key=KEYS)
def test_each_key_has_its_path_and_no_other(key: str) -> None:
    ends = 1
    made = links.make({"a": "b" * 32}, links.Subject(key=key, owner="7"), ends)
    written = made.removeprefix("/v1/media/").partition("?")[0]
    dotted = {".", ".."} & set(key.split("/"))
    assert paths.storage_key(written) == (None if dotted or len(key.encode()) > paths.LONGEST else key)


@pytest.mark.parametrize(
    ("cache_for", "left", "shared", "told"),
    [
        (60, None, True, "public, max-age=60"),
        (60, None, False, "private, max-age=60"),
        (60, 59.9, True, "public, max-age=59"),
        (60, 0.9, True, "no-store"),
        (60, -1.0, False, "no-store"),
        (0, None, True, "no-store"),
    ],
)
def test_no_cache_outlives_the_medium(cache_for: float, left: float | None, shared: bool, told: str) -> None:
    grant = Grant(owner=Owner(id="7"), shared=shared, seconds_left=left)
    assert describing.cache_control(grant, cache_for) == told
    headers = describing.of_grant(grant, cache_for)
    assert headers["Cache-Tag"] == "vk-7"
    assert ("Vary" in headers) == (not shared)


def test_links_made_within_five_minutes_are_the_same_and_last_as_long_as_they_should() -> None:
    ends = {links.end_of(now, 3_600) for now in (1_200.5, 1_300.0, 1_499.9)}
    assert ends == {5_100}
    assert links.end_of(1_200.0, 300) == 1_500


def test_a_file_of_secrets_is_read_again_and_told_of_without_what_stands_there(tmp_path: Path) -> None:
    file, warned = tmp_path / "secrets", list[str]()
    known = links.LinkSecrets(str(file), warned.append)
    assert known.look() == {}
    file.write_text(f"# made in May\nmay {'m' * 32}\nshort secret\n\napril {'a' * 40}\nmay {'x' * 32}\n")
    assert list(known.look().items()) == [("may", "m" * 32), ("april", "a" * 40)]
    assert warned[0].startswith("cannot be read")
    assert warned[1].startswith("line 3 is not")
    assert not any("secret\n" in line or "short" in line for line in warned)
    assert links.LinkSecrets(None, warned.append).look() == {}
