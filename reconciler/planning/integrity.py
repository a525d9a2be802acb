"""Whether an object is what its row says. Nothing is deleted for it: either side may be the wrong one."""

import re

from reconciler.model import Content, Finding, KeepReason, StoredObject, Verdict
from reconciler.planning.formatting import counted

_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
"""The ETag of an object that was put in one part, without encryption by keys of one's own."""


def mismatch(stored: StoredObject, row: Content) -> Finding | None:
    """The finding, always kept; None where they agree, as far as both say anything.

    A size of 0 in a row is an unknown one. A hash is compared where it is an MD5 (also one that is kept as a
    uuid), and the ETag looks like one.
    """
    differs = []
    if row.size_bytes and row.size_bytes != stored.size:
        differs.append(f"the row says {counted(row.size_bytes, 'byte')}, the object has {stored.size:,}")
    told = (row.content_hash or "").strip().replace("-", "")
    if _MD5.fullmatch(told) and _MD5.fullmatch(stored.etag) and told.lower() != stored.etag.lower():
        differs.append(f"the row says MD5 {told.lower()}, the object has {stored.etag.lower()}")
    if not differs:
        return None
    return Finding(
        verdict=Verdict.MISMATCH,
        storage_key=stored.key,
        bytes=stored.size,
        reason="; ".join(differs),
        kept=KeepReason.MISMATCH,
        virtual_key_id=row.virtual_key_id,
        object_etag=stored.etag,
        object_last_modified=stored.last_modified,
    )
