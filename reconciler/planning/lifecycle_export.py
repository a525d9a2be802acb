"""The lifecycle rules that do what can be left to the store, as S3 writes them, and what cannot be left.

A store knows nothing but prefix and age. So it is given nothing that a row, a hold, a pause or an undo may
still need: the parts of uploads that nobody completes, and superseded versions where nothing is kept as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from reconciler.model import DeleteMode, Policy
from reconciler.model.keys import merge_prefixes
from reconciler.planning import expiry as expiry_planning

Rule: TypeAlias = Mapping[str, Any]

OURS = "media-reconciler-"
"""How the id of our rules begins; every other rule is somebody else's."""

UPLOADS_END = timedelta(days=7)
"""The least age at which an upload is given up: one may be resumed days later."""

_DAY = timedelta(days=1)

_BY_AGE = (
    "objects by their age: a store knows no last access, hold, quota, virtual key or rule of retention, and"
    " no undo brings back what it took. --expire looks whether all of that is absent"
)
_ONCE_EXPIRED = (
    "to stop: once a rule expires objects, a hold, pause, undo or longer retention of later does not stop it."
    " It counts from an object's last modification. Export again after each change of the rules of retention"
)
_COPIES = "copies under .reconciler/: the purge keeps what is on hold, and waits while deletions are paused"
_HIDDEN = "versions behind delete markers: an undo and holds need them, and the purge frees them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The rules, and in words what they cannot do."""

    rules: tuple[Rule, ...]
    not_left: tuple[str, ...]
    refused: bool
    """Whether objects were to expire where that is not left to a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """That objects are to expire by their age where nothing else decides."""

    policy: Policy
    known: expiry_planning.Known

    def against(self, prefix: str) -> list[str]:
        return expiry_planning.against(prefix, self.policy, self.known)

    def after(self, prefix: str, undo_window: timedelta) -> timedelta:
        return expiry_planning.backstop(prefix, self.policy, undo_window)


def export(
    prefixes: Sequence[str],
    mode: DeleteMode | None,
    undo_window: timedelta,
    upload_window: timedelta,
    *,
    versions: bool,
    expiry: Expiry | None = None,
) -> Exported:
    """A rule for each managed prefix. `versions`: the bucket keeps them. `mode` None is not decided yet.

    Superseded versions go only where deletions are direct, and after what an earlier mode hid needs. Objects
    go where `expiry` is given and has nothing against it.
    """
    superseded = versions and mode is DeleteMode.DIRECT
    by_age = [_BY_AGE] if expiry is None else [_ONCE_EXPIRED]
    refused = False
    rules = []
    for number, prefix in enumerate(merge_prefixes(prefixes), 1):
        uploads = {"DaysAfterInitiation": _days(max(UPLOADS_END, upload_window))}
        rule: dict[str, Any] = {
            "ID": f"{OURS}{number}",
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "AbortIncompleteMultipartUpload": uploads,
        }
        if superseded:
            rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": _days(undo_window)}
        if expiry is not None:
            why = expiry.against(prefix)
            refused |= bool(why)
            by_age += [f"objects under {prefix!r}: {each}" for each in why]
            if not why:
                rule["Expiration"] = {"Days": _days(expiry.after(prefix, undo_window))}
        rules.append(rule)
    hidden = (_HIDDEN,) if versions and not superseded else ()
    return Exported(rules=tuple(rules), not_left=(*by_age, _COPIES, *hidden), refused=refused)


def beside(present: Sequence[Rule], ours: Sequence[Rule]) -> Sequence[Rule]:
    """The rules of others as they are, in their order, then ours."""
    return [*(each for each in present if not _is_ours(each)), *ours]


def difference(present: Sequence[Rule], wanted: Sequence[Rule]) -> Sequence[tuple[str, Rule]]:
    """Each rule with `-` for one that goes, `+` for one that comes, a blank for one that stays."""
    gone = [("-", each) for each in present if each not in wanted]
    return [*gone, *((" " if each in present else "+", each) for each in wanted)]


def _is_ours(rule: Rule) -> bool:
    return str(rule.get("ID", "")).startswith(OURS)


def _days(duration: timedelta) -> int:
    """Whole days, rounded up, and one at least."""
    return max(1, -(-duration // _DAY))
