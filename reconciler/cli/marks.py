"""List, show, retry and cancel what is marked for deletion.

A mark is the intention to delete one key. Its state is the first that applies: claimed (the collector
has it, and it goes), held, refused (the database does not let its row go, so its object stays too),
unreleased (its pass is not through, or tripped the breaker), waiting (for its time), due. Needs
RECONCILER_DATABASE_URL alone.

$ reconciler marks list --verdict orphan --state due
$ reconciler marks show image/2026/cat.png
$ reconciler marks cancel image/2026/cat.png --reason "still in use"
"""

import argparse
from collections.abc import Sequence

from reconciler.cli.arguments import (
    Commands,
    a_pass,
    actions,
    as_json,
    by,
    command,
    limit_and_format,
    who_and_why,
)
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.cli.passes import without_marks
from reconciler.cli.running import on_database, operator
from reconciler.cli.types import Catalog, Output
from reconciler.model import VERDICTS, ListedMark, MarkFilter, MarkState, Verdict
from reconciler.model.moments import minute
from reconciler.planning.formatting import counted, human_bytes, printable, shortened

VERDICTS_SAY = "; ".join(f"{verdict}: {verdict.spec.says}" for verdict in VERDICTS)


def add(commands: Commands) -> None:
    within = actions(command(commands, "marks", __doc__))
    listed = command(within, "list", list_marks.__doc__, list_marks)
    verdicts = [verdict.value for verdict in VERDICTS]
    listed.add_argument("--verdict", choices=verdicts, metavar="VERDICT", help=f"only these ({VERDICTS_SAY})")
    listed.add_argument(
        "--state",
        choices=[state.value for state in MarkState],
        metavar="STATE",
        help=f"only those that stand so: {', '.join(MarkState)}",
    )
    listed.add_argument("--prefix", default="", metavar="P", help="only keys that begin with it")
    a_pass(listed, "only this pass's, and those of the passes that it takes in")
    listed.add_argument("--after", default="", metavar="KEY", help="only keys behind this one")
    limit_and_format(listed)
    shown = command(within, "show", show.__doc__, show)
    shown.add_argument("key", metavar="KEY", help="the storage key")
    as_json(shown)
    retried = command(within, "retry", retry.__doc__, retry)
    by(retried, "who asks for it")
    as_json(retried, "the keys")
    which = retried.add_mutually_exclusive_group(required=True)
    which.add_argument("keys", nargs="*", default=[], metavar="KEY", help="storage keys")
    which.add_argument("--all", action="store_true", help="every such mark")
    cancelled = command(within, "cancel", cancel.__doc__, cancel)
    cancelled.add_argument("keys", nargs="+", metavar="KEY", help="storage keys")
    who_and_why(cancelled)
    as_json(cancelled, "the keys")


@on_database
async def list_marks(catalog: Catalog, args: argparse.Namespace) -> int:
    """List marks by key.

    The table shows the first ones; jsonl prints every one, a line each.

    $ reconciler marks list --prefix image/ --pass 17
    $ reconciler marks list --limit 50 --after image/2026/cat.png
    $ reconciler marks list --format jsonl | jq -r .storage_key
    """
    from reconciler.cli.output import LISTED, console, first, print_lines
    from reconciler.operations import as_json, marks

    wanted = MarkFilter(
        verdict=Verdict(args.verdict) if args.verdict else None,
        state=MarkState(args.state) if args.state else None,
        prefix=args.prefix,
        pass_id=args.pass_id,
    )
    if args.format == "jsonl":
        await print_lines(marks.pages(catalog, wanted, args.after), as_json.mark, args.limit)
        return DONE
    limit = args.limit or LISTED
    shown, more = await first(marks.pages(catalog, wanted, args.after, limit + 1), limit)
    if not shown:
        print(await _none(catalog, args))
        return DONE
    out = console()
    _print(shown, out)
    if more:
        last = shown[-1].mark.storage_key
        out.say(f"The first {limit:,}; go on with --after '{last}', or --format jsonl.")
    return DONE


@on_database
async def show(catalog: Catalog, args: argparse.Namespace) -> int:
    """Show one key's mark.

    What was seen of it, when, by which pass, what it waits for, and what database or store said when
    it was last tried.

    $ reconciler marks show image/2026/cat.png
    $ reconciler marks show --json image/2026/cat.png
    """
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json, marks

    fields = as_json.mark(await marks.show(catalog, args.key))
    if args.json:
        print_json(fields)
        return DONE
    rows = [
        (
            name.replace("_", " "),
            "; ".join(f"{k}: {v}" for k, v in value.items() if v) if isinstance(value, dict) else str(value),
        )
        for name, value in fields.items()
        if value is not None
    ]
    console().table(("", ""), rows, header=False)
    return DONE


@on_database
async def retry(catalog: Catalog, args: argparse.Namespace) -> int:
    """Have marks tried again at once that failed, or whose rows the database does not let go.

    By themselves they are tried again later and later. Mend first what keeps them: `marks show` says
    what it is. Exits 1 where one of the keys has no such mark.

    $ reconciler marks retry image/2026/cat.png
    $ reconciler marks retry --all
    """
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, marks

    done = await marks.retry(catalog, None if args.all else args.keys, author=operator(args))
    if args.json:
        print_json(as_json.retried(done))
    elif args.all or done.keys:
        print(f"{counted(len(done.keys), 'mark')} will be tried again by the next collection")
    for key in done.unmarked:
        complain(f"{key}: there is no mark on this key that failed")
    return FAILED if done.unmarked else DONE


@on_database
async def cancel(catalog: Catalog, args: argparse.Namespace) -> int:
    """Withdraw marks.

    Written in the ledger, with the reason. A pass that finds such a key again marks it again, with a
    new delay: to keep it for good, put it on hold. A claimed mark cannot be cancelled. Exits 1
    where one of the marks was not there or is claimed.

    $ reconciler marks cancel image/2026/cat.png --reason "still in use"
    """
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, marks

    done = await marks.cancel(catalog, args.keys, author=operator(args), reason=args.reason)
    if args.json:
        print_json(as_json.cancelled(done))
    for key in () if args.json else done.cancelled:
        print(printable(f"cancelled: {key}"))
    if done.cancelled and not args.json:
        print("a pass that finds such a key marks it again; `reconciler hold add` keeps it")
    for key in done.claimed:
        complain(f"{key}: claimed for deletion already, it goes; nothing was cancelled")
    for key in done.unmarked:
        complain(f"{key}: there is no mark on this key")
    return FAILED if done.claimed or done.unmarked else DONE


async def _none(catalog: Catalog, args: argparse.Namespace) -> str:
    """Why no mark is listed. Raises NotDone where there is no such pass."""
    chosen = any((args.verdict, args.state, args.prefix, args.after))
    if args.pass_id is None or chosen:
        return "no such mark" if chosen else "nothing is marked"
    from reconciler.operations import passes

    return without_marks(await passes.show(catalog, args.pass_id))


def _print(shown: Sequence[ListedMark], out: Output) -> None:
    from reconciler.cli.output import KEY_WIDTH

    rows = []
    for each in shown:
        mark = each.mark
        reason = f"on hold: {each.hold.reason}" if each.hold else mark.reason
        if each.last_error:
            reason = f"{mark.reason}; stays: {each.last_error}"
        key, due = shortened(mark.storage_key, KEY_WIDTH), minute(mark.due_at)
        rows.append((each.state, mark.verdict, key, human_bytes(mark.bytes), str(mark.pass_id), due, reason))
    headings = ("state", "verdict", "key", "bytes", "pass", "due", "reason")
    out.records(headings, rows, first=headings[:3], named=("pass", "due"), right=("bytes", "pass"))
