"""A round in dry run: report, mark by mark, what a live round would do, and do none of it."""

from collections.abc import Sequence

import structlog

from reconciler.engine.collect.rules import decider, enabled
from reconciler.engine.runtime.context import Ports, RuntimeSettings
from reconciler.engine.runtime.variants import Along
from reconciler.model import RETENTION_VERDICTS, DueKey, Mode, ObjectResult, Removed, Term
from reconciler.ports import Observer

log = structlog.get_logger(__name__)


async def preview(ports: Ports, term: Term, settings: RuntimeSettings, *, report_again: bool) -> Removed:
    """Report every due mark once; with `report_again`, also those that an earlier dry run has reported.

    Raises LeaseLost, CatalogUnavailable.
    """
    total, along = Removed(), Along(ports, settings.policy)
    async for page in ports.marks.due(settings.policy, enabled(settings), decider(settings)):
        unseen = [due for due in page if not due.seen]
        reported = page if report_again else unseen
        for due in reported:
            total += _removed(due)
        total += await _besides(along, reported)
        for due in unseen:
            _report(ports.observer, due)
        await ports.marks.note_preview(term, [due.mark.storage_key for due in unseen])
        if unseen:
            log.info("batch previewed: nothing was deleted", keys=len(unseen), bytes=_bytes(unseen))
    return total


async def _besides(along: Along, page: Sequence[DueKey]) -> Removed:
    """Further objects of records that retention would remove."""
    rows = {
        ref.id: due.mark.storage_key
        for due in page
        if due.mark.verdict in RETENTION_VERDICTS
        for ref in due.decision.records
    }
    going = await along.of(rows)
    return Removed(objects=len(going), bytes=sum(stored.size for _, stored in going))


def _removed(due: DueKey) -> Removed:
    goes = due.decision.delete_object
    return Removed(objects=int(goes), records=len(due.decision.records), bytes=_bytes([due]))


def _bytes(page: Sequence[DueKey]) -> int:
    """The total size of the objects that would be deleted; a row whose object is missing counts zero."""
    return sum(due.mark.bytes for due in page if due.decision.delete_object)


def _report(observer: Observer, due: DueKey) -> None:
    """Count what a live round would do if everything goes as expected."""
    verdict = due.mark.verdict
    if due.decision.delete_object:
        observer.deleted(Mode.DRY_RUN, verdict, ObjectResult.DELETED, 1, due.mark.bytes)
    else:
        result = ObjectResult.MISSING if due.decision.verify_absence else ObjectResult.UNTOUCHED
        observer.deleted(Mode.DRY_RUN, verdict, result, 1, 0)
    observer.deleted(Mode.DRY_RUN, verdict, "record", len(due.decision.records), 0)
