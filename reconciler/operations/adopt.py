"""Adoption: rows for objects that have none, on an operator's request; and its undoing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from reconciler.catalog.open import Catalog
from reconciler.catalog.recovery.adoption import TAKEN
from reconciler.engine.detect.plan import managed
from reconciler.engine.detect.sweep import Sweep
from reconciler.engine.lead import ownership
from reconciler.engine.lead.lease import holder_name
from reconciler.engine.recover.adopting import Adopter, Settled
from reconciler.engine.runtime.context import Limits, Ports, RuntimeSettings
from reconciler.engine.runtime.tasks import task_group
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import (
    Adoption,
    AdoptionTerms,
    BegunAdoption,
    Candidate,
    Finding,
    Mode,
    NearMiss,
    OwnerFrom,
    OwnerSource,
    RangeProgress,
    Verdict,
)
from reconciler.model.spelling import Orphans
from reconciler.planning.formatting import counted
from reconciler.ports import Folded, NearMisses

PAGE = 500
"""Rows that an undo removes in one transaction."""

Listed = Callable[[int], None]
"""Hears how many objects without a row were found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be adopted. `owner` None: as the settings say. `terms` are the settings'."""

    prefix: str = ""
    owner: str | None = None
    terms: AdoptionTerms
    author: str
    dry_run: bool = False

    @property
    def resolved(self) -> AdoptionTerms:
        if self.owner is None:
            return self.terms
        return replace(self.terms, owner=OwnerFrom(source=OwnerSource.GIVEN, name=self.owner))

    @property
    def told(self) -> str:
        """The request in one line: the same line resumes it."""
        terms = self.resolved
        columns = ", ".join(f"{name} from {each}" for name, each in sorted(terms.columns.items()))
        return f"{self.prefix!r}, owner by {terms.owner}" + (f", {columns}" if columns else "")


async def adopt(
    ports: Ports,
    catalog: Catalog,
    limits: Limits,
    settings: RuntimeSettings,
    bucket: str,
    asked: Asked,
    *,
    listed: Listed,
    settled: Settled,
) -> Adoption:
    """Carry out an adoption from its beginning, or from where it was ended.

    Raises NotDone where nobody says whose objects are, the owner or the prefix is unknown, or another process
    is at it; ConfigError naming required columns that nothing fills; Halt where the bucket is not this
    database's; Retryable where it can be resumed by the same request.
    """
    terms, by = asked.resolved, holder_name()
    within = managed(asked.prefix, settings.policy.prefixes)
    if asked.dry_run:
        await ownership.verify(ports, bucket)
    else:
        # A pass would tie both as well, but it would mark what is to be adopted.
        await ownership.first_contact(ports, bucket, settings.policy.prefixes)
    await _require_owner(catalog, terms)
    await catalog.adoptions.require(terms)
    adoption = await _begin(ports, catalog, asked, by)

    async def sealed(_: float) -> UUID:
        raise AssertionError("an adoption claims and deletes nothing")

    mode = Mode.DRY_RUN if asked.dry_run else Mode.LIVE
    guard = WriteGuard(ports, lambda: mode, lambda: True, sealed)
    adopter = Adopter(ports, guard, settings.policy, terms, settled, dry_run=asked.dry_run)
    async with task_group() as group:
        group.start_soon(_keep, ports, catalog, adoption, by)
        if not adoption.listed:
            sink = _Staging(catalog, adoption, listed)
            await _list(ports, limits, settings, bucket, adoption, sink, within)
        await adopter.run(adoption)
        group.cancel_scope.cancel()
    await catalog.adoptions.end(adoption, settings.ledger_retention)
    done = await catalog.adoptions.show(adoption.id)
    if not asked.dry_run:
        about = f"adoption {done.id}, {asked.told}: {counted(done.adopted, 'object')}"
        await catalog.orders.note(asked.author, "adopt", about)
    return done


async def undo(catalog: Catalog, adoption_id: int, *, author: str, live: bool) -> tuple[int, int]:
    """Remove the rows that an adoption made and nobody has changed since. Returns how many went, and stay.

    The objects are without a row again. Raises NotDone where there is no such adoption, or in dry run.
    """
    found = await catalog.adoptions.show(adoption_id)
    if not live or found.dry_run:
        return 0, found.adopted
    after, removed, stay = "", 0, 0
    while (page := await catalog.adoptions.undo(adoption_id, after, PAGE, author)) is not None:
        after, removed, stay = page[0], removed + page[1], stay + page[2]
    about = f"adoption {adoption_id}: {counted(removed, 'row')} removed"
    await catalog.orders.note(author, "adopt --undo", about)
    return removed, stay


async def _begin(ports: Ports, catalog: Catalog, asked: Asked, by: str) -> BegunAdoption:
    """Waits for one to be free whose process may have died: until it would have to say that it lives."""
    for last in (False, True):
        try:
            return await catalog.adoptions.begin(asked.told, asked.author, by, dry_run=asked.dry_run)
        except NotDone as error:
            if last or error.code != "adopting":
                raise
            await ports.clock.sleep(TAKEN.total_seconds())
    raise AssertionError("unreachable")


async def _keep(ports: Ports, catalog: Catalog, adoption: BegunAdoption, by: str) -> None:
    while True:
        await ports.clock.sleep(TAKEN.total_seconds() / 3)
        await catalog.adoptions.keep(adoption, by)


async def _require_owner(catalog: Catalog, terms: AdoptionTerms) -> None:
    adoptions = catalog.adoptions
    if not adoptions.owned:
        return
    if terms.owner is None:
        raise NotDone(ErrorKind.NOT_READY, "no_owner_source", "nothing says whose the objects are")
    if not adoptions.verifiable:
        message = "there is no table of virtual keys, so that no owner can be known to exist"
        raise NotDone(ErrorKind.NOT_READY, "no_keys", message)
    if terms.owner.source is OwnerSource.GIVEN and not await adoptions.exists(terms.owner.name):
        message = f"there is no virtual key {terms.owner.name}"
        raise NotDone(ErrorKind.NOT_FOUND, "no_such_key", message, owner=terms.owner.name)


async def _list(
    ports: Ports,
    limits: Limits,
    settings: RuntimeSettings,
    bucket: str,
    adoption: BegunAdoption,
    sink: "_Staging",
    within: tuple[str, ...],
) -> None:
    """Note what has no row, as a sweep finds it."""
    await sink.catalog.adoptions.relist(adoption)
    # What a clean-up is switched on for decides of deletions alone.
    policy = replace(settings.policy, orphan_cleanup=True)
    wanted = replace(settings, policy=policy, integrity_interval=None, adoption=None)
    planned = replace(ports, near_misses=_Noting(ports.near_misses))
    now = await ports.records.now()
    tally = await Sweep(planned, limits).survey(wanted, sink, bucket, now, within, adoption.spellings)
    kept = {str(reason): number for reason, number in tally.kept.items() if number}
    await sink.catalog.adoptions.listed(adoption, kept)


@dataclass(slots=True)
class _Staging:
    """Takes what a comparison finds: orphans are candidates."""

    catalog: Catalog
    adoption: BegunAdoption
    listed: Listed

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None:  # noqa: ARG002
        orphans = [each for each in findings if each.verdict is Verdict.ORPHAN]
        found = [
            Candidate(storage_key=each.storage_key, size=each.bytes) for each in orphans if each.kept is None
        ]
        await self.catalog.adoptions.stage(self.adoption.id, found)
        self.listed(len(found))


@dataclass(frozen=True, slots=True)
class _Noting:
    """`ports.NearMisses` that notes and withdraws nothing: each row is compared as it is made."""

    near: NearMisses

    async def note(self, pass_id: int, objects: Sequence[Folded], rows: Sequence[Folded]) -> None:
        await self.near.note(pass_id, objects, rows)

    async def note_outside(self, pass_id: int, rows: Sequence[Folded]) -> None:
        await self.near.note_outside(pass_id, rows)

    async def note_hidden(self, orphans: Orphans, *, unpaired: bool) -> bool:
        return await self.near.note_hidden(orphans, unpaired=unpaired)

    async def named_by(self, key: str) -> Sequence[str]:
        return await self.near.named_by(key)

    def gathered(self) -> Sequence[str]:
        return self.near.gathered()

    async def spare(self, pass_id: int, after: str, limit: int) -> Sequence[NearMiss]:  # noqa: ARG002
        return ()

    async def forget(self, pass_id: int) -> None:  # noqa: ARG002
        raise AssertionError("what an adoption has noted goes with its end")
