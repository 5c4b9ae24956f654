"""A TCP relay between clients and a server, which a test can cut, mend, and lead to another server."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols.portforward import ProxyFactory, ProxyServer
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.integration.server import reactor


class _End(ProxyServer):
    """The end towards a client."""

    noisy = False
    relay: _Relay

    def connectionMade(self) -> None:
        self.relay.ends.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.relay.ended(self)

    def abort(self) -> None:
        """Reset the connections to both sides."""
        for end in (self, self.peer):
            if end is not None:
                transport: Any = end.transport
                transport.abortConnection()


class _Relay(ProxyFactory):
    noisy = False

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.ends: set[_End] = set()
        self.all_ended: Deferred[None] | None = None

    def ended(self, end: _End) -> None:
        self.ends.discard(end)
        if not self.ends and self.all_ended is not None:
            all_ended, self.all_ended = self.all_ended, None
            all_ended.callback(None)

    def buildProtocol(self, addr: object) -> _End:
        end = _End()
        end.factory = self
        end.relay = self
        return end


class Cable:
    """Relays from `port`, which stays the same, to that of a server."""

    def __init__(self, test: TestCase, target: int) -> None:
        self._relay = _Relay(target)
        self._listening: Any = reactor.listenTCP(0, self._relay, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port
        test.addCleanup(self.cut)

    @property
    def base(self) -> str:
        return f"http://localhost:{self.port}"

    async def cut(self) -> None:
        """Reset all connections, and refuse new ones; done when none is left."""
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        await listening.stopListening()
        await self.shake()

    async def shake(self) -> None:
        """Reset all connections; clients may come back at once."""
        if not self._relay.ends:
            return
        self._relay.all_ended = all_ended = Deferred[None]()
        for end in tuple(self._relay.ends):
            end.abort()
        await all_ended

    def mend(self) -> None:
        """Relay again."""
        self._listening = reactor.listenTCP(self.port, self._relay, interface="127.0.0.1")

    def target(self, port: int) -> None:
        """New connections go to this port."""
        self._relay.port = port
