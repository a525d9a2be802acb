"""Report the result of a batch: counts for the metrics, one line for the log."""

from collections import Counter

import structlog

from reconciler.engine.collect.answers import Answers
from reconciler.model import GONE, REASONS_TOLD, Claim, Mode, ObjectResult, Removed, Verdict
from reconciler.ports import Observer

log = structlog.get_logger(__name__)


def tell(observer: Observer, claim: Claim, answers: Answers, removed: Removed, seconds: float) -> None:
    """Count and log a confirmed batch, `seconds` after it was begun."""
    _count(observer, claim, answers, removed)
    results = Counter(str(answers.results[key.mark.storage_key][0]) for key in claim.keys)
    log.info(
        "batch collected",
        keys=len(claim.keys),
        objects=removed.objects,
        records=removed.records,
        bytes=removed.bytes,
        failed=removed.failed,
        results=dict(results),
        seconds=round(seconds, 3),
    )
    for each in removed.reasons:
        log.info("key not deleted", storage_key=each.storage_key, reason=each.reason)
    if held := results[str(ObjectResult.HELD)]:
        log.error(
            "objects that cannot be deleted, or not so that they could come back, are on hold", held=held
        )
    if removed.lost:
        log.error("records became live after their objects were deleted", lost=removed.lost)


def log_refused(claim: Claim) -> None:
    """Log keys that stay because the database does not let their rows go; the first few by name."""
    for each in claim.refused[:REASONS_TOLD]:
        log.warning("the database refuses to delete a row", storage_key=each.storage_key, reason=each.reason)
    if len(claim.refused) > REASONS_TOLD:
        log.warning("the database refuses to delete more rows", keys=len(claim.refused))


def _count(observer: Observer, claim: Claim, answers: Answers, removed: Removed) -> None:
    counts: Counter[tuple[Verdict, ObjectResult]] = Counter()
    sizes: Counter[tuple[Verdict, ObjectResult]] = Counter()
    for key in claim.keys:
        result, _ = answers.results[key.mark.storage_key]
        counts[key.mark.verdict, result] += 1
        # A dangling record never had an object, whatever size it states.
        went = result in GONE and key.decision.delete_object
        sizes[key.mark.verdict, result] += key.mark.bytes if went else 0
    for (verdict, result), number in counts.items():
        observer.deleted(Mode.LIVE, verdict, result, number, sizes[verdict, result])
    first = claim.keys[0].mark.verdict
    for what, number in (("record", removed.records), ("lost", removed.lost)):
        observer.deleted(Mode.LIVE, first, what, number, 0)
