"""The settings file that a first look suggests, with comments: YAML, as RECONCILER_CONFIG_FILE takes it."""

import json
from collections.abc import Iterator, Mapping, Sequence

from reconciler.operations.init import Looked, spelled
from reconciler.planning.formatting import counted, printable
from reconciler.planning.proposal import PrefixSeen

COMMENTS: Mapping[str, str] = {
    "id": "identifies a row",
    "storage_key": "the object's key",
    "virtual_key_id": "whose it is",
    "size_bytes": "its size in bytes",
    "created_at": "when the row was made; without it nothing is stale, and no row dangling",
    "expires_at": "when this is over, row and object are deleted",
    "last_accessed_at": "last access; without it nothing is ever stale",
    "deleted_at": "when the row was deleted softly",
    "media_type": "storage is counted by it, and rules of retention may match it",
    "provider": "storage is counted by it, and rules of retention may match it",
    "model": "rules of retention may match it",
    "access_count": "how often it was accessed, which the media service counts",
}


OF_KEYS: Mapping[str, str] = {"key_hash": "  # its SHA-256, by which the media service knows who asks"}

REWRITES = (
    "the first statement rewrites the table under an exclusive lock: until it is done, nobody reads or writes"
    " the table"
)
"""What the owner has to know of a generated column that is stored."""


def text(looked: Looked, *, database_url: str | None, endpoint_url: str | None, region: str | None) -> str:
    """The whole file. `database_url` None: it holds a password, which stays out of files like this."""
    return "\n".join(
        [
            f"# Proposed by `reconciler init`: database {_words(looked.database)}, bucket {looked.bucket}.",
            "# Read it before you use it. Every setting: docs/settings.md, or `reconciler config`.",
            "",
            *_database(database_url),
            "",
            "bucket:",
            f"  name: {_value(looked.bucket)}",
            *([f"  endpoint_url: {_value(endpoint_url)}"] if endpoint_url else []),
            *([f"  region: {_value(region)}"] if region else []),
            *_prefixes(looked),
            "",
            *_catalog(looked),
            "",
            "# Nothing is deleted before this is false.",
            "dry_run: true",
            "",
        ]
    )


def _database(url: str | None) -> Iterator[str]:
    if url is not None:
        yield f"database_url: {_value(url)}"
        return
    yield "# The database's address has a password, so it is not here. Give it in the environment as"
    yield "# RECONCILER_DATABASE_URL, or name a file that holds it, such as a mounted secret:"
    yield "# database_url_file: /run/secrets/database-url"


def _prefixes(looked: Looked) -> Iterator[str]:
    yield "  # Nothing outside of these is ever touched. Both sides have something under each."
    whole = looked.prefixes == ("",)
    if whole:
        yield "  # The keys have no few first parts, so this is the whole bucket: is all of it named by rows?"
        yield '  prefixes: [""]'
    else:
        yield "  prefixes:"
    for each in looked.seen:
        if each.prefix in looked.prefixes and not whole:
            yield f"    - {_value(each.prefix)}  # {sides(each)}"
    left = [each for each in looked.seen if each.prefix not in looked.prefixes]
    for each in left[:20]:
        shown = _words(each.prefix) or "keys without a slash"
        yield f"    # {'' if whole else 'left out: '}{shown}: {sides(each)}"


def sides(each: PrefixSeen) -> str:
    """`1,200 rows, 1,190 objects`."""
    more = " or more" if each.more_objects else ""
    return f"{counted(each.rows, 'row')}, {counted(each.objects, 'object')}{more}"


def have_theirs(rows: int) -> str:
    """`29 have their object`."""
    return f"{rows:,} {'has its' if rows == 1 else 'have their'} object"


def _catalog(looked: Looked) -> Iterator[str]:
    made = looked.proposal
    yield "catalog:"
    yield f"  # Of {counted(looked.sampled, 'row')} looked up, {have_theirs(looked.there)}."
    yield f"  media_table: {_value(made.table)}"
    yield "  media_columns:"
    if made.generated:
        yield f"    # {made.key_column} holds the keys {_words(spelled(made.form))}. Make this column first;"
        yield f"    # {REWRITES}:"
        yield from (f"    #   {_words(each)}" for each in looked.statements)
    yield from _columns(made.columns)
    yield from _keys(looked)
    if made.epoch_unit:
        yield f"  epoch_unit: {made.epoch_unit}  # what the times that are numbers count, since 1970"
    if made.media_where:
        yield "  # The rows of this bucket; the others name another bucket's objects."
        yield "  media_where:"
        yield from (f"    {_value(name)}: {_value(value)}" for name, value in made.media_where.items())
    if made.variants:
        yield "  # Further objects of a row: kept as long as it names them, and deleted with it."
        yield f"  variant_columns: {_list(made.variants)}"
    if made.also_referenced:
        yield "  # Other columns that name objects: what they name is kept."
        if looked.views:
            yield "  # Some of these are in views, of keys in arrays, JSON or addresses. Make them first:"
            yield from (f"  #   {_words(each)}" for each in looked.views)
        yield f"  also_referenced: {_list(made.also_referenced)}"
    yield from (f"  # {_words(note)}" for note in made.notes)


def _columns(columns: Mapping[str, str]) -> Iterator[str]:
    for name, column in columns.items():
        absent = "" if column else "no such column was found: "
        yield f"    {name}: {_value(column)}  # {absent}{COMMENTS[name]}"


def _keys(looked: Looked) -> Iterator[str]:
    made = looked.proposal
    if not made.keys_table:
        yield "  # Without a table of virtual keys nothing is ownerless or revoked."
        yield '  keys_table: ""'
        return
    yield "  # Media whose virtual key does not exist there is ownerless, and is deleted."
    yield f"  keys_table: {_value(made.keys_table)}"
    yield "  key_columns:"
    yield from (
        f"    {name}: {_value(column)}{OF_KEYS.get(name, '')}" for name, column in made.key_columns.items()
    )


def _value(text: str) -> str:
    """Text as YAML takes it for text: JSON is YAML."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_value, values))}]"


def _words(text: str) -> str:
    """Text in a comment, which ends with its line."""
    return printable(text)
