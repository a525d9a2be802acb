"""The answer of DeleteObjects: what the store says of each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from reconciler.bucket.faults import Refusal
from reconciler.bucket.parsing import error_document, local_name


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAnswer:
    """The keys that are gone, and the refusal of each key that is not. A key may be in neither."""

    deleted: frozenset[str]
    refused: Mapping[str, Refusal]


def parse_delete_answer(body: bytes) -> DeleteAnswer:
    """Read a verbose DeleteObjects answer. A key in both lists counts as refused.

    Raises Refusal, transient, for an error document inside a 200 or a body that is cut off: then
    nothing is known of any key, and asking again is harmless.
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
    deleted, refused = set[str](), dict[str, Refusal]()
    for element in root:
        fields = {local_name(field): field.text or "" for field in element}
        if local_name(element) == "Deleted":
            deleted.add(fields.get("Key", ""))
        elif local_name(element) == "Error":
            refused[fields.get("Key", "")] = _refusal(fields)
    return DeleteAnswer(deleted=frozenset(deleted - refused.keys()), refused=refused)


def _refusal(fields: Mapping[str, Any]) -> Refusal:
    return Refusal(fields.get("Code", "UnknownError"), fields.get("Message", ""), status=200)
