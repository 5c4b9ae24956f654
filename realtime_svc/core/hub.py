"""Who is here, and who listens to what, on this node."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from realtime_svc.core.fanout import Encodings, deliver, fan_out, tell
from realtime_svc.core.messages import Joined, Left, Message
from realtime_svc.core.session import Session
from realtime_svc.core.state import State
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import ChannelEvent, Join, Publication, StreamPosition


class Channel:
    """The subscribers of one channel on this node, which all stand at the same place of its stream.

    `position` is the newest publication this node has seen (None: none yet, and nobody asked the broker). `ready`: the
    broker delivers. `last` is the newest payload, kept once somebody takes deltas (`deltas`). `hearing` are those of
    the subscriptions that are told who comes and goes.
    """

    __slots__ = ("deltas", "hearing", "last", "name", "position", "ready", "subscriptions")

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscriptions: dict[Session, Subscription] = {}
        self.hearing: dict[Session, Subscription] = {}
        self.position: StreamPosition | None = None
        self.ready = False
        self.deltas = False
        self.last: bytes | None = None

    def positioned(self) -> list[Subscription]:
        """The live ones that have to learn of a loss."""
        return [one for one in self.subscriptions.values() if one.positioned and one.line is None]

    def missing(self, top: StreamPosition) -> list[Subscription]:
        """Those of them for whom something up to `top` was lost. Who read the stream up to there has it."""
        same = self.position is not None and self.position.epoch == top.epoch
        return [one for one in self.positioned() if not same or one.after < top.offset]

    def start_anew(self) -> None:
        """Who stays after a loss takes what comes, whatever it was before."""
        self.last = None
        for subscription in self.subscriptions.values():
            subscription.after = 0
            subscription.settle()

    def advance(self, position: StreamPosition) -> tuple[bool, list[Subscription] | None]:
        """A publication stands at `position`: (is it new to this node?, who lost something before it?).

        None: nothing was lost.
        """
        known = self.position
        lost = None
        if known is not None and known.epoch == position.epoch:
            if position.offset <= known.offset:
                return False, None
            if position.offset > known.offset + 1:
                lost = self.missing(StreamPosition(position.offset - 1, position.epoch))
        elif known is not None:
            lost = self.positioned()
        self.position = position
        return True, lost

    def activate(self, subscription: Subscription, top: StreamPosition | None) -> bool:
        """Let through what waited. `top`: the client has, or is about to have, everything up to there.

        False: something between `top` and what waited is missing.
        """
        line, subscription.line = subscription.line or [], None
        whole = not subscription.overrun
        if top is not None:
            subscription.after = top.offset
            if self.position is None:
                self.position = top
        reached = top
        for publication in line:
            if reached is not None and publication.offset:
                if publication.epoch == reached.epoch and publication.offset <= reached.offset:
                    continue
                whole = whole and publication.position == StreamPosition(reached.offset + 1, reached.epoch)
                reached = publication.position
                subscription.after = 0
            if whole or not subscription.positioned:
                deliver(Encodings(publication), subscription)
        if reached is not None and self.position is not None and self.position.epoch == reached.epoch:
            whole = whole and self.position.offset <= reached.offset
            if self.position.offset >= subscription.after:
                subscription.after = 0
        subscription.settle()
        return whole


class Hub:
    """The tables of this node. All calls are synchronous and belong to the event loop's thread.

    `lost` is called with subscriptions that missed something; it ends them.
    """

    def __init__(self, lost: Callable[[list[Subscription]], None]) -> None:
        self.sessions: dict[str, Session] = {}
        self.channels: dict[str, Channel] = {}
        self._lost = lost
        self._users: Counter[str] = Counter()
        self._by_user: dict[str, dict[Session, None]] = {}
        self._line: deque[ChannelEvent] = deque()
        self._delivering = False

    # ---- sessions and users

    def add(self, session: Session) -> None:
        """A session is open."""
        self.sessions[session.id] = session
        self.know(session)

    def know(self, session: Session) -> None:
        """The session has said who it is."""
        if session.identity is not None and session.identity.user:
            self._by_user.setdefault(session.identity.user, {})[session] = None

    def remove(self, session: Session) -> bool:
        """The connection is gone. False: it never was here."""
        if session.identity is not None:
            self.release_user(session.identity.user)
            same = self._by_user.get(session.identity.user, {})
            same.pop(session, None)
            if not same:
                self._by_user.pop(session.identity.user, None)
        return self.sessions.pop(session.id, None) is not None

    def sessions_of(self, user: str) -> list[Session]:
        """The connections of one user; none for the anonymous one."""
        return list(self._by_user.get(user, ()))

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

    @property
    def users(self) -> int:
        """How many different users are connected."""
        return len(self._users)

    def present(self) -> tuple[Session, ...]:
        """The sessions that were let in: who has not authenticated yet is not among them."""
        return tuple(session for session in self.sessions.values() if session.state is State.OPEN)

    # ---- channels

    def subscribe(self, subscription: Subscription) -> Channel:
        """From here on what is published in the channel waits for the subscription."""
        channel = self.channels.get(subscription.channel)
        if channel is None:
            channel = self.channels[subscription.channel] = Channel(subscription.channel)
        channel.subscriptions[subscription.session] = subscription
        if subscription.hears_joins:
            channel.hearing[subscription.session] = subscription
        subscription.session.channels[subscription.channel] = subscription
        return channel

    def unsubscribe(self, subscription: Subscription) -> bool:
        """Nothing more goes to the subscription. True: it was the last one of its channel."""
        subscription.ended = True
        subscription.simple = False
        del subscription.session.channels[subscription.channel]
        channel = self.channels[subscription.channel]
        del channel.subscriptions[subscription.session]
        channel.hearing.pop(subscription.session, None)
        if channel.subscriptions:
            return False
        del self.channels[subscription.channel]
        return True

    def subscribers(self, channel: str) -> tuple[Session, ...]:
        """The sessions that listen to `channel` now."""
        found = self.channels.get(channel)
        return tuple(found.subscriptions) if found else ()

    # ---- delivery

    def deliver(self, event: ChannelEvent) -> None:
        """To every subscriber of its channel; without a channel, to everybody who was let in.

        What is published while one is delivered (by user code, when a slow client is cut) comes after it, for all.
        """
        self._line.append(event)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._line:
                self._deliver(self._line.popleft())
        finally:
            self._delivering = False

    def _deliver(self, event: ChannelEvent) -> None:
        if not event.channel and isinstance(event, Publication):
            self._to_all(event)
            return
        channel = self.channels.get(event.channel)
        if channel is None:
            return
        if isinstance(event, Publication):
            self._publication(channel, event)
            return
        reply = (Joined if isinstance(event, Join) else Left)(event.channel, event.info)
        tell(reply, [session for session, one in channel.hearing.items() if one.line is None])

    def _publication(self, channel: Channel, publication: Publication) -> None:
        """Where something was lost before it, those who have to know are told, and do not get it."""
        if publication.offset:
            fresh, lost = channel.advance(publication.position)
            if not fresh:
                return
            if lost is not None:
                self._lost(lost)
                channel.start_anew()
        previous = channel.last
        if channel.deltas:
            channel.last = publication.data
        fan_out(Encodings(publication, previous), tuple(channel.subscriptions.values()))

    def _to_all(self, publication: Publication) -> None:
        others = [session for session in self.present() if session.id != publication.exclude]
        tell(Message(publication), others)
