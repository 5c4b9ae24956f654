# mypy: disallow-untyped-calls=false
"""A JSON Web Key Set from a web address: fetched at start, refreshed in the background, never in a client's way.

The address is `https`, with the certificate and its name checked (RFC 9525, by service_identity), or `http` on this
machine only. No redirect is followed, at most 1 MiB is read, and the whole takes 10 seconds at most. A failure keeps
the keys that are there.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL, crypto
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, TLSVersion, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from realtime_svc.auth.keys import read_file
from realtime_svc.errors import ConfigError

DEADLINE = 10.0
LARGEST = 2**20
EARLY_INTERVAL = 30.0
FIRST_RETRY = 1.0
JITTER = 0.1

Fetch = Callable[[], Awaitable[bytes]]


class FetchFailed(Exception):
    """The set could not be had. The text is ours and names no content."""


def check_url(url: str) -> None:
    """Raises `ConfigError` for an address that would not be safe or can't be asked. The address is not repeated."""
    try:
        parts = urlsplit(url)
        port_is_good = parts.port != 0
    except ValueError:
        raise ConfigError("", "auth.jwt.jwks_url", "is not a web address") from None
    readable = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_good or not readable:
        raise ConfigError("", "auth.jwt.jwks_url", "is not a https address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ConfigError("", "auth.jwt.jwks_url", "must not hold a user, a password or a fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ConfigError("", "auth.jwt.jwks_url", "must be https: keys from the network need a checked sender")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trust_root(ca_file: str) -> Any:
    """Whom to trust: the certificates of a PEM file, or ("") the system's authorities. Raises `ConfigError`."""
    if not ca_file:
        return platformTrust()
    raw = read_file(ca_file, "auth.jwt.jwks_ca")
    marker = b"-----BEGIN CERTIFICATE-----"
    blocks = [marker + block for block in raw.split(marker)[1:]]
    try:
        certificates = [Certificate.loadPEM(block) for block in blocks]
    except (crypto.Error, ValueError):
        certificates = []
    if not certificates:
        raise ConfigError(ca_file, "auth.jwt.jwks_ca", "holds no readable PEM certificate")
    return trustRootFromCertificates(certificates)


class _Body(Protocol):
    """Collects a response's body, up to `LARGEST` bytes."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= LARGEST:
            self._parts.append(data)
        elif not self.done.called:
            self.done.errback(FetchFailed("the answer is larger than 1 MiB"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(FetchFailed("the answer broke off"))


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Connection:
    """The way to the server for one request: TLS 1.2 or newer, a chain to `root`, a certificate for that very host.

    It remembers what it connected: a request of twisted.web that is cancelled half-way through the body leaves its
    connection open, and would wait for a polite end of TLS otherwise.
    """

    def __init__(self, reactor: Any, root: Any) -> None:
        self._reactor = reactor
        self._root = root
        self._endpoint: Any = None
        self._protocol: Any = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 (Twisted)
        self._endpoint = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=DEADLINE)
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

    def abort(self) -> None:
        """End the connection now, if there is one."""
        if self._protocol is not None and self._protocol.transport.connected:
            self._protocol.transport.abortConnection()


class KeyServer:
    """Who is asked for keys. No redirects, cookies, proxies or kept connections."""

    def __init__(self, reactor: Any, url: str, ca_file: str) -> None:
        """Raises `ConfigError` as `check_url` and `trust_root`."""
        check_url(url)
        self._reactor = reactor
        self._url = url.encode("ascii")
        self._root = trust_root(ca_file)

    async def fetch(self) -> bytes:
        """Ask once. Raises `FetchFailed`, or what the connection failed with; however it ends, nothing stays open."""
        connection = _Connection(self._reactor, self._root)
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        agent = Agent.usingEndpointFactory(self._reactor, connection, pool)
        wanted = Headers({"Accept": ["application/jwk-set+json, application/json"], "User-Agent": ["realtime_svc"]})
        try:
            response = await agent.request(b"GET", self._url, wanted, None)
            if response.code != 200:
                raise FetchFailed(f"the answer has status {response.code}")
            body = _Body()
            response.deliverBody(body)
            return await body.done
        finally:
            connection.abort()


class JwksRefresher:
    """Asks again and again: every `interval` seconds (+-10 %), sooner after a failure, and early for an unknown key.

    `accept` gets each body and raises ValueError for a bad set. The first failure of a row is logged, and its end.
    """

    def __init__(
        self,
        clock: IReactorTime,
        fetch: Fetch,
        accept: Callable[[bytes], None],
        interval: float,
        *,
        chance: Callable[[], float] = random.random,
        log: Logger | None = None,
    ) -> None:
        """`chance` returns numbers from 0 to 1 (for the jitter)."""
        self._clock = clock
        self._fetch = fetch
        self._accept = accept
        self._interval = interval
        self._chance = chance
        self._log = log or Logger(namespace="realtime_svc.auth.jwks")
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._started = False
        self._failures = 0
        self._last_early: float | None = None
        self._ready = False

    @property
    def ready(self) -> bool:
        """Has a key set been accepted since start?"""
        return self._ready

    def start(self) -> None:
        """Fetch now, and from then on in the background."""
        self._started = True
        self._refresh()

    def stop(self) -> None:
        """No more fetches; the one under way is cancelled. The keys stay."""
        self._started = False
        self._cancel_timer()
        if self._running is not None:
            self._running.cancel()

    def unknown_kid(self) -> None:
        """A token names a key that is not held: fetch now, but only once in 30 seconds, whoever sends such tokens."""
        now = self._clock.seconds()
        if not self._started or self._running is not None:
            return
        if self._last_early is not None and now - self._last_early < EARLY_INTERVAL:
            return
        self._last_early = now
        self._refresh()

    def _refresh(self) -> None:
        self._cancel_timer()
        running = Deferred.fromCoroutine(self._get())
        self._running = running
        running.addTimeout(DEADLINE, self._clock)
        running.addCallbacks(self._succeeded, self._failed)

    async def _get(self) -> None:
        self._accept(await self._fetch())

    def _succeeded(self, _result: None) -> None:
        self._running = None
        self._ready = True
        if self._failures:
            self._log.info("JWKS refresh works again")
        self._failures = 0
        self._schedule(self._interval)

    def _failed(self, failure: Failure) -> None:
        self._running = None
        if not self._started:
            return
        if not self._failures:
            self._log.warn("JWKS refresh failed, the keys at hand stay in use: {reason}", reason=_reason(failure))
        self._failures += 1
        self._schedule(min(self._interval, FIRST_RETRY * 2.0 ** min(self._failures - 1, 16)))

    def _schedule(self, delay: float) -> None:
        if self._started:
            spread = 1.0 + JITTER * (2.0 * self._chance() - 1.0)
            self._timer = self._clock.callLater(delay * spread, self._refresh)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _reason(failure: Failure) -> str:
    """One line for the log: our own words, or the kind of error, never what the other side sent."""
    error: Any = failure.value
    reasons = getattr(error, "reasons", None)  # twisted.web wraps what happened to the connection
    if reasons:
        error = reasons[0].value
    if isinstance(error, FetchFailed | ValueError) and error.args:
        return str(error.args[0])
    if isinstance(error, TimeoutError | ConnectTimeoutError | CancelledError | ConnectingCancelledError):
        return f"no answer within {DEADLINE:.0f} seconds"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return f"TLS: {error.args[0][-1][-1]}"
    return type(error).__name__
