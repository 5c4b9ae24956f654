"""The service: what it is made of, in which order it starts, what a reload keeps, and how it drains."""

from __future__ import annotations

import signal
import socket
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from realtime_svc.config import Config, Handlers, Internal, Listener, Sockets
from realtime_svc.core.session import Session
from realtime_svc.errors import SERVICE_RESTART, ConfigError
from realtime_svc.handlers import NoHandlers, Server, UserHandlers
from realtime_svc.model import Identity
from realtime_svc.service import DRAIN_SLICE, RealtimeService, prepare
from realtime_svc.transports.caps import Lease
from realtime_svc.transports.kernel import choose
from tests.fakes import PEER, RAW, FakeTransport

reactor: Any = _reactor
HERE = Listener(host="127.0.0.1", port=0)


class Greeter:
    """User code that remembers when it was made."""

    made: list[Server] = []  # noqa: RUF012 (one for the test)

    def __init__(self, server: Server) -> None:
        self.made.append(server)

    def connect(self, client: object) -> None:
        """Lets everybody in."""


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class StartTests(TestCase):
    """With real sockets."""

    def service(self, **sections: Any) -> RealtimeService:
        config = Config(**{"internal": Internal(port=0), "listeners": {"public": HERE}, **sections})
        return RealtimeService(prepare(config, reactor), reactor)

    async def test_listens_where_it_is_told(self) -> None:
        listeners = {"public": HERE, "second": HERE, "off": Listener(enabled=False)}
        service = self.service(listeners=listeners)
        self.assertEqual({}, service.addresses)
        service.privilegedStartService()
        service.startService()
        self.assertEqual({"public", "second", "internal"}, set(service.addresses))
        ports = [port for _, port in service.addresses.values()]
        self.assertEqual([False] * 3, [is_free(port) for port in ports])
        await service.stopService()
        self.assertEqual([True] * 3, [is_free(port) for port in ports])

    async def test_no_internal_port(self) -> None:
        service = self.service(internal=Internal(enabled=False))
        service.privilegedStartService()
        service.startService()
        self.assertEqual({"public"}, set(service.addresses))
        await service.stopService()

    def test_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            service = self.service(listeners={"wss": Listener(host="127.0.0.1", port=port)})
            error: ConfigError = self.assertRaises(ConfigError, service.privilegedStartService)
        self.assertEqual("listeners.wss.port", error.key)
        self.assertEqual(f"can't listen on 127.0.0.1:{port}: Address already in use", error.reason)

    async def test_tells_whether_the_compiled_part_is_in_use(self) -> None:
        of_auto = choose("auto").name
        for sockets, name in ((Sockets("python"), "python"), (Sockets("stock"), "stock"), (Sockets("auto"), of_auto)):
            service = self.service(sockets=sockets)
            with capturedLogs() as logged:
                service.startService()
            self.assertEqual([name], [event["sockets"] for event in logged if "sockets" in event])
            self.assertIn(f"sockets: {name}, frames: ", " ".join(map(formatEvent, logged)))
            await service.stopService()

    async def test_user_code_is_made_when_it_starts(self) -> None:
        """Not before: twistd forks in between, and gives up privileges."""
        service = self.service(handlers=Handlers(object=f"{__name__}:Greeter"))
        service.privilegedStartService()
        self.assertEqual([], Greeter.made)
        self.assertIsInstance(service.node.hooks, NoHandlers)
        service.startService()
        self.assertIsInstance(service.node.hooks, UserHandlers)
        self.assertEqual(1, len(Greeter.made))
        await service.stopService()


class ReloadTests(SynchronousTestCase):
    """What SIGHUP calls."""

    def test_each_part_for_itself(self) -> None:
        """Where the configuration can't be read, that is told in one line, and nothing else happens."""

        def reload() -> Config:
            raise ConfigError("a.toml", "auth.tokens", "is bad")

        service = RealtimeService(prepare(Config(), reactor), reactor, reload=reload)
        with capturedLogs() as logged:
            service.reload()
        expected = [(what, "a.toml: auth.tokens: is bad") for what in ("token keys", "API keys")]
        self.assertEqual(expected, [(event["what"], event["error"]) for event in logged])


class DrainTests(SynchronousTestCase):
    """On a clock that stands still: clients are fakes, connections are counted by hand."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        config = Config(sockets=Sockets(path="stock"))  # a clock reads no sockets
        self.service = RealtimeService(prepare(config, self.clock), self.clock)
        self.leases: list[Lease] = []

    def connect(self) -> FakeTransport:
        transport = FakeTransport()
        transport.session = Session(self.service.node, RAW, transport, Identity("alice"), PEER, home="x")
        lease = self.service._caps.accept(None)
        assert lease is not None
        self.leases.append(lease)
        transport.session.opened()
        return transport

    def leave(self, *transports: FakeTransport) -> None:
        for transport in transports:
            transport.leave(1000)
            self.leases.pop().release()

    def test_nobody_is_here(self) -> None:
        self.assertIsNone(self.service.readiness())
        self.assertIsNone(self.successResultOf(self.service.stopService()))
        self.assertEqual("shutting down", self.service.readiness())

    def test_many_are_told_in_slices(self) -> None:
        """So that the event loop turns meanwhile."""
        transports = [self.connect() for _ in range(2 * DRAIN_SLICE + 1)]
        stopped = self.service.stopService()
        told = [transport for transport in transports if transport.closed is not None]
        self.assertEqual(DRAIN_SLICE, len(told))
        self.clock.advance(0)
        self.assertEqual({SERVICE_RESTART}, {transport.closed for transport in transports})
        self.assertNoResult(stopped)
        self.leave(*transports)
        self.successResultOf(stopped)

    def test_limit(self) -> None:
        """Who is still there is cut, and the process ends even where a connection does not go away."""
        stuck = self.connect()
        stopped = self.service.stopService()
        self.clock.advance(9.9)
        self.assertFalse(stuck.aborted)
        self.clock.advance(0.1)
        self.assertTrue(stuck.aborted)
        self.assertNoResult(stopped)
        self.clock.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual([], [call for call in self.clock.getDelayedCalls() if call.active()])

    def test_signals_are_left_alone_where_it_is_no_process_of_its_own(self) -> None:
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(handlers, [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)])
