"""What an object and its row say of the same bytes is compared, and nothing is deleted for the answer."""

from __future__ import annotations

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import VERDICTS, Cancel, Content, KeepReason, Verdict
from reconciler.planning.claim_decision import decide
from reconciler.planning.drift_rules import goes
from reconciler.planning.integrity import mismatch
from tests.doubles.build import NOW, mark, policy, record, stored

HASH, OTHER = md5(b"a").hexdigest(), md5(b"b").hexdigest()


def content(size: int | None = None, told: str | None = None) -> Content:
    return Content(storage_key="image/a", virtual_key_id="k1", size_bytes=size, content_hash=told)


@pytest.mark.parametrize(
    ("row", "etag", "says"),
    [
        (content(10), "e1", ""),
        (content(11), "e1", "the row says 11 bytes, the object has 10"),
        (content(0), "e1", ""),
        (content(None), "e1", ""),
        (content(10, HASH.upper()), HASH, ""),
        (content(10, OTHER), HASH, f"the row says MD5 {OTHER}, the object has {HASH}"),
        (content(10, f"{OTHER[:8]}-{OTHER[8:]}"), HASH, f"the row says MD5 {OTHER}, the object has {HASH}"),
        (content(10, OTHER), f"{HASH}-2", ""),
        (content(10, OTHER * 2), HASH, ""),
        (content(10, ""), HASH, ""),
    ],
    ids=["same", "size", "zero", "none", "case", "hash", "uuid", "parts", "sha256", "empty"],
)
def test_what_both_sides_know_is_compared(row: Content, etag: str, says: str) -> None:
    found = mismatch(stored(etag=etag), row)
    assert (found.reason if found else "") == says


@given(
    st.none() | st.integers(0, 99), st.none() | st.text(max_size=40), st.integers(0, 99), st.text(max_size=40)
)
def test_it_never_goes(size: int | None, told: str | None, there: int, etag: str) -> None:
    found = mismatch(stored(size=there, etag=etag), content(size, told))
    if found is not None:
        assert (found.verdict, found.kept) == (Verdict.MISMATCH, KeepReason.MISMATCH)
        assert not goes(found)


def test_no_mark_of_it_would_be_carried_out() -> None:
    """Not even one that something else had written."""
    assert Verdict.MISMATCH not in VERDICTS
    assert not policy().allows(Verdict.MISMATCH)
    assert isinstance(decide(mark(Verdict.MISMATCH), [record()], policy(), NOW), Cancel)
