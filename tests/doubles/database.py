"""A database in memory: the gateway's rows and keys, transactions that are open, and our own state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from reconciler.errors import CatalogUnavailable, Halt, LeaseLost
from reconciler.model import (
    DeleteMode,
    Departed,
    GroupPolicy,
    HiddenObject,
    Hold,
    HoldKind,
    Identity,
    Lineage,
    Mark,
    Mode,
    ObjectResult,
    Pass,
    PassKind,
    PassState,
    Pause,
    RangeProgress,
    Record,
    Remove,
    Seals,
    Term,
    Verdict,
    VirtualKey,
    reference_to,
)
from tests.doubles.observing import Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the media table."""

    id: str
    storage_key: str
    virtual_key_id: str | None = None
    size_bytes: int | None = 10
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_accessed_at: datetime | None = None
    deleted_at: datetime | None = None
    media_type: str | None = None
    provider: str | None = None
    model: str | None = None


@dataclass(slots=True)
class MarkRow:
    """A mark as the database keeps it. `seen_in` is the last pass that found its key, `confirmed_in` the
    last of its own identity that did, for a sweep with the same verdict; `not_before` of a claim: when it may
    be repeated.
    """

    mark: Mark
    delay: timedelta
    seen_in: int
    confirmed_in: int
    previewed: bool = False
    not_before: datetime | None = None
    operation_id: UUID | None = None
    epoch: int | None = None
    decision: Remove | None = None
    attempted_at: datetime | None = None
    attempts: int = 0
    refusals: int = 0
    last_error: str | None = None
    object_gone: bool = False
    mode: DeleteMode = DeleteMode.DIRECT
    quarantine_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """What was meant or done to one key, by which operation."""

    key: str
    verdict: Verdict
    event: str
    at: datetime
    operation_id: UUID | None = None
    epoch: int | None = None
    detail: str = ""
    pass_id: int | None = None
    id: int = 0
    what: str = "object"
    result: ObjectResult | None = None
    record_id: str | None = None
    removed: Row | None = None


@dataclass(slots=True, kw_only=True)
class HiddenRow:
    """One object that was deleted and can be brought back, as the database keeps it.

    `state` is "hidden", "restoring", "restored", "left over" or "purging".
    """

    one: HiddenObject
    state: str
    pass_id: int
    claimed_at: datetime
    owners: frozenset[str] = frozenset()
    epoch: int = 0
    """Under which a purge claimed it."""


@dataclass(slots=True, kw_only=True)
class Restore:
    """A key in the queue of what has to come back."""

    queued_at: datetime
    not_before: datetime | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A key claimed of a pass that nobody had to approve."""

    at: datetime
    key: str
    verdict: Verdict


@dataclass(slots=True)
class Transaction:
    """A writer's transaction: its rows are nobody's until it commits, its xid holds the horizon back."""

    database: MemoryDatabase
    xid: int
    rows: list[Row] = field(default_factory=list)

    def commit(self) -> None:
        for row in self.rows:
            self.database.write(row)
        self.database.open.pop(self.xid)

    def roll_back(self) -> None:
        self.database.open.pop(self.xid)


class MemoryDatabase:
    """State alone; the ports over it are the other modules here.

    `locked` are ids of rows that another transaction holds; `away` makes every call fail as a
    Postgres does that cannot be reached.
    """

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.away = False
        self.rows: dict[str, Row] = {}
        self.written: dict[str, int] = {}
        """By a row's id, the newest pass that had begun when it was written."""
        self.owners: dict[str, VirtualKey] = {}
        self.disabled_since: dict[str, datetime] = {}
        self.referenced: set[str] = set()
        """Keys that a column beside the media table's key names."""
        self.locked: set[str] = set()
        self.refuses: dict[str, str] = {}
        """By id of a row, why the database does not let it go."""
        self.lacking = ""
        """What right the role lacks."""
        self.open: dict[int, Transaction] = {}
        self.passes: dict[int, Pass] = {}
        self.stamps: dict[int, int] = {}
        self.ranges: dict[int, list[RangeProgress]] = {}
        self.marks: dict[str, MarkRow] = {}
        self.departures: list[Departed] = []
        self.group_policies: list[GroupPolicy] = []
        self.spellings: dict[tuple[int, bool], set[tuple[str, str]]] = {}
        self.tombstones: dict[str, datetime] = {}
        self.gone_during: dict[str, int] = {}
        """By key, the newest pass that had begun when it went."""
        self.holds: dict[tuple[HoldKind, str, str], Hold] = {}
        self.held_keys: set[tuple[str, str]] = set()
        """Virtual keys on hold, with each key that a row of theirs was seen to name."""
        self.hidden: dict[int, HiddenRow] = {}
        self.restores: dict[str, Restore] = {}
        self.ledger: list[LedgerEntry] = []
        self.spent: list[Spent] = []
        self.term: Term | None = None
        self.lease_ends: datetime = around.now
        self.lease_since: datetime = around.now
        self.paid_until: datetime = around.now
        self.pause = Pause()
        self.mode: Mode | None = None
        self.identity: Identity | None = None
        self.site_id: UUID | None = None
        self.seals = Seals()
        self.lineage = Lineage(cluster=1, database=2, media=3, keys=4, own=5, timeline=1, wal=1)
        self.released = True
        self.on_remove: Callable[[Row], None] = lambda _: None
        self.on_purge: Callable[[Collection[str]], None] = lambda _: None
        """Keys that a purge looks at for the last time."""
        self._xids = itertools.count(1)
        self._ids = itertools.count(1)
        self.last_xid = 0
        self._queued_at = around.now

    @property
    def now(self) -> datetime:
        return self.around.now

    def answer(self) -> None:
        if self.away:
            raise CatalogUnavailable("Postgres does not answer")

    def next_xid(self) -> int:
        self.last_xid = next(self._xids)
        return self.last_xid

    def horizon(self) -> int:
        """Every xid below it has ended."""
        return min(self.open, default=self.last_xid + 1)

    def check(self, term: Term) -> None:
        """Compare the fencing token, as every writing transaction does."""
        self.answer()
        if self.term != term:
            raise LeaseLost("the term in hand is not the current one")
        if term.seal is not None and term.seal not in (self.seals.confirmed, self.seals.pending):
            raise Halt("the identity bears a nonce that this database does not know")

    # --- what the gateway does ---

    def insert(self, key: str, age: timedelta = timedelta(0), **columns: object) -> str:
        """A committed row, created `age` ago; returns its id."""
        row = self._row(key, age, columns)
        self.write(row)
        return row.id

    def write(self, row: Row) -> None:
        self.rows[row.id] = row
        self.written[row.id] = max(self.passes, default=0)

    def begin(self) -> Transaction:
        """A transaction that stays open."""
        transaction = Transaction(self, self.next_xid())
        self.open[transaction.xid] = transaction
        return transaction

    def begin_insert(self, key: str, age: timedelta = timedelta(0), **columns: object) -> Transaction:
        """A transaction that has inserted a row and not committed."""
        transaction = self.begin()
        transaction.rows.append(self._row(key, age, columns))
        return transaction

    def update(self, row_id: str, **columns: object) -> None:
        self.write(replace(self.rows[row_id], **columns))  # type: ignore[arg-type]  # any column

    def add_key(self, key_id: str, *, enabled: bool = True, expires_at: datetime | None = None) -> None:
        self.owners[key_id] = VirtualKey(id=key_id, enabled=enabled, expires_at=expires_at)

    def delete_key(self, key_id: str) -> None:
        """As ON DELETE CASCADE does it."""
        self.owners.pop(key_id, None)
        for row in [row for row in self.rows.values() if row.virtual_key_id == key_id]:
            del self.rows[row.id]

    def _row(self, key: str, age: timedelta, columns: dict[str, object]) -> Row:
        number = next(self._ids)
        values: dict[str, object] = {"created_at": self.now - age, **columns}
        return Row(id=f"row-{number:06}", storage_key=key, **values)  # type: ignore[arg-type]  # any column

    # --- what the ports write ---

    def note(self, entry: LedgerEntry) -> None:
        """A line of the ledger, under the next id."""
        self.ledger.append(replace(entry, id=next(self._ids)))

    def hide(self, one: HiddenObject, pass_id: int, *, went: bool = True) -> None:
        """Remember where an object is; of one that stayed it is a copy left over."""
        number = next(self._ids)
        state = "hidden" if went else "left over"
        row = HiddenRow(
            one=replace(one, id=number, pass_id=pass_id),
            state=state,
            pass_id=pass_id,
            claimed_at=self.now,
            owners=self._owners_of(one.storage_key),
        )
        self.hidden[number] = row

    def _owners_of(self, key: str) -> frozenset[str]:
        rows = (row for row in self.rows.values() if row.storage_key == key)
        return frozenset(row.virtual_key_id for row in rows if row.virtual_key_id is not None)

    def queue(self, key: str) -> None:
        """Have the key looked at; each time is later than the one before, as by a clock that moves on."""
        before = self.restores.get(key)
        self._queued_at = max(self.now, self._queued_at + timedelta(microseconds=1))
        self.restores[key] = Restore(queued_at=self._queued_at, attempts=before.attempts if before else 0)

    # --- what the ports read ---

    def refusal(self, decision: Remove) -> str | None:
        """Why the rows of a decision cannot go; None where they can."""
        return next((self.refuses[ref.id] for ref in decision.records if ref.id in self.refuses), None)

    def recoverable(self, key: str) -> bool:
        """Whether something that was deleted can be brought back."""
        return any(one.one.storage_key == key and one.state == "hidden" for one in self.hidden.values())

    def approved(self, pass_id: int | None) -> bool:
        """A person has let the pass through."""
        one = self.passes.get(pass_id or 0)
        return one is not None and one.state is PassState.RELEASED and one.decided_at is not None

    def superseded(self, pass_id: int) -> set[int]:
        """The pass, and the earlier ones that were approved with it."""
        if not self.approved(pass_id):
            return {pass_id}
        stamp = self.stamps[pass_id]
        return {each for each in self.passes if each <= pass_id and self.stamps.get(each) == stamp}

    def record(self, row: Row) -> Record:
        owner = self.owners.get(row.virtual_key_id) if row.virtual_key_id is not None else None
        if owner is not None:
            owner = replace(owner, disabled_since=self.disabled_since.get(owner.id))
        read = (
            *(row.storage_key, row.created_at, row.expires_at, row.last_accessed_at, row.deleted_at),
            *(row.media_type, row.provider, row.model),
        )
        version = sha256(repr((read, row.virtual_key_id, owner and astuple(owner))).encode()).hexdigest()
        return Record(
            id=row.id,
            storage_key=row.storage_key,
            virtual_key_id=row.virtual_key_id,
            owner=owner,
            size_bytes=row.size_bytes,
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_accessed_at=row.last_accessed_at,
            deleted_at=row.deleted_at,
            version=version,
            media_type=row.media_type,
            provider=row.provider,
            model=row.model,
        )

    def records_of(self, keys: Iterable[str]) -> list[Record]:
        """Every row that names one of the keys, in the order of key and id."""
        wanted = set(keys)
        rows = [row for row in self.rows.values() if row.storage_key in wanted]
        return [self.record(row) for row in sorted(rows, key=lambda row: (row.storage_key, row.id))]

    def naming(self, mark: Mark) -> list[Record]:
        """What decides about the mark: those rows, and what stands for another column that names it."""
        rows = self.records_of([mark.storage_key])
        if mark.storage_key in self.referenced and mark.verdict is not Verdict.DANGLING:
            rows.append(reference_to(mark.storage_key))
        return rows

    def known(self, row: MarkRow) -> bool:
        """Whether all words of the mark are this program's own."""
        found_by = self.passes[row.mark.pass_id]
        words = row.mark.verdict in list(Verdict) and found_by.kind in list(PassKind)
        return words and found_by.state in list(PassState)

    def holds_in_force(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.until is None or hold.until > self.now]

    def hold_on(self, key: str) -> Hold | None:
        """One of the holds that keep the key, by itself, by a prefix or by the owner of a row."""
        return next((hold for hold in self.holds_in_force() if self.covers(hold, key)), None)

    def covers(self, hold: Hold, key: str) -> bool:
        if hold.kind is HoldKind.KEY:
            return key == hold.target
        if hold.kind is HoldKind.PREFIX:
            return key.startswith(hold.target)
        if (hold.target, key) in self.held_keys:
            return True
        if any(row.one.storage_key == key and hold.target in row.owners for row in self.hidden.values()):
            return True
        return any(row.storage_key == key and row.virtual_key_id == hold.target for row in self.rows.values())

    def remember(self) -> None:
        """What rows of virtual keys on hold name, or named when their object went."""
        held = {hold.target for hold in self.holds_in_force() if hold.kind is HoldKind.VIRTUAL_KEY}
        self.held_keys = {each for each in self.held_keys if each[0] in held}
        for row in self.rows.values():
            if row.virtual_key_id in held and row.virtual_key_id is not None:
                self.held_keys.add((row.virtual_key_id, row.storage_key))
        for gone in self.hidden.values():
            self.held_keys |= {(owner, gone.one.storage_key) for owner in gone.owners if owner in held}
