"""Tokens for people at a terminal: make one, explain one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.api_jws import PyJWS

from realtime_svc.auth import strict_json
from realtime_svc.auth.credentials import is_user
from realtime_svc.auth.jwt import JwtKeeper, split
from realtime_svc.auth.keys import KeySet, algorithms_of, load_keys, read_file
from realtime_svc.config import Jwt
from realtime_svc.errors import AuthenticationFailed, ConfigError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_VERDICTS = {
    "algorithm": "the algorithm is none of auth.jwt.algorithms",
    "audience": "aud holds none of auth.jwt.audience",
    "claims": "a claim is missing, of the wrong type, or out of range",
    "expired": "it has expired",
    "header": "the header holds what is never accepted (crit, b64, jwk, jku, x5u, x5c, or a kid that is no text)",
    "issued_in_future": "iat is in the future",
    "issuer": "iss is not auth.jwt.issuer",
    "key": "no key at hand fits its alg and kid",
    "malformed": "it is not a JSON Web Token in compact form",
    "not_yet_valid": "nbf is in the future",
    "oversize": "it is larger than 8 KiB",
    "signature": "the signature is not by the key at hand",
    "subject": "sub is no user id (text, up to 255 bytes, no control characters)",
    "type": "typ is neither JWT nor at+jwt",
}


def make_token(
    config: Jwt,
    user: str,
    ttl: float | None,
    now: float,
    info: Any = None,
    *,
    private_key_file: str = "",
) -> str:
    """A token this server accepts: for `user` ("" is anonymous), from `now` on, for `ttl` seconds (None: no end).

    Signed with the configured shared secret, or with the private key of a PEM file where algorithms are asymmetric.
    `aud` and `iss` are what the configuration wants. Raises `ConfigError` when nothing at hand can sign.
    """
    if user and not is_user(user):
        raise ConfigError("", "user", "a user id is at most 255 bytes, without control characters")
    if ttl is None and config.require_expiry:
        raise ConfigError("", "ttl", "auth.jwt.require_expiry refuses a token without an end")
    claims: dict[str, Any] = {"sub": user, "iat": int(now)}
    if ttl is not None:
        claims["exp"] = int(now + ttl)
    if config.audience:
        claims["aud"] = config.audience[0]
    if config.issuer:
        claims["iss"] = config.issuer
    if info is not None:
        claims["info"] = info
    algorithm, kid, material = _signer(config, private_key_file)
    headers = {"kid": kid} if kid is not None else {}
    return PyJWS().encode(strict_json.dumps(claims), material, algorithm, headers)


def _signer(config: Jwt, private_key_file: str) -> tuple[str, str | None, bytes | PrivateKey]:
    keys = load_keys(config)
    if private_key_file:
        private = _private_key(private_key_file)
        public = private.public_key()
        for algorithm in config.algorithms:
            if algorithm in algorithms_of(public):
                return algorithm, _kid_of(keys, public), private
        raise ConfigError(private_key_file, "auth.jwt.algorithms", "none of them can be used with this key")
    for algorithm in config.algorithms:
        for key in keys.keys:
            if algorithm in key.algorithms and isinstance(key.material, bytes):
                return algorithm, key.kid, key.material
    raise ConfigError("", "auth.jwt", "there is no shared secret to sign with; name the file of the private key")


def _private_key(path: str) -> PrivateKey:
    raw = read_file(path, "private key")
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(path, "private key", "holds no readable PEM private key without a passphrase") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigError(path, "private key", "is neither RSA, nor EC, nor Ed25519")
    return key


def _kid_of(keys: KeySet, public: Any) -> str | None:
    return next((key.kid for key in keys.keys if key.material == public), None)


def explain_token(token: str, keeper: JwtKeeper | None, now: float) -> list[str]:
    """What a token says and whether this server takes it, in lines for a terminal.

    All of the token's own text is escaped to ASCII; the signature is not shown, so the lines are no token.
    """
    try:
        parts = split(token)
    except AuthenticationFailed as failure:
        return [f"verdict: refused: {_VERDICTS[failure.cause]}"]
    lines = [f"header:  {json.dumps(parts.header)}"]
    try:
        claims = strict_json.loads(parts.claims)
    except ValueError:
        lines.append("claims:  not strict JSON")
    else:
        lines.append(f"claims:  {json.dumps(claims)}")
        lines.extend(_dates(claims, now) if isinstance(claims, dict) else [])
    return [*lines, f"verdict: {_verdict(token, keeper)}"]


def _dates(claims: Mapping[str, Any], now: float) -> list[str]:
    lines = []
    for name in ("iat", "nbf", "exp"):
        value = claims.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        try:
            date = datetime.fromtimestamp(value, UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            continue
        distance = round(value - now)
        lines.append(f"{name}:     {date} ({f'in {distance} s' if distance >= 0 else f'{-distance} s ago'})")
    return lines


def _verdict(token: str, keeper: JwtKeeper | None) -> str:
    if keeper is None:
        return "refused: auth.jwt.algorithms is empty, so no JSON Web Token is accepted"
    try:
        identity = keeper.authenticate(token)
    except AuthenticationFailed as failure:
        return f"refused: {_VERDICTS[failure.cause]}"
    return f"accepted for user {json.dumps(identity.user)}" if identity.user else "accepted for an anonymous client"
