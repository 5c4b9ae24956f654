"""The commands of one client, in order: one after another, the next ones wait while one does.

While commands wait, reading pauses, so the line holds at most one message and the rest of another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.ratelimit import TokenBucket
from realtime_svc.core.reading import Hold
from realtime_svc.errors import ConnectionClosing

if TYPE_CHECKING:
    from realtime_svc.core.session import Session

COMMANDS_A_TURN = 64
TURN = 0.01  # seconds of work

Commands = Iterator[messages.Command | messages.Failed]


class CommandLine:
    """Belongs to one session, which carries the commands out and is closed where one says so."""

    __slots__ = ("_ahead", "_bucket", "_busy", "_session", "_spent", "_turn", "_waiting", "_working_off")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bucket = TokenBucket(session.node.limits.messages, session.node.clock)
        self._waiting: deque[Commands] | None = None  # most clients never need one
        self._ahead: Commands | None = None
        self._busy = False
        self._turn = 0
        self._spent = 0.0  # seconds
        self._working_off = False

    def add(self, payload: bytes, binary: bool) -> None:
        """One message from the client."""
        commands = self._read(payload, binary)
        if self._busy or self._waiting:
            self._wait(commands)
        else:
            self.work(self._process(commands))

    def begin_with(self, commands: Commands) -> None:
        """Carry these out next, as if the client had said them behind its last command: as it takes the answers."""
        self._ahead = commands

    def work(self, work: Coroutine[object, object, None]) -> None:
        """Do something that comes before the next command."""
        self._busy = True
        self._session.cork()
        self._session.node.run(work, self._worked)
        self._session.uncork()

    def drop(self) -> None:
        """The session closes: what waits is not carried out."""
        self._waiting = self._ahead = None

    def _read(self, payload: bytes, binary: bool) -> Commands:
        """The commands of a message; each is decoded, and may raise, when its turn has come."""
        yield from self._session.dialect.decode(payload, binary, self._session.home)

    def _wait(self, commands: Commands, *, first: bool = False) -> None:
        """What is read but not carried out yet: a message behind one that waits, or the rest of one."""
        if self._waiting is None:
            self._waiting = deque()
        if first:
            self._waiting.appendleft(commands)
        else:
            self._waiting.append(commands)
        self._session.reading.pause(Hold.BACKLOG)

    def _worked(self, result: None, error: BaseException | None) -> None:
        """A step is done: close where it says so, else go on with what waits."""
        self._busy = False
        if self._ahead is not None:
            self._wait(self._ahead, first=True)
            self._ahead = None
        if isinstance(error, ConnectionClosing):
            self._session.close(error.disconnect)
        elif error is not None:
            self._session.node.report("a connection failed", error)
            self._session.close(errors.INTERNAL)
        self.work_off()

    def work_off(self) -> None:
        """Go on with what waits in line; in a loop, so the stack stays flat."""
        if self._working_off or self._waiting is None:
            return
        reading = self._session.reading
        self._working_off = True
        while self._waiting and not self._busy and not reading.throttled:
            self.work(self._process(self._waiting.popleft()))
        self._working_off = False
        if not self._waiting and not self._busy:
            reading.resume(Hold.BACKLOG)

    async def _process(self, commands: Commands) -> None:
        """The commands of one message; where the client has to wait, the rest of them waits in line."""
        session = self._session
        for command in commands:
            if session.closing or not self._account():
                return
            began = session.node.clock.seconds()
            await session.carry_out(command)
            self._spend(session.node.clock.seconds() - began)
            session.mind_output()
            if (session.reading.throttled or self._ahead is not None) and not session.closing:
                self._wait(commands, first=True)
                return

    def _account(self) -> bool:
        """Each command counts, however many come in one message. False: it was one too many, the client is closed."""
        session, clock = self._session, self._session.node.clock
        if delay := self._bucket.take(1, clock):
            if self._bucket.flooded(clock):
                session.close(errors.TOO_MANY_REQUESTS)
                return False
            session.reading.hold(Hold.RATE, delay)
        return True

    def _spend(self, seconds: float) -> None:
        """So that nobody else waits long, one client gets so many commands, and so much time, in a turn of the loop.

        A command may cost a thousand deliveries, so their number alone does not say how long the others wait.
        """
        self._turn += 1
        self._spent += seconds
        if self._turn >= COMMANDS_A_TURN or self._spent >= TURN:
            self._turn, self._spent = 0, 0.0
            self._session.reading.hold(Hold.TURN, 0.0)
