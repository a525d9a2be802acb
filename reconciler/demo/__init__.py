"""`reconciler demo`: embedded servers, seeded drift, a dry run, then convergence, verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tests take parts of this package, and need not load the whole program for it
    from rich.console import Console

    from reconciler.model import Verdict
    from reconciler.operations.findings import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """`objects` are stored in the bucket at first; `keep` leaves the servers up until a signal."""

    objects: int = 2_000
    keep: bool = False


async def demo(
    options: DemoOptions, console: Console, table: Callable[[Mapping[Verdict, Group]], None]
) -> int:
    """Run the demo, narrate it on the console, and return the exit status: 0 if all was as it should be.

    `table` prints the findings of a plan there. Raises ConfigError where the embedded servers are not
    installed or the options cannot work.
    """
    from reconciler.demo.play import play  # noqa: PLC0415
    from reconciler.demo.show import Screen  # noqa: PLC0415

    return await play(options, Screen(console, table))
