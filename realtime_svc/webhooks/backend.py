# mypy: disallow-untyped-calls=false
"""The backend: one HTTP POST to it, over TLS where its address says so, with certificate and name checked (RFC 9525).

No redirect is followed, and of the answer's body 64 KiB at most are taken, and thrown away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from OpenSSL import SSL, crypto
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.interfaces import IConsumer, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, TLSVersion, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from realtime_svc.config import Webhooks
from realtime_svc.errors import ConfigError

LARGEST_ANSWER = 64 * 1024


class Answer(NamedTuple):
    """`retry_after` is the header of that name as it came, "" for none."""

    status: int
    retry_after: str = ""


class CallFailed(Exception):
    """There was no answer. The text is for the log; it names neither the address nor what was said."""


class Backend:
    """Who is told. Each call has a connection of its own."""

    def __init__(self, reactor: Any, config: Webhooks) -> None:
        """Reads what the (checked) configuration names. Raises `ConfigError` for a bad CA file."""
        self._reactor = reactor
        self._url = config.url.encode("ascii")
        self._timeout = config.timeout
        self._root = _trust_root(config.ca)

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Say it once. Raises `CallFailed`. It may be cancelled at any time; however it ends, nothing stays open."""
        line = _Line(self._reactor, self._root, self._timeout)
        agent = Agent.usingEndpointFactory(self._reactor, line, HTTPConnectionPool(self._reactor, persistent=False))
        wanted = Headers({name: [value] for name, value in headers.items()})
        try:
            response = await agent.request(b"POST", self._url, wanted, _Body(body))
            thrown_away = _ThrownAway()
            response.deliverBody(thrown_away)
            with contextlib.suppress(CancelledError):  # out of time, but the answer is there
                await thrown_away.done
        except Exception as error:
            raise CallFailed(_reason(error)) from None
        finally:
            line.cut()
        retry_after = response.headers.getRawHeaders(b"retry-after", [b""])[-1]
        return Answer(response.code, retry_after.decode("ascii", "replace"))


def _trust_root(ca_file: str) -> Any:
    """Whom to trust: the certificates of a PEM file, or ("") the system's authorities. Raises `ConfigError`."""
    if not ca_file:
        return platformTrust()
    marker = b"-----BEGIN CERTIFICATE-----"
    try:
        blocks = [marker + block for block in Path(ca_file).read_bytes().split(marker)[1:]]
        certificates = [Certificate.loadPEM(block) for block in blocks]
    except OSError as error:
        raise ConfigError(ca_file, "webhooks.ca", f"can't be read: {error.strerror}") from None
    except (crypto.Error, ValueError):
        certificates = []
    if not certificates:
        raise ConfigError(ca_file, "webhooks.ca", "holds no readable PEM certificate")
    return trustRootFromCertificates(certificates)


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Line:
    """The way to the backend for one call, TLS 1.2 or newer. It remembers what it connected, so that it can be cut:
    twisted.web leaves a connection open whose request is cancelled half-way, or waits for a polite end of TLS.
    """

    def __init__(self, reactor: Any, root: Any, timeout: float) -> None:
        self._reactor = reactor
        self._root = root
        self._timeout = timeout
        self._endpoint: Any = None
        self._protocol: Any = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 (Twisted)
        self._endpoint = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=self._timeout)
        if uri.scheme == b"https":
            options = {"raiseMinimumTo": TLSVersion.TLSv1_2}
            creator = optionsForClientTLS(uri.host.decode("ascii"), self._root, extraCertificateOptions=options)
            self._endpoint = wrapClientTLS(creator, self._endpoint)
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 (Twisted)
        factory: Any = protocolFactory
        factory.noisy = False  # one connection a call: its start and its stop are no news
        connected: Deferred[IProtocol] = self._endpoint.connect(factory)
        return connected.addCallback(self._remember)

    def _remember(self, protocol: IProtocol) -> IProtocol:
        self._protocol = protocol
        return protocol

    def cut(self) -> None:
        """End the connection now, if there is one."""
        if self._protocol is not None and self._protocol.transport.connected:
            self._protocol.transport.abortConnection()


@implementer(IBodyProducer)
class _Body:
    """The body of a call: small enough to be written at once."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 (Twisted)
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is written already."""

    def resumeProducing(self) -> None:
        """As above."""

    def stopProducing(self) -> None:
        """As above."""


class _ThrownAway(Protocol):
    """Reads an answer's body to its end, so that the backend can send it in peace; but not for ever."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()
        self._left = LARGEST_ANSWER

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0 and not self.done.called:
            self.done.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.callback(None)


def _reason(error: Exception) -> str:
    """One line for the log: the kind of error, never what the other side sent."""
    cause: Any = error
    while reasons := getattr(cause, "reasons", None):  # twisted.web wraps what happened to the connection
        cause = reasons[0].value
    if isinstance(cause, CancelledError | ConnectingCancelledError | ConnectTimeoutError):
        return "no answer in time"
    if isinstance(cause, SSL.Error) and cause.args and cause.args[0]:
        return f"TLS: {cause.args[0][-1][-1]}"
    return type(cause).__name__
