"""One client, as user code sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from twisted.internet.defer import Deferred, execute

from realtime_svc import errors
from realtime_svc.core.messages import Message as Delivery
from realtime_svc.errors import Disconnect
from realtime_svc.handlers.grants import ConnectRequest, GrantOptions, granted
from realtime_svc.handlers.values import from_json, to_payload
from realtime_svc.model import ClientInfo, Publication, PublishResult

if TYPE_CHECKING:
    from realtime_svc.core.session import Session
    from realtime_svc.handlers.server import Server


class Client:
    """A connection to this process. Who publishes over HTTP has none: such a client can only be looked at, all that
    would need the connection raises RuntimeError.

    What is done to a client that has left does nothing.
    """

    __slots__ = ("_connecting", "_info", "_server", "_session")

    def __init__(
        self, server: Server, info: ClientInfo, session: Session | None, connecting: ConnectRequest | None = None
    ) -> None:
        """`connecting`: it is not open yet."""
        self._server = server
        self._info = info
        self._session = session
        self._connecting = connecting

    def __repr__(self) -> str:
        return f"<Client {self.id} user={self.user!r}>"

    def __eq__(self, other: object) -> bool:
        """The same connection? Each call of a handler gets an object of its own."""
        return self is other or (isinstance(other, Client) and self.id == other.id != "")

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def server(self) -> Server:
        return self._server

    @property
    def id(self) -> str:
        """Unique to the connection; "" for an HTTP publisher."""
        return self._info.client

    @property
    def user(self) -> str:
        """The user's id; "" for an anonymous client."""
        return self._info.user

    @property
    def info(self) -> Any:
        """What its token tells others about it (claim `info`), decoded; None where that is nothing."""
        return from_json(self._info.info)

    @property
    def meta(self) -> Any:
        """What its token tells user code only (claim `meta`), decoded; None for nothing, and for an HTTP publisher."""
        identity = self._session.identity if self._session else None
        return from_json(identity.meta) if identity else None

    @property
    def address(self) -> str:
        """The peer's address; "" for an HTTP publisher."""
        return str(self._session.remote) if self._session else ""

    @property
    def channels(self) -> frozenset[str]:
        """What it is subscribed to now."""
        return frozenset(self._session.channels) if self._session else frozenset()

    def reply(self, data: Any) -> None:
        """Send to this client alone, in no channel: anything JSON can say, or bytes.

        In `connect` it arrives behind the answer, where the protocol has one: not, if the client is not let in.
        """
        is_bytes = isinstance(data, bytes)
        publication = Publication("", to_payload(data), is_json=not is_bytes, binary=is_bytes)
        session = self._connected()
        if self._connecting is not None and session.dialect.traits.handshake:
            self._connecting.say_later(publication)
        else:
            session.say(Delivery(publication))

    def broadcast(self, channel: str, data: Any, *, event: str | None = None) -> Deferred[PublishResult]:
        """Publish in a channel, to all others: this client does not get it."""
        return self.server.publish(channel, data, event=event, exclude=self)

    def subscribe(self, channel: str, **options: Unpack[GrantOptions]) -> Deferred[None]:
        """Subscribe this client, whatever its permissions.

        The Deferred fires when it is subscribed. It fails with `ReplyError`: 105 where it is subscribed already, 106
        above the limit of channels, 102 and 107 for channels that can't be. In `connect` it fires at once: the
        subscription is made when the handler has returned, before the client's own first command.
        """
        session = self._connected()
        if self._connecting is not None:
            return execute(self._connecting.subscribe, channel, **options)
        return self._server.run(self._server.control.subscribe_session(session, channel, granted(options)))

    def unsubscribe(self, channel: str) -> Deferred[None]:
        """End a subscription. Succeeds also where there is none."""
        session = self._connected()
        if self._connecting is not None:
            return execute(self._connecting.unsubscribe, channel)
        return self._server.run(self._server.control.unsubscribe_session(session, channel))

    def close(self, code: int = errors.FORCED.code, reason: str = errors.FORCED.reason) -> None:
        """Close the connection. 3000-3499 and 4000-4499: the client comes back; 3500-3999 and 4500-4999: it does not.

        Raises ValueError for a code or reason that no close frame can hold.
        """
        self._connected().close(checked_disconnect(code, reason))

    def entered(self) -> None:
        """Its `connect` handler is done."""
        self._connecting = None

    def _connected(self) -> Session:
        if self._session is None:
            raise RuntimeError("this client publishes over HTTP: it has no connection")
        return self._session


def checked_disconnect(code: int, reason: str) -> Disconnect:
    """Raises ValueError for what a close frame can't hold (RFC 6455 5.5, 7.4.2)."""
    if not 3000 <= code <= 4999 or len(reason.encode()) > 123:
        raise ValueError("a close code is 3000 to 4999, a reason at most 123 bytes")
    return Disconnect(code, reason)
