"""Pairs of which the program itself removed one half: the other half is not judged, the pair is restored.

Every row without an object and every orphan is checked, whatever its verdict, whether its clean-up is on,
and whatever the breaker will say: healing depends on none of that (R-46).
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from reconciler.engine.runtime.context import Ports
from reconciler.model import Finding, KeepReason, Tally, Verdict
from reconciler.planning.keys import rewritten
from reconciler.ports import Recovery

LOOKUP_SIZE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """Looks up what can come back. `heals`: whether to queue it as well, or only count it.

    `rewrites_keys` as in `Policy`: a hidden object bears the key that the store made of the row's key.
    """

    recovery: Recovery
    heals: Callable[[], Awaitable[bool]]
    rewrites_keys: bool

    async def of_rows(self, keys: Sequence[str]) -> Collection[str]:
        """Given keys of rows without an object, return those of which an object is hidden, and queue them."""
        if not keys:
            return ()
        stored = {key: rewritten(key) if self.rewrites_keys else key for key in keys}
        hidden = await self.recovery.estranged(sorted({*stored, *stored.values()}))
        await self.bring_back(sorted(hidden), "a row names it, and it is hidden")
        return {key for key, other in stored.items() if key in hidden or other in hidden}

    async def of_further_columns(self) -> None:
        """Queue hidden objects that a further column names: those rows are not compared with a listing."""
        await self.bring_back(sorted(await self.recovery.named_besides()), "a further column names it")

    async def keep_orphans(self, findings: list[Finding]) -> Tally:
        """Mark as kept, in place, the orphans whose row we removed because they were missing; queue them.

        Returns the addition to the tally.
        """
        orphans = {each.storage_key: n for n, each in enumerate(findings) if each.verdict is Verdict.ORPHAN}
        keys, kept = list(orphans), 0
        for start in range(0, len(keys), LOOKUP_SIZE):
            row_missing = await self.recovery.row_missing(keys[start : start + LOOKUP_SIZE])
            await self.bring_back(sorted(row_missing), "its row was removed, and its object is there")
            for key in row_missing:
                finding = findings[orphans[key]]
                if finding.kept is None:
                    reason = f"{finding.reason}; its row was removed for want of it, and comes back"
                    findings[orphans[key]] = replace(finding, kept=KeepReason.RECOVERABLE, reason=reason)
                    kept += 1
        return Tally(kept={KeepReason.RECOVERABLE: kept}) if kept else Tally()

    async def bring_back(self, keys: Sequence[str], reason: str) -> bool:
        """Queue these keys, if it heals; returns whether it did."""
        if not keys or not await self.heals():
            return False
        await self.recovery.queue(keys, reason)
        return True


def returns_of(ports: Ports, *, live: bool, rewrites_keys: bool) -> Returns:
    """Build the `Returns` of a pass. It queues in live mode only, and not while paused."""

    async def heals() -> bool:
        return live and not (await ports.pause.look()).paused

    return Returns(recovery=ports.recovery, heals=heals, rewrites_keys=rewrites_keys)
