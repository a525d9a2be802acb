"""Print what happened to a key, by which pass and by whose word.

Reads the ledger, which keeps its lines for RECONCILER_LEDGER_RETENTION, the mark on the key, and the rows
that name it now. Writes nothing, takes no lease. Exits 1 where nothing is recorded. Needs
RECONCILER_DATABASE_URL alone.

$ reconciler history image/2026/cat.png
$ reconciler history --json image/2026/cat.png | jq .state
"""

import argparse
import shlex
from collections.abc import Sequence

from reconciler.cli.arguments import Commands, as_json, command
from reconciler.cli.errors import DONE, FAILED
from reconciler.cli.running import looking
from reconciler.cli.types import Catalog, Output
from reconciler.model import KeyHistory, KeyState, LedgerLine, ListedMark, PassState, Verdict
from reconciler.model.moments import moment
from reconciler.planning.formatting import human_bytes

SAYS = {
    KeyState.MARKED: "marked for deletion since {since}; see reconciler marks show {key}",
    KeyState.DELETED: "deleted since {since}; reconciler undo --key {key} brings it back",
    KeyState.GONE: "deleted since {since}, and nothing of it is left to bring back",
    KeyState.RESTORED: "back since {since}",
    KeyState.ERASING: "its erasure is ordered since {since}, and it never comes back; what is hidden of it is"
    " purged by the leader's next round (not in dry run, nor while paused)",
    KeyState.ERASED: "erased since {since}: nothing of it is kept",
    KeyState.KEPT: "not deleted",
    KeyState.UNKNOWN: "nothing is recorded of it since the ledger's oldest line",
}


def add(commands: Commands) -> None:
    made = command(commands, "history", __doc__, run)
    made.add_argument("key", metavar="KEY", help="the storage key")
    as_json(made)


@looking
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json
    from reconciler.operations.history import history

    found = await history(catalog, args.key)
    if args.json:
        print_json(as_json.history(found))
    else:
        print_history(found, console())
    return FAILED if found.state is KeyState.UNKNOWN else DONE


def print_history(found: KeyHistory, out: Output) -> None:
    """A line for each event, the oldest first, and how the key stands now."""
    shown: int | None = None
    for line in found.lines:
        if line.pass_id is not None and line.pass_id != shown:
            shown = line.pass_id
            out.say(_found(line), hang=2)
        out.say((f"{moment(line.at)}  ", "dim"), _event(line), hang=2)
    since = moment(found.since)
    out.say(("now: ", "bold"), SAYS[found.state].format(since=since, key=shlex.quote(found.key)), hang=2)
    if found.mark is not None:
        out.say(_waits_for(found.mark), hang=2)
    if found.rows:
        out.say(f"named by row {', '.join(found.rows)}", hang=2)


def _waits_for(listed: ListedMark) -> str:
    mark = listed.mark
    found = f"{mark.verdict}, found by {listed.kind} pass {mark.pass_id}{_of(mark.verdict, mark.owners)}"
    if listed.pass_state is PassState.TRIPPED:
        return f"{found}, which tripped: it waits for a decision (reconciler passes show {mark.pass_id})"
    return f"{found}; {listed.state}, due {moment(mark.due_at)}"


def _found(line: LedgerLine) -> str:
    which = (
        f"{line.kind} pass {line.pass_id}"
        if line.kind
        else f"pass {line.pass_id}, which is not kept any more"
    )
    why = f"{line.verdict}, {line.reason}{_of(line.verdict, line.owners)}"
    found = f"found by {which}: {why}" if line.event != "restored" else f"of {which}"
    if line.decided_by and line.decided_at:
        return f"{found}; approved by {line.decided_by}, {moment(line.decided_at)}"
    if line.unapproved:
        return f"{found}; above the breaker's limits"
    return f"{found}; within the breaker's limits" if line.kind else found


def _of(verdict: str, owners: Sequence[str]) -> str:
    """Whose it was: of what has departed no row says so any more."""
    return f", of virtual key {', '.join(owners)}" if verdict == Verdict.DEPARTED and owners else ""


def _event(line: LedgerLine) -> str:
    what = line.what if line.record_id is None else f"row {line.record_id}"
    detail = f": {line.detail}" if line.detail else ""
    match line.event:
        case "intent":
            return f"{what} claimed for deletion"
        case "result":
            size = f" ({human_bytes(line.bytes)})" if line.bytes and line.result == "deleted" else ""
            said = {
                "missing": "was missing already",
                "left": "left the table before, and is kept for an undo",
            }
            result = said.get(line.result or "", line.result)
            return f"{what} {result}{size}{detail}"
        case "restored":
            result = "" if line.result == "restored" else f" ({line.result})"
            return f"{what} restored{result} by {line.reason}{detail}"
        case "cancelled" | "uncached":
            said = {"cancelled": "mark withdrawn", "uncached": "purged from the CDN"}
            return f"{said[line.event]}{detail}"
        case "erased":
            return f"erasure ordered {line.detail}"
        case _:
            purged = f"{line.event}, {line.reason}"
            return f"{what} {'erased' if purged == 'purged, erasure' else purged}{detail}"
