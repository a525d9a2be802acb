"""Findings on hold are counted, and nothing is done about them."""

from __future__ import annotations

from dataclasses import replace

from reconciler.model import Finding, KeepReason, Tally, Verdict
from reconciler.ports import Holds

LOOKUP_SIZE = 1_000


async def keep_held(holds: Holds, findings: list[Finding]) -> Tally:
    """Mark as kept, in place, the findings whose key is on hold. Returns what that adds to the tally.

    What is kept for another reason stays so. A dangling record on hold does not count as missing: it
    stays, so there is nothing for the dangling cap to hold back.
    """
    kept = missing = 0
    for start in range(0, len(findings), LOOKUP_SIZE):
        page = findings[start : start + LOOKUP_SIZE]
        held = await holds.held([each.storage_key for each in page if each.kept is None])
        for index, finding in enumerate(page, start):
            hold = held.get(finding.storage_key)
            if hold is None or finding.kept is not None:
                continue
            reason = f"{finding.reason}; on hold by {hold.author}: {hold.reason}"
            findings[index] = replace(finding, kept=KeepReason.HOLD, reason=reason)
            kept += 1
            missing += finding.verdict is Verdict.DANGLING
    return Tally(kept={KeepReason.HOLD: kept}, missing=-missing) if kept else Tally()
