"""An eye on every single deletion, at the moment it happens, by rules written anew from the design.

What the protocol leaves open without triggers is left open here: a writer that touches a key after
the collector's last look at it (see "The deletion protocol", 6). Everything else is a fault.
"""

from __future__ import annotations

from datetime import timedelta

from reconciler.model import Claim, Mode, PassState, StoredObject
from tests.doubles.bucket import MARKER_KEY
from tests.doubles.database import Row
from tests.doubles.world import World

GRACE, KEY_GRACE = timedelta(hours=48), timedelta(days=7)
RETENTION, RECENT = timedelta(days=90), timedelta(days=30)


class Judge:
    """Watches a world under the default policy with revoked keys' media deleted.

    Tests say which keys they `touched` and which are `held`, and call `run_begins` before each run.
    """

    def __init__(self, world: World, protected: frozenset[str]) -> None:
        self.world = world
        self.protected = protected
        self.disabled_at: dict[str, timedelta] = {}
        self._touched: set[str] = set()
        self._claimed_at: dict[str, int] = {}
        self._paused = False
        self.held: set[str] = set()
        """Keys that were on hold before they were claimed."""
        world.marks.on_look = self.looked
        world.bucket.on_delete = self.object_goes
        world.database.on_remove = self.row_goes

    def run_begins(self) -> None:
        self._touched.clear()
        self._paused = self.world.database.pause.paused

    def touched(self, *keys: str) -> None:
        self._touched.update(keys)

    def looked(self, claim: Claim) -> None:
        """The collector looks at the rows of its claim for the last time."""
        for key in claim.keys:
            self._touched.discard(key.mark.storage_key)
            self._claimed_at[key.mark.storage_key] = claim.xid

    def object_goes(self, stored: StoredObject) -> None:
        key, world = stored.key, self.world
        self._not_protected(key)
        if key in self._touched:
            return
        rows = [row for row in world.database.rows.values() if row.storage_key == key]
        assert all(self.outlived(row) for row in rows), f"{key!r} is still referenced"
        assert stored.last_modified is not None
        assert rows or world.around.now - stored.last_modified >= GRACE, f"{key!r} is within its grace"
        for transaction in world.database.open.values():
            inserted = {row.storage_key for row in transaction.rows}
            early = transaction.xid <= self._claimed_at[key]
            assert not (early and key in inserted), f"{key!r} was inserted before the claim and not committed"

    def row_goes(self, row: Row) -> None:
        key, world = row.storage_key, self.world
        self._not_protected(key)
        if key in self._touched:
            return
        others = [one for one in world.database.rows.values() if one.storage_key == key and one != row]
        there = key in world.bucket.objects
        assert others or not there, f"{row.id} went before its object"
        assert row.created_at is not None
        young = world.around.now - row.created_at < GRACE
        assert self.outlived(row) or not young, f"{row.id} is within its grace"
        assert self.outlived(row) or not there, f"{row.id} is in retention, and its object is there"

    def _not_protected(self, key: str) -> None:
        assert self.world.steering.mode is Mode.LIVE, f"a dry run deleted {key!r}"
        assert not self._paused, f"{key!r} was deleted although a pause stood before the run"
        assert key not in self.protected, f"{key!r} is protected"
        assert key not in self.held, f"{key!r} is on hold"
        mark = self.world.database.marks[key].mark
        state = self.world.database.passes[mark.pass_id].state
        assert state is PassState.ARMED, f"{key!r} was deleted for a pass that is {state}"
        assert key != MARKER_KEY

    def outlived(self, row: Row) -> bool:
        """Whether a retention verdict applies. A key counts as disabled from the moment it was, which
        is before the first pass that can have seen it.
        """
        since = self.disabled_at.get(row.virtual_key_id or "")
        if since is not None and self.world.around.elapsed - since >= KEY_GRACE:
            return True
        return self.expired(row)

    def expired(self, row: Row) -> bool:
        now, accessed = self.world.around.now, row.last_accessed_at
        if row.expires_at is not None and row.expires_at <= now:
            return True
        old = row.created_at is not None and now - row.created_at >= RETENTION
        return old and (accessed is None or now - accessed >= RECENT)
