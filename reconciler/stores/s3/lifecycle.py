"""The bucket's lifecycle rules, as far as the store shows them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from reconciler.errors import StoreUnavailable
from reconciler.model import LifecycleRule
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.retries import Calls

_WRITE: Final = "PutBucketLifecycleConfiguration"
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects must be restored before they are read or copied. GLACIER_IR is not one."""


async def lifecycle_rules(calls: Calls) -> tuple[LifecycleRule, ...] | None:
    """The rules that are enabled; None where the store does not show them to these credentials.

    Stores without rules answer NoSuchLifecycleConfiguration, stores without the operation 501, 405 or 404.
    """
    try:
        return await calls.send("GetBucketLifecycleConfiguration", _rules)
    except Refusal as refusal:
        return None if refusal.denied else ()
    except StoreUnavailable:
        return None


def _rules(answer: Mapping[str, Any]) -> tuple[LifecycleRule, ...]:
    return tuple(_rule(each) for each in answer.get("Rules") or () if each.get("Status") == "Enabled")


def _rule(entry: Mapping[str, Any]) -> LifecycleRule:
    expiry, noncurrent = entry.get("Expiration") or {}, entry.get("NoncurrentVersionExpiration") or {}
    return LifecycleRule(
        id=str(entry.get("ID") or ""),
        prefix=_prefix(entry),
        expires=_least(_after(expiry)),
        expires_all=None if _narrowed(entry) or "Date" in expiry else _least(_after(expiry)),
        archives=_least(_archived(entry.get("Transitions"))),
        noncurrent_expires=_least(_after(noncurrent, "NoncurrentDays")),
        noncurrent_archives=_least(_archived(entry.get("NoncurrentVersionTransitions"), "NoncurrentDays")),
    )


def _prefix(entry: Mapping[str, Any]) -> str:
    """The prefix of a rule in either form. Other filters only narrow the rule: see `_narrowed`."""
    found = entry.get("Filter") or {}
    return str(entry.get("Prefix") or found.get("Prefix") or (found.get("And") or {}).get("Prefix") or "")


def _narrowed(entry: Mapping[str, Any]) -> bool:
    """Whether it looks at anything but the prefix: tags, sizes, or what is not known here."""
    found = entry.get("Filter") or {}
    return bool({*found, *(found.get("And") or {})} - {"Prefix", "And"})


def _after(action: Mapping[str, Any], days: str = "Days") -> Iterator[timedelta]:
    """How long after; a rule with a date counts as at once."""
    if action.get(days) is not None:
        yield timedelta(days=int(action[days]))
    if action.get("Date") is not None:
        yield timedelta(0)


def _archived(transitions: Any, days: str = "Days") -> Iterator[timedelta]:  # noqa: ANN401 - as parsed
    for each in transitions or ():
        if each.get("StorageClass") in _ARCHIVES:
            yield from _after(each, days)


def _least(found: Iterator[timedelta]) -> timedelta | None:
    return min(found, default=None)


class BucketLifecycle:
    """The rules as S3 writes them, each one, to be read, shown and written as a whole."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def read(self) -> Sequence[Mapping[str, Any]]:
        """Every rule, whatever its state. Raises StoreUnavailable, Halt."""
        try:
            return await self._calls.send("GetBucketLifecycleConfiguration", _all)
        except Refusal as refusal:
            if refusal.code == "NoSuchLifecycleConfiguration":
                return ()
            raise self._calls.place.explain("GetBucketLifecycleConfiguration", refusal) from None

    async def write(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Replace them all. Raises StoreUnavailable, Halt."""
        wanted = {"Rules": list(rules)}
        try:
            await self._calls.send(_WRITE, lambda _: None, LifecycleConfiguration=wanted)
        except Refusal as refusal:
            raise self._calls.place.explain(_WRITE, refusal) from None


def _all(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return tuple(answer.get("Rules") or ())
