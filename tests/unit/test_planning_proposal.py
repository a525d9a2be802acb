"""What `init` proposes for the shapes that schemas have: the gateway's own, Django's, Prisma's, Rails'."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from reconciler.model import KeyForm, SeenColumn, SeenTable
from reconciler.planning.key_column import Evidence, candidates, likeliest, within
from reconciler.planning.proposal import PrefixSeen, Proposal, managed, propose

IMAGES = tuple(f"image/2026/{number}.png" for number in range(40))
VIDEOS = tuple(f"video/{number}.mp4" for number in range(40))
OBJECTS = frozenset({*IMAGES, *VIDEOS})


def table(
    name: str, /, rows: int = 40, identity: str = "id", **columns: str | tuple[str, Sequence[str]]
) -> SeenTable:
    """A table by its columns: a type each, or a type and values."""
    seen = [
        SeenColumn(name=column, kind=given, required=column in identity.split(","))
        if isinstance(given, str)
        else SeenColumn(name=column, kind=given[0], values=given[1])
        for column, given in columns.items()
    ]
    names = tuple(identity.split(",")) if identity else ()
    return SeenTable(
        name=name,
        rows=rows,
        columns=seen,
        identity=names,
        uniques=frozenset(names if len(names) == 1 else ()),
    )


def named(tables: Sequence[SeenTable], objects: Collection[str], bucket: str = "media") -> Sequence[Evidence]:
    """What `init` finds where the bucket holds these objects, of which it lists a few."""
    listed = sorted(objects)[::7]
    found = []
    for each in candidates(tables, listed, bucket):
        for form in each.forms:
            keys = {form.key(value) for value in each.tried}
            found.append(Evidence(candidate=each, form=form, found=len(keys & {*objects}), tried=len(keys)))
    return likeliest(found)


def proposed(*tables: SeenTable, objects: Collection[str] = OBJECTS, bucket: str = "media") -> Proposal:
    return propose(tables, named(tables, objects, bucket), bucket)


GATEWAY = table(
    "public.MediaRecords",
    identity="Id",
    Id="uuid",
    StorageKey=("varchar", IMAGES),
    VirtualKeyId="integer",
    MediaType="integer",
    ContentType="varchar",
    SizeBytes="bigint",
    Provider="varchar",
    Model="varchar",
    Prompt=("text", ["a cat", "a dog/wolf"]),
    StorageUrl=("varchar", [f"https://s3.internal/media/{key}" for key in IMAGES]),
    PublicUrl=("varchar", [f"https://cdn.example/{key}" for key in IMAGES]),
    ExpiresAt="timestamptz",
    CreatedAt="timestamptz",
    LastAccessedAt="timestamptz",
    AccessCount="integer",
)
KEYS = table(
    "public.VirtualKeys",
    identity="Id",
    Id="integer",
    IsEnabled="boolean",
    ExpiresAt="timestamptz",
    VirtualKeyGroupId="integer",
    KeyHash="varchar",
)


def test_the_gateways_own_tables_are_mapped_to_their_defaults() -> None:
    found = proposed(replace(GATEWAY, owners={"VirtualKeyId": ("public.VirtualKeys", "Id")}), KEYS)
    assert (found.table, found.keys_table, found.form) == (
        "public.MediaRecords",
        "public.VirtualKeys",
        KeyForm(),
    )
    assert found.columns == {
        "id": "Id",
        "storage_key": "StorageKey",
        "virtual_key_id": "VirtualKeyId",
        "size_bytes": "SizeBytes",
        "created_at": "CreatedAt",
        "expires_at": "ExpiresAt",
        "last_accessed_at": "LastAccessedAt",
        "deleted_at": "",
        "media_type": "MediaType",
        "provider": "Provider",
        "model": "Model",
        "access_count": "AccessCount",
    }
    assert found.key_columns == {
        "id": "Id",
        "is_enabled": "IsEnabled",
        "expires_at": "ExpiresAt",
        "group_id": "VirtualKeyGroupId",
        "key_hash": "KeyHash",
    }
    assert (found.variants, found.also_referenced, found.notes) == ((), (), ())


@pytest.mark.parametrize(
    ("hashes", "taken"), [(["a" * 64], "KeyHash"), (["$2b$12$abc"], ""), ([], "KeyHash")]
)
def test_what_holds_something_else_than_sha_256_is_no_hash_of_virtual_keys(
    hashes: list[str], taken: str
) -> None:
    keys = table(
        "public.VirtualKeys", identity="Id", Id="integer", IsEnabled="boolean", KeyHash=("varchar", hashes)
    )
    assert proposed(GATEWAY, keys).key_columns["key_hash"] == taken


def test_keys_are_found_without_a_foreign_key() -> None:
    assert proposed(GATEWAY, KEYS).keys_table == "public.VirtualKeys"


def test_owners_of_another_type_are_no_keys() -> None:
    other = table("public.VirtualKeys", identity="Id", Id="uuid", IsEnabled="boolean")
    assert proposed(GATEWAY, other).keys_table == ""


def test_keys_that_no_column_enables_are_left_out_and_told_of() -> None:
    found = proposed(GATEWAY, table("public.VirtualKeys", identity="Id", Id="integer", Revoked="boolean"))
    assert found.keys_table == ""
    assert found.columns["virtual_key_id"] == "VirtualKeyId"
    assert "no column says whether a key may be used" in found.notes[0]
    made = 'ADD COLUMN is_enabled boolean GENERATED ALWAYS AS (NOT "Revoked") STORED'
    assert found.notes[0].endswith(f'under an exclusive lock: ALTER TABLE "public"."VirtualKeys" {made}')


def test_a_table_of_keys_without_any_flag_is_told_of() -> None:
    found = proposed(GATEWAY, table("public.VirtualKeys", identity="Id", Id="integer"))
    assert found.notes[0].endswith("but no column says whether a key may be used")


def test_users_are_no_keys_since_their_media_would_be_ownerless() -> None:
    users = table("app.users", id="integer", is_active="boolean")
    files = table("app.files", id="integer", path=("text", IMAGES), user_id="integer")
    found = proposed(replace(files, owners={"user_id": ("app.users", "id")}), users)
    assert (found.keys_table, found.columns["virtual_key_id"]) == ("", "user_id")
    (note,) = found.notes
    assert "app.users owns media, and its is_active says who may" in note
    assert "key_columns to id id and is_enabled is_active" in note


def test_snake_case_in_schemas() -> None:
    files = table(
        "media.files",
        id="bigint",
        path=("text", IMAGES),
        api_key_id="integer",
        byte_size="bigint",
        created_at="timestamptz",
        mime_type="text",
    )
    found = proposed(files, table("auth.api_keys", id="integer", enabled="boolean"))
    assert (found.table, found.keys_table) == ("media.files", "auth.api_keys")
    assert found.columns["size_bytes"] == "byte_size"
    assert found.columns["media_type"] == "mime_type"
    assert found.columns["expires_at"] == ""


def test_other_words_for_the_same() -> None:
    files = table(
        "app.blobs",
        id="uuid",
        object_key=("text", IMAGES),
        owner="uuid",
        n_bytes="bigint",
        uploaded_on="date",
        seen_at="timestamptz",
        delete_after="timestamptz",
        softdeleted_at="timestamptz",
    )
    keys = table("auth.api_clients", id="uuid", is_active="boolean", expiry="timestamptz")
    found = proposed(replace(files, owners={"owner": ("auth.api_clients", "id")}), keys)
    fields = ("virtual_key_id", "size_bytes", "created_at", "last_accessed_at", "expires_at", "deleted_at")
    assert [found.columns[field] for field in fields] == [
        "owner",
        "n_bytes",
        "uploaded_on",
        "seen_at",
        "delete_after",
        "softdeleted_at",
    ]
    assert (found.keys_table, found.key_columns["is_enabled"]) == ("auth.api_clients", "is_active")
    assert found.key_columns["expires_at"] == "expiry"


def test_prisma_in_capitals() -> None:
    files = table(
        "public.File",
        id="text",
        key=("text", VIDEOS),
        url=("text", [f"https://cdn.example/{key}" for key in VIDEOS]),
        size="integer",
        createdAt="timestamp",
        updatedAt="timestamp",
        userId="text",
    )
    found = proposed(files)
    assert (found.columns["storage_key"], found.columns["created_at"]) == ("key", "createdAt")
    assert found.columns["size_bytes"] == "size"


def test_django_whose_storage_adds_a_location() -> None:
    documents = table(
        "public.uploads_document",
        id="bigint",
        title=("varchar", [f"Title {number}" for number in range(40)]),
        file=("varchar", [f"documents/{number}.pdf" for number in range(40)]),
        uploaded_at="timestamptz",
    )
    found = proposed(documents, objects={f"media/documents/{number}.pdf" for number in range(40)})
    assert (found.key_column, found.form) == ("file", KeyForm(add="media/"))
    assert (found.generated, found.columns["storage_key"]) == ("object_key", "object_key")
    assert found.columns["created_at"] == "uploaded_at"


def test_rails_whose_keys_have_no_slash() -> None:
    keys = [f"{number:028x}" for number in range(40)]
    blobs = table(
        "public.active_storage_blobs",
        id="bigint",
        key=("varchar", keys),
        filename=("varchar", [f"{number}.png" for number in range(40)]),
        content_type="varchar",
        byte_size="bigint",
        created_at="timestamp",
    )
    found = proposed(blobs, objects=keys)
    assert (found.columns["storage_key"], found.columns["size_bytes"]) == ("key", "byte_size")


def test_a_table_of_several_buckets_is_filtered() -> None:
    objects = table(
        "storage.objects",
        id="uuid",
        bucket_id=("text", ["media", "avatars"] * 20),
        name=("text", IMAGES),
        owner="uuid",
        created_at="timestamptz",
    )
    assert proposed(objects).media_where == {"bucket_id": "media"}
    assert proposed(objects, bucket="other").media_where == {}


@pytest.mark.parametrize(
    ("front", "behind", "form"),
    [
        ("/", "", KeyForm(strip="/")),
        ("/media/", "", KeyForm(strip="/media/")),
        ("s3://media/", "", KeyForm(strip="s3://media/")),
        ("https://cdn.example/", "", KeyForm(strip="https://cdn.example/")),
        ("https://s3.internal/media/", "", KeyForm(strip="https://s3.internal/media/")),
        ("https://cdn.example/v1/", "", KeyForm(strip="https://cdn.example/v1/")),
        ("https://cdn.example/", "?sig=1", KeyForm(strip="https://cdn.example/", cut_query=True)),
    ],
)
def test_other_spellings_of_keys_get_a_generated_column(front: str, behind: str, form: KeyForm) -> None:
    spelled = [f"{front}{key}{behind}" for key in IMAGES]
    found = proposed(table("app.pictures", id="integer", url=("text", spelled)))
    assert (found.form, found.generated) == (form, "object_key")
    assert [found.form.key(value) for value in spelled] == [*IMAGES]
    assert "object_key is a generated column, which no trigger can watch" in found.notes[0]


def test_a_key_that_is_generated_already_is_told_of() -> None:
    files = table("app.files", id="integer", path=("text", IMAGES))
    computed = [replace(column, generated=column.name == "path") for column in files.columns]
    assert "path is a generated column, which" in proposed(replace(files, columns=computed)).notes[0]
    assert proposed(files).notes == ()


def test_texts_in_arrays_and_json_are_tried_where_they_may_name_objects_of_the_prefixes() -> None:
    held = [[VIDEOS[0], "a cat"], [], ["image", f"https://cdn.example/{IMAGES[0]}", "image/\nx"]]
    albums = table("app.albums", id="integer", pictures="text[]")
    columns = [replace(column, held=held if column.name == "pictures" else ()) for column in albums.columns]
    tables = [replace(albums, columns=columns), table("app.files", id="integer", path=("text", IMAGES))]
    (each,) = candidates(within(tables, ["image/"]), sorted(OBJECTS), "media")
    assert (each.column.name, each.several) == ("pictures", True)
    assert each.column.texts == (f"https://cdn.example/{IMAGES[0]}",)
    (whole,) = candidates(within(tables, [""]), sorted(OBJECTS), "media")
    assert whole.column.texts == (VIDEOS[0], f"https://cdn.example/{IMAGES[0]}")
    assert [each.column.name for each in candidates(tables, sorted(OBJECTS), "media")] == ["path"]


def test_text_that_is_no_address_misleads_nobody() -> None:
    notes = table(
        "app.files", id="integer", url=("text", ["http://[", "see https://x/ y", "://", "/", "a\nb", "?"])
    )
    assert named([notes], OBJECTS) == []


def test_times_that_are_numbers_are_taken_where_their_unit_is_certain() -> None:
    def files(*values: str) -> SeenTable:
        return table("app.files", id="integer", path=("text", IMAGES), created_at=("bigint", values))

    certain = proposed(files("1764500000000", "1764500000001"))
    assert (certain.columns["created_at"], certain.epoch_unit) == ("created_at", "ms")
    for values in (("1764500000000", "1764500000"), ("7",), ()):
        unsure = proposed(files(*values))
        assert (unsure.columns["created_at"], unsure.epoch_unit) == ("", None)


def test_an_end_that_may_be_anothers_expires_nothing() -> None:
    """The end of a signed address, or of a licence, is not the end of the media."""
    files = table(
        "app.files",
        id="integer",
        path=("text", IMAGES),
        url_expires_at="timestamptz",
        valid_until="timestamptz",
        updated_at="timestamptz",
    )
    found = proposed(files)
    assert (found.columns["expires_at"], found.columns["last_accessed_at"]) == ("", "")


def test_a_column_of_the_right_name_and_the_wrong_type_is_not_taken() -> None:
    files = table("app.files", id="integer", path=("text", IMAGES), size="text", created_at="text")
    found = proposed(files)
    assert (found.columns["size_bytes"], found.columns["created_at"]) == ("", "")


def test_several_columns_identify_a_row() -> None:
    files = table(
        "app.files", identity="id,created_at", id="integer", created_at="timestamptz", path=("text", IMAGES)
    )
    assert proposed(files).columns["id"] == "id,created_at"


def test_what_else_names_objects_keeps_them() -> None:
    files = table("app.files", id="integer", path=("text", IMAGES), thumbnail=("text", VIDEOS))
    users = table("app.users", id="integer", avatar=("text", VIDEOS[:5]), bio=("text", ["image/", "x"]))
    pages = table("app.pages", id="integer", photo_url=("text", [f"https://cdn.example/{VIDEOS[0]}"]))
    found = proposed(users, files, pages)
    assert found.table == "app.files"
    assert found.variants == ("thumbnail",)
    assert found.also_referenced == ("app.users.avatar",)
    assert further(found) == ["app.pages.photo_url"]


def further(found: Proposal) -> Sequence[str]:
    """The columns that name objects by no plain key."""
    return [f"{each.candidate.table.name}.{each.candidate.column.name}" for each in found.otherwise]


def test_many_rows_that_repeat_keys_are_no_index() -> None:
    log = table("app.requests", rows=100_000, id="bigint", path=("text", IMAGES * 4))
    files = table("app.files", rows=40, id="integer", path=("text", IMAGES))
    unique = replace(files, uniques=frozenset({"id", "path"}))
    found = proposed(log, unique)
    assert (found.table, found.also_referenced) == ("app.files", ("app.requests.path",))


@pytest.mark.parametrize(
    "tables",
    [
        [table("app.files", id="integer", path=("text", ["elsewhere/a.png", "elsewhere/b.png"]))],
        [table("app.files", id="integer", path=("bytea", IMAGES))],
        [table("app.files", id="integer", path=("text", []))],
        [],
    ],
)
def test_what_names_no_object_is_not_proposed(tables: Sequence[SeenTable]) -> None:
    assert named(tables, OBJECTS) == []


def seen(**sides: tuple[int, int]) -> Sequence[PrefixSeen]:
    return [
        PrefixSeen(prefix=f"{name}/" if name != "flat" else "", rows=rows, objects=objects)
        for name, (rows, objects) in sides.items()
    ]


@pytest.mark.parametrize(
    ("sides", "prefixes"),
    [
        ({"image": (3, 4), "video": (1, 1), "logs": (0, 9), "old": (5, 0)}, ("image/", "video/")),
        ({"logs": (0, 9), "old": (5, 0)}, ()),
        ({"flat": (0, 2), "image": (3, 4)}, ("image/",)),
        ({"flat": (3, 2), "image": (3, 4)}, ("",)),
        ({f"user{number}": (1, 1) for number in range(21)}, ("",)),
    ],
)
def test_only_what_both_sides_have_is_managed(
    sides: Mapping[str, tuple[int, int]], prefixes: tuple[str, ...]
) -> None:
    assert managed(seen(**sides)) == prefixes


def test_a_table_without_a_key_of_its_own_is_told_of() -> None:
    found = proposed(table("public.files", identity="", path=("text", IMAGES)))
    assert found.notes == (
        "public.files has no primary key and no unique column, so no row of it can be named",
    )


def test_keys_by_a_foreign_key_that_no_column_enables_are_told_of_too() -> None:
    keys = table("public.VirtualKeys", identity="Id", Id="integer", Revoked="boolean")
    found = proposed(replace(GATEWAY, owners={"VirtualKeyId": ("public.VirtualKeys", "Id")}), keys)
    assert (found.keys_table, found.columns["virtual_key_id"]) == ("", "VirtualKeyId")
    assert "no column says whether a key may be used" in found.notes[0]


def test_what_names_objects_elsewhere_by_addresses_asks_for_a_view() -> None:
    posters = table("public.posters", url=("text", [f"https://cdn.example/{key}" for key in VIDEOS]))
    found = proposed(GATEWAY, KEYS, posters)
    assert found.also_referenced == ()
    assert further(found) == ["public.posters.url"]


def test_a_variant_by_addresses_asks_for_a_view() -> None:
    posters = ("text", [f"https://cdn.example/{key}" for key in VIDEOS])
    found = proposed(table("public.files", path=("text", IMAGES), poster=posters))
    assert found.variants == ()
    assert further(found) == ["public.files.poster"]


def test_the_form_that_names_most_objects_wins_and_the_plain_one_of_equals() -> None:
    (candidate,) = candidates([table("public.files", path=("text", IMAGES))], sorted(IMAGES)[::7], "media")
    plain = Evidence(candidate=candidate, form=KeyForm(), found=40, tried=40)
    other = replace(plain, form=KeyForm(strip="/"))
    for order in ([plain, other], [other, plain]):
        assert likeliest(order) == [plain]
    assert likeliest([plain, replace(other, found=39)]) == [plain]


@pytest.mark.parametrize("front", ["/media/", "/", "media/"])
def test_what_stands_in_front_of_a_key_is_tried(front: str) -> None:
    values = [f"{front}{key}" for key in IMAGES]
    (found, *_) = named([table("public.files", path=("text", values))], OBJECTS)
    assert found.form == KeyForm(strip=front)
