"""Print how a site stands: the mode, what waits for you, what goes next and when.

What to type stands next to what waits. Reads the database alone, and counts every mark. What replicas say
of themselves, such as why one is halted, is at most a few seconds old. Writes nothing, takes no
lease. Exits 0 however things stand: `reconciler doctor` is what checks them. Needs
RECONCILER_DATABASE_URL alone.

$ reconciler status
$ reconciler status --json | jq .leader.holder
"""

import argparse
from collections.abc import Iterable, Iterator
from datetime import datetime

from reconciler.cli.arguments import Commands, as_json, command
from reconciler.cli.errors import DONE
from reconciler.cli.passes import choice, ending, looked_at, some
from reconciler.cli.running import looking
from reconciler.cli.types import Catalog, Output, Status
from reconciler.model import InventoryUsed, Pass, PassKind
from reconciler.model.moments import moment
from reconciler.planning import formatting
from reconciler.planning.formatting import counted


def add(commands: Commands) -> None:
    as_json(command(commands, "status", __doc__, run))


@looking
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json
    from reconciler.operations.status import status

    found = await status(catalog)
    if args.json:
        print_json(as_json.status(found))
    else:
        print_status(found, console())
    return DONE


def print_status(status: Status, out: Output) -> None:
    """A line for each thing; what waits for a person with the commands that it takes."""
    marks = [f"{keys:,} {verdict}" for verdict, (keys, _, _) in sorted(status.marks.items())]
    holds = [counted(number, kind.replace("_", " ")) for kind, number in sorted(status.holds.items())]
    rows = [
        ("mode", _mode(status)),
        ("leader", _leader(status)),
        (
            "deletion",
            f"{formatting.pause(status.pause)}; reconciler resume" if status.pause.paused else "not paused",
        ),
        *_labelled("halted", _halts(status)),
        *_labelled("for you", _waiting(status)),
        *_labelled("approved", _approved(status)),
        ("due now", _due(status)),
        *_labelled("due next", _due_next(status)),
        *((f"next {kind}", line) for kind, line in _next(status)),
        *((f"last {each.kind}", _described(each)) for each in status.passes),
        *(("inventory", _taken(each.inventory, status.now)) for each in status.passes if each.inventory),
        ("marks", ", ".join(marks) or "none"),
        ("holds", ", ".join(holds) or "none"),
    ]
    out.table(("", ""), rows, header=False)


def _taken(used: InventoryUsed, now: datetime) -> str:
    """Which inventory the last sweep took instead of listing."""
    return f"{used.name}, which began {formatting.age(now - used.began_at)} ago"


def _labelled(label: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The label before the first of them alone."""
    for place, line in enumerate(lines):
        yield ("" if place else label), line


def _mode(status: Status) -> str:
    mode = status.mode
    if mode is None:
        return "there has been no pass yet"
    since = f" since {moment(mode.since)}" if mode.since else ""
    source = f"by {mode.source}" if mode.source else "as the last pass had it: no replica says more"
    return f"{mode.mode}{since}, {source}"


def _leader(status: Status) -> str:
    others = len(status.replicas) - (status.leading is not None)
    if status.leader is None:
        return (
            f"no replica holds the lease, of {others:,} running" if others else "no replica holds the lease"
        )
    more = f"; {counted(others, 'replica')} more" if others else ""
    return f"{status.leader.holder}, epoch {status.leader.epoch}{more}"


def _halts(status: Status) -> Iterator[str]:
    for each in status.halts:
        since = f" since {moment(each.halted_since)}" if each.halted_since else ""
        name = "the last `reconciler once`," if each is status.last_once else each.name
        yield f"{name}{since}: {each.halted}"


def _waiting(status: Status) -> Iterator[str]:
    """Each kind of pass that waits for a decision: why, since when, and what to type."""
    waits = status.standing.tripped if status.standing else {}
    for detail in status.waiting:
        current = detail.current
        since = waits[current.kind].since if current.kind in waits else current.finished_at
        which = some([str(each) for each in detail.together])
        yield f"{current.kind} {which} tripped, first {_when(since, status.now)}: {current.trip_reason}"
        yield from choice(detail)
        yield f"to look at it: reconciler passes show {current.id}"
    if status.halts:
        who = "`reconciler once`" if status.halts[0] is status.last_once else "a replica"
        yield f"{who} is halted, until a person has done what is said next to it"
    elif not status.waiting:
        yield "nothing waits for a decision"


def _approved(status: Status) -> Iterator[str]:
    for each in status.approved:
        yield (
            f"{each.kind} pass {each.pass_id} by {each.by}, {moment(each.at)}: {counted(each.marks, 'mark')}"
            f" left; that counts {ending(each)}"
        )


def _due(status: Status) -> str:
    standing = status.standing
    if standing is None or not standing.due:
        return "nothing"
    since = f", the first {_when(standing.oldest_due, status.now)}" if standing.oldest_due else ""
    return f"{counted(standing.due, 'mark')}{since}; {_lasts(status)}"


def _lasts(status: Status) -> str:
    if status.stopped_by is not None:
        return f"none goes now, since {status.stopped_by}"
    if status.stuck:
        return "none has gone for 10 minutes: reconciler marks list --state due, claimed or refused says why"
    lasts, speed = status.backlog_lasts, status.a_second
    if lasts is None or speed is None:
        return "they go with the collector's next rounds"
    return f"gone in about {formatting.age(lasts)}, at {speed:,.3g} keys a second"


def _due_next(status: Status) -> Iterator[str]:
    standing = status.standing
    soon = sum(standing.due_soon.values()) if standing else 0
    if standing is None or not soon:
        return
    first = (
        f"the first {_when(standing.next_due, status.now)}"
        if standing.next_due
        else "once they are seen again"
    )
    yield f"{counted(soon, 'mark')} within 24 hours, {first}"


def _next(status: Status) -> Iterator[tuple[PassKind, str]]:
    """What the leader says that it does, and will do."""
    leading = status.leading
    if leading is None:
        return
    for kind in PassKind:
        if kind in leading.phases:
            standing = status.standing
            ranges = standing.ranges_done + standing.ranges_open if standing else 0
            part = f", {standing.ranges_done} of {ranges} key ranges done" if standing and ranges else ""
            yield kind, f"under way: {leading.phases[kind]}{part if kind is PassKind.SWEEP else ''}"
        elif kind in leading.next_pass:
            yield kind, _when(leading.next_pass[kind], status.now)


def _described(each: Pass) -> str:
    ended = f" {moment(each.finished_at)}" if each.finished_at else ""
    return f"pass {each.id}, {each.state}{ended}: {looked_at(each)}, {sum(each.tally.found.values()):,} found"


def _when(at: datetime | None, now: datetime) -> str:
    """How far off, and when: "in 5 hours, at 2026-11-30 03:00:00Z", or so long "ago"."""
    if at is None:
        return "at an unknown time"
    away = f"in {formatting.age(at - now)}" if at > now else f"{formatting.age(now - at)} ago"
    return f"{away}, at {moment(at)}"
