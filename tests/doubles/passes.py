"""Passes, ranges, marks being written, the lease and the site, over the database in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from reconciler.errors import Halt, LeaseLost, PassEnded
from reconciler.model import (
    Backlog,
    DeleteMode,
    Departed,
    Finding,
    HeldBy,
    Hidden,
    HiddenObject,
    HoldKind,
    Identity,
    InventoryUsed,
    KeepReason,
    KeyRange,
    Lineage,
    ListingOrder,
    Mark,
    Mode,
    Pass,
    PassKind,
    PassState,
    Policy,
    RangeProgress,
    Seals,
    Tally,
    Term,
    Trip,
    Verdict,
)
from reconciler.model.keys import merge_prefixes
from tests.doubles.database import LedgerEntry, MarkRow, MemoryDatabase
from tests.doubles.observing import Surroundings, port


class MemoryPasses:
    """The passes and their marks."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def begin(
        self,
        term: Term,
        kind: PassKind,
        config_hash: str,
        mode: Mode,
        order: ListingOrder | None,
        policy: Policy | None = None,
        inventory: InventoryUsed | None = None,
    ) -> Pass:
        database = self._database
        database.check(term)
        number = len(database.passes) + 1
        for older in list(database.passes.values()):
            if older.kind is kind and older.state is PassState.RUNNING:
                self._finish(older, PassState.SUPERSEDED, superseded_by=number)
        ended = {PassState.FAILED, PassState.SUPERSEDED}
        failed = [one.id for one in database.passes.values() if one.state in ended]
        begun = Pass(
            id=number,
            kind=kind,
            cutoff=database.now,
            config_hash=config_hash,
            mode=mode,
            order=order,
            policy=policy,
            inventory=inventory,
        )
        database.passes[begun.id] = begun
        if kind is PassKind.DEPARTURE:
            for row in database.marks.values():
                if row.mark.pass_id in failed and row.mark.verdict is Verdict.DEPARTED:
                    row.mark = replace(row.mark, pass_id=begun.id)
        return begun

    @port
    async def resumable(
        self, kind: PassKind, config_hash: str, mode: Mode, order: ListingOrder, max_age: timedelta
    ) -> Pass | None:
        database = self._database
        database.answer()
        wanted = (kind, config_hash, mode, order, PassState.RUNNING)
        for one in database.passes.values():
            same = (one.kind, one.config_hash, one.mode, one.order, one.state) == wanted
            if same and database.now - one.cutoff <= max_age:
                return one
        return None

    @port
    async def plan_ranges(self, term: Term, pass_id: int, ranges: Sequence[KeyRange]) -> None:
        self._database.check(term)
        self._database.ranges[pass_id] = [
            RangeProgress(ordinal=ordinal, range=span, watermark="", done=False)
            for ordinal, span in enumerate(ranges)
        ]

    @port
    async def ranges(self, pass_id: int) -> Sequence[RangeProgress]:
        self._database.answer()
        return list(self._database.ranges.get(pass_id, ()))

    @port
    async def record(
        self,
        term: Term,
        current: Pass,
        findings: Sequence[Finding],
        delete_delay: timedelta,
        progress: RangeProgress | None = None,
        departed: Sequence[int] = (),
    ) -> None:
        self._database.check(term)
        self._still_running(current)
        settled = [each for each in self._database.departures if each.id in departed]
        for each in settled:
            self._database.departures.remove(each)
            self._hold_of_owner(each)
        for finding in findings:
            if finding.kept not in {None, KeepReason.HOLD}:
                continue
            if finding.kept is not None or self._database.hold_on(finding.storage_key) is not None:
                self._see(current, finding, kept=True)
            else:
                if settled:
                    self._make_way(finding.storage_key)
                self._mark(current, finding, delete_delay)
        if progress is not None:
            self._database.ranges[current.id][progress.ordinal] = progress

    def _hold_of_owner(self, departed: Departed) -> None:
        held = {hold.target for hold in self._database.holds_in_force() if hold.kind is HoldKind.VIRTUAL_KEY}
        if departed.storage_key is not None and departed.virtual_key in held:
            self._database.held_keys.add((departed.storage_key, departed.virtual_key or ""))

    def _make_way(self, key: str) -> None:
        """For a departure: what another kind of pass has marked, and nobody claimed."""
        row = self._database.marks.get(key)
        if row is not None and row.operation_id is None and row.mark.verdict is not Verdict.DEPARTED:
            del self._database.marks[key]

    def _mark(self, current: Pass, finding: Finding, delay: timedelta) -> None:
        database, key = self._database, finding.storage_key
        row = database.marks.get(key)
        if row is None and database.gone_during.get(key, 0) >= current.id:
            return  # listed before it went
        if row is None:
            mark = Mark(
                storage_key=key,
                verdict=finding.verdict,
                reason=finding.reason,
                bytes=finding.bytes,
                pass_id=current.id,
                object_etag=finding.object_etag,
                object_last_modified=finding.object_last_modified,
                first_seen_at=database.now,
                last_seen_at=database.now,
                sightings=1,
                due_at=database.now + delay,
            )
            database.marks[key] = MarkRow(mark, delay, seen_in=current.id, confirmed_in=current.id)
        else:
            self._see(current, finding, kept=False)

    def _see(self, current: Pass, finding: Finding, *, kept: bool) -> None:
        """Once a pass; what is kept joins nothing. Confirmed by the mark's own kind alone."""
        database, row = self._database, self._database.marks.get(finding.storage_key)
        if row is None or not database.known(row):
            return
        if row.operation_id is None and row.seen_in != current.id:
            own = database.passes[row.mark.pass_id]
            released = own.state in {PassState.RELEASED, PassState.TRIPPED}
            ours = own.kind is current.kind
            stays = kept or released or not ours
            before = database.passes[row.confirmed_in].state
            verdict = row.mark.verdict is finding.verdict or current.kind is PassKind.RETENTION
            same = ours and verdict
            again = same and not kept and before in {PassState.RELEASED, PassState.TRIPPED}
            row.mark = replace(
                row.mark,
                pass_id=row.mark.pass_id if stays else current.id,
                last_seen_at=database.now,
                sightings=row.mark.sightings + again,
            )
            row.seen_in = current.id
            row.confirmed_in = current.id if same else row.confirmed_in

    @port
    async def arm(self, term: Term, current: Pass, tally: Tally) -> int:
        database = self._database
        database.check(term)
        self._still_running(current)
        self._finish(current, PassState.RELEASED, tally=tally)
        self._withdraw_unseen(current)
        database.stamps[current.id] = database.next_xid()
        return database.stamps[current.id]

    def _withdraw_unseen(self, complete: Pass) -> None:
        """What a complete pass of the same kind has not confirmed, released or not."""
        database = self._database
        if complete.kind is PassKind.DEPARTURE:
            return
        for key, row in list(database.marks.items()):
            ours = database.passes[row.mark.pass_id].kind is complete.kind
            unseen = row.confirmed_in < complete.id and row.operation_id is None
            if ours and unseen and database.known(row):
                del database.marks[key]
                database.note(
                    LedgerEntry(key=key, verdict=row.mark.verdict, event="cancelled", at=database.now)
                )

    @port
    async def trip(self, term: Term, current: Pass, tally: Tally, trip: Trip) -> None:
        self._database.check(term)
        self._still_running(current)
        self._finish(
            current,
            PassState.TRIPPED,
            tally=tally,
            trip_reason=trip.reason,
            both_sides=trip.both_sides,
        )
        self._withdraw_unseen(current)

    @port
    async def fail(self, term: Term, current: Pass, reason: str) -> None:
        self._database.check(term)
        self._still_running(current)
        self._finish(current, PassState.FAILED, trip_reason=reason)

    def _still_running(self, current: Pass) -> None:
        if self._database.passes[current.id].state is not PassState.RUNNING:
            raise PassEnded(current.id)

    def _finish(self, current: Pass, state: PassState, **changes: object) -> None:
        now = self._database.now
        finished = replace(current, state=state, finished_at=now, **changes)  # type: ignore[arg-type]  # fields
        self._database.passes[current.id] = finished

    @port
    async def last(self, kind: PassKind, state: PassState | None = None) -> Pass | None:
        self._database.answer()
        for one in sorted(self._database.passes.values(), key=lambda one: -one.id):
            finished = one.state is not PassState.RUNNING if state is None else one.state is state
            if one.kind is kind and finished:
                return one
        return None

    @port
    async def last_inventory(self) -> InventoryUsed | None:
        self._database.answer()
        used = [one.inventory for one in self._database.passes.values() if one.inventory is not None]
        return max(used, key=lambda each: each.began_at, default=None)

    @port
    async def compared_at(self) -> datetime | None:
        self._database.answer()
        complete = {PassState.RELEASED, PassState.TRIPPED}
        sweeps = [one for one in self._database.passes.values() if one.kind is PassKind.SWEEP]
        sweeps = [one for one in sweeps if one.state in complete]
        compared = [one.cutoff for one in sweeps if one.tally.compared]
        return max(compared, default=min((one.cutoff for one in sweeps), default=None))

    @port
    async def undecided(self, kind: PassKind) -> Pass | None:
        self._database.answer()
        tripped = [
            one
            for _, one in sorted(self._database.passes.items())
            if one.kind is kind and one.state is PassState.TRIPPED
        ]
        return replace(tripped[0], both_sides=any(one.both_sides for one in tripped)) if tripped else None

    @port
    async def backlog(
        self, prefixes: Sequence[str] = (), current: Pass | None = None, since: datetime | None = None
    ) -> Backlog:
        database = self._database
        database.answer()
        whole = self._backlog(current, "", since)
        by_prefix = {prefix: self._backlog(current, prefix, since) for prefix in merge_prefixes(prefixes)}
        approved = [one for _, one in sorted(database.passes.items()) if self._approved_sweep(one)]
        missing = approved[-1].tally.missing if approved else 0
        return replace(whole, approved_missing=missing, by_prefix=by_prefix)

    def _approved_sweep(self, one: Pass) -> bool:
        database = self._database
        if one.kind is not PassKind.SWEEP or not database.approved(one.id) or one.decided_at is None:
            return False
        waits = any(
            database.approved(row.mark.pass_id) and row.mark.verdict is Verdict.DANGLING
            for row in database.marks.values()
        )
        return waits or one.decided_at > database.now - timedelta(days=1)

    def _gone(self, prefix: str, after: datetime) -> set[tuple[str, Verdict, bool]]:
        database = self._database
        return {
            (entry.key, entry.verdict, database.approved(entry.pass_id))
            for entry in database.ledger
            if entry.event == "removed" and entry.at >= after and entry.key.startswith(prefix)
        }

    def _backlog(self, current: Pass | None, prefix: str, since: datetime | None) -> Backlog:
        database = self._database
        gone = self._gone(prefix, database.now - timedelta(days=1))
        went = self._since(prefix, since) if since else None
        pending = [
            (row.mark.verdict, database.approved(row.mark.pass_id))
            for row in database.marks.values()
            if row.mark.storage_key.startswith(prefix) and self._may_go(row, current)
        ]
        return Backlog(
            pending=Counter(verdict for verdict, approved in pending if not approved),
            gone=Counter(verdict for _, verdict, approved in gone if not approved),
            approved=Counter(verdict for verdict, approved in pending if approved),
            approved_gone=Counter(verdict for _, verdict, approved in gone if approved),
            since=went,
        )

    def _since(self, prefix: str, since: datetime) -> Counter[Verdict]:
        """What our hand may have taken: what a crash left claimed may have gone."""
        went = {(key, verdict) for key, verdict, _ in self._gone(prefix, since)}
        went |= {
            (key, row.mark.verdict)
            for key, row in self._database.marks.items()
            if row.operation_id is not None and key.startswith(prefix)
        }
        return Counter(verdict for _, verdict in went)

    def _may_go(self, row: MarkRow, current: Pass | None) -> bool:
        state = self._database.passes[row.mark.pass_id].state
        again = state is PassState.TRIPPED and current is not None and row.seen_in == current.id
        return again or row.operation_id is not None or state in {PassState.RUNNING, PassState.RELEASED}


class MemoryLease:
    """One row, by the database's clock."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def acquire(self, holder: str, ttl: timedelta) -> Term | HeldBy:
        database = self._database
        database.answer()
        if database.term is not None and database.lease_ends > database.now:
            remaining = database.lease_ends - database.now
            return HeldBy(holder=database.term.holder, expires_at=database.lease_ends, remaining=remaining)
        epoch = database.term.epoch + 1 if database.term else 1
        database.term = Term(epoch=epoch, nonce=uuid4(), holder=holder, vanished=not database.released)
        database.lease_ends = database.now + ttl
        database.lease_since = database.now
        database.released = False
        return database.term

    @port
    async def renew(self, term: Term, ttl: timedelta) -> None:
        database = self._database
        database.check(term)
        if database.lease_ends <= database.now:
            raise LeaseLost("the lease has expired")
        database.lease_ends = database.now + ttl

    @port
    async def release(self, term: Term) -> None:
        if self._database.term == term:
            self._database.lease_ends = self._database.now
            self._database.released = True

    @port
    async def observe_mode(self, term: Term, mode: Mode) -> None:
        database = self._database
        database.check(term)
        if database.mode is Mode.DRY_RUN and mode is Mode.LIVE:
            for row in database.marks.values():
                due = max(row.mark.due_at, database.now + row.delay)
                row.mark = replace(row.mark, due_at=due)
        database.mode = mode


class MemorySite:
    """Which bucket the database is tied to."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def identity(self) -> Identity | None:
        self._database.answer()
        return self._database.identity

    @port
    async def bind(self, identity: Identity) -> None:
        database = self._database
        database.answer()
        if database.site_id not in {None, identity.site_id}:
            raise Halt(f"this database is of another site than {identity.site_id}")
        database.site_id, database.identity = identity.site_id, replace(identity, seal=None, contested="")

    @port
    async def new_id(self) -> UUID:
        database = self._database
        database.answer()
        database.site_id = database.site_id or uuid4()
        return database.site_id

    @port
    async def seals(self) -> Seals:
        self._database.answer()
        return self._database.seals

    @port
    async def lineage(self) -> Lineage:
        self._database.answer()
        return replace(self._database.lineage, at=self._database.now)

    @port
    async def propose(self, term: Term, confirmed: UUID | None, pending: UUID) -> None:
        self._database.check(term)
        self._database.seals = Seals(confirmed=confirmed, pending=pending)

    @port
    async def confirm(self, term: Term, nonce: UUID, lineage: Lineage) -> None:
        database = self._database
        database.check(term)
        database.seals = Seals(confirmed=nonce)
        if database.identity is not None:
            database.identity = replace(database.identity, lineage=lineage)

    @port
    async def on_their_way(self, term: Term, longest_call: timedelta) -> timedelta:
        database = self._database
        database.check(term)
        sent = [
            max(row.attempted_at, database.lease_since)
            for row in database.marks.values()
            if row.operation_id is not None and row.attempted_at is not None
        ]
        return max((each + longest_call - database.now for each in sent), default=timedelta(0))

    @port
    async def withdraw(self, term: Term, upload_window: timedelta) -> int:
        database = self._database
        database.check(term)
        withdrawn = len(database.marks)
        for key, row in database.marks.items():
            if row.operation_id is not None:
                self._entomb(row, upload_window)
            database.note(LedgerEntry(key=key, verdict=row.mark.verdict, event="cancelled", at=database.now))
        database.marks.clear()
        for one in database.passes.values():
            if one.state is PassState.RUNNING:
                database.passes[one.id] = replace(one, state=PassState.FAILED, finished_at=database.now)
        return withdrawn

    def _entomb(self, row: MarkRow, upload_window: timedelta) -> None:
        """What its requests did is not known: its copy, if there is one, can be brought back."""
        database, mark = self._database, row.mark
        assert row.decision is not None
        assert row.operation_id is not None
        if row.decision.delete_object:
            database.tombstones[mark.storage_key] = database.now + upload_window
        if row.decision.delete_object and row.quarantine_key is not None:
            hidden = Hidden(
                mode=DeleteMode.QUARANTINE,
                size=mark.bytes,
                etag=mark.object_etag,
                last_modified=mark.object_last_modified,
                quarantine_key=row.quarantine_key,
            )
            one = HiddenObject(
                id=0,
                storage_key=mark.storage_key,
                operation_id=row.operation_id,
                verdict=mark.verdict,
                hidden=hidden,
                hidden_at=row.attempted_at or database.now,
            )
            database.hide(one, mark.pass_id)

    @port
    async def adopt(self, term: Term, identity: Identity) -> None:
        database = self._database
        database.check(term)
        assert identity.seal is not None
        database.site_id = identity.site_id
        database.identity = replace(identity, seal=None, contested="")
        database.seals = Seals(confirmed=identity.seal.nonce)
