"""Which database this is, and how far it has come: a restore, a copy or a failover changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Facts that Postgres reports about itself; None for one that this server or role does not report.

    `cluster` is the system identifier that initdb made; `database`, `media`, `keys` and `own` (our schema's)
    are oids, which a restored dump does not keep. `timeline` rises with each promotion and each recovery
    to a point in time. `wal` is how far the write-ahead log was durable, in bytes. `at` is the server's
    time of asking.
    """

    cluster: int | None = None
    database: int | None = None
    media: int | None = None
    keys: int | None = None
    own: int | None = None
    timeline: int | None = None
    wal: int | None = None
    at: datetime | None = None

    def written(self) -> dict[str, Any]:
        """A form that JSON takes; what is not known is left out."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return known if self.at is None else {**known, "at": self.at.isoformat()}

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Lineage:
        """Read what `written` made; unknown names are ignored. Raises ValueError or TypeError otherwise."""
        numbers = {each.name: written.get(each.name) for each in fields(cls) if each.name != "at"}
        at = datetime.fromisoformat(written["at"]) if "at" in written else None
        return cls(at=at, **{name: None if each is None else int(each) for name, each in numbers.items()})
