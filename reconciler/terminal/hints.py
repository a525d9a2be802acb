"""What can be done on the command line about a request that was not done, by the error's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.errors import NotDone

HINTS: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "no_such_pass": lambda _: "; reconciler passes lists them",
    "later_pass_first": lambda of: f" (reconciler passes show {of['later']})",
    "both_sides": lambda of: f": reconciler approve {of['pass_id']} --i-understand",
}


def with_hint(error: NotDone) -> str:
    """The error's message, and the command that is to be run next, where there is one."""
    hint = HINTS.get(error.code)
    return f"{error}{hint(error.fields) if hint else ''}"
