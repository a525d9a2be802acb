"""One pass: its policy and limits, what it found, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from reconciler.model.enums import DeleteMode, KeepReason, ListingOrder, Mode, PassKind, Word
from reconciler.model.inventories import InventoryUsed
from reconciler.model.objects import QUARANTINE_PREFIX, KeyRange
from reconciler.model.quotas import Quota
from reconciler.model.rules import NO_RULES, Rules, Terms
from reconciler.model.shapes import KeyShape
from reconciler.model.store import BY_STORE
from reconciler.model.verdicts import OwnerRead, Verdict

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The desired state: what may stay, for how long, and which kinds of clean-up are on.

    Retention, access, grace, `delete_revoked` and `quota` hold for rows that none of the `rules` matches.
    """

    prefixes: tuple[str, ...]
    grace_period: timedelta
    delete_delay: timedelta
    media_retention: timedelta
    recent_access: timedelta
    key_grace: timedelta
    delete_revoked: bool
    quota: Quota | None = None
    rules: Rules = NO_RULES
    auto_cleanup: bool = True
    orphan_cleanup: bool = True
    dangling_cleanup: bool = True
    key_shape: KeyShape | None = None
    rewrites_keys: bool = False
    """A property of the store rather than a setting: see `Capabilities`."""
    delete_mode: DeleteMode = DeleteMode.DIRECT
    """How new claims delete; an existing claim keeps its own mode."""
    quarantine: str = QUARANTINE_PREFIX
    """The prefix of new copies; it also says in which bucket they lie. See `QuarantineBucket`."""
    soft_delete_grace: timedelta | None = None

    def grace_after_soft_delete(self, terms: Terms) -> timedelta:
        """How long a soft-deleted row of these terms stays."""
        grace = terms.soft_delete_grace
        return self.grace_period if grace is None else grace

    def switched_off(self, verdict: Verdict, terms: Terms | None = None) -> int:
        """How many of the switches of that verdict's clean-up are off, under these terms or the global."""
        of_terms = self if terms is None else terms
        off = 0
        for name in verdict.spec.switches:
            off += not getattr(of_terms if name == "delete_revoked" else self, name)
        return off

    def allows(self, verdict: Verdict, terms: Terms | None = None) -> bool:
        """Whether findings of that verdict are deleted; never if no pass of this program finds it."""
        return verdict.spec.found_by is not None and not self.switched_off(verdict, terms)

    def may_allow(self, verdict: Verdict) -> bool:
        """Whether they are for some rows: under the global settings, or under some rule."""
        return any(self.allows(verdict, terms) for terms in (None, *self.rules.each))

    def owner_read(self, verdict: Verdict) -> OwnerRead:
        """What the verdict reads of the virtual key that a row names, by itself or to find the row's rule."""
        by_rule = self.rules.read_groups and verdict.spec.found_by is PassKind.RETENTION
        return OwnerRead.STATE if by_rule else verdict.spec.owner

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """Each quota once: the rules' own, then the global one."""
        found = [each.quota for each in self.rules.each if each.quota is not None]
        return tuple(dict.fromkeys([*found, self.quota] if self.quota else found))

    @property
    def evicting(self) -> tuple[Quota, ...]:
        """Those beyond which media are deleted."""
        return tuple(each for each in self.quotas if each.evicts)

    @property
    def counting(self) -> tuple[object, ...]:
        """What decides which media are added up under which quota, and in which order they are evicted; the
        limits do not.
        """
        counted = [(each.match, _without_limits(each.quota)) for each in self.rules.each]
        others = _without_limits(self.quota)
        while counted and counted[-1][1] == others:
            counted.pop()
        return (self.prefixes, *counted, others)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """A pass trips above any of them. The fraction is checked from `min_count` findings on."""

    max_fraction: float
    max_count: int
    max_dangling: int
    min_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One classified piece of drift. `kept` says why nothing is done about it (then no mark is written).

    `bytes` is the listed size, else the row's, else 0; 0 for a dangling record, whose object is not there.
    The object's fields are None if the kind did not list it, `record_created_at` if there is no row. `newly`:
    the settings of the last released pass would have kept it.
    """

    verdict: Verdict
    storage_key: str
    bytes: int
    reason: str
    kept: KeepReason | None = None
    virtual_key_id: str | None = None
    record_created_at: datetime | None = None
    object_etag: str | None = None
    object_last_modified: datetime | None = None
    newly: bool = False

    @property
    def by_store(self) -> bool:
        """A dangling record whose object the store expired by itself."""
        return self.verdict is Verdict.DANGLING and self.reason.startswith(BY_STORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """An orphan, and a row without an object (or outside the prefixes) that spells its key otherwise.

    `rows` is how many marks of such rows were withdrawn with it, `by_store` those of them whose objects the
    store expired by itself.
    """

    storage_key: str
    row_key: str
    rows: int = 0
    by_store: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a part of a pass saw. Adds up over ranges and pages.

    `alone` counts every object that nothing names, whatever becomes of it. `named` counts those that no row
    names, but a further column. `missing` counts every row
    without an object that is beyond its grace, whatever its verdict, unless the store expired the object by
    itself: the dangling cap is compared with it.
    `found_bytes` goes with `found`. `newly` are findings that the settings of the last released pass would
    have kept. `expired_by_store` are the dangling records found whose objects the store expired by itself.
    `compared` are the objects that were compared with what their rows say of the bytes.
    `by_prefix` is the same by managed prefix, if it was counted separately.
    """

    objects: int = 0
    records: int = 0
    bytes: int = 0
    alone: int = 0
    named: int = 0
    missing: int = 0
    compared: int = 0
    expired_by_store: int = 0
    found: Mapping[Verdict, int] = field(default_factory=dict)
    found_bytes: Mapping[Verdict, int] = field(default_factory=dict)
    kept: Mapping[KeepReason, int] = field(default_factory=dict)
    newly: Mapping[Verdict, int] = field(default_factory=dict)
    by_prefix: Mapping[str, Tally] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            objects=self.objects + other.objects,
            records=self.records + other.records,
            bytes=self.bytes + other.bytes,
            alone=self.alone + other.alone,
            named=self.named + other.named,
            missing=self.missing + other.missing,
            compared=self.compared + other.compared,
            expired_by_store=self.expired_by_store + other.expired_by_store,
            found=_sum(self.found, other.found),
            found_bytes=_sum(self.found_bytes, other.found_bytes),
            kept=_sum(self.kept, other.kept),
            newly=_sum(self.newly, other.newly),
            by_prefix=_sum_tallies(self.by_prefix, other.by_prefix),
        )


def _without_limits(quota: Quota | None) -> Quota | None:
    return quota and replace(quota, max_bytes=None, max_objects=None)


def _sum(left: Mapping[K, int], right: Mapping[K, int]) -> dict[K, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in (*left, *right)}


def _sum_tallies(left: Mapping[str, Tally], right: Mapping[str, Tally]) -> dict[str, Tally]:
    return {key: left.get(key, Tally()) + right.get(key, Tally()) for key in (*left, *right)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term of leadership: the fencing token that every claiming transaction compares.

    `seal` is the nonce last read from the bucket's identity, for a claim to compare as well. `vanished`:
    the former term was not released, so its leader may still be alive somewhere.
    """

    epoch: int
    nonce: UUID
    holder: str
    seal: UUID | None = field(default=None, compare=False)
    vanished: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """Another replica's lease, the server's time at which it ends unless renewed, and how far off that is."""

    holder: str
    expires_at: datetime
    remaining: timedelta


class PassState(Word):
    """RUNNING until its last range; then RELEASED or TRIPPED; FAILED if it could not be finished.

    A TRIPPED pass stays so until a person approves it, which releases it, or has it DISCARDED. It is
    SUPERSEDED where that decision is about an earlier pass; so is a running one that was begun anew.
    """

    RUNNING = "running"
    RELEASED = "released"
    TRIPPED = "tripped"
    FAILED = "failed"
    DISCARDED = "discarded"
    SUPERSEDED = "superseded"
    """Failed in the database, with another pass in `superseded_by`: an older program has no such word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One run of a kind. `cutoff` is the server's time at its start, frozen for all its verdicts.

    `policy` is what it judged by, None if that was not kept. `decided_by` and `decided_at` record a
    person's decision: a released pass that has them was approved. `superseded_by` is the pass that was
    decided about, or begun, instead of this one.
    """

    id: int
    kind: PassKind
    cutoff: datetime
    config_hash: str
    mode: Mode
    order: ListingOrder | None
    state: PassState = PassState.RUNNING
    tally: Tally = field(default_factory=Tally)
    finished_at: datetime | None = None
    trip_reason: str | None = None
    both_sides: bool = False
    policy: Policy | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    superseded_by: int | None = None
    inventory: InventoryUsed | None = None
    """What a sweep compared the rows with, where it was no listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeProgress:
    """A key range of a pass and its progress: everything up to `watermark` is compared and marked."""

    ordinal: int
    range: KeyRange
    watermark: str
    done: bool
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the breaker adds to a pass: marks not yet collected, and deletions of the last 24 h.

    `pending` includes the marks that the pass itself wrote; `gone` counts storage keys of live
    deletions by verdict. Neither holds what a person has approved: that is in `approved` and
    `approved_gone`, and `approved_missing` is how many rows without an object were approved with it.
    `since` is what was deleted since the last released pass of the kind began, whether or not approved;
    None if not counted separately. `by_prefix` is the same by managed prefix. `by_store` and `by_store_gone`
    are the dangling records among `pending` and `gone` whose objects the store expired by itself.
    """

    pending: Mapping[Verdict, int]
    gone: Mapping[Verdict, int]
    approved: Mapping[Verdict, int] = field(default_factory=dict)
    approved_gone: Mapping[Verdict, int] = field(default_factory=dict)
    approved_missing: int = 0
    since: Mapping[Verdict, int] | None = None
    by_prefix: Mapping[str, Backlog] = field(default_factory=dict)
    by_store: int = 0
    by_store_gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """Why a pass was not released, in plain words. `both_sides`: the join itself looks wrong."""

    reason: str
    both_sides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrippedPass:
    """A pass that was released, and tripped when its marks were to be claimed."""

    pass_id: int
    reason: str
