"""What would go along with records, shown before anything is marked: by `plan`, and in dry run."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import KeyRefused
from reconciler.model import Policy, StoredObject, Variant
from reconciler.planning.keys import protection

LOOKS_AT_ONCE = 32


@dataclass(slots=True)
class Along:
    """Counts who names each variant, since one goes with the last of its records; of one pass."""

    ports: Ports
    policy: Policy
    named: Counter[str] = field(default_factory=Counter)

    async def of(self, rows: Mapping[str, str]) -> Sequence[tuple[Variant, StoredObject]]:
        """Objects that go when these rows do as well, after all that were asked before.

        `rows` are the storage keys of those that go, by their ids; each is asked once.
        """
        last: list[Variant] = []
        for each in await self.ports.records.variants(rows, self.policy.prefixes):
            self.named[each.storage_key] += 1
            if self.named[each.storage_key] == each.names:
                del self.named[each.storage_key]
                last.append(each)
        free = [each for each in last if protection(each.storage_key, self.policy) is None]
        held = await self.ports.holds.held([each.storage_key for each in free])
        free = [each for each in free if each.storage_key not in held]
        there: dict[str, StoredObject] = {}

        async def look(each: Variant) -> None:
            # What is refused for the key alone stays, with its reason, when its turn comes.
            with contextlib.suppress(KeyRefused):
                if (stored := await self.ports.store.head(each.storage_key)) is not None:
                    there[each.storage_key] = stored

        await for_each(free, look, concurrency=LOOKS_AT_ONCE)
        return [(each, there[each.storage_key]) for each in free if each.storage_key in there]
