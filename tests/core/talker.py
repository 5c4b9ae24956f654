"""A client that speaks in objects, and engines that fail or lose what they are told to."""

from __future__ import annotations

from typing import Any

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import Failed, Reply, SubscriptionResult
from realtime_svc.core.ports import Dialect
from realtime_svc.core.session import Session
from realtime_svc.driver import run
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import (
    ChannelEvent,
    ClientInfo,
    Grant,
    HistoryPage,
    HistoryQuery,
    Identity,
    Join,
    Leave,
    Publication,
    PublishResult,
    StreamOptions,
    SubscriptionClaims,
)
from tests.fakes import PEER, FakeTransport, World
from tests.object_dialect import ObjectDialect, ObjectFrame

OBJECTS: Dialect = ObjectDialect()
JOINING: Dialect = ObjectDialect(joins=True)
FIRST = 1  # the id of the first command

WATCHED = Namespace(history_size=10, history_ttl=60.0, recovery="always", presence=True, join_leave="always")
NAMESPACES = {
    "default": Namespace(subscribe=("authenticated",)),
    "log": Namespace(history_size=10, history_ttl=60.0, presence=True, join_leave="always"),
    "watched": WATCHED,
    "closed": Namespace(subscribe=()),
    "bytes": Namespace(payload="bytes"),
    "small": Namespace(subscribers=1),
}
_ALL = ("anonymous",)
NAMESPACES_FOR_ALL = {
    "default": Namespace(subscribe=_ALL, publish=_ALL),
    "log": Namespace(
        subscribe=_ALL,
        publish=_ALL,
        history_size=10,
        history_ttl=60.0,
        recovery="always",
        presence=True,
        join_leave="always",
    ),
}


def grant(world: World, token: str, channel: str, user: str = "alice", client: str = "", **options: Any) -> None:
    """From here on `token` is a good subscription token for that."""
    world.authenticator.subscriptions[token] = SubscriptionClaims(user, channel, Grant(**options), client)


def kinds(replies: list[Any]) -> list[str]:
    """The names of their types."""
    return [type(reply).__name__ for reply in replies]


class Talker:
    """A client of `world` with the protocol of objects. Without a token it only opens the connection."""

    def __init__(
        self,
        world: World,
        token: str | None = "a",
        *,
        identity: Identity | None = None,
        dialect: Dialect = OBJECTS,
        room: int | None = None,
        **options: Any,
    ) -> None:
        self.world = world
        self.transport = FakeTransport(room=room)
        self.session = Session(world.node, dialect, self.transport, identity, PEER, **options)
        self.transport.session = self.session
        self.session.opened()
        if token is not None:
            self.say(messages.Connect(token=token, id=FIRST))
            self.heard()

    def say(self, *commands: messages.Command | Failed) -> None:
        """The commands of one message."""
        if not self.session.closing:
            self.session.receive(list(commands), False)  # type: ignore[arg-type]

    def frames(self) -> list[list[Reply]]:
        """What came since the last time, frame by frame."""
        frames, self.transport.frames = self.transport.frames, []
        return [list(frame.replies) for frame in frames if isinstance(frame, ObjectFrame)]

    def heard(self, *kinds: type[Reply]) -> list[Any]:
        """What came since the last time; of `kinds` only, where they are given."""
        return [reply for frame in self.frames() for reply in frame if not kinds or isinstance(reply, kinds)]

    def ask(self, *commands: messages.Command) -> list[Any]:
        self.say(*commands)
        return self.heard()

    def subscribe(self, channel: str = "x", **options: Any) -> SubscriptionResult:
        """Subscribe, and be answered at once; what came besides is forgotten."""
        (answer,) = [one for one in self.ask(messages.Subscribe(channel, 2, **options)) if getattr(one, "id", 0) == 2]
        assert isinstance(answer, messages.Subscribed), answer
        return answer.result

    def refused(self, command: messages.Command) -> int:
        """The number of the error that is the answer; 0 where there is none."""
        failed = [reply.error.number for reply in self.ask(command) if isinstance(reply, Failed)]
        assert len(failed) <= 1
        return failed[0] if failed else 0

    def published(self) -> list[bytes]:
        """The payloads of the messages that came since the last time."""
        return [reply.publication.data for reply in self.heard(messages.Message)]

    @property
    def closed(self) -> int:
        """The code with which the server closed; 0: it did not."""
        return self.transport.closed.code if self.transport.closed else 0

    def leave(self) -> None:
        """The connection breaks."""
        self.transport.leave()


def publish(
    world: World, *payloads: bytes, channel: str = "x", tags: dict[str, str] | None = None, **options: Any
) -> None:
    """The server publishes; this succeeds at once, or later."""
    for data in payloads:
        command = messages.Publish(channel, data, tags=tags)
        run(world.node.publishing.publish(command, **options), _must_succeed)


def _must_succeed(result: object, error: BaseException | None) -> None:
    if error is not None:
        raise error


class Outcome:
    """What became of a coroutine."""

    def __init__(self, work: Any) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        run(work, self._done)

    def _done(self, result: object, error: BaseException | None) -> None:
        assert not self.done
        self.result, self.error, self.done = result, error, True

    @property
    def refused(self) -> int:
        """The number of the error; 0 where there is none."""
        assert self.done
        if self.error is None:
            return 0
        assert isinstance(self.error, ReplyError), self.error
        return self.error.number


class Unreliable:
    """Fails in the methods named in `failing`: with error 100, or with `failure`."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.failure: Exception = ReplyError(ErrorCode.INTERNAL)

    def may_fail(self, method: str) -> None:
        if method in self.failing:
            raise self.failure


class UnreliableBroker(MemoryBroker, Unreliable):
    """Also loses the next `losing` publications on their way to the node, and counts who listens."""

    def __init__(self, clock: Any) -> None:
        MemoryBroker.__init__(self, clock)
        Unreliable.__init__(self)
        self.losing = 0
        self.announced: list[tuple[str, str, str]] = []  # what, channel, client
        self.listening: set[str] = set()
        self.asked: list[str] = []  # channels whose history was read

    def on_event(self, receive: Any) -> None:
        def deliver(event: ChannelEvent) -> None:
            if self.losing and isinstance(event, Publication):
                self.losing -= 1
            else:
                receive(event)

        super().on_event(deliver)

    async def subscribe(self, channel: str) -> None:
        self.may_fail("subscribe")
        self.listening.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.listening.discard(channel)

    def publish_at_once(self, publication: Publication, options: StreamOptions) -> PublishResult:
        self.may_fail("publish")
        return super().publish_at_once(publication, options)

    async def announce(self, event: Join | Leave) -> None:
        self.may_fail("announce")
        self.announced.append((type(event).__name__.lower(), event.channel, event.info.client))
        await super().announce(event)

    async def history(self, channel: str, query: HistoryQuery, meta_ttl: float) -> HistoryPage:
        self.asked.append(channel)
        self.may_fail("history")
        return await super().history(channel, query, meta_ttl)


class UnreliablePresence(MemoryPresence, Unreliable):
    """See `Unreliable`."""

    def __init__(self) -> None:
        MemoryPresence.__init__(self)
        Unreliable.__init__(self)

    async def add(self, channel: str, info: ClientInfo) -> None:
        self.may_fail("add")
        await super().add(channel, info)

    async def remove(self, channel: str, client: str) -> None:
        self.may_fail("remove")
        await super().remove(channel, client)
