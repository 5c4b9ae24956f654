"""TLS on real sockets: listeners of every kind, protocols that tell what they saw, clients that block a thread."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from realtime_svc.config import Tls
from realtime_svc.errors import Refusal
from realtime_svc.transports.connection import Connection, connection_type
from realtime_svc.transports.kernel import TWIN, Kernel, compiled
from realtime_svc.transports.port import PatientPort
from realtime_svc.transports.tls import ServerTls
from realtime_svc.transports.tls_connection import tls_connection_type
from tests.client.pki import Authority, pem

CLOCK: Any = reactor
VERSIONS = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)
TIMEOUT = 20.0  # seconds until a client gives up: only where something is broken

T = TypeVar("T")


def kernel_named(name: str) -> Kernel | None:
    """None: not installed here."""
    if name == "python":
        return TWIN
    try:
        return compiled()
    except ImportError:
        return None


class Talker(Protocol):
    """Keeps what it got. `greeting` is written when it is connected, `answer` makes something of what comes."""

    transport: Any
    greeting = b""

    def __init__(self) -> None:
        self.received = b""
        self.sizes: list[int] = []
        self.log: list[str] = []
        self.lost: Deferred[type[BaseException]] = Deferred()
        self.answer: Callable[[Talker, bytes], object] | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.log.append("made")
        if self.greeting:
            self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.sizes.append(len(data))
        if self.answer is not None:
            self.answer(self, data)
        self.look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.log.append("lost")
        kind: Any = type(reason.value)
        self.lost.callback(kind)
        self.look()

    def when(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fires when something happens upon which `condition` holds."""
        if condition():
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        return waiting

    def when_received(self, size: int) -> Deferred[None]:
        return self.when(lambda: len(self.received) >= size)

    def look(self) -> None:
        for entry in list(self._waiting):
            if entry[0]():
                self._waiting.remove(entry)
                entry[1].callback(None)


@implementer(IHalfCloseableProtocol)
class HalfTalker(Talker):
    """Goes on when the peer has said all it has to say."""

    def readConnectionLost(self) -> None:
        self.log.append("read lost")
        self.look()

    def writeConnectionLost(self) -> None:
        self.log.append("write lost")


def echo(talker: Talker, data: bytes) -> None:
    talker.transport.write(data)


class Talkers(Factory):
    """Hands out the talkers that were asked for by `expect`, in order."""

    noisy = False

    def __init__(self) -> None:
        self.ready: list[Talker] = []

    def buildProtocol(self, addr: object) -> Talker:
        return self.ready.pop(0)


class TlsCase(TestCase):
    """A listener that speaks TLS. `kind`: "compiled" or "python" (our connections, by that kernel), or "wrapped"
    (Twisted's TLS over one of our plain connections)."""

    kind = "compiled"

    def setUp(self) -> None:
        kernel = kernel_named("python" if self.kind == "wrapped" else self.kind)
        if kernel is None:
            self.skipTest("the compiled part is not installed")
        assert kernel is not None
        self.kernel = kernel
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority("test authority")
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(pem(self.authority.certificate))
        self.refusals: list[tuple[str, str]] = []
        self.talkers = Talkers()
        self.settings = self.make_settings()
        self.tls = ServerTls(self.settings)
        self.port = self.listen()

    def make_settings(self, **changes: Any) -> Tls:
        certificate, key = self.authority.write(self.folder, "server")
        return Tls(**{"certificate": certificate, "key": key, **changes})

    def listen(self) -> int:
        if self.kind == "wrapped":
            factory: Any = self.tls.wrap(self.talkers, CLOCK)
            kind: type[Connection] = connection_type(self.kernel, Connection)
        else:
            factory, kind = self.talkers, tls_connection_type(self.kernel, self.tls, self.count)
        listening = PatientPort(0, factory, 50, "127.0.0.1", CLOCK, kind)
        listening.startListening()
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port
        return port

    def count(self, refusal: Refusal, host: str) -> None:
        self.refusals.append((refusal.cause, host))

    def expect(self, kind: type[Talker] = Talker, greeting: bytes = b"") -> Talker:
        """What will talk to the next client. It is cut off when the test ends."""
        talker = kind()
        talker.greeting = greeting
        self.talkers.ready.append(talker)
        self.addCleanup(self.cut, talker)
        return talker

    def cut(self, talker: Talker) -> Any:
        if "made" in talker.log and "lost" not in talker.log:
            talker.transport.abortConnection()
            return talker.when(lambda: "lost" in talker.log)
        return None

    async def turn(self, times: int = 1) -> None:
        """Let the event loop go round."""
        for _ in range(times):
            turn: Deferred[None] = Deferred()
            CLOCK.callLater(0, turn.callback, None)
            await turn

    # ---- clients, in threads

    def run_client(self, client: Callable[..., T], *arguments: Any) -> Deferred[T]:
        done: Deferred[T] = deferToThread(client, *arguments)
        return done

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT)

    def context(self, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.maximum_version = most
        return context

    def secure(
        self, context: ssl.SSLContext | None = None, sock: socket.socket | None = None, **options: Any
    ) -> ssl.SSLSocket:
        """The independent client: Python's own ssl module."""
        options = {"server_hostname": "localhost", "suppress_ragged_eofs": False, **options}
        return (context or self.context()).wrap_socket(sock or self.connect(), **options)

    def peer(self, sock: socket.socket, most: int | None = None) -> SSL.Connection:
        """A client that says what it is told to, and nothing by itself."""
        context = SSL.Context(SSL.TLS_METHOD)
        if most is not None:
            context.set_max_proto_version(most)
        connection = SSL.Connection(context, sock)
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(TIMEOUT).to_bytes(8, "little") + bytes(8))
        connection.set_connect_state()
        connection.do_handshake()
        return connection


def read_exactly(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more, f"the end after {len(data)} of {size} bytes"
        data += more
    return data


def read_to_end(sock: Any) -> bytes:
    """All there is until an orderly end; raises at any other."""
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def read_to_nothing(sock: Any) -> None:
    """Until the other side is gone, in whatever way."""
    try:
        while sock.recv(65536):
            continue
    except OSError:
        return
