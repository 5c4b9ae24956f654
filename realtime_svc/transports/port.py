"""A listening port that does not spin when the system has nothing left for new connections."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.logger import LogEvent, Logger, globalLogPublisher

PAUSE = 0.1  # seconds without accepting after accept(2) failed


class PatientPort(tcp.Port):
    """Where `accept` fails (ENFILE, ENOMEM, ENOBUFS), Twisted logs it and returns, but the port stays readable.

    The event loop would call it again at once, for ever: so it pauses. EMFILE is another matter: there Twisted keeps a
    descriptor in reserve, with which it closes the connections that wait.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._failed = False
        observer: Any = self._observe
        self._logger = Logger("twisted.internet.tcp.Port", observer=observer)

    def _observe(self, event: LogEvent) -> None:
        """A failure shows in what is logged only."""
        self._failed = self._failed or "acceptError" in event
        globalLogPublisher(event)

    def doRead(self) -> None:  # noqa: N802 (Twisted)
        self._failed = False
        super().doRead()
        if self._failed and self.connected:
            self.stopReading()
            clock: Any = self.reactor
            clock.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self.connected:
            self.startReading()
