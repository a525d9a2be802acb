"""Passes for people and for scripts: the list, one of them, and what became of a decision."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.model import Mark, Pass, PassDetail, PassState, Verdict
from reconciler.terminal.text import human_bytes, printable, timestamp

STYLES = {PassState.ARMED: "green", PassState.TRIPPED: "red", PassState.FAILED: "yellow"}
ALL_PREFIXES = "(all)"


def list_as_json(passes: Sequence[PassDetail]) -> str:
    """An array of the passes, newest first."""
    return json.dumps([_summary(each) for each in passes])


def show_as_json(detail: PassDetail) -> str:
    """One pass with everything that is known of it."""
    return json.dumps(
        {
            **_summary(detail),
            "by_prefix": {
                prefix: {"objects": part.objects, "records": part.records, "found": _found(part.found)}
                for prefix, part in sorted(detail.current.tally.by_prefix.items())
            },
            "marks_by_prefix": [
                {"prefix": prefix, "verdict": verdict, "marks": number}
                for (prefix, verdict), number in sorted(detail.marks.items())
            ],
            "examples": [_example(mark) for mark in detail.examples],
        }
    )


def decision_as_json(detail: PassDetail, marks: int) -> str:
    """What became of a decision: the pass as it is now, and how many marks it was about."""
    return json.dumps({**_summary(detail), "marks": marks})


def _summary(detail: PassDetail) -> dict[str, object]:
    current, tally = detail.current, detail.current.tally
    return {
        "id": current.id,
        "marker": current.marker,
        "state": current.state,
        "mode": current.mode,
        "config_hash": current.config_hash,
        "began_at": timestamp(current.cutoff),
        "finished_at": timestamp(current.finished_at),
        "objects": tally.objects,
        "records": tally.records,
        "found": _found(tally.found),
        "marks": sum(detail.marks.values()),
        "reason": current.trip_reason,
        "both_sides": current.both_sides,
        "takes_in": [each for each in detail.together if each != current.id],
        "decided_by": current.decided_by,
        "decided_at": timestamp(current.decided_at),
    }


def _found(found: Mapping[Verdict, int]) -> dict[Verdict, int]:
    return {verdict: found.get(verdict, 0) for verdict in _verdicts(found)}


def _verdicts(found: Iterable[Verdict]) -> list[Verdict]:
    """All that there are, then those of a newer program."""
    return [*Verdict, *sorted({*found} - {*Verdict})]


def _example(mark: Mark) -> dict[str, object]:
    return {
        "verdict": mark.verdict,
        "storage_key": mark.storage_key,
        "bytes": mark.bytes,
        "reason": mark.reason,
        "due_at": timestamp(mark.due_at),
    }


def print_list(passes: Sequence[PassDetail], console: Console) -> None:
    """A line for each pass; the reasons of those that wait for a decision below."""
    if not passes:
        console.print("There has been no pass yet.")
        return
    table = Table("id", "marker", "state", "mode", "began", box=None, pad_edge=False)
    for heading in ("objects", "records", "found", "marks"):
        table.add_column(heading, justify="right")
    table.add_column("decided by")
    for detail in passes:
        current, tally = detail.current, detail.current.tally
        table.add_row(
            str(current.id),
            current.marker,
            Text(current.state, style=STYLES.get(current.state, "")),
            current.mode,
            _when(current.cutoff),
            f"{tally.objects:,}",
            f"{tally.records:,}",
            f"{sum(tally.found.values()):,}",
            f"{sum(detail.marks.values()):,}",
            printable(current.decided_by or ""),
        )
    console.print(table)
    for detail in passes:
        if detail.current.state is PassState.TRIPPED:
            console.print(_reason(detail), soft_wrap=True)
            console.print(_choice(detail.current), soft_wrap=True)


def print_pass(detail: PassDetail, console: Console) -> None:
    """Why it is as it is, counts by prefix and verdict, and the first keys of each verdict."""
    current, tally = detail.current, detail.current.tally
    console.print(_reason(detail), soft_wrap=True)
    ended = f", ended {_when(current.finished_at)}" if current.finished_at else ""
    console.print(
        f"{current.mode}; began {_when(current.cutoff)}{ended}; {tally.objects:,} objects and"
        f" {tally.records:,} records looked at; settings {current.config_hash}",
        soft_wrap=True,
    )
    if current.decided_at is not None:
        verb = "approved" if current.state is PassState.ARMED else "discarded"
        who = printable(current.decided_by or "")
        console.print(Text(f"{verb} by {who}, {_when(current.decided_at)}"), soft_wrap=True)
    earlier = [str(each) for each in detail.together if each != current.id]
    if earlier:
        console.print(f"takes in the marks of {_some(earlier)}, which tripped before", soft_wrap=True)
    console.print(_counts(detail))
    if detail.examples:
        console.print(_examples(detail.examples), soft_wrap=True)
    if current.state is PassState.TRIPPED:
        console.print(_choice(current), soft_wrap=True)


def print_decision(detail: PassDetail, marks: int, console: Console) -> None:
    """What became of it, in a line."""
    current = detail.current
    if current.state is PassState.DISCARDED:
        done = f"discarded: {marks:,} marks withdrawn; the next pass looks at everything anew"
    else:
        done = f"approved: {marks:,} marks released; each goes when it is due, if it is still to go then"
    console.print(Text(f"pass {current.id} {done}"), soft_wrap=True)


def _reason(detail: PassDetail) -> Text:
    current = detail.current
    line = Text(f"pass {current.id} of the {current.marker} marker: ")
    line.append(current.state, style=STYLES.get(current.state, ""))
    if current.trip_reason:
        line.append(f": {printable(current.trip_reason)}")
    return line


def _choice(current: Pass) -> Text:
    understood = " --i-understand" if current.both_sides else ""
    return Text(
        f"  to let it go: reconciler approve {current.id}{understood}\n"
        f"  to withdraw it: reconciler discard {current.id}",
        style="bold",
    )


def _counts(detail: PassDetail) -> Table:
    """What was found under each prefix, and the marks of it that are there."""
    table = Table("prefix", "verdict", box=None, pad_edge=False)
    for heading in ("found", "marks", "of objects", "of records"):
        table.add_column(heading, justify="right")
    tally, marks = detail.current.tally, detail.marks
    parts = dict(tally.by_prefix) or {"": tally}
    in_all: Counter[Verdict] = Counter()
    for (_, verdict), number in marks.items():
        in_all[verdict] += number
    for prefix, part in sorted(parts.items()):
        verdicts = _verdicts([*part.found, *in_all])
        by_verdict = {v: marks.get((prefix, v), 0) for v in verdicts} if tally.by_prefix else in_all
        for verdict in verdicts:
            found, marked = part.found.get(verdict, 0), by_verdict.get(verdict, 0)
            if found or marked:
                shown = printable(prefix) or ALL_PREFIXES
                counts = (f"{n:,}" for n in (found, marked, part.objects, part.records))
                table.add_row(Text(shown), verdict, *counts)
    return table


def _examples(marks: Sequence[Mark]) -> Text:
    lines = Text()
    for mark in marks:
        lines.append(f"{mark.verdict:<9}  ", style="bold")
        lines.append(printable(mark.storage_key))
        about = f"{human_bytes(mark.bytes)}  {printable(mark.reason)}; due {_when(mark.due_at)}"
        lines.append(f"  {about}\n", style="dim")
    return lines


def _some(ids: Sequence[str]) -> str:
    shown = 5
    rest = len(ids) - shown
    passes = f"pass {ids[0]}" if len(ids) == 1 else f"passes {', '.join(ids[:shown])}"
    return f"{passes} and {rest} more" if rest > 0 else passes


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""
