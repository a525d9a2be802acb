"""The names and types that schemas commonly give to what the mapping asks for.

Where a wrong guess could delete what is live, such as an end of validity, only the plain words are here.
"""

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
        ),
    ),
    "created_at": (
        MOMENTS | COUNTED_TIMES,
        (
            *("createdat", "created", "createdon", "createdtime", "datecreated", "createdate", "insertedat"),
            *("uploadedat", "uploaded", "dateadded", "addedat", "timecreated"),
        ),
    ),
    "expires_at": (
        MOMENTS | COUNTED_TIMES,
        ("expiresat", "expireat", "expires", "expirationdate", "expiresby"),
    ),
    "last_accessed_at": (
        MOMENTS | COUNTED_TIMES,
        ("lastaccessedat", "lastaccessed", "accessedat", "lastaccess", "lastaccesstime", "lastusedat"),
    ),
    "deleted_at": (
        MOMENTS | COUNTED_TIMES,
        ("deletedat", "deleted", "deletedon", "removedat", "datedeleted"),
    ),
}
"""The types and names of each field's column, without underscores and capitals, the likeliest first."""
MEDIA_TYPES = ("mediatype", "contenttype", "mimetype", "mime", "kind", "filetype")
PROVIDERS = ("provider", "providername")
MODELS = ("model", "modelname", "modelid")
GROUPS = ("virtualkeygroupid", "keygroupid", "groupid")
OWNERS = (
    *("virtualkeyid", "virtualkey", "apikeyid", "apikey", "keyid", "accesskeyid", "tokenid"),
    *("ownerid", "userid", "accountid", "tenantid", "uploadedby", "createdby", "authorid"),
)
KEYS_TABLES = ("virtualkey", "apikey", "accesskey", "key", "token")
ENABLED = ("isenabled", "enabled", "isactive", "active")
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
