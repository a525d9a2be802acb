"""Over https the store's certificate is verified, with the authorities that the AWS configuration names."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.errors import StoreUnavailable
from reconciler.model import Capabilities, ListingOrder
from reconciler.stores.s3 import open_bucket
from tests.support.buckets import config_for
from tests.support.faulty_store import Answer, serving

pytestmark = pytest.mark.anyio

ABLE = Capabilities(order=ListingOrder.BYTES, conditional_batch_delete=True, conditional_delete=True)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """One that the server signed for itself, with its key in the same file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a store of the tests")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path / "store.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem)
    )
    return file


@pytest.mark.parametrize("trusted", [True, False])
async def test_only_a_store_whose_certificate_is_trusted_is_asked(
    credentials: None, monkeypatch: pytest.MonkeyPatch, certificate: Path, trusted: bool
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    if trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    async with (
        serving(lambda _: Answer("", 404), tls) as address,
        open_bucket(config_for(address)) as opened,
    ):
        assert address.startswith("https:")
        if trusted:
            assert await opened.store(ABLE).head("image/a") is None
        else:
            with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
                await opened.store(ABLE).head("image/a")
