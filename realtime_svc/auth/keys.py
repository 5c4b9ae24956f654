"""Keys that tokens are verified with: a shared secret, a PEM file, JSON Web Keys (RFC 7517), and the set of them all.

What a key can verify follows from what it is (RFC 7518 3), never from what a token says:

    32, 48, 64 bytes or more    HS256, HS384, HS512 (3.2: at least as long as the hash)
    RSA, 2048 to 8192 bits      RS256 RS384 RS512
    EC P-256, P-384, P-521      ES256, ES384, ES512
    Ed25519                     EdDSA (RFC 8037)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from realtime_svc.auth import strict_json
from realtime_svc.config import Jwt
from realtime_svc.errors import ConfigError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
Material = bytes | PublicKey

LEAST_SECRET = 32
MOST_KEYS = 100
_RSA_BITS = range(2048, 8192 + 1)
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_HASH_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_NEEDS = {
    "HS": "a shared secret of at least {bytes} bytes",
    "RS": "an RSA key of 2048 to 8192 bits",
    "ES256": "an EC key on curve P-256",
    "ES384": "an EC key on curve P-384",
    "ES512": "an EC key on curve P-521",
    "EdDSA": "an Ed25519 key",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key, the algorithms it may be used with, and its `kid` if it has one."""

    kid: str | None
    algorithms: frozenset[str]
    material: Material = field(repr=False)


class KeySet:
    """Keys by (kid, algorithm). Immutable; two keys for the same pair raise ValueError."""

    __slots__ = ("_by_kid", "_sole", "keys")

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._by_kid: dict[tuple[str, str], Key] = {}
        self._sole: dict[str, Key | None] = {}
        for key in self.keys:
            for algorithm in key.algorithms:
                self._sole[algorithm] = None if algorithm in self._sole else key
                if key.kid is not None and self._by_kid.setdefault((key.kid, algorithm), key) is not key:
                    raise ValueError("two keys have the same kid")

    def find(self, algorithm: str, kid: str | None) -> Key | None:
        """The one key that fits, or None.

        Without `kid` there must be exactly one key for the algorithm. A `kid` is only ever compared; it also matches a
        key that has no `kid` when that is the only one for the algorithm (a PEM file or a secret has no name).
        """
        sole = self._sole.get(algorithm)
        if kid is None:
            return sole
        named = self._by_kid.get((kid, algorithm))
        return named if named is not None or sole is None or sole.kid is not None else sole


def algorithms_of(material: object) -> frozenset[str]:
    """What a key can be used with. Empty: nothing (too short, too weak, another curve)."""
    if isinstance(material, bytes):
        return frozenset(name for name, least in _HASH_BYTES.items() if len(material) >= least)
    if isinstance(material, rsa.RSAPublicKey):
        return frozenset(("RS256", "RS384", "RS512")) if material.key_size in _RSA_BITS else frozenset()
    if isinstance(material, ec.EllipticCurvePublicKey):
        return frozenset(filter(None, [_CURVES.get(material.curve.name)]))
    return frozenset(("EdDSA",)) if isinstance(material, ed25519.Ed25519PublicKey) else frozenset()


def load_keys(config: Jwt, *, insecure: bool = False) -> KeySet:
    """The keys of `secret`, `key_file`, `jwks_file`. Raises `ConfigError` naming file, key and reason, never content.

    Each configured algorithm must have a key, unless the keys come from `jwks_url` later. Of a file with a certificate
    chain the first one counts; its dates are not looked at, since the file is trusted as it is. `insecure`: a shared
    secret may have any length (auth.insecure, for development only).
    """
    if not config.algorithms:
        if config.secret or config.key_file or config.jwks_file or config.jwks_url:
            raise ConfigError("", "auth.jwt.algorithms", "there is a key, but no algorithm is accepted")
        return KeySet(())
    keys: list[Key] = []
    if config.secret:
        keys.append(_secret_key(config.secret.encode("utf-8"), "", "auth.jwt.secret", insecure=insecure))
    if config.key_file:
        keys.append(_file_key(config.key_file, insecure=insecure))
    if config.jwks_file:
        keys.extend(_jwks_file_keys(config))
    _check_coverage(config, keys)
    try:
        return KeySet(keys)
    except ValueError as error:
        raise ConfigError(config.jwks_file, "auth.jwt.jwks_file", str(error)) from None


def _check_coverage(config: Jwt, keys: Collection[Key]) -> None:
    for algorithm in config.algorithms:
        fitting = [key for key in keys if algorithm in key.algorithms]
        if sum(key.kid is None for key in fitting) > 1:
            raise ConfigError("", "auth.jwt.algorithms", f"two keys without kid fit {algorithm}")
        if not fitting and (algorithm.startswith("HS") or not config.jwks_url):
            needs = _NEEDS.get(algorithm) or _NEEDS[algorithm[:2]].format(bytes=_HASH_BYTES.get(algorithm))
            raise ConfigError("", "auth.jwt.algorithms", f"{algorithm} takes {needs}; no configured key is one")


def read_file(path: str, key: str) -> bytes:
    """The content of a configured file. Raises `ConfigError` with the file's name and why it can't be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(path, key, getattr(error, "strerror", None) or "not a file name") from None


def _secret_key(secret: bytes, where: str, key: str, *, insecure: bool) -> Key:
    if len(secret) < (1 if insecure else LEAST_SECRET):
        raise ConfigError(where, key, "is empty" if insecure else f"a shared secret has at least {LEAST_SECRET} bytes")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except PyJWTError:
        raise ConfigError(where, key, "this is a key or certificate of another kind, not a shared secret") from None
    return Key(None, frozenset(_HASH_BYTES) if insecure else algorithms_of(secret), secret)


def _file_key(path: str, *, insecure: bool) -> Key:
    """A PEM public key or certificate; anything else is a shared secret (without the newline at its end)."""
    raw = read_file(path, "auth.jwt.key_file")
    if b"-----BEGIN" not in raw:
        return _secret_key(raw.rstrip(b"\r\n"), path, "auth.jwt.key_file", insecure=insecure)
    if raw.count(b"-----BEGIN PUBLIC KEY-----") > 1:
        raise ConfigError(path, "auth.jwt.key_file", "holds more than one key; use auth.jwt.jwks_file for several")
    if b"PRIVATE KEY-----" in raw:
        raise ConfigError(path, "auth.jwt.key_file", "holds a private key; only the public one belongs on this server")
    try:
        if b"-----BEGIN CERTIFICATE-----" in raw:
            material: Any = x509.load_pem_x509_certificate(raw).public_key()
        else:
            material = load_pem_public_key(raw)
        algorithms = algorithms_of(material)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(path, "auth.jwt.key_file", "holds no readable PEM public key or certificate") from None
    if not algorithms:
        raise ConfigError(path, "auth.jwt.key_file", "fits no algorithm, by its kind or size (RSA: 2048 to 8192 bits)")
    return Key(None, algorithms, material)


def _jwks_file_keys(config: Jwt) -> list[Key]:
    try:
        return parse_jwks(read_file(config.jwks_file, "auth.jwt.jwks_file"), config.algorithms, shared_secrets=True)
    except ValueError as error:
        raise ConfigError(config.jwks_file, "auth.jwt.jwks_file", str(error)) from None


def parse_jwks(raw: bytes, algorithms: Collection[str], *, shared_secrets: bool) -> list[Key]:
    """The usable keys of a JSON Web Key Set, for the configured `algorithms` only.

    Unusable ones are passed over (RFC 7517 5): unknown kinds, other uses, weak or private keys, and shared secrets
    unless `shared_secrets`. ValueError: not a key set, too many keys, or none is usable.
    """
    document = strict_json.loads(raw)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set")
    if len(entries) > MOST_KEYS:
        raise ValueError(f"more than {MOST_KEYS} keys")
    keys: list[Key] = []
    for entry in entries:
        key = _jwk(entry, frozenset(algorithms), shared_secrets=shared_secrets) if isinstance(entry, dict) else None
        if key is not None:
            keys.append(key)
    if not keys:
        raise ValueError("no key in it fits auth.jwt.algorithms")
    return keys


def _jwk(entry: dict[str, Any], configured: frozenset[str], *, shared_secrets: bool) -> Key | None:
    kid = entry.get("kid")
    if not (kid is None or isinstance(kid, str)) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    material = _jwk_material(entry, shared_secrets=shared_secrets)
    if material is None:
        return None
    algorithms = algorithms_of(material) & configured
    if "alg" in entry:
        algorithms = frozenset(name for name in algorithms if name == entry["alg"])
    return Key(kid, algorithms, material) if algorithms else None


def _jwk_material(entry: dict[str, Any], *, shared_secrets: bool) -> Material | None:
    kind = entry.get("kty")
    if "d" in entry:  # a private key that was published is no secret any more; nothing is computed from it
        return None
    try:
        if kind == "oct":
            return HMACAlgorithm.from_jwk(entry) if shared_secrets else None
        if kind == "RSA" and len(entry["n"]) <= 1400:  # base64 of 8192 bits, before anything is computed
            return cast(PublicKey, RSAAlgorithm.from_jwk(entry))
        if kind == "EC":
            return cast(PublicKey, ECAlgorithm.from_jwk(entry))
        if kind == "OKP":
            return cast(PublicKey, OKPAlgorithm.from_jwk(entry))
    except Exception:  # whatever the library makes of a broken key: it is not used
        return None
    return None
