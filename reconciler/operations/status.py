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

    @property
    def leading(self) -> model.Replica | None:
        """What the leader says of itself."""
        return _of_leader(self.leader, self.replicas)

    @property
    def speaker(self) -> model.Replica | None:
        """Whose mode is in force: the leader's, or without one that of all replicas, if they agree."""
        agreed = len({each.mode for each in self.replicas}) == 1 and self.leader is None
        return self.leading or (self.replicas[0] if agreed else None)

    @property
    def halts(self) -> Sequence[model.Replica]:
        return [each for each in self.replicas if each.halted]

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


async def leading(catalog: Catalog) -> model.Replica | None:
    """What the leader says of itself; None without one, or where it has said nothing lately."""
    return _of_leader(await catalog.statistics.leader(), await catalog.replicas.heard())


async def status(catalog: Catalog) -> Status:
    """Read it. Counts every mark."""
    last = [await catalog.passes.last(kind) for kind in model.PassKind]
    passes = [each for each in last if each is not None]
    leader, replicas = await catalog.statistics.leader(), await catalog.replicas.heard()
    standing = await _standing(catalog, passes)
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
    )
    return replace(found, mode=await _mode(catalog, found.speaker))


async def _standing(catalog: Catalog, passes: Sequence[model.Pass]) -> model.Standing | None:
    judged = [each for each in passes if each.policy is not None]
    if not judged:
        return None
    policy = max(judged, key=lambda each: each.id).policy
    assert policy is not None
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
