"""What a store's refusal is about: by its code, its status, its words, and the answer for the identity."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from reconciler.errors import Halt, KeyRefused, ReconcilerError, StoreFull, StoreUnavailable
from reconciler.model import Blame
from reconciler.stores.s3.faults import BucketAddress, Refusal
from reconciler.stores.s3.refusals import Kind, kind_of
from reconciler.stores.s3.witness import Witness


@pytest.mark.attack(72)
@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        ("AccessDenied", 403, "Bucket quota has been exceeded", Kind.FULL),
        ("EntityTooLarge", 400, "Upload exceeds your quota", Kind.FULL),
        ("Unheard", 400, "write: no space left on device", Kind.FULL),
        ("Unheard", 507, "", Kind.FULL),
        ("InternalError", 500, "the disk is full of quota words", Kind.TRANSIENT),
        ("KMS.NotFoundException", 400, "", Kind.KEYLESS),
        ("AccessDenied", 403, "Access Denied because object protected by object lock.", Kind.LOCKED),
        ("AccessDenied", 403, "bucket/legal-hold/quota.png", Kind.DENIED),
        ("Unheard", 404, "", None),
        ("Unheard", 503, "", Kind.THROTTLED),
        ("Unheard", 522, "", Kind.TRANSIENT),
        ("Unheard", 0, "", Kind.TRANSIENT),
    ],
)
def test_a_refusal_is_about_what_its_code_or_else_its_status_and_words_say(
    code: str, status: int, message: str, kind: Kind | None
) -> None:
    assert kind_of(code, status, message) is kind


MEANT: list[tuple[ReconcilerError | Refusal, Blame, type[ReconcilerError]]] = [
    (Refusal("XMinioStorageFull", "", status=507), Blame.STORE, StoreFull),
    (Refusal("KMS.DisabledException", "", status=400), Blame.STORE, StoreFull),
    (Refusal("InvalidObjectState", "", status=403), Blame.OBJECT, KeyRefused),
    (Refusal("AccessDenied", "", status=403), Blame.KEY, Halt),
    (Refusal("Unheard", "", status=400), Blame.KEY, StoreUnavailable),
    (StoreUnavailable("no answer"), Blame.MOMENT, StoreUnavailable),
]


@pytest.mark.attack(72)
@pytest.mark.attack(73)
@pytest.mark.anyio
@pytest.mark.parametrize(("why", "blame", "otherwise"), MEANT)
async def test_the_identitys_answer_tells_a_refusal_about_the_key_from_one_about_the_store(
    why: StoreUnavailable | Refusal, blame: Blame, otherwise: type[ReconcilerError]
) -> None:
    place = BucketAddress(bucket="media", endpoint_url=None)
    calls: Any = SimpleNamespace(place=place)
    for answered in (True, False):
        witness = Witness(calls)
        witness._answered["CopyObject"] = (anyio.current_time(), answered)
        error = await witness.blame("CopyObject", "image/a", why)
        if answered:
            assert isinstance(error, KeyRefused)
            assert error.blame is blame
        else:
            assert type(error) is otherwise
