"""Certificates of erasures: what is good, what was altered, cut, or signed by somebody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from joserfc.jwk import OKPKey

from reconciler.errors import ConfigError, NotDone
from reconciler.model import Certified, ErasureCase, ErasureKind, Traces
from reconciler.operations.erasures import verify
from reconciler.operations.notary import FileNotary
from reconciler.planning import certificates

NOW = datetime(2026, 11, 30, 22, tzinfo=UTC)
CASE = ErasureCase(
    id=UUID(int=1),
    kind=ErasureKind.VIRTUAL_KEY,
    subject=("owner-7",),
    author="ada",
    reason="",
    ordered_at=NOW,
)


def key_file(directory: Path, name: str, *, private: bool = True) -> Path:
    file, key = directory / name, OKPKey.generate_key("Ed25519")
    file.write_bytes(key.as_pem(private=True))
    (directory / f"{name}.pub").write_bytes(key.as_pem(private=False))
    return file if private else directory / f"{name}.pub"


def chain(directory: Path, number: int, *keys: Path | None) -> list[Path]:
    """So many certificates, signed by these keys in turn."""
    previous, files = None, []
    for each in range(1, number + 1):
        key = keys[(each - 1) % len(keys)] if keys else None
        notary = FileNotary(None if key is None else str(key), None)
        made = certificates.signed(written(each, previous), notary)
        files.append(directory / Path(certificates.place(made)).name)
        files[-1].write_text(made.document)
        previous = made.digest
    return files


def written(number: int = 1, previous: str | None = None, secret: bytes = b"") -> dict[str, Any]:
    return certificates.certificate(
        CASE,
        number=number,
        previous=previous,
        site="",
        bucket="media",
        keys=["image/a"],
        kept={},
        traces=Traces(),
        versions=True,
        uploads=True,
        secret=secret,
        salt="salt",
        at=NOW,
        program="p",
    )


def faults(*files: Path, keys: list[Path] | None = None) -> list[str]:
    return [fault for each in verify(files, keys or []) for fault in each.faults]


def test_a_chain_that_is_whole_is_good_in_whatever_order_it_is_given(tmp_path: Path) -> None:
    key = key_file(tmp_path, "key")
    files = chain(tmp_path, 3, key)
    assert faults(*reversed(files)) == []
    assert faults(*files, keys=[tmp_path / "key.pub"]) == []
    assert [each.number for each in verify(files)] == [1, 2, 3]


def test_an_unsigned_one_is_good_unless_somebody_has_to_have_signed_it(tmp_path: Path) -> None:
    (file,) = chain(tmp_path, 1)
    assert faults(file) == []
    key_file(tmp_path, "key")
    assert faults(file, keys=[tmp_path / "key.pub"]) == ["it is not signed"]


def change(file: Path, how: Callable[[dict[str, Any]], None], *, digest: bool = False) -> None:
    document = json.loads(file.read_text())
    how(document)
    if digest:
        document["digest"] = certificates.digest(document["certificate"])
    file.write_text(json.dumps(document))


def test_a_certificate_that_was_altered_is_noticed(tmp_path: Path) -> None:
    def complete(document: dict[str, Any]) -> None:
        document["certificate"]["complete"] = False

    file, _ = chain(tmp_path, 2, key_file(tmp_path, "key"))
    change(file, complete)
    assert "it was altered: its digest is another one than it says" in faults(file)
    change(file, complete, digest=True)
    assert faults(file) == ["its signature is not good: it was altered, or signed by another key"]


def test_one_that_was_signed_by_another_key_is_noticed(tmp_path: Path) -> None:
    ours, theirs = key_file(tmp_path, "ours"), key_file(tmp_path, "theirs")
    files = chain(tmp_path, 2, ours, theirs)
    (fault,) = faults(files[1], keys=[tmp_path / "ours.pub"])
    assert fault.startswith("it is signed by another key: ")
    (fault,) = faults(*files)
    assert fault.startswith("it is signed by ")
    assert faults(*files, keys=[tmp_path / "ours.pub", tmp_path / "theirs.pub"]) == []

    def swapped(document: dict[str, Any]) -> None:
        document["signature"]["public"] = json.loads(files[0].read_text())["signature"]["public"]

    change(files[1], swapped)
    assert faults(files[1]) == ["its key is not the one whose thumbprint it names"]


def test_a_signature_of_something_else_is_noticed(tmp_path: Path) -> None:
    first, second = chain(tmp_path, 2, key_file(tmp_path, "key"))

    def taken(document: dict[str, Any]) -> None:
        document["signature"] = json.loads(first.read_text())["signature"]

    change(second, taken)
    assert faults(second) == ["its signature is not good: it was altered, or signed by another key"]


def test_a_chain_that_was_cut_or_put_together_otherwise_is_noticed(tmp_path: Path) -> None:
    key = key_file(tmp_path, "key")
    first, second, third = chain(tmp_path, 3, key)
    assert faults(first, third) == ["the chain is cut: number 2 is missing before it"]
    assert faults(second, third) == [], "the beginning may be elsewhere"
    (other := tmp_path / "other").mkdir()
    (_, forked) = chain(other, 2, key_file(other, "key"))
    assert any("does not follow" in fault or "has the number of" in fault for fault in faults(second, forked))

    def renumbered(document: dict[str, Any]) -> None:
        document["certificate"]["number"] = 2

    change(third, renumbered, digest=True)
    assert "its signature is not good" in " ".join(faults(first, third))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"certificate": {}, "digest": "", "signature": null}',
        '{"certificate": {"number": 1, "previous": null, "format": "x"}, "digest": "", "signature": null}',
    ],
)
def test_what_is_no_certificate_is_told(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "x.json").write_text(text)
    assert len(faults(file)) == 1
    with pytest.raises(NotDone):
        verify([tmp_path / "missing"])


def test_a_guess_at_a_subject_needs_the_secret() -> None:
    open_to_all, keyed = written(), written(secret=b"s" * 32)
    guess = certificates.hashed(b"", "salt", ErasureKind.VIRTUAL_KEY, "owner-7")
    assert open_to_all["subject"]["hash"] == guess
    assert keyed["subject"]["hash"] != guess
    assert keyed["subject"]["witness"] != open_to_all["subject"]["witness"]
    for each in (open_to_all, keyed):
        assert "owner-7" not in json.dumps(each)
        assert "image/a" not in json.dumps(each)


@pytest.mark.parametrize("content", [b"", b"no key", b'{"kty": 1}'])
def test_a_key_that_cannot_be_used_is_refused_with_how_to_make_one(tmp_path: Path, content: bytes) -> None:
    (file := tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match="openssl genpkey -algorithm ed25519"):
        FileNotary(str(file), None)
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        FileNotary(None, str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        FileNotary(str(tmp_path / "missing"), None)
    public = key_file(tmp_path, "made", private=False)
    with pytest.raises(ConfigError, match="signs nothing"):
        FileNotary(str(public), None)


def test_a_chain_keeps_its_salt_unless_its_newest_certificate_cannot_be_read() -> None:
    document = written()
    newest = Certified(digest="", number=1, document=json.dumps({"certificate": document}))
    assert certificates.salt_of(newest) == document["subject"]["salt"]
    broken = Certified(digest="", number=1, document="{")
    assert certificates.salt_of(broken) == certificates.salt_of(None) == ""
