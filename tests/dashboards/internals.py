"""The second dashboard: what it is doing just now, how store and database answer, and its settings."""

from __future__ import annotations

from tests.dashboards.panels import GOOD, PLAIN, SITE, Dashboard, Panel, Query, Row, of

OFF = "transparent"


def rate(metric: str, *matchers: str) -> str:
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def increase(metric: str, *matchers: str) -> str:
    return f"increase({of(metric, *matchers)}[$__range])"


PASSES = Row(
    title="Passes",
    panels=(
        Panel(
            title="Phase of the pass under way",
            says="A bar for each phase while a pass is in it; nothing between passes. A phase that does"
            " not end: see key ranges, store and database below.",
            kind="state-timeline",
            width=24,
            height=8,
            queries=(
                Query(expr=f"max by (marker, phase) ({of('pass_phase')})", legend="{{marker}}: {{phase}}"),
            ),
            words={0: ("", OFF), 1: ("under way", PLAIN)},
            steps=((None, OFF), (1, PLAIN)),
        ),
        Panel(
            title="Passes by outcome",
            says="In the time shown. Converged: nothing left to do. Pending: marks wait until they are"
            " due. Tripped: the breaker asks for a decision.",
            kind="bargauge",
            width=8,
            whole=True,
            queries=(
                Query(
                    expr=f"sum by (marker, outcome) ({increase('pass_duration_seconds_count')}) > 0",
                    legend="{{marker}}: {{outcome}}",
                ),
            ),
            alerts=("MediaReconcilerPassStale", "MediaReconcilerBreakerTripped"),
        ),
        Panel(
            title="How long passes took",
            says="In the time shown: the mean, and what nine of ten stayed below.",
            kind="bargauge",
            width=8,
            unit="s",
            queries=(
                Query(
                    expr=f"sum by (marker) ({increase('pass_duration_seconds_sum')})"
                    f" / sum by (marker) ({increase('pass_duration_seconds_count')})",
                    legend="{{marker}}: mean",
                ),
                Query(
                    expr="histogram_quantile(0.9, sum by (le, marker)"
                    f" ({increase('pass_duration_seconds_bucket')}))",
                    legend="{{marker}}: 9 of 10",
                ),
            ),
        ),
        Panel(
            title="Since the last pass",
            says="Time since a pass last began, and since one came through. Attempts without success: the"
            " log says why they fail.",
            kind="timeseries",
            width=8,
            unit="s",
            queries=(
                Query(
                    expr=f"time() - max by (marker) ({of('pass_last_attempt_timestamp_seconds')} > 0)",
                    legend="{{marker}}: begun",
                ),
                Query(
                    expr=f"time() - max by (marker) ({of('pass_last_success_timestamp_seconds')} > 0)",
                    legend="{{marker}}: came through",
                ),
            ),
            alerts=("MediaReconcilerPassStale",),
        ),
    ),
)

RANGES = Row(
    title="The sweep under way",
    panels=(
        Panel(
            title="Key ranges",
            says="Of a sweep in byte order: ranges done and to do. Stores without that order have none.",
            kind="timeseries",
            width=8,
            queries=(Query(expr=f"max by (state) ({of('key_ranges')})", legend="{{state}}"),),
            stacked=True,
        ),
        Panel(
            title="Keys listed and rows compared",
            says="A second.",
            kind="timeseries",
            width=8,
            unit="ops",
            queries=(
                Query(expr=f"sum({rate('keys_listed_total')})", legend="keys listed"),
                Query(expr=f"sum({rate('records_read_total')})", legend="rows read"),
            ),
        ),
        Panel(
            title="Pages listed, and how many may be at once",
            says="The limit falls while the store throttles.",
            kind="timeseries",
            width=8,
            queries=(
                Query(expr=f"sum({rate('pages_listed_total')})", legend="pages a second"),
                Query(expr=f"min({of('list_pages_limit')})", legend="at once, at most"),
            ),
        ),
    ),
)

STORE = Row(
    title="Store",
    panels=(
        Panel(
            title="Requests by outcome",
            says="Missing is an answer. Throttled: slowed down. Refused: rights or a condition."
            " Unavailable: no answer, or the store's fault.",
            kind="timeseries",
            width=8,
            unit="reqps",
            queries=(Query(expr=f"sum by (outcome) ({rate('requests_total')})", legend="{{outcome}}"),),
            stacked=True,
            alerts=("MediaReconcilerStoreErrors",),
        ),
        Panel(
            title="Requests by operation",
            says="What the store is asked for.",
            kind="timeseries",
            width=8,
            unit="reqps",
            queries=(
                Query(expr=f"sum by (operation) ({rate('requests_total')}) > 0", legend="{{operation}}"),
            ),
            stacked=True,
        ),
        Panel(
            title="How long requests take: 95 of 100",
            says="By operation.",
            kind="timeseries",
            width=8,
            unit="s",
            queries=(
                Query(
                    expr="histogram_quantile(0.95, sum by (le, operation)"
                    f" ({rate('request_duration_seconds_bucket')})) >= 0",
                    legend="{{operation}}",
                ),
            ),
            alerts=("MediaReconcilerStoreErrors",),
        ),
        Panel(
            title="Batches of deletions at once, at most",
            says="Falls while the store throttles.",
            kind="timeseries",
            width=8,
            height=5,
            queries=(Query(expr=f"min({of('delete_batches_limit')})", legend="limit"),),
        ),
        Panel(
            title="What the store can do",
            says="As last probed on scratch keys. Where deletion is conditional, a changed object is never"
            " deleted; elsewhere it is looked at first.",
            kind="table",
            width=16,
            height=5,
            queries=(
                Query(
                    expr=f"max by (listing_order, start_after, batch_size, conditional_delete, versioning,"
                    f" undelete, object_lock) ({of('store_info')})"
                ),
            ),
            columns=(
                "listing_order",
                "start_after",
                "batch_size",
                "conditional_delete",
                "versioning",
                "undelete",
                "object_lock",
            ),
        ),
    ),
)

DATABASE = Row(
    title="Database",
    panels=(
        Panel(
            title="Calls by outcome",
            says="Transactions and single readings. Retried: a conflict or a lost connection, and tried"
            " again.",
            kind="timeseries",
            width=8,
            unit="ops",
            queries=(Query(expr=f"sum by (outcome) ({rate('database_calls_total')})", legend="{{outcome}}"),),
            stacked=True,
            alerts=("MediaReconcilerDatabaseErrors",),
        ),
        Panel(
            title="How long calls take",
            says="What half, 95 and 99 of 100 stay below, with what was tried again.",
            kind="timeseries",
            width=8,
            unit="s",
            queries=tuple(
                Query(
                    expr=f"histogram_quantile({share}, sum by (le)"
                    f" ({rate('database_call_duration_seconds_bucket')}))",
                    legend=f"{share:.0%}",
                )
                for share in (0.5, 0.95, 0.99)
            ),
            alerts=("MediaReconcilerDatabaseErrors",),
        ),
        Panel(
            title="Clocks ahead of the leader's",
            says="How far the database's and the store's clocks are ahead, as last compared. Minutes make"
            " media seem older or younger than they are.",
            kind="timeseries",
            width=8,
            unit="s",
            signed=True,
            queries=(Query(expr=f"max by (clock) ({of('clock_ahead_seconds')})", legend="{{clock}}"),),
        ),
    ),
)

LEADER = Row(
    title="Leader and configuration",
    panels=(
        Panel(
            title="Who leads",
            says="A bar for the replica that holds the lease.",
            kind="state-timeline",
            width=8,
            height=6,
            queries=(Query(expr=of("leader"), legend="{{instance}}"),),
            words={0: ("stands by", OFF), 1: ("leads", GOOD)},
            steps=((None, OFF), (1, GOOD)),
            alerts=("MediaReconcilerNoLeader", "MediaReconcilerSeveralLeaders"),
        ),
        Panel(
            title="Term",
            says="The lease's epoch: it rises with every change of leader. A staircase: the leader keeps"
            " losing it.",
            kind="timeseries",
            width=8,
            height=6,
            queries=(Query(expr=f"max({of('lease_epoch')})", legend="epoch"),),
        ),
        Panel(
            title="Renewals of the lease",
            says="A second, by outcome.",
            kind="timeseries",
            width=8,
            height=6,
            unit="ops",
            queries=(Query(expr=f"sum by (outcome) ({rate('lease_renewals_total')})", legend="{{outcome}}"),),
            stacked=True,
        ),
        Panel(
            title="Versions",
            says="What each replica runs. Two versions: an upgrade is under way, or stuck.",
            kind="table",
            width=6,
            height=6,
            queries=(Query(expr=of("build_info")),),
            columns=("instance", "version"),
        ),
        Panel(
            title="Settings in force",
            says="The hash of each replica's settings that can change a verdict or a release; each pass"
            " records it. Two hashes for longer than seconds: the replicas disagree.",
            kind="table",
            width=8,
            height=6,
            queries=(Query(expr=of("config_info")),),
            columns=("instance", "hash"),
            alerts=("MediaReconcilerConfigReloadFailed",),
        ),
        Panel(
            title="Settings that are not at their defaults",
            says="And where each came from: `reconciler config` prints the values.",
            kind="table",
            width=10,
            height=6,
            queries=(
                Query(
                    expr="max by (setting, source) (" + of("setting_source", 'source!="default"') + " == 1)"
                ),
            ),
            columns=("setting", "source"),
        ),
        Panel(
            title="Processor",
            says="Of each replica, in processors.",
            kind="timeseries",
            width=8,
            height=6,
            queries=(
                Query(
                    expr=f"rate(process_cpu_seconds_total{{{SITE}}}[$__rate_interval])", legend="{{instance}}"
                ),
            ),
        ),
        Panel(
            title="Memory",
            says="Of each replica. It does not grow with the bucket.",
            kind="timeseries",
            width=8,
            height=6,
            unit="bytes",
            queries=(Query(expr=f"process_resident_memory_bytes{{{SITE}}}", legend="{{instance}}"),),
        ),
        Panel(
            title="Open files",
            says="Connections and files of each replica.",
            kind="timeseries",
            width=8,
            height=6,
            queries=(Query(expr=f"process_open_fds{{{SITE}}}", legend="{{instance}}"),),
        ),
    ),
)

INTERNALS = Dashboard(
    uid="media-reconciler-internals",
    title="Media reconciler / At work",
    says="What it is doing just now, how store and database answer, and under which settings.",
    rows=(PASSES, RANGES, STORE, DATABASE, LEADER),
    since="now-6h",
)
