"""The page parser against what stores write, and against a plain ElementTree reading of the same page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote, quote_plus, unquote_plus
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import ListingBroken
from reconciler.model import ObjectPage
from reconciler.stores.s3.answers import parse_delete_answer
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import _careful_page, _fast_page, parse_page

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a store writes a page."""

    order: tuple[str, ...] = ("Key", "LastModified", "ETag", "Size")
    quote: str = "&quot;"
    gap: str = ""
    extra: str = "<StorageClass>STANDARD</StorageClass>"
    before: str = ""
    encoded: str | None = "%20"


@dataclass(frozen=True, kw_only=True)
class Entry:
    key: str
    size: int = 7
    etag: str = "0123456789abcdef0123456789abcdef"
    modified: str = "2026-01-02T03:04:05.000Z"


AWS = Dialect()
MINIO = Dialect(
    extra="<Owner><ID>0</ID><DisplayName>m</DisplayName></Owner><StorageClass>STANDARD</StorageClass>",
    encoded="+",
)
SEAWEEDFS = Dialect(encoded="+")
MOTO = Dialect(gap="\n    ", quote="&quot;")
R2 = Dialect(order=("Key", "Size", "LastModified", "ETag"))
GCS = Dialect(before="<Generation>1</Generation><MetaGeneration>1</MetaGeneration>", encoded=None)
PLAIN_QUOTES = Dialect(quote='"', encoded=None)
UNQUOTED = Dialect(quote="")
DIALECTS = {
    "aws": AWS,
    "minio": MINIO,
    "seaweedfs": SEAWEEDFS,
    "moto": MOTO,
    "r2": R2,
    "gcs": GCS,
    "plain quotes": PLAIN_QUOTES,
    "unquoted": UNQUOTED,
}


def render(entries: list[Entry], dialect: Dialect = AWS, token: str | None = None) -> str:
    """A page as a store of that dialect writes it."""
    body = "".join(_entry(entry, dialect) for entry in entries)
    encoding = "" if dialect.encoded is None else "<EncodingType>url</EncodingType>"
    following = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    more = "false" if token is None else "true"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="{NAMESPACE}">{dialect.gap}'
        f"<Name>b</Name><Prefix></Prefix>{encoding}<KeyCount>{len(entries)}</KeyCount>"
        f"<IsTruncated>{more}</IsTruncated>{dialect.gap}{body}{following}</ListBucketResult>\n"
    )


def _entry(entry: Entry, dialect: Dialect) -> str:
    texts = {
        "Key": _written(entry.key, dialect),
        "LastModified": entry.modified,
        "ETag": f"{dialect.quote}{entry.etag}{dialect.quote}",
        "Size": str(entry.size),
    }
    first, *others = (f"{dialect.gap}<{name}>{texts[name]}</{name}>" for name in dialect.order)
    return f"<Contents>{first}{dialect.before}{''.join(others)}{dialect.extra}{dialect.gap}</Contents>"


def _written(key: str, dialect: Dialect) -> str:
    if dialect.encoded is None:
        return escape(key)
    return quote_plus(key, safe="/") if dialect.encoded == "+" else quote(key, safe="/")


def reference(page: str) -> ObjectPage:
    """The plain way: the whole tree, one entry after another."""
    root = ET.fromstring(page)
    name = f"{{{NAMESPACE}}}"
    encoded = root.findtext(f"{name}EncodingType") == "url"

    def text(entry: ET.Element, field: str) -> str:
        return entry.findtext(name + field) or ""

    entries = root.findall(f"{name}Contents")
    keys = [text(entry, "Key") for entry in entries]
    return ObjectPage(
        keys=[unquote_plus(key) for key in keys] if encoded else keys,
        sizes=[int(text(entry, "Size")) for entry in entries],
        etags=[text(entry, "ETag").strip('"') for entry in entries],
        modified=[text(entry, "LastModified") for entry in entries],
        next_token=root.findtext(f"{name}NextContinuationToken"),
    )


def _is_xml(character: str) -> bool:
    return character in "\t\n" or (character >= " " and character not in "\x7f\ufffe\uffff")


@pytest.mark.parametrize(
    ("classes", "plain"),
    [
        (["<StorageClass>STANDARD</StorageClass>"] * 2, True),
        (["", "<StorageClass>STANDARD</StorageClass>"], True),
        (["", "<StorageClass>STANDARD_IA</StorageClass>"], False),
        (["", "<StorageClass >GLACIER</StorageClass>"], False),
        (["", "<StorageClass></StorageClass>"], False),
    ],
)
def test_a_page_is_plain_where_all_are_of_the_standard_class(classes: list[str], plain: bool) -> None:
    entries = [
        render([Entry(key=f"a{number}")], replace(AWS, extra=extra)) for number, extra in enumerate(classes)
    ]
    contents = "".join(page[page.index("<Contents>") : page.index("</ListBucketResult>")] for page in entries)
    page = entries[0][: entries[0].index("<Contents>")] + contents + "</ListBucketResult>"
    assert parse_page(page.encode()).plain is plain
    assert _careful_page(page).plain is plain


any_key = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
xml_key = st.text(st.characters(exclude_categories=["Cs"]).filter(_is_xml), min_size=1, max_size=60)
dialects = st.sampled_from(list(DIALECTS.values()))
sizes = st.integers(min_value=0, max_value=5 * 2**40)


@st.composite
def pages(draw: st.DrawFn) -> tuple[Dialect, list[Entry], str | None]:
    dialect = draw(dialects)
    keys = draw(st.lists(xml_key if dialect.encoded is None else any_key, max_size=8))
    entries = [Entry(key=key, size=draw(sizes)) for key in keys]
    return dialect, entries, draw(st.none() | st.text("abc123+/=", min_size=1))


@given(pages())
@example((AWS, [Entry(key="a+b c%\0\n&<>\"'\U0001f600")], "t"))
@example((SEAWEEDFS, [Entry(key="a+b c"), Entry(key="%"), Entry(key="\0")], None))
@example((GCS, [Entry(key="a&b"), Entry(key="<Contents>")], None))
@example((PLAIN_QUOTES, [Entry(key="</Contents><Contents>")], None))
def test_any_keys_in_any_dialect_come_back(case: tuple[Dialect, list[Entry], str | None]) -> None:
    dialect, entries, token = case
    text = render(entries, dialect, token)
    page = parse_page(text.encode())
    assert page == reference(text)
    assert page.keys == [entry.key for entry in entries]
    assert page.sizes == [entry.size for entry in entries]
    assert page.etags == [entry.etag for entry in entries]
    assert page.next_token == token


@given(pages())
def test_the_fast_path_says_what_the_careful_one_says_or_nothing(
    case: tuple[Dialect, list[Entry], str | None],
) -> None:
    dialect, entries, token = case
    text = render(entries, dialect, token)
    fast = _fast_page(text)
    assert fast is None or fast == _careful_page(text)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_pages_of_real_stores_take_the_fast_path(dialect: Dialect) -> None:
    """It is twelve times as fast; a change that loses it would go unseen otherwise."""
    page = _fast_page(render([Entry(key="media/a b"), Entry(key="media/c")], dialect, "token"))
    assert page is not None
    assert page.keys == ["media/a b", "media/c"]
    assert page.etags == [Entry(key="").etag] * 2


@pytest.mark.parametrize(
    ("change", "to"),
    [
        # One entry that is not like the first.
        ("<ETag>&quot;second&quot;</ETag>", ""),
        ("&quot;second&quot;", "&#34;second&#34;"),
        ("&quot;second&quot;", '"second"'),
        ("&quot;second&quot;", "second"),
        ("&quot;second&quot;", "W/&quot;second&quot;"),
        ("&quot;second&quot;", "<![CDATA[second]]>"),
        ("<Key>media/2</Key>", "<Key><![CDATA[media/2]]></Key>"),
        ("<Key>media/2</Key>", "<Key>media/&#50;</Key>"),
        ("<Key>media/2</Key>", '<Key xml:space="preserve">media/2</Key>'),
        ("<Size>2</Size>", "<Size> 2 </Size>"),
        ("<Key>media/2</Key>", "<!-- <Key>no</Key> --><Key>media/2</Key>"),
        ("<Key>media/2</Key>", "<Owner><ID>x</ID></Owner><Key>media/2</Key>"),
    ],
)
def test_an_entry_written_otherwise_is_read_all_the_same(change: str, to: str) -> None:
    text = render([Entry(key="media/1", size=1, etag="first"), Entry(key="media/2", size=2, etag="second")])
    assert change in text
    page = parse_page(text.replace(change, to).encode())
    assert page.keys == ["media/1", "media/2"]
    assert page.sizes == [1, 2]
    assert page.etags == ["first", "second" if to else ""]


def test_quotes_that_only_some_etags_have_are_taken_off() -> None:
    text = render([Entry(key="media/1", etag="first"), Entry(key="media/2", etag='"second"')], UNQUOTED)
    assert parse_page(text.encode()).etags == ["first", "second"]


def test_what_stands_in_a_comment_is_not_believed() -> None:
    comment = "<!-- <EncodingType>url</EncodingType> --><IsTruncated>"
    text = render([Entry(key="a+b")], GCS).replace("<IsTruncated>", comment)
    assert parse_page(text.encode()).keys == ["a+b"]


def test_a_namespace_with_a_prefix_is_no_empty_page() -> None:
    """A reader that looks for `<Contents>` alone would find none, and take the bucket for empty."""
    text = render([Entry(key="media/1")])
    text = text.replace("</", "</s3:").replace("<", "<s3:").replace("<s3:/s3:", "</s3:")
    text = text.replace("<s3:?xml", "<?xml").replace("xmlns=", "xmlns:s3=")
    assert parse_page(text.encode()).keys == ["media/1"]


def test_tags_with_attributes_are_no_empty_page() -> None:
    text = render([Entry(key="media/1")]).replace("<Contents>", '<Contents kind="x">')
    assert parse_page(text.encode()).keys == ["media/1"]


def test_what_looks_like_an_entry_inside_a_key_is_none() -> None:
    key = "<Contents><Key>x</Key></Contents><IsTruncated>true</IsTruncated>"
    page = parse_page(render([Entry(key=key), Entry(key="b")], GCS).encode())
    assert page.keys == [key, "b"]
    assert page.next_token is None


@pytest.mark.parametrize("dialect", [AWS, GCS], ids=["encoded", "plain"])
def test_bytes_that_are_not_utf8_become_replacement_characters(dialect: Dialect) -> None:
    raw = render([Entry(key="media/BAD"), Entry(key="media/good")], dialect).encode()
    bad = b"%FF%C3" if dialect.encoded else b"\xff\xc3"
    assert parse_page(raw.replace(b"BAD", bad)).keys == ["media/\ufffd\ufffd", "media/good"]


def test_a_byte_order_mark_and_space_before_the_document_do_no_harm() -> None:
    text = "\ufeff\r\n " + render([Entry(key="media/1")])
    assert parse_page(text.encode()).keys == ["media/1"]


@pytest.mark.parametrize("entries", [[], [Entry(key="media/1")]], ids=["empty", "fast"])
@pytest.mark.parametrize(
    ("change", "to", "complaint"),
    [
        ("<IsTruncated>false</IsTruncated>", "", "does not say whether more follows"),
        ("<IsTruncated>false</IsTruncated>", "<IsTruncated>maybe</IsTruncated>", "does not say"),
        ("<IsTruncated>false", "<IsTruncated>true", "names no token"),
        ("</ListBucketResult>", "", "cut off"),
        ("ListBucketResult", "ListAllMyBucketsResult", "another kind"),
    ],
)
def test_what_is_no_whole_page_is_refused(entries: list[Entry], change: str, to: str, complaint: str) -> None:
    """I-1, I-30."""
    with pytest.raises(ListingBroken, match=complaint):
        parse_page(render(entries).replace(change, to).encode())


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("<Size>7</Size>", ""),
        ("<Size>7</Size>", "<Size>many</Size>"),
        ("<Size>7</Size>", "<Size></Size>"),
        ("<Key>media/1</Key>", ""),
    ],
)
def test_an_entry_without_key_or_size_is_refused(change: str, to: str) -> None:
    with pytest.raises(ListingBroken, match="no readable key or size"):
        parse_page(render([Entry(key="media/1")]).replace(change, to).encode())


@given(st.integers(min_value=0, max_value=10_000))
def test_a_page_cut_off_anywhere_is_refused(cut: int) -> None:
    whole = render([Entry(key=f"media/{number}") for number in range(3)], token="t").rstrip()
    with pytest.raises(ListingBroken):
        parse_page(whole[: cut % len(whole)].encode())


@pytest.mark.parametrize(
    ("code", "transient"), [("SlowDown", True), ("InternalError", True), ("AccessDenied", False)]
)
def test_an_error_document_says_whether_to_try_again(code: str, transient: bool) -> None:
    """I-23: it comes with status 200."""
    body = f"<Error><Code>{code}</Code><Message>because\nof this</Message></Error>".encode()
    for parse in (parse_page, parse_delete_answer):
        with pytest.raises(Refusal, match=f"{code}: because of this") as caught:
            parse(body)
        assert caught.value.transient is transient


@given(st.lists(xml_key, unique=True, max_size=8))
def test_deleted_keys_come_back_as_the_store_wrote_them(keys: list[str]) -> None:
    gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
    answer = parse_delete_answer(f'<DeleteResult xmlns="{NAMESPACE}">{gone}</DeleteResult>'.encode())
    assert answer.deleted == set(keys)
    assert answer.refused == {}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("asked", [1, 20])
def test_entries_read_one_by_one_are_those_of_the_columns(dialect: Dialect, asked: int) -> None:
    """A few are read alone, and from some number on all at once: neither may take another's."""
    entries = [
        Entry(key=f"image/{number}", etag=f"{number:032x}", modified=f"2026-01-02T03:04:{number:02}.000Z")
        for number in range(30)
    ]
    page = parse_page(render(entries, dialect).encode())
    for number in range(29, 29 - asked, -1):
        assert (page.etags[number], page.modified[number]) == (entries[number].etag, entries[number].modified)


# --- what XML forbids, and stores write ----------------------------------------------------------------

FORBIDDEN = ["a\x01b", "\x1f", "k\x0b\x0c", "<&>\x02", "\ufffe"]


def _referenced(text: str) -> str:
    """With a character reference for whatever is no plain ASCII."""
    return "".join(sign if sign.isalnum() or sign == "/" else f"&#x{ord(sign):x};" for sign in text)


@pytest.mark.parametrize("reference", [_referenced, escape], ids=["references", "raw"])
@pytest.mark.parametrize("key", FORBIDDEN)
def test_a_token_has_every_character_that_it_stands_for(key: str, reference: Callable[[str], str]) -> None:
    """Ceph's is the last key: with a character that XML cannot have, every sweep ended there."""
    body = (
        f'<ListBucketResult xmlns="{NAMESPACE}">'
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        f"<NextContinuationToken>{reference(key)}</NextContinuationToken><Contents><Key>{quote(key)}</Key>"
        "<LastModified>2026-01-02T03:04:05Z</LastModified><ETag>&quot;0&quot;</ETag><Size>1</Size></Contents>"
        "</ListBucketResult>"
    ).encode()
    for page in (parse_page(body), _careful_page(body.decode())):
        assert (page.keys, page.next_token) == ([key], key)


@pytest.mark.parametrize("written", ["a&#x1;b", "a&#1;b", "a\x01b"])
def test_a_key_that_xml_cannot_have_has_lost_its_identity_and_ends_no_listing(written: str) -> None:
    entry = "<LastModified>2026-01-02T03:04:05Z</LastModified><ETag>0</ETag><Size>1</Size></Contents>"
    body = (
        f'<ListBucketResult xmlns="{NAMESPACE}"><IsTruncated>false</IsTruncated>'
        f"<Contents><Key>{written}</Key>{entry}<Contents><Key>b</Key>{entry}</ListBucketResult>"
    ).encode()
    assert parse_page(body).keys in (["a\ufffdb", "b"], ["a\x01b", "b"])


def test_what_is_cut_off_is_not_mended() -> None:
    with pytest.raises(ListingBroken, match="cut off"):
        parse_page(b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a&#x1;</Key>")


@pytest.mark.attack(74)
@pytest.mark.attack(75)
def test_sizes_that_no_object_has_are_cut_to_what_can_be() -> None:
    written = [0, 7, 2**53, 2**53 + 1, 2**63 - 1, 10**29]
    page = parse_page(render([Entry(key=f"{size}", size=size) for size in written]).encode())
    assert page.sizes == [0, 7, *[2**53] * 4]
    negative = parse_page(render([Entry(key="a", size=-7), Entry(key="b", size=10**40)]).encode())
    assert negative.sizes == [0, 2**53]
    with pytest.raises(ListingBroken, match="no readable key or size"):
        parse_page(render([Entry(key="a")]).replace("<Size>7", f"<Size>{'9' * 5_000}").encode())
