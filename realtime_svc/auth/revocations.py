"""Tokens and users that are refused although their credentials are good. In memory, bounded: gone with the process."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import NamedTuple

from realtime_svc.auth.claims import LAST_DATE
from realtime_svc.auth.credentials import failed, is_user
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import Identity, SubscriptionClaims

USER_FOR = 24 * 3600.0  # seconds for which a user is revoked where nobody says how long

_TOKEN, _USER = "token", "user"
_Key = tuple[str, str]


class _Entry(NamedTuple):
    """What was issued up to `before` is refused, until `until`."""

    before: float
    until: float


class RevocationList:
    """Implements `core.ports.Revocations`. Holds `most` entries; those whose time is over make room for new ones."""

    __slots__ = ("_ends", "_entries", "_most", "_wall_clock")

    def __init__(self, most: int, wall_clock: Callable[[], float]) -> None:
        """`wall_clock`: seconds since the epoch."""
        self._most = most
        self._wall_clock = wall_clock
        self._entries: dict[_Key, _Entry] = {}
        self._ends: list[tuple[float, _Key]] = []  # a heap; one for each entry that has an end, perhaps an older one

    def __len__(self) -> int:
        """Entries held, those that are over and were not yet dropped included."""
        return len(self._entries)

    def revoke_token(self, token_id: str, expires_at: float | None = None) -> None:
        """Refuse tokens with this `jti`, until `expires_at` (None: as long as the process lives).

        `expires_at` should be the token's own end: it is refused anyway from then on. Raises `ReplyError`:
        BAD_REQUEST for an id that no token can have or a date that is none, LIMIT_EXCEEDED when the list is full.
        """
        self._add((_TOKEN, token_id), _Entry(math.inf, math.inf if expires_at is None else _date(expires_at)))

    def revoke_user(self, user: str, before: float, expires_at: float | None = None) -> None:
        """Refuse what this user's credentials say, until `expires_at` (None: 24 hours from now).

        Good are only tokens issued after `before` (claim `iat`). What has no such date is refused: tokens without
        `iat`, static tokens, passwords. So `expires_at` should be as far away as the user's tokens may live. Raises
        as `revoke_token`.
        """
        until = self._wall_clock() + USER_FOR if expires_at is None else _date(expires_at)
        self._add((_USER, user), _Entry(_date(before), until))

    def check(self, identity: Identity | SubscriptionClaims) -> None:
        """As `Revocations.check`. Nobody revokes the anonymous user."""
        if not self._entries:
            return
        issued_at = -math.inf if identity.issued_at is None else identity.issued_at
        now = self._wall_clock()
        for key in ((_TOKEN, identity.token_id), (_USER, identity.user)):
            entry = self._entries.get(key)
            if entry is not None and now < entry.until and issued_at <= entry.before:
                raise failed("revoked")

    def _add(self, key: _Key, entry: _Entry) -> None:
        """Revoked twice, it is the longer of both: nothing said here makes a revocation weaker."""
        if not is_user(key[1]):
            raise ReplyError(ErrorCode.BAD_REQUEST, f"{key[0]}: 1 to 255 bytes without control characters")
        self._drop_ended()
        present = self._entries.get(key)
        if present is not None:
            self._entries[key] = _Entry(max(present.before, entry.before), max(present.until, entry.until))
            return
        if len(self._entries) >= self._most:
            raise ReplyError(ErrorCode.LIMIT_EXCEEDED, "no more can be revoked: auth.revocations is reached")
        self._entries[key] = entry
        self._note_end(key, entry)

    def _note_end(self, key: _Key, entry: _Entry) -> None:
        if entry.until < math.inf:
            heapq.heappush(self._ends, (entry.until, key))

    def _drop_ended(self) -> None:
        now = self._wall_clock()
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            if self._entries[key].until <= now:
                del self._entries[key]
            else:  # it was prolonged
                self._note_end(key, self._entries[key])


def _date(value: float) -> float:
    if not 0 <= value <= LAST_DATE:  # NaN, too
        raise ReplyError(ErrorCode.BAD_REQUEST, "a date is given in seconds since 1970")
    return float(value)
