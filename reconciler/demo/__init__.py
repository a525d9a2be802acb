"""`reconciler demo`: embedded servers, seeded drift, a dry run, then convergence, verified."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """`objects` are stored in the bucket at first; `keep` leaves the servers up until a signal."""

    objects: int = 2_000
    keep: bool = False


async def demo(options: DemoOptions) -> int:
    """Run the demo, telling it on standard output, and return the exit status: 0 if all was as it should be.

    Raises ConfigError where the embedded servers are not installed or the options cannot work.
    """
    # The tests take their servers from this package, and need not load the whole program for it.
    from reconciler.demo.play import play  # noqa: PLC0415

    return await play(options)
