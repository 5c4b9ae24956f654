"""One client of the model: it asks, hears, and holds what it hears against the reference."""

from __future__ import annotations

from typing import Any

from realtime_svc.core import messages
from realtime_svc.core.messages import Subscribe
from realtime_svc.core.session import Session
from realtime_svc.core.tagsfilter import FilterNode
from realtime_svc.errors import FORCED
from realtime_svc.model import Join, Leave, StreamPosition
from tests.fakes import PEER, FakeHooks, World
from tests.model.reference import Listener, Truth
from tests.model.wires import Wired, WiredTransport

CHANNEL = "x"
EVERYTHING = FilterNode(key="none", compare="nex")


class Registrar(FakeHooks):
    """User code that is asked at the moment when a client is about to be registered: notes what had arrived by then."""

    def __init__(self, truth: Truth) -> None:
        super().__init__()
        self._truth = truth
        self.came: dict[str, int] = {}  # by the client's id

    async def subscribe(self, session: Session, command: Subscribe, grant: Any) -> Any:
        self.came[session.id] = len(self._truth.arrived)
        return grant


class Client:
    """A client with its listener, connected or not."""

    def __init__(self, world: World, truth: Truth, registrar: Registrar, dialect: Wired) -> None:
        self._world = world
        self._truth = truth
        self._registrar = registrar
        self._dialect = dialect
        self.listener = Listener(truth)
        self.transport: WiredTransport | None = None
        self.asked: tuple[StreamPosition | None] | None = None  # an answer is due
        self.could: set[bool] = set()  # whether what it asked for could be recovered, at any time since
        self.may_lose = False  # a delivery was lost since it subscribed
        self.stalled = False

    @property
    def idle(self) -> bool:
        """Is it connected, and neither subscribed nor about to be?"""
        return self.transport is not None and self.asked is None and not self.listener.live

    @property
    def session(self) -> Session:
        assert self.transport is not None and self.transport.session is not None
        return self.transport.session

    def connect(self) -> None:
        transport = self.transport = WiredTransport(self._dialect)
        transport.session = Session(self._world.node, self._dialect, transport, None, PEER)
        transport.session.opened()
        self.listener.me = transport.session.id
        self.send(messages.Connect(token="a", id=1))
        self.hear()

    def send(self, *commands: messages.Command) -> None:
        self.session.receive(list(commands), False)  # type: ignore[arg-type]

    def subscribe(self, since: StreamPosition | None, filters: bool, *first: messages.Command) -> None:
        """In one message with what comes `first`. `filters`: it is served one by one, though it wants everything."""
        self._ask(since)
        tags = EVERYTHING if filters else None
        command = Subscribe(CHANNEL, 2, recover=since, recoverable=True, join_leave=True, tags_filter=tags)
        self.send(*first, command)

    def look_on(self, last: int, filters: bool) -> None:
        """Subscribe without a position: it wants the `last` ones, and does not care for a loss."""
        self._ask(None)
        self.send(Subscribe(CHANNEL, 2, last=last, join_leave=True, tags_filter=EVERYTHING if filters else None))

    def _ask(self, since: StreamPosition | None) -> None:
        self.asked, self.could = (since,), set()
        self.watch()
        self.may_lose = self.may_lose and self.listener.live  # it may still be told of what was before

    def leave(self) -> None:
        """The connection breaks."""
        assert self.transport is not None
        self.hear()
        self.transport.leave()
        self.transport = None
        self.asked = None
        self.listener.live = self.stalled = False

    def close(self) -> None:
        """The server does so: what has arrived there goes out before."""
        assert self.transport is not None
        arrived = len(self._truth.arrived)
        self.session.close(FORCED)
        assert self.transport.closed == FORCED
        self.hear()
        if self.asked is None:
            self.listener.check_heard(arrived)

    def stall(self) -> None:
        self.stalled = True
        self.session.blocked()

    def go_on(self) -> None:
        """It takes what comes, again."""
        if self.stalled:
            self.stalled = False
            self.session.unblocked()

    def watch(self) -> None:
        """The stream has changed: the broker's answer may be about how it was or how it is."""
        if self.asked is not None and self.asked[0] is not None:
            self.could.add(self._truth.recoverable(self.asked[0]))

    def check_complete(self) -> None:
        """Nothing is on its way any more: has it heard everything, or was it told that it has not?"""
        assert self.asked is None, "no answer"
        self.listener.check_complete()

    def hear(self) -> None:
        """Take what was said, in order."""
        assert self.transport is not None
        for reply in self.transport.read():
            self._hear(reply)

    def _hear(self, reply: messages.Reply) -> None:
        match reply:
            case messages.Subscribed(result=result):
                assert self.asked is not None, "an answer nobody waits for"
                (since,), self.asked = self.asked, None
                self.listener.subscribed(result, since, self.could, self._registrar.came[self.session.id])
            case messages.Message():
                self.listener.heard(reply)
            case messages.Joined(info=info):
                self.listener.heard_of(Join, info)
            case messages.Left(info=info):
                self.listener.heard_of(Leave, info)
            case messages.Unsubscribed(why=why):
                assert why.code == 2500 and self.listener.positioned
                position = self.listener.position
                other = position is not None and self._truth.names.get(position.epoch) != self._truth.epoch
                assert self.may_lose or other, "a loss was told where nothing was lost"
                self.listener.live = False
            case messages.Done(verb="unsubscribe"):
                self.listener.live = False
            case messages.Failed(error=error):
                raise AssertionError(f"refused: {error.number} {error.message}")
