"""What can go wrong between a client and its server. No text here ever holds a credential."""

from __future__ import annotations

MAX_MESSAGE = 200


def printable(text: str) -> str:
    """The beginning of what a server said, on one line, what a terminal would obey as `\\x1b`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[:MAX_MESSAGE]
    )


class ConnectionFailed(Exception):
    """There is no connection: no address, nobody listens, TLS does not come about, no answer in time."""


class HandshakeRefused(Exception):
    """The server answered the upgrade with an HTTP status.

    `body` is the decoded JSON of the answer, or None where it is something else; `message` is what it says for people:
    its `error.message` (the public port) or `message` (the internal one). `retry_after` are the seconds after which the
    server wants to be asked again, where it says so.
    """

    def __init__(self, status: int, body: object = None, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.retry_after = retry_after

    @property
    def message(self) -> str | None:
        """As the server sent it: of any length up to that of the body, with any character."""
        body = self.body.get("error", self.body) if isinstance(self.body, dict) else None
        message = body.get("message") if isinstance(body, dict) else None
        return message if isinstance(message, str) else None

    def __str__(self) -> str:
        return f"refused with HTTP status {self.status}" + (f": {printable(self.message)}" if self.message else "")


class ConnectionClosed(Exception):
    """The connection has ended. `code` and `reason` as in RFC 6455 7.1.5: 1005: Close without code, 1006: no Close."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"closed with code {self.code}" + (f": {printable(self.reason)}" if self.reason else "")


class SendBufferFull(Exception):
    """The server does not read as fast as is sent; this message was not sent."""


class ProtocolViolation(Exception):
    """What the server sends is not protocol `plain.v1`."""


class CommandError(Exception):
    """The server refused a command. `temporary`: the same command may succeed later."""

    def __init__(self, code: int, message: str, temporary: bool) -> None:
        super().__init__(code, message, temporary)
        self.code = code
        self.message = message
        self.temporary = temporary

    def __str__(self) -> str:
        return f"error {self.code}: {printable(self.message)}"


class CommandTimeout(Exception):
    """No answer came in time: whether the command was carried out is not known."""


class TooManyCommands(Exception):
    """Too many commands wait for their answers; this one was not sent."""


class SubscriptionLost(Exception):
    """The server ended a subscription, or does not renew it after a reconnect: no more messages from this channel."""

    def __init__(self, channel: str, code: int, reason: str) -> None:
        super().__init__(channel, code, reason)
        self.channel = channel
        self.code = code
        self.reason = reason


class ClientStopped(Exception):
    """`stop` was called."""
