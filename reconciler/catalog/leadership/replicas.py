"""What each replica says of itself, for `status`: its mode and its halt are known to it alone."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from reconciler.catalog.db.connections import Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import SILENT_AFTER, Mode, PassKind, Phase, Replica

# What ended replicas said last is dropped after a day.
SAY = f"""
WITH ended AS (DELETE FROM {SCHEMA}.replicas WHERE said_at < clock_timestamp() - interval '1 day')
INSERT INTO {SCHEMA}.replicas (name, said_at, says) VALUES ($1, clock_timestamp(), $2::jsonb)
ON CONFLICT (name) DO UPDATE SET said_at = excluded.said_at, says = excluded.says
"""

ONCE = "once"
"""The name under which the last `once` of a site says how it ended. It stays for a day."""

HEARD = f"""
SELECT name, said_at, says::text AS says FROM {SCHEMA}.replicas
WHERE said_at > clock_timestamp() - $1::interval AND name <> '{ONCE}' ORDER BY name
"""

LAST_ONCE = f"SELECT name, said_at, says::text AS says FROM {SCHEMA}.replicas WHERE name = '{ONCE}'"


class PostgresReplicas:
    """Writes and reads it. Older programs say nothing, and a newer one may say more."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def say(self, replica: Replica) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SAY, replica.name, _text(replica))

    async def leave(self, name: str) -> None:
        """It has ended, and says no more."""
        async with self._database.connection() as connection:
            await connection.execute(f"DELETE FROM {SCHEMA}.replicas WHERE name = $1", name)

    async def heard(self) -> Sequence[Replica]:
        """The replicas that have spoken lately, by name."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(HEARD, SILENT_AFTER)
        return [_replica(row["name"], row["said_at"], json.loads(row["says"])) for row in rows]

    async def last_once(self) -> Replica | None:
        """What the last `once` that had the lease, or halted, said when it ended."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(LAST_ONCE)
        return _replica(row["name"], row["said_at"], json.loads(row["says"])) if row else None


def _text(replica: Replica) -> str:
    return json.dumps(
        {
            "version": replica.version,
            "mode": replica.mode,
            "mode_from": replica.mode_from,
            "mode_since": _written(replica.mode_since),
            "config_hash": replica.config_hash,
            "epoch": replica.epoch,
            "halted": replica.halted,
            "halted_since": _written(replica.halted_since),
            "next_pass": {kind: _written(at) for kind, at in replica.next_pass.items()},
            "phases": replica.phases,
            "rate": replica.rate,
            "blocked_by": replica.blocked_by,
            "approval_ttl": replica.approval_ttl and replica.approval_ttl.total_seconds(),
        }
    )


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _read(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _replica(name: str, said_at: datetime, says: Mapping[str, Any]) -> Replica:
    ttl = says.get("approval_ttl")
    next_pass = {PassKind(kind): _read(at) for kind, at in says["next_pass"].items()}
    return Replica(
        name=name,
        said_at=said_at,
        version=says["version"],
        mode=Mode(says["mode"]),
        mode_from=says["mode_from"],
        mode_since=_read(says["mode_since"]),
        config_hash=says["config_hash"],
        epoch=says["epoch"],
        halted=says["halted"],
        halted_since=_read(says["halted_since"]),
        next_pass={kind: at for kind, at in next_pass.items() if at is not None},
        phases={PassKind(kind): Phase(phase) for kind, phase in says["phases"].items()},
        rate=says["rate"],
        blocked_by=says["blocked_by"],
        approval_ttl=None if ttl is None else timedelta(seconds=ttl),
    )
