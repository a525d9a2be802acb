"""The site as JSON: its status, its settings, its drift, what is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler import model
from reconciler.planning.formatting import timestamp
from reconciler.settings import Loaded, SettingReport, Settings, tell

if TYPE_CHECKING:  # the settings are written without the engine and the catalog being loaded
    from reconciler.operations.init import Looked
    from reconciler.operations.policy import Published
    from reconciler.operations.status import Status
from reconciler.operations.as_json.passes import approval, one_pass, pass_summary, verdicts
from reconciler.operations.as_json.values import Json, fields


def status(of: Status) -> Json:
    """How a site stands; `leader` null: no replica holds the lease, `mode` null: there was no pass yet.

    `mode.source` null: no replica has spoken lately, and the mode is that of the last pass.
    `due.lasts_seconds` null: none goes, as `due.stopped_by` and `due.stuck` say, or nothing tells how fast.
    """
    standing, lasts = of.standing or model.Standing(), of.backlog_lasts
    return {
        "at": timestamp(of.now),
        "leader": fields(of.leader, "holder", "epoch", "acquired_at", "expires_at") if of.leader else None,
        "mode": fields(of.mode, "mode", "since", "source") if of.mode else None,
        "pause": pause(of.pause),
        "replicas": [_replica(each) for each in of.replicas],
        "passes": [one_pass(each) for each in of.passes],
        "tripped": [pass_summary(each) for each in of.waiting],
        "approved": [approval(each) for each in of.approved],
        "last_once": _replica(of.last_once) if of.last_once else None,
        "due": {
            "now": standing.due,
            "since": timestamp(standing.oldest_due),
            "stopped_by": of.stopped_by,
            "stuck": of.stuck,
            "gone_in_10_minutes": of.went,
            "lasts_seconds": None if lasts is None else round(lasts.total_seconds(), 1),
            "within_24_hours": sum(standing.due_soon.values()),
            "next_at": timestamp(standing.next_due),
        },
        "marks": {
            verdict: {"keys": keys, "bytes": size, "first_seen_at": timestamp(oldest)}
            for verdict, (keys, size, oldest) in of.marks.items()
        },
        "holds": {kind: of.holds.get(kind, 0) for kind in model.HoldKind},
    }


def _replica(of: model.Replica) -> Json:
    """`epoch` null: it does not lead. `next_pass` are the kinds that rest, `phases` those under way."""
    return {
        **fields(of, "name", "said_at", "version", "mode", "mode_from", "config_hash", "epoch"),
        **fields(of, "halted", "halted_since"),
        "next_pass": {kind: timestamp(at) for kind, at in of.next_pass.items()},
        "phases": {kind: str(phase) for kind, phase in of.phases.items()},
    }


def pause(of: model.Pause) -> Json:
    """How the switch stands; `at`, `by` and `reason` of an ended pause are those of its end."""
    return fields(of, "paused", "at", "by", "reason")


def published(told: Published) -> Json:
    """`name` null: the global settings, for everything else. `doubts` are about Conduit's policies."""
    said = ("name", "whose", "kept", "of_quota", "soft_deleted", "of_ended_keys", "records", "bytes")
    return {
        "at": timestamp(told.at),
        "rules": [fields(each, *said) for each in told.rules],
        "for_all": list(told.for_all),
        "doubts": list(told.doubts),
    }


def settings(loaded: Loaded[Settings]) -> Json:
    """The hash that passes record, the mode, and the settings in the order of the reference."""
    of = loaded.settings
    reports = [_setting(each) for each in tell(loaded)]
    return {"config_hash": of.config_hash(), "mode": of.mode(), "settings": reports}


def _setting(each: SettingReport) -> Json:
    return {
        **fields(each, "name", "key", "value", "default", "required", "runtime"),
        "source": each.origin.source,
        "where": each.origin.where or None,
        "over": [{"source": below.source, "where": below.where or None} for below in each.origin.over],
        "meaning": each.meaning,
    }


def looked(found: Looked, path: str) -> Json:
    """A first look, and the file that was written."""
    made = found.proposal
    return {
        "file": path,
        "database": found.database,
        "bucket": found.bucket,
        "media_table": made.table,
        "media_columns": dict(made.columns),
        "key_column": made.key_column,
        "key_form": {
            "strip": made.form.strip,
            "add": made.form.add,
            "cut_query": made.form.cut_query,
        },
        "generated_column": made.generated or None,
        "statements": [*found.statements, *found.views],
        "keys_table": made.keys_table or None,
        "key_columns": dict(made.key_columns),
        "media_where": dict(made.media_where),
        "variant_columns": list(made.variants),
        "also_referenced": list(made.also_referenced),
        "epoch_unit": made.epoch_unit,
        "prefixes": list(found.prefixes),
        "seen": [
            {
                "prefix": each.prefix,
                "rows": each.rows,
                "objects": each.objects,
                "more_objects": each.more_objects,
            }
            for each in found.seen
        ],
        "sampled": found.sampled,
        "joined": found.there,
        "example_missing": found.missing,
        "notes": list(made.notes),
        "unreadable_tables": list(found.unreadable),
    }


def checked(checks: Sequence[model.Check]) -> Json:
    """What `doctor` found; `skip` is what was not looked at."""
    return {
        "failed": sum(check.status is model.CheckStatus.FAIL for check in checks),
        "warnings": sum(check.status is model.CheckStatus.WARN for check in checks),
        "skipped": sum(check.status is model.CheckStatus.SKIP for check in checks),
        "checks": [
            {
                "name": check.name,
                "status": check.status.value,
                "detail": check.detail,
                "advice": check.advice or None,
            }
            for check in checks
        ],
    }


def drift_by_verdict(of: Mapping[model.Verdict, tuple[int, int, datetime | None]]) -> Json:
    """Of every verdict, how many keys are marked, their bytes, and the first sighting of the oldest."""
    marked = {verdict: of.get(verdict, (0, 0, None)) for verdict in verdicts(of)}
    return {
        verdict: {"keys": keys, "bytes": size, "first_seen_at": timestamp(oldest)}
        for verdict, (keys, size, oldest) in marked.items()
    }


def drift(of: model.Standing) -> Json:
    """What is marked, what of it is due now and what within a day, what waits for a person, and what can come
    back.
    """
    hidden, size = of.hidden
    return {
        "by_verdict": drift_by_verdict(of.drift),
        "by_prefix": {
            prefix: {verdict: {"keys": keys, "bytes": size} for verdict, (keys, size) in parts.items()}
            for prefix, parts in of.by_prefix.items()
        },
        "due": {"keys": of.due, "oldest_due_at": timestamp(of.oldest_due)},
        "due_within_a_day": {verdict: of.due_soon.get(verdict, 0) for verdict in verdicts(of.due_soon)},
        "tripped": [
            {"kind": kind, **fields(each, "pass_id", "reason", "since")} for kind, each in of.tripped.items()
        ],
        "returnable": {"objects": hidden, "bytes": size},
        "restores": {"keys": of.restores, "oldest_at": timestamp(of.oldest_restore)},
        "departures": {"rows": of.departures, "oldest_at": timestamp(of.oldest_departure)},
    }
