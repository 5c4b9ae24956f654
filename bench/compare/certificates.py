"""The certificates of the runs over TLS: self-signed, RSA-2048 or P-256."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

VALID = datetime.timedelta(days=365)


def make_certificate(folder: Path, kind: str) -> tuple[str, str]:
    """Paths of certificate and key (PEM); made when not there, or half their time is over. `kind`: rsa or p256."""
    certificate, key = folder / f"{kind}.pem", folder / f"{kind}.key"
    now = datetime.datetime.now(datetime.UTC)
    if (
        certificate.exists()
        and key.exists()
        and now.timestamp() - certificate.stat().st_mtime < VALID.total_seconds() / 2
    ):
        return str(certificate), str(key)
    folder.mkdir(parents=True, exist_ok=True)
    private = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    certificate.write_bytes(made.public_bytes(encoding))
    return str(certificate), str(key)
