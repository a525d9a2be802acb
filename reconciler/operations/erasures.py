"""Erasures with proof: ordered, looked at, checked, and repeated after a restore."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import anyio

from reconciler.catalog.open import Catalog
from reconciler.engine.lead.erasures import newer
from reconciler.engine.runtime.context import Ports
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Certified, ErasureCase, ErasureKind, ErasureState
from reconciler.operations.notary import Verifier
from reconciler.planning import certificates
from reconciler.planning.certificates import Checked
from reconciler.planning.formatting import counted

LOOK_SECONDS = 0.5
"""How often whoever waits looks how far it is."""

Order: TypeAlias = tuple[ErasureKind, Sequence[str], datetime, str]
"""What is erased again: kind, subject, the time until which rows were made, and the certificate's digest."""


async def order(
    catalog: Catalog, kind: ErasureKind, subject: Sequence[str], *, author: str, reason: str
) -> ErasureCase:
    """Write an erasure down, for the leader to do: rows, objects and whatever is kept of them, live or not.

    Raises NotDone where any of it is on hold: then nothing is written.
    """
    if not subject:
        raise NotDone(ErrorKind.INVALID, "no_target", "say what to erase")
    if await catalog.erasures.held(kind, subject):
        raise NotDone(
            ErrorKind.CONFLICT, "on_hold", "some of it is on hold, so nothing is erased: lift the hold first"
        )
    made = await catalog.erasures.order(kind, subject, author, reason)
    what = "a virtual key" if kind is ErasureKind.VIRTUAL_KEY else counted(len(set(subject)), "key")
    await catalog.orders.note(author, "erase", f"{what}, with proof: erasure {made}")
    return await show(catalog, made)


async def show(catalog: Catalog, case_id: UUID) -> ErasureCase:
    """One erasure. Raises NotDone."""
    found = await catalog.erasures.page([case_id])
    if not found:
        raise NotDone(ErrorKind.NOT_FOUND, "no_such_erasure", f"there is no erasure {case_id}")
    return found[0]


async def page(
    catalog: Catalog, limit: int = 100, before: tuple[datetime, UUID] | None = None
) -> Sequence[ErasureCase]:
    """The erasures, the newest first, behind the one that was ordered then and has that id."""
    return await catalog.erasures.page(limit=limit, before=before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an erasure would be about: rows of the subject, and whether a hold keeps any of it."""

    rows: int
    held: bool


async def preview(catalog: Catalog, kind: ErasureKind, subject: Sequence[str]) -> Preview:
    """What `order` would be about, without ordering it."""
    if kind is ErasureKind.VIRTUAL_KEY:
        rows, _ = await catalog.media_list.usage(subject[0])
    else:
        rows = len(await catalog.records.lookup(subject))
    return Preview(rows=rows, held=await catalog.erasures.held(kind, subject))


async def document(catalog: Catalog, case_id: UUID) -> Mapping[str, Any] | None:
    """The certificate of an erasure, with digest and signature; None before there is one."""
    found = await catalog.erasures.certificates(case_id)
    if not found:
        return None
    read: Mapping[str, Any] = json.loads(found[0].document)
    return read


async def watch(catalog: Catalog, case_id: UUID) -> AsyncIterator[ErasureCase]:
    """The erasure as it is, and again whenever that has changed, until it is done."""
    before = None
    while True:
        case = await show(catalog, case_id)
        if case != before:
            yield case
        if case.state is not ErasureState.OPEN:
            return
        before = case
        await anyio.sleep(LOOK_SECONDS)


async def certified(catalog: Catalog) -> Sequence[Certified]:
    """All certificates, in their order."""
    return await catalog.erasures.certificates()


def write(found: Sequence[Certified], directory: Path) -> Sequence[Path]:
    """Write certificates to the directory, which is made where it is missing. Raises NotDone."""
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for each in found:
            file = directory / Path(certificates.place(each)).name
            file.write_text(each.document)
            written.append(file)
    except OSError as error:
        message = f"{directory}: cannot be written ({error.strerror})"
        raise NotDone(ErrorKind.NOT_READY, "not_writable", message) from None
    return written


def verify(files: Sequence[Path], public_keys: Sequence[Path] = ()) -> Sequence[Checked]:
    """Check certificates, each by itself and as a chain, without a database. With public keys, each has to be
    signed by one of them. Raises ConfigError for a key, NotDone for a file that cannot be read.
    """
    verifier, checked = Verifier(public_keys), []
    for file in files:
        try:
            written = file.read_text(errors="replace")
        except OSError as error:
            message = f"{file}: cannot be read ({error.strerror})"
            raise NotDone(ErrorKind.NOT_FOUND, "no_such_file", message) from None
        checked.append(certificates.check(file.name, written, verifier, must_be_signed=verifier.keys_known))
    return certificates.chained(checked, keys_known=verifier.keys_known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a restored database has to erase again, or has ordered: `newer` certificates, and the orders."""

    newer: Sequence[Checked]
    owners: int
    keys: int
    ordered: Sequence[UUID] = ()


async def replay(ports: Ports, catalog: Catalog, verifier: Verifier, *, author: str, dry_run: bool) -> Replay:
    """Order again whatever certificates in the bucket say was erased, and this database still has.

    Subjects are found by their hashes among the virtual keys and storage keys that rows, the ledger and the
    bucket name; what came after the certificate stays. Raises NotDone where a certificate is not good, or
    the secret that it was hashed with is another: then nothing is ordered.
    """
    found = [await _read(ports, name, verifier) for name in await newer(ports)]
    checked = [each for each, _ in found]
    if faults := [f"{each.name}: {each.faults[0]}" for each in checked if each.faults]:
        raise NotDone(
            ErrorKind.CONFLICT,
            "certificate_faulty",
            f"{counted(len(faults), 'certificate')} cannot be trusted, so nothing is erased again:"
            f" {'; '.join(faults[:3])}",
        )
    for each in checked:
        _require_secret(ports, each)
    wanted = await _wanted(ports, catalog, checked) if checked else []
    made: Sequence[UUID] = ()
    if checked and not dry_run:
        reason = "erased before, and back after a restore"
        made = await catalog.erasures.replay([each for _, each in found], wanted, author, reason)
        await catalog.orders.note(author, "erase", f"again: {counted(len(checked), 'certificate')}")
    return Replay(
        newer=checked,
        owners=sum(kind is ErasureKind.VIRTUAL_KEY for kind, *_ in wanted),
        keys=sum(len(subject) for kind, subject, *_ in wanted if kind is ErasureKind.KEYS),
        ordered=made,
    )


async def _read(ports: Ports, name: str, verifier: Verifier) -> tuple[Checked, Certified]:
    written = await ports.certificates.read(name)
    checked = certificates.check(name, written, verifier, must_be_signed=verifier.keys_known)
    made = Certified(digest=checked.digest, number=checked.number, document=written)
    if checked.good and certificates.place(made) != name:
        faults = ("its name is another certificate's",)
        checked = Checked(name=name, faults=faults)
    return checked, made


def _require_secret(ports: Ports, each: Checked) -> None:
    subject = each.certificate["subject"]
    made = certificates.witness(ports.notary.secret, subject["salt"])
    if made != subject["witness"]:
        raise NotDone(
            ErrorKind.NOT_READY,
            "other_secret",
            f"{each.name} was hashed with another secret than this program has: without it nobody can tell"
            " what it is about",
        )


async def _wanted(ports: Ports, catalog: Catalog, checked: Sequence[Checked]) -> list[Order]:
    owners, keys = await catalog.erasures.known_owners(), await catalog.erasures.known_keys()
    identity = await ports.site.identity()
    for prefix in identity.prefixes if identity else ():
        token = None
        while True:
            page = await ports.listing.list_page(prefix, token=token)
            keys.update(page.keys)
            token = page.next_token
            if token is None:
                break
    made: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {}
    wanted: list[Order] = []
    for each in checked:
        subject = each.certificate["subject"]
        salt = str(subject["salt"])
        if salt not in made:
            secret = ports.notary.secret
            made[salt] = (
                _by_hash(secret, salt, ErasureKind.VIRTUAL_KEY, owners),
                _by_hash(secret, salt, ErasureKind.KEYS, keys),
            )
        of_owners, of_keys = made[salt]
        until = datetime.fromisoformat(each.certificate["finished_at"])
        if (owner := of_owners.get(subject["hash"])) is not None:
            wanted.append((ErasureKind.VIRTUAL_KEY, [owner], until, each.digest))
        if those := [of_keys[one] for one in subject["keys"] if one in of_keys]:
            wanted.append((ErasureKind.KEYS, those, until, each.digest))
    return wanted


def _by_hash(secret: bytes, salt: str, kind: ErasureKind, values: Iterable[str]) -> Mapping[str, str]:
    return {certificates.hashed(secret, salt, kind, value): value for value in values}
