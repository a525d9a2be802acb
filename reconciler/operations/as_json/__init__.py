"""Results as programs see them: what `--json` prints, and what an API answers with.

Each function returns what JSON can hold. Every key is always there; a time is ISO 8601 in UTC.
"""

from reconciler.operations.as_json.adopting import adopted, adoption
from reconciler.operations.as_json.costs import cost
from reconciler.operations.as_json.erasures import certificate, erasure, replay
from reconciler.operations.as_json.findings import (
    FINDING,
    cancelled,
    erased,
    finding,
    look,
    report,
    retried,
    undone,
)
from reconciler.operations.as_json.keys import LEDGER_LINE, explained, history, ledger_line
from reconciler.operations.as_json.media import STORAGE_NAMES, medium, record, share, stats, storage, usage
from reconciler.operations.as_json.passes import decided, mark, pass_detail, pass_summary, progress, verdicts
from reconciler.operations.as_json.site import checked, drift, looked, pause, published, settings, status
from reconciler.operations.as_json.steering import audit_line, held, hint, hold, job
from reconciler.operations.as_json.values import Json, plain

__all__ = [
    "FINDING",
    "LEDGER_LINE",
    "STORAGE_NAMES",
    "Json",
    "adopted",
    "adoption",
    "audit_line",
    "cancelled",
    "certificate",
    "checked",
    "cost",
    "decided",
    "drift",
    "erased",
    "erasure",
    "explained",
    "finding",
    "held",
    "hint",
    "history",
    "hold",
    "job",
    "ledger_line",
    "look",
    "looked",
    "mark",
    "medium",
    "pass_detail",
    "pass_summary",
    "pause",
    "plain",
    "progress",
    "published",
    "record",
    "replay",
    "report",
    "retried",
    "settings",
    "share",
    "stats",
    "status",
    "storage",
    "undone",
    "usage",
    "verdicts",
]
