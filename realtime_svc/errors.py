"""Every error and every reason to end something, in four tables.

* `ReplyError`: a command was refused, the connection stays. The numbers are those of the Centrifugo client protocol.
* `Unsubscription`: a subscription ends, the connection stays.
* `Disconnect`: the connection ends. 3000-3499 mean "come back", 3500-3999 mean "stay away".
* `Refusal`: an HTTP status, before there is a connection.

The texts here are the only ones that reach a client: nothing a client sent is ever repeated in them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple


class ErrorCode(enum.Enum):
    """(number, message, temporary): temporary means that the same command may succeed later."""

    INTERNAL = (100, "internal error", True)
    UNAUTHORIZED = (101, "unauthorized", False)
    UNKNOWN_CHANNEL = (102, "unknown channel", False)
    PERMISSION_DENIED = (103, "permission denied", False)
    METHOD_NOT_FOUND = (104, "method not found", False)
    ALREADY_SUBSCRIBED = (105, "already subscribed", False)
    LIMIT_EXCEEDED = (106, "limit exceeded", False)
    BAD_REQUEST = (107, "bad request", False)
    NOT_AVAILABLE = (108, "not available", False)
    TOKEN_EXPIRED = (109, "token expired", False)
    EXPIRED = (110, "expired", False)
    TOO_MANY_REQUESTS = (111, "too many requests", True)
    UNRECOVERABLE_POSITION = (112, "unrecoverable position", False)

    def __init__(self, number: int, message: str, temporary: bool) -> None:
        self.number = number
        self.message = message
        self.temporary = temporary


class ReplyError(Exception):
    """A command could not be carried out; the client gets `code` and `message`, the connection stays.

    `detail` replaces the table's message where more can be said (a path in a payload, a limit). It must not hold
    payload values or secrets.
    """

    def __init__(self, code: ErrorCode, detail: str | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.message = detail or code.message

    @property
    def number(self) -> int:
        return self.code.number

    @property
    def temporary(self) -> bool:
        return self.code.temporary


class ApplicationError(ReplyError):
    """An error of the application's own: `number` is 400 to 1999, `message` is for the client's developer."""

    def __init__(self, number: int, message: str, temporary: bool = False) -> None:
        if not 400 <= number <= 1999:
            raise ValueError("an application's error number is 400 to 1999")
        super().__init__(ErrorCode.BAD_REQUEST, message)
        self._number = number
        self._temporary = temporary

    @property
    def number(self) -> int:
        return self._number

    @property
    def temporary(self) -> bool:
        return self._temporary


class Unsubscription(NamedTuple):
    """Why the server ended a subscription. From 2500 on the client subscribes again (Centrifugo client protocol)."""

    code: int
    reason: str


UNSUBSCRIBED_BY_CLIENT = Unsubscription(0, "client unsubscribe")
UNSUBSCRIBED_BY_SERVER = Unsubscription(2000, "server unsubscribe")
UNSUBSCRIBED_INSUFFICIENT = Unsubscription(2500, "insufficient state")
UNSUBSCRIBED_EXPIRED = Unsubscription(2501, "expired")


class Disconnect(NamedTuple):
    """Why a connection is closed. `code` is a WebSocket close code; `reason` is shorter than 124 bytes of UTF-8."""

    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Does a client come back? The range rule of the Centrifugo SDKs; below 3000, not where it broke a rule."""
        if self.code < 3000:
            return self.code not in (1002, 1003, 1007, 1008, 1009)
        return not (3500 <= self.code <= 3999 or 4500 <= self.code <= 4999)


POLICY = Disconnect(1008, "policy violation")
SERVER_ERROR = Disconnect(1011, "internal error")
SERVICE_RESTART = Disconnect(1012, "service restart")

CLOSED = Disconnect(3000, "connection closed")
SHUTDOWN = Disconnect(3001, "shutdown")
INTERNAL = Disconnect(3004, "internal error")
EXPIRED = Disconnect(3005, "connection expired")
SUBSCRIPTION_EXPIRED = Disconnect(3006, "subscription expired")
SLOW = Disconnect(3008, "slow")
INSUFFICIENT_STATE = Disconnect(3010, "insufficient state")
FORCED_RECONNECT = Disconnect(3011, "force reconnect")
NO_PONG = Disconnect(3012, "no pong")
TOO_MANY_REQUESTS = Disconnect(3013, "too many requests")
INVALID_TOKEN = Disconnect(3500, "invalid token")
BAD_REQUEST = Disconnect(3501, "bad request")
STALE = Disconnect(3502, "no authentication in time")
FORCED = Disconnect(3503, "force disconnect")
CONNECTION_LIMIT = Disconnect(3504, "connection limit")
CHANNEL_LIMIT = Disconnect(3505, "channel limit")
INAPPROPRIATE_PROTOCOL = Disconnect(3506, "inappropriate protocol")
PERMISSION_DENIED = Disconnect(3507, "permission denied")
NOT_AVAILABLE = Disconnect(3508, "not available")
TOO_MANY_ERRORS = Disconnect(3509, "too many errors")


def closing_for(error: ReplyError) -> Disconnect:
    """How a connection ends that an error leaves without a purpose: whether to come back is what the error says."""
    code = FORCED_RECONNECT.code if error.temporary else PERMISSION_DENIED.code
    if error.code is ErrorCode.LIMIT_EXCEEDED:
        code = CHANNEL_LIMIT.code
    return Disconnect(code, error.message.encode()[:123].decode(errors="ignore"))


class ConnectionClosing(Exception):
    """Raised while a command is handled: the connection is to be closed with `disconnect`."""

    def __init__(self, disconnect: Disconnect) -> None:
        super().__init__(disconnect)
        self.disconnect = disconnect


class AuthenticationFailed(Exception):
    """A credential is not good. `cause` is for the operator's counters and logs; it never reaches the client."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class ConfigError(Exception):
    """The configuration can't be used. One line: where (file or variable), which key (dotted), why."""

    def __init__(self, where: str, key: str, reason: str) -> None:
        super().__init__(where, key, reason)
        self.where = where
        self.key = key
        self.reason = reason

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.reason) if part)


class Refusal(Exception):
    """An HTTP request or upgrade is refused: the answer is `status`, a JSON body, and the connection is closed.

    `cause` is a short machine-readable word (a metrics label and the body's `code`); `message` is for people.
    """

    def __init__(self, status: int, cause: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, cause, message)
        self.status = status
        self.cause = cause
        self.message = message
        self.headers = dict(headers or {})


def bad_head(cause: str, message: str) -> Refusal:
    """400: the request head breaks RFC 9112 or is ambiguous in a way two parsers could read differently."""
    return Refusal(400, cause, message)


def unauthorized(*, basic: bool) -> Refusal:
    """401, the same for every cause, so that nothing can be learned from it (RFC 9110 11.6.1).

    `basic`: passwords are configured, so the challenge offers them too.
    """
    challenge = 'Bearer realm="realtime_svc"'
    if basic:
        challenge += ', Basic realm="realtime_svc", charset="UTF-8"'
    return Refusal(401, "unauthorized", "valid credentials are required", {"WWW-Authenticate": challenge})
