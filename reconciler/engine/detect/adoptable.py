"""Objects without a record that become one: a sweep tells them from orphans, and marks none of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import KeyRefused
from reconciler.model import AdoptionTerms, Finding, KeepReason, OwnerSource, Verdict
from reconciler.planning.adoption import owner_of
from reconciler.ports import Adoptions, Descriptions

AT_ONCE = 16

SPARED = frozenset({None, KeepReason.DISABLED})
"""Orphans that nothing else keeps; whether orphans are deleted is of no matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoptable:
    """What a sweep asks of owners. `terms` None: nothing is adopted."""

    adoptions: Adoptions
    descriptions: Descriptions
    terms: AdoptionTerms | None

    async def told(self, verdicts: Sequence[Finding | KeepReason]) -> Sequence[Finding | KeepReason]:
        """The same, with *adopt* in place of *orphan* where the owner is known.

        One that the store refuses to show is kept. Raises StoreUnavailable, Halt.
        """
        if self.terms is None:
            return verdicts
        asked = [each.storage_key for each in verdicts if _is_asked(each)]
        barred = await self.adoptions.barred(asked) if asked else ()
        owners, unseen = await self._owners([key for key in asked if key not in barred])
        known = await self.adoptions.existing(set(owners.values())) if owners else ()
        return [self._judged(each, owners, known, unseen) if _is_asked(each) else each for each in verdicts]

    async def _owners(self, keys: Sequence[str]) -> tuple[Mapping[str, str], Collection[str]]:
        """What each object says of its owner, and the objects that the store refuses to show."""
        terms = self.terms
        assert terms is not None, "asked only where something is adopted"
        owners, unseen = dict[str, str](), set[str]()
        source = None if terms.owner is None else terms.owner.source

        async def look(key: str) -> None:
            found = None
            if source is not OwnerSource.KEY:
                try:
                    found = await self.descriptions.of(key, tags=source is OwnerSource.TAG)
                except KeyRefused:
                    unseen.add(key)
                    return
            if owner := owner_of(key, found, terms.owner):
                owners[key] = owner

        await for_each(keys, look, concurrency=AT_ONCE)
        return owners, unseen

    def _judged(
        self, orphan: Finding, owners: Mapping[str, str], known: Collection[str], unseen: Collection[str]
    ) -> Finding:
        if orphan.storage_key in unseen:
            reason = f"{orphan.reason}; the store refuses to show whose it is"
            return replace(orphan, kept=KeepReason.PENDING, reason=reason)
        owner = owners.get(orphan.storage_key)
        if owner is None or owner not in known:
            return orphan
        assert self.terms is not None, "asked only where something is adopted"
        return replace(
            orphan,
            verdict=Verdict.ADOPT,
            kept=KeepReason.PENDING,
            virtual_key_id=owner,
            reason=f"{orphan.reason}; its owner is known by {self.terms.owner}, and a row is made",
        )


def _is_asked(each: Finding | KeepReason) -> TypeGuard[Finding]:
    return isinstance(each, Finding) and each.verdict is Verdict.ORPHAN and each.kept in SPARED
