"""One reader in the reactor for all connections that last, and what is done at the end of a turn.

A turn is the time in which the poller hands out what it has received, to one connection after another; or, for all else
that happens (a request, a timer), a turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from realtime_svc.transports.kernel import Kernel, Poll

MOST = 128  # connections that are read in one turn

_log = Logger()


class Reader(Protocol):
    """A connection, as the poller sees it. `straight`: the poller receives for it. `reads`: it is to be told."""

    straight: Any
    reads: bool
    connected: Any

    def fileno(self) -> int: ...

    def received(self, data: bytes | int | None) -> None: ...


class Turns:
    """Calls to be made once at the end of a turn."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: list[Callable[[], None]] = []
        self._handing_out = False

    def after_turn(self, call: Callable[[], None]) -> None:
        """Make `call` when this turn is over, after those that were asked for before. What it asks for in its turn
        comes in the next one."""
        if not self._calls and not self._handing_out:
            self._reactor.callLater(0, self._end_turn)
        self._calls.append(call)

    def _end_turn(self) -> None:
        """An exception is logged, and the others are called all the same."""
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except BaseException:
                _log.failure("the end of a turn failed")


@implementer(IReadDescriptor)
class Poller(Turns):
    """Reads for connections (`Connection.attach`). In use from `start` to `stop`."""

    def __init__(self, reactor: Any, kernel: Kernel) -> None:
        super().__init__(reactor)
        self._new_poll = kernel.Poll
        self._poll: Poll | None = None
        self._kept: dict[Reader, bytes | int | None] = {}  # received for connections that did not read any more
        self._resuming = False

    def start(self) -> None:
        """Raises `OSError`: no descriptor left."""
        self._poll = self._new_poll()
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Nobody is told anything any more. Again: nothing happens."""
        if self._poll is not None:
            self._reactor.removeReader(self)
            self._poll.close()
            self._poll = None
            self._kept.clear()

    # ---- connections

    def addReader(self, reader: Reader) -> None:  # noqa: N802 (Twisted)
        """Tell `reader` what comes; first what it was not told before."""
        if reader in self._kept:
            if not self._resuming:
                self._resuming = True
                self._reactor.callLater(0, self._resume)
        elif self._poll is not None:
            self._poll.add(reader.fileno(), reader, reader.straight)

    def removeReader(self, reader: Reader) -> None:  # noqa: N802 (Twisted)
        """Tell it nothing, from now on."""
        if self._poll is not None:
            self._poll.remove(reader.fileno())
        if not reader.connected:
            self._kept.pop(reader, None)

    # ---- IReadDescriptor

    def fileno(self) -> int:
        return -1 if self._poll is None else self._poll.fileno()

    def logPrefix(self) -> str:  # noqa: N802 (Twisted)
        return "poller"

    def connectionLost(self, reason: object) -> None:
        """The reactor ends, and with it the process: connections that are still there are not told."""
        self.stop()

    def doRead(self) -> None:  # noqa: N802 (Twisted)
        """One turn. Should the system have no memory for it, it is for the next one to try: nobody else reads."""
        if self._poll is not None:
            try:
                found = self._poll.poll(MOST)
            except (OSError, MemoryError):
                _log.failure("nothing can be read")
                return
            self._hand_out(found)

    def _hand_out(self, found: list[tuple[Any, bytes | int | None]]) -> None:
        """A connection that has stopped reading because of what another was told gets its own when it reads again."""
        self._handing_out = True
        for reader, data in found:
            if reader.reads:
                reader.received(data)
            elif reader.connected:
                self._kept[reader] = data
        self._handing_out = False
        self._end_turn()

    def _resume(self) -> None:
        """A turn for those that read again."""
        self._resuming = False
        found = [(reader, data) for reader, data in self._kept.items() if reader.reads]
        for reader, _ in found:
            del self._kept[reader]
            self.addReader(reader)
        self._hand_out(found)
