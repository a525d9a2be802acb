"""Certificates of erasures: how they are written, named, hashed, chained and checked.

A document has the `certificate`, its `digest`, and a `signature` or null. Both are over the certificate's
canonical JSON: keys sorted, no blanks, UTF-8. Each certificate names the digest of the one before.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from reconciler.model import CERTIFICATES, Certified, ErasureCase, ErasureKind, Notary, Traces
from reconciler.planning.formatting import timestamp

FORMAT = "reconciler-erasure/1"

DIGEST = "sha256:"

Verify = Callable[[bytes, Mapping[str, Any]], str]
"""Checks a signature: "" where it is good, else why it is not."""


def canonical(value: object) -> bytes:
    """The one way to write it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )


def digest(certificate: Mapping[str, Any]) -> str:
    return DIGEST + hashlib.sha256(canonical(certificate)).hexdigest()


def hashed(secret: bytes, salt: str, kind: ErasureKind, value: str) -> str:
    """What stands for a virtual key's id, or a storage key. With a secret nobody without it can try a guess;
    without one, the salt at least makes every site's hashes others.
    """
    said = f"{kind}\0{salt}\0{value}".encode(errors="surrogatepass")
    return hmac.new(secret or salt.encode(), said, hashlib.sha256).hexdigest()


def witness(secret: bytes, salt: str) -> str:
    """By which a secret is recognised as the one that a certificate was hashed with."""
    return hashed(secret, salt, ErasureKind.VIRTUAL_KEY, "\0")[:16]


def signed(certificate: Mapping[str, Any], notary: Notary) -> Certified:
    """The certificate with its digest, signed where there is a key."""
    made = digest(certificate)
    document = {
        "certificate": certificate,
        "digest": made,
        "signature": notary.sign(canonical(certificate)),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return Certified(digest=made, number=int(certificate["number"]), document=text)


def certificate(
    case: ErasureCase,
    *,
    number: int,
    previous: str | None,
    site: str,
    bucket: str,
    keys: Sequence[str],
    kept: Mapping[str, str],
    traces: Traces,
    versions: bool,
    uploads: bool,
    secret: bytes,
    salt: str,
    at: datetime,
    program: str,
) -> dict[str, Any]:
    """What was erased, when, by whom, how that was looked at, and what stayed; no subject in clear."""

    def of_key(key: str) -> str:
        return hashed(secret, salt, ErasureKind.KEYS, key)

    subject = None
    if case.kind is ErasureKind.VIRTUAL_KEY:
        subject = hashed(secret, salt, ErasureKind.VIRTUAL_KEY, case.subject[0])
    looked = timestamp(at)
    looks = ["HeadObject", *(["ListObjectVersions"] if versions else [])]
    return {
        "format": FORMAT,
        "number": number,
        "previous": previous,
        "id": str(case.id),
        "program": program,
        "site": site,
        "subject": {
            "kind": str(case.kind),
            "hash": subject,
            "keys": sorted(map(of_key, keys)),
            "hashed_with": "HMAC-SHA-256, a secret of the site" if secret else "HMAC-SHA-256, the salt alone",
            "salt": salt,
            "witness": witness(secret, salt),
        },
        "ordered": {"at": timestamp(case.ordered_at), "by": case.author, "reason": case.reason},
        "finished_at": looked,
        "replays": case.replays,
        "complete": not kept,
        "evidence": {
            "bucket": {
                "name": bucket,
                "keys": len(keys),
                "objects_deleted": traces.deleted,
                "versions_removed": case.versions_removed,
                "asked": looks,
                "found": 0,
                "at": looked,
            },
            "uploads": {
                "aborted": case.uploads_aborted,
                "asked": ["ListMultipartUploads"] if uploads else [],
                "found": 0,
                "at": looked,
            },
            "quarantine": {
                "copies": len(traces.copies),
                "purged": traces.purged,
                "asked": ["HeadObject"],
                "found": 0,
                "at": looked,
            },
            "database": {
                "rows_removed": case.rows_removed,
                "texts_removed": case.texts_removed,
                "asked": ["SELECT"],
                "found": 0,
                "at": looked,
            },
            "cdn": {
                "keys": traces.uncached,
                "answer": traces.cdn_said,
                "at": timestamp(traces.uncached_at),
            },
        },
        "kept": [{"key": of_key(key), "why": why} for key, why in sorted(kept.items())],
        "kept_by_design": KEPT_BY_DESIGN,
    }


KEPT_BY_DESIGN = (
    "the ledger's lines that a key was deleted: storage key, virtual key, times and sizes, until"
    " LEDGER_RETENTION; this certificate"
)


def salt_of(newest: Certified | None) -> str:
    """The salt of the chain: one for all of its certificates, so that a row is hashed once for all."""
    if newest is None:
        return ""
    try:
        return str(json.loads(newest.document)["certificate"]["subject"]["salt"])
    except (ValueError, KeyError, TypeError):
        return ""


def unknown(names: Iterable[str], digests: Collection[str]) -> list[str]:
    """The copies whose certificates the database does not know, ascending."""
    return sorted(name for name in names if digest_of(name) not in digests)


def place(made: Certified) -> str:
    """Where its copy lies in the bucket; in the order of the numbers."""
    return f"{CERTIFICATES}{made.number:012d}-{made.digest.removeprefix(DIGEST)}.json"


def digest_of(name: str) -> str:
    """The digest that the name of a copy has."""
    return DIGEST + name.removeprefix(CERTIFICATES).removesuffix(".json").partition("-")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found of one certificate. `key` is the thumbprint of the key that signed it, "" for none.

    `faults`: what is wrong with it; `certificate` is empty where it could not be read.
    """

    name: str
    number: int = 0
    digest: str = ""
    previous: str | None = None
    key: str = ""
    certificate: Mapping[str, Any] = field(default_factory=dict)
    faults: Sequence[str] = ()

    @property
    def good(self) -> bool:
        return not self.faults


def check(name: str, document: str, verify: Verify, *, must_be_signed: bool = False) -> Checked:
    """Check one by itself: its digest, and its signature."""
    try:
        read = json.loads(document)
        certificate, said, signature = read["certificate"], read["digest"], read["signature"]
        number, previous = int(certificate["number"]), certificate["previous"]
        if certificate["format"] != FORMAT:
            return Checked(name=name, faults=(f"its format is {certificate['format']!r}, not {FORMAT!r}",))
    except (ValueError, KeyError, TypeError) as error:
        return Checked(name=name, faults=(f"it is no certificate of an erasure ({error!r})",))
    faults = []
    real = digest(certificate)
    if said != real:
        faults.append("it was altered: its digest is another one than it says")
    if isinstance(signature, Mapping):
        if why := verify(canonical(certificate), signature):
            faults.append(why)
    elif must_be_signed:
        faults.append("it is not signed")
    key = str(signature.get("key", "")) if isinstance(signature, Mapping) else ""
    return Checked(
        name=name,
        number=number,
        digest=real,
        previous=previous if isinstance(previous, str) else None,
        key=key,
        certificate=certificate,
        faults=tuple(faults),
    )


def chained(checked: Iterable[Checked], *, keys_known: bool) -> list[Checked]:
    """Check certificates together, in the order of their numbers: each has to name the one before.

    Whether the last ones are missing, no chain can tell. Unless the keys that may sign are known, all of them
    have to be signed by one.
    """
    result: list[Checked] = []
    before: Checked | None = None
    for each in sorted(checked, key=lambda one: (one.number, one.name)):
        faults = list(each.faults)
        if each.certificate:
            faults += _out_of_chain(each, before, keys_known=keys_known)
            before = each
        result.append(replace(each, faults=tuple(faults)))
    return result


def _out_of_chain(each: Checked, before: Checked | None, *, keys_known: bool) -> list[str]:
    if before is None:
        first = each.number == 1
        return ["it is the first, and names one before it"] if first and each.previous is not None else []
    faults = []
    if each.number == before.number:
        faults.append(f"it has the number of {before.name}")
    elif each.number > before.number + 1:
        faults.append(f"the chain is cut: number {before.number + 1} is missing before it")
    elif each.previous != before.digest:
        faults.append(f"the chain is broken: it does not follow {before.name}")
    if each.key != before.key and not keys_known:
        by, theirs = each.key or "nobody", before.key or "nobody"
        faults.append(f"it is signed by {by}, and the one before by {theirs}")
    return faults
