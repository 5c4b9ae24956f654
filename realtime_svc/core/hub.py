"""Who is here, and who listens to what, on this node."""

from __future__ import annotations

from collections import Counter, deque

from realtime_svc.core.fanout import fan_out
from realtime_svc.core.session import Session, State
from realtime_svc.model import Publication


class Hub:
    """The tables of this node. All calls are synchronous and belong to the event loop's thread."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self._channels: dict[str, dict[Session, None]] = {}
        self._users: Counter[str] = Counter()
        self._line: deque[Publication] = deque()
        self._delivering = False

    def add(self, session: Session) -> None:
        """A session is open."""
        self.sessions[session.id] = session

    def unsubscribe_all(self, session: Session) -> None:
        """The session gets nothing any more."""
        for channel in session.channels:
            self._leave(session, channel)
        session.channels.clear()

    def claim_user(self, user: str, limit: int) -> bool:
        """Count one more connection of `user`; False (and not counted) where that is more than `limit` (0: none)."""
        if not user:
            return True
        if limit and self._users[user] >= limit:
            return False
        self._users[user] += 1
        return True

    def release_user(self, user: str) -> None:
        """The opposite of a `claim_user` that succeeded."""
        if not user:
            return
        self._users[user] -= 1
        if self._users[user] <= 0:
            del self._users[user]

    def subscribe(self, session: Session, channel: str) -> None:
        """From here on the session gets what is published in the channel."""
        self._channels.setdefault(channel, {})[session] = None
        session.channels.add(channel)

    def unsubscribe(self, session: Session, channel: str) -> bool:
        """False: it was not subscribed."""
        if channel not in session.channels:
            return False
        session.channels.discard(channel)
        self._leave(session, channel)
        return True

    def _leave(self, session: Session, channel: str) -> None:
        subscribers = self._channels[channel]
        del subscribers[session]
        if not subscribers:
            del self._channels[channel]

    def subscribers(self, channel: str) -> tuple[Session, ...]:
        """The sessions that listen to `channel` now."""
        return tuple(self._channels.get(channel, ()))

    def present(self) -> tuple[Session, ...]:
        """The sessions that were let in: who has not authenticated yet is not among them."""
        return tuple(session for session in self.sessions.values() if session.state is State.OPEN)

    def deliver(self, publication: Publication) -> None:
        """To every subscriber of its channel; without a channel, to everybody who was let in.

        What is published while one is delivered (by user code, when a slow client is cut) comes after it, for all.
        """
        self._line.append(publication)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._line:
                first = self._line.popleft()
                fan_out(first, self.subscribers(first.channel) if first.channel else self.present())
        finally:
            self._delivering = False
