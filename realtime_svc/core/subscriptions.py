"""The life of subscriptions: who may have one, how it joins a running stream, how it ends.

    prepare (registers, so that nothing is missed; reads the stream) -> the answer goes out -> go_live (what was
    published meanwhile, then everything) -> end

What is published while a subscription is prepared waits in it, so there is no gap and no duplicate, however late the
broker answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from realtime_svc import channel as channels
from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core import messages, recovery
from realtime_svc.core.channel import Channel
from realtime_svc.core.fossil import delta
from realtime_svc.core.messages import Message, SubscriptionResult
from realtime_svc.core.permissions import may, may_look_back
from realtime_svc.core.session import Session
from realtime_svc.core.state import State
from realtime_svc.core.subscription import Subscription
from realtime_svc.core.tagsfilter import MAX_SIZE, FilterNode, compile_filter, size_of
from realtime_svc.errors import (
    AuthenticationFailed,
    ConnectionClosing,
    Disconnect,
    ErrorCode,
    ReplyError,
    Unsubscription,
)
from realtime_svc.model import Grant, Identity, Join, Leave, Publication, StreamPosition

if TYPE_CHECKING:
    from realtime_svc.core.node import Node

FOSSIL = "fossil"
COMPARED = 64 * 1024  # bytes of payloads that one answer compares: a small command is to cost little


class Prepared(NamedTuple):
    """A subscription that waits for its answer to be sent. `top`: where the client stands after the answer."""

    subscription: Subscription
    result: SubscriptionResult
    top: StreamPosition | None


class Subscriptions:
    """The subscriptions of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._broker = node.broker
        self._presence = node.presence_store

    # ---- who may

    async def subscribe(self, session: Session, command: messages.Subscribe) -> None:
        """A client subscribes. Raises `ReplyError`: 107, 108, 105, 106, 102, 103, 109, in this order."""
        namespace = self._subscribable(session, command.channel, command.kind)
        grant = await self._node.hooks.subscribe(session, command, self._grant(session, command, namespace))
        assert session.identity is not None
        if grant is None or (command.last and not may_look_back(session.identity, namespace, command.channel)):
            raise ReplyError(ErrorCode.PERMISSION_DENIED)
        self._subscribable(session, command.channel, command.kind)  # user code may have taken its time
        prepared = await self.prepare(session, command, namespace, grant)
        session.say_subscribed(messages.Subscribed(command.channel, prepared.result, command.id))
        self.go_live(prepared)

    async def subscribe_by_server(self, session: Session, channel: str, grant: Grant) -> None:
        """Make a subscription for a client, whatever it may. Raises `ReplyError` 107, 105, 106, 102, 100."""
        if session.state >= State.CLOSING:
            return
        prepared = await self.prepare_by_server(session, channel, grant)
        session.say_subscribed(messages.ServerSubscribed(channel, prepared.result))
        self.go_live(prepared)

    async def prepare_by_server(
        self, session: Session, channel: str, grant: Grant, room: int | None = None
    ) -> Prepared:
        """`room`: bytes that are left for what is recovered, where one answer holds several subscriptions."""
        namespace = self._subscribable(session, channel, 0)
        command = messages.Subscribe(channel, recover=grant.recover)
        return await self.prepare(session, command, namespace, grant, server_side=True, room=room)

    def _subscribable(self, session: Session, channel: str, kind: int) -> Namespace:
        if not channels.is_channel(channel):
            raise ReplyError(ErrorCode.BAD_REQUEST, "not a channel name")
        if kind:
            raise ReplyError(ErrorCode.NOT_AVAILABLE, "only subscriptions of type 0 are available")
        if channel in session.channels:
            raise ReplyError(ErrorCode.ALREADY_SUBSCRIBED)
        most = self._node.limits.channels_per_client
        if len(session.channels) >= most:
            raise ReplyError(ErrorCode.LIMIT_EXCEEDED, f"at most {most} channels a client")
        namespace = self._node.namespace(channel)
        if namespace.subscribers:
            there = self._node.hub.channels.get(channel)
            if there is not None and len(there.subscriptions) >= namespace.subscribers:
                raise ReplyError(ErrorCode.LIMIT_EXCEEDED, "the channel is full")
        if session.dialect.traits.json_only and namespace.payload != "json":
            raise ReplyError(ErrorCode.NOT_AVAILABLE, "this protocol carries JSON only, and the channel bytes")
        return namespace

    def _grant(self, session: Session, command: messages.Subscribe, namespace: Namespace) -> Grant | None:
        """By the token, where there is one: whoever issues tokens decides. Else by the rules; None: they say no."""
        identity = session.identity
        assert identity is not None
        if command.token:
            return self.verify(session, command.channel, command.token)
        if namespace.insecure or may(identity, namespace.subscribe, command.channel):
            return Grant()
        return None

    def may_subscribe(self, identity: Identity, channel: str) -> bool:
        """Do the rules let `identity` in, without a token? False also where there is no such namespace."""
        namespace = self._node.namespaces.get(channels.namespace_of(channel))
        return namespace is not None and (namespace.insecure or may(identity, namespace.subscribe, channel))

    def verify(self, session: Session, channel: str, token: str, bad: ErrorCode = ErrorCode.PERMISSION_DENIED) -> Grant:
        """What a subscription token grants. Raises `ReplyError` 109 or `bad`; a good token that was issued for another
        channel or user ends the connection (3500), as the Centrifugo client protocol has it."""
        try:
            claims = self._node.authenticator.authenticate_subscription(token)
        except AuthenticationFailed as failure:
            self._node.count_authentication_failure(failure)
            raise ReplyError(ErrorCode.TOKEN_EXPIRED if failure.cause == "expired" else bad) from None
        user = session.identity.user if session.identity else ""
        if claims.channel != channel or claims.user != user or claims.client not in ("", session.id):
            raise ConnectionClosing(errors.INVALID_TOKEN)
        expires_at = claims.grant.expires_at
        if expires_at is not None and expires_at <= self._node.wall_clock():
            raise ReplyError(ErrorCode.TOKEN_EXPIRED)
        return claims.grant._replace(token_id=claims.token_id)

    # ---- how one begins

    async def prepare(
        self,
        session: Session,
        command: messages.Subscribe,
        namespace: Namespace,
        grant: Grant,
        *,
        server_side: bool = False,
        room: int | None = None,
    ) -> Prepared:
        """Register, and read where the stream stands. Raises `ReplyError`; nothing is left behind then."""
        if session.closing:  # it left while user code was thinking
            raise ReplyError(ErrorCode.INTERNAL)
        subscription = Subscription(session, command.channel, grant, server_side=server_side)
        _set_options(subscription, command, namespace, grant)
        channel = self._node.hub.subscribe(subscription)
        self._node.instruments.subscriptions += 1
        channel.deltas = channel.deltas or subscription.delta
        if len(channel.subscriptions) == 1:
            self._node.emit("occupied", command.channel)
        try:
            if not channel.ready:
                await self._broker.subscribe(command.channel)
                channel.ready = True
            if subscription.presence and not subscription.ended:
                await self._presence.add(command.channel, subscription.client_info)
            result, top = await self._position(subscription, command, namespace, room)
            result = result._replace(data=grant.data)
            if subscription.overrun or subscription.ended:
                raise ReplyError(ErrorCode.INTERNAL)
            if command.strict and command.recover is not None and not result.recovered:
                raise ReplyError(ErrorCode.UNRECOVERABLE_POSITION)
        except BaseException:
            self._undo(subscription)
            raise
        subscription.preparing = False
        return Prepared(subscription, result, top)

    async def _position(
        self, subscription: Subscription, command: messages.Subscribe, namespace: Namespace, room: int | None
    ) -> tuple[SubscriptionResult, StreamPosition | None]:
        """What the client is told, and the top of the stream as it was read (None: it was not)."""
        expires_in = self._node.seconds_left(subscription.expires_at)
        result = SubscriptionResult(
            recoverable=subscription.recoverable,
            positioned=subscription.positioned,
            was_recovering=command.recover is not None,
            delta=subscription.delta,
            expires_in=expires_in,
        )
        if not namespace.keeps_history or not (subscription.positioned or command.last):
            return result, None
        since = command.recover if subscription.recoverable else None
        cache = namespace.recovery_mode == "cache"
        query = recovery.query(since, command.last, self._node.limits.page, cache)
        page = await self._broker.history(command.channel, query, namespace.history_meta_ttl)
        found = recovery.recover(page, since, cache, self._node.limits.queue_size if room is None else room)
        recovered = _recovered(subscription, found.publications)
        return result._replace(recovered=found.recovered, messages=recovered, position=found.position), found.top

    def go_live(self, prepared: Prepared) -> None:
        """The answer is sent: let through what waited, and announce the newcomer."""
        subscription, _, top = prepared
        channel = self._node.hub.channels.get(subscription.channel)
        if subscription.ended or channel is None:
            return
        if top is not None:
            self._meet(channel, subscription, top)
            if subscription.ended:  # what was under way was too much for its client
                return
        whole = channel.activate(subscription, top)
        self._node.hub.settle(subscription)
        if subscription.ended:  # what waited was too much for its client
            return
        if not whole and subscription.positioned:
            self.lost([subscription])
            return
        subscription.told = True
        self._node.emit("subscribe", subscription.channel, subscription)
        if subscription.announced:
            join = Join(subscription.channel, subscription.client_info)
            self._node.background(self._broker.announce(join), "announcing a join failed")
        subscription.session.watch_expiry()

    def _meet(self, channel: Channel, subscription: Subscription, top: StreamPosition) -> None:
        """The newcomer has read the stream. Where it is another one than this node was in, who was there is told,
        unless what is under way shows that ours is the newer one."""
        known = channel.position
        if channel.busy and (known is None or known.epoch != top.epoch):
            self._node.hub.finish(channel)
            known = channel.position
        if known is None or known.epoch == top.epoch or channel.waiting:
            return
        if not any(publication.offset for publication in subscription.line or ()):
            lost = channel.positioned()
            channel.start_anew(top)
            self.lost(lost)

    # ---- how one ends

    def _undo(self, subscription: Subscription) -> None:
        """A subscription that could not be made. The client may have another one there by now, which stays."""
        if not subscription.ended:
            self._remove(subscription)
        there = subscription.session.channels.get(subscription.channel)
        if there is None or not there.presence:
            self._absent(subscription)

    def _remove(self, subscription: Subscription) -> None:
        """Take it out of the tables; the broker hears of a channel that nobody listens to any more."""
        self._node.instruments.subscriptions -= 1
        if self._node.hub.unsubscribe(subscription):
            self._node.emit("vacated", subscription.channel)
            self._node.background(self._broker.unsubscribe(subscription.channel), "leaving a channel failed")

    def _absent(self, subscription: Subscription) -> None:
        if subscription.presence:
            removal = self._presence.remove(subscription.channel, subscription.session.id)
            self._node.background(removal, "leaving the presence of a channel failed")

    def end(self, subscription: Subscription, why: Unsubscription | Disconnect) -> None:
        """Nothing more goes to it, it is present no more, and others are told. May be called again.

        The engines are not waited for: they hear of it before anything that the client does next.
        """
        if subscription.ended:
            return
        if subscription.told:
            self._node.emit("unsubscribe", subscription.channel, subscription, why)
        self._remove(subscription)
        if subscription.preparing:
            return
        self._absent(subscription)
        if subscription.told and subscription.announced:
            leave = Leave(subscription.channel, subscription.client_info)
            self._node.background(self._broker.announce(leave), "announcing a leave failed")

    async def unsubscribe(self, session: Session, channel: str, why: Unsubscription) -> None:
        """A subscription ends while its client stays. Succeeds also where there was none."""
        subscription = session.channels.get(channel)
        if subscription is None:
            return
        self.end(subscription, why)
        await self._node.unsubscribe_hook(session, channel, why)

    def end_all(self, session: Session, why: Disconnect) -> None:
        """The client leaves."""
        for subscription in tuple(session.channels.values()):
            self.end(subscription, why)

    def end_by_server(self, subscription: Subscription, why: Unsubscription, close: Disconnect | None) -> None:
        """The client is told. `close`: it can't be told, or can't mend it, so its connection ends with this."""
        if subscription.ended:
            return
        session = subscription.session
        if close is not None and (subscription.server_side or session.home):
            session.close(close)
            return
        self._node.background(self.end_and_tell(subscription, why), "ending a subscription failed")

    async def end_and_tell(self, subscription: Subscription, why: Unsubscription) -> None:
        """As `unsubscribe`, and the client learns it."""
        session, channel = subscription.session, subscription.channel
        session.say(messages.Unsubscribed(channel, why))
        await self.unsubscribe(session, channel, why)

    def lost(self, subscriptions: Iterable[Subscription]) -> None:
        """Something is missing for them: they learn it, and come back with their position."""
        for subscription in subscriptions:
            self._node.instruments.positions_lost += 1
            self.end_by_server(subscription, errors.UNSUBSCRIBED_INSUFFICIENT, errors.INSUFFICIENT_STATE)

    # ---- expiry

    def refresh(self, session: Session, channel: str, token: str) -> int | None:
        """A client renews a subscription. Returns for how many seconds (None: for ever). Raises `ReplyError`."""
        subscription = session.channels.get(channel)
        if subscription is None:
            raise ReplyError(ErrorCode.PERMISSION_DENIED)
        if not token:
            raise ReplyError(ErrorCode.BAD_REQUEST, "token is missing")
        try:
            grant = self.verify(session, channel, token)
        except ReplyError as error:
            if error.code is ErrorCode.PERMISSION_DENIED:
                raise ConnectionClosing(errors.INVALID_TOKEN) from None
            raise
        subscription.expires_at = grant.expires_at
        subscription.token_id = grant.token_id
        if grant.info is not None:
            subscription.info = grant.info
        session.watch_expiry()
        return self._node.seconds_left(grant.expires_at)

    def expire(self, session: Session, now: float) -> float | None:
        """End what has run out, the time of grace included; returns when the next one does (wall clock)."""
        grace = self._node.grace(session)
        following: float | None = None
        for subscription in tuple(session.channels.values()):
            if subscription.expires_at is None:
                continue
            until = subscription.expires_at + grace
            if until <= now:
                self.end_by_server(subscription, errors.UNSUBSCRIBED_EXPIRED, errors.SUBSCRIPTION_EXPIRED)
            else:
                following = until if following is None else min(following, until)
        return following


def _set_options(subscription: Subscription, command: messages.Subscribe, namespace: Namespace, grant: Grant) -> None:
    """What the namespace says, what the client wishes where it may, what the grant says above all."""

    def decide(setting: str, wish: bool, granted: bool | None) -> bool:
        if granted is not None:
            return granted
        return setting == "always" or (setting == "allowed" and wish)

    keeps = namespace.keeps_history
    wants_recovery = command.recoverable or command.recover is not None
    subscription.recoverable = keeps and decide(namespace.recovery, wants_recovery, grant.recoverable)
    positioned = decide(namespace.positioning, command.positioned, grant.positioned)
    subscription.positioned = subscription.recoverable or (keeps and positioned)
    subscription.presence = namespace.presence if grant.presence is None else grant.presence
    join_leave = namespace.join_leave != "off"
    subscription.announced = join_leave if grant.join_leave is None else grant.join_leave
    subscription.hears_joins = decide(namespace.join_leave, command.join_leave, grant.join_leave)
    subscription.delta = namespace.delta and command.delta == FOSSIL and subscription.positioned
    if command.tags_filter is not None:
        if not namespace.tags_filter:
            raise ReplyError(ErrorCode.BAD_REQUEST, "tags can't be filtered in this channel")
        _filter(subscription, command.tags_filter)


def _filter(subscription: Subscription, node: FilterNode) -> None:
    """Raises `ReplyError` 107, and 106 where all filters of the client together would take too much memory."""
    subscription.matches = compile_filter(node)
    subscription.filter_size = size_of(node)
    others = sum(other.filter_size for other in subscription.session.channels.values())
    if others + subscription.filter_size > MAX_SIZE:
        raise ReplyError(ErrorCode.LIMIT_EXCEEDED, f"the tags filters of a client take at most {MAX_SIZE} bytes")


def _recovered(subscription: Subscription, publications: list[Publication]) -> tuple[Message, ...]:
    """The first in full; where the client takes deltas, others as the difference to the one before."""
    wanted = [publication for publication in publications if subscription.wants(publication)]
    if not subscription.delta:
        return tuple(Message(publication) for publication in wanted)
    found: list[Message] = []
    compared = 0
    for index, publication in enumerate(wanted):
        compared += len(publication.data)
        difference = delta(wanted[index - 1].data, publication.data) if index and compared <= COMPARED else None
        if difference is not None and len(difference) >= len(publication.data):
            difference = None
        found.append(Message(publication, True, difference))
    return tuple(found)
