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
        Panel(
            title="Alerts",
            says="Alerts of this installation that fire, or will if it goes on. Each has a page in the"
            " runbooks.",
            kind="table",
            width=12,
            height=3,
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
            width=6,
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Bytes",
            "Bytes of the objects at those keys.",
            f"sum({of('drift_bytes')})",
            width=6,
            unit="bytes",
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        tile(
            "Oldest mark",
            "Time since the oldest mark was first seen. A day of it is the delay before a mark is due.",
            f"max({of('drift_oldest_age_seconds')})",
            width=6,
            unit="s",
            steps=((None, UNKNOWN), (0, PLAIN), (2 * DAY, ODD)),
        ),
        tile(
            "Overdue for",
            "For how long the first of the marks that are released and due has been due. Live, this"
            " stays short.",
            f"max({of('marks_due_oldest_age_seconds')})",
            width=6,
            unit="s",
            steps=((None, UNKNOWN), (0, GOOD), (12 * HOUR, ODD), (24 * HOUR, BAD)),
            alerts=("MediaReconcilerOldestMarkTooOld",),
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
            "Growth in a day",
            "By how much the bucket has grown since the same time yesterday. Below nothing it shrinks.",
            Query(expr=f"max({of('bucket_bytes')}) - max({of('bucket_bytes')} offset 1d)", legend="growth"),
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
            " `reconciler storage --by virtual-key`.",
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
    rows=(HEALTH, DRIFT, WHY, ACTIONS, STORAGE),
)
