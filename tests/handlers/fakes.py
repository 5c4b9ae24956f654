"""A node and sessions as far as user code sees them, and an object with every handler."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.ports import Connecting, Traits
from realtime_svc.driver import run
from realtime_svc.errors import Disconnect
from realtime_svc.handlers import Client, Server, UserHandlers
from realtime_svc.model import ClientInfo, Identity, Publication, RemoteAddress


class ThreadClock(Clock):
    """A clock that takes calls from threads, and makes them when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: list[Callable[[], None]] = []

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:  # noqa: N802 (Twisted)
        self.from_threads.append(lambda: function(*args))


class UseCases:
    """Coroutine methods of any name; `calls` has (name, arguments, named ones).

    What stands in `outcomes` under a name is raised, or awaited and returned.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.outcomes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        async def use_case(*args: Any, **named: Any) -> Any:
            self.calls.append((name, args, named))
            outcome = self.outcomes.get(name)
            if isinstance(outcome, Exception):
                raise outcome
            return await outcome if isinstance(outcome, Deferred) else outcome

        return use_case


class FakeHub:
    def __init__(self) -> None:
        self.here: list[FakeSession] = []

    def present(self) -> tuple[FakeSession, ...]:
        return tuple(self.here)

    def subscribers(self, channel: str) -> tuple[FakeSession, ...]:
        return tuple(session for session in self.here if channel in session.channels)


class FakeNode:
    def __init__(self) -> None:
        self.clock = ThreadClock()
        self.run = run
        self.publishing = UseCases()
        self.control = UseCases()
        self.hub = FakeHub()


def fake_node() -> Any:
    """Typed as whatever it is put for."""
    return FakeNode()


class FakeSession:
    """A connection of `user`."""

    def __init__(
        self, user: str = "alice", *, info: bytes | None = None, meta: bytes | None = None, handshake: bool = False
    ) -> None:
        self.id = f"id-of-{user}"
        self.identity = Identity(user, info=info, meta=meta)
        self.info = ClientInfo(self.id, user, info)
        self.remote = RemoteAddress("192.0.2.1", 40000)
        self.channels: dict[str, object] = {}
        self.dialect = SimpleNamespace(traits=Traits(handshake=handshake))
        self.said: list[Publication] = []
        self.closed: Disconnect | None = None

    def say(self, reply: Any) -> None:
        self.said.append(reply.publication)

    def close(self, disconnect: Disconnect) -> None:
        self.closed = disconnect


class Everything:
    """Remembers what it was called for; what stands in `outcomes` under an event is called with the same arguments."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.calls: list[tuple[Any, ...]] = []
        self.outcomes: dict[str, Callable[..., Any]] = {}

    def _called(self, event: str, *arguments: Any) -> Any:
        self.calls.append((event, *arguments))
        return self.outcomes[event](*arguments) if event in self.outcomes else None

    def connect(self, client: Any, request: Any) -> Any:
        return self._called("connect", client, request)

    def subscribe(self, client: Any, channel: Any, request: Any) -> Any:
        return self._called("subscribe", client, channel, request)

    def publish(self, client: Any, message: Any) -> Any:
        return self._called("publish", client, message)

    def rpc(self, client: Any, method: Any, data: Any) -> Any:
        return self._called("rpc", client, method, data)

    def message(self, client: Any, message: Any) -> Any:
        return self._called("message", client, message)

    def unsubscribe(self, client: Any, channel: Any, code: Any, reason: Any) -> Any:
        return self._called("unsubscribe", client, channel, code, reason)

    def disconnect(self, client: Any, code: Any, reason: Any) -> Any:
        return self._called("disconnect", client, code, reason)


class Case(SynchronousTestCase):
    """A fake node, and hooks with `Everything` behind them."""

    def setUp(self) -> None:
        self.node = fake_node()
        self.hooks = UserHandlers(Everything, self.node)
        self.code: Everything = self.hooks.target
        self.server = self.code.server
        self.alice: Any = FakeSession("alice")

    def on(self, event: str, outcome: Callable[..., Any]) -> None:
        """What the handler does."""
        self.code.outcomes[event] = outcome

    def result(self, work: Any) -> Any:
        """Of a coroutine that does not wait."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def failure(self, work: Any) -> Any:
        """The exception of a coroutine that does not wait."""
        return self.failureResultOf(Deferred.fromCoroutine(work)).value

    def client(self, session: Any = None) -> Client:
        session = session or self.alice
        return Client(self.server, session.info, session)

    def connecting(self, data: bytes | None = None) -> Connecting:
        return Connecting(data)


def raising(error: BaseException) -> Callable[..., Any]:
    """A handler that raises."""

    def handler(*args: object) -> None:
        raise error

    return handler
