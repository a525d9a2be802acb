"""Keep findings on hold: they are counted, and nothing else is done about them."""

from dataclasses import replace

from reconciler.model import Finding, KeepReason, Tally, Verdict
from reconciler.ports import Holds

LOOKUP_SIZE = 1_000


async def keep_held(holds: Holds, findings: list[Finding]) -> Tally:
    """Mark as kept, in place, the findings whose key is on hold. Returns the addition to the tally.

    A finding kept for another reason keeps that reason. A dangling record on hold does not count as
    missing: it stays, so the dangling cap has nothing to hold back.
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
            missing += finding.verdict is Verdict.DANGLING and not finding.by_store
    return Tally(kept={KeepReason.HOLD: kept}, missing=-missing) if kept else Tally()
