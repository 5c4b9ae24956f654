"""JSON Web Tokens (RFC 7519) in compact form (RFC 7515 7.1), checked as RFC 8725 advises.

    token = base64url(header) "." base64url(claims) "." base64url(signature)      no padding, one spelling each

The algorithm is fixed twice, by the configuration and by the kind of the key; a token can only name one of those that
are left. PyJWT does the signatures; header and claims are read here, more strictly than it does. Claims are those of
the Centrifugo client protocol as far as they are used: `sub`, `exp`, `nbf`, `iat`, `aud`, `iss`, `info`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from jwt.algorithms import get_default_algorithms

from realtime_svc.auth import strict_json
from realtime_svc.auth.credentials import MAX_CREDENTIAL, failed, is_user
from realtime_svc.auth.keys import Key, KeySet, parse_jwks
from realtime_svc.config import Jwt
from realtime_svc.model import Identity

MAX_INFO = 4 * 1024
LAST_DATE = 253402300799  # the end of the year 9999: what is above was given in milliseconds

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", re.ASCII)
_FOREIGN_KEYS = ("jwk", "jku", "x5u", "x5c")
_TYPES = ("jwt", "at+jwt")
_SIGNATURES = get_default_algorithms()


class Parts(NamedTuple):
    """A token taken apart; nothing in it is verified."""

    header: dict[str, Any]
    claims: bytes
    signed: bytes
    signature: bytes


class JwtKeeper:
    """Verifies tokens with the keys it holds. Never waits."""

    __slots__ = ("_algorithms", "_config", "_fetched", "_keys", "_local", "_unknown_key", "_wall_clock")

    def __init__(self, config: Jwt, keys: KeySet, wall_clock: Callable[[], float]) -> None:
        """`wall_clock`: seconds since the epoch, which is what the dates in tokens count."""
        self._config = config
        self._algorithms = frozenset(config.algorithms)
        self._wall_clock = wall_clock
        self._local = keys
        self._keys = keys
        self._fetched: list[Key] = []
        self._unknown_key: Callable[[], None] = lambda: None

    def on_unknown_key(self, callback: Callable[[], None]) -> None:
        """Call this for each token whose key is not held. It must be cheap: strangers cause it."""
        self._unknown_key = callback

    def replace(self, keys: KeySet) -> None:
        """Use these local keys from now on; fetched ones stay. ValueError (nothing changes): a kid is there twice."""
        self._keys = KeySet((*keys.keys, *self._fetched))
        self._local = keys

    def accept_jwks(self, body: bytes) -> None:
        """Use the keys of a fetched key set besides the local ones. ValueError: it is bad, and nothing changes."""
        fetched = parse_jwks(body, self._algorithms, shared_secrets=False)
        self._keys = KeySet((*self._local.keys, *fetched))
        self._fetched = fetched

    def authenticate(self, token: str) -> Identity:
        """Who the token speaks for. Raises `AuthenticationFailed` with a cause of `credentials.Cause`."""
        parts = split(token)
        self._check_signature(parts)
        try:
            claims = strict_json.loads(parts.claims)
        except ValueError:
            raise failed("malformed") from None
        if not isinstance(claims, dict):
            raise failed("malformed")
        expires_at = self._check_dates(claims)
        self._check_addressee(claims)
        return Identity(_user(claims), _info(claims), expires_at)

    def _check_signature(self, parts: Parts) -> None:
        check_header(parts.header)
        algorithm, kid = parts.header.get("alg"), parts.header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise failed("algorithm")
        if "kid" in parts.header and not isinstance(kid, str):
            raise failed("header")
        key = self._keys.find(algorithm, kid)
        if key is None:
            self._unknown_key()
            raise failed("key")
        try:
            good = _SIGNATURES[algorithm].verify(parts.signed, key.material, parts.signature)
        except Exception:  # whatever the library makes of a crafted signature: it is not a good one
            good = False
        if not good:
            raise failed("signature")

    def _check_dates(self, claims: dict[str, Any]) -> float | None:
        now, leeway = self._wall_clock(), self._config.leeway
        expires, not_before, issued = (_date(claims, name) for name in ("exp", "nbf", "iat"))
        if expires is None and self._config.require_expiry:
            raise failed("claims")
        if expires is not None and now >= expires + leeway:
            raise failed("expired")
        if not_before is not None and now < not_before - leeway:
            raise failed("not_yet_valid")
        if issued is not None and now < issued - leeway:
            raise failed("issued_in_future")
        return expires + leeway if expires is not None else None

    def _check_addressee(self, claims: dict[str, Any]) -> None:
        if self._config.audience:
            audience = claims.get("aud")
            named = [audience] if isinstance(audience, str) else audience
            if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
                raise failed("audience")
            if not set(named) & set(self._config.audience):
                raise failed("audience")
        if self._config.issuer and claims.get("iss") != self._config.issuer:
            raise failed("issuer")


def looks_like_jwt(token: str) -> bool:
    """Three parts: worth a try as a JWT."""
    return token.count(".") == 2


def split(token: str) -> Parts:
    """Take a token apart; only its size, its form and that the header is a JSON object are checked."""
    if len(token) > MAX_CREDENTIAL:
        raise failed("oversize")
    if not _COMPACT.fullmatch(token):
        raise failed("malformed")
    signed, _, signature = token.rpartition(".")
    header, _, claims = signed.partition(".")
    try:
        decoded = strict_json.loads(_decode(header))
        parts = Parts(decoded, _decode(claims), signed.encode("ascii"), _decode(signature))
    except ValueError:
        raise failed("malformed") from None
    if not isinstance(decoded, dict):
        raise failed("malformed")
    return parts


def check_header(header: dict[str, Any]) -> None:
    """Refuse what would change how the token is read, and keys the token brings along (RFC 8725 3.10)."""
    # Nothing is understood that could be critical (RFC 7515 4.1.11), so any `crit` is one too many.
    if "crit" in header or header.get("b64", True) is not True or any(name in header for name in _FOREIGN_KEYS):
        raise failed("header")
    if "typ" in header:
        kind = header["typ"]
        # RFC 7515 4.1.9: "application/" may be left out.
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise failed("type")


def _decode(part: str) -> bytes:
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode("ascii"):
        raise ValueError("spare bits are not zero")
    return raw


def _date(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 2). None: the claim is not there."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_DATE:
        raise failed("claims")
    return float(value)


def _user(claims: dict[str, Any]) -> str:
    """`sub`; "" is an anonymous client, which is also what a token without `sub` speaks for."""
    user = claims.get("sub", "")
    if not isinstance(user, str) or (user and not is_user(user)):
        raise failed("subject")
    return user


def _info(claims: dict[str, Any]) -> bytes | None:
    if claims.get("info") is None:
        return None
    info = strict_json.dumps(claims["info"])
    if len(info) > MAX_INFO:
        raise failed("claims")
    return info
