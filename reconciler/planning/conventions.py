"""The names and types that schemas commonly give to what the mapping asks for.

Where a wrong guess could delete what is live, such as an end of validity, only the plain words are here.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from reconciler.model import SeenTable

TEXTS = frozenset({"text", "varchar", "char(n)", "citext"})
IDS = frozenset({"smallint", "integer", "bigint", "numeric", "uuid", *TEXTS})
INTEGERS = frozenset({"smallint", "integer", "bigint", "numeric"})
MOMENTS = frozenset({"timestamptz", "timestamp", "date"})
COUNTED_TIMES = frozenset({"integer", "bigint", "numeric", "double precision"})
FAMILIES = (INTEGERS, frozenset({"text", "varchar", "char(n)"}), frozenset({"uuid"}))

MEDIA_TABLES = ("media", "file", "upload", "asset", "attachment", "blob", "object", "image", "document")
"""Words in the names of tables that keep an index of objects."""
KEYS_OF_OBJECTS = (
    *("storagekey", "objectkey", "s3key", "bucketkey", "blobkey", "filekey"),
    *("key", "storagepath", "path", "filepath", "objectname", "file", "filename", "name"),
    *("storageurl", "url", "fileurl", "uri", "location", "src"),
)
"""Names of columns that hold an object's key, the likeliest first."""
PARTS_OF_KEYS = ("key", "path", "url", "uri", "file", "image", "avatar", "thumb", "photo", "blob", "object")

ENDINGS = ("at", "on", "time", "date", "ts", "timestamp", "atutc", "utc")
"""What is put behind a word to say that it is a time."""


def _times(*words: str) -> tuple[str, ...]:
    """The names that say when that was or is to be, the likeliest first."""
    return tuple(f"{word}{ending}" for ending in ENDINGS for word in words)


FIELDS: Mapping[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "size_bytes": (
        INTEGERS,
        (
            "sizebytes",
            "bytesize",
            "filesizebytes",
            "sizeinbytes",
            "filesize",
            "size",
            "bytes",
            "contentlength",
            *("nbytes", "numbytes", "bytecount", "bytelength", "objectsize", "contentsize", "blobsize"),
            *("totalbytes", "totalsize", "filelength", "octets"),
        ),
    ),
    "created_at": (
        MOMENTS | COUNTED_TIMES,
        (
            *("createdat", "created", "createdon", "createdtime", "datecreated", "createdate", "insertedat"),
            *("uploadedat", "uploaded", "dateadded", "addedat", "timecreated", "dateuploaded"),
            *_times("created", "inserted", "uploaded", "added", "stored", "creation", "upload"),
        ),
    ),
    "expires_at": (
        MOMENTS | COUNTED_TIMES,
        (
            *("expiresat", "expireat", "expires", "expirationdate", "expiresby", "expiry", "expiration"),
            *_times("expires", "expire", "expiry", "expiration"),
            *("deleteafter", "deleteat", "deleteon", "purgeafter", "purgeat", "removeafter", "removeat"),
            *("keepuntil", "retainuntil"),
        ),
    ),
    "last_accessed_at": (
        MOMENTS | COUNTED_TIMES,
        (
            *("lastaccessedat", "lastaccessed", "accessedat", "lastaccess", "lastaccesstime", "lastusedat"),
            *("lastused", "lastseen", "lastviewed", "lastread", "lastdownloaded"),
            *_times("lastaccessed", "lastaccess", "accessed", "lastused", "used", "lastseen", "seen"),
            *_times("lastviewed", "viewed", "lastread", "lastdownloaded", "lastopened"),
        ),
    ),
    "deleted_at": (
        MOMENTS | COUNTED_TIMES,
        (
            *("deletedat", "deleted", "deletedon", "removedat", "datedeleted"),
            *_times("deleted", "softdeleted", "removed", "trashed"),
        ),
    ),
}
"""The types and names of each field's column, without underscores and capitals, the likeliest first."""
MEDIA_TYPES = ("mediatype", "contenttype", "mimetype", "mime", "kind", "filetype")
PROVIDERS = ("provider", "providername")
MODELS = ("model", "modelname", "modelid")
ACCESS_COUNTS = ("accesscount", "accesses", "timesaccessed", "hitcount", "viewcount", "downloadcount")
HASHES = ("keyhash", "hashedkey", "keysha256", "sha256", "tokenhash", "hashedtoken", "apikeyhash", "hash")
SHA256 = re.compile(r"[0-9a-f]{64}")
GROUPS = ("virtualkeygroupid", "keygroupid", "groupid")
OWNERS = (
    *("virtualkeyid", "virtualkey", "apikeyid", "apikey", "keyid", "accesskeyid", "tokenid"),
    *("ownerid", "userid", "accountid", "tenantid", "uploadedby", "createdby", "authorid"),
    *("creatorid", "uploaderid", "customerid", "clientid", "memberid", "organizationid", "organisationid"),
    *("orgid", "workspaceid", "projectid", "teamid"),
    # Without the ending, or with that of a type.
    *("owner", "owneruuid", "useruuid", "accountuuid", "tenantuuid", "userref", "ownerref"),
    *("user", "account", "tenant", "author", "creator", "uploader", "customer", "client"),
    *("createdbyid", "uploadedbyid", "organization", "workspace", "project", "team"),
)
KEYS_TABLES = ("virtualkey", "apikey", "accesskey", "key", "token", "credential", "apiclient", "consumer")
ENABLED = ("isenabled", "enabled", "isactive", "active", "isvalid", "valid", "usable")
DISABLED = ("isdisabled", "disabled", "isrevoked", "revoked", "isblocked", "blocked", "isdeleted")
"""What says the contrary, in a flag."""
BUCKETS = ("bucketid", "bucket", "bucketname", "s3bucket")


def plainly(name: str) -> str:
    """A name without what conventions differ in: `LastAccessedAt` and `last_accessed_at` are one."""
    return "".join(char for char in name.lower() if char.isalnum())


def called(table: SeenTable, names: Sequence[str], kinds: Collection[str] | None) -> str:
    """The column of one of these names and types (None: any), the likeliest name first; "" for none."""
    by_name = {plainly(column.name): column for column in reversed(table.columns)}
    for name in names:
        column = by_name.get(name)
        if column is not None and (kinds is None or column.kind in kinds):
            return column.name
    return ""
