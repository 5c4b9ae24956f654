"""Keys of the server API: whose is it, and what may it do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from realtime_svc.config import ApiKey

HASH_PREFIX = "sha256:"

# Methods about one channel can be held to channels with a prefix; the others can't.
CHANNEL_METHODS = frozenset(
    ("broadcast", "history", "history_remove", "presence", "presence_stats", "publish", "subscribe", "unsubscribe")
)
METHODS = CHANNEL_METHODS | {"channels", "disconnect", "info", "refresh", "revoke"}
READING = frozenset(("channels", "history", "info", "presence", "presence_stats"))
_GROUPS = {"all": METHODS, "read": READING}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who calls, and what he may. `everywhere`: methods; `prefixes`: beginnings of channel names, by method."""

    name: str
    everywhere: frozenset[str]
    prefixes: Mapping[str, tuple[str, ...]]

    def allows(self, method: str, channel: str | None = None) -> bool:
        """May he call `method` about `channel`? None: it is about no channel."""
        if method in self.everywhere:
            return True
        return channel is not None and channel.startswith(self.prefixes.get(method, ()))


def holder(name: str, scopes: Iterable[str]) -> Holder:
    """`scopes` are words as the configuration has them: `all`, `read`, a method, `<method>:<channel prefix>`."""
    everywhere: set[str] = set()
    prefixes: dict[str, tuple[str, ...]] = {}
    for scope in scopes:
        word, _, prefix = scope.partition(":")
        if prefix:
            prefixes[word] = (*prefixes.get(word, ()), prefix)
        else:
            everywhere |= _GROUPS.get(word, {word})
    return Holder(name, frozenset(everywhere), prefixes)


ANYBODY = holder("", ("all",))
"""Where no key is asked for."""


def hash_of(key: str) -> str:
    """What the configuration holds of a key. Plain SHA-256 is enough: keys are random, not chosen by people."""
    return HASH_PREFIX + _sha256(key).hex()


def make_key() -> str:
    """A new key: 256 random bits."""
    return secrets.token_urlsafe(32)


class ApiKeys:
    """Looks a key up by a keyed digest of its hash.

    The digest's key is random and new in each process, so neither the dictionary's timing nor a comparison's tells how
    much of a guess was right.
    """

    __slots__ = ("_by_digest", "_key")

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        """`keys` by name, as a checked configuration holds them."""
        self._key = secrets.token_bytes(32)
        self._by_digest: dict[bytes, tuple[bytes, Holder]] = {}
        for name, key in keys.items():
            digest = self._digest(bytes.fromhex(key.hash.removeprefix(HASH_PREFIX)))
            self._by_digest[digest] = (digest, holder(name, key.scopes))

    def find(self, key: str) -> Holder | None:
        """Whose key is this? None: nobody's."""
        digest = self._digest(_sha256(key))
        found = self._by_digest.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def _digest(self, hashed: bytes) -> bytes:
        return hmac.digest(self._key, hashed, hashlib.sha256)


def _sha256(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
