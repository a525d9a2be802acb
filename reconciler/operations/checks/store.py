"""Checks of what the store can do."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

from reconciler.model import (
    QUARANTINE_PREFIX,
    RESERVED_PREFIX,
    Capabilities,
    Check,
    DeleteMode,
    Deletion,
    ListingOrder,
    ObjectResult,
    Policy,
    PutCondition,
    QuarantineBucket,
    Versioning,
)
from reconciler.operations.checks.results import fail, ok, warn
from reconciler.planning.expiry import Known
from reconciler.planning.formatting import counted
from reconciler.planning.lifecycle import early_removals, too_early
from reconciler.ports import Listing, ObjectStore, Versions

ALLOW_VERSIONS = "allow these credentials s3:DeleteObjectVersion on the managed prefixes"


async def listed(listing: Listing, prefixes: Sequence[str]) -> Sequence[Check]:
    """Listing each prefix: permissions may differ by prefix."""
    checks = []
    for prefix in prefixes:
        page = await listing.list_page(prefix)
        more = " or more" if page.next_token else ""
        found = f"{counted(len(page.keys), 'object')}{more}"
        checks.append(ok("list", f"{prefix!r}: {found}"))
        if not page.keys:
            checks.append(
                warn(
                    "list", f"{prefix!r} is empty", "correct RECONCILER_BUCKET__PREFIXES if it should not be"
                )
            )
    return checks


async def scratch(
    store: ObjectStore, versions: Versions | None, elsewhere: QuarantineBucket | None = None
) -> Sequence[Check]:
    """HEAD and DELETE on a scratch key that does not exist: on the managed ones it could do harm.

    `versions` where the bucket keeps or kept any: there the DELETE leaves a marker, which goes again.
    `elsewhere`: in that bucket.
    """
    folder, where = f"{RESERVED_PREFIX}doctor", RESERVED_PREFIX
    if elsewhere is not None:
        folder, where = f"{elsewhere.folder}{uuid4()}", f"{elsewhere.folder} in bucket {elsewhere.name!r}"
    key = f"{folder}/{secrets.token_hex(8)}"
    await store.head(key)
    checks = [ok("head", f"allowed under {where}")]
    (answer,) = await store.delete([Deletion(key=key)])
    if versions is not None:
        await versions.remove(await versions.of(key), reveals=True)
    if answer.result is ObjectResult.FAILED:
        advice = "allow these credentials s3:DeleteObject on the bucket"
        return [*checks, fail("delete", f"refused under {where}: {answer.detail}", advice)]
    return [*checks, ok("delete", f"allowed under {where}")]


def abilities(
    found: Capabilities, declared: ListingOrder | None, mode: DeleteMode = DeleteMode.DIRECT
) -> Sequence[Check]:
    """What the probe saw, what that means for a sweep, and for deleting for good."""
    if not found.probed:
        return [_unprobed(found), _deletion(mode, found)]
    seen = [*_listing(found, declared), *_deleting(found), *_writing(found), *_recovering(found)]
    return [*seen, _deletion(mode, found)]


def _unprobed(found: Capabilities) -> Check:
    """Nothing is said of what was not looked at."""
    nothing = f"nothing could be found out on scratch keys under {RESERVED_PREFIX}"
    if found.refusal:
        advice = "no live pass can begin until the store takes an object there"
        return fail("probe", f"{nothing}: {found.refusal}", advice)
    advice = "if these credentials may not write there, allow them s3:PutObject; without it nothing is tied"
    return warn("probe", nothing, advice)


def _listing(found: Capabilities, declared: ListingOrder | None) -> Sequence[Check]:
    if not found.lists:
        unseen = "the listing does not show what was put: HEAD finds it, and a page of its prefix is empty"
        advice = (
            "use a bucket with an index (Ceph: another placement); on this one every row looks as if its"
            " object was missing, and no orphan is found"
        )
        return [fail("listing", unseen, advice)]
    order = found.order_under(declared)
    listed = (
        "in byte order: key ranges are compared side by side"
        if order is ListingOrder.BYTES
        else "without an order: the listing is copied into the database and joined there"
    )
    checks = [ok("listing order", listed + (" (declared)" if declared is order else ""))]
    if declared is ListingOrder.BYTES and found.order is ListingOrder.NONE:
        advice = "set RECONCILER_BUCKET__LISTING_ORDER to probe or none"
        checks.append(warn("listing order", "declared as bytes, but the probe saw another order", advice))
    if found.rewrites_keys:
        taken = "some keys do not come back as they were put (`a//b` as `a/b`): a row protects both"
        checks.append(ok("listed names", taken))
    return checks


def _deleting(found: Capabilities) -> Sequence[Check]:
    """The ladder's rung, and what compares ETags."""
    if found.batch_digest is None:
        slow = "no batch was answered for in full and in time: each key goes in a call of its own, slowly"
        checks = [warn("batches", slow)]
    else:
        checks = [ok("batches", f"{found.batch_size:,} keys a call, vouched for by {found.batch_digest}")]
    if found.conditional_batch_delete or found.conditional_delete:
        how = f"{found.batch_size:,} at a time" if found.conditional_batch_delete else "one by one"
        parts = "" if found.compares_parts else "; of objects in parts it refuses them: HEAD compares these"
        checks.append(ok("conditional delete", f"the store compares the ETag, {how}{parts}"))
    else:
        checks.append(
            warn(
                "conditional delete",
                "the store does not compare the ETag: each key is looked at first (HEAD)",
            )
        )
    return checks


def _writing(found: Capabilities) -> Sequence[Check]:
    """What the bucket's identity, which says who leads, is written with; and what tells two uploads apart."""
    how = {
        PutCondition.COMPARED: "the store compares the ETag when the marker is written",
        PutCondition.UNQUOTED: "the store compares an ETag without quotes, and refuses the right one with"
        " them: the marker is written with what it takes",
        PutCondition.REFUSED: "the store refuses every ETag, the right one too: the marker is written without"
        " one, and read back",
        PutCondition.IGNORED: "the store does not compare the ETag: the marker is written, and read back",
    }[found.conditional_put]
    checks = [ok("conditional put", how)]
    if not found.etags:
        checks.append(
            warn(
                "etags",
                "objects have no ETag: one that is uploaded again is recognised by its size, and by its time"
                " to the second",
                "have the store keep ETags, if it can (JuiceFS: gateway --keep-etag), before going live",
            )
        )
    return checks


def _recovering(found: Capabilities) -> Sequence[Check]:
    """What could bring a deleted object back, and what keeps one from going."""
    where = f" in {', '.join(map(repr, found.undelete_unseen))}" if found.undelete_unseen else ""
    versions = {
        Versioning.ENABLED: "kept, and seen to come back when the delete marker goes"
        if found.undelete
        else f"kept, but a deleted object was not seen to come back when its delete marker went{where}",
        Versioning.SUSPENDED: "suspended: the bucket keeps no versions of what is deleted now",
        Versioning.OFF: "the bucket keeps no versions",
    }[found.versioning]
    copies = "compare the source's ETag" if found.copy_conditional else "do not compare the source's ETag"
    if not found.multipart_copy:
        copies += "; nothing above 5 GB can be copied"
    elif not found.multipart_copy_encoded:
        copies += "; nothing above 5 GB can be copied whose key has a percent sign or a plus"
    if found.copy and not found.copy_only_new:
        copies += (
            "; If-None-Match is ignored: an undo looks at the key just before it copies (docs/safety.md)"
        )
    uploads = "are listed and can be aborted" if found.multipart_listing else "cannot be listed"
    checks = [
        ok("versions", versions)
        if found.undelete or not found.versioned
        else warn("versions", versions, ALLOW_VERSIONS),
        ok("copies", copies if found.copy else "the store copies nothing by itself"),
        ok("unfinished uploads", uploads),
    ]
    if found.object_lock:
        checks.append(ok("object lock", "on: versions that are locked cannot be deleted for good"))
    return checks


def _deletion(mode: DeleteMode, found: Capabilities) -> Check:
    if mode is DeleteMode.VERSIONED:
        return _versioned(found)
    if mode is DeleteMode.QUARANTINE:
        return _quarantine(found)
    if found.versioned:
        return warn(
            "delete mode",
            "direct, and the bucket keeps versions: deleted objects are hidden, and their bytes stay",
            "expire noncurrent versions by a lifecycle rule, or the bucket never shrinks",
        )
    return warn(
        "delete mode",
        "direct: objects are deleted for good, and a row that a writer inserts between the last look and"
        " the deletion loses its object",
        "keep RECONCILER_GRACE_PERIOD above the longest time from upload to row, and do not reuse keys",
    )


def _versioned(found: Capabilities) -> Check:
    if found.undelete:
        return ok("delete mode", "versioned: a delete marker hides each object until its version is purged")
    return warn(
        "delete mode",
        "versioned, and no deleted object was seen to come back: an undo has to copy versions over markers",
        f"{ALLOW_VERSIONS}, or take RECONCILER_DELETE_MODE=auto",
    )


def _quarantine(found: Capabilities) -> Check:
    if found.copies_nothing:
        return fail(
            "delete mode",
            "quarantine, and the store makes no copies, or the credentials may not: a dry run works, live"
            " halts",
            f"allow CopyObject {_place(found)}, switch versioning on, or name"
            " RECONCILER_DELETE_MODE=direct, which deletes for good",
        )
    if found.versioned:
        return warn(
            "delete mode",
            "quarantine, though the bucket keeps versions: no deleted object was seen to come back, so each"
            " is copied first, and its version stays behind a delete marker",
            f"{ALLOW_VERSIONS}; without it nothing that is deleted is ever freed",
        )
    return ok("delete mode", f"quarantine: each object is copied {_place(found)} before it is deleted")


def _place(found: Capabilities) -> str:
    """Where copies go."""
    if found.quarantine is None:
        return f"under {QUARANTINE_PREFIX}"
    return f"into bucket {found.quarantine.bucket.name!r}"


def quarantine(found: Capabilities, mode: DeleteMode) -> Sequence[Check]:
    """The other bucket for copies, if there is one: what it keeps of copies that are purged."""
    if found.quarantine is None:
        return []
    there = found.quarantine
    if mode is not DeleteMode.QUARANTINE:
        unused = "RECONCILER_QUARANTINE__BUCKET has no effect: the bucket keeps versions, nothing is copied"
        return [warn("quarantine", unused, "unset it")]
    name = f"bucket {there.bucket.name!r}"
    if there.object_lock:
        locked = f"{name} can lock objects: copies that it locks are not purged before their locks end"
        return [warn("quarantine", locked, "let no default retention there exceed RECONCILER_UNDO_WINDOW")]
    kept = "no versions" if there.versioning is Versioning.OFF else "versions, which are purged as well"
    return [ok("quarantine", f"copies go under {there.bucket.folder} in {name}, which keeps {kept}")]


def lifecycle(
    found: Capabilities,
    prefixes: Sequence[str],
    mode: DeleteMode,
    window: timedelta,
    policy: Policy,
    known: Known | None = None,
) -> Sequence[Check]:
    """The bucket's own rules: which of them take what an undo needs, or what the records name.

    `known` None: the database could not be asked.
    """
    if found.lifecycle is None or found.rules_for_copies is None:
        whose = "the bucket's" if found.lifecycle is None else "of the bucket for copies, the"
        unknown = f"{whose} rules may not be read: they may take copies or versions early"
        return [warn("lifecycle", unknown, "allow these credentials s3:GetLifecycleConfiguration")]
    advice = "leave .reconciler/ and hidden versions to the purge, or shorten RECONCILER_UNDO_WINDOW"
    checks = [
        fail("lifecycle", f"{line}: live halts", advice) for line in too_early(found, prefixes, mode, window)
    ]
    checks += [warn("lifecycle", line) for line in early_removals(found, prefixes, policy, known, window)]
    return checks or [ok("lifecycle", "no rule of the bucket takes what an undo needs, or what records name")]
