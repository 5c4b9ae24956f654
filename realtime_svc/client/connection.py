"""One WebSocket connection to any server: connect, send, receive, close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure

from realtime_svc.client.errors import ConnectionFailed
from realtime_svc.client.link import Limits, Link
from realtime_svc.client.protocol import ClientFactory, describe
from realtime_svc.client.request import Request, make_request
from realtime_svc.client.tls import ClientTls, client_tls

_CLOSE_CODES = {
    1000,
    1001,
    1002,
    1003,
    *range(1007, 1012),
    *range(3000, 5000),
}  # RFC 6455 7.4: what an endpoint may send


class Connection:
    """An open connection, made by `connect`. Text is `str`, binary is `bytes`.

    `subprotocol` is what the server selected. `closed` fires with (code, reason): the server's, or ours where
    we had to end the connection for what the server sent; 1005 for a Close without a code, 1006 without a Close.
    Each use of `closed` is a Deferred of its own.
    """

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def subprotocol(self) -> str | None:
        return self._link.subprotocol

    @property
    def closed(self) -> Deferred[tuple[int, str]]:
        return self._link.when_closed()

    def send(self, message: str | bytes) -> None:
        """Send one message, in order.

        Raises `ConnectionClosed`; `SendBufferFull` where the server does not keep up; `ValueError` for a message that
        is larger than `max_size` or no Unicode.
        """
        if isinstance(message, str):
            self._link.send(message.encode(), binary=False)
        else:
            self._link.send(bytes(message), binary=True)

    def receive(self) -> Deferred[str | bytes]:
        """The next message, in order; each goes to one caller. Fails with `ConnectionClosed` when all are taken."""
        return self._link.receive()

    def close(self, code: int = 1000, reason: str = "", *, drain: bool = False) -> None:
        """Say goodbye; `closed` tells when it is over, after `close_timeout` at the latest.

        Messages that are still on their way are dropped; with `drain` they can be received, up to the server's Close.
        A second call sends nothing; it may end the draining. Raises `ValueError` for a code that can't be sent and a
        reason of more than 123 bytes.
        """
        encoded = reason.encode()
        if code not in _CLOSE_CODES or len(encoded) > 123:
            raise ValueError("no close code that can be sent, or a reason of more than 123 bytes")
        self._link.close(code, encoded, drain=drain)


def connect(
    reactor: IReactorTime,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    basic: tuple[str, str] | None = None,
    protocols: Sequence[str] = (),
    tls: ClientTls | None = None,
    insecure: bool = False,
    max_size: int = 1024 * 1024,
    max_queue: int = 1024 * 1024,
    ping_interval: float = 25.0,
    ping_timeout: float = 10.0,
    open_timeout: float = 10.0,
    close_timeout: float = 5.0,
) -> Deferred[Connection]:
    """Open a connection to `url` (ws:// or wss://).

    `token` and `basic` (user, password) become the Authorization header; over ws:// they leave this machine only with
    `insecure`. `tls` comes from `client_tls`; None trusts the system's authorities. `open_timeout` covers everything up
    to the server's answer; see `Limits` for the others. Cancelling ends the attempt.

    Fails with `ConnectionFailed`, `HandshakeRefused`, or `ValueError` for a request that can't be made.
    """
    limits = Limits(max_size, max_queue, ping_interval, ping_timeout, close_timeout)

    async def attempt() -> Connection:
        request = make_request(url, headers=headers, token=token, basic=basic, protocols=protocols, insecure=insecure)
        return await _open(reactor, request, tls, limits)

    return Deferred.fromCoroutine(attempt()).addTimeout(open_timeout, reactor, _timed_out)


async def _open(reactor: IReactorTime, request: Request, tls: ClientTls | None, limits: Limits) -> Connection:
    link = Link(reactor, limits)
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, request.host, request.port)
    if request.secure:
        endpoint = wrapClientTLS((tls or client_tls()).creator(request.host), endpoint, reactor)
    try:
        await endpoint.connect(ClientFactory(reactor, link, request))
    except (CancelledError, ConnectingCancelledError):
        raise CancelledError from None
    except Exception:
        raise ConnectionFailed(describe(Failure())) from None
    await link.opening
    return Connection(link)


def _timed_out(result: Connection | Failure, seconds: float) -> Connection | Failure:
    """A refusal that came in time, though its body did not, is still a refusal."""
    if isinstance(result, Failure) and result.check(CancelledError):
        return Failure(ConnectionFailed("the server did not answer in time"))
    return result
