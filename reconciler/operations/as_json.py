"""Results as programs see them: what `--json` prints, and what an API answers with.

Each function returns what JSON can hold. Every key is always there; a time is ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from reconciler import model
from reconciler.planning.formatting import timestamp
from reconciler.settings import Loaded, SettingReport, Settings, tell

if TYPE_CHECKING:  # the settings are written without the engine and the catalog being loaded
    from reconciler.catalog.marks.queries import Cancelled
    from reconciler.engine.recover.undo import Undone
    from reconciler.operations.erase import Erasure
    from reconciler.operations.findings import Findings
    from reconciler.operations.holds import Added
    from reconciler.operations.init import Looked
    from reconciler.operations.marks import Retried
    from reconciler.operations.media import Medium, Stats, Usage
    from reconciler.operations.passes import Decided, Progress
    from reconciler.operations.policy import Published
    from reconciler.operations.status import Status

Json = dict[str, object]

STORAGE_NAMES = {
    model.StorageBy.VIRTUAL_KEY: "virtual_key_id",
    model.StorageBy.MEDIA_TYPE: "media_type",
    model.StorageBy.PROVIDER: "provider",
}
"""What the name of a part of the storage is called."""

FINDING = (
    "verdict",
    "storage_key",
    "bytes",
    "reason",
    "virtual_key_id",
    "object_last_modified",
    "record_created_at",
    "due_at",
)
"""The fields of a finding, in order."""

LEDGER_LINE = (
    "at",
    "event",
    "what",
    "storage_key",
    "record_id",
    "virtual_key_ids",
    "verdict",
    "reason",
    "result",
    "detail",
    "bytes",
    "pass_id",
    "kind",
    "decided_by",
    "decided_at",
    "operation_id",
)
"""The fields of a line of the ledger, in order."""


def pass_summary(detail: model.PassDetail) -> Json:
    """A pass in a list."""
    return {
        **_pass(detail.current),
        "marks": sum(detail.marks.values()),
        "takes_in": [each for each in detail.together if each != detail.current.id],
        "to_decide": detail.to_decide if detail.current.state is model.PassState.TRIPPED else None,
    }


def _pass(current: model.Pass) -> Json:
    tally = current.tally
    return {
        **_fields(current, "id", "kind", "state", "mode", "config_hash"),
        "began_at": timestamp(current.cutoff),
        "finished_at": timestamp(current.finished_at),
        **_fields(tally, "objects", "records"),
        "found": _found(tally.found),
        "reason": current.trip_reason,
        "both_sides": current.both_sides,
        **_fields(current, "decided_by", "decided_at", "superseded_by"),
    }


def pass_detail(detail: model.PassDetail) -> Json:
    """One pass with everything that is known of it."""
    example = ("verdict", "storage_key", "bytes", "reason", "due_at")
    return {
        **pass_summary(detail),
        "by_prefix": {
            prefix: {**_fields(part, "objects", "records"), "found": _found(part.found)}
            for prefix, part in sorted(detail.current.tally.by_prefix.items())
        },
        "marks_by_prefix": [
            {
                "prefix": prefix,
                "verdict": verdict,
                "marks": number,
                "bytes": detail.bytes.get((prefix, verdict), 0),
            }
            for (prefix, verdict), number in sorted(detail.marks.items())
        ],
        "examples": [_fields(mark, *example) for mark in detail.examples],
        "supersedes": list(detail.supersedes),
        "results": [
            {**_fields(each, "what", "verdict", "result", "keys", "bytes"), "examples": list(each.examples)}
            for each in detail.results
        ],
    }


def decided(decision: Decided) -> Json:
    """The pass as it is after the decision, and how many marks that was about; `withdrawn` are those that a
    discard withdrew, or an approval by a plan besides; `added` are those of the passes `supersedes`, which
    nobody has decided about.
    """
    return {
        **pass_summary(decision.detail),
        "marks": decision.marks,
        "withdrawn": decision.withdrawn,
        "supersedes": list(decision.detail.supersedes),
        "added": decision.added,
        "approval": approval(decision.detail.approval) if decision.detail.approval else None,
    }


def verdicts(found: Iterable[model.Verdict]) -> list[model.Verdict]:
    """All that there are, then those of a newer program."""
    return [*model.Verdict, *sorted({*found} - {*model.Verdict})]


def _found(found: Mapping[model.Verdict, int]) -> Json:
    return {verdict: found.get(verdict, 0) for verdict in verdicts(found)}


def status(of: Status) -> Json:
    """How a site stands; `leader` null: no replica holds the lease, `mode` null: there was no pass yet.

    `mode.source` null: no replica has spoken lately, and the mode is that of the last pass.
    `due.lasts_seconds` null: none goes, as `due.stopped_by` and `due.stuck` say, or nothing tells how fast.
    """
    standing, lasts = of.standing or model.Standing(), of.backlog_lasts
    return {
        "at": timestamp(of.now),
        "leader": _fields(of.leader, "holder", "epoch", "acquired_at", "expires_at") if of.leader else None,
        "mode": _fields(of.mode, "mode", "since", "source") if of.mode else None,
        "pause": pause(of.pause),
        "replicas": [_replica(each) for each in of.replicas],
        "passes": [_pass(each) for each in of.passes],
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


def approval(of: model.Approval) -> Json:
    """An approval of which `marks` are left; `ends_at` is for the first of them, `last_ends_at` for the last.

    Null: no program has said how long approvals count.
    """
    first, last = of.until or (None, None)
    return {
        **_fields(of, "pass_id", "kind", "by", "at", "marks"),
        "ends_at": timestamp(first),
        "last_ends_at": timestamp(last),
    }


def _replica(of: model.Replica) -> Json:
    """`epoch` null: it does not lead. `next_pass` are the kinds that rest, `phases` those under way."""
    return {
        **_fields(of, "name", "said_at", "version", "mode", "mode_from", "config_hash", "epoch"),
        **_fields(of, "halted", "halted_since"),
        "next_pass": {kind: timestamp(at) for kind, at in of.next_pass.items()},
        "phases": {kind: str(phase) for kind, phase in of.phases.items()},
    }


def history(of: model.KeyHistory) -> Json:
    """A key's lines, oldest first, and its state since `since`; `rows` are the ids that name it now."""
    line = ("at", "event", "what", "record_id", "verdict", "reason", "result", "detail", "bytes", "pass_id")
    return {
        **_fields(of, "key", "state", "since"),
        "rows": list(of.rows),
        "mark": mark(of.mark) if of.mark else None,
        "events": [_fields(each, *line, "kind", "decided_by", "decided_at") for each in of.lines],
    }


def ledger_line(of: model.LedgerLine) -> Json:
    """A line of the ledger; `decided_by` is who approved its pass, null where the breaker let it through."""
    return {name: list(of.owners) if name == "virtual_key_ids" else _field(of, name) for name in LEDGER_LINE}


def explained(of: model.Explained) -> Json:
    """One key's story. `verdict` and `kept` null: nothing is found, and it stays. `until` of what can be
    brought back is when a purge may take it at the earliest.
    """
    seen, told = of.seen, history(of.history)
    return {
        "key": seen.key,
        "known": of.known,
        **_fields(of, "at", "mode"),
        "pause": pause(of.pause),
        "object": _stored(seen.object) if seen.object else None,
        "lock": _fields(of.lock, "reason", "until") if of.lock else None,
        "versions": None
        if of.versions is None
        else [
            _fields(each, "id", "marker", "latest", "last_modified", "etag", "size") for each in of.versions
        ],
        "rows": [
            {
                **_fields(each.record, "id", "virtual_key_id", "size_bytes", "created_at", "expires_at"),
                **_fields(each.record, "last_accessed_at", "deleted_at"),
                "virtual_key": _fields(each.record.owner, "id", "enabled", "disabled_since", "expires_at")
                if each.record.owner
                else None,
                "rule": each.rule,
                "rules": [_rule(rule) for rule in each.rules],
                **_outlook(each.outlook),
            }
            for each in of.rows
        ],
        "named_by_further_column": bool(seen.named),
        "named_by": list(seen.named),
        "near": [
            {
                "key": each.storage_key,
                "row": each.row,
                "object": _stored(each.object) if each.object else None,
            }
            for each in seen.near
        ],
        "rules": [_rule(rule) for rule in of.rules],
        **_outlook(of.outlook),
        "hold": hold(seen.hold) if seen.hold else None,
        **{name: told[name] for name in ("state", "since", "mark", "events")},
        "departures": [
            {
                "left_at": timestamp(each.left_at),
                "virtual_key_id": each.virtual_key,
                "row_kept": each.row_kept,
            }
            for each in of.departures
        ],
        "returnable": [_fields(each, "record_id", "mode", "since", "until") for each in of.returnable],
        "unseen": list(of.unseen),
    }


def _stored(of: model.StoredObject) -> Json:
    return _fields(of, "size", "etag", "last_modified", "version_id")


def _rule(of: model.RuleSeen) -> Json:
    compared = {name: plain(value) for name, value in of.compared.items()}
    return {
        **_fields(of, "verdict", "holds", "reason", "holds_from", "switched_off"),
        "compared": compared,
    }


def _outlook(of: model.Outlook) -> Json:
    standing = ("verdict", "kept", "reason")
    return {
        **_fields(of.now, *standing),
        "goes": of.now.goes,
        "changes_at": timestamp(of.changes_at),
        "then": {**_fields(of.then, *standing), "goes": of.then.goes} if of.then else None,
    }


def pause(of: model.Pause) -> Json:
    """How the switch stands; `at`, `by` and `reason` of an ended pause are those of its end."""
    return _fields(of, "paused", "at", "by", "reason")


def held(added: Added) -> Json:
    """Holds that were added, and keys under them that were claimed before."""
    return {"holds": [hold(each) for each in added.holds], "claimed": list(added.claimed)}


def cancelled(of: Cancelled) -> Json:
    """Marks that were withdrawn, and those that were not."""
    return {name: sorted(getattr(of, name)) for name in ("cancelled", "claimed", "unmarked")}


def retried(of: Retried) -> Json:
    """Marks that are tried again, and keys that have none."""
    return {"retried": sorted(of.keys), "unmarked": sorted(of.unmarked)}


def erased(of: Erasure) -> Json:
    """What an erasure found. `held` names the hold of each key that was on hold: then nothing is erased.

    `unknown` are keys of which nothing is recorded.
    """
    return {
        "complete": of.complete,
        **_fields(of.erased, "objects", "rows"),
        **{name: sorted(getattr(of.erased, name)) for name in ("claimed", "returning", "unknown")},
        "named": sorted(of.named),
        "held": {key: hold(each) for key, each in sorted(of.erased.held.items())},
    }


def hold(each: model.Hold) -> Json:
    """A hold; `until` null is until it is lifted."""
    return _fields(each, "kind", "target", "reason", "author", "until", "added_at", "pass_id")


def mark(found: model.ListedMark) -> Json:
    """A mark, with the hold that keeps it."""
    of = found.mark
    return {
        "storage_key": of.storage_key,
        "state": found.state,
        **_fields(of, "verdict", "reason", "bytes", "due_at"),
        "not_before": timestamp(found.not_before),
        "pass": of.pass_id,
        **_fields(found, "pass_state", "kind"),
        **_fields(of, "first_seen_at", "last_seen_at", "sightings", "object_etag", "object_last_modified"),
        **_fields(found, "attempts", "refusals", "last_error", "operation_id", "epoch"),
        "hold": hold(found.hold) if found.hold else None,
    }


def storage(stored: model.Storage, by: model.StorageBy, quotas: Sequence[model.QuotaStanding]) -> Json:
    """`share` is of the bytes, 0 to 1, and of a quota, 1 and more at its limit. `prefixes` null: no managed
    prefixes are known yet, and the figures are of the whole table. A quota's `name` is that of its rule.
    `hidden` is what was deleted and is not freed yet, by bucket; null is the objects' own.
    """
    return {
        "by": by,
        "at": timestamp(stored.at),
        "prefixes": None if stored.prefixes is None else list(stored.prefixes),
        **_fields(stored, "objects", "bytes"),
        "largest": [{STORAGE_NAMES[by]: part.names[0], **_part(part, stored)} for part in stored.largest],
        "other": {"count": stored.other_parts, **_part(stored.other, stored)},
        "hidden": [_fields(each, "bucket", "objects", "bytes") for each in stored.hidden],
        "quotas": [_quota(each) for each in quotas],
    }


def _quota(standing: model.QuotaStanding) -> Json:
    quota = standing.quota
    percent = (f"{share:.0%}" for share in model.QUOTA_REACHED)
    return {
        "name": quota.name or None,
        **_fields(quota, "max_objects", "max_bytes", "evict"),
        "reached": dict(zip(percent, standing.reached, strict=True)),
        "nearest": [
            {
                quota.owner.value: each.owner,
                **_fields(each, "objects", "bytes"),
                "share": round(each.share, 6),
            }
            for each in standing.nearest
        ],
    }


def published(told: Published) -> Json:
    """`name` null: the global settings, for everything else. `doubts` are about Conduit's policies."""
    fields = ("name", "whose", "kept", "of_quota", "soft_deleted", "of_ended_keys", "records", "bytes")
    return {
        "at": timestamp(told.at),
        "rules": [_fields(each, *fields) for each in told.rules],
        "for_all": list(told.for_all),
        "doubts": list(told.doubts),
    }


def _part(part: model.StoragePart, of: model.Storage) -> Json:
    return {**_fields(part, "objects", "bytes"), "share": round(share(part, of), 6)}


def share(part: model.StoragePart, of: model.Storage) -> float:
    """The part's share of all bytes, 0 to 1."""
    return part.bytes / of.bytes if of.bytes else 0.0


def undone(result: Undone, mode: model.Mode, seconds: float) -> Json:
    """What an undo brought back, or in dry run would have."""
    refused = ("storage_key", "record_id", "outcome", "reason")
    return {
        "mode": mode,
        "outcome": "complete" if result.complete else "incomplete",
        **_fields(result, "objects", "records", "bytes", "present", "gone", "held_until"),
        "refused": [_fields(each, *refused) for each in result.refused],
        "duration_seconds": round(seconds, 3),
    }


def report(of: model.Report) -> Json:
    """How a pass with its collection ended."""
    return {
        **_fields(of, "mode", "outcome", "objects", "records"),
        "found": {verdict: of.found.get(verdict, 0) for verdict in model.Verdict},
        "deleted": _fields(of.removed, "objects", "records", "bytes"),
        "kept": {reason: of.kept.get(reason, 0) for reason in model.KeepReason},
        "failed": of.removed.failed,
        "duration_seconds": round(of.duration_seconds, 3),
    }


def finding(of: model.Finding, due_at: datetime) -> Json:
    """A finding of `plan`; `due_at` is when a mark written now would be due. What is kept never is."""
    return {**_fields(of, *FINDING[:-1]), "due_at": timestamp(due_at) if of.kept is None else None}


def look(prefix: str, tally: model.Tally, found: Findings, seconds: float) -> Json:
    """What a sweep would find under a prefix: by verdict how much, and the first few."""
    return {
        "prefix": prefix,
        **_fields(tally, "objects", "records"),
        "verdicts": {
            verdict: {
                "to_go": group.going,
                **_fields(group, "kept", "bytes"),
                "examples": [_fields(each, *FINDING[:-1], "kept") for each in group.first],
            }
            for verdict, group in found.groups.items()
        },
        "duration_seconds": round(seconds, 3),
    }


def settings(loaded: Loaded[Settings]) -> Json:
    """The hash that passes record, the mode, and the settings in the order of the reference."""
    of = loaded.settings
    reports = [_setting(each) for each in tell(loaded)]
    return {"config_hash": of.config_hash(), "mode": of.mode(), "settings": reports}


def _setting(each: SettingReport) -> Json:
    return {
        **_fields(each, "name", "key", "value", "default", "required", "runtime"),
        "source": each.origin.source,
        "where": each.origin.where or None,
        "over": [{"source": below.source, "where": below.where or None} for below in each.origin.over],
        "meaning": each.meaning,
    }


def _fields(of: object, *names: str) -> Json:
    """Those of its attributes that are called the same in JSON."""
    return {name: _field(of, name) for name in names}


def _field(of: object, name: str) -> object:
    return plain(getattr(of, name))


def plain(value: object) -> object:
    """A value of an attribute, as JSON has it."""
    if isinstance(value, datetime):
        return timestamp(value)
    return str(value) if isinstance(value, UUID) else value


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


def medium(of: Medium) -> Json:
    """One key: the rows that name it, its mark, and a hold that keeps it."""
    return {
        "storage_key": of.key,
        "rows": [record(row) for row in of.rows],
        "mark": mark(of.mark) if of.mark else None,
        "hold": hold(of.hold) if of.hold else None,
    }


def record(of: model.Record) -> Json:
    """A row of the media table. Without a column of accesses, each counts as accessed at the end of time."""
    return {
        **_fields(of, "id", "storage_key", "virtual_key_id", "size_bytes", "media_type", "provider", "model"),
        **_fields(of, "created_at", "expires_at", "last_accessed_at", "deleted_at"),
        "virtual_key": _fields(of.owner, "id", "enabled", "disabled_since", "expires_at")
        if of.owner
        else None,
    }


def usage(of: Usage) -> Json:
    """What a virtual key stores."""
    return _fields(of, "virtual_key_id", "objects", "bytes")


def stats(of: Stats) -> Json:
    """What is stored, in all, by each property and by the day it was made; and the drift by verdict. `day`
    null: before the days that are listed, or not known. `orphans` are the marks of that verdict.
    """
    stored, marked = of.stored, drift_by_verdict(of.drift)
    return {
        "at": timestamp(stored.at),
        "prefixes": None if stored.prefixes is None else list(stored.prefixes),
        **_fields(stored, "objects", "bytes"),
        **{
            f"by_{name}": [{"name": part.names[0], **_fields(part, "objects", "bytes")} for part in parts]
            for name, parts in stored.by.items()
        },
        "by_day": [
            {"day": each.day.isoformat() if each.day else None, **_fields(each, "objects", "bytes")}
            for each in stored.days
        ],
        "drift": marked,
        "orphans": marked[model.Verdict.ORPHAN],
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
            {"kind": kind, **_fields(each, "pass_id", "reason", "since")} for kind, each in of.tripped.items()
        ],
        "returnable": {"objects": hidden, "bytes": size},
        "restores": {"keys": of.restores, "oldest_at": timestamp(of.oldest_restore)},
        "departures": {"rows": of.departures, "oldest_at": timestamp(of.oldest_departure)},
    }


def progress(of: Progress) -> Json:
    """How far a pass has come. `fraction` is from 0 to 1."""
    names = ("objects", "records", "ranges_done", "ranges", "fraction", "ends_at")
    return _fields(of, *names)


def job(of: model.Job) -> Json:
    """Work that was asked for; `result` is that of the command of the same name, null until it is done."""
    return {
        **_fields(of, "id", "kind", "state", "dry_run", "author", "asked_at", "begun_at", "ended_at"),
        **_fields(of, "cancel", "done", "pass_id", "error"),
        "asked": dict(of.asked),
        "result": None if of.result is None else dict(of.result),
    }


def audit_line(of: model.AuditLine) -> Json:
    """A change over HTTP; `status` null: it is under way, or its replica died."""
    change = ("caller", "role", "address", "action", "target", "asked")
    return {**_fields(of, "id", "at"), **_fields(of.change, *change), **_fields(of, "status", "outcome")}
