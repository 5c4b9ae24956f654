"""A listening port whose `accept` fails."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.transports.port import PAUSE, PatientPort


class Socket:
    """A listening socket that fails as it is told; `accepted` is how often it was asked.

    `waiting` are connections that are there from the second time on.
    """

    def __init__(self, real: Any, error: int) -> None:
        self.real = real
        self.error = error
        self.accepted = 0
        self.waiting: list[Any] = []

    def accept(self) -> Any:
        self.accepted += 1
        if self.waiting and self.accepted > 1:
            return self.waiting.pop(), ("127.0.0.1", 1)
        raise OSError(self.error, "")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class PatientPortTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        self.port: Any = PatientPort(0, factory, 50, "127.0.0.1", self.reactor)
        self.port.startListening()
        self.addCleanup(self.port.connectionLost, None)

    def test_failing(self) -> None:
        """Where accept fails, the port is not asked again for a while; then it is."""
        for error in (errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
            self.port.socket = Socket(self.port.socket, error)
            self.assertIn(self.port, self.reactor.readers)
            self.port.doRead()
            self.assertNotIn(self.port, self.reactor.readers)
            self.reactor.advance(PAUSE / 2)
            self.assertNotIn(self.port, self.reactor.readers)
            self.reactor.advance(PAUSE)
            self.assertIn(self.port, self.reactor.readers)
            self.assertEqual(self.port.socket.accepted, 1)
            self.port.socket = self.port.socket.real

    def test_nobody_there(self) -> None:
        """A connection that was gone before it was accepted costs no pause."""
        for error in (errno.EAGAIN, errno.EPERM):
            self.port.socket = Socket(self.port.socket, error)
            self.port.doRead()
            self.assertIn(self.port, self.reactor.readers, errno.errorcode[error])
            self.port.socket = self.port.socket.real

    def test_no_descriptors(self) -> None:
        """Twisted closes what waits with the descriptor it keeps in reserve: it has to be let."""
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        stub = self.port.socket = Socket(self.port.socket, errno.EMFILE)
        stub.waiting.append(there)
        self.port.numberAccepts = 1
        self.port.doRead()
        self.assertEqual((stub.accepted, there.fileno()), (2, -1))
        self.assertIn(self.port, self.reactor.readers)

    def test_stopped_meanwhile(self) -> None:
        """A port that was closed during the pause stays closed."""
        self.port.socket = Socket(self.port.socket, errno.ENFILE)
        self.port.doRead()
        self.port.connected = False
        self.reactor.advance(PAUSE)
        self.assertNotIn(self.port, self.reactor.readers)
