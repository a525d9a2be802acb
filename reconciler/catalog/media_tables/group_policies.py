"""Conduit's key groups and retention policies: how a virtual key's group stands, and what the policies say.

Both tables lie in the schema of the virtual keys' table and have Conduit's own names. A column that a version
of Conduit lacks is NULL here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from reconciler.catalog.db.config import TableMapping, qualified, quoted, split_table
from reconciler.catalog.db.connections import AnyConnection
from reconciler.model import BALANCES, GroupPolicy

GROUPS, POLICIES = "VirtualKeyGroups", "MediaRetentionPolicies"

SETTING = "RECONCILER_RETENTION__SOURCE conduit"

_SIGNS = {"positive": ">", "zero": "=", "negative": "<"}

# As `planning.group_policies.standing` writes it. NULL where the balance is, or there is no such group.
STANDING = """(
    SELECT (coalesce(g."MediaRetentionPolicyId"::text, 'default') || ':' || CASE {signs} END) COLLATE "C"
    FROM {groups} g WHERE g."Id" = {group})"""

_DAYS = {each: f"{each.capitalize()}BalanceRetentionDays" for each in BALANCES}


def standing(tables: TableMapping) -> str:
    """SQL: how the group of the virtual key `k` stands, as text."""
    signs = " ".join(f"""WHEN g."Balance" {sign} 0 THEN '{name}'""" for name, sign in _SIGNS.items())
    group = f"k.{quoted(tables.keys.group_id)}"
    return STANDING.format(signs=signs, groups=_beside(tables, GROUPS), group=group)


async def faults(connection: AnyConnection, tables: TableMapping) -> Sequence[str]:
    """What keeps the tables from being read, in words; each is tried as it is read later."""
    found = []
    keys = f"{qualified(tables.keys_table)} k"
    for name, query in (
        (GROUPS, f"SELECT {standing(tables)} FROM {keys} LIMIT 1"),
        (POLICIES, _query(tables)),
    ):
        try:
            await connection.fetch(query)
        except asyncpg.PostgresError as error:
            found.append(
                f"{SETTING}: {name} cannot be read as Conduit has it ({error}), so nothing ends by its age;"
                f" grant SELECT on {_beside(tables, name)} to this role, or take own rules"
            )
    return found


async def read(connection: AnyConnection, tables: TableMapping) -> Sequence[GroupPolicy]:
    """All policies, in the order of their ids."""
    rows = await connection.fetch(_query(tables))
    return [_policy(json.loads(row["policy"])) for row in rows]


def _query(tables: TableMapping) -> str:
    return f'SELECT to_jsonb(p)::text AS policy FROM {_beside(tables, POLICIES)} p ORDER BY p."Id"'


def _policy(row: Mapping[str, Any]) -> GroupPolicy:
    return GroupPolicy(
        id=str(row["Id"]),
        name=str(row.get("Name") or row["Id"]),
        days={balance: _number(row.get(column)) for balance, column in _DAYS.items()},
        respects_access=_flag(row.get("RespectRecentAccess")),
        access_days=_number(row.get("RecentAccessWindowDays")),
        soft_delete_days=_number(row.get("SoftDeleteGracePeriodDays")),
        is_default=_flag(row.get("IsDefault")),
        is_active=_flag(row.get("IsActive")),
    )


def _number(value: object) -> int | None:
    """The value of a column of whole numbers; a bool is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _beside(tables: TableMapping, name: str) -> str:
    schema, _ = split_table(tables.keys_table)
    return f"{quoted(schema)}.{quoted(name)}"
