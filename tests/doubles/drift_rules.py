"""An eye on every single deletion, at the moment it happens, by rules written anew from the design.

What the protocol leaves open without triggers is left open here: a writer that touches a key after
the collector's last look at it (see "The deletion protocol", 6). Everything else is a fault.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from reconciler.model import (
    QUARANTINE_PREFIX,
    Claim,
    DeleteMode,
    Mode,
    PassState,
    StoredObject,
    Upload,
    Version,
)
from tests.doubles.bucket import IDENTITY_KEY
from tests.doubles.database import Row
from tests.doubles.world import World

GRACE, KEY_GRACE = timedelta(hours=48), timedelta(days=7)
RETENTION, RECENT = timedelta(days=90), timedelta(days=30)
UNDO, ABORT = timedelta(days=7), timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """An object that was deleted so that it can come back, and when."""

    key: str
    etag: str
    at: timedelta


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
        self.held_of: dict[str, set[str]] = {}
        """The same of virtual keys, by their id."""
        world.marks.on_look = self.looked
        world.bucket.on_delete = self.object_goes
        world.bucket.versions.on_remove = self.version_goes
        world.bucket.uploads.on_abort = self.upload_goes
        world.database.on_remove = self.row_goes
        world.database.on_purge = self.purged
        self._gone: dict[str, Gone] = {}
        """By key, the last that went, unless something was stored there since."""
        self._rows: dict[str, tuple[Row, timedelta]] = {}
        """Rows that went, by id, and when."""
        self._hidden: dict[str, Gone] = {}
        """By the name of the copy, or the id of the version."""

    def purged(self, keys: Collection[str]) -> None:
        """What was touched before can no longer come back."""
        self._touched.difference_update(keys)

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

    def written(self, key: str) -> None:
        """A writer has put an object there, or taken one away for good: what was there before is theirs."""
        self._gone.pop(key, None)

    def removed(self, rows: Iterable[Row]) -> None:
        """A writer removes them. What went by our hand before, and came back, was theirs to remove."""
        for row in rows:
            self._rows.pop(row.id, None)

    def object_goes(self, stored: StoredObject) -> None:
        key, world = stored.key, self.world
        if key.startswith(QUARANTINE_PREFIX):
            self._ends(stored.key)
            return
        self._not_protected(key)
        self._can_come_back(stored)
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

    def _can_come_back(self, stored: StoredObject) -> None:
        """Its copy lies in quarantine, or the bucket keeps versions."""
        key, row = stored.key, self.world.database.marks[stored.key]
        gone = Gone(key=key, etag=stored.etag, at=self.world.around.elapsed)
        if row.mode is DeleteMode.DIRECT:
            return
        if row.mode is DeleteMode.VERSIONED:
            assert self.world.bucket.versions.kept_now, f"{key!r} was deleted for good"
            self._hidden[str(stored.version_id)] = gone
        else:
            assert row.quarantine_key is not None
            copy = self.world.bucket.objects.get(row.quarantine_key)
            same = copy is not None and copy.etag == stored.etag
            assert same or key in self._touched, f"{key!r} was deleted without a copy"
            self._hidden[row.quarantine_key] = gone
            if not same:
                return
        self._gone[key] = gone

    def version_goes(self, version: Version) -> None:
        if version.marker:
            return
        there = self.world.bucket.objects.get(version.key)
        assert there is None or there.version_id != version.id, f"{version.key!r} lies open, and was purged"
        assert version.id in self._hidden, f"a version of {version.key!r} was purged that we did not hide"
        self._ends(version.id)

    def _ends(self, name: str) -> None:
        """A copy, or a version, goes for good."""
        self._may_delete(name)
        gone = self._hidden.get(name)
        if gone is not None:
            age = self.world.around.elapsed - gone.at
            assert age >= UNDO, f"{gone.key!r} was purged before its time"
            self._nobody_needs(gone.key)

    def _nobody_needs(self, key: str) -> None:
        """A purge is a deletion: of what is on hold, or what a row names that has no object, nothing goes."""
        assert not self._is_held(key), f"what is hidden of {key!r} is on hold, and was purged"
        named = any(row.storage_key == key for row in self.world.database.rows.values())
        alone = named and key not in self.world.bucket.objects and key not in self._touched
        assert not alone, f"a row names {key!r}, and what it needs was purged"

    def _is_held(self, key: str) -> bool:
        return key in self.held or any(key in keys for keys in self.held_of.values())

    def upload_goes(self, upload: Upload) -> None:
        self._may_delete(upload.key)
        assert upload.begun_at is not None
        assert self.world.around.now - upload.begun_at >= ABORT, f"an upload to {upload.key!r} is young"
        assert upload.key not in self.held, f"{upload.key!r} is on hold"

    def row_goes(self, row: Row) -> None:
        key, world = row.storage_key, self.world
        self._not_protected(key)
        self._rows[row.id] = (row, world.around.elapsed)
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
        self._may_delete(key)
        assert key not in self.protected, f"{key!r} is protected"
        assert not self._is_held(key), f"{key!r} is on hold"
        mark = self.world.database.marks[key].mark
        state = self.world.database.passes[mark.pass_id].state
        assert state is PassState.RELEASED, f"{key!r} was deleted for a pass that is {state}"
        assert key != IDENTITY_KEY

    def _may_delete(self, what: str) -> None:
        assert self.world.runtime.mode is Mode.LIVE, f"a dry run deleted {what!r}"
        assert not self._paused, f"{what!r} was deleted although a pause stood before the run"

    # --- what can be undone ---

    def brought_back(self) -> None:
        """After an undo of everything: what went within the window is there again, and so are its rows."""
        database, objects = self.world.database, self.world.bucket.objects
        for key, gone in self._gone.items():
            mark = database.marks.get(key)
            if not self._in_window(gone.at) or (mark is not None and mark.operation_id is not None):
                continue
            assert key in objects, f"{key!r} did not come back"
            assert objects[key].etag == gone.etag, f"{key!r} came back as another object"
            for row, at in self._rows.values():
                if row.storage_key == key and self._in_window(at) and self._may_exist(row):
                    assert row.id in database.rows, f"{row.id} of {key!r} did not come back"

    def _in_window(self, at: timedelta) -> bool:
        return self.world.around.elapsed - at < UNDO

    def _may_exist(self, row: Row) -> bool:
        return row.virtual_key_id is None or row.virtual_key_id in self.world.database.owners

    def hidden_adds_up(self, *, lost: set[str]) -> None:
        """What the database says is hidden lies in the bucket, byte for byte, and nothing else does.

        A purge that was killed may have taken what it claimed, until it is carried on. Of keys in `lost`
        somebody else took the versions away.
        """
        bucket, hidden = self.world.bucket, self.world.database.hidden.values()
        copies = {
            key: stored.size for key, stored in bucket.objects.items() if key.startswith(QUARANTINE_PREFIX)
        }
        known = {str(row.one.hidden.quarantine_key): row for row in hidden if row.one.hidden.quarantine_key}
        unclaimed = {key for key, row in known.items() if row.state != "purging"}
        assert unclaimed <= copies.keys() <= known.keys(), "copies and what is known of them differ"
        assert all(size == known[key].one.hidden.size for key, size in copies.items())
        for row in hidden:
            one = row.one
            versioned = one.hidden.mode is DeleteMode.VERSIONED and one.storage_key not in lost
            if versioned and row.state != "purging":
                ids = {version.id for version in bucket.versions.all_of(one.storage_key)}
                assert ids.issuperset(one.hidden.version_ids), f"{one.storage_key!r} cannot come back"

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
