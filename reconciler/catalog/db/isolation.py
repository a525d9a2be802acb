"""Isolates a poison key: finds it by halving the batch, and postpones it alone, with a line in the ledger.

A key is poison if its mark, or a row that names it, makes a statement or our own code fail: a number too
large for any integer, a date outside every calendar, a word of a later version.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import BadValue
from reconciler.model import Claim, ObjectResult, Removed

log = structlog.get_logger(__name__)

POISON: Final = (BadValue, ValueError, TypeError, ArithmeticError)
"""What one bad value raises. A lost connection or a missing table concerns every key."""

MOST: Final = 32
"""Poison marks that one claim postpones before it gives up: more are hardly the marks' own fault."""

# Waits half a minute, doubling up to an hour.
PUT_OFF = f"""
UPDATE {SCHEMA}.marks
SET attempts = attempts + 1, last_error = $3,
    not_before = $2::timestamptz
        + least(interval '30 seconds' * power(2, least(attempts, 20)), interval '1 hour')
WHERE storage_key = $1
"""


NOTE = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, result, detail)
SELECT $2, 'result', 'live', 'object', storage_key, verdict, reason, 'failed', $3
FROM {SCHEMA}.marks WHERE storage_key = $1
"""


async def claimed_alone(
    claim: Callable[[int], Awaitable[Claim]],
    put_off_first: Callable[[str], Awaitable[bool]],
    limit: int,
) -> Claim:
    """`claim(limit)`; a poison mark that makes it fail is postponed, and the others are claimed.

    Marks are taken in a fixed order, so a smaller claim takes the first of them. `put_off_first` is called
    once a claim of a single mark fails, and returns whether there was one.
    """
    size, poison = limit, 0
    while True:
        try:
            return await claim(size)
        except POISON as error:
            if size > 1:
                size //= 2
                continue
            poison += 1
            if poison > MOST or not await put_off_first(f"it cannot be claimed: {error}"):
                raise
            size = limit


async def put_off(connection: AnyConnection, epoch: int, key: str, now: object, reason: str) -> None:
    """Postpone one mark, longer each time, and record the reason in the ledger."""
    await connection.execute(PUT_OFF, key, now, reason)
    log.error("a mark is put off: its key or its rows cannot be read", storage_key=key, reason=reason)
    await connection.execute(NOTE, key, epoch, reason)


Results = Mapping[str, tuple[ObjectResult, str]]


async def looked_at_alone(
    look: Callable[[Claim], Awaitable[Mapping[str, str]]], claim: Claim
) -> Mapping[str, str]:
    """`look(claim)`; a key whose rows cannot be read is spared, and the others are checked."""
    try:
        return await look(claim)
    except POISON as error:
        middle = len(claim.keys) // 2
        if middle:
            first, second = claim.keys[:middle], claim.keys[middle:]
            spared = await looked_at_alone(look, replace(claim, keys=first))
            return {**spared, **await looked_at_alone(look, replace(claim, keys=second))}
        return {key.mark.storage_key: f"its rows cannot be read: {error}" for key in claim.keys}


async def confirmed_alone(
    confirm: Callable[[Claim, Results], Awaitable[Removed]], claim: Claim, results: Results
) -> Removed:
    """`confirm(claim, results)`; a key that makes it fail stays claimed, and the others are confirmed."""
    try:
        return await confirm(claim, results)
    except POISON as error:
        middle = len(claim.keys) // 2
        if middle:
            first, second = claim.keys[:middle], claim.keys[middle:]
            removed = await confirmed_alone(confirm, replace(claim, keys=first), results)
            return removed + await confirmed_alone(confirm, replace(claim, keys=second), results)
        if not claim.keys or not results:
            raise
        key = claim.keys[0].mark.storage_key
        log.error("a key cannot be confirmed, and is put off", storage_key=key, reason=str(error))
        return await confirm(claim, {key: (ObjectResult.FAILED, f"it cannot be confirmed: {error}")})
