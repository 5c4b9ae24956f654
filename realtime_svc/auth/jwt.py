"""JSON Web Tokens (RFC 7519) in compact form (RFC 7515 7.1), checked as RFC 8725 advises.

    token = base64url(header) "." base64url(claims) "." base64url(signature)      no padding, one spelling each

The algorithm is fixed twice, by the configuration and by the kind of the key; a token can only name one of those that
are left. PyJWT does the signatures but HMAC, which is the standard library's; the header is read here and the claims in
`claims.py`, more strictly than PyJWT does.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from jwt.algorithms import get_default_algorithms

from realtime_svc.auth import strict_json
from realtime_svc.auth.claims import Claims, Life, check_addressee, identity_of, life_of, subscription_of
from realtime_svc.auth.credentials import MAX_CREDENTIAL, failed
from realtime_svc.auth.keys import Key, KeySet, parse_jwks
from realtime_svc.config import Jwt
from realtime_svc.core.ports import Revocations
from realtime_svc.model import Identity, SubscriptionClaims

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", re.ASCII)
_REFUSED = frozenset(("crit", "jwk", "jku", "x5u", "x5c"))
_TYPES = ("jwt", "at+jwt")
_SIGNATURES = get_default_algorithms()
_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_REMEMBERED = 256  # characters of a header that is worth keeping: it says how a token is signed, and most say the same
_LAST = ("", "", "AQgw", "AEIMQUYcgkosw048")  # what base64 may end with, by the characters that are over (RFC 4648 3.5)
_Subject = TypeVar("_Subject", Identity, SubscriptionClaims)


class Parts(NamedTuple):
    """A token taken apart; nothing in it is verified."""

    header: Mapping[str, Any]
    claims: bytes
    signed: bytes
    signature: bytes


class JwtKeeper:
    """Verifies tokens with the keys it holds. Never waits."""

    __slots__ = ("_algorithms", "_config", "_fetched", "_keys", "_local", "_revocations", "_unknown_key", "_wall_clock")

    def __init__(
        self, config: Jwt, keys: KeySet, wall_clock: Callable[[], float], revocations: Revocations | None = None
    ) -> None:
        """`wall_clock`: seconds since the epoch, which is what the dates in tokens count."""
        self._config = config
        self._algorithms = frozenset(config.algorithms)
        self._wall_clock = wall_clock
        self._revocations = revocations
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
        """Who the token speaks for. Raises `AuthenticationFailed` with a cause of `credentials.Cause`.

        The cause is "expired" only where that is all that is wrong with the token.
        """
        claims, life = self._verified(token)
        return self._still_good(identity_of(claims, life), life)

    def authenticate_subscription(self, token: str) -> SubscriptionClaims:
        """What a subscription token says. Raises as `authenticate`."""
        claims, life = self._verified(token)
        return self._still_good(subscription_of(claims, life), life)

    def _verified(self, token: str) -> tuple[Claims, Life]:
        parts = split(token)
        check_header(parts.header)
        self._check_signature(parts)
        try:
            claims = strict_json.loads(parts.claims)
        except ValueError:
            raise failed("malformed") from None
        if not isinstance(claims, dict):
            raise failed("malformed")
        life = life_of(claims, self._config, self._wall_clock())
        check_addressee(claims, self._config)
        return claims, life

    def _still_good(self, subject: _Subject, life: Life) -> _Subject:
        """The last questions, asked of what is good otherwise."""
        if self._revocations is not None:
            self._revocations.check(subject)
        if life.over:
            raise failed("expired")
        return subject

    def _check_signature(self, parts: Parts) -> None:
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
            good = _is_signed(algorithm, key, parts)
        except Exception:  # whatever the library makes of a crafted signature: it is not a good one
            good = False
        if not good:
            raise failed("signature")


def _is_signed(algorithm: str, key: Key, parts: Parts) -> bool:
    digest = _HASHES.get(algorithm)
    if digest is None:
        return bool(_SIGNATURES[algorithm].verify(parts.signed, key.material, parts.signature))
    secret = key.material
    return isinstance(secret, bytes) and hmac.compare_digest(hmac.digest(secret, parts.signed, digest), parts.signature)


def split(token: str) -> Parts:
    """Take a token apart; only its size, its form and that the header is a JSON object are checked."""
    if len(token) > MAX_CREDENTIAL:
        raise failed("oversize")
    if not _COMPACT.fullmatch(token):
        raise failed("malformed")
    signed, _, signature = token.rpartition(".")
    header, _, claims = signed.partition(".")
    try:
        read = _read_header if len(header) <= _REMEMBERED else _read_header.__wrapped__
        return Parts(read(header), _decode(claims), signed.encode("ascii"), _decode(signature))
    except ValueError:
        raise failed("malformed") from None


@lru_cache(maxsize=64)
def _read_header(header: str) -> Mapping[str, Any]:
    """Raises ValueError. Nobody changes what it returns."""
    decoded = strict_json.loads(_decode(header))
    if not isinstance(decoded, dict):
        raise ValueError("not an object")
    return decoded


def check_header(header: Mapping[str, Any]) -> None:
    """Refuse what would change how the token is read, and keys the token brings along (RFC 8725 3.10)."""
    # Nothing is understood that could be critical (RFC 7515 4.1.11), so any `crit` is one too many.
    if not _REFUSED.isdisjoint(header) or header.get("b64", True) is not True:
        raise failed("header")
    if "typ" in header:
        kind = header["typ"]
        # RFC 7515 4.1.9: "application/" may be left out.
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise failed("type")


def _decode(part: str) -> bytes:
    """Raises ValueError. `part` holds no character but those of base64url (RFC 4648 5)."""
    over = len(part) % 4
    if over and part[-1] not in _LAST[over]:
        raise ValueError("spare bits are not zero")
    return binascii.a2b_base64(part.replace("-", "+").replace("_", "/") + "=" * (-over % 4))
