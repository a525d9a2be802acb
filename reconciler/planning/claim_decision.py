"""The final decision on a mark: the same judgement again, on what the database says at the claim.

===========  ===============================  ======================================================
mark         rows that name the key now       decision
===========  ===============================  ======================================================
any          key outside the prefixes, or     cancel: should the settings come back, a later pass
             protected by its shape           marks it again, with a new delay
any          clean-up of its kind off         put off
orphan       any                              cancel: a record names it now
orphan       none                             the object goes; within its grace (the settings may
                                              have changed) it is put off
departed     any                              cancel: a record names it
departed     none                             the object goes
retention    none                             cancel: the sweep judges the object
retention    every row says so                object and rows go
retention    some say so                      those rows go, the object stays for the others
retention    none says so, or the row's rule  cancel
             keeps what it says
expired,     ownerless by now                 that row stays, and is marked as such by a later pass
stale
dangling     none                             cancel
dangling     any within its grace             put off: its object may be on its way
dangling     dangling, or due by retention    those rows go, once the object is proven absent
a variant's  none                             the object goes, as its record did
a variant's  any                              cancel: something names it, and that stays
===========  ===============================  ======================================================

A dangling mark never takes an object with it, even if its rows have become due by retention: if there is
an object after all, the retention pass marks it under its own breaker.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from reconciler.model import (
    WITHOUT_ROW,
    Cancel,
    Decision,
    Finding,
    KeepReason,
    Mark,
    OwnerRead,
    PassKind,
    Policy,
    Postpone,
    Record,
    RecordRef,
    Remove,
    Verdict,
)
from reconciler.planning import drift_rules
from reconciler.planning.keys import protection
from reconciler.planning.retention import judge_record

_DISABLED = Postpone(reason="this kind of clean-up is switched off")


def decide(mark: Mark, records: Sequence[Record], policy: Policy, now: datetime) -> Decision:
    """Whether the mark's key is deleted after all, and which of the rows. See the module's table.

    `records` is every row that names the key, read after the mark was locked; `now` is the server's
    time.
    """
    protected = protection(mark.storage_key, policy)
    if protected is not None:
        return Cancel(reason=f"the key is protected now: {protected.value}")
    if mark.variant_of is not None:
        return _variant(records)
    if mark.verdict in WITHOUT_ROW:
        return _without_row(mark, records, policy, now)
    if mark.verdict is Verdict.DANGLING:
        return _dangling(mark, records, policy, now)
    if mark.verdict.spec.found_by is PassKind.RETENTION:
        return _retention(mark, records, policy, now)
    return Cancel(reason=f"{mark.verdict.value} removes nothing")


def _without_row(mark: Mark, records: Sequence[Record], policy: Policy, now: datetime) -> Decision:
    if records:
        return Cancel(reason="a record names it now")
    if not policy.allows(mark.verdict):
        return _DISABLED
    # What departed had a record: its upload was complete.
    if mark.verdict is Verdict.ORPHAN and not drift_rules.past(mark.object_last_modified, policy, now):
        return Postpone(reason="within the grace period, as it is set now")
    return Remove()


def _variant(records: Sequence[Record]) -> Decision:
    """Decide on a further object of a record, such as its thumbnail, once the record itself is settled."""
    return Cancel(reason="something names it, and that stays") if records else Remove()


def _retention(mark: Mark, records: Sequence[Record], policy: Policy, now: datetime) -> Decision:
    if not records:
        return Cancel(reason="its record is gone; the sweep judges the object")
    verdicts = [(record, judge_record(record, policy, now)) for record in records]
    due = [(record, finding) for record, finding in verdicts if drift_rules.goes(finding)]
    # The deletion waits for writers of keys only if the verdict reads an owner.
    reads_owner = policy.owner_read(mark.verdict) is not OwnerRead.NOTHING
    going = [record for record, finding in due if reads_owner or not _ownerless(finding)]
    if going:
        return Remove(records=_refs(going), delete_object=len(going) == len(records))
    if due:
        return Cancel(reason="its virtual key is gone now; a later pass marks it for that")
    found = [finding.verdict for _, finding in verdicts if finding is not None]
    if any(not policy.may_allow(verdict) for verdict in found):
        return _DISABLED
    if not found and mark.verdict.spec.sums:
        return Cancel(reason="its owner is not over the quota now, or keeps what else is evicted first")
    return Cancel(reason="its rule keeps its record now" if found else "its record is to be kept now")


def _dangling(mark: Mark, records: Sequence[Record], policy: Policy, now: datetime) -> Decision:
    if not records:
        return Cancel(reason="its record is gone")
    if not policy.allows(mark.verdict):
        return _DISABLED
    verdicts = [(record, _missing(record, policy, now)) for record in records]
    if any(verdict is KeepReason.PENDING for _, verdict in verdicts):
        return Postpone(reason="a record that names it is within its grace period")
    going = [record for record, verdict in verdicts if drift_rules.goes(verdict)]
    if not going:
        return _DISABLED
    return Remove(records=_refs(going), delete_object=False, verify_absence=True)


def _missing(record: Record, policy: Policy, now: datetime) -> Finding | KeepReason | None:
    return judge_record(record, policy, now) or drift_rules.judge_missing(record, policy, now)


def _ownerless(finding: Finding | None) -> bool:
    return finding is not None and finding.verdict is Verdict.OWNERLESS


def _refs(records: Iterable[Record]) -> tuple[RecordRef, ...]:
    return tuple(RecordRef(id=record.id, version=record.version) for record in records)
