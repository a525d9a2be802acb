"""A check's results, and how an error becomes one."""

from collections.abc import Awaitable, Callable, Sequence

from reconciler.errors import ReconcilerError
from reconciler.model import (
    Check,
    CheckStatus,
)


def ok(name: str, detail: str) -> Check:
    return Check(name=name, status=CheckStatus.OK, detail=detail)


def warn(name: str, detail: str, advice: str = "") -> Check:
    return Check(name=name, status=CheckStatus.WARN, detail=detail, advice=advice)


def fail(name: str, detail: str, advice: str = "") -> Check:
    return Check(name=name, status=CheckStatus.FAIL, detail=detail, advice=advice)


def skip(name: str, why: str) -> Check:
    return Check(name=name, status=CheckStatus.SKIP, detail=f"not looked at: {why}")


async def attempt(name: str, act: Callable[[], Awaitable[Sequence[Check]]]) -> Sequence[Check]:
    """The checks that `act` makes; an error of the program becomes a failed one, and the rest goes on."""
    try:
        return await act()
    except ReconcilerError as error:
        return [fail(name, line) for line in str(error).splitlines()]
