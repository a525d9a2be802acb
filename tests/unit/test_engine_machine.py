"""The whole engine against a model of bucket, database and clock, with writers, crashes and thieves.

Invariants: nothing referenced is ever deleted, nothing within its grace is touched, nothing that is on
hold goes, nothing while all is paused, nothing for a pass that was not let through; nothing goes but so that
it can come back, where the mode says so, and nothing ends for good before the window has passed (all watched
by `tests.doubles.drift_rules` at each deletion); what went within the window can be undone; what is hidden
adds up; left alone, it converges, and frees what it hid; another run finds nothing.

`MACHINE_EXAMPLES=5000 pytest tests/unit/test_engine_machine.py` looks further than CI does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from math import inf
from uuid import uuid4

import anyio
import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from structlog.testing import capture_logs

from reconciler.engine.recover.undo import Undone
from reconciler.errors import Halt, Retryable
from reconciler.model import (
    QUARANTINE_PREFIX,
    DeleteMode,
    Hold,
    HoldKind,
    KeepReason,
    ListingOrder,
    Mode,
    Outcome,
    Pause,
    Removed,
    Report,
    Term,
    UndoScope,
)
from tests.doubles.bucket import IDENTITY_KEY
from tests.doubles.build import LIMITS, policy
from tests.doubles.database import Transaction
from tests.doubles.drift_rules import Judge
from tests.doubles.observing import Act, Crash, crash
from tests.doubles.world import World

pytestmark = pytest.mark.no_cover
"""Two thousand steps through what the other tests go through too: measuring takes longer than they do."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PROTECTED = frozenset({"images/z", "image/folder/", "image/\ufffd"})
KEYS = ("image/a!", "image/a/b", "video/\U0001f600")
OWNERS = ("k1", "k2")

keys = st.sampled_from(KEYS)
owners = st.sampled_from(OWNERS)
calls = st.integers(0, 200)
FATES = ("crash", "theft", "store", "database", "endpoint", "dry run", "pause", "hold", "undo", "refuse")
MODES = (DeleteMode.DIRECT, DeleteMode.QUARANTINE, DeleteMode.VERSIONED)
EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "80"))
"""Of 25 steps each: 2,000 steps."""
POINTS = (
    *("after MemoryMarks.claim", "after MemoryBucket.copy", "after MemoryBucket.delete"),
    *("after MemoryMarks.confirm", "after MemoryPurges.claim", "after MemoryVersions.remove"),
    *("after MemoryPurges.done", "after MemoryUploads.abort", "after MemoryRecovery.claim_returns"),
    *("after MemoryRecovery.put_back", "after MemoryRecovery.dequeue", "after MemoryHolds.add"),
    *("after MemoryRecovery.queue", "after MemoryPurges.look_again", "after MemoryHolds.remember"),
)
"""Where a crash leaves the store and the database apart."""
KILLED = 3
IN_FLIGHT = frozenset(
    {"MemoryBucket.delete", "MemoryBucket.copy", "MemoryVersions.remove", "MemoryUploads.abort"}
)
WRITES = (
    *("upload", "insert", "store", "delete", "lose", "expire", "keep", "use"),
    *("begin", "commit", "roll back"),
    *("begin upload", "complete upload"),
)
writes = st.sampled_from(WRITES)


class EngineMachine(RuleBasedStateMachine):
    """Rules are what writers, operators and fate do; every run of the engine is watched."""

    world: World
    judge: Judge

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Transaction] = []
        self.lost: set[str] = set()
        self.killed_at = ""

    @initialize(
        order=st.sampled_from(ListingOrder),
        compares=st.booleans(),
        mode=st.sampled_from(MODES),
        killed_at=st.just("after MemoryBucket.delete") | st.sampled_from(POINTS),
        page_size=st.integers(1, 4),
        found=st.dictionaries(keys, st.sampled_from(["object", "row", "both", "expired", "rows"])),
    )
    def begin(
        self,
        order: ListingOrder,
        page_size: int,
        found: dict[str, str],
        mode: DeleteMode,
        killed_at: str,
        *,
        compares: bool,
    ) -> None:
        under = policy(delete_revoked=True, delete_mode=mode)
        versioned = mode is DeleteMode.VERSIONED
        self.world = World(
            order=order, compares=compares, page_size=page_size, under=under, versioned=versioned
        )
        self.world.bucket.lists_uploads = True
        self.killed_at = killed_at
        self.judge = Judge(self.world, PROTECTED)
        bucket, database = self.world.bucket, self.world.database
        for owner in OWNERS:
            database.add_key(owner)
        for key in PROTECTED:
            bucket.upload(key, age=100 * DAY)
        database.insert("image/folder/", age=100 * DAY)
        database.insert("images/gone", age=100 * DAY)
        for key, what in found.items():
            if what != "row":
                bucket.upload(key, age=3 * DAY)
            if what != "object":
                expires = self.world.around.now if what in {"expired", "rows"} else None
                database.insert(key, age=3 * DAY, virtual_key_id="k1", expires_at=expires)
            if what == "rows":
                database.insert(key, age=3 * DAY, virtual_key_id="k2")

    # --- writers, operators, fate --------------------------------------------------------------

    @rule(what=writes, key=keys, owner=owners)
    def write(self, what: str, key: str, owner: str) -> None:
        """What the gateway does, or somebody behind its back. More than one row may name a key."""
        self.judge.touched(key)
        self.write_object(what, key)
        self.write_row(what, key)
        if what in {"insert", "store"} and owner in self.world.database.owners:
            self.world.database.insert(key, virtual_key_id=owner)

    def write_object(self, what: str, key: str) -> None:
        bucket = self.world.bucket
        match what:
            case "upload" | "store":
                bucket.upload(key)
            case "lose":
                bucket.lose(key)
                self.lost.add(key)
            case "begin upload":
                bucket.uploads.begin(key)
                return
            case "complete upload" if any(each.key == key for each in bucket.uploads.begun):
                bucket.uploads.complete(key)
            case _:
                return
        self.judge.written(key)

    def write_row(self, what: str, key: str) -> None:
        database, now = self.world.database, self.world.around.now
        row = next((row for row in database.rows.values() if row.storage_key == key), None)
        match what:
            case "begin":
                self.open.append(database.begin_insert(key))
            case "commit" | "roll back" if self.open:
                self.end(self.open.pop(0), commits=what == "commit")
            case "delete" if row:
                self.judge.removed([row])
                del database.rows[row.id]
            case "expire" | "keep" if row:
                database.update(row.id, expires_at=now if what == "expire" else None)
            case "use" if row:
                database.update(row.id, last_accessed_at=now)

    def end(self, transaction: Transaction, *, commits: bool) -> None:
        if commits:
            transaction.commit()
            self.judge.touched(*(row.storage_key for row in transaction.rows))
        else:
            transaction.roll_back()

    @rule(owner=owners, what=st.sampled_from(["disable", "enable", "delete"]))
    def change_key(self, owner: str, what: str) -> None:
        database = self.world.database
        if owner not in database.owners:
            database.add_key(owner)
        if what == "delete":
            self.judge.removed(row for row in database.rows.values() if row.virtual_key_id == owner)
            database.delete_key(owner)
        else:
            database.owners[owner] = replace(database.owners[owner], enabled=what == "enable")
        if what == "disable":
            self.judge.disabled_at.setdefault(owner, self.world.around.elapsed)
        else:
            self.judge.disabled_at.pop(owner, None)

    @rule(hours=st.sampled_from([1, 25, 49, 8 * 24, 95 * 24]))
    def tick(self, hours: int) -> None:
        self.world.around.tick(hours * HOUR)

    @rule(key=keys, hidden=st.booleans())
    def skip_in_listings(self, key: str, *, hidden: bool) -> None:
        """I-15: listings do skip keys."""
        (self.world.bucket.hidden.add if hidden else self.world.bucket.hidden.discard)(key)

    @rule(mode=st.sampled_from(Mode))
    def switch_mode(self, mode: Mode) -> None:
        self.world.in_force(mode=mode)

    @rule(limits=st.sampled_from(["strict", "default"]))
    def set_limits(self, limits: str) -> None:
        """Strict ones trip a pass that finds anything at all."""
        strict = replace(LIMITS, max_count=0, max_dangling=0)
        self.world.in_force(limits=strict if limits == "strict" else LIMITS)

    @rule(approve=st.booleans())
    def decide(self, *, approve: bool) -> None:
        """A person looks at what has tripped."""
        note(f"{anyio.run(partial(self.world.decide, approve=approve))} marks decided")

    @rule(key=keys, lifted=st.booleans())
    def hold(self, key: str, *, lifted: bool) -> None:
        self.set_hold(key, lifted=lifted)

    def set_hold(self, key: str, *, lifted: bool = False) -> None:
        """What is claimed when the hold comes may still go, as `hold add` says."""
        database = self.world.database
        name = (HoldKind.KEY, key, "ada")
        if lifted:
            database.holds.pop(name, None)
            self.judge.held.discard(key)
            return
        database.holds[name] = Hold(kind=name[0], target=key, reason="a case", author=name[2])
        mark = database.marks.get(key)
        if mark is None or mark.operation_id is None:
            self.judge.held.add(key)

    @rule(key=keys, mended=st.booleans())
    def keep_rows(self, key: str, *, mended: bool) -> None:
        """A foreign key or a trigger of the gateway's keeps the key's rows, until it is mended."""
        if mended:
            self.world.database.refuses.clear()
        else:
            self.refuse(key)

    def refuse(self, key: str) -> None:
        rows = [row.id for row in self.world.database.rows.values() if row.storage_key == key]
        self.world.database.refuses.update(dict.fromkeys(rows, "a post refers to it"))

    @rule(owner=owners, lifted=st.booleans())
    def hold_owner(self, owner: str, *, lifted: bool) -> None:
        """What its rows name is kept, whatever becomes of them and of the virtual key."""
        holds = self.world.ports.holds
        if lifted:
            anyio.run(holds.remove, HoldKind.VIRTUAL_KEY, [owner])
            self.judge.held_of.pop(owner, None)
            return
        hold = Hold(kind=HoldKind.VIRTUAL_KEY, target=owner, reason="a case", author="ada")
        claimed = anyio.run(holds.add, [hold])
        rows = self.world.database.rows.values()
        named = {row.storage_key for row in rows if row.virtual_key_id == owner}
        self.judge.held_of.setdefault(owner, set()).update(named.difference(claimed))

    @rule(paused=st.booleans())
    def pause(self, *, paused: bool) -> None:
        self.set_pause(paused=paused)

    def set_pause(self, *, paused: bool) -> None:
        now = self.world.around.now
        self.world.database.pause = Pause(paused=paused, at=now, by="ada", reason="a look")

    @rule(key=st.none() | keys, killed_at=st.just("") | st.sampled_from(POINTS))
    def undo(self, key: str | None, killed_at: str) -> None:
        """A person brings back one key, or all that can come back, between two runs; again after a crash."""
        if killed_at:
            self.world.around.at_point(killed_at, crash)
            with suppress(Crash):
                anyio.run(self.bring_back, key)
            self.world.around.restart()
        anyio.run(self.bring_back, key)
        if key is None and not self.world.database.pause.paused:
            self.judge.brought_back()

    async def bring_back(self, key: str | None = None) -> Undone:
        """Beside whatever runs: with a pace of its own. What came back is on hold."""
        throttles, self.world.throttles = self.world.throttles, self.world.new_throttles()
        try:
            undone = await self.world.undo(UndoScope(keys=(key,) if key else ()))
        finally:
            self.world.throttles = throttles
        note(f"undone {undone}")
        if undone.objects or undone.records:
            assert self.world.database.holds, "what came back is not on hold"
        self.judge.touched(*KEYS)
        for kind, target, _ in self.world.database.holds:
            if kind is HoldKind.KEY:
                self.set_hold(target)
        return undone

    # --- the engine ----------------------------------------------------------------------------

    @rule()
    def run_once(self) -> None:
        self.run({})

    @rule(call=calls, fate=st.sampled_from(FATES), key=keys)
    def run_with_a_fault(self, call: int, fate: str, key: str) -> None:
        bucket, database = self.world.bucket, self.world.database
        faults: dict[str, Act] = {
            "crash": crash,
            "theft": self.steal,
            "store": lambda: setattr(bucket, "away", True),
            "database": lambda: setattr(database, "away", True),
            "endpoint": lambda: setattr(bucket, "foreign", True),
            "dry run": lambda: self.world.in_force(mode=Mode.DRY_RUN),
            "pause": lambda: self.set_pause(paused=True),
            "hold": lambda: self.set_hold(key),
            "undo": self.undo_beside,
            "refuse": lambda: self.refuse(key),
        }
        self.run({call: faults[fate]})
        bucket.away = database.away = bucket.foreign = False

    async def undo_beside(self) -> None:
        await self.bring_back()

    @rule(point=st.sampled_from(POINTS))
    def run_killed_between_store_and_database(self, point: str) -> None:
        self.run({}, killed_at=point)

    @rule(call=calls, acts=st.dictionaries(calls, st.tuples(writes, keys), max_size=2))
    def run_stopped_beyond_its_lease(self, call: int, acts: dict[int, tuple[str, str]]) -> None:
        """It stands still at one call, another replica leads and runs to its end, and it wakes."""
        ttl = self.world.limits.lease_ttl

        async def successor() -> None:
            if self.in_flight():
                return
            self.world.around.tick(ttl + timedelta(seconds=1))
            throttles, self.world.throttles = self.world.throttles, self.world.new_throttles()
            with suppress(Halt, Retryable):
                await self.world.run_once(self.beside(acts))
            self.world.throttles = throttles

        self.run({call: successor}, leads_for=ttl.total_seconds() * 2 / 3)

    def in_flight(self) -> bool:
        """Whether a request is being sent that nothing can call back.

        What writes to the store lasts no longer than a request may, see `longest_call`. A seal that reaches
        a store which compares nothing when its successor has ended contests the bucket: a halt, and no loss.
        """
        within = self.world.around.within
        sealing = within == "MemoryBucket.exchange" and not self.world.bucket.compares
        return within in IN_FLIGHT or sealing

    @rule(acts=st.dictionaries(calls, st.tuples(writes, keys), min_size=1, max_size=4))
    def run_beside_writers(self, acts: dict[int, tuple[str, str]]) -> None:
        self.run(self.beside(acts))

    def beside(self, acts: Mapping[int, tuple[str, str]]) -> dict[int, Act]:
        """Writers' acts before the calls of those numbers."""
        return {call: partial(self.write, what, key, "k1") for call, (what, key) in acts.items()}

    def steal(self) -> None:
        """Another replica takes the lease over, whether or not it has lapsed."""
        database = self.world.database
        epoch = database.term.epoch + 1 if database.term else 1
        database.term = Term(epoch=epoch, nonce=uuid4(), holder="thief")
        database.lease_ends = self.world.around.now + timedelta(seconds=30)

    def run(self, acts: Mapping[int, Act], leads_for: float = inf, killed_at: str = "") -> Report | None:
        """One run; where it fails as the program may fail, the world goes on."""
        self.judge.run_begins()
        with capture_logs():
            try:
                run = partial(self.world.run_once, acts, leads_for=leads_for, killed_at=killed_at)
                report = anyio.run(run)
            except (Crash, Halt, Retryable) as end:
                note(f"ended by {end!r}")
                return None
            finally:
                self.world.around.restart()
        note(f"{report.outcome} {dict(report.found)} {report.removed} {report.detail}")
        return report

    # --- left alone ----------------------------------------------------------------------------

    def teardown(self) -> None:
        """Left alone it converges, and another run finds nothing; then all is undone, and goes again."""
        if not hasattr(self, "world"):
            return
        for transaction in self.open:
            self.end(transaction, commits=True)
        self.world.bucket.hidden.clear()
        self.world.database.refuses.clear()
        self.release_holds()
        self.set_pause(paused=False)
        self.world.in_force(limits=replace(LIMITS, max_fraction=1.0))
        self.world.in_force(mode=Mode.LIVE)
        anyio.run(self.world.decide)
        self.converge()
        self.nothing_is_left_over()
        if self.world.runtime.policy.delete_mode is not DeleteMode.DIRECT:
            self.all_can_be_undone()
            self.world.around.tick(100 * DAY)
            self.converge(killed_at=self.killed_at)
            self.judge.hidden_adds_up(lost=self.lost)
            self.all_can_be_undone()
            self.all_is_freed()

    def release_holds(self) -> None:
        self.world.database.holds.clear()
        self.judge.held.clear()
        self.judge.held_of.clear()
        self.world.database.remember()

    def converge(self, killed_at: str = "") -> None:
        """In several runs, of which the first few may be killed."""
        for number in range(20):
            if killed_at and number < KILLED:
                self.run({}, killed_at=killed_at)
            report = self.run({})
            assert report is not None
            if "its approval by ada has ended" in report.detail:
                # Its mark was due a little more than a day later; a person says it again.
                anyio.run(self.world.decide)
                continue
            assert report.outcome in {Outcome.CONVERGED, Outcome.PENDING}, report.detail
            quiet = not (report.kept.get(KeepReason.PENDING) or any(report.found.values()))
            if quiet and report.removed == Removed() and report.outcome is Outcome.CONVERGED:
                return
            self.heed_alarms()
            self.world.around.tick(25 * HOUR)
        raise AssertionError("left alone, it does not converge")

    def heed_alarms(self) -> None:
        """A person settles what healing could not: which of the two was meant, the row or its absence."""
        for key in [key for key, each in self.world.database.restores.items() if each.attempts]:
            if anyio.run(self.bring_back, key).refused:
                self.write("delete", key, "k1")
        self.release_holds()

    def nothing_is_left_over(self) -> None:
        rows = [row for row in self.world.database.rows.values() if row.storage_key in KEYS]
        stored = {key for key in self.world.bucket.objects if not key.startswith(QUARANTINE_PREFIX)}
        assert not self.world.database.marks
        assert stored == {row.storage_key for row in rows} | PROTECTED | {IDENTITY_KEY}
        assert not any(self.judge.expired(row) for row in rows)
        self.judge.hidden_adds_up(lost=self.lost)

    def all_can_be_undone(self) -> None:
        anyio.run(self.bring_back)
        self.judge.brought_back()
        self.release_holds()

    def all_is_freed(self) -> None:
        """Every row has outlived its retention by now: when the window has passed, nothing is hidden."""
        self.converge()
        self.world.around.tick(8 * DAY)
        self.converge()
        assert anyio.run(self.world.ports.purges.hidden) == (0, 0)
        assert not any(key.startswith(QUARANTINE_PREFIX) for key in self.world.bucket.objects)
        self.judge.hidden_adds_up(lost=self.lost)


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
