"""How things went and will go, over time: what a person looks at before deciding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from reconciler.model.enums import PassKind
from reconciler.model.verdicts import Verdict

Amounts = Mapping[Verdict, tuple[int, int]]
"""Keys and bytes by verdict."""

DRIFT_STEP = timedelta(hours=6)
DRIFT_SPAN = timedelta(days=14)
DUE_SPAN = timedelta(hours=24)
GONE_DAYS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFound:
    """What the last complete pass of a kind found that began within a step of time; kept drift included."""

    kind: PassKind
    at: datetime
    found: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """At the server's time `at`: what sweeps and retention passes found, the oldest first; what is due by the
    hour from then on, what is overdue in hour 0; what was deleted live by the day in UTC.
    """

    at: datetime
    drift: Sequence[DriftFound]
    due: Mapping[int, Amounts]
    gone: Mapping[date, Amounts]
