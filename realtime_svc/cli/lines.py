"""Lines from a descriptor, read when it is readable.

Not `stdio.StandardIO`: that makes the descriptor non-blocking, and a terminal's descriptor is shared with standard
output and with the shell that we return to.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

CHUNK = 64 * 1024


@implementer(IReadDescriptor)
class Lines:
    """Delivers each line without its newline, then None; `on_change` is called after some were delivered."""

    def __init__(self, reactor: IReactorFDSet, descriptor: int, deliver: Callable[[str | None], object]) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._reactor = reactor
        self._descriptor = descriptor
        self._deliver = deliver
        self._rest = b""
        self._ended = False

    def start(self) -> None:
        if not self._ended:
            self._reactor.addReader(self)

    def stop(self) -> None:
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> None:  # noqa: N802 (Twisted)
        try:
            data = os.read(self._descriptor, CHUNK)
        except OSError:  # the terminal is gone
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        self.on_change() if data else self._end()

    def connectionLost(self, reason: Failure) -> None:
        """The other end of a pipe is gone, and all of it was read."""
        self._end()

    def _end(self) -> None:
        self.stop()
        if not self._ended:
            self._ended = True
            if self._rest:
                self._line(self._rest)
            self._deliver(None)
            self.on_change()

    def _line(self, line: bytes) -> None:
        self._deliver(line.removesuffix(b"\r").decode(errors="surrogateescape"))

    def logPrefix(self) -> str:  # noqa: N802 (Twisted)
        return "terminal"
