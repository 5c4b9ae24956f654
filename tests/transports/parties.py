"""Both ends of TCP connections on the real reactor: the server's is what is tested, the client's writes down."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import ClientCreator, Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from realtime_svc.transports import kernel
from realtime_svc.transports.connection import Connection, connection_type
from realtime_svc.transports.kernel import Kernel
from realtime_svc.transports.poller import Poller
from realtime_svc.transports.port import PatientPort

reactor: Any = _reactor
BIG = bytes(range(256)) * 64 * 1024  # 16 MiB: more than the system takes for one connection


class Party(Protocol):
    """One end. `events`: what it was told, in order, but for data, which is in `received`; `reason` is how it ended.

    `on_data` is called with what comes, after it was written down.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.events: list[str] = []
        self.reason: BaseException | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def connectionMade(self) -> None:
        self._changed()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.on_data is not None:
            self.on_data(data)
        self._changed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append("lost")
        self.reason = reason.value
        self._changed()

    def when(self, happened: Callable[[], bool]) -> Deferred[None]:
        """Fires once `happened()`, which is asked whenever this end is told something."""
        found: Deferred[None] = Deferred()
        self._waiting.append((happened, found))
        self._changed()
        return found

    def when_received(self, size: int) -> Deferred[None]:
        return self.when(lambda: len(self.received) >= size)

    def when_lost(self) -> Deferred[None]:
        return self.when(lambda: "lost" in self.events)

    def _changed(self) -> None:
        for waiter in tuple(self._waiting):
            if waiter[0]():
                self._waiting.remove(waiter)
                waiter[1].callback(None)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Party):
    """One that wants to know when half of its connection is gone."""

    def readConnectionLost(self) -> None:
        self.events.append("read lost")
        self._changed()

    def writeConnectionLost(self) -> None:
        self.events.append("write lost")
        self._changed()


@implementer(IPushProducer)
class Pushing:
    """Writes down what it is told; `resumed` is done when it may go on."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.resumed: Any = None

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")
        if self.resumed is not None:
            self.resumed()

    def stopProducing(self) -> None:
        self.told.append("stop")


def reset(end: socket.socket) -> None:
    """Close with RST."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


async def turns(count: int = 5) -> None:
    """Let the reactor go round."""
    for _ in range(count):
        await deferLater(reactor, 0)


class TcpTestCase(TestCase):
    """Connections of one kind. `kernel`: which one, "" for Twisted's own connections. `polled`: a poller reads them."""

    kernel_name = "python"
    polled = False
    server_end: type[Party] = Party

    def setUp(self) -> None:
        self.kernel: Kernel = kernel.choose(self.kernel_name or "python")
        self.poller = Poller(reactor, self.kernel)
        self.poller.start()
        self.addCleanup(self.poller.stop)
        kind: type[tcp.Server] = connection_type(self.kernel, Connection) if self.kernel_name else tcp.Server
        self.servers: list[Party] = []
        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = self.build
        self.port = PatientPort(0, factory, 50, "127.0.0.1", reactor, kind)
        self.port.startListening()
        self.addCleanup(self.port.stopListening)

    def build(self, address: object) -> Party | None:
        server = self.server_end()
        self.servers.append(server)
        return server

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port.getHost().port

    def adopt(self, server: Party) -> None:
        """It is connected: have it read by whom the test wants."""
        if self.polled:
            server.transport.attach(self.poller)
        self.addCleanup(self.end, server)

    def end(self, party: Party) -> Deferred[None]:
        if "lost" not in party.events:
            party.transport.abortConnection()
        return party.when_lost()

    async def accepted(self) -> Party:
        """The next server's end."""
        number = len(self.servers)
        while len(self.servers) <= number or self.servers[number].transport is None:
            await turns(1)
        self.adopt(self.servers[number])
        return self.servers[number]

    async def connect(self, client_end: type[Party] = Party) -> tuple[Party, Party]:
        """The server's end and the client's, a Twisted connection."""
        arrived = self.accepted_later()
        client = await ClientCreator(reactor, client_end).connectTCP(*self.address)
        self.addCleanup(self.end, client)
        return await arrived, client

    def accepted_later(self) -> Deferred[Party]:
        return Deferred.fromCoroutine(self.accepted())

    async def connect_socket(self) -> tuple[Party, socket.socket]:
        """The server's end, and a client's socket that nobody reads. What it waits for must be there already."""
        end = socket.socket()
        end.settimeout(10)
        self.addCleanup(end.close)
        arrived = self.accepted_later()
        end.connect(self.address)
        return await arrived, end

    def fill(self, server: Party) -> int:
        """Write until bytes wait on the server's side; how many were written."""
        written = 0
        chunk = bytes(256 * 1024)
        while not waiting(server.transport):
            server.transport.write(chunk)
            written += len(chunk)
        return written


def waiting(transport: Any) -> int:
    """Bytes in its buffer."""
    return int(transport._tempDataLen) + len(transport.dataBuffer) - int(transport.offset)


async def take(end: socket.socket, size: int) -> bytearray:
    """So many bytes from a socket, or all until its end, while the reactor goes round."""
    end.setblocking(False)
    data = bytearray()
    while len(data) < size:
        try:
            more = end.recv(1 << 20)
        except BlockingIOError:
            await turns(1)
            continue
        if not more:
            break
        data += more
    return data
