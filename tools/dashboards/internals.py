"""The second dashboard: what it is doing just now, how store and database answer, and its settings."""

from __future__ import annotations

from tools.dashboards.panels import GOOD, PLAIN, SITE, Dashboard, Panel, Query, Row, bars, graph, of

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
            queries=(Query(expr=f"max by (kind, phase) ({of('pass_phase')})", legend="{{kind}}: {{phase}}"),),
            words={0: ("", OFF), 1: ("under way", PLAIN)},
            steps=((None, OFF), (1, PLAIN)),
        ),
        bars(
            "Passes by outcome",
            "In the time shown. Converged: nothing left to do. Pending: marks wait until they are"
            " due. Tripped: the breaker asks for a decision.",
            Query(
                expr=f"sum by (kind, outcome) ({increase('pass_duration_seconds_count')}) > 0",
                legend="{{kind}}: {{outcome}}",
            ),
            whole=True,
            alerts=("MediaReconcilerPassStale", "MediaReconcilerBreakerTripped"),
        ),
        bars(
            "How long passes took",
            "In the time shown: the mean, and what nine of ten stayed below.",
            Query(
                expr=f"sum by (kind) ({increase('pass_duration_seconds_sum')})"
                f" / sum by (kind) ({increase('pass_duration_seconds_count')})",
                legend="{{kind}}: mean",
            ),
            Query(
                expr="histogram_quantile(0.9, sum by (le, kind)"
                f" ({increase('pass_duration_seconds_bucket')}))",
                legend="{{kind}}: 9 of 10",
            ),
            unit="s",
        ),
        graph(
            "Since the last pass",
            "Time since a pass last began, and since one came through. Attempts without success: the"
            " log says why they fail.",
            Query(
                expr=f"time() - max by (kind) ({of('pass_last_attempt_timestamp_seconds')} > 0)",
                legend="{{kind}}: begun",
            ),
            Query(
                expr=f"time() - max by (kind) ({of('pass_last_success_timestamp_seconds')} > 0)",
                legend="{{kind}}: came through",
            ),
            unit="s",
            alerts=("MediaReconcilerPassStale",),
        ),
    ),
)

RANGES = Row(
    title="The sweep under way",
    panels=(
        graph(
            "Key ranges",
            "Of a sweep in byte order: ranges done and to do. Stores without that order have none.",
            Query(expr=f"max by (state) ({of('key_ranges')})", legend="{{state}}"),
            stacked=True,
        ),
        graph(
            "Keys listed and rows compared",
            "A second.",
            Query(expr=f"sum({rate('keys_listed_total')})", legend="keys listed"),
            Query(expr=f"sum({rate('records_read_total')})", legend="rows read"),
            unit="ops",
        ),
        graph(
            "Pages listed, and how many may be at once",
            "The limit falls while the store throttles.",
            Query(expr=f"sum({rate('pages_listed_total')})", legend="pages a second"),
            Query(expr=f"min({of('list_pages_limit')})", legend="at once, at most"),
        ),
    ),
)

STORE = Row(
    title="Store",
    panels=(
        graph(
            "Requests by outcome",
            "Missing is an answer. Throttled: slowed down. Refused: rights or a condition."
            " Unavailable: no answer, or the store's fault.",
            Query(expr=f"sum by (outcome) ({rate('requests_total')})", legend="{{outcome}}"),
            unit="reqps",
            stacked=True,
            alerts=("MediaReconcilerStoreErrors",),
        ),
        graph(
            "Requests by operation",
            "What the store is asked for.",
            Query(expr=f"sum by (operation) ({rate('requests_total')}) > 0", legend="{{operation}}"),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "How long requests take: 95 of 100",
            "By operation.",
            Query(
                expr="histogram_quantile(0.95, sum by (le, operation)"
                f" ({rate('request_duration_seconds_bucket')})) >= 0",
                legend="{{operation}}",
            ),
            unit="s",
            alerts=("MediaReconcilerStoreErrors",),
        ),
        graph(
            "Batches of deletions at once, at most",
            "Falls while the store throttles.",
            Query(expr=f"min({of('delete_batches_limit')})", legend="limit"),
            height=5,
        ),
        graph(
            "The store's events",
            "Read a second, by what was made of them, where the bucket tells a queue of its objects."
            " Unreadable: messages that are no events.",
            Query(expr=f"sum by (reading) ({rate('events_read_total')})", legend="{{reading}}"),
            height=5,
            alerts=("MediaReconcilerEventQueueUnreadable",),
        ),
        Panel(
            title="Channels that are switched off",
            says="Their receivers answered that they want no more events.",
            kind="table",
            width=8,
            height=5,
            queries=(Query(expr=of("channel_switched_off") + " == 1"),),
            columns=("channel",),
            alerts=("MediaReconcilerReceiverSwitchedOff",),
        ),
        graph(
            "Erasures that are open",
            "Those that were ordered and have no certificate yet, by the age of the first.",
            Query(expr=f"max({of('erasures_open_oldest_age_seconds')})", legend="age of the first"),
            unit="s",
            height=5,
            alerts=("MediaReconcilerErasureOpen",),
        ),
        graph(
            "What events led to",
            "Keys that wait for a look, and those that the next sweep would find.",
            Query(expr=f"max({of('hints_waiting')})", legend="waiting"),
            Query(expr=f"max by (verdict) ({of('hints_found')})", legend="{{verdict}}"),
            height=5,
        ),
        graph(
            "Age of the inventory",
            "Of the one that the last sweep took, where sweeps do not list the bucket: since it began.",
            Query(expr=f"time() - max({of('inventory_began_timestamp_seconds')})", legend="age"),
            unit="s",
            height=5,
            alerts=("MediaReconcilerInventoryOld",),
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
        graph(
            "Calls by outcome",
            "Transactions and single readings. Retried: a conflict or a lost connection, and tried again.",
            Query(expr=f"sum by (outcome) ({rate('database_calls_total')})", legend="{{outcome}}"),
            unit="ops",
            stacked=True,
            alerts=("MediaReconcilerDatabaseErrors",),
        ),
        graph(
            "How long calls take",
            "What half, 95 and 99 of 100 stay below, with what was tried again.",
            *(
                Query(
                    expr=f"histogram_quantile({share}, sum by (le)"
                    f" ({rate('database_call_duration_seconds_bucket')}))",
                    legend=f"{share:.0%}",
                )
                for share in (0.5, 0.95, 0.99)
            ),
            unit="s",
            alerts=("MediaReconcilerDatabaseErrors",),
        ),
        graph(
            "Clocks ahead of the leader's",
            "How far the database's and the store's clocks are ahead, as last compared. Minutes make"
            " media seem older or younger than they are.",
            Query(expr=f"max by (clock) ({of('clock_ahead_seconds')})", legend="{{clock}}"),
            unit="s",
            signed=True,
        ),
    ),
)

TOLD = Row(
    title="What others are told",
    panels=(
        graph(
            "Messages that wait",
            "For a CDN, or another receiver: how many, and how long the first has waited.",
            Query(expr=f"max by (channel) ({of('outbox_messages')})", legend="{{channel}}"),
            alerts=("MediaReconcilerMessagesWaiting",),
        ),
        graph(
            "How long the first of them has waited",
            "It grows while the receiver is away.",
            Query(expr=f"max by (channel) ({of('outbox_oldest_age_seconds')})", legend="{{channel}}"),
            unit="s",
            alerts=("MediaReconcilerMessagesWaiting",),
        ),
        graph(
            "Messages sent, and failures",
            "A second. Refused: a single URL, which is tried again. Away: the receiver took nothing.",
            Query(
                expr=f"sum by (receiver, result) ({rate('messages_total')})",
                legend="{{receiver}}: {{result}}",
            ),
            Query(expr=f"sum by (receiver) ({rate('receiver_failures_total')})", legend="{{receiver}}: away"),
            unit="ops",
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
        graph(
            "Term",
            "The lease's epoch: it rises with every change of leader. A staircase: the leader keeps"
            " losing it.",
            Query(expr=f"max({of('lease_epoch')})", legend="epoch"),
            height=6,
        ),
        graph(
            "Renewals of the lease",
            "A second, by outcome.",
            Query(expr=f"sum by (outcome) ({rate('lease_renewals_total')})", legend="{{outcome}}"),
            height=6,
            unit="ops",
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
        graph(
            "Processor",
            "Of each replica, in processors.",
            Query(expr=f"rate(process_cpu_seconds_total{{{SITE}}}[$__rate_interval])", legend="{{instance}}"),
            height=6,
        ),
        graph(
            "Memory",
            "Of each replica. It does not grow with the bucket.",
            Query(expr=f"process_resident_memory_bytes{{{SITE}}}", legend="{{instance}}"),
            height=6,
            unit="bytes",
        ),
        graph(
            "Open files",
            "Connections and files of each replica.",
            Query(expr=f"process_open_fds{{{SITE}}}", legend="{{instance}}"),
            height=6,
        ),
    ),
)

INTERNALS = Dashboard(
    uid="media-reconciler-internals",
    title="Media reconciler / At work",
    says="What it is doing just now, how store and database answer, and under which settings.",
    rows=(PASSES, RANGES, STORE, DATABASE, TOLD, LEADER),
    since="now-6h",
)
