"""Whether all is well, in a sentence, and each reason why not with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.api.site import Replica
from reconciler.model import Mode
from reconciler.operations.status import LATELY, Status
from reconciler.planning import formatting
from reconciler.planning.formatting import age, counted


class Level(StrEnum):
    """How bad it is, the worst first."""

    BAD = "bad"
    """Nothing works until somebody acts."""
    WAITS = "waits"
    """A person has to decide."""
    CALM = "calm"
    """Somebody wanted it so."""
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """One thing to know. `link` leads to where it can be seen or done."""

    level: Level
    says: str
    todo: str = ""
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The sentence for all, as bad as the worst matter; those come the worst first."""

    level: Level
    headline: str
    matters: Sequence[Matter]


def health(status: Status, replica: Replica) -> Health:
    """How things stand, by what the database knows and what the replica that answers knows of itself."""
    order = list(Level)
    matters = sorted(_matters(status, replica), key=lambda each: order.index(each.level))
    if not matters:
        return Health(level=Level.GOOD, headline="All is well", matters=())
    level = matters[0].level
    if level is Level.CALM:
        return Health(level=level, headline="All is well, and nothing is deleted", matters=matters)
    number = sum(each.level in {Level.BAD, Level.WAITS} for each in matters)
    wants = "needs" if number == 1 else "need"
    headline = "It does not work" if level is Level.BAD else f"{counted(number, 'thing')} {wants} you"
    return Health(level=level, headline=headline, matters=matters)


def _matters(status: Status, replica: Replica) -> Iterator[Matter]:
    yield from _replicas(status, replica)
    if status.stuck:
        yield Matter(
            level=Level.BAD,
            says=f"marks have been due for {age(LATELY)}, and none has gone",
            todo="Look at those that are due, claimed or refused.",
            link="/marks?state=refused",
        )
    for detail in status.waiting:
        marks = counted(sum(detail.marks.values()), "mark")
        yield Matter(
            level=Level.WAITS,
            says=f"{detail.current.kind} pass {detail.to_decide} tripped, and holds back {marks}",
            todo="Decide about it.",
            link=f"/passes/{detail.to_decide}",
        )
    if status.pause.paused:
        yield Matter(level=Level.CALM, says=formatting.pause(status.pause), todo="Resume when that is over.")
    if status.mode is not None and status.mode.mode is Mode.DRY_RUN:
        source = f" by {status.mode.source}" if status.mode.source else ""
        yield Matter(
            level=Level.CALM,
            says=f"dry run{source}: everything is found and marked, and nothing is deleted",
            todo="Set RECONCILER_DRY_RUN to false when the marks are what you want.",
        )


def _replicas(status: Status, replica: Replica) -> Iterator[Matter]:
    for each in status.halts:
        yield Matter(level=Level.BAD, says=f"replica {each.name} is halted", todo=each.halted or "")
    if replica.halted and replica.name not in {each.name for each in status.halts}:
        yield Matter(level=Level.BAD, says=f"replica {replica.name} is halted", todo=replica.halted)
    if status.leader is None:
        yield Matter(
            level=Level.BAD,
            says="no replica holds the lease, so nothing is compared and nothing deleted",
            todo="After a restart that takes up to half a minute; else `reconciler doctor` says why.",
        )
    if replica.stuck:
        silent = f"replica {replica.name} is silent: {', '.join(replica.stuck)}"
        yield Matter(level=Level.BAD, says=silent, todo="Its log says what it waits for.")
    elif replica.unmet and not replica.halted:
        yield Matter(
            level=Level.CALM, says=f"replica {replica.name} is not ready yet: {', '.join(replica.unmet)}"
        )
