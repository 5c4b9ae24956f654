"""Tools of a forger: tokens of any parts, and signatures by any key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SECRET = "a shared secret for tests, and long enough for 512 bits as well!"

Header = dict[str, Any] | bytes
Claims = dict[str, Any] | list[Any] | bytes
Signer = Callable[[bytes], bytes]


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def standard_b64(raw: bytes) -> str:
    """base64 with padding (RFC 4648 4), as in the claims `b64info` and `b64data`."""
    return base64.b64encode(raw).decode("ascii")


def compact(part: Header | Claims) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode("utf-8")


def forge(header: Header, claims: Claims, sign: Signer) -> str:
    """A token of exactly these parts."""
    signed = f"{b64(compact(header))}.{b64(compact(claims))}"
    return f"{signed}.{b64(sign(signed.encode('ascii')))}"


def hs(secret: str | bytes = SECRET, digest: str = "sha256") -> Signer:
    key = secret.encode("utf-8") if isinstance(secret, str) else secret
    return lambda signed: hmac.new(key, signed, getattr(hashlib, digest)).digest()


def rs(key: rsa.RSAPrivateKey, digest: hashes.HashAlgorithm | None = None) -> Signer:
    return lambda signed: key.sign(signed, padding.PKCS1v15(), digest or hashes.SHA256())


def es(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm | None = None) -> Signer:
    def sign(signed: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest or hashes.SHA256())))
        size = (key.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def pem(key: Any) -> bytes:
    """A public key as PEM text."""
    raw: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return raw


def nothing(_signed: bytes) -> bytes:
    return b""
