"""How findings are counted, and how a run ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from reconciler.model import Finding, KeepReason, Outcome, Tally, Verdict


def outcome(*, failed: bool, halted: bool, tripped: bool, waiting: int) -> Outcome:
    """The first that applies, in the contract's order; `waiting` is how many marks are not yet due."""
    if failed:
        return Outcome.FAILED
    if halted:
        return Outcome.HALTED
    if tripped:
        return Outcome.TRIPPED
    return Outcome.PENDING if waiting else Outcome.CONVERGED


def tally_of(
    findings: Iterable[Finding] = (),
    keeps: Iterable[KeepReason] = (),
    *,
    objects: int = 0,
    records: int = 0,
    size: int = 0,
    missing: int = 0,
) -> Tally:
    """A stretch of a pass, counted. `size` is the bytes listed.

    A finding that is kept counts as found *and* under the reason why it is kept.
    """
    found: Counter[Verdict] = Counter()
    found_bytes: Counter[Verdict] = Counter()
    kept = Counter(keeps)
    for finding in findings:
        found[finding.verdict] += 1
        found_bytes[finding.verdict] += finding.bytes
        if finding.kept is not None:
            kept[finding.kept] += 1
    return Tally(
        objects=objects,
        records=records,
        bytes=size,
        missing=missing,
        found=dict(found),
        found_bytes=dict(found_bytes),
        kept=dict(kept),
    )
