"""Erasures with proof: what was ordered is done under the lease, step by step, and looked at in the end.

Nothing here deletes an object that somebody needs. Rows are removed as a gateway removes them, and their
objects then go the way of every object whose record left: marked, claimed, judged once more under lock. A
hold keeps its key, an object that another row names stays, and a certificate names both. A crash between any
two lines leaves what was ordered in Postgres, and the next round repeats it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import structlog

from reconciler import __version__, model
from reconciler.engine.collect.holds import hold_locked
from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.engine.runtime.tasks import for_each
from reconciler.engine.runtime.write_guard import Refused, WriteGuard
from reconciler.errors import KeyRefused, ListingBroken, StoreUnavailable
from reconciler.planning import certificates
from reconciler.planning.formatting import counted, timestamp
from reconciler.planning.keys import protection

log = structlog.get_logger(__name__)

LOOKS_AT_ONCE = 16

ROUNDS = 200
"""The most transactions of one round that remove rows: the leader has other work as well."""


@dataclass(slots=True)
class _Seen:
    """What a look at the bucket found of the keys that have to be gone."""

    there: set[str] = field(default_factory=set)
    versions: list[model.Version] = field(default_factory=list)
    uploads: list[model.Upload] = field(default_factory=list)
    copies: set[str] = field(default_factory=set)
    unsure: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not (self.there or self.versions or self.uploads or self.copies or self.unsure)


class Eraser:
    """Carries on every erasure that is open, as far as it comes in one round."""

    def __init__(self, ports: Ports, guard: WriteGuard, in_force: SettingsInForce, bucket: str) -> None:
        self._ports = ports
        self._guard = guard
        self._in_force = in_force
        self._bucket = bucket

    async def begin(self, term: model.Term) -> None:
        """Remove the rows, and whatever could bring them back. Raises LeaseLost, Halt, CatalogUnavailable."""
        try:
            for case in await self._ports.erasures.open():
                await self._wipe(term, case)
                await self._ports.erasures.discover(term, case, thoroughly=False)
                await self._ports.erasures.redact(term, case)
        except Refused as refusal:
            log.info("erasures wait", reason=str(refusal))

    async def finish(self, term: model.Term) -> None:
        """Look whether all of it is gone, and certify what is. Raises as `begin`, and StoreUnavailable."""
        if await self._guard.stopped():
            return
        try:
            for case in await self._ports.erasures.open():
                try:
                    await self._finish(term, case)
                except (KeyRefused, ListingBroken, StoreUnavailable) as error:
                    await self._ports.erasures.say(case, f"the store does not answer for all of it: {error}")
            await self._copy()
        except Refused as refusal:
            log.info("erasures wait", reason=str(refusal))

    async def _wipe(self, term: model.Term, case: model.ErasureCase) -> None:
        stays: list[str] = []
        refused: list[str] = []
        for _ in range(ROUNDS):
            wiped = await self._guard.wipe(term, case, self._in_force().policy.prefixes, stays)
            stays += wiped.stays
            refused += wiped.refused
            if wiped.rows:
                log.info("rows erased", erasure=str(case.id), rows=wiped.rows)
            if not wiped.more:
                break
        if refused:
            await self._ports.erasures.say(case, f"the database keeps a row: {refused[0]}")

    async def _finish(self, term: model.Term, case: model.ErasureCase) -> None:
        erasures, policy = self._ports.erasures, self._in_force().policy
        if not policy.allows(model.Verdict.DEPARTED):
            await erasures.say(case, "RECONCILER_ORPHAN_CLEANUP_ENABLED is off: its objects stay")
            return
        rows = await erasures.rows(case)
        keys = await erasures.keys(case)
        kept = await self._kept(case, keys)
        if left := rows - kept.keys():
            await erasures.say(case, f"{counted(len(left), 'row')} could not be removed yet, or came since")
            return
        wanted = [key for key in keys if key not in kept]
        if waits := await erasures.under_way(wanted):
            await erasures.say(case, f"{counted(len(waits), 'key')} wait to be deleted or purged")
            return
        await erasures.discover(term, case, thoroughly=True)
        if len(await erasures.keys(case)) > len(keys):
            await erasures.redact(term, case)
            await erasures.say(case, "the ledger has further keys of it")
            return
        traces = await erasures.traces(case, wanted)
        if traces.cdn_waits:
            await erasures.say(case, f"the CDN has {counted(traces.cdn_waits, 'purge')} to answer")
            return
        seen = await self._look(wanted, traces.copies)
        if not seen.clean:
            await self._clear(term, case, seen)
            return
        await self._certify(term, case, wanted, kept, traces)

    async def _kept(self, case: model.ErasureCase, keys: Sequence[str]) -> Mapping[str, str]:
        """What stays, and why: keys that are not ours to touch, that a hold keeps, or that others need."""
        policy = self._in_force().policy
        kept = {key: f"not ours to delete: {why}" for key in keys if (why := protection(key, policy))}
        for key, hold in (await self._ports.holds.held(keys)).items():
            until = f" until {timestamp(hold.until)}" if hold.until else ""
            kept[key] = f"on hold by {hold.author}{until}: {hold.reason}"
        ours = await self._ports.erasures.rows(case)
        named = {row.storage_key for row in await self._ports.records.lookup(keys)} - ours
        for key in {*named, *await self._ports.records.referenced(keys)}:
            kept.setdefault(key, "another row names it")
        for key in await self._ports.erasures.shared(case):
            kept.setdefault(key, "it was another virtual key's as well")
        return kept

    async def _look(self, keys: Sequence[str], copies: Sequence[str]) -> _Seen:
        """What the bucket still has: the objects, their versions and markers, open uploads, copies."""
        seen, listed = _Seen(), self._ports.capabilities.versioning is not model.Versioning.OFF

        async def look(found: set[str], key: str) -> None:
            try:
                if await self._ports.store.head(key) is not None:
                    found.add(key)
                if listed:
                    seen.versions += await self._ports.versions.of(key)
            except KeyRefused as error:
                seen.unsure[key] = str(error)

        await for_each(keys, partial(look, seen.there), concurrency=LOOKS_AT_ONCE)
        await for_each(copies, partial(look, seen.copies), concurrency=LOOKS_AT_ONCE)
        if self._ports.capabilities.multipart_listing:
            seen.uploads += await self._uploads({*keys})
        return seen

    async def _uploads(self, keys: set[str]) -> list[model.Upload]:
        found: list[model.Upload] = []
        for prefix in dict.fromkeys(self._in_force().policy.prefixes):
            async for page in self._ports.uploads.pages(prefix):
                found += [each for each in page if each.key in keys]
        return found

    async def _clear(self, term: model.Term, case: model.ErasureCase, seen: _Seen) -> None:
        """Have what is left removed: objects by the next pass, the rest here where nothing lies there."""
        said = [
            f"{counted(len(what), name)}"
            for what, name in (
                (seen.there, "object"),
                (seen.versions, "version"),
                (seen.uploads, "open upload"),
                (seen.copies, "copy"),
            )
            if what
        ]
        said += [f"{key}: {why}" for key, why in list(seen.unsure.items())[:1]]
        await self._ports.erasures.say(case, f"still in the bucket: {', '.join(said)}")
        if seen.there:
            await self._ports.erasures.leave(term, case, sorted(seen.there))
        uploads = await self._guard.abort(seen.uploads) if seen.uploads else ()
        aborted = [
            each for each, answer in zip(seen.uploads, uploads, strict=False) if answer.result in model.GONE
        ]
        await self._ports.purges.aborted(term, aborted)
        behind = [each for each in seen.versions if each.key not in seen.there]
        answers = await self._guard.purge(behind) if behind else ()
        await hold_locked(self._ports, answers, self._in_force().hold_for)
        gone = sum(answer.result in model.GONE for answer in answers)
        await self._ports.erasures.count(term, case, versions=gone, uploads=len(aborted))

    async def _certify(
        self,
        term: model.Term,
        case: model.ErasureCase,
        keys: Sequence[str],
        kept: Mapping[str, str],
        traces: model.Traces,
    ) -> None:
        notary, newest = self._ports.notary, await self._ports.erasures.newest()
        site = await self._ports.site.identity()
        fresh = next((each for each in await self._ports.erasures.open() if each.id == case.id), case)
        salt = certificates.salt_of(newest) or str(case.id)

        def compose(number: int, previous: str | None, at: datetime) -> model.Certified:
            written = certificates.certificate(
                replace(fresh, keys=len(keys)),
                number=number,
                previous=previous,
                site=str(site.site_id) if site else "",
                bucket=self._bucket,
                keys=keys,
                kept=kept,
                traces=traces,
                versions=self._ports.capabilities.versioning is not model.Versioning.OFF,
                uploads=self._ports.capabilities.multipart_listing,
                secret=notary.secret,
                salt=salt,
                at=at,
                program=f"media-reconciler {__version__}",
            )
            return certificates.signed(written, notary)

        made = await self._ports.erasures.certify(term, case, [*kept], compose)
        if made is not None:
            log.info("erased, and certified", erasure=str(case.id), certificate=made.number, kept=len(kept))

    async def _copy(self) -> None:
        """Have a copy of each certificate in the bucket, which a restored database is compared with."""
        for each in await self._ports.erasures.uncopied():
            await self._ports.certificates.put(certificates.place(each), each.document)
            await self._ports.erasures.copied(each)
