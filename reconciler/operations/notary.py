"""The keys of erasures: who signs certificates, what subjects are hashed with, and who checks a signature."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.errors import ConfigError

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

ALGORITHM = "Ed25519"
"""As RFC 9864 names it."""

SHORTEST = 16
"""Bytes of a secret to hash with."""


class FileNotary:
    """`model.Notary` with keys in files, which are read once. Raises ConfigError where one cannot be used."""

    def __init__(self, signing_key_file: str | None, hash_key_file: str | None) -> None:
        self._key = None if signing_key_file is None else _private(signing_key_file)
        self.secret = b"" if hash_key_file is None else _secret(hash_key_file)

    @property
    def thumbprint(self) -> str:
        """Of the key that signs (RFC 7638); "" where none does."""
        return "" if self._key is None else str(self._key.thumbprint())

    def sign(self, payload: bytes) -> Mapping[str, Any] | None:
        """A JWS whose payload is left out (RFC 7515, appendix F), with the public key that it is by."""
        if self._key is None:
            return None
        from joserfc import jws  # noqa: PLC0415 - only where something is signed

        header = {"alg": ALGORITHM, "kid": self.thumbprint}
        head, _, signature = jws.serialize_compact(header, payload, self._key, algorithms=[ALGORITHM]).split(
            "."
        )
        return {
            "algorithm": ALGORITHM,
            "key": self.thumbprint,
            "public": dict(self._key.as_dict(private=False)),
            "jws": f"{head}..{signature}",
        }


class Verifier:
    """Checks signatures: by the keys given, or else by the one that each certificate brings along.

    What it brings along proves no more than that nobody altered the certificate after it was signed: its
    thumbprint has to tell whose the key is.
    """

    def __init__(self, public_key_files: Sequence[Path] = ()) -> None:
        self._known = {key.thumbprint(): key for key in map(_public, public_key_files)}

    @property
    def keys_known(self) -> bool:
        """Whether it was told who may sign."""
        return bool(self._known)

    def __call__(self, payload: bytes, signature: Mapping[str, Any]) -> str:
        """Why the signature is not good; "" where it is."""
        from joserfc import jws  # noqa: PLC0415 - only where something is checked
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import OKPKey  # noqa: PLC0415

        said = str(signature.get("key", ""))
        try:
            key = self._known.get(said) if self._known else OKPKey.import_key(dict(signature["public"]))
            if key is None:
                return f"it is signed by another key: {said}"
            if key.thumbprint() != said:
                return "its key is not the one whose thumbprint it names"
            head, middle, tail = str(signature["jws"]).split(".")
            if middle:
                return "its signature is of something else"
            body = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
            jws.deserialize_compact(f"{head}.{body}.{tail}", key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, KeyError, TypeError):
            return "its signature is not good: it was altered, or signed by another key"
        return ""


def _private(file: str) -> "OKPKey":
    key = _key(Path(file), "RECONCILER_ERASURE__SIGNING_KEY_FILE")
    if not key.is_private:
        raise ConfigError(
            f"RECONCILER_ERASURE__SIGNING_KEY_FILE: {file} has a public key, which signs nothing"
        )
    return key


def _public(file: Path) -> "OKPKey":
    return _key(file, "--public-key")


def _key(file: Path, said: str) -> "OKPKey":
    from joserfc.errors import JoseError  # noqa: PLC0415 - only where there is a key
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    written = _read(file, said)
    try:
        key = OKPKey.import_key(json.loads(written) if written.lstrip()[:1] == b"{" else written)
        if key.curve_name != "Ed25519":
            raise ValueError(key.curve_name)
    except (JoseError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{said}: {file} is no Ed25519 key, in PEM or as a JWK;"
            " `openssl genpkey -algorithm ed25519` makes one"
        ) from None
    return key


def _secret(file: str) -> bytes:
    secret = _read(Path(file), "RECONCILER_ERASURE__HASH_KEY_FILE").strip()
    if len(secret) < SHORTEST:
        raise ConfigError(
            f"RECONCILER_ERASURE__HASH_KEY_FILE: {file} has fewer than {SHORTEST} bytes;"
            " `openssl rand -hex 32` makes a secret"
        )
    return secret


def _read(file: Path, said: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{said}: {file} cannot be read ({error.strerror})") from None
