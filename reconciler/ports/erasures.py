"""Erasures with proof: what the engine needs of the catalog and the bucket for them."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from reconciler.model import Certified, ErasureCase, Term, Traces, Wiped

Compose: TypeAlias = Callable[[int, str | None, datetime], Certified]
"""Makes the certificate of that number, behind the one of that digest, at that time."""


class Erasures(Protocol):
    """The erasures that were ordered. Each call that changes something does so in one transaction, under the
    term, and may be repeated.
    """

    async def open(self) -> Sequence[ErasureCase]:
        """Those without a certificate, the oldest first."""
        ...

    async def wipe(
        self, term: Term, case: ErasureCase, prefixes: Sequence[str], stays: Sequence[str] = ()
    ) -> Wiped:
        """Remove some of its rows, but for those whose ids are in `stays`, and note that they left."""
        ...

    async def rows(self, case: ErasureCase) -> set[str]:
        """The storage keys of its rows that are there."""
        ...

    async def discover(self, term: Term, case: ErasureCase, *, thoroughly: bool) -> None:
        """Add the keys that our own tables have of its virtual key; `thoroughly`: the ledger's as well."""
        ...

    async def shared(self, case: ErasureCase) -> set[str]:
        """Keys of removed rows and hidden objects that were other virtual keys' as well: they stay."""
        ...

    async def keys(self, case: ErasureCase) -> Sequence[str]:
        """Its storage keys as far as they are known, ascending."""
        ...

    async def redact(self, term: Term, case: ErasureCase) -> None:
        """Forget the removed rows of its keys, and have their copies purged, but for what is on hold."""
        ...

    async def under_way(self, keys: Sequence[str]) -> set[str]:
        """Those that a departure, a mark or a hidden object stands for."""
        ...

    async def leave(self, term: Term, case: ErasureCase, keys: Sequence[str]) -> None:
        """Have the next pass judge these keys' objects, as those of records that left."""
        ...

    async def count(self, term: Term, case: ErasureCase, *, versions: int, uploads: int) -> None:
        """Count what was removed from the bucket besides objects."""
        ...

    async def say(self, case: ErasureCase, why: str) -> None:
        """Write down what it waits for."""
        ...

    async def traces(self, case: ErasureCase, keys: Sequence[str]) -> Traces:
        """What the ledger knows of the keys."""
        ...

    async def certify(
        self,
        term: Term,
        case: ErasureCase,
        spared: Collection[str],
        compose: Compose,
    ) -> Certified | None:
        """End it with a certificate; None where a row has come meanwhile whose key is not `spared`."""
        ...

    async def newest(self) -> Certified | None:
        """The last certificate."""
        ...

    async def uncopied(self) -> Sequence[Certified]:
        """Certificates of which the bucket has no copy yet, in their order."""
        ...

    async def copied(self, certificate: Certified) -> None:
        """Write down that the bucket has it."""
        ...

    async def digests(self) -> set[str]:
        """The digests of all certificates that this database knows."""
        ...


class Certificates(Protocol):
    """Copies of the certificates in the bucket."""

    async def names(self) -> Collection[str]:
        """The keys of all of them. Raises StoreUnavailable, ListingBroken, Halt."""
        ...

    async def read(self, name: str) -> str:
        """One document. Raises StoreUnavailable, Halt."""
        ...

    async def put(self, name: str, document: str) -> None:
        """Write one. Raises StoreUnavailable, Halt."""
        ...
