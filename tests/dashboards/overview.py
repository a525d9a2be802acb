"""The first dashboard to open: is it well, what has drifted, what goes and why, and what is stored."""

from __future__ import annotations

from tests.dashboards.panels import BAD, GOOD, ODD, PLAIN, SITE, UNKNOWN, Dashboard, Panel, Query, Row, of

HOUR, DAY = 3600, 86400

HEALTH = Row(
    title="Health",
    panels=(
        Panel(
            title="Leader",
            says="How many replicas hold the lease. One works; none means that nothing is swept or"
            " deleted; two must never be.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"sum({of('leader')})"),),
            words={0: ("NONE", BAD), 1: ("one", GOOD)},
            steps=((None, BAD),),
            alerts=("MediaReconcilerNoLeader", "MediaReconcilerSeveralLeaders"),
        ),
        Panel(
            title="Mode",
            says="LIVE deletes. In DRY RUN everything is worked out and counted, and every deletion refused.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"max({of('dry_run')})"),),
            words={0: ("LIVE", PLAIN), 1: ("DRY RUN", ODD)},
            alerts=("MediaReconcilerDryRun",),
        ),
        Panel(
            title="Halted",
            says="A halted replica stays idle until a person has acted: its log and `reconciler doctor`"
            " say why.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"max({of('halted')})"),),
            words={0: ("no", GOOD), 1: ("HALTED", BAD)},
            alerts=("MediaReconcilerHalted",),
        ),
        Panel(
            title="Paused",
            says="`reconciler pause` stops every deletion; sweeps go on. `reconciler resume` ends it.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"max({of('paused')})"),),
            words={0: ("no", GOOD), 1: ("PAUSED", ODD)},
            alerts=("MediaReconcilerPaused",),
        ),
        Panel(
            title="Wait for a decision",
            says="Passes that the breaker holds back: `reconciler passes`, then approve or discard.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"sum({of('passes_tripped')})"),),
            words={0: ("none", GOOD)},
            steps=((None, UNKNOWN), (0, GOOD), (1, BAD)),
            alerts=("MediaReconcilerBreakerTripped",),
        ),
        Panel(
            title="Blocked",
            says="An open transaction in the database holds every deletion back: a claim waits until it"
            " has ended. `deletion_blocked` names it.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"max({of('deletion_blocked')})"),),
            words={0: ("no", GOOD), 1: ("BLOCKED", ODD)},
            alerts=("MediaReconcilerBacklogNotDraining",),
        ),
        Panel(
            title="Settings",
            says="Whether the settings last read were valid. If not, the last good ones go on being used.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"min({of('config_last_reload_successful')})"),),
            words={0: ("INVALID", BAD), 1: ("valid", GOOD)},
            alerts=("MediaReconcilerConfigReloadFailed",),
        ),
        Panel(
            title="Replicas up",
            says="Replicas that answer a scrape. With two or more, one takes over when the leader goes.",
            kind="stat",
            width=3,
            height=3,
            queries=(Query(expr=f"sum(up{{{SITE}}})"),),
            steps=((None, BAD), (1, GOOD)),
            without="NONE",
            alerts=("MediaReconcilerAbsent",),
        ),
        Panel(
            title="Age of last sweep",
            says="Time since a sweep of the bucket last ended complete and released.",
            kind="stat",
            width=3,
            height=3,
            unit="s",
            queries=(
                Query(
                    expr="time() - max("
                    + of("pass_last_success_timestamp_seconds", 'marker="sweep"')
                    + " > 0)"
                ),
            ),
            steps=((None, BAD), (0, GOOD), (12 * HOUR, ODD), (24 * HOUR, BAD)),
            without="never",
            alerts=("MediaReconcilerPassStale",),
        ),
        Panel(
            title="Age of last retention",
            says="Time since a retention pass last ended complete and released.",
            kind="stat",
            width=3,
            height=3,
            unit="s",
            queries=(
                Query(
                    expr="time() - max("
                    + of("pass_last_success_timestamp_seconds", 'marker="retention"')
                    + " > 0)"
                ),
            ),
            steps=((None, BAD), (0, GOOD), (HOUR, ODD), (2 * HOUR, BAD)),
            without="never",
            alerts=("MediaReconcilerPassStale",),
        ),
        Panel(
            title="In dry run for",
            says="Since when passes have been in dry run, whoever ran them.",
            kind="stat",
            width=3,
            height=3,
            unit="s",
            queries=(Query(expr=f"time() - min({of('dry_run_since_timestamp_seconds')} > 0)"),),
            steps=((None, PLAIN), (0, ODD), (7 * DAY, BAD)),
            without="live",
            alerts=("MediaReconcilerDryRun",),
        ),
        Panel(
            title="Paused for",
            says="Since when every deletion has been stopped.",
            kind="stat",
            width=3,
            height=3,
            unit="s",
            queries=(Query(expr=f"time() - max({of('paused_since_timestamp_seconds')} > 0)"),),
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
            columns=("alertname", "alertstate", "severity", "marker"),
            without="none",
        ),
    ),
)

DRIFT = Row(
    title="Drift: what is marked and still has to go",
    panels=(
        Panel(
            title="Keys",
            says="Marked storage keys of all verdicts.",
            kind="stat",
            width=6,
            height=3,
            queries=(Query(expr=f"sum({of('drift_keys')})"),),
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        Panel(
            title="Bytes",
            says="Bytes of the objects at those keys.",
            kind="stat",
            width=6,
            height=3,
            unit="bytes",
            queries=(Query(expr=f"sum({of('drift_bytes')})"),),
            steps=((None, UNKNOWN), (0, PLAIN)),
        ),
        Panel(
            title="Oldest mark",
            says="Time since the oldest mark was first seen. A day of it is the delay before a mark is due.",
            kind="stat",
            width=6,
            height=3,
            unit="s",
            queries=(Query(expr=f"max({of('drift_oldest_age_seconds')})"),),
            steps=((None, UNKNOWN), (0, PLAIN), (2 * DAY, ODD)),
        ),
        Panel(
            title="Overdue for",
            says="For how long the first of the marks that are released and due has been due. Live, this"
            " stays short.",
            kind="stat",
            width=6,
            height=3,
            unit="s",
            queries=(Query(expr=f"max({of('marks_due_oldest_age_seconds')})"),),
            steps=((None, UNKNOWN), (0, GOOD), (12 * HOUR, ODD), (24 * HOUR, BAD)),
            alerts=("MediaReconcilerOldestMarkTooOld",),
        ),
        Panel(
            title="Keys by verdict",
            says="Orphan: an object without a row. Dangling: a row without its object, which users find"
            " missing. The others are media whose time has come, or whose virtual key has gone.",
            kind="timeseries",
            width=8,
            queries=(Query(expr=f"sum by (verdict) ({of('drift_keys')})", legend="{{verdict}}"),),
            stacked=True,
            alerts=("MediaReconcilerOrphans", "MediaReconcilerDanglingRecords"),
        ),
        Panel(
            title="Bytes by verdict",
            says="What the drift costs.",
            kind="timeseries",
            width=8,
            unit="bytes",
            queries=(Query(expr=f"sum by (verdict) ({of('drift_bytes')})", legend="{{verdict}}"),),
            stacked=True,
        ),
        Panel(
            title="Oldest mark by verdict",
            says="A line that rises for days: something keeps these marks from going.",
            kind="timeseries",
            width=8,
            unit="s",
            queries=(
                Query(expr=f"max by (verdict) ({of('drift_oldest_age_seconds')})", legend="{{verdict}}"),
            ),
            alerts=("MediaReconcilerOldestMarkTooOld",),
        ),
    ),
)

WHY = Row(
    title="What goes, what stays, and why",
    panels=(
        Panel(
            title="Gone, by verdict",
            says="Storage keys that went in the time shown, and why. Live deletions alone.",
            kind="bargauge",
            width=6,
            whole=True,
            queries=(
                Query(
                    expr="sum by (verdict) (increase("
                    + of("deleted_keys_total", 'mode="live"')
                    + "[$__range]))",
                    legend="{{verdict}}",
                ),
            ),
        ),
        Panel(
            title="Kept, by reason",
            says="What looked like drift to the last released passes and stays: too young, on hold, its"
            " kind of clean-up switched off, outside the prefixes, or of a shape that is not ours.",
            kind="bargauge",
            width=7,
            queries=(Query(expr=f"sum by (reason) ({of('kept_keys')})", legend="{{reason}}"),),
        ),
        Panel(
            title="Holds in force",
            says="Keys, prefixes and virtual keys that a person keeps: `reconciler hold list`.",
            kind="bargauge",
            width=5,
            queries=(Query(expr=f"sum by (kind) ({of('holds')})", legend="{{kind}}"),),
        ),
        Panel(
            title="Marks on their way",
            says="Due: released, and their time has come. Pending: released, and no claim could take them"
            " when last looked, since they are not due, put off or claimed. Live, due comes down to"
            " nothing.",
            kind="timeseries",
            width=6,
            queries=(
                Query(expr=f"max({of('marks_due')})", legend="due"),
                Query(expr=f"max({of('marks_pending')})", legend="pending"),
            ),
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
        Panel(
            title="Live, by what came of it",
            says="Objects and rows a second. Missing is as good as deleted. Gaps mean that there was"
            " nothing to do.",
            kind="timeseries",
            width=8,
            unit="ops",
            queries=(Query(expr=acted("live"), legend="{{action}}: {{result}}"),),
            alerts=("MediaReconcilerDeletionsFailing", "MediaReconcilerRecordLost"),
        ),
        Panel(
            title="Dry run: what would have gone",
            says="The same, refused at the last step. Each due mark counts once.",
            kind="timeseries",
            width=8,
            unit="ops",
            queries=(Query(expr=acted("dry_run"), legend="{{action}}: {{result}}"),),
        ),
        Panel(
            title="Did not go as marked",
            says="In the time shown. Changed, spared, held: it was decided anew and stays. Failed: store"
            " or database refused. Lost: a live row has lost its object.",
            kind="bargauge",
            width=8,
            whole=True,
            queries=(
                Query(
                    expr="sum by (result) (increase("
                    + of("actions_total", 'mode="live",result!~"deleted|missing|recoverable"')
                    + "[$__range]))",
                    legend="{{result}}",
                ),
            ),
            alerts=("MediaReconcilerDeletionsFailing", "MediaReconcilerRecordLost"),
        ),
        Panel(
            title="Rate against its cap",
            says="Keys a second that went, and how many may. The cap is as set, or lower while the store"
            " throttles. No line of the cap: it is unlimited.",
            kind="timeseries",
            width=12,
            unit="ops",
            queries=(
                Query(
                    expr="sum(rate(" + of("deleted_keys_total", 'mode="live"') + "[$__rate_interval]))",
                    legend="live",
                ),
                Query(
                    expr="sum(rate(" + of("deleted_keys_total", 'mode="dry_run"') + "[$__rate_interval]))",
                    legend="dry run",
                ),
                Query(expr=f"min({of('delete_rate_limit_keys_per_second')})", legend="cap"),
            ),
        ),
        Panel(
            title="Bytes deleted and freed",
            says="Bytes a second of what went, of what would have gone, and of what purges gave back to"
            " the store. Where deletions can be undone, freeing follows days later.",
            kind="timeseries",
            width=12,
            unit="Bps",
            queries=(
                Query(
                    expr="sum(rate(" + of("deleted_bytes_total", 'mode="live"') + "[$__rate_interval]))",
                    legend="deleted",
                ),
                Query(
                    expr="sum(rate(" + of("deleted_bytes_total", 'mode="dry_run"') + "[$__rate_interval]))",
                    legend="dry run",
                ),
                Query(
                    expr=f"sum(rate({of('freed_bytes_total')}[$__rate_interval]))", legend="freed by purges"
                ),
            ),
        ),
    ),
)

STORAGE = Row(
    title="Storage and its growth",
    panels=(
        Panel(
            title="Bytes in the bucket",
            says="What the last finished sweep listed in the managed prefixes, and beside it what is"
            " deleted and can still be brought back.",
            kind="timeseries",
            width=8,
            unit="bytes",
            queries=(
                Query(expr=f"max({of('bucket_bytes')})", legend="listed"),
                Query(expr=f"max({of('hidden_bytes')})", legend="deleted, not yet freed"),
            ),
            stacked=True,
            alerts=("MediaReconcilerStorageHigh",),
        ),
        Panel(
            title="Growth in a day",
            says="By how much the bucket has grown since the same time yesterday. Below nothing it shrinks.",
            kind="timeseries",
            width=8,
            unit="bytes",
            signed=True,
            queries=(
                Query(
                    expr=f"max({of('bucket_bytes')}) - max({of('bucket_bytes')} offset 1d)", legend="growth"
                ),
            ),
            alerts=("MediaReconcilerStorageGrowth",),
        ),
        Panel(
            title="Objects in the bucket",
            says="Objects that the last finished sweep listed, and deleted ones that can still be brought"
            " back.",
            kind="timeseries",
            width=8,
            queries=(
                Query(expr=f"max({of('bucket_objects')})", legend="listed"),
                Query(expr=f"max({of('hidden_objects')})", legend="deleted, not yet freed"),
            ),
            stacked=True,
        ),
        Panel(
            title="Bytes by media type and provider",
            says="As the rows give them; the largest twenty, the rest as other. Whose they are:"
            " `reconciler storage --by virtual-key`.",
            kind="bargauge",
            width=8,
            unit="bytes",
            queries=(
                Query(
                    expr=f"sort_desc(sum by (media_type, provider) ({of('storage_bytes')}))",
                    legend="{{media_type}}, {{provider}}",
                ),
            ),
        ),
        Panel(
            title="Objects by media type and provider",
            says="The same in objects, one a row.",
            kind="bargauge",
            width=8,
            queries=(
                Query(
                    expr=f"sort_desc(sum by (media_type, provider) ({of('storage_objects')}))",
                    legend="{{media_type}}, {{provider}}",
                ),
            ),
        ),
        Panel(
            title="Bytes by media type",
            says="The same over time.",
            kind="timeseries",
            width=8,
            unit="bytes",
            queries=(Query(expr=f"sum by (media_type) ({of('storage_bytes')})", legend="{{media_type}}"),),
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
