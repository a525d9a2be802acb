"""Every verdict, declared once: what lists verdicts, or depends on what they read, is derived from here.

What a verdict says of a row or an object is a rule in `planning`.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from reconciler.model.enums import PassKind, Word
from reconciler.model.rules import RULE_COLUMNS


class OwnerRead(Enum):
    """What a verdict reads of the virtual key that a row names."""

    NOTHING = auto()
    PRESENCE = auto()
    """Whether the key exists. The deletion waits for transactions that may be writing one."""
    STATE = auto()
    """What the key's row says. The deletion waits too, and its claim locks that row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSpec:
    """What must be known of a verdict besides its rule.

    `found_by` is the kind of pass that decides to delete; None: nothing is ever deleted for this word.
    `switches` are the flags of `Policy` that all have to be on. `reads` are the fields of `MediaColumns`,
    besides the key, that the rule reads: a trigger watches them, and a changed one spares the row. `colour`
    is Grafana's. `twice`: a mark is claimed only after a second sighting. `sums`: the rule also reads
    what the row's owner keeps in all, `Record.usage`, which a claim adds up anew.
    """

    found_by: PassKind | None
    says: str
    switches: tuple[str, ...]
    reads: tuple[str, ...]
    owner: OwnerRead
    colour: str
    twice: bool = False
    sums: bool = False


UNKNOWN = VerdictSpec(found_by=None, says="", switches=(), reads=(), owner=OwnerRead.STATE, colour="#808080")
"""For a newer program's verdict: it finds and deletes nothing here."""


class Verdict(Word):
    """Why something should be deleted (or, for ADOPT, made)."""

    spec: VerdictSpec

    def __new__(cls, word: str, spec: VerdictSpec = UNKNOWN) -> Self:
        made = str.__new__(cls, word)
        made._value_ = word
        made.spec = spec
        return made

    @classmethod
    def _missing_(cls, value: object) -> Word | None:
        word = super()._missing_(value)
        if isinstance(word, cls):
            word.spec = UNKNOWN
        return word

    ORPHAN = (
        "orphan",
        VerdictSpec(
            found_by=PassKind.SWEEP,
            says="an object that no record names",
            switches=("orphan_cleanup",),
            reads=(),
            owner=OwnerRead.NOTHING,
            colour="orange",
        ),
    )
    DANGLING = (
        "dangling",
        VerdictSpec(
            found_by=PassKind.SWEEP,
            says="a record whose object is missing",
            switches=("dangling_cleanup",),
            reads=("created_at",),
            owner=OwnerRead.NOTHING,
            colour="red",
            twice=True,
        ),
    )
    EXPIRED = (
        "expired",
        VerdictSpec(
            found_by=PassKind.RETENTION,
            says="a record whose expiry is over, or that was soft-deleted a grace period ago",
            switches=("auto_cleanup",),
            reads=("expires_at", "deleted_at"),
            owner=OwnerRead.NOTHING,
            colour="blue",
        ),
    )
    STALE = (
        "stale",
        VerdictSpec(
            found_by=PassKind.RETENTION,
            says="a record older than the retention that was not accessed lately",
            switches=("auto_cleanup",),
            reads=("created_at", "last_accessed_at"),
            owner=OwnerRead.NOTHING,
            colour="purple",
        ),
    )
    REVOKED = (
        "revoked",
        VerdictSpec(
            found_by=PassKind.RETENTION,
            says="a record whose virtual key is disabled or expired",
            switches=("auto_cleanup", "delete_revoked"),
            reads=("virtual_key_id",),
            owner=OwnerRead.STATE,
            colour="yellow",
        ),
    )
    OWNERLESS = (
        "ownerless",
        VerdictSpec(
            found_by=PassKind.RETENTION,
            says="a record whose virtual key does not exist",
            switches=("auto_cleanup",),
            reads=("virtual_key_id",),
            owner=OwnerRead.PRESENCE,
            colour="dark-green",
        ),
    )
    OVER_QUOTA = (
        "over_quota",
        VerdictSpec(
            found_by=PassKind.RETENTION,
            says="a record of an owner that keeps more than its quota, the first in the order of eviction",
            switches=("auto_cleanup",),
            reads=("virtual_key_id", "created_at", "last_accessed_at"),
            owner=OwnerRead.STATE,
            colour="semi-dark-purple",
            sums=True,
        ),
    )
    DEPARTED = (
        "departed",
        VerdictSpec(
            found_by=PassKind.DEPARTURE,
            says="an object whose record left the table, as the triggers noted",
            switches=("orphan_cleanup",),
            reads=(),
            owner=OwnerRead.NOTHING,
            colour="light-blue",
        ),
    )
    MISMATCH = (
        "mismatch",
        VerdictSpec(
            found_by=None,
            says="an object that is not what its row says, in size or MD5: told, and never deleted",
            switches=(),
            reads=(),
            owner=OwnerRead.NOTHING,
            colour="#808080",
        ),
    )
    ADOPT = (
        "adopt",
        VerdictSpec(
            found_by=None,
            says="an object that no record names and whose owner is known: a record is made",
            switches=(),
            reads=(),
            owner=OwnerRead.NOTHING,
            colour="#808080",
        ),
    )


VERDICTS = tuple(verdict for verdict in Verdict if verdict.spec.found_by is not None)
"""The verdicts that a pass finds."""

RETENTION_VERDICTS = tuple(verdict for verdict in VERDICTS if verdict.spec.found_by is PassKind.RETENTION)

WITHOUT_ROW = frozenset({Verdict.ORPHAN, Verdict.DEPARTED})
"""The verdicts on an object that no row names: one row that does, however it spells the key, keeps it."""

READ = RULE_COLUMNS.union(*(verdict.spec.reads for verdict in VERDICTS))
"""The fields of `MediaColumns`, besides the key, that some verdict or rule reads."""
