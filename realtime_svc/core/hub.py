"""Who is here, and who listens to what, on this node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from realtime_svc.core.channel import Channel
from realtime_svc.core.fanout import A_STEP, Encodings, deliver, fan_out, send_to_few, tell
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.messages import Joined, Left, Message
from realtime_svc.core.outgoing import Outgoing, Round
from realtime_svc.core.ports import Group
from realtime_svc.core.session import Session
from realtime_svc.core.state import State
from realtime_svc.core.subscription import Subscription
from realtime_svc.model import ChannelEvent, Join, Publication

MOST_WAITING = 2**20  # bytes of payloads that wait in a channel for the round that is under way
MOST_EVENTS = 1000


def _nothing() -> Round:
    yield from ()


_UNDER_WAY = _nothing()  # stands for a round that is one step, and can't be finished from within it
_UNDER_WAY.close()


class Hub:
    """The tables of this node. All calls are synchronous and belong to the event loop's thread.

    `lost` is called with subscriptions that missed something; it ends them. `new_group` makes an empty group.
    """

    def __init__(
        self,
        lost: Callable[[list[Subscription]], None],
        outgoing: Outgoing,
        new_group: Callable[[], Group],
        counts: Instruments,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.channels: dict[str, Channel] = {}
        self._lost = lost
        self._users: Counter[str] = Counter()
        self._by_user: dict[str, dict[Session, None]] = {}
        self._everybody = Channel("")
        self._outgoing = outgoing
        outgoing.start = self.start
        self._new_group = new_group
        self._counts = counts

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
        channel.subscriptions[subscription.session] = channel.special[subscription.session] = subscription
        subscription.since = channel.seen + len(channel.waiting)
        if subscription.hears_joins:
            channel.hearing[subscription.session] = subscription
        subscription.session.channels[subscription.channel] = subscription
        return channel

    def unsubscribe(self, subscription: Subscription) -> bool:
        """Nothing more goes to the subscription. True: it was the last one of its channel."""
        subscription.ended = True
        subscription.leave_group()
        del subscription.session.channels[subscription.channel]
        channel = self.channels[subscription.channel]
        del channel.subscriptions[subscription.session]
        channel.special.pop(subscription.session, None)
        channel.hearing.pop(subscription.session, None)
        if channel.subscriptions:
            return False
        del self.channels[subscription.channel]
        return True

    def subscribers(self, channel: str) -> tuple[Session, ...]:
        """The sessions that listen to `channel` now."""
        found = self.channels.get(channel)
        return tuple(found.subscriptions) if found else ()

    def settle(self, subscription: Subscription) -> None:
        """A subscription is live: from here on it gets what the others get, where nothing has to be looked at."""
        channel = self.channels.get(subscription.channel)
        if channel is not None and not channel.busy and subscription.simple:
            self._join_group(channel, subscription)

    def _join_group(self, channel: Channel, subscription: Subscription) -> None:
        session = subscription.session
        form = (session.dialect, session.transport.deflation)
        group = channel.groups.get(form)
        if group is None:
            group = channel.groups[form] = self._new_group()
        del channel.special[session]
        if not channel.special:
            channel.special = {}  # a smaller one
        subscription.place = group.add(session.outlet)
        subscription.group = group

    # ---- delivery

    def deliver(self, event: ChannelEvent) -> None:
        """To every subscriber of its channel, at the end of the turn; without a channel, to everybody who was let in.

        What is published while a round is under way comes after it, for all. Who leaves gets nothing any more; who
        comes gets what is published from then on.
        """
        channel = self.channels.get(event.channel) if event.channel else self._everybody
        if channel is None:
            return
        channel.waiting.append(event)
        if type(event) is Publication:
            channel.size += len(event.data)
        if not channel.busy:
            channel.busy = True
            self._outgoing.begin(channel)
        elif channel.size > MOST_WAITING or len(channel.waiting) > MOST_EVENTS:
            self.finish(channel)

    def finish(self, channel: Channel) -> None:
        """Deliver now what waits in a channel."""
        if channel.busy:
            self._outgoing.finish(channel)

    def finish_for(self, session: Session) -> None:
        """The client is about to be told to go: what was published before comes before."""
        for name in tuple(session.channels):
            channel = self.channels.get(name)
            if channel is not None:
                self.finish(channel)
        self.finish(self._everybody)

    def start(self, channel: Channel) -> Round | None:
        """Deliver what waits in a channel; what is left to do, if anything is, as a round (see `core.outgoing`)."""
        if channel.round is None and channel.busy:
            if self._at_once(channel):
                channel.busy = False
            else:
                channel.round = self._round(channel)
        return channel.round

    def _at_once(self, channel: Channel) -> bool:
        """The common case in few steps: one publication, in its turn, to some clients that all get the same."""
        if len(channel.waiting) != 1 or channel.special or len(channel.groups) != 1:
            return False
        ((form, group),) = channel.groups.items()
        event = channel.waiting[0]
        if len(group) > A_STEP or type(event) is not Publication or event.exclude is not None or channel.deltas:
            return False
        if event.offset:
            known = channel.position
            if known is None or known.epoch != event.epoch or known.offset + 1 != event.offset:
                return False
            channel.position = event.position
        channel.waiting, channel.size = [], 0
        channel.seen += 1
        channel.round = _UNDER_WAY
        try:
            send_to_few(event, form, group, self._counts)
        except Exception as error:  # an encoder's fault
            self._failed(channel, error)
        finally:
            channel.round = None
        return not channel.waiting

    def _round(self, channel: Channel) -> Round:
        """All that waits, and what comes to wait meanwhile."""
        try:
            while channel.waiting:
                events, channel.waiting, channel.size = channel.waiting, [], 0
                channel.seen += len(events)
                try:
                    if channel is self._everybody:
                        yield from self._to_everybody(events)
                    else:
                        yield from self._events(channel, events)
                except Exception as error:  # an encoder's fault
                    self._failed(channel, error)
                self._let_join(channel)
        finally:
            channel.round, channel.busy = None, False

    def _let_join(self, channel: Channel) -> None:
        """Who came since the last time joins its group, but where what waits came before it."""
        for subscription in [one for one in channel.special.values() if one.simple and one.since <= channel.seen]:
            self._join_group(channel, subscription)

    def _failed(self, channel: Channel, error: Exception) -> None:
        """Some did not get what was on its way: who has to know is told."""
        self._outgoing.failed(error)
        lost = channel.positioned()
        channel.last = None
        self._lost(lost)

    def _events(self, channel: Channel, events: list[ChannelEvent]) -> Iterator[None]:
        """In order; what can leave together does."""
        several: list[Encodings] = []
        for number, event in enumerate(events, channel.seen - len(events) + 1):
            if isinstance(event, Publication):
                fresh, lost = channel.advance(event.position) if event.offset else (True, None)
                if not fresh:
                    continue
                if lost is not None:
                    yield from self._to_groups(channel, several)
                    several = []
                    self._lost(lost)
                encodings = Encodings(event, channel.last)
                if channel.deltas:
                    channel.last = event.data
                several.append(encodings)
                if channel.special:
                    yield from self._to_special(channel, encodings, number)
            elif channel.hearing:
                yield from self._to_groups(channel, several)
                several = []
                reply = (Joined if isinstance(event, Join) else Left)(event.channel, event.info)
                hearing = tuple(channel.hearing.values())
                yield from tell(reply, (one.session for one in hearing if one.hears(number)))
        yield from self._to_groups(channel, several)

    def _to_groups(self, channel: Channel, several: list[Encodings]) -> Iterator[None]:
        if not several:
            return
        excluded = {}
        for one in several:
            exclude = one.publication.exclude
            if exclude is not None and (session := self.sessions.get(exclude)) is not None:
                excluded[exclude] = session
        yield from fan_out(several, tuple(channel.groups.items()), excluded, self._counts)

    def _to_special(self, channel: Channel, encodings: Encodings, number: int) -> Iterator[None]:
        """Who is being made keeps it at once: from here on the channel's position says that it has it."""
        live = []
        for subscription in channel.special.values():
            if subscription.since < number:
                if subscription.line is None:
                    live.append(subscription)
                else:
                    subscription.hold(encodings.publication)
        for count, subscription in enumerate(live, 1):
            deliver(encodings, subscription)
            if not count % A_STEP:
                yield

    def _to_everybody(self, events: list[ChannelEvent]) -> Iterator[None]:
        for event in events:
            assert isinstance(event, Publication)
            others = [session for session in self.present() if session.id != event.exclude]
            yield from tell(Message(event), others)
