"""The commands of one client, in order: one after another, the next ones wait while one does.

While commands wait, reading pauses, so the line holds at most one message and the rest of another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from realtime_svc import errors
from realtime_svc.core import login, messages
from realtime_svc.core.commands import COMMANDS
from realtime_svc.core.messages import Command, Failed
from realtime_svc.core.outbox import BLOCKED
from realtime_svc.core.ratelimit import TokenBucket
from realtime_svc.core.reading import Hold
from realtime_svc.core.state import State
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError

if TYPE_CHECKING:
    from realtime_svc.core.permit import Permit
    from realtime_svc.core.session import Session

COMMANDS_A_TURN = 64
TURN = 0.01  # seconds of work
SMALL = 4096  # bytes: a message with one command takes so little time that its number alone counts
_OPEN = State.OPEN  # a member of an enum takes a while to find

Commands = Iterator[Command | Failed]
Work = Coroutine[Any, Any, Any]


class CommandLine:
    """Belongs to one session, which is closed where a command says so.

    `permits`: what was decided about its publications, by channel (None: nothing yet).
    """

    __slots__ = (
        "_ahead",
        "_batch",
        "_bucket",
        "_busy",
        "_deaf",
        "_errors",
        "_left",
        "_session",
        "_spent",
        "_turn",
        "_waiting",
        "_working_off",
        "permits",
    )

    def __init__(self, session: Session) -> None:
        limit = session.node.limits.messages
        self._session = session
        self._bucket: TokenBucket | None = None  # many clients only listen
        self._errors: TokenBucket | None = None  # most make none
        self._batch = min(limit.step, COMMANDS_A_TURN) if limit.rate > 0 else COMMANDS_A_TURN
        self._left = self._batch  # commands, until so many are accounted for
        self._waiting: deque[Commands] | None = None  # most clients never need one
        self._ahead: Commands | None = None
        self._busy = False
        self._deaf = False  # the client did not get in, and nothing it says is heard
        self._turn = 0  # commands
        self._spent = 0.0  # seconds
        self._working_off = False
        self.permits: dict[str, Permit] | None = None

    def add(self, payload: bytes, binary: bool) -> None:
        """One message from the client."""
        if self._busy or self._waiting:
            self._wait(self._read(payload, binary))
            return
        session = self._session
        work: Work | None = None
        self._busy = True
        try:
            commands = session.dialect.decode(payload, binary, session.home)
            if type(commands) is not tuple or len(payload) > SMALL:
                work = self._process(iter(commands))
            else:  # most messages are one command, and that has nothing to wait for: no coroutine is made for it
                self._left -= 1
                if self._left or self._account():
                    work = self._begin(commands[0])
                    if work is None and session.outlet.holds & BLOCKED:
                        session.mind_output()
        except BaseException as error:  # as `ports.Run` has it
            self._worked(None, error)
            return
        if work is not None:
            self.work(work)
        elif self._ahead is None and self._waiting is None:
            self._busy = False
        else:
            self._worked(None, None)

    def begin_with(self, commands: Commands) -> None:
        """Carry these out next, as if the client had said them behind its last command: as it takes the answers."""
        self._ahead = commands

    def work(self, work: Work) -> None:
        """Do something that comes before the next command."""
        self._busy = True
        self._session.cork()
        self._session.node.run(work, self._worked)
        self._session.uncork()

    def drop(self) -> None:
        """The session closes: what waits is not carried out."""
        self._waiting = self._ahead = self.permits = None

    # ---- one after another

    async def _process(self, commands: Commands) -> None:
        """The commands of one message; where the client has to wait, the rest of them waits in line."""
        session = self._session
        for command in commands:
            if session.closing:
                return
            self._left -= 1
            if not self._left and not self._account():
                return
            began = session.node.clock.seconds()
            work = self._begin(command)
            if work is not None:
                await work
            else:
                self._spend(began)
                session.mind_output()
            if (session.reading.throttled or self._ahead is not None) and not session.closing:
                self._wait(commands, first=True)
                return

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

    def _worked(self, result: object, error: BaseException | None) -> None:
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

    # ---- one command

    async def carry_out(self, command: messages.Subscribe) -> ReplyError | None:
        """A command that the client did not send. Returns why it was refused, if it was: the client has been told."""
        verb, method = COMMANDS[type(command)]
        work = method(self._session, command)
        return None if work is None else await self._attempt(command, verb, work)

    def _begin(self, command: Command | Failed) -> Work | None:
        """One command, or what stands for one that could not be read. None: it is done; else it will be when what is
        returned has been awaited. The client is told why it was refused. Both raise `ConnectionClosing` only.
        """
        if self._deaf:
            return None
        verb, method = COMMANDS[type(command)]
        try:
            if self._session.state is not _OPEN or method is login.connect:
                self._check_turn(command)
            work = method(self._session, command)
        except ConnectionClosing:
            raise
        except Exception as error:
            self._fail(command, verb, error)
            return None
        return None if work is None else self._finish(command, verb, work)

    async def _finish(self, command: Command | Failed, verb: str, work: Work) -> None:
        """The rest of a command that has to wait, or may."""
        began = self._session.node.clock.seconds()
        await self._attempt(command, verb, work)
        self._spend(began)
        self._session.mind_output()

    async def _attempt(self, command: Command | Failed, verb: str, work: Work) -> ReplyError | None:
        """Returns why it was refused, if it was."""
        try:
            await work
            return None
        except ConnectionClosing:
            raise
        except Exception as error:
            return self._fail(command, verb, error)

    def _fail(self, command: Command | Failed, verb: str, error: Exception) -> ReplyError:
        """A command was not carried out."""
        session = self._session
        if not isinstance(error, ReplyError):
            session.node.report(f"a client's {verb} failed", error)
            if session.dialect.traits.handshake and session.state is State.CONNECTING:  # half in is not in
                raise ConnectionClosing(errors.INTERNAL) from None
            error = ReplyError(ErrorCode.INTERNAL)
        channel = getattr(command, "channel", None)
        self.refuse(Failed(error, verb, channel and channel[:255], getattr(command, "id", None)))
        return error

    @property
    def _unheard(self) -> bool:
        """Is this a protocol with a handshake, and the client has not made it yet?"""
        return self._session.dialect.traits.handshake and self._session.state is State.AUTHENTICATING

    def _check_turn(self, command: Command | Failed) -> None:
        """Nothing comes before the client has said who it is, and a handshake comes once and first."""
        if self._session.dialect.traits.handshake:
            if isinstance(command, messages.Connect) is not self._unheard:
                raise ConnectionClosing(errors.BAD_REQUEST)
        elif self._session.identity is None and not isinstance(command, messages.Authenticate | Failed):
            raise ReplyError(ErrorCode.UNAUTHORIZED, 'authenticate first: {"auth":"<token>"}')

    def refuse(self, failed: Failed) -> None:
        """Answer with the error; who only makes errors is slowed, then cut; before authentication there is one try."""
        session = self._session
        if session.closing:
            return
        session.node.count_error(failed.error)
        session.say(failed)
        if self._unheard:
            self._deaf = True  # the client closes; the timer does, if it doesn't
        elif session.identity is None:
            session.close(errors.INVALID_TOKEN)
        else:
            self._account_for_error()

    # ---- accounts

    def _account_for_error(self) -> None:
        session, clock = self._session, self._session.node.clock
        if self._errors is None:
            self._errors = TokenBucket(session.node.limits.errors, clock)
        if delay := self._errors.take(1, clock):
            if self._errors.flooded(clock):
                session.close(errors.TOO_MANY_ERRORS)
            else:
                session.reading.hold(Hold.ERRORS, delay)

    def _account(self) -> bool:
        """Each command counts, however many come in one message, and this is the last of a batch. False: it was one too
        many, the client is closed. So that nobody else waits long, a client gets so many of them in a turn of the loop.
        """
        session, clock = self._session, self._session.node.clock
        limit = session.node.limits.messages
        most = COMMANDS_A_TURN
        if limit.rate > 0:
            if self._bucket is None:
                self._bucket = TokenBucket(limit, clock)
            if delay := self._bucket.take(self._batch, clock):
                if self._bucket.flooded(clock):
                    session.close(errors.TOO_MANY_REQUESTS)
                    return False
                session.reading.hold(Hold.RATE, delay)
            most = self._bucket.ahead
        self._turn += self._batch
        if self._turn >= COMMANDS_A_TURN:
            self._end_turn()
        self._batch = self._left = min(most, COMMANDS_A_TURN - self._turn)
        return True

    def _spend(self, began: float) -> None:
        """A client gets so much time in a turn of the loop, too: some commands cost as much as many others."""
        self._spent += self._session.node.clock.seconds() - began
        if self._spent >= TURN:
            self._end_turn()

    def _end_turn(self) -> None:
        self._turn, self._spent = 0, 0.0
        self._session.reading.hold(Hold.TURN, 0.0)
