"""Passes that somebody asked for, which the leader takes up."""

from typing import Protocol

from reconciler.model import PassKind


class Jobs(Protocol):
    """What waits for the leader. `holder` is its term: what another term began and did not end is taken up
    again. Raises CatalogUnavailable.
    """

    async def wanted(self, holder: str) -> frozenset[PassKind]:
        """The kinds of pass that somebody waits for, and that this term has not begun yet."""
        ...

    async def begin(self, kind: PassKind, holder: str) -> None:
        """A pass begins: it answers whoever asked for its kind before."""
        ...

    async def answered(self, kind: PassKind, holder: str, pass_id: int) -> None:
        """The pass that began is complete."""
        ...

    async def failed(self, kind: PassKind, holder: str, error: str) -> None:
        """It failed, and will be tried again."""
        ...
