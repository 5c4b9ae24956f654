"""Static tokens: for development, and for machines you run yourself."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from realtime_svc.auth.credentials import failed, is_token68, is_user, looks_like_jwt
from realtime_svc.errors import ConfigError
from realtime_svc.model import Identity

KEY = "auth.tokens"


class StaticTokens:
    """Looks a token up by its keyed digest.

    The digest's key is random and new in each process, so neither the dictionary's timing nor a comparison's tells how
    much of a guess was right. The tokens themselves are not kept.
    """

    __slots__ = ("_by_digest", "_key", "some_look_like_jwt")

    def __init__(self, tokens: Mapping[str, str]) -> None:
        """`tokens` maps user to token. Raises `ConfigError`: a bad user id, a token nobody can send, a shared token."""
        self._key = secrets.token_bytes(32)
        self.some_look_like_jwt = any(looks_like_jwt(token) for token in tokens.values())
        self._by_digest: dict[bytes, tuple[bytes, Identity]] = {}
        for user, token in tokens.items():
            if not is_user(user):
                raise ConfigError("", KEY, "a user id is 1 to 255 bytes without control characters")
            if not is_token68(token):
                raise ConfigError("", f"{KEY}.{user}", "a token is made of letters, digits and - . _ ~ + / only")
            digest = self._digest(token)
            if digest in self._by_digest:
                raise ConfigError("", f"{KEY}.{user}", "another user has the same token")
            self._by_digest[digest] = (digest, Identity(user))

    def find(self, token: str) -> Identity | None:
        """Whose token is this? None: nobody's."""
        digest = self._digest(token)
        found = self._by_digest.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def authenticate(self, token: str) -> Identity:
        """As `find`, but raises `AuthenticationFailed` for nobody's."""
        identity = self.find(token)
        if identity is None:
            raise failed("unknown")
        return identity

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()
