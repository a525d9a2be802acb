"""The first dashboard to open: is it well, what has drifted, what goes and why, and what is stored."""

from __future__ import annotations

from tools.dashboards.panels import (
    BAD,
    GOOD,
    ODD,
    PLAIN,
    SITE,
    UNKNOWN,
    Dashboard,
    Panel,
    Query,
    Row,
    bars,
    graph,
    of,
    tile,
)

HOUR, DAY = 3600, 86400
GONE = of("deleted_keys_total", 'mode="live"')


def coming(kind: str) -> str:
    """Seconds until the next pass of the kind; none left while it is under way."""
    due = of("pass_next_timestamp_seconds", f'kind="{kind}"')
    return f"clamp_min(max({due}) - time(), 0)"


def cost(size: str) -> str:
    """What so many bytes cost in a month; nothing at all where no price is set."""
    return f"{size} / 2^30 * (max({of('price_per_gib_month')}) > 0)"


def within(metric: str, window: str) -> str:
    """Of the last days."""
    return "max(" + of(metric, f'window="{window}"') + ")"


HEALTH = Row(
    title="Health",
    panels=(
        tile(
            "Leader",
            "How many replicas hold the lease. One works; none means that nothing is swept or"
            " deleted; two must never be.",
            f"sum({of('leader')})",
            words={0: ("NONE", BAD), 1: ("one", GOOD)},
            steps=((None, BAD),),
            alerts=("MediaReconcilerNoLeader", "MediaReconcilerSeveralLeaders"),
        ),
        tile(
            "Mode",
            "LIVE deletes. In DRY RUN everything is worked out and counted, and every deletion refused.",
            f"max({of('dry_run')})",
            words={0: ("LIVE", PLAIN), 1: ("DRY RUN", ODD)},
            alerts=("MediaReconcilerDryRun",),
        ),
        tile(
            "Halted",
            "A halted replica stays idle until a person has acted: its log and `reconciler doctor` say why.",
            f"max({of('halted')})",
            words={0: ("no", GOOD), 1: ("HALTED", BAD)},
            alerts=("MediaReconcilerHalted",),
        ),
        tile(
            "Paused",
            "`reconciler pause` stops every deletion; sweeps go on. `reconciler resume` ends it.",
            f"max({of('paused')})",
            words={0: ("no", GOOD), 1: ("PAUSED", ODD)},
            alerts=("MediaReconcilerPaused",),
        ),
        tile(
            "Wait for a decision",
            "Passes that the breaker holds back: `reconciler passes`, then approve or discard.",
            f"sum({of('passes_tripped')})",
            words={0: ("none", GOOD)},
            steps=((None, UNKNOWN), (0, GOOD), (1, BAD)),
            alerts=("MediaReconcilerBreakerTripped",),
        ),
        tile(
            "Blocked",
            "An open transaction in the database holds every deletion back: a claim waits until it"
            " has ended. `deletion_blocked` names it.",
            f"max({of('deletion_blocked')})",
            words={0: ("no", GOOD), 1: ("BLOCKED", ODD)},
            alerts=("MediaReconcilerBacklogNotDraining",),
        ),
        tile(
            "Settings",
            "Whether the settings last read were valid. If not, the last good ones go on being used.",
            f"min({of('config_last_reload_successful')})",
            words={0: ("INVALID", BAD), 1: ("valid", GOOD)},
            alerts=("MediaReconcilerConfigReloadFailed",),
        ),
        tile(
            "Replicas up",
            "Replicas that answer a scrape. With two or more, one takes over when the leader goes.",
            f"sum(up{{{SITE}}})",
            steps=((None, BAD), (1, GOOD)),
            without="NONE",
            alerts=("MediaReconcilerAbsent",),
        ),
        tile(
            "Next sweep in",
            "When the leader means to begin its next sweep of the bucket.",
            coming("sweep"),
            unit="s",
            words={0: ("under way", PLAIN)},
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Next retention pass in",
            "When the leader means to begin its next retention pass.",
            coming("retention"),
            unit="s",
            words={0: ("under way", PLAIN)},
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Age of last sweep",
            "Time since a sweep of the bucket last ended complete and released.",
            "time() - max(" + of("pass_last_success_timestamp_seconds", 'kind="sweep"') + " > 0)",
            unit="s",
            steps=((None, BAD), (0, GOOD), (12 * HOUR, ODD), (24 * HOUR, BAD)),
            without="never",
            alerts=("MediaReconcilerPassStale",),
        ),
        tile(
            "Age of last retention",
            "Time since a retention pass last ended complete and released.",
            "time() - max(" + of("pass_last_success_timestamp_seconds", 'kind="retention"') + " > 0)",
            unit="s",
            steps=((None, BAD), (0, GOOD), (HOUR, ODD), (2 * HOUR, BAD)),
            without="never",
            alerts=("MediaReconcilerPassStale",),
        ),
        tile(
            "In dry run for",
            "Since when passes have been in dry run, in any program.",
            f"time() - min({of('dry_run_since_timestamp_seconds')} > 0)",
            unit="s",
            steps=((None, PLAIN), (0, ODD), (7 * DAY, BAD)),
            without="live",
            alerts=("MediaReconcilerDryRun",),
        ),
        tile(
            "Paused for",
            "Since when every deletion has been stopped.",
            f"time() - max({of('paused_since_timestamp_seconds')} > 0)",
            unit="s",
            steps=((None, GOOD), (0, ODD), (4 * HOUR, BAD)),
            without="not paused",
            alerts=("MediaReconcilerPaused",),
        ),
        tile(
            "Decision waits for",
            "For how long the first of the passes that the breaker holds back has waited for a person.",
            f"time() - min({of('passes_tripped_since_timestamp_seconds')} > 0)",
            unit="s",
            steps=((None, GOOD), (0, ODD), (4 * HOUR, BAD)),
            without="none waits",
            alerts=("MediaReconcilerBreakerTripped",),
        ),
        tile(
            "Needed and not back for",
            "For how long the first of the keys that a row needs has waited to be brought back.",
            f"max({of('restores_waiting_oldest_age_seconds')})",
            unit="s",
            words={0: ("none waits", GOOD)},
            steps=((None, UNKNOWN), (0, ODD), (HOUR, BAD)),
            alerts=("MediaReconcilerRecordLost",),
        ),
        Panel(
            title="What waits for a decision, and why",
            says="The newest pass of each kind that the breaker holds back, as `reconciler passes` lists it:"
            " one decision is about all before it.",
            kind="table",
            width=12,
            height=4,
            queries=(Query(expr=f"max by (kind, pass, trip_reason) ({of('pass_tripped_info')} == 1)"),),
            columns=("kind", "pass", "trip_reason"),
            without="nothing",
            alerts=("MediaReconcilerBreakerTripped",),
        ),
        Panel(
            title="Alerts",
            says="Alerts of this installation that fire, or will if it goes on. Each has a page in the"
            " runbooks.",
            kind="table",
            width=12,
            height=4,
            queries=(Query(expr=f'ALERTS{{{SITE},alertname=~"MediaReconciler.*"}}'),),
            columns=("alertname", "alertstate", "severity", "kind"),
            without="none",
        ),
    ),
)

DRIFT = Row(
    title="Drift: what is marked and still has to go",
    panels=(
        tile(
            "Keys",
            "Marked storage keys of all verdicts.",
            f"sum({of('drift_keys')})",
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Bytes",
            "Bytes of the objects at those keys.",
            f"sum({of('drift_bytes')})",
            unit="bytes",
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "It costs a month",
            "What the store charges for those bytes, in the currency of the setting"
            " `price_per_gib_month`. What can be undone goes on costing until its purge: see below.",
            cost(f"sum({of('drift_bytes')})"),
            steps=((None, UNKNOWN), (0, PLAIN)),
            without="no price set",
        ),
        tile(
            "Oldest mark",
            "Time since the oldest mark was first seen. A day of it is the delay before a mark is due.",
            f"max({of('drift_oldest_age_seconds')})",
            unit="s",
            steps=((None, UNKNOWN), (0, PLAIN), (2 * DAY, ODD)),
        ),
        tile(
            "Overdue for",
            "For how long the first of the marks that are released and due has been due. Live, this"
            " stays short.",
            f"max({of('marks_due_oldest_age_seconds')})",
            unit="s",
            words={0: ("nothing is", GOOD)},
            steps=((None, UNKNOWN), (0, GOOD), (12 * HOUR, ODD), (24 * HOUR, BAD)),
            alerts=("MediaReconcilerOldestMarkTooOld",),
        ),
        tile(
            "Due now",
            "Marks that are released and due and have not gone yet.",
            f"max({of('marks_due')})",
            steps=((None, UNKNOWN), (0, PLAIN)),
            alerts=("MediaReconcilerBacklogNotDraining",),
        ),
        tile(
            "Backlog gone in",
            "How long what is due takes at the rate of the last quarter of an hour, if nothing becomes due"
            " meanwhile.",
            f"max({of('marks_due')}) == 0 or max({of('marks_due')}) / (sum(rate({GONE}[15m])) > 0)",
            unit="s",
            words={0: ("it is", GOOD)},
            steps=((None, UNKNOWN), (0, PLAIN), (DAY, ODD)),
            without="nothing goes",
            alerts=("MediaReconcilerBacklogNotDraining",),
        ),
        tile(
            "Due within a day",
            "Released marks that are not due yet and will be within 24 hours.",
            f"sum({of('marks_due_soon')})",
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        graph(
            "Keys by verdict",
            "Orphan: an object without a row. Dangling: a row without its object, which users find"
            " missing. The others are media whose time has come, or whose virtual key has gone.",
            Query(expr=f"sum by (verdict) ({of('drift_keys')})", legend="{{verdict}}"),
            stacked=True,
            alerts=("MediaReconcilerOrphans", "MediaReconcilerDanglingRecords"),
        ),
        graph(
            "Bytes by verdict",
            "What the drift costs.",
            Query(expr=f"sum by (verdict) ({of('drift_bytes')})", legend="{{verdict}}"),
            unit="bytes",
            stacked=True,
        ),
        graph(
            "Oldest mark by verdict",
            "A line that rises for days: something keeps these marks from going.",
            Query(expr=f"max by (verdict) ({of('drift_oldest_age_seconds')})", legend="{{verdict}}"),
            unit="s",
            alerts=("MediaReconcilerOldestMarkTooOld",),
        ),
        graph(
            "Keys by prefix",
            "Where the drift is, by managed prefix. Marks outside are of former prefixes: `(outside)`.",
            Query(expr=f"sum by (prefix) ({of('drift_prefix_keys')})", legend="{{prefix}}"),
            stacked=True,
        ),
        graph(
            "Bytes by prefix",
            "The same in bytes.",
            Query(expr=f"sum by (prefix) ({of('drift_prefix_bytes')})", legend="{{prefix}}"),
            unit="bytes",
            stacked=True,
        ),
        bars(
            "Due within a day, by verdict",
            "What will go next, if nothing speaks against it by then: `reconciler marks list` has the keys.",
            Query(expr=f"sum by (verdict) ({of('marks_due_soon')})", legend="{{verdict}}"),
        ),
    ),
)

WHY = Row(
    title="What goes, what stays, and why",
    panels=(
        bars(
            "Gone, by verdict",
            "Storage keys that went in the time shown, and why. Live deletions alone.",
            Query(
                expr="sum by (verdict) (increase(" + of("deleted_keys_total", 'mode="live"') + "[$__range]))",
                legend="{{verdict}}",
            ),
            width=6,
            whole=True,
        ),
        bars(
            "Kept, by reason",
            "What looked like drift to the last released passes and stays: too young, on hold, its"
            " kind of clean-up switched off, outside the prefixes, or of a shape that is not ours.",
            Query(expr=f"sum by (reason) ({of('kept_keys')})", legend="{{reason}}"),
            width=7,
        ),
        bars(
            "Holds in force",
            "Keys, prefixes and virtual keys that a person keeps: `reconciler hold list`.",
            Query(expr=f"sum by (kind) ({of('holds')})", legend="{{kind}}"),
            width=5,
        ),
        graph(
            "Marks on their way",
            "Due: released, and their time has come. Pending: released, and no claim could take them"
            " when last looked, since they are not due, put off or claimed. Live, due comes down to"
            " nothing.",
            Query(expr=f"max({of('marks_due')})", legend="due"),
            Query(expr=f"max({of('marks_pending')})", legend="pending"),
            width=6,
            alerts=("MediaReconcilerBacklogNotDraining",),
        ),
    ),
)


def acted(mode: str) -> str:
    rate = of("actions_total", f'mode="{mode}"')
    return f"sum by (action, result) (rate({rate}[$__rate_interval])) > 0"


ACTIONS = Row(
    title="Deletions: live against dry run, and against the cap",
    panels=(
        graph(
            "Live, by what came of it",
            "Objects and rows a second. Missing is as good as deleted. Gaps mean that there was"
            " nothing to do.",
            Query(expr=acted("live"), legend="{{action}}: {{result}}"),
            unit="ops",
            alerts=("MediaReconcilerDeletionsFailing", "MediaReconcilerRecordLost"),
        ),
        graph(
            "Dry run: what would have gone",
            "The same, refused at the last step. Each due mark counts once.",
            Query(expr=acted("dry_run"), legend="{{action}}: {{result}}"),
            unit="ops",
        ),
        bars(
            "Did not go as marked",
            "In the time shown. Changed, spared, held: a second decision kept it. Failed: store"
            " or database refused. Lost: a live row has lost its object.",
            Query(
                expr="sum by (result) (increase("
                + of("actions_total", 'mode="live",result!~"deleted|missing|recoverable"')
                + "[$__range]))",
                legend="{{result}}",
            ),
            whole=True,
            alerts=(
                "MediaReconcilerDeletionsFailing",
                "MediaReconcilerRecordLost",
                "MediaReconcilerRowsRefused",
                "MediaReconcilerMismatch",
            ),
        ),
        graph(
            "Rate against its cap",
            "Keys a second that went, and how many may. The cap is as set, or lower while the store"
            " throttles. No line of the cap: it is unlimited.",
            Query(
                expr="sum(rate(" + of("deleted_keys_total", 'mode="live"') + "[$__rate_interval]))",
                legend="live",
            ),
            Query(
                expr="sum(rate(" + of("deleted_keys_total", 'mode="dry_run"') + "[$__rate_interval]))",
                legend="dry run",
            ),
            Query(expr=f"min({of('delete_rate_limit_keys_per_second')})", legend="cap"),
            width=12,
            unit="ops",
        ),
        graph(
            "Bytes deleted and freed",
            "Bytes a second of what went, of what would have gone, and of what purges gave back to"
            " the store. Where deletions can be undone, freeing follows days later.",
            Query(
                expr="sum(rate(" + of("deleted_bytes_total", 'mode="live"') + "[$__rate_interval]))",
                legend="deleted",
            ),
            Query(
                expr="sum(rate(" + of("deleted_bytes_total", 'mode="dry_run"') + "[$__rate_interval]))",
                legend="dry run",
            ),
            Query(expr=f"sum(rate({of('freed_bytes_total')}[$__rate_interval]))", legend="freed by purges"),
            width=12,
            unit="Bps",
        ),
    ),
)

BACK = Row(
    title="What is freed, and what comes back",
    panels=(
        tile(
            "Deleted, not yet freed",
            "In quarantine or behind delete markers: what can be undone until its purge, and is paid for.",
            f"max({of('hidden_bytes')})",
            unit="bytes",
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "That costs a month",
            "What the store charges for it, in the currency of the setting `price_per_gib_month`.",
            cost(f"max({of('hidden_bytes')})"),
            steps=((None, UNKNOWN), (0, PLAIN)),
            without="no price set",
        ),
        tile(
            "Freed in 7 days",
            "Bytes that went for good, by purges and by deletions that cannot be undone, by the ledger.",
            within("ledger_freed_bytes", "7d"),
            unit="bytes",
            steps=((None, UNKNOWN), (0, GOOD)),
        ),
        tile(
            "Freed in 30 days",
            "The same, as far as the ledger goes back.",
            within("ledger_freed_bytes", "30d"),
            unit="bytes",
            steps=((None, UNKNOWN), (0, GOOD)),
        ),
        tile(
            "Brought back in a day",
            "Objects, by healing and by undo. Healing: a row needed what was deleted.",
            within("ledger_restored_objects", "1d"),
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Brought back in 7 days",
            "The same.",
            within("ledger_restored_objects", "7d"),
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Brought back in 30 days",
            "The same, as far as the ledger goes back.",
            within("ledger_restored_objects", "30d"),
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Needed and not back yet",
            "Keys that a row needs and that wait to be brought back.",
            f"max({of('restores_waiting')})",
            words={0: ("none", GOOD)},
            steps=((None, UNKNOWN), (0, ODD)),
        ),
        graph(
            "What the rest costs a month",
            "Of drift, and of what is deleted and not freed yet, in the currency of the setting"
            " `price_per_gib_month`. Nothing is shown where none is set.",
            Query(expr=cost(f"sum({of('drift_bytes')})"), legend="drift"),
            Query(expr=cost(f"max({of('hidden_bytes')})"), legend="deleted, not yet freed"),
            stacked=True,
        ),
        graph(
            "Freed in the days before",
            "Bytes that went for good in the day, the week and the month before.",
            Query(expr=f"max by (window) ({of('ledger_freed_bytes')})", legend="{{window}}"),
            unit="bytes",
        ),
        graph(
            "Brought back in the days before, and waiting",
            "Objects that came back in the day, the week and the month before; and keys that wait.",
            Query(expr=f"max by (window) ({of('ledger_restored_objects')})", legend="{{window}}"),
            Query(expr=f"max({of('restores_waiting')})", legend="waiting"),
        ),
    ),
)

STORAGE = Row(
    title="Storage and its growth",
    panels=(
        graph(
            "Bytes in the bucket",
            "What the last finished sweep listed in the managed prefixes, and on top what is"
            " deleted and can still be brought back.",
            Query(expr=f"max({of('bucket_bytes')})", legend="listed"),
            Query(expr=f"max({of('hidden_bytes')})", legend="deleted, not yet freed"),
            unit="bytes",
            stacked=True,
            alerts=("MediaReconcilerStorageHigh",),
        ),
        graph(
            "Growth a day",
            "By how much the bucket grows in a day at the pace of the last six hours. Below nothing it"
            " shrinks.",
            Query(expr=f"deriv(max({of('bucket_bytes')})[6h:]) * {DAY}", legend="growth"),
            unit="bytes",
            signed=True,
            alerts=("MediaReconcilerStorageGrowth",),
        ),
        graph(
            "Objects in the bucket",
            "Objects that the last finished sweep listed, and deleted ones that can still be brought back.",
            Query(expr=f"max({of('bucket_objects')})", legend="listed"),
            Query(expr=f"max({of('hidden_objects')})", legend="deleted, not yet freed"),
            stacked=True,
        ),
        bars(
            "Bytes by media type and provider",
            "As the rows give them; the largest twenty, the rest as other. Whose they are:"
            " `reconciler storage --group-by virtual-key`.",
            Query(
                expr=f"sort_desc(sum by (media_type, provider) ({of('storage_bytes')}))",
                legend="{{media_type}}, {{provider}}",
            ),
            unit="bytes",
        ),
        bars(
            "Objects by media type and provider",
            "The same in objects, one a row.",
            Query(
                expr=f"sort_desc(sum by (media_type, provider) ({of('storage_objects')}))",
                legend="{{media_type}}, {{provider}}",
            ),
        ),
        graph(
            "Owners at 80 and at 100 per cent of a quota",
            "By quota, when the rows were last counted; nothing where none is set. `reconciler storage` names"
            " them.",
            Query(expr=f"max by (quota, reached) ({of('quota_owners')})", legend="{{quota}}, {{reached}} %"),
            alerts=("MediaReconcilerQuotaReached",),
        ),
        graph(
            "Bytes by media type",
            "The same over time.",
            Query(expr=f"sum by (media_type) ({of('storage_bytes')})", legend="{{media_type}}"),
            unit="bytes",
            stacked=True,
        ),
    ),
)

OVERVIEW = Dashboard(
    uid="media-reconciler-overview",
    title="Media reconciler / Overview",
    says="Whether bucket and database agree, what goes and why, and what is stored.",
    rows=(HEALTH, DRIFT, WHY, ACTIONS, BACK, STORAGE),
)
