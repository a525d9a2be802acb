"""What limits deletion, what is kept of whom, and what is brought in."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from reconciler import model
from reconciler.model import AdoptionTerms, OwnerFrom, Quota, ValueFrom
from reconciler.settings import adoption, values
from reconciler.settings.types import (
    Bytes,
    Count,
    Evict,
    Flag,
    Objects,
    QuotaOwner,
    Section,
    written,
)


class BreakerSettings(Section):
    """The breaker's limits: a pass that exceeds any of them is not released."""

    max_fraction: Annotated[float, written(values.fraction)] = 0.1
    """Share of what was looked at that may be deleted in 24 h. A tenth: a busy day of retention stays well
    below."""
    max_count: Count = 100_000
    """Keys that may be deleted in 24 h, whatever their share: the bound that holds in a large bucket."""
    max_dangling: Count = 100
    """Dangling records that may be deleted in 24 h. Small: each of them is a lost object."""
    min_count: Count = 20
    """Findings from which the fraction is checked: one orphan among five objects is no alarm."""


class QuotaSettings(Section):
    """The most that one owner may keep; off unless one of the two limits is set. See [quotas](#quotas)."""

    max_bytes: Bytes = None
    """Bytes, by the sizes that rows give: `10GiB`, `500MB`, a whole number, or `none`. Default: no limit."""
    max_objects: Objects = None
    """Objects, or `none`. Default: no limit."""
    owner: QuotaOwner = "virtual_key"
    """Whose media are added up: those of each virtual key, or of each group of keys
    (`CATALOG__KEY_COLUMNS__GROUP_ID`)."""
    evict: Evict = "never"
    """What becomes of media beyond the limit: with `oldest` or `least_recently_accessed` they are deleted as
    *over_quota*, these first; `never` only counts and alerts. Default: `never`, since a limit that is too low
    deletes what people use."""

    def of_model(self) -> Quota | None:
        """The global quota; None where nothing is limited."""
        return quota_of("", self.max_bytes, self.max_objects, self.owner, self.evict)


def quota_of(
    name: str, max_bytes: int | None, max_objects: int | None, owner: str, evict: str
) -> Quota | None:
    """The quota of the rule of that name, "" for the global one; None where nothing is limited."""
    if max_bytes is max_objects is None:
        return None
    return Quota(
        name=name,
        max_bytes=max_bytes,
        max_objects=max_objects,
        owner=model.QuotaOwner(owner),
        evict=model.Evict(evict),
    )


class AdoptionSettings(Section):
    """Rows for objects that have none, where it is known whose they are. See [adoption](adoption.md)."""

    enabled: Flag = False
    """Have each sweep make a row for an object without one, where `OWNER_FROM` tells whose it is, instead of
    marking it. It takes the triggers, so that what the gateway deletes is not made again. Default: off; then
    `reconciler adopt` does it once."""
    owner_from: Annotated[OwnerFrom | None, written(adoption.owner)] = None
    """Where it is written whose an object is: `metadata:created-by` (a field of its metadata), `tag:owner` (a
    tag), or `key:users/([^/]+)/.*`, a regular expression in RE2's syntax that the whole key matches, with the
    virtual key's id as its first group. It counts only where there is such a virtual key. Default: none, and
    `reconciler adopt --owner ID` names one for all."""
    columns: Annotated[Mapping[str, ValueFrom], written(adoption.columns)] = Field(default_factory=dict)
    """Values of columns that no other setting maps: a JSON object such as `{"Prompt": "metadata:prompt",
    "Origin": "constant:imported", "Mime": "content_type"}`. A column without a source gets the table's
    default. Default: `ContentType` gets the content type, where the table has such a column."""
    max_heads_per_second: Annotated[float | None, written(values.rate)] = 3_000.0
    """Objects a second that are looked at, or `unlimited`. 3,000: below the 5,500 that AWS promises for each
    prefix."""

    def of_model(self) -> AdoptionTerms:
        """The terms, as the engine reads them."""
        rate = math.inf if self.max_heads_per_second is None else self.max_heads_per_second
        return AdoptionTerms(owner=self.owner_from, columns=self.columns, rate=rate)


class LeaseSettings(Section):
    """Which replica may act."""

    ttl: Annotated[timedelta, written(values.at_least(timedelta(seconds=2), "2s"))] = timedelta(seconds=30)
    """The longest time from the moment a leader vanishes until another one deletes.

    30s: the lease lasts half of it, 15s, unless renewed, as leaders' leases in Kubernetes do. At least 2s.
    """

    @property
    def lasts(self) -> timedelta:
        """The lease itself, unless renewed: half of `ttl`.

        Most of what is left then is the former leader's time to object, before the new one deletes.
        """
        return self.ttl / 2


class ErasureSettings(Section):
    """How erasures are proven. See [erasure](erasure.md)."""

    signing_key_file: Annotated[str | None, written(values.file_path)] = None
    """An Ed25519 private key in PEM, or as a JWK, that signs the certificates of erasures. Default: none, and
    certificates say that they are unsigned."""
    hash_key_file: Annotated[str | None, written(values.file_path)] = None
    """A secret of at least 16 bytes, with which certificates hash ids and storage keys: nobody without it can
    try a guess, and `erase --replay` needs it. Default: none, and they are hashed with a salt alone."""
