"""Explain why one object or row is still here, or is not, and what becomes of it and when.

What the bucket shows of the key, the rows that name it, their owner, each rule with the values that it
compares, what a pass would say now and the time at which that changes, marks, holds, the ledger, and what
can be brought back and until when. For a key that is nowhere, others that may be meant. Only reads; works
in dry run and while paused. Exits 1 where nothing has this key.

$ reconciler explain image/2026/cat.png
$ reconciler explain --json image/2026/cat.png | jq .changes_at
"""

import argparse
from collections.abc import Sequence
from datetime import datetime

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, command
from reconciler.cli.errors import DONE, FAILED
from reconciler.cli.history import print_history
from reconciler.cli.types import Output
from reconciler.model import Explained, Judgement, KeyState, Outlook, RuleSeen, StoredObject
from reconciler.model.moments import moment
from reconciler.planning import formatting
from reconciler.planning.formatting import human_bytes


def add(commands: Commands) -> None:
    made = command(commands, "explain", __doc__, run)
    made.add_argument("key", metavar="KEY", help="the storage key")
    as_json(made)


def run(args: argparse.Namespace) -> int:
    settings = running.settings_of(args)
    from reconciler import app
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json

    found = running.wait_unless_ended(lambda: app.explain(settings, args.key))
    if args.json:
        print_json(as_json.explained(found))
    else:
        print_explained(found, console())
    return DONE if found.known else FAILED


def print_explained(found: Explained, out: Output) -> None:
    """Both sides, the rules, the verdict, then what was done."""
    seen = found.seen
    if not found.known:
        out.say(("Nothing has this key: ", "bold"), "no object, no row, no line of the ledger")
    else:
        _bucket(found, out)
        _rows(found, out)
        _rules(found.rules, out)
        _verdict(found.outlook, out)
    for near in seen.near:
        which = " and ".join(filter(None, ("an object" if near.object else "", "a row" if near.row else "")))
        out.say(("near: ", "bold"), f"{which} with the key ", (near.storage_key, "bold"))
    _departures(found, out)
    _stops(found, out)
    if found.history.state is not KeyState.UNKNOWN:
        print_history(found.history, out)
    for each in found.returnable:
        what = "the object" if each.record_id is None else f"row {each.record_id}"
        until = f"{what} can be brought back until {_when(each.until)} at least"
        out.say(("undo: ", "bold"), until, hang=2)
    for line in found.unseen:
        out.say(("not known: ", "yellow"), line, hang=2)


def _bucket(found: Explained, out: Output) -> None:
    stored = found.seen.object
    out.say(("bucket: ", "bold"), _object(stored) if stored else "no object", hang=2)
    if found.versions and any(each.marker or not each.latest for each in found.versions):
        for each in found.versions:
            what = "delete marker" if each.marker else f"{human_bytes(each.size)}, ETag {each.etag}"
            latest = ", the latest" if each.latest else ""
            out.say(f"  version {each.id}: {what}, {_when(each.last_modified)}{latest}", hang=4)
    if found.lock:
        out.say(f"  {found.lock.reason}", f" until {_when(found.lock.until)}" if found.lock.until else "")


def _object(stored: StoredObject) -> str:
    return f"{human_bytes(stored.size)}, ETag {stored.etag}, last modified {_when(stored.last_modified)}"


def _rows(found: Explained, out: Output) -> None:
    if not found.rows:
        out.say(("rows: ", "bold"), "none names it")
    if found.seen.named:
        out.say(("named by: ", "bold"), ", ".join(found.seen.named), hang=2)
    for each in found.rows:
        row, owner = each.record, each.record.owner
        dates = [
            f"{name.removesuffix('_at').replace('_', ' ')} {_when(value)}"
            for name in ("created_at", "last_accessed_at", "expires_at", "deleted_at")
            if (value := getattr(row, name)) is not None
        ]
        size = [] if row.size_bytes is None else [human_bytes(row.size_bytes)]
        out.say((f"row {row.id}: ", "bold"), ", ".join([*size, *dates]) or "no dates", hang=2)
        if owner is not None:
            state = "enabled" if owner.enabled else f"disabled, seen since {_when(owner.disabled_since)}"
            end = f", expires {_when(owner.expires_at)}" if owner.expires_at else ""
            out.say(f"  virtual key {owner.id}: {state}{end}", hang=4)
        elif row.virtual_key_id is not None:
            out.say(f"  virtual key {row.virtual_key_id}: does not exist")
        if each.rule is not None:
            out.say(f"  the rule {each.rule} holds for it")
        _rules(each.rules, out)
        if len(found.rows) > 1:
            _verdict(each.outlook, out, indent="  ")


def _rules(rules: Sequence[RuleSeen], out: Output) -> None:
    for rule in rules:
        off = " (switched off)" if rule.switched_off else ""
        if rule.holds:
            out.say((f"  {rule.verdict}", "red"), f"{off}: {rule.reason}", hang=4)
        elif rule.holds_from is not None:
            when = f"from {_when(rule.holds_from)}"
            out.say((f"  {rule.verdict}", "yellow"), f"{off}: {when}: {rule.reason}", hang=4)
        else:
            compared = ", ".join(f"{name} {_shown(value)}" for name, value in rule.compared.items())
            never = f"{off}: no, and time alone does not change it ({compared})"
            out.say((f"  {rule.verdict}", "green"), never, hang=4)


def _verdict(outlook: Outlook, out: Output, indent: str = "") -> None:
    hang = len(indent) + 2
    out.say((f"{indent}a pass now says: ", "bold"), _standing(outlook.now), hang=hang)
    if outlook.then is not None:
        out.say((f"{indent}from {_when(outlook.changes_at)}: ", "bold"), _standing(outlook.then), hang=hang)
    else:
        out.say(f"{indent}time alone does not change that")


def _standing(standing: Judgement) -> str:
    if standing.goes:
        return f"{standing.verdict}, it goes: {standing.reason}"
    named = [
        each for each in (standing.verdict, f"kept ({standing.kept})" if standing.kept else "stays") if each
    ]
    return f"{', '.join(named)}: {standing.reason}"


def _departures(found: Explained, out: Output) -> None:
    for each in found.departures:
        whose = "" if each.virtual_key is None else f" of virtual key {each.virtual_key}"
        undo = (
            "is kept for an undo" if each.row_kept else "was not kept: an undo brings back the object alone"
        )
        left = f"a row{whose} left the table at {_when(each.left_at)}, and {undo}"
        out.say(("departed: ", "bold"), left, hang=2)
        out.say("  no pass has taken note of it yet: one does within seconds while a daemon runs")


def _stops(found: Explained, out: Output) -> None:
    hold = found.seen.hold
    if hold is not None:
        until = f" until {_when(hold.until)}" if hold.until else ""
        held = f"{hold.kind} {hold.target}{until} by {hold.author}: {hold.reason}"
        out.say(("on hold: ", "bold"), held, hang=2)
    if found.pause.paused:
        out.say(("nothing is deleted: ", "bold"), formatting.pause(found.pause), hang=2)
    elif found.mode == "dry_run":
        whose = (
            f"the leader, {found.leader}, is"
            if found.leader
            else "no replica says that it leads, and here it is"
        )
        out.say(("nothing is deleted: ", "bold"), f"{whose} in dry run (RECONCILER_DRY_RUN is true)", hang=2)


def _shown(value: object) -> str:
    return _when(value) if isinstance(value, datetime) else "none" if value is None else str(value).lower()


def _when(at: datetime | None) -> str:
    return moment(at) or "no date"
