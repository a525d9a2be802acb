"""Read answers to DeleteObjects: what the store says about each key, and the result for that key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

from reconciler.model import Blame, DeletionResult, ObjectResult
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import error_document, local_name
from reconciler.stores.s3.refusals import OF_ONE, OF_THE_STORE


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAnswer:
    """The keys that are gone, and the refusal of each key that is not. A key may be in neither.

    `unasked` holds keys that the answer reports as deleted although the request did not name them.
    """

    deleted: frozenset[str]
    refused: Mapping[str, Refusal]
    unasked: frozenset[str] = frozenset()
    markers: Mapping[str, str] = field(default_factory=dict)
    """The ids of the delete markers that were made, by key."""

    def and_of(self, other: DeleteAnswer) -> DeleteAnswer:
        """Combine two answers about different keys."""
        return DeleteAnswer(
            deleted=self.deleted | other.deleted,
            refused={**self.refused, **other.refused},
            unasked=self.unasked | other.unasked,
            markers={**self.markers, **other.markers},
        )

    @property
    def outcome(self) -> str:
        """One of `config.OUTCOMES`. A 200 that refuses keys with a throttling code counts as throttled."""
        throttled = any(refusal.outcome == "throttled" for refusal in self.refused.values())
        return "throttled" if throttled else "ok"


def parse_delete_answer(body: bytes) -> DeleteAnswer:
    """Read a verbose DeleteObjects answer. A key in both lists counts as refused.

    Raises a transient Refusal for an error document inside a 200, or a body that is cut off. Nothing is
    known of any key then, and a repeated request is harmless.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314 - expat bounds the growth of entities itself
    except ET.ParseError as error:
        raise Refusal("Unreadable", f"the answer is cut off or not XML: {error}", status=0) from None
    name = local_name(root)
    if name == "Error":
        raise error_document(root)
    if name not in {"DeleteResult", "DeleteObjectsOutput"}:
        raise Refusal("Unreadable", f"the answer is a document of another kind, <{name[:40]}>", status=0)
    deleted, refused, markers = set[str](), dict[str, Refusal](), dict[str, str]()
    for element in root:
        fields = {local_name(field): field.text or "" for field in element}
        if local_name(element) == "Deleted":
            deleted.add(fields.get("Key", ""))
            if fields.get("DeleteMarker") == "true":
                markers[fields.get("Key", "")] = fields.get("DeleteMarkerVersionId", "")
        elif local_name(element) == "Error":
            refused[fields.get("Key", "")] = _refusal(fields)
    return DeleteAnswer(deleted=frozenset(deleted - refused.keys()), refused=refused, markers=markers)


def _refusal(fields: Mapping[str, Any]) -> Refusal:
    return Refusal(fields.get("Code", "UnknownError"), fields.get("Message", ""), status=200)


def read_answer(answer: Mapping[str, Any]) -> DeleteAnswer:
    """Parse the response that `hooks` passes on unparsed."""
    return parse_delete_answer(answer["Body"])


# --- the result for one key ----------------------------------------------------------------------------


def result_of(key: str, answer: DeleteAnswer) -> DeletionResult:
    """A key that the answer does not mention is FAILED."""
    if key in answer.deleted:
        return DeletionResult(key=key, result=ObjectResult.DELETED, marker_id=answer.markers.get(key))
    refusal = answer.refused.get(key)
    if refusal is None:
        return failed(key, _unmentioned(answer.unasked))
    return refused(key, refusal)


def _unmentioned(unasked: Collection[str]) -> str:
    """Not every store checks the digest of a batch, so a byte changed in transit can name another key."""
    if not unasked:
        return "the store's answer does not mention the key"
    names = ", ".join(map(repr, sorted(unasked)[:3]))
    return (
        f"the store's answer omits the key, and says that {names} is gone, which was not asked for:"
        " bytes were changed on the way there or back. See whether it is still there, and use https"
    )


def refused(key: str, refusal: Refusal) -> DeletionResult:
    """404 counts as done (I-37), 412 as another object, a lock as HELD; all else is a failure of this key.

    A code that the closed list assigns neither to one object nor to the store is blamed on the moment. The
    caller may find out more.
    """
    if refusal.missing:
        return DeletionResult(key=key, result=ObjectResult.MISSING)
    if refusal.changed:
        return DeletionResult(key=key, result=ObjectResult.CHANGED, detail=str(refusal))
    if refusal.locked:
        return held(key, str(refusal))
    blame = Blame.STORE if refusal.kind in OF_THE_STORE else Blame.MOMENT
    return failed(key, str(refusal), Blame.OBJECT if refusal.kind in OF_ONE else blame)


def held(key: str, detail: str, until: datetime | None = None) -> DeletionResult:
    return DeletionResult(key=key, result=ObjectResult.HELD, detail=detail, held_until=until)


def failed(key: str, detail: str, blame: Blame = Blame.MOMENT) -> DeletionResult:
    return DeletionResult(key=key, result=ObjectResult.FAILED, detail=detail, blame=blame)
