"""The whole engine against a model of bucket, database and clock, with writers, crashes and thieves.

The judge here is written anew, from the verdict table, and looks at every single deletion when it
happens. What the protocol leaves open without triggers is left open here too: a key that a writer
touches after the collector's last look at it (design, "The deletion protocol", 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import anyio
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from structlog.testing import capture_logs

from reconciler.errors import Halt, Retryable
from reconciler.model import (
    Claim,
    KeepReason,
    ListingOrder,
    Mode,
    Outcome,
    Removed,
    Report,
    StoredObject,
    Term,
)
from reconciler.ports import Decide
from tests.doubles.bucket import MARKER_KEY
from tests.doubles.build import LIMITS, policy
from tests.doubles.database import Row, Transaction
from tests.doubles.marks import MemoryMarks
from tests.doubles.surroundings import Crash, crash, port
from tests.doubles.world import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
GRACE, DELAY, KEY_GRACE = 48 * HOUR, 24 * HOUR, 7 * DAY
RETENTION, RECENT = 90 * DAY, 30 * DAY
KEPT_KEYS = ("images/z", "image/folder/", "image/\ufffd")
KEYS = ("image/a", "image/a!", "image/a/b", "image/\ue000", "image/\U0001f600", "video/x", *KEPT_KEYS)
OWNERS = ("k1", "k2")

keys = st.sampled_from(KEYS)
owners = st.sampled_from(OWNERS)
hours = st.sampled_from([1, 23, 25, 47, 49, 8 * 24, 31 * 24, 95 * 24])


class WatchedMarks(MemoryMarks):
    """Notes at which call the collector last looked at each key's rows."""

    def __init__(self, machine: EngineMachine) -> None:
        super().__init__(machine.world.database)
        self._machine = machine

    @port
    async def look_again(self, claim: Claim, decide: Decide) -> Mapping[str, str]:
        spared = await super().look_again(claim, decide)
        self._machine.touched -= {key.mark.storage_key for key in claim.keys}
        return spared


class EngineMachine(RuleBasedStateMachine):
    """Rules are what writers, operators and fate do; every run of the engine is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self.open: list[Transaction] = []
        self.touched: set[str] = set()
        self.disabled_at: dict[str, timedelta] = {}

    @initialize(order=st.sampled_from(ListingOrder), compares=st.booleans(), page_size=st.integers(1, 4))
    def begin(self, order: ListingOrder, *, compares: bool, page_size: int) -> None:
        under = policy(delete_revoked=True)
        self.world = World(order=order, compares=compares, page_size=page_size, under=under)
        self.world.marks = WatchedMarks(self)
        self.world.bucket.on_delete = self.judge_object
        self.world.database.on_remove = self.judge_row
        for owner in OWNERS:
            self.world.database.add_key(owner)

    # --- the judge -----------------------------------------------------------------------------

    def judge_object(self, stored: StoredObject) -> None:
        """Called before an object goes."""
        key, world = stored.key, self.world
        note(f"{world.around.elapsed}: object {key!r} goes")
        assert world.steering.mode is Mode.LIVE, "a dry run deleted an object"
        assert key not in KEPT_KEYS, "a protected key was deleted"
        assert key != MARKER_KEY
        if key in self.touched:
            return
        rows = [row for row in world.database.rows.values() if row.storage_key == key]
        assert all(self.outlived(row) for row in rows), f"{key!r} is still referenced"
        assert stored.last_modified is not None
        assert rows or world.around.now - stored.last_modified >= GRACE, f"{key!r} is within its grace"

    def judge_row(self, row: Row) -> None:
        """Called before a row goes."""
        key, world = row.storage_key, self.world
        note(f"{world.around.elapsed}: row {row.id} of {key!r} goes")
        assert world.steering.mode is Mode.LIVE, "a dry run deleted a row"
        assert key not in KEPT_KEYS, "a protected key's row was deleted"
        if key in self.touched:
            return
        others = [one for one in world.database.rows.values() if one.storage_key == key and one != row]
        there = key in world.bucket.objects
        assert others or not there, f"{row.id} went before its object"
        assert row.created_at is not None
        young = world.around.now - row.created_at < GRACE
        assert self.outlived(row) or not young, f"{row.id} is within its grace"
        assert self.outlived(row) or not there, f"{row.id} is in retention, and its object is there"

    def outlived(self, row: Row) -> bool:
        now = self.world.around.now
        if row.expires_at is not None and row.expires_at <= now:
            return True
        since = self.disabled_at.get(row.virtual_key_id or "")
        if since is not None and self.world.around.elapsed - since >= KEY_GRACE:
            return True
        accessed = row.last_accessed_at
        old = row.created_at is not None and now - row.created_at >= RETENTION
        return old and (accessed is None or now - accessed >= RECENT)

    # --- writers -------------------------------------------------------------------------------

    def row_of(self, key: str) -> str | None:
        return next((row.id for row in self.world.database.rows.values() if row.storage_key == key), None)

    @rule(key=keys)
    def upload(self, key: str) -> None:
        self.world.bucket.upload(key)
        self.touched.add(key)

    @rule(key=keys, owner=owners)
    def insert(self, key: str, owner: str) -> None:
        """More than one row may name a key: a mapped schema need not be unique."""
        if owner in self.world.database.owners:
            self.world.database.insert(key, virtual_key_id=owner)
            self.touched.add(key)

    @rule(key=keys, owner=owners)
    def store(self, key: str, owner: str) -> None:
        """What a gateway does."""
        self.upload(key)
        self.insert(key, owner)

    @rule(key=keys)
    def begin_insert(self, key: str) -> None:
        self.open.append(self.world.database.begin_insert(key))

    @precondition(lambda self: self.open)
    @rule(commits=st.booleans())
    def end_insert(self, *, commits: bool) -> None:
        transaction = self.open.pop()
        if commits:
            transaction.commit()
            self.touched.update(row.storage_key for row in transaction.rows)
        else:
            transaction.roll_back()

    @rule(key=keys)
    def delete_row(self, key: str) -> None:
        if (row_id := self.row_of(key)) is not None:
            del self.world.database.rows[row_id]
            self.touched.add(key)

    @rule(key=keys)
    def lose_object(self, key: str) -> None:
        self.world.bucket.objects.pop(key, None)

    @rule(key=keys, hours=st.sampled_from([None, -1, 5, 60]))
    def set_expiry(self, key: str, hours: int | None) -> None:
        if (row_id := self.row_of(key)) is not None:
            expires = None if hours is None else self.world.around.now + hours * HOUR
            self.world.database.update(row_id, expires_at=expires)
            self.touched.add(key)

    @rule(key=keys)
    def access(self, key: str) -> None:
        if (row_id := self.row_of(key)) is not None:
            self.world.database.update(row_id, last_accessed_at=self.world.around.now)
            self.touched.add(key)

    @rule(owner=owners, enabled=st.booleans())
    def switch_key(self, owner: str, *, enabled: bool) -> None:
        database = self.world.database
        if owner in database.owners:
            database.owners[owner] = replace(database.owners[owner], enabled=enabled)
            if enabled:
                self.disabled_at.pop(owner, None)
                self.touched.update(self.keys_of(owner))
            else:
                self.disabled_at.setdefault(owner, self.world.around.elapsed)

    @rule(owner=owners)
    def delete_key(self, owner: str) -> None:
        self.touched.update(self.keys_of(owner))
        self.world.database.delete_key(owner)

    def keys_of(self, owner: str) -> set[str]:
        rows = self.world.database.rows.values()
        return {row.storage_key for row in rows if row.virtual_key_id == owner}

    # --- fate and operators --------------------------------------------------------------------

    @rule(hours=hours)
    def tick(self, hours: int) -> None:
        self.world.around.tick(hours * HOUR)

    @rule(key=keys, hidden=st.booleans())
    def skip_in_listings(self, key: str, *, hidden: bool) -> None:
        """I-15: listings do skip keys."""
        (self.world.bucket.hidden.add if hidden else self.world.bucket.hidden.discard)(key)

    @rule(foreign=st.booleans())
    def answer_from_elsewhere(self, *, foreign: bool) -> None:
        """R-8: a wrong endpoint answers 404 to everything."""
        self.world.bucket.foreign = foreign

    @rule(mode=st.sampled_from(Mode))
    def switch_mode(self, mode: Mode) -> None:
        self.world.steer(mode=mode)

    def steal(self) -> None:
        """Another replica takes the lease over."""
        database = self.world.database
        epoch = database.term.epoch + 1 if database.term else 1
        database.term = Term(epoch=epoch, nonce=uuid4(), holder="thief")
        database.lease_ends = self.world.around.now + timedelta(seconds=30)

    # --- the engine ----------------------------------------------------------------------------

    @rule()
    def run_once(self) -> None:
        self.run_with({})

    @rule(call=st.integers(0, 200))
    def crash_in_the_middle(self, call: int) -> None:
        self.run_with({call: crash})

    @rule(call=st.integers(0, 200))
    def lose_the_store(self, call: int) -> None:
        def away() -> None:
            self.world.bucket.away = True

        self.run_with({call: away})
        self.world.bucket.away = False

    @rule(call=st.integers(0, 200))
    def lose_the_database(self, call: int) -> None:
        def away() -> None:
            self.world.database.away = True

        self.run_with({call: away})
        self.world.database.away = False

    @rule(call=st.integers(0, 200))
    def change_mode_in_the_middle(self, call: int) -> None:
        self.run_with({call: lambda: self.world.steer(mode=Mode.DRY_RUN)})

    @rule(call=st.integers(0, 200))
    def steal_in_the_middle(self, call: int) -> None:
        self.run_with({call: self.steal})

    @rule(
        acts=st.dictionaries(
            st.integers(0, 200),
            st.tuples(st.sampled_from(["upload", "insert", "store", "delete", "extend", "end"]), keys),
            min_size=1,
            max_size=4,
        )
    )
    def write_in_the_middle(self, acts: dict[int, tuple[str, str]]) -> None:
        self.run_with({call: self.act(name, key) for call, (name, key) in acts.items()})

    def act(self, name: str, key: str) -> Callable[[], None]:
        writers: dict[str, Callable[[], None]] = {
            "upload": lambda: self.upload(key),
            "insert": lambda: self.insert(key, "k1"),
            "store": lambda: self.store(key, "k1"),
            "delete": lambda: self.delete_row(key),
            "extend": lambda: self.set_expiry(key, None),
            "end": lambda: self.end_insert(commits=True) if self.open else None,
        }
        return writers[name]

    def run_with(self, acts: Mapping[int, Callable[[], None]]) -> Report | None:
        """One run; what a person would see of a failure is told, and the world goes on."""
        self.touched.clear()
        with capture_logs():
            try:
                report = anyio.run(self.world.run_once, acts)
            except (Crash, Halt, Retryable) as end:
                note(f"ended by {end!r}")
                return None
        note(f"{report.outcome}: {report.detail}")
        return report

    # --- left alone ----------------------------------------------------------------------------

    def teardown(self) -> None:
        """Left alone, it converges, and another run finds nothing."""
        if not hasattr(self, "world"):
            return
        world = self.world
        while self.open:
            self.end_insert(commits=True)
        world.bucket.foreign = False
        world.bucket.hidden.clear()
        world.steer(limits=replace(LIMITS, max_fraction=1.0))
        world.steer(mode=Mode.LIVE)
        for _ in range(12):
            report = self.run_with({})
            assert report is not None
            assert report.outcome not in {Outcome.FAILED, Outcome.TRIPPED, Outcome.HALTED}, report.detail
            quiet = not (report.kept.get(KeepReason.PENDING) or any(report.found.values()))
            if quiet and report.removed == Removed() and report.outcome is Outcome.CONVERGED:
                self.nothing_is_left_over()
                return
            world.around.tick(25 * HOUR)
        raise AssertionError("left alone, it does not converge")

    def nothing_is_left_over(self) -> None:
        world = self.world
        assert not world.database.marks
        named = {row.storage_key for row in world.database.rows.values()} - set(KEPT_KEYS)
        stored = set(world.bucket.objects) - {MARKER_KEY, *KEPT_KEYS}
        assert stored == named
        for row in world.database.rows.values():
            assert row.storage_key in KEPT_KEYS or not self.outlived(row)


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
