"""What both joins share: the two sides, how findings are judged, and where they go."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.engine.detect.adoptable import Adoptable
from reconciler.engine.detect.join.doubt import Doubt
from reconciler.engine.detect.join.integrity import Integrity
from reconciler.engine.detect.lost_objects import Returns
from reconciler.engine.detect.near_misses import Spelled
from reconciler.errors import ListingBroken
from reconciler.model import (
    Finding,
    KeepReason,
    LifecycleRule,
    Nominated,
    ObjectPage,
    Policy,
    RangeProgress,
    Record,
    StoredObject,
    Tally,
)
from reconciler.model.keys import merge_prefixes
from reconciler.planning import approval_gate, drift_rules, inventories, lifecycle
from reconciler.planning.reporting import named_by_prefix, tally_of
from reconciler.ports import PAGE_SIZE, Departures, Holds, Listing, Observer, Records


class Sink(Protocol):
    """Where a join's findings go: marks in the database, or an operator's screen."""

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None: ...


@dataclasses.dataclass(slots=True)
class Classes:
    """Whether all objects listed so far are of the standard storage class."""

    plain: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What both joins need: the two sides, and the frozen policy and cutoff by which they judge."""

    listing: Listing
    records: Records
    departures: Departures
    holds: Holds
    returns: Returns
    observer: Observer
    policy: Policy
    now: datetime
    doubt: Doubt
    spelled: Spelled
    integrity: Integrity
    adoptable: Adoptable
    page_size: int = PAGE_SIZE
    """Keys a page of the join without order: pages that end elsewhere show what a store leaves out there."""
    before: Policy | None = None
    """The policy by which the last released pass judged, if it was a different one."""
    classes: Classes = dataclasses.field(default_factory=Classes)
    nominated: Nominated | None = None
    """The inventory that was compared, where it was no listing."""
    upload_window: timedelta = timedelta(0)
    store_rules: Sequence[LifecycleRule] = ()
    """The rules by which the store expires objects by itself."""

    def judge_object(self, stored: StoredObject) -> Finding | KeepReason:
        """An object without a row."""
        if self.nominated is None:
            return drift_rules.judge_object(stored, self.policy, self.now)
        return inventories.judge_object(stored, self.policy, self.nominated.read_at, self.upload_window)

    def judge_missing(self, row: Record) -> Finding | KeepReason | None:
        """A row without an object."""
        if self.nominated is None:
            found = drift_rules.judge_missing(row, self.policy, self.now)
        else:
            found = inventories.judge_missing(row, self.policy, self.now, self.nominated.used.began_at)
        if isinstance(found, Finding) and (why := self._expired_by_store(row)):
            return dataclasses.replace(found, reason=f"{why}; {found.reason}")
        return found

    def counts_as_missing(self, row: Record) -> bool:
        """Whether such a row counts towards the dangling cap: not where the store expired its object."""
        if self.nominated is None:
            counts = drift_rules.counts_as_missing(row, self.policy, self.now)
        else:
            counts = inventories.counts_as_missing(row, self.policy, self.now, self.nominated.used.began_at)
        return counts and not self._expired_by_store(row)

    def _expired_by_store(self, row: Record) -> str:
        return lifecycle.expired_by_store(row, self.store_rules, self.now)

    def listed(self, page: ObjectPage) -> None:
        """Count a page, and stamp the sweep's progress."""
        self.classes.plain &= page.plain
        self.observer.page_listed(len(page.keys))
        self.observer.alive("sweep")


async def judge_objects(
    context: Comparison, objects: Sequence[StoredObject], findings: list[Finding]
) -> Tally:
    """Judge objects without a row, adding to `findings`. An object that another column names is none, and one
    whose row has left is marked for that.
    """
    keys = [stored.key for stored in objects]
    named: Collection[str] = ()
    marked: Collection[str] = ()
    if keys:
        named = await context.records.referenced(keys)
        marked = await context.departures.marked(keys)
    left = [stored for stored in objects if stored.key not in named and stored.key not in marked]
    judged = [_judge_object(context, stored) for stored in left if not context.doubt.disguises(stored)]
    verdicts = await context.adoptable.told(judged)
    prefixes = merge_prefixes(context.policy.prefixes)
    return _gather(findings, verdicts) + named_by_prefix(named, prefixes) + Tally(alone=len(verdicts))


def judge_rows(
    context: Comparison, rows: Iterable[Record], recoverable: Collection[str], findings: list[Finding]
) -> Tally:
    """Judge rows without an object, adding to `findings`.

    Rows that retention removes anyway are its findings, but count as missing all the same. Rows whose object
    is `recoverable` are found, and neither count as missing nor are to be deleted.
    """
    rows = list(rows)
    verdicts = [
        _judge_row(context, row, verdict, recoverable) if isinstance(verdict, Finding) else verdict
        for row in rows
        if (verdict := context.judge_missing(row)) is not None
    ]
    missing = sum(context.counts_as_missing(row) for row in rows if row.storage_key not in recoverable)
    return _gather(findings, verdicts) + Tally(missing=missing)


def next_token(page: ObjectPage, asked: str | None) -> str | None:
    """The page's token. Raises ListingBroken if it is the one that the request was sent with."""
    if page.next_token is not None and page.next_token == asked:
        message = f"the listing repeats its continuation token {asked!r}: it would never end"
        raise ListingBroken(message)
    return page.next_token


def _judge_object(context: Comparison, stored: StoredObject) -> Finding | KeepReason:
    verdict = context.judge_object(stored)
    if not isinstance(verdict, Finding):
        return verdict
    return approval_gate.split_new(verdict, stored, context.before, context.now)


def _judge_row(context: Comparison, row: Record, finding: Finding, recoverable: Collection[str]) -> Finding:
    if row.storage_key not in recoverable:
        return approval_gate.split_new(finding, row, context.before, context.now)
    reason = f"{finding.reason}; its object is hidden, and is brought back"
    return dataclasses.replace(finding, kept=finding.kept or KeepReason.RECOVERABLE, reason=reason)


def _gather(findings: list[Finding], verdicts: Iterable[Finding | KeepReason]) -> Tally:
    found: list[Finding] = []
    kept: list[KeepReason] = []
    for verdict in verdicts:
        if isinstance(verdict, Finding):
            found.append(verdict)
        else:
            kept.append(verdict)
    findings += found
    return tally_of(found, kept)
