"""The shapes of answers and bodies, for the OpenAPI document; `operations.as_json` is what makes them."""

from reconciler.api.schemas.drift import Drift
from reconciler.api.schemas.media import Explanation, LedgerPage, MediaOfKeyPage, MediaPage, Medium, Stats
from reconciler.api.schemas.passes import CleanUp, Decision, Mark, MarksPage, PassDetail, PassesPage
from reconciler.api.schemas.shape import Problem, Shape
from reconciler.api.schemas.site import Pause, Paused, Settings, Status
from reconciler.api.schemas.steering import (
    AuditPage,
    Cancelled,
    Erasure,
    ErasuresPage,
    Held,
    HoldsPage,
    Lifted,
    LinksRevoked,
    Operation,
    OperationsPage,
)

__all__ = [
    "AuditPage",
    "Cancelled",
    "CleanUp",
    "Decision",
    "Drift",
    "Erasure",
    "ErasuresPage",
    "Explanation",
    "Held",
    "HoldsPage",
    "LedgerPage",
    "Lifted",
    "LinksRevoked",
    "Mark",
    "MarksPage",
    "MediaOfKeyPage",
    "MediaPage",
    "Medium",
    "Operation",
    "OperationsPage",
    "PassDetail",
    "PassesPage",
    "Pause",
    "Paused",
    "Problem",
    "Settings",
    "Shape",
    "Stats",
    "Status",
]
