"""Keys over real sockets: certificates that are believed and others, and servers that misbehave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogEvent, Logger, formatEvent, globalLogPublisher
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from realtime_svc.auth.jwks import DEADLINE, LARGEST, FetchFailed, JwksRefresher, KeyServer
from tests.auth.certificates import Authority
from tests.auth.test_jwks import INTERVAL, observer

reactor: Any = global_reactor


class Keys(Resource):
    """What the test servers serve. Paths: ok, missing, moved, large, cut, silent."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[bytes] = []
        self.silent: Deferred[None] = Deferred()

    def render_GET(self, request: Request) -> bytes | int:
        self.paths.append(request.path)
        if request.path == b"/missing":
            request.setResponseCode(404)
        elif request.path == b"/moved":
            request.redirect(b"/ok")
        elif request.path == b"/large":
            return b"x" * (LARGEST + 1)
        elif request.path == b"/cut":
            request.setHeader(b"content-length", b"1000")
            request.write(b"begun")
            request.loseConnection()
            return NOT_DONE_YET
        elif request.path == b"/silent":
            request.write(b"begun")
            self.silent.callback(None)
            return NOT_DONE_YET
        return b"the keys"


class Silent(Protocol):
    """Takes requests and never answers."""

    def __init__(self) -> None:
        self.asked: Deferred[None] = Deferred()
        self.left: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        if not self.asked.called:
            self.asked.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.left.callback(None)


class Connections(WrappingFactory):
    """Tells when the last connection is gone."""

    noisy = False
    gone: Deferred[None] | None = None

    def unregisterProtocol(self, protocol: Any) -> None:  # noqa: N802 (Twisted)
        super().unregisterProtocol(protocol)
        if self.gone is not None and not self.protocols:
            self.gone.callback(None)


class ServerTests(TestCase):
    """Over real sockets, with real certificates."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.keys = Keys()
        self.authority = Authority()

    def server(self, url: str, authority: Authority | None = None) -> KeyServer:
        """Trusting `authority`, or the system's."""
        path = self.folder / "ca.pem"
        path.write_bytes(authority.pem if authority else b"")
        return KeyServer(reactor, url, str(path) if authority else "")

    def listen(self, *names: str) -> str:
        """Serve with a certificate for `names`, or without TLS if there are none; the address as far as the path."""
        factory = Connections(Site(self.keys))
        if names:
            options = self.authority.server_options(*names)
            port = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self._close, port, factory)
        address = port.getHost()
        assert isinstance(address, IPv4Address)
        return f"{'https' if names else 'http'}://127.0.0.1:{address.port}"

    async def _close(self, port: Any, factory: Connections) -> None:
        await port.stopListening()
        if factory.protocols:
            factory.gone = Deferred()
            await factory.gone

    async def failure(self, server: KeyServer) -> Exception:
        try:
            await server.fetch()
        except Exception as error:
            return error
        raise AssertionError("it was fetched")

    async def test_trusted(self) -> None:
        """A certificate of the configured authority, for the address that was asked."""
        base = self.listen("127.0.0.1")
        self.assertEqual(await self.server(base + "/ok?a=b", self.authority).fetch(), b"the keys")

    async def test_quiet(self) -> None:
        """Connections come and go with each fetch; the log does not tell."""
        events: list[LogEvent] = []
        remember: Any = events.append
        globalLogPublisher.addObserver(remember)
        self.addCleanup(globalLogPublisher.removeObserver, remember)
        await self.server(self.listen("127.0.0.1") + "/ok", self.authority).fetch()
        await self.server(self.listen() + "/ok").fetch()
        self.assertEqual([], [text for text in map(str, map(formatEvent, events)) if "HTTP11" in text])

    async def test_host_name(self) -> None:
        """Names are resolved and compared, too."""
        base = self.listen("localhost").replace("127.0.0.1", "localhost")
        self.assertEqual(await self.server(base + "/ok", self.authority).fetch(), b"the keys")

    async def test_not_trusted(self) -> None:
        """Another authority of the same name, and the system's: no request is sent."""
        base = self.listen("127.0.0.1")
        for authority in (Authority(), None):
            logged = self.refresh(self.server(base + "/ok", authority), Clock())
            self.assertIn("certificate verify failed", await logged)
            self.assertEqual(self.keys.paths, [])

    def refresh(self, server: KeyServer, clock: Clock) -> Deferred[str]:
        """Start a refresher that is going to fail: the reason it logs."""
        logged: Deferred[str] = Deferred()
        log = Logger(namespace="test", observer=observer(lambda event: logged.callback(event["reason"])))
        refresher = JwksRefresher(clock, server.fetch, self.fail, INTERVAL, log=log)
        refresher.start()
        self.addCleanup(refresher.stop)
        return logged

    async def test_wrong_name(self) -> None:
        """A good certificate for somebody else is refused, before anything is asked."""
        base = self.listen("keys.test", "127.0.0.2")
        await self.failure(self.server(base + "/ok", self.authority))
        await self.failure(self.server(base.replace("127.0.0.1", "localhost") + "/ok", self.authority))
        logged = await self.refresh(self.server(base + "/ok", self.authority), Clock())
        self.assertEqual((logged, self.keys.paths), ("VerificationError", []))

    async def test_plain_http(self) -> None:
        """Allowed on this machine; which machine is `check_url`'s business."""
        self.assertEqual(await self.server(self.listen() + "/ok").fetch(), b"the keys")

    async def test_refused_answers(self) -> None:
        """Any status but 200, a redirect (which is not followed), too much, too little."""
        expected = {
            "/missing": "the answer has status 404",
            "/moved": "the answer has status 302",
            "/large": "the answer is larger than 1 MiB",
            "/cut": "the answer broke off",
        }
        for base in (self.listen(), self.listen("127.0.0.1")):
            self.keys.paths.clear()
            for path, text in expected.items():
                error = await self.failure(self.server(base + path, self.authority))
                self.assertIsInstance(error, FetchFailed)
                self.assertEqual(str(error), text)
            self.assertEqual(self.keys.paths, [path.encode() for path in expected])

    async def test_stalled_answer(self) -> None:
        """Cut at the deadline, with its connection (which the end of the test waits for), with and without TLS."""
        for names in ((), ("127.0.0.1",)):
            clock, self.keys.silent = Clock(), Deferred()
            logged = self.refresh(self.server(self.listen(*names) + "/silent", self.authority), clock)
            await self.keys.silent
            clock.advance(DEADLINE)
            self.assertEqual(await logged, "no answer within 10 seconds")

    async def test_silent_server(self) -> None:
        """One that takes the connection and says nothing is cut as well."""
        server, clock = Silent(), Clock()
        port = reactor.listenTCP(0, Factory.forProtocol(lambda: server), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        logged = self.refresh(self.server(f"http://127.0.0.1:{port.getHost().port}/"), clock)
        await server.asked
        clock.advance(DEADLINE)
        self.assertEqual(await logged, "no answer within 10 seconds")
        await server.left

    def test_connection_is_cut(self) -> None:
        """Not closed politely: a peer that has stalled would not take part in that."""
        memory, clock = MemoryReactorClock(), Clock()
        logged = self.refresh(KeyServer(memory, "http://127.0.0.1/", ""), clock)
        transport = StringTransport()
        protocol = memory.tcpClients[0][2].buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(transport)
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun")
        self.assertFalse(transport.disconnected)
        clock.advance(DEADLINE)
        self.assertEqual(self.successResultOf(logged), "no answer within 10 seconds")
        self.assertTrue(transport.disconnected)

    async def test_nobody_listens(self) -> None:
        """A refused connection is named so."""
        port = reactor.listenTCP(0, Factory.forProtocol(Silent), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        logged = await self.refresh(self.server(f"http://127.0.0.1:{number}/"), Clock())
        self.assertEqual(logged, "ConnectionRefusedError")
