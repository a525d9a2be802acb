"""The write guard: every write to the bucket and to the gateway's rows passes here.

It refuses in dry run and while an operator has paused the program, whatever the caller believes: it reads
both at the moment of each write.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from reconciler import model
from reconciler.engine.runtime.context import Ports
from reconciler.errors import LeaseLost, Retryable, StoreUnavailable
from reconciler.planning import formatting
from reconciler.ports import ClaimRequest, Decide, Judge

SEAL_AGE = 1.0
"""Seconds for which the bucket's identity, once read, is not read again before a claim or a delete. So a
delete is sent at most that long after the reading, however many batches are under way."""


class Refused(Retryable):
    """A write was requested in dry run or while paused. What was claimed stays claimed until that ends."""


def require_live(mode: model.Mode) -> None:
    """Raise StoreUnavailable in dry run: before each request of a call, whose keys then stay claimed."""
    if mode is not model.Mode.LIVE:
        raise StoreUnavailable("dry run was switched on: no further request is sent")


class WriteGuard:
    """Claims, deletes and confirms in live mode only, and not while an operator has paused it."""

    def __init__(
        self,
        ports: Ports,
        mode: Callable[[], model.Mode],
        leads: Callable[[], bool],
        seal: Callable[[float], Awaitable[UUID]],
    ) -> None:
        self._ports = ports
        self._mode = mode
        self._leads = leads
        self._seal = seal

    async def claim(self, term: model.Term, wanted: ClaimRequest) -> model.Claim:
        """Take due marks for deletion; see `Marks.claim`."""
        sealed = await self._admit_claim("claim marks", term)
        return await self._ports.marks.claim(sealed, wanted)

    async def rescue(self, term: model.Term, longest_call: timedelta, limit: int) -> model.Claim | None:
        """Take over a claim that has to roll forward; see `Marks.rescue`."""
        sealed = await self._admit_claim("take over a claim", term)
        return await self._ports.marks.rescue(sealed, longest_call, limit)

    async def delete(
        self, batch: Sequence[model.Deletion], copies: Iterable[str] = ()
    ) -> Sequence[model.DeletionResult]:
        """Delete objects from the bucket. `copies`: the keys of their copies, whose bucket must be ours."""
        await self._admit_deletion("delete objects", lambda: [*copies, *(each.key for each in batch)])
        return await self._ports.store.delete(batch)

    async def copy(self, wanted: model.CopyRequest) -> model.Copied:
        """Copy an object into quarantine or out of it; see `Copies.copy`.

        Allowed while paused: a copy deletes nothing, and brings back what should not have been deleted.
        """
        self._refuse_in_dry_run("copy objects")
        await self._ports.quarantines.require((wanted.source, wanted.target))
        self._refuse_without_lease()
        return await self._ports.copies.copy(wanted)

    async def purge(self, batch: Sequence[model.Version]) -> Sequence[model.DeletionResult]:
        """Delete versions and delete markers by id, for good."""
        await self._admit_deletion("purge versions", lambda: [each.key for each in batch])
        return await self._ports.versions.remove(batch)

    async def abort(self, uploads: Sequence[model.Upload]) -> Sequence[model.DeletionResult]:
        """Abort multipart uploads, which deletes their parts."""
        await self._admit_deletion("abort uploads", lambda: [each.key for each in uploads])
        return await self._ports.uploads.abort(uploads)

    async def reveal(self, markers: Sequence[model.Version]) -> Sequence[model.DeletionResult]:
        """Remove delete markers to uncover what they hid. Allowed while paused, as copies are."""
        self._refuse_in_dry_run("remove delete markers")
        self._refuse_without_lease()
        if not all(each.marker for each in markers):
            raise ValueError("only delete markers hide anything")
        return await self._ports.versions.remove(markers, reveals=True)

    async def withdraw(self, copy: model.Version) -> Sequence[model.DeletionResult]:
        """Remove a version that we made ourselves: what it covered is the current object again."""
        self._refuse_in_dry_run("withdraw a copy")
        self._refuse_without_lease()
        return await self._ports.versions.remove([copy], reveals=True)

    async def adopt(
        self,
        adoption: model.BegunAdoption,
        rows: Sequence[model.Adoptable],
        left: Mapping[str, str],
        terms: model.AdoptionTerms,
        prefixes: Sequence[str],
        judge: Judge,
        *,
        dry_run: bool,
    ) -> Sequence[model.Adopted]:
        """Make rows for objects that have none; see `Adoptions.adopt`. Allowed while paused: nothing goes.

        `dry_run`: all is tried and taken back, which a dry run may.
        """
        if not dry_run:
            self._refuse_in_dry_run("make records")
            self._refuse_without_lease()
        return await self._ports.adoptions.adopt(
            adoption, rows, left, terms, prefixes, judge, dry_run=dry_run
        )

    async def stopped(self) -> str | None:
        """Why nothing may be deleted at the moment; None if it may."""
        try:
            self._refuse_in_dry_run("remove records")
            await self._refuse_while_paused("remove records")
        except Refused as refusal:
            return str(refusal)
        return None

    async def confirm(
        self,
        term: model.Term,
        claim: model.Claim,
        results: Mapping[str, tuple[model.ObjectResult, str]],
        decide: Decide,
        upload_window: timedelta,
        hidden: Mapping[str, model.Hidden] | None = None,
        *,
        sent: bool,
    ) -> model.Removed:
        """Remove the rows whose objects are gone; see `Marks.confirm`.

        `sent`: a request for the claim was sent. Its effect is recorded even while paused or in dry run, so
        that everything deleted is known, and can be brought back.
        """
        if not sent:
            self._refuse_in_dry_run("remove records")
            await self._refuse_while_paused("remove records")
        return await self._ports.marks.confirm(term, claim, results, decide, upload_window, hidden)

    async def wipe(
        self, term: model.Term, case: model.ErasureCase, prefixes: Sequence[str], stays: Sequence[str]
    ) -> model.Wiped:
        """Remove rows of an erasure that a person ordered; see `Erasures.wipe`."""
        sealed = await self._admit_claim("erase records", term)
        return await self._ports.erasures.wipe(sealed, case, prefixes, stays)

    async def _admit_claim(self, action: str, term: model.Term) -> model.Term:
        """The term with the identity's current nonce, which a claim compares with the database's."""
        self._refuse_in_dry_run(action)
        await self._refuse_while_paused(action)
        return replace(term, seal=await self._seal(SEAL_AGE))

    async def _admit_deletion(self, action: str, keys: Callable[[], Iterable[str]]) -> None:
        """Raise where nothing may be deleted now, or not in the bucket of one of these keys.

        The store cannot check our epoch, so a leader that resumes after its lease expired must send nothing:
        its successor may have spared the key meanwhile. The same applies once the bucket's identity no longer
        bears our seal.
        """
        self._refuse_in_dry_run(action)
        self._refuse_without_lease()
        await self._seal(SEAL_AGE)
        await self._refuse_while_paused(action)
        await self._ports.quarantines.require(keys())
        # Checked last, because the checks above take time.
        self._refuse_without_lease()

    def _refuse_without_lease(self) -> None:
        if not self._leads():
            raise LeaseLost(
                "the lease ended before the request was sent; the claim is left to the next leader"
            )

    def _refuse_in_dry_run(self, action: str) -> None:
        if self._mode() is not model.Mode.LIVE:
            message = f"dry run: refused to {action}; set RECONCILER_DRY_RUN=false to let it happen"
            raise Refused(message)

    async def _refuse_while_paused(self, action: str) -> None:
        if (pause := await self._ports.pause.look()).paused:
            raise Refused(
                f"{formatting.pause(pause)}: refused to {action}; `reconciler resume` lets it happen"
            )
