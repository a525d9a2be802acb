"""Erasures with proof, and their certificates, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler import model

if TYPE_CHECKING:
    from reconciler.operations.erasures import Replay
    from reconciler.planning.certificates import Checked
from reconciler.operations.as_json.values import Json, fields


def erasure(of: model.ErasureCase, document: Mapping[str, Any] | None = None) -> Json:
    """An erasure with proof. `subject` is empty once it is done, `certificate` its number, null before, and
    `document` the certificate itself where it was asked for; `waits_for` says why it is not done.
    """
    names = ("id", "kind", "state", "author", "reason", "ordered_at", "finished_at", "replays", "keys")
    counts = ("rows_removed", "texts_removed", "versions_removed", "uploads_aborted")
    return {
        **fields(of, *names),
        "subject": list(of.subject),
        "waits_for": of.said,
        **fields(of, *counts),
        "certificate": of.number,
        "document": document,
    }


def certificate(of: Checked) -> Json:
    """What a check found of one certificate; `signed_by` null is unsigned."""
    return {
        "file": of.name,
        "good": of.good,
        "number": of.number or None,
        "digest": of.digest or None,
        "signed_by": of.key or None,
        "faults": list(of.faults),
    }


def replay(of: Replay, *, dry_run: bool) -> Json:
    """What came back with a backup: certificates that the database did not know, and what it has of them."""
    return {
        "certificates": [certificate(each) for each in of.newer],
        "virtual_keys": of.owners,
        "storage_keys": of.keys,
        "ordered": [str(each) for each in of.ordered],
        "dry_run": dry_run,
    }
