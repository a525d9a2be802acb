"""How a site stands: what waits for a person, what goes next and when, who leads, what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler import model
from reconciler.catalog.open import Catalog

LATELY = timedelta(minutes=10)
"""By this the speed of deletion is measured where no rate is set. What is due for longer is stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeNow:
    """The mode that is in force, and since when. `source` says where the leader has it from, or without one
    all replicas; None where none has spoken, or they differ, and the mode is that of the last pass.
    """

    mode: model.Mode
    since: datetime | None
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the database knows of a site, at `now`.

    `replicas` are those that have spoken within a minute. `waiting` is the tripped pass of each kind to
    decide about, with what it takes in. `passes` are the last that ended, one of each kind. `marks` are by
    verdict: how many, their bytes, first sighting of the oldest. `standing` is what is due, under the
    settings of the last pass; None before the first. `went` is how many keys were deleted within `LATELY`.
    `approved` are the approvals of which marks are left. `last_once` is what the last `once` said at its end.
    """

    now: datetime
    leader: model.Leader | None
    replicas: Sequence[model.Replica]
    mode: ModeNow | None
    pause: model.Pause
    waiting: Sequence[model.PassDetail]
    passes: Sequence[model.Pass]
    marks: Mapping[model.Verdict, tuple[int, int, datetime | None]]
    holds: Mapping[model.HoldKind, int]
    standing: model.Standing | None
    went: int = 0
    approved: Sequence[model.Approval] = ()
    last_once: model.Replica | None = None

    @property
    def leading(self) -> model.Replica | None:
        """What the leader says of itself."""
        return _of_leader(self.leader, self.replicas)

    @property
    def speaker(self) -> model.Replica | None:
        """Whose mode is in force: the leader's, or without one that of all replicas, if they agree."""
        return _speaker(self.leader, self.replicas)

    @property
    def halts(self) -> Sequence[model.Replica]:
        """The replicas that are halted, and a `once` that ended so, unless one has the lease since."""
        once = [self.last_once] if self.last_once and self.leader is None else []
        return [each for each in (*self.replicas, *once) if each.halted]

    @property
    def stopped_by(self) -> str | None:
        """Why nothing at all is deleted at the moment, in words; None where deletion may go on."""
        both = next((each.current.id for each in self.waiting if each.current.both_sides), None)
        if self.pause.paused:
            return "deletion is paused"
        if self.mode is not None and self.mode.mode is model.Mode.DRY_RUN:
            return "it is a dry run"
        if both is not None:
            return f"pass {both} found both sides wrong, and waits for a decision"
        if self.leader is None:
            return "no replica holds the lease"
        if self.leading is not None and self.leading.blocked_by:
            return f"an open transaction holds it back: {self.leading.blocked_by}"
        return None

    @property
    def stuck(self) -> bool:
        """Whether marks could have gone for a while, and none has."""
        since = self.standing.oldest_due if self.standing else None
        return not self.stopped_by and not self.went and since is not None and since < self.now - LATELY

    @property
    def a_second(self) -> float | None:
        """At how many keys a second marks go; None where nothing tells."""
        if self.leading is not None and self.leading.rate:
            return self.leading.rate
        return self.went / LATELY.total_seconds() or None

    @property
    def backlog_lasts(self) -> timedelta | None:
        """How long the deletion of what is due takes, if it goes on as it does; None where nothing tells."""
        due = self.standing.due if self.standing else 0
        if self.stopped_by or self.stuck or not due or not self.a_second:
            return None
        return timedelta(seconds=due / self.a_second)


def _of_leader(leader: model.Leader | None, replicas: Sequence[model.Replica]) -> model.Replica | None:
    return next((each for each in replicas if leader is not None and each.epoch == leader.epoch), None)


def _speaker(leader: model.Leader | None, replicas: Sequence[model.Replica]) -> model.Replica | None:
    agreed = len({each.mode for each in replicas}) == 1 and leader is None
    return _of_leader(leader, replicas) or (replicas[0] if agreed else None)


async def leading(catalog: Catalog) -> model.Replica | None:
    """What the leader says of itself; None without one, or where it has said nothing lately."""
    return _of_leader(await catalog.statistics.leader(), await catalog.replicas.heard())


async def status(catalog: Catalog) -> Status:
    """Read it. Counts every mark."""
    last = [await catalog.passes.last(kind) for kind in model.PassKind]
    passes = [each for each in last if each is not None]
    policy = _policy(passes)
    leader, replicas = await catalog.statistics.leader(), await catalog.replicas.heard()
    last_once = await catalog.replicas.last_once()
    standing = await _standing(catalog, policy)
    found = Status(
        now=await catalog.records.now(),
        leader=leader,
        replicas=replicas,
        mode=None,
        pause=await catalog.pauses.read(),
        waiting=await catalog.approvals.listed(len(model.PassKind), state=model.PassState.TRIPPED),
        passes=passes,
        marks=standing.drift if standing else await catalog.statistics.drift(),
        holds=await catalog.holds.count(),
        standing=standing,
        went=await catalog.statistics.deleted_within(LATELY),
        last_once=last_once,
    )
    ttl = _approval_ttl(found.speaker, last_once)
    approved = await catalog.approvals.in_force(_delay(policy), ttl)
    return replace(found, mode=await _mode(catalog, found.speaker), approved=approved)


async def approved(catalog: Catalog) -> Sequence[model.Approval]:
    """The approvals of which marks are left, with when they end by the settings of who deletes."""
    last = [await catalog.passes.last(kind) for kind in model.PassKind]
    speaker = _speaker(await catalog.statistics.leader(), await catalog.replicas.heard())
    ttl = _approval_ttl(speaker, await catalog.replicas.last_once())
    return await catalog.approvals.in_force(_delay(_policy([each for each in last if each])), ttl)


def _approval_ttl(*speakers: model.Replica | None) -> timedelta | None:
    """How long approvals count, by the first of them that says it."""
    return next((each.approval_ttl for each in speakers if each and each.approval_ttl), None)


def _policy(passes: Sequence[model.Pass]) -> model.Policy | None:
    """The one of the newest pass that has one."""
    judged = [each for each in passes if each.policy is not None]
    return max(judged, key=lambda each: each.id).policy if judged else None


def _delay(policy: model.Policy | None) -> timedelta:
    return policy.delete_delay if policy else timedelta(0)


async def _standing(catalog: Catalog, policy: model.Policy | None) -> model.Standing | None:
    if policy is None:
        return None
    verdicts = [verdict for verdict in model.VERDICTS if policy.may_allow(verdict)]
    return await catalog.statistics.standing(policy, verdicts)


async def _mode(catalog: Catalog, speaker: model.Replica | None) -> ModeNow | None:
    """A pass knows since when, and lags behind a replica, which takes up a change at once."""
    seen = await catalog.statistics.mode_since()
    if speaker is None:
        return ModeNow(mode=seen.mode, since=seen.since, source=None) if seen else None
    since = seen.since if seen and seen.mode is speaker.mode else speaker.mode_since
    return ModeNow(mode=speaker.mode, since=since, source=speaker.mode_from)


async def quotas(catalog: Catalog, top: int) -> Sequence[model.QuotaStanding]:
    """How the quotas of the last retention pass are used, and the `top` owners nearest to each."""
    last = await catalog.passes.last(model.PassKind.RETENTION)
    if last is None or last.policy is None:
        return ()
    return await catalog.statistics.quotas(last.policy, top)


async def storage(catalog: Catalog, by: model.StorageBy, top: int) -> model.Storage:
    """The rows in the managed prefixes by `by`, the `top` largest apart, and what is hidden by bucket.

    Reads the whole media table once.
    """
    stored = await catalog.statistics.storage((by,), top)
    return replace(stored, hidden=await catalog.statistics.hidden())
