"""Whether another bucket, in which copies of deleted objects lie, is this database's."""

from reconciler.model import Identity, QuarantineBucket

SETTLE = "`reconciler adopt-bucket --yes`"


def fault(bucket: QuarantineBucket, seen: Identity | None, ours: Identity | None) -> str:
    """Why the identity `seen` in that bucket is not what `ours`, the database's, has written; "" if it is."""
    name, key = f"bucket {bucket.name!r}", bucket.identity_key
    if seen is None:
        return (
            f"{name}, for copies of what is deleted, has no object {key}: it was emptied or made again, the"
            " endpoint is another, or something removed that object (a lifecycle rule, another collector)."
            f" Nothing is deleted until it is restored, or {SETTLE} ties the bucket again, which gives up"
            " copies that are no longer there"
        )
    if ours is None or seen.site_id != ours.site_id:
        mine = "is not tied to a bucket yet" if ours is None else f"is site {ours.site_id}"
        return (
            f"{name}, for copies of what is deleted, belongs to another database: {key} says site"
            f" {seen.site_id}, and this one {mine}. Name another bucket in RECONCILER_QUARANTINE__BUCKET, or"
            f" take it over with {SETTLE}"
        )
    if seen.bucket != bucket.name:
        return (
            f"{name}, for copies of what is deleted, is a copy of bucket {seen.bucket!r}, as {key} says:"
            f" name that one in RECONCILER_QUARANTINE__BUCKET again, or tie this one with {SETTLE}"
        )
    return ""


def managed(bucket: QuarantineBucket, own: Identity) -> str:
    """That the bucket is cleaned itself, as `own`, its identity, says."""
    return (
        f"bucket {bucket.name!r}, for copies of what is deleted, is itself cleaned, by site {own.site_id}: it"
        " may be the objects' own bucket under another name. Name a bucket of its own in"
        " RECONCILER_QUARANTINE__BUCKET"
    )
