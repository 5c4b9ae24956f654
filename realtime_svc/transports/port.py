"""A listening port that does not spin when the system has nothing left for new connections."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.logger import Logger

PAUSE = 0.1  # seconds without accepting after nobody could be let in


class PatientPort(tcp.Port):
    """Where `accept` fails (ENFILE, ENOMEM, ENOBUFS; accept(2)), Twisted logs and returns, but the port stays readable.

    The event loop would call it again at once, and nothing else: so it pauses. With EMFILE Twisted closes the
    connections that wait; then the pause keeps a flood of them from taking all the time.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._logger = Logger("twisted.internet.tcp.Port")  # whose lines are limited

    def doRead(self) -> None:  # noqa: N802 (Twisted)
        sessions = self.sessionno
        super().doRead()
        if self.sessionno == sessions and self.connected:
            self.stopReading()
            clock: Any = self.reactor
            clock.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self.connected:
            self.startReading()
