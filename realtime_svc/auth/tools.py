"""Tokens for people at a terminal: make one, explain one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.api_jws import PyJWS
from jwt.warnings import InsecureKeyLengthWarning

from realtime_svc.auth import claims as claim_rules
from realtime_svc.auth import strict_json
from realtime_svc.auth.credentials import MAX_CREDENTIAL, is_user
from realtime_svc.auth.jwt import JwtKeeper, split
from realtime_svc.auth.keys import KeySet, algorithms_of, load_keys, read_file
from realtime_svc.channel import is_channel
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
    "purpose": "only a subscription token has a channel, and one has to have it",
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
    more: Mapping[str, Any] = {},
    private_key_file: str = "",
    insecure: bool = False,
) -> str:
    """A token this server accepts: for `user` ("" is anonymous), from `now` on, for `ttl` seconds (None: no end).

    `more` are further claims (see `claims.py`); with `channel` it is a subscription token. Signed with the configured
    shared secret, or with the private key of a PEM file where algorithms are asymmetric. `aud` and `iss` are what the
    configuration wants. Raises `ConfigError` when nothing at hand can sign, and for claims the server would refuse.
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
    claims.update(more)
    _check_claims(claims, config, now)
    algorithm, kid, material = _signer(config, private_key_file, insecure=insecure)
    headers = {"kid": kid} if kid is not None else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # whoever set auth.insecure knows it
        token = PyJWS().encode(strict_json.dumps(claims), material, algorithm, headers)
    if len(token) > MAX_CREDENTIAL:
        raise ConfigError("", "token", _VERDICTS["oversize"])
    return token


def _check_claims(claims: Mapping[str, Any], config: Jwt, now: float) -> None:
    """What is given by hand is named; for the rest there is what the server says."""
    for name in (*claims.get("channels", ()), *([claims["channel"]] if "channel" in claims else [])):
        if not is_channel(name):
            raise ConfigError("", "channel", "is no channel name")
    try:
        life = claim_rules.life_of(claims, config, now)
        (claim_rules.subscription_of if "channel" in claims else claim_rules.identity_of)(claims, life)
    except AuthenticationFailed as failure:
        raise ConfigError("", "token", _VERDICTS[failure.cause]) from None
    if life.over:
        raise ConfigError("", "token", _VERDICTS["expired"])


def _signer(config: Jwt, private_key_file: str, *, insecure: bool) -> tuple[str, str | None, bytes | PrivateKey]:
    keys = load_keys(config, insecure=insecure)
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
    raise ConfigError("", "auth.jwt", "there is no shared secret to sign with: give --private-key FILE")


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
        if keeper is not None and isinstance(claims, dict) and "channel" in claims:
            return [*lines, f"verdict: {_subscription_verdict(token, keeper)}"]
    return [*lines, f"verdict: {_verdict(token, keeper)}"]


def _dates(claims: Mapping[str, Any], now: float) -> list[str]:
    lines = []
    for name in ("iat", "nbf", "exp", "expire_at"):
        value = claims.get(name)
        if (name, value) == ("expire_at", 0):
            lines.append("expire_at: never")
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        try:
            date = datetime.fromtimestamp(value, UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            continue
        distance = round(value - now)
        label = f"{name}:".ljust(8)
        lines.append(f"{label} {date} ({f'in {distance} s' if distance >= 0 else f'{-distance} s ago'})")
    return lines


def _verdict(token: str, keeper: JwtKeeper | None) -> str:
    if keeper is None:
        return "refused: auth.jwt.algorithms is empty, so no JSON Web Token is accepted"
    try:
        identity = keeper.authenticate(token)
    except AuthenticationFailed as failure:
        return f"refused: {_VERDICTS[failure.cause]}"
    return f"accepted for user {json.dumps(identity.user)}" if identity.user else "accepted for an anonymous client"


def _subscription_verdict(token: str, keeper: JwtKeeper) -> str:
    try:
        claims = keeper.authenticate_subscription(token)
    except AuthenticationFailed as failure:
        return f"refused: {_VERDICTS[failure.cause]}"
    who = f"user {json.dumps(claims.user)}" if claims.user else "an anonymous client"
    return f"accepted for a subscription of {who} to {json.dumps(claims.channel)}"
