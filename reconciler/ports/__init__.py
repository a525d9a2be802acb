"""The protocols that the engine needs of a bucket, a catalog, a clock and its observers, kept narrow.

Adapters raise only the errors of `reconciler.errors`; each retries once, bounded, on its own side.
"""

from reconciler.ports.bucket import (
    PAGE_SIZE,
    Copies,
    IdentityMarker,
    Listing,
    ObjectStore,
    Prober,
    StoreClock,
    Uploads,
    Versions,
)
from reconciler.ports.deciding import Cap, Decide
from reconciler.ports.leading import Budget, Lease, PauseSwitch, Site
from reconciler.ports.marks import Holds, Marks
from reconciler.ports.recovery import Purges, Recovery
from reconciler.ports.surroundings import Attribute, Clock, Observer, Tracer
from reconciler.ports.sweeping import Approvals, Folded, NearMisses, Passes, Records, Staging, StagingArea

__all__ = [
    "PAGE_SIZE",
    "Approvals",
    "Attribute",
    "Budget",
    "Cap",
    "Clock",
    "Copies",
    "Decide",
    "Folded",
    "Holds",
    "IdentityMarker",
    "Lease",
    "Listing",
    "Marks",
    "NearMisses",
    "ObjectStore",
    "Observer",
    "Passes",
    "PauseSwitch",
    "Prober",
    "Purges",
    "Records",
    "Recovery",
    "Site",
    "Staging",
    "StagingArea",
    "StoreClock",
    "Tracer",
    "Uploads",
    "Versions",
]
