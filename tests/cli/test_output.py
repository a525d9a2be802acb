"""What is printed: exact for scripts, safe and bounded for people."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from reconciler.cli.doctor import print_check, print_counts
from reconciler.cli.once import print_report
from reconciler.cli.output import Output
from reconciler.cli.plan import Csv, JsonLines, PlanTable
from reconciler.cli.progress import ProgressBar
from reconciler.model import (
    Check,
    CheckStatus,
    Finding,
    KeepReason,
    Mode,
    Outcome,
    PassKind,
    Removed,
    Report,
    Tally,
    Verdict,
)
from reconciler.operations import as_json
from reconciler.operations.findings import FIRST
from reconciler.planning.formatting import human_bytes, printable, shortened, timestamp
from reconciler.telemetry.logs import configure

DUE = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REPORT = Report(mode=Mode.DRY_RUN, outcome=Outcome.CONVERGED)
ODD = 'a\nb\x1b[2J\u202etxt.exe\\,"quoted" \'é😀\udcff'


def finding(key: str = "image/a", verdict: Verdict = Verdict.ORPHAN, **changes: object) -> Finding:
    values: dict[str, object] = {"verdict": verdict, "storage_key": key, "bytes": 5, "reason": "no record"}
    return Finding(**{**values, **changes})  # type: ignore[arg-type]  # the fields of a Finding


def screen(*, terminal: bool = False) -> tuple[Output, io.StringIO]:
    out = io.StringIO()
    return Output(file=out, width=200, force_terminal=terminal, highlight=False), out


# --- scripts ----------------------------------------------------------------------------------------


def test_the_report_has_every_key_of_the_contract_zero_included() -> None:
    assert json.loads(json.dumps(as_json.report(REPORT))) == {
        "mode": "dry_run",
        "outcome": "converged",
        "objects": 0,
        "records": 0,
        "found": dict.fromkeys(
            (
                "orphan",
                "dangling",
                "expired",
                "stale",
                "revoked",
                "ownerless",
                "over_quota",
                "departed",
                "mismatch",
                "adopt",
            ),
            0,
        ),
        "deleted": {"objects": 0, "records": 0, "bytes": 0},
        "kept": dict.fromkeys(
            (
                "pending",
                "hold",
                "outside_prefix",
                "unknown_shape",
                "folder_marker",
                "replacement_character",
                "disabled",
                "recoverable",
                "near_miss",
                "mismatch",
            ),
            0,
        ),
        "failed": 0,
        "duration_seconds": 0,
    }


def test_the_report_tells_what_was_counted() -> None:
    told: Any = json.loads(
        json.dumps(
            as_json.report(
                Report(
                    mode=Mode.LIVE,
                    outcome=Outcome.PENDING,
                    objects=3,
                    records=2,
                    found={Verdict.STALE: 1},
                    removed=Removed(objects=4, records=5, bytes=6, failed=7),
                    kept={KeepReason.PENDING: 8},
                    duration_seconds=1.23456,
                )
            )
        )
    )
    assert (told["mode"], told["outcome"], told["objects"], told["records"]) == ("live", "pending", 3, 2)
    assert (told["found"]["stale"], told["found"]["orphan"], told["kept"]["pending"]) == (1, 0, 8)
    assert told["deleted"] == {"objects": 4, "records": 5, "bytes": 6}
    assert (told["failed"], told["duration_seconds"]) == (7, 1.235)


def test_json_lines_have_exactly_the_fields_of_the_contract() -> None:
    out = io.StringIO()
    writer = JsonLines(out, DUE)
    writer.emit(
        [
            finding(
                virtual_key_id="7",
                object_last_modified=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
                record_created_at=datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC),
            ),
            finding(ODD, kept=KeepReason.HOLD),
        ]
    )
    writer.finish(REPORT)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first == {
        "verdict": "orphan",
        "storage_key": "image/a",
        "bytes": 5,
        "reason": "no record",
        "virtual_key_id": "7",
        "object_last_modified": "2026-01-02T01:04:05Z",
        "record_created_at": "2026-01-02T03:04:05.600000Z",
        "due_at": "2026-11-23T12:00:00Z",
    }
    assert second["storage_key"] == ODD
    assert second["due_at"] is None
    assert out.getvalue().isascii()


def test_csv_has_the_same_columns_and_one_line_for_each_finding() -> None:
    out = io.StringIO()
    writer = Csv(out, DUE)
    writer.emit([finding(ODD, reason="line\nbreak"), finding(kept=KeepReason.PENDING)])
    writer.finish(REPORT)
    assert len(out.getvalue().splitlines()) == 3
    first, second = csv.DictReader(io.StringIO(out.getvalue()))
    assert list(first) == [
        "verdict",
        "storage_key",
        "bytes",
        "reason",
        "virtual_key_id",
        "object_last_modified",
        "record_created_at",
        "due_at",
    ]
    assert first["storage_key"] == 'a\\nb\\x1b[2J\\u202etxt.exe\\\\,"quoted" \'é😀\\udcff'
    assert (first["virtual_key_id"], second["due_at"]) == ("", "")


# --- people -----------------------------------------------------------------------------------------


def test_the_table_counts_by_verdict_and_shows_examples() -> None:
    console, out = screen()
    table = PlanTable(console)
    table.emit([finding(f"image/{number:03}", bytes=1024) for number in reversed(range(30))])
    table.emit([finding("image/x", Verdict.STALE, reason="older than 90 days", kept=KeepReason.DISABLED)])
    table.finish(Report(mode=Mode.DRY_RUN, outcome=Outcome.CONVERGED, objects=31, records=4))
    text = out.getvalue()
    (orphans,) = [line for line in text.splitlines() if line.startswith("orphan") and "30" in line]
    assert orphans.split()[:5] == ["orphan", "30", "0", "30.0", "KiB"]
    assert "image/000, image/001" in orphans
    assert "image/009" in text
    assert "image/010" not in text
    assert "older than 90 days [kept: disabled]" in text
    assert f"The first {FIRST} of each verdict; --format jsonl prints every finding." in text
    assert "31 objects and 4 records looked at" in text
    (stale,) = [line for line in text.splitlines() if line.startswith("stale") and "image/x" in line][:1]
    assert stale.split()[:5] == ["stale", "0", "1", "0", "B"], "nothing is freed of what is kept"


def test_the_table_is_the_same_in_whatever_order_findings_come() -> None:
    findings = [finding(f"image/{number:03}") for number in range(40)]
    texts = []
    for order in (findings, findings[::-1], findings[20:] + findings[:20]):
        console, out = screen()
        table = PlanTable(console)
        for one in order:
            table.emit([one])
        table.finish(REPORT)
        texts.append(out.getvalue())
    assert texts[0] == texts[1] == texts[2]


def test_no_key_reaches_the_terminal_raw() -> None:
    console, out = screen()
    table = PlanTable(console)
    table.emit([finding(ODD), finding("[red]image/markup[/red]", Verdict.STALE)])
    table.finish(REPORT)
    assert not {char for char in out.getvalue() if not char.isprintable()} - {"\n"}
    assert "a\\nb\\x1b[2J\\u202etxt.exe" in out.getvalue()
    assert "[red]image/markup[/red]" in out.getvalue()


def test_a_line_goes_on_below_and_breaks_no_word() -> None:
    out = io.StringIO()
    narrow = Output(file=out, width=30, highlight=False)
    key = "image/" + "k" * 40
    narrow.say(("orphan  ", "bold"), key, "  no record; and as many words as it takes", hang=2)
    narrow.say("ok    rights    all that deleting takes and more", hang=16)
    narrow.say("expired, since 2026-06-01 12:00:00Z", hang=2)
    narrow.say("as long as it needs to be: without hang no line ends")
    assert out.getvalue().splitlines() == [
        "orphan",
        f"  {key}",
        "  no record; and as many words",
        "  as it takes",
        "ok    rights    all that",
        "                deleting takes",
        "                and more",
        "expired, since",
        "  2026-06-01 12:00:00Z",
        "as long as it needs to be: without hang no line ends",
    ]


def test_colour_is_for_terminals() -> None:
    plain, plain_out = screen()
    coloured, coloured_out = screen(terminal=True)
    for console in (plain, coloured):
        table = PlanTable(console)
        table.emit([finding()])
        table.finish(Report(mode=Mode.DRY_RUN, outcome=Outcome.TRIPPED))
    assert "\x1b" not in plain_out.getvalue()
    assert "\x1b[" in coloured_out.getvalue()
    assert "The breaker would trip." in plain_out.getvalue()


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.HALTED])
def test_what_did_not_look_does_not_say_that_there_is_no_drift(outcome: Outcome) -> None:
    console, out = screen()
    print_report(Report(mode=Mode.DRY_RUN, outcome=outcome), console)
    assert "no drift" not in out.getvalue()


def test_no_drift_is_said_in_words() -> None:
    console, out = screen()
    kept = {KeepReason.PENDING: 0, KeepReason.HOLD: 0}
    PlanTable(console).finish(Report(mode=Mode.DRY_RUN, outcome=Outcome.CONVERGED, kept=kept))
    assert "kept" not in out.getvalue()
    assert "No drift was found." in out.getvalue()


@pytest.mark.parametrize("outcome", [Outcome.CONVERGED, Outcome.TRIPPED])
def test_findings_that_were_not_asked_for_are_not_said_to_be_no_drift(outcome: Outcome) -> None:
    console, out = screen()
    found = {Verdict.ORPHAN: 4, Verdict.STALE: 1}
    PlanTable(console).finish(Report(mode=Mode.DRY_RUN, outcome=outcome, found=found))
    assert "Of 5 findings none is among those asked for." in out.getvalue()
    assert ("The breaker would trip." in out.getvalue()) == (outcome is Outcome.TRIPPED)
    assert "No drift" not in out.getvalue()


def test_what_is_too_new_is_not_said_to_be_no_drift() -> None:
    console, out = screen()
    kept = {KeepReason.PENDING: 4, KeepReason.HOLD: 0}
    PlanTable(console).finish(Report(mode=Mode.DRY_RUN, outcome=Outcome.CONVERGED, kept=kept))
    assert "kept: 4 pending (their grace period or delay is not over)\n" in out.getvalue()
    assert "Nothing is old enough to go yet; `reconciler plan --at 7d` looks ahead." in out.getvalue()
    assert "No drift" not in out.getvalue()


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (REPORT, "no drift found"),
        (REPORT, "dry run, nothing was deleted; would have gone: 0 objects (0 B), 0 records"),
        (Report(mode=Mode.LIVE, outcome=Outcome.CONVERGED), "deleted: 0 objects"),
        (Report(mode=Mode.LIVE, outcome=Outcome.FAILED, removed=Removed(failed=2)), "failed: 2"),
        (
            Report(mode=Mode.LIVE, outcome=Outcome.PENDING, kept={KeepReason.PENDING: 3, KeepReason.HOLD: 0}),
            "kept: 3 pending (their grace period or delay is not over)\n",
        ),
        (Report(mode=Mode.LIVE, outcome=Outcome.PENDING, found={Verdict.STALE: 1200}), "1,200"),
    ],
)
def test_the_summary_tells_what_happened(report: Report, told: str) -> None:
    console, out = screen()
    print_report(report, console)
    assert told in out.getvalue()
    assert str(report.outcome) in out.getvalue()


def test_checks_are_a_line_each_with_advice_where_it_helps() -> None:
    console, out = screen()
    checks = [
        Check(name="database", status=CheckStatus.OK, detail="Postgres 18", advice="none needed"),
        Check(name="schema", status=CheckStatus.FAIL, detail="not\nthere", advice="run `reconciler migrate`"),
        Check(name="rights", status=CheckStatus.WARN, detail="two lack", advice="run:\nGRANT a;\nGRANT b;"),
        Check(name="clocks", status=CheckStatus.SKIP, detail="not looked at: away"),
    ]
    for check in checks:
        print_check(check, console)
    print_counts(checks, console)
    assert out.getvalue().splitlines() == [
        "ok    database            Postgres 18",
        "fail  schema              not\\nthere",
        "                          → run `reconciler migrate`",
        "warn  rights              two lack",
        "                          → run:",
        "  GRANT a;",
        "  GRANT b;",
        "skip  clocks              not looked at: away",
        "3 checks, 1 failed, 1 with a warning, 1 not looked at",
    ]


def feed(bar: ProgressBar) -> None:
    with bar:
        bar.pass_started(PassKind.SWEEP)
        bar.page_listed(1000)
        bar.records_read(7)
        bar.pass_finished(PassKind.SWEEP, Outcome.CONVERGED, 1.0, Tally())
        bar.deleted(Mode.LIVE, Verdict.ORPHAN, "deleted", 5, 5)
        bar.deleted(Mode.LIVE, Verdict.ORPHAN, "record", 5, 0)


def test_the_progress_bar_counts_and_is_for_terminals() -> None:
    quiet, quiet_out = screen()
    feed(ProgressBar(quiet))
    assert quiet_out.getvalue() == ""
    seen, seen_out = screen(terminal=True)
    feed(ProgressBar(seen, total=5))
    assert "1,000 objects, 7 records looked at, 5 keys dealt with" in seen_out.getvalue()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**30, "5.0 GiB"), (2**70, "1024.0 EiB")],
)
def test_sizes_are_in_binary_units(size: int, text: str) -> None:
    assert human_bytes(size) == text


def test_long_keys_keep_both_ends() -> None:
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert shortened("abc", 7) == "abc"


def test_different_keys_never_look_the_same() -> None:
    assert printable("a\nb") != printable("a\\nb")
    assert printable("") == ""


def test_times_end_in_z() -> None:
    assert timestamp(datetime(2026, 1, 1)) == "2026-01-01T00:00:00Z"  # noqa: DTZ001 - that is the case
    assert timestamp(None) is None


# --- logs -------------------------------------------------------------------------------------------


def logged(log_format: str, level: str, **event: object) -> str:
    import structlog  # noqa: PLC0415 - configured anew by each test

    out = io.StringIO()
    configure(log_format, level, out)
    try:
        structlog.get_logger("test").info("something happened", **event)
    finally:
        structlog.reset_defaults()
    return out.getvalue()


def test_logs_are_json_where_nobody_watches() -> None:
    line = json.loads(logged("auto", "info", objects=3))
    assert (line["event"], line["level"], line["objects"]) == ("something happened", "info", 3)
    assert line["timestamp"].endswith("Z")


def test_logs_are_plain_lines_on_a_console() -> None:
    text = logged("console", "info", objects=3)
    assert "something happened" in text
    assert "objects=3" in text


def test_what_is_less_severe_is_left_out() -> None:
    assert logged("json", "warning") == ""


@pytest.mark.parametrize(
    "event",
    [
        {"url": "postgresql://u:s3cr3t@h/d"},
        {"error": OSError("cannot reach postgresql://u:s3cr3t@h/d")},
        {"nested": {"urls": ["http://k:s3cr3t@h"]}},
        {"aws_secret_access_key": "s3cr3t"},
        {"text": "password=s3cr3t host=h"},
        {"exc_info": ValueError("postgresql://u:s3cr3t@h/d")},
    ],
)
@pytest.mark.parametrize(("log_format", "level"), [("json", "info"), ("console", "debug"), ("json", "debug")])
def test_secrets_are_never_logged(event: dict[str, object], log_format: str, level: str) -> None:
    text = logged(log_format, level, **event)
    assert "something happened" in text
    assert "s3cr3t" not in text


def test_an_error_is_one_line_unless_debugging() -> None:
    try:
        raise ExceptionGroup("several", [ValueError("odd\nthing"), KeyError("k")])
    except ExceptionGroup as error:
        caught = error
    line = json.loads(logged("json", "info", exc_info=caught))
    assert line["error"] == "ValueError: odd thing; KeyError: 'k'"
    assert "Traceback" not in json.dumps(line)
    assert "Traceback" in json.loads(logged("json", "debug", exc_info=caught))["exception"]
