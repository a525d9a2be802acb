"""The closed sets of words: modes, outcomes, reasons to keep."""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """One of a closed set of words, as far as this program knows it.

    A newer program that works on the same database may have written another word. That is kept as it is,
    equal to no word of this program: so it is listed, and no rule applies to it.
    """

    @classmethod
    def _missing_(cls, value: object) -> Word | None:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word


class KeepReason(Word):
    """Why something that looks like drift stays."""

    PENDING = "pending"
    HOLD = "hold"
    OUTSIDE_PREFIX = "outside_prefix"
    UNKNOWN_SHAPE = "unknown_shape"
    FOLDER_MARKER = "folder_marker"
    REPLACEMENT_CHARACTER = "replacement_character"
    DISABLED = "disabled"
    RECOVERABLE = "recoverable"
    """We deleted its other half, which can come back: a row's object, or the row of an object."""
    NEAR_MISS = "near_miss"
    """An orphan that a row spells otherwise, or that row."""
    MISMATCH = "mismatch"
    """An object that is not what its row says: a person has to look, and nothing is deleted for it."""


class Mode(Word):
    """Whether the write guard lets writes through."""

    LIVE = "live"
    DRY_RUN = "dry_run"


class DeleteMode(Word):
    """How an object is deleted, and so whether it can be brought back."""

    DIRECT = "direct"
    """For good."""
    QUARANTINE = "quarantine"
    """After a copy of it was made under `QUARANTINE_PREFIX`."""
    VERSIONED = "versioned"
    """By a delete marker of the bucket's."""


class Outcome(StrEnum):
    """How a pass, or a run of all of them, ended. In order of precedence."""

    FAILED = "failed"
    HALTED = "halted"
    TRIPPED = "tripped"
    PENDING = "pending"
    CONVERGED = "converged"
    SUPERSEDED = "superseded"
    """Of a pass alone: a person decided about an earlier one, so that it begins anew."""


class PassKind(Word):
    """The kinds of pass that write marks."""

    SWEEP = "sweep"
    RETENTION = "retention"
    DEPARTURE = "departure"


class Phase(StrEnum):
    """What a pass is doing."""

    PREPARING = "preparing"
    """It reads what earlier passes left, and plans its key ranges."""
    LISTING = "listing"
    """An unordered listing is copied; no row is read before its end."""
    COMPARING = "comparing"
    """Findings are made: from listing and rows together, or from the rows alone (retention)."""
    RELEASING = "releasing"
    """The breaker looks at the findings, and the marks are released or held back."""


class ListingOrder(Word):
    """How the bucket's listing is joined with the rows."""

    BYTES = "bytes"
    NONE = "none"
