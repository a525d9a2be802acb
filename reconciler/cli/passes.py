"""List the passes, or show one.

Those that wait for a decision come first, then the newest. A tripped pass waits until an operator
approves or discards it. Of several of a kind the one to decide about is listed, for all (--all lists
each). Its number stays the same for as long as no later pass adds to it. A pass is superseded
where it was begun anew, or an earlier one was decided about. Writes nothing, takes no lease. Needs
RECONCILER_DATABASE_URL alone.

$ reconciler passes
$ reconciler passes show 12
$ reconciler passes --kind sweep --state failed
$ reconciler passes --json | jq '.[0].state'
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence

from reconciler.cli.arguments import Commands, Parser, actions, as_json, by, command, whole
from reconciler.cli.errors import DONE
from reconciler.cli.running import asks, looking, on_database, sure
from reconciler.cli.types import Catalog, Decided, Output, Part
from reconciler.model import Approval, Mode, Pass, PassDetail, PassKind, PassState, Verdict
from reconciler.model.history import WITHDRAWN
from reconciler.model.moments import minute, moment
from reconciler.planning import formatting
from reconciler.planning.formatting import counted, human_bytes

LIMIT = 20
STYLES = {PassState.RELEASED: "green", PassState.TRIPPED: "red", PassState.FAILED: "yellow"}
ALL_PREFIXES = "(all)"
NAMED = 5
"""Passes, or prefixes, that a line names."""


def add(commands: Commands) -> None:
    made = command(commands, "passes", __doc__, list_passes)
    made.add_argument("--all", action="store_true", help="list every tripped pass, not one of a kind")
    states = [state.value for state in PassState]
    made.add_argument("--state", choices=states, metavar="STATE", help=f"only these: {', '.join(states)}")
    made.add_argument("--kind", choices=[kind.value for kind in PassKind], help="only these")
    made.add_argument("--limit", type=whole, default=LIMIT, metavar="N", help=f"default {LIMIT}")
    as_json(made, "them")
    shown = command(actions(made, required=False), "show", show.__doc__, show)
    shown.add_argument("pass_id", type=whole, metavar="ID", help="the pass")
    as_json(shown, default=argparse.SUPPRESS)  # given before or after `show`, it means the same


def decision(made: Parser) -> None:
    """The arguments of `approve` and `discard`."""
    made.add_argument("pass_id", type=whole, metavar="ID", help="the pass, see `reconciler passes`")
    by(made, "who decides")
    as_json(made, "the outcome")


def agreed(
    args: argparse.Namespace, action: str, question: Callable[[PassDetail, argparse.Namespace], str]
) -> bool:
    """Whether the person at the terminal, who is told what it is about, says yes; or nobody is to be asked.
    Raises NotDone where there is no such decision to make.
    """

    @on_database
    async def look(catalog: Catalog, _: argparse.Namespace) -> PassDetail:
        from reconciler.operations import passes

        return (await passes.undecided(catalog, args.pass_id, action)).detail

    return not asks(args) or sure(args, question(look(args), args))


def extent(detail: PassDetail) -> str:
    """The marks of a pass: how many of which verdict, their bytes, and where they are."""
    size = sum(detail.bytes.values())
    prefixes = sorted({prefix for prefix, _ in detail.marks} - {""})
    more = f" and {len(prefixes) - NAMED} more" if len(prefixes) > NAMED else ""
    where = f", under {', '.join(map(formatting.printable, prefixes[:NAMED]))}{more}" if prefixes else ""
    return f"{_marks(detail)}{f', {human_bytes(size)}' if size else ''}{where}"


@looking
async def list_passes(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json, passes

    found = await passes.newest(
        catalog,
        args.limit,
        everything=args.all,
        state=PassState(args.state) if args.state else None,
        kind=PassKind(args.kind) if args.kind else None,
    )
    if args.json:
        print_json([as_json.pass_summary(each) for each in found])
    else:
        print_list(found, console())
    return DONE


@looking
async def show(catalog: Catalog, args: argparse.Namespace) -> int:
    """Show one pass: why it tripped, what it would release, and examples.

    Counts by prefix and verdict, the reasons, and the first keys of each verdict.

    $ reconciler passes show 12
    $ reconciler passes show 12 --json
    """
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json, passes

    detail = await passes.show(catalog, args.pass_id)
    if args.json:
        print_json(as_json.pass_detail(detail))
    else:
        print_pass(detail, console())
    return DONE


def print_list(passes: Sequence[PassDetail], out: Output) -> None:
    """A line for each pass; the reasons of those that wait for a decision below."""
    if not passes:
        out.say("There is no such pass.")
        return
    rows: list[Sequence[Part]] = []
    for detail in passes:
        current = detail.current
        counts = (f"{sum(each.values()):,}" for each in (current.tally.found, detail.marks))
        began = minute(current.cutoff)
        rows.append((str(current.id), current.kind, _state(current), current.mode, began, *counts))
    numbers = ("found", "marks")
    out.table(("id", "kind", "state", "mode", "began", *numbers), rows, right=numbers)
    for detail in passes:
        if detail.current.state is PassState.TRIPPED:
            out.say(*_reason(detail.current), hang=2)
            _print_taken_in(detail, out)
            _print_choice(detail, out)


def print_pass(detail: PassDetail, out: Output) -> None:
    """Why it is as it is, counts by prefix and verdict, and the first keys of each verdict."""
    current = detail.current
    out.say(*_reason(current), hang=2)
    ended = f", ended {moment(current.finished_at)}" if current.finished_at else ""
    out.say(
        f"{current.mode}; began {moment(current.cutoff)}{ended}; {looked_at(current)};"
        f" settings {current.config_hash}",
        hang=2,
    )
    if current.decided_at is not None:
        # A tripped pass was approved before its approval ended.
        verb = "discarded" if current.state is PassState.DISCARDED else "approved"
        ends = f"; that counts {ending(detail.approval)}" if detail.approval else ""
        out.say(f"{verb} by {current.decided_by or ''}, {moment(current.decided_at)}{ends}", hang=2)
    if detail.supersedes:
        out.say(f"supersedes {some([str(each) for each in detail.supersedes])}")
    _print_taken_in(detail, out)
    _print_counts(detail, out)
    _print_results(detail, out)
    for mark in detail.examples:
        about = f"  {human_bytes(mark.bytes)}  {mark.reason}; due {moment(mark.due_at)}"
        out.say((f"{mark.verdict:<9}  ", "bold"), mark.storage_key, (about, "dim"), hang=2)
    if current.state is PassState.TRIPPED:
        _print_choice(detail, out)


def tell(decided: Decided, args: argparse.Namespace) -> int:
    """What became of a decision. Returns the exit status."""
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json

    current, marks = decided.detail.current, decided.marks
    if args.json:
        print_json(as_json.decided(decided))
    elif current.state is PassState.DISCARDED:
        # What departed is noted once.
        by = "the next sweep" if current.kind is PassKind.DEPARTURE else "the next pass"
        print(
            f"pass {current.id} discarded: {counted(marks, 'mark')} withdrawn; {by} looks at everything again"
        )
    else:
        rest = f", {decided.withdrawn:,} withdrawn" if decided.withdrawn else ""
        ends = f"; the approval counts {ending(decided.detail.approval)}" if decided.detail.approval else ""
        print(
            f"pass {current.id} approved: {counted(marks, 'mark')} released{rest}; each goes when it is due,"
            f" if it is still to go then{ends}"
        )
    if decided.detail.supersedes and not args.json:
        later, added = some([str(each) for each in decided.detail.supersedes]), decided.added
        what = (
            f"{counted(added, 'mark')} added since, which this was not about"
            if added
            else "nothing added since"
        )
        print(f"{later} superseded: {what}; the next pass judges all anew")
    return DONE


def ending(approval: Approval) -> str:
    """Until when it counts: "until 2026-12-01 14:05:00Z"."""
    if approval.until is None:
        return "for RECONCILER_APPROVAL_TTL from when each may go"
    first, last = (moment(each) for each in approval.until)
    return f"until {first}" if first == last else f"until {first}, for the last of them until {last}"


def looked_at(current: Pass) -> str:
    """What a pass compared. Only a sweep counts the rows; the others reuse the number."""
    tally = current.tally
    if current.kind is PassKind.SWEEP:
        return formatting.looked_at(tally.objects, tally.records)
    return f"judged as part of {counted(tally.records, 'record')}, as the last sweep counted them"


def choice(detail: PassDetail) -> Sequence[str]:
    """What waits of a tripped pass, what else waits for it, and what a person may type."""
    current, marks = detail.current, sum(detail.marks.values())
    chosen = detail.to_decide or current.id
    stops = "nothing at all is deleted" if current.both_sides else f"no {current.kind} pass is released"
    if not marks:
        return (
            f"nothing of it is left, but a trip stays until a person has seen it, and {stops} until then",
            f"to end that: reconciler discard {chosen}",
        )
    understood = " --i-understand" if current.both_sides else ""
    return (
        f"{_marks(detail)} {'waits' if marks == 1 else 'wait'} for a decision, and {stops} until then",
        f"to let it go: reconciler approve {chosen}{understood}",
        f"to withdraw it: reconciler discard {chosen}",
    )


def without_marks(detail: PassDetail) -> str:
    """Why a pass has no mark."""
    current, found = detail.current, sum(detail.current.tally.found.values())
    if current.state is PassState.RUNNING:
        return f"pass {current.id} is still running, and has marked nothing yet"
    if current.state is PassState.DISCARDED:
        return f"the marks of pass {current.id} were withdrawn when {current.decided_by} discarded it"
    if current.state is PassState.SUPERSEDED:
        return (
            f"pass {current.id} is superseded: what it found is judged again by the {current.kind} pass after"
        )
    if not found:
        return f"pass {current.id} found nothing"
    return f"pass {current.id} has no mark of its own left: {elsewhere(detail)}"


def elsewhere(detail: PassDetail) -> str:
    """Under which passes stands what went of a pass that has no deletion of its own; see `PassDetail`."""
    first = "a key counts for the pass that found it first"
    if detail.earlier is None:
        return first
    if not detail.earlier:
        return f"{first}, and nothing that an earlier one found has gone since"
    named = "; ".join(
        f"{counted(objects, 'object')} and {counted(records, 'record')} under pass {pass_id} (reconciler undo"
        f" --pass {pass_id})"
        for pass_id, (objects, records) in [*detail.earlier.items()][-NAMED:]
    )
    more = f"; and {len(detail.earlier) - NAMED:,} more" if len(detail.earlier) > NAMED else ""
    return f"{first}. What went since: {named}{more}"


def _marks(detail: PassDetail) -> str:
    """How many there are, with the verdicts where there are several: a trip's reason may name but one."""
    kinds: Counter[Verdict] = Counter()
    for (_, verdict), number in detail.marks.items():
        kinds[verdict] += number
    each = ", ".join(f"{number:,} {verdict}" for verdict, number in sorted(kinds.items()) if number)
    return f"{counted(kinds.total(), 'mark')}{f' ({each})' if len(kinds) > 1 else ''}"


def _state(current: Pass) -> tuple[str, str]:
    return current.state, STYLES.get(current.state, "")


def _reason(current: Pass) -> Sequence[Part]:
    why = f": {current.trip_reason}" if current.trip_reason else ""
    return (f"{current.kind} pass {current.id}: ", _state(current), why)


def _print_choice(detail: PassDetail, out: Output) -> None:
    for line in choice(detail):
        out.say((f"  {line}", "bold"), hang=4)


def _print_taken_in(detail: PassDetail, out: Output) -> None:
    if earlier := [str(each) for each in detail.together if each != detail.current.id]:
        out.say(
            f"takes in the marks of {some(earlier)}, which tripped before: one decision is about all", hang=2
        )


def _print_results(detail: PassDetail, out: Output) -> None:
    """What has become of its findings, with the first keys of each result."""
    rows = [
        (
            each.what,
            each.verdict,
            each.result,
            f"{each.keys:,}",
            human_bytes(each.bytes) if each.bytes else "",
        )
        for each in detail.results
    ]
    if rows:
        out.table(("what", "verdict", "result", "keys", "bytes"), rows, right=("keys", "bytes"))
        went = any(each.result != WITHDRAWN for each in detail.results)
        if went and detail.current.mode is Mode.DRY_RUN:
            out.say("found in dry run: what went of it was deleted after that was switched off")
    elif any(detail.current.tally.found.values()) and not any(detail.marks.values()):
        out.say(without_marks(detail))
    for each in detail.results:
        if each.what == "object" and not detail.examples:
            out.say((f"{each.result:<9}  ", "bold"), ", ".join(each.examples), hang=2)


def _print_counts(detail: PassDetail, out: Output) -> None:
    """What was found under each prefix, and the marks of it that are there."""
    from reconciler.operations.as_json import verdicts

    tally, marks = detail.current.tally, detail.marks
    parts = dict(tally.by_prefix) or {"": tally}
    in_all: Counter[Verdict] = Counter()
    for (_, verdict), number in marks.items():
        in_all[verdict] += number
    rows = []
    for prefix, part in sorted(parts.items()):
        for verdict in verdicts([*part.found, *in_all]):
            found = part.found.get(verdict, 0)
            marked = marks.get((prefix, verdict), 0) if tally.by_prefix else in_all[verdict]
            if found or marked:
                size = sum(n for (at, of), n in detail.bytes.items() if of == verdict and at in {prefix, ""})
                counts = (f"{n:,}" for n in (found, marked, part.objects, part.records))
                rows.append((prefix or ALL_PREFIXES, verdict, *counts, human_bytes(size)))
    numbers = ("found", "marks", "of objects", "of records", "bytes marked")
    out.table(("prefix", "verdict", *numbers), rows, right=numbers)


def some(ids: Sequence[str]) -> str:
    """Passes by number, the first few of many: "pass 3", "passes 11 and 13", "passes 1, 2 and 7 more"."""
    *named, last = [*ids[:NAMED], f"{len(ids) - NAMED} more"] if len(ids) > NAMED else ids
    return f"passes {', '.join(named)} and {last}" if named else f"pass {last}"
