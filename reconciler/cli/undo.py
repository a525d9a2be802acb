"""Bring back what was deleted.

Brings back what was deleted within RECONCILER_UNDO_WINDOW: objects out of the quarantine or from behind
their delete markers, rows out of the ledger. Never writes over what is there now. What comes back is put
on hold for RECONCILER_HOLD_FOR, or the next pass would delete it again (`reconciler hold remove --pass ID`
lifts what an undo of that pass left, `--key KEY` a single one). Runs while the daemon runs, and may be
repeated at any time. Exits 1 where something could not be brought back, the ledger knows of no deletion
that fits, or RECONCILER_DRY_RUN is true: then nothing is restored, which --dry-run asks for.

$ reconciler undo --key image/2026/cat.png
$ reconciler undo --pass 1204 --dry-run
$ reconciler undo --since 2h --hold-for 90d
$ reconciler undo --since 2026-11-22T08:00Z --until 2026-11-22T09:00Z --json
"""

import argparse
import itertools
import time
from collections.abc import Sequence

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, by, command
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.cli.passes import elsewhere
from reconciler.cli.types import Catalog, Undone
from reconciler.errors import ConfigError, NotDone
from reconciler.model import Mode, Return, Returned, UndoScope
from reconciler.model.moments import moment
from reconciler.planning.formatting import counted, human_bytes

NAMED = 20
"""Refusals that are spelled out on stderr."""


def add(commands: Commands) -> None:
    made = command(commands, "undo", __doc__, run)
    scope = made.add_mutually_exclusive_group(required=True)
    scope.add_argument("--key", action="append", metavar="KEY", help="this storage key; may be repeated")
    scope.add_argument(
        "--pass",
        dest="pass_id",
        type=int,
        metavar="ID",
        help="all that this pass deleted, and the passes that were approved with it",
    )
    scope.add_argument(
        "--since", metavar="TIME", help="all from then on: ISO 8601, or how long ago, as in 2h"
    )
    made.add_argument("--until", metavar="TIME", help="with --since: before then")
    made.add_argument("--dry-run", action="store_true", help="show what would be restored, and do nothing")
    made.add_argument(
        "--hold-for", metavar="30d", help="how long it is on hold (default: RECONCILER_HOLD_FOR, 30d)"
    )
    as_json(made, "a report")
    by(made, "who brings it back")


def run(args: argparse.Namespace) -> int:
    source = running.source_of(args)
    from reconciler import app
    from reconciler.cli.output import LISTED, print_json
    from reconciler.cli.progress import ProgressBar
    from reconciler.operations import as_json

    scope = _scope(args)
    lasts = None if args.hold_for is None else running.duration_of(args.hold_for, "--hold-for", "1h")
    mode = Mode.DRY_RUN if args.dry_run else source.current().mode()
    shown: list[Returned] = []
    total, started, by = itertools.count(), time.monotonic(), running.operator(args)

    with ProgressBar() as bar:

        def emit(returned: Returned) -> None:
            bar.returned(returned)
            if next(total) < LISTED:
                shown.append(returned)

        undone = running.wait_unless_ended(
            lambda: app.undo(source, scope, author=by, mode=mode, emit=emit, hold_for=lasts)
        )
    if args.json:
        print_json(as_json.undone(undone, mode, time.monotonic() - started))
    else:
        _print(shown, next(total), mode)
        if undone.touched or not undone.unknown:
            print(_summary(undone, mode, scope))
    hint = _hint(args) if undone.unknown and args.pass_id is not None else ""
    status = _ended(undone, mode, hint)
    if mode is Mode.DRY_RUN and not args.dry_run:
        complain("nothing was restored: RECONCILER_DRY_RUN is true; set it to false for this command")
        return FAILED
    return status


def _scope(args: argparse.Namespace) -> UndoScope:
    if args.until and not args.since:
        raise ConfigError("--until needs --since")
    since, until = running.span(args.since, args.until)
    return UndoScope(keys=tuple(args.key or ()), pass_id=args.pass_id, since=since, until=until)


def _print(returned: Sequence[Returned], total: int, mode: Mode) -> None:
    """The first lines of what came back, or did not."""
    from reconciler.cli.output import console

    if not returned:
        return
    rows = []
    for each in returned:
        is_object = each.record_id is None
        what, size = ("object", human_bytes(each.size)) if is_object else (f"row {each.record_id}", "")
        would = mode is Mode.DRY_RUN and each.outcome is Return.RESTORED
        outcome = "would be restored" if would else str(each.outcome)
        rows.append((each.storage_key, what, outcome, size, each.reason))
    headings, out = ["key", "what", "outcome", "bytes", "why"], console()
    if not any(each.reason for each in returned):
        headings.pop()
    out.table(headings, [row[: len(headings)] for row in rows], right=("bytes",))
    if total > len(returned):
        out.say(f"… and {total - len(returned):,} more")


def _summary(undone: Undone, mode: Mode, scope: UndoScope) -> str:
    if not undone.touched:
        return "nothing to do: all of it is back, or was erased; `reconciler history KEY` says which"
    lifted = f" (`reconciler hold remove --pass {scope.pass_id}` lifts that)" if scope.pass_id else ""
    if mode is Mode.DRY_RUN:
        would = "would be restored"
    elif undone.held_until is None:
        would = "came back"
    else:
        would = f"came back, and are on hold until {moment(undone.held_until)}{lifted}"
    objects = f"{counted(undone.objects, 'object')} ({human_bytes(undone.bytes)})"
    there = f"; {undone.present:,} were there already" if undone.present else ""
    return f"{objects} and {counted(undone.records, 'row')} {would}{there}"


def _part(scope: UndoScope) -> str:
    if scope.keys:
        return scope.keys[0]
    if scope.pass_id is not None:
        return f"pass {scope.pass_id}"
    until = f" until {moment(scope.until)}" if scope.until else ""
    return f"since {moment(scope.since)}{until}"


@running.on_database
async def _hint(catalog: Catalog, args: argparse.Namespace) -> str:
    """Where to look for what a pass saw go that has no deletion of its own."""
    from reconciler.operations import passes

    try:
        detail = await passes.show(catalog, args.pass_id)
    except NotDone as error:
        return f" ({error})"
    return f" ({elsewhere(detail)})"


def _ended(undone: Undone, mode: Mode, hint: str) -> int:
    for part in undone.unknown[:NAMED]:
        nothing = "the ledger knows of no deletion that fits; nothing to bring back"
        complain(f"{_part(part)}: {nothing}{hint}")
    if len(undone.unknown) > NAMED:
        complain(f"… and {len(undone.unknown) - NAMED:,} more of which it knows none")
    for each in undone.refused[:NAMED]:
        what = "object" if each.record_id is None else f"row {each.record_id}"
        partly = each.outcome is Return.PARTIAL
        if mode is Mode.DRY_RUN:
            state = "would be back in part" if partly else "would not come back"
        else:
            state = "is back in part" if partly else "is not back"
        complain(f"{each.storage_key}: the {what} {state}: {each.reason}")
    if len(undone.refused) > NAMED:
        complain(f"… and {len(undone.refused) - NAMED:,} more; --json has all")
    if undone.gone:
        complain(f"{counted(undone.gone, 'object')} cannot come back: deleted for good, or purged since")
    return DONE if undone.complete else FAILED
