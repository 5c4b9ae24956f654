"""The service: what is built from a configuration, in which order it starts, and how it drains."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure

from realtime_svc import __version__, errors
from realtime_svc.auth.admission import Gatekeeper
from realtime_svc.auth.jwks import JwksRefresher
from realtime_svc.auth.keyring import Keyring, build_keyring, build_refresher
from realtime_svc.auth.password_keeper import HashThreads
from realtime_svc.bounds import descriptors, raise_descriptor_limit, session_limits
from realtime_svc.config import Config, Sockets
from realtime_svc.configrules import notes, warnings
from realtime_svc.core.heartbeat import Heartbeat
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.node import Node, Ports
from realtime_svc.core.ports import Validator
from realtime_svc.driver import run
from realtime_svc.engines.broker_memory import MemoryBroker
from realtime_svc.engines.presence_memory import MemoryPresence
from realtime_svc.errors import ConfigError
from realtime_svc.handlers import NoHandlers, Server, UserHandlers, load_target
from realtime_svc.http.api import Api
from realtime_svc.http.internal import internal_site
from realtime_svc.http.public import PublicWeb
from realtime_svc.listening import Listening
from realtime_svc.metrics import exposition
from realtime_svc.transports.autobahn_fence import NVX
from realtime_svc.transports.caps import Caps
from realtime_svc.transports.entrance import Entrance
from realtime_svc.transports.kernel import Kernel, choose
from realtime_svc.transports.poller import Poller, Turns
from realtime_svc.transports.streams import Streams
from realtime_svc.transports.tls import ServerTls
from realtime_svc.transports.websocket import Hall
from realtime_svc.validation import load_schemas
from realtime_svc.webhooks import Backend, Webhooks
from realtime_svc.wire.forwarded import Networks
from realtime_svc.wire.http_head import HeadLimits
from realtime_svc.wire.routes import BodySizes

WEBHOOKS_GRACE = 2.0  # seconds for what backends have not been told yet
CUT_GRACE = 0.2  # seconds for what was cut to be gone, before the process ends all the same
DRAIN_SLICE = 200  # sessions that are told to go in one turn of the event loop

_log = Logger(namespace="realtime_svc")


@dataclass(slots=True)
class Prepared:
    """Everything that is read from files, read: nothing of it can fail any more."""

    config: Config
    validator: Validator
    keyring: Keyring
    refresher: JwksRefresher | None
    tls: ServerTls | None
    handlers: Any
    backend: Backend | None
    threads: HashThreads
    kernel: Kernel


def prepare(config: Config, reactor: Any) -> Prepared:
    """Read and check all that the configuration names. Raises `ConfigError`. Starts nothing."""
    threads = HashThreads(reactor)
    speaks_tls = any(listener.tls and listener.enabled for listener in config.listeners.values())
    keyring = build_keyring(config.auth, threads, time.time)
    return Prepared(
        config=config,
        validator=load_schemas(Path(config.schemas.folder), config.namespaces),
        keyring=keyring,
        refresher=build_refresher(reactor, config.auth.jwt, keyring),
        tls=ServerTls(config.tls) if speaks_tls else None,
        handlers=load_target(config.handlers.object, config.handlers.path) if config.handlers.object else None,
        backend=Backend(reactor, config.webhooks) if config.webhooks.url else None,
        threads=threads,
        kernel=_kernel(config.sockets),
    )


def _kernel(sockets: Sockets) -> Kernel:
    """Raises `ConfigError` where the compiled one is asked for and not there."""
    try:
        return choose("python" if sockets.path == "stock" else sockets.path)
    except ImportError as error:
        raise ConfigError("", "sockets.path", str(error)) from None


def report(what: str, error: BaseException) -> None:
    """Log an exception that was not expected, with its traceback."""
    _log.failure("{what}", failure=Failure(error), what=what, log_kind=f"failure: {what}")


def note(kind: str, text: str) -> None:
    """Log something that strangers can cause: the observer limits how often."""
    _log.info("{text}", text=text, log_kind=kind)


class RealtimeService(Service):
    """One process of realtime_svc. `reload` gives the configuration as it is now; `welcome` is told where it listens.

    Start: descriptors, sockets (before privileges are dropped), then timers and threads. Stop: not ready, no new
    connections, every client is told and gets what is queued, then the rest is cut; it ends within `drain_timeout`.
    """

    def __init__(
        self,
        prepared: Prepared,
        reactor: Any,
        *,
        reload: Callable[[], Config] | None = None,
        welcome: Callable[[RealtimeService], None] | None = None,
        log_observer: Any = None,
        instruments: Instruments | None = None,
    ) -> None:
        config = self.config = prepared.config
        self._prepared = prepared
        self._reactor = reactor
        self._reload_config = reload
        self._welcome = welcome
        self._log_observer = log_observer
        self._draining = False
        self._gone: Deferred[None] = Deferred()
        self._public: list[Any] = []
        self._internal: Any = None
        self._refresher = prepared.refresher
        self.addresses: dict[str, tuple[str, int]] = {}
        self.instruments = instruments or Instruments()
        self._heartbeat = Heartbeat(reactor, config.websocket.ping_interval, config.websocket.ping_timeout)
        streams = config.streams
        self._broker = MemoryBroker(reactor, streams.idempotency_window, streams.idempotency_keys)
        self._webhooks = self._build_webhooks(prepared.backend)
        self._poller = None if config.sockets.path == "stock" else Poller(reactor, prepared.kernel)
        self._turns = self._poller or Turns(reactor)
        self.node = self._build_node()
        self.publish = Server(self.node).publish  # for code that builds the service itself
        self.api = Api(self.node, config.api) if config.api.enabled else None
        self._caps = Caps(config.limits.connections or descriptors(), config.limits.connections_per_address)
        kernel = None if self._poller is None else prepared.kernel
        self._listening = Listening(self._build_entrance(), config.http.backlog, prepared.tls, kernel, reactor)

    def _build_node(self) -> Node:
        config, prepared = self.config, self._prepared
        ports = Ports(
            clock=self._reactor,
            wall_clock=time.time,
            run=run,
            authenticator=prepared.keyring,
            revocations=prepared.keyring.revocations,
            validator=prepared.validator,
            broker=self._broker,
            presence=MemoryPresence(),
            lifecycle=self._webhooks,
            report=report,
            note=note,
            after_turn=self._turns.after_turn,
            outlet=prepared.kernel.Outlet,
            group=prepared.kernel.Group,
        )
        return Node(
            ports,
            config.namespaces,
            session_limits(config),
            self._heartbeat,
            self.instruments,
            NoHandlers(),
            name=socket.gethostname(),
            version=__version__,
        )

    def _build_webhooks(self, backend: Backend | None) -> Webhooks | None:
        if backend is None:
            return None
        config = self.config.webhooks
        return Webhooks(config, backend.post, self._reactor, self.instruments, note, wall_clock=time.time)

    def _build_entrance(self) -> Entrance:
        config = self.config
        keyring = self._prepared.keyring
        public_api = config.api.body_size if config.api.public and config.api.enabled else 0
        bodies = BodySizes(config.limits.message_size, public_api)
        gate = Gatekeeper(
            config.http,
            config.auth,
            keyring,
            config.namespaces,
            self.instruments,
            accepts_basic=lambda: keyring.accepts_basic,
        )
        return Entrance(
            http=config.http,
            limits=HeadLimits(config.http.head_size, config.http.request_line_size, config.http.headers),
            trusted=Networks(config.http.trusted_proxies),
            clock=self._reactor,
            run=run,
            gate=gate,
            caps=self._caps,
            hall=Hall(
                self.node, gate, config, self._poller, self._prepared.kernel.parse_frames if self._poller else None
            ),
            web=PublicWeb(
                self.node, gate, run, self._reactor, bodies, Streams(self.node), self.api if config.api.public else None
            ),
            refused=self.node.refused,
            bodies=bodies,
        )

    # ---- start

    def setServiceParent(self, parent: IServiceCollection) -> None:  # noqa: N802
        """twistd asks the application for its log observer: ours, in the configured format."""
        super().setServiceParent(parent)
        if self._log_observer is not None:
            from twisted.logger import ILogObserver

            parent.setComponent(ILogObserver, self._log_observer)  # type: ignore[attr-defined]

    def privilegedStartService(self) -> None:
        """Bind every port. Raises `ConfigError` that names the listener."""
        super().privilegedStartService()
        raise_descriptor_limit()
        for name, listener in self.config.listeners.items():
            if listener.enabled:
                port = self._listening.public(name, listener)
                self._public.append(port)
                self.addresses[name] = (listener.host, port.getHost().port)
        internal = self.config.internal
        if internal.enabled:
            site = internal_site(self.readiness, self._metrics, self._reactor, self.api)
            self._internal = self._listening.bind("internal.port", internal.host, internal.port, site)
            self.addresses["internal"] = (internal.host, self._internal.getHost().port)

    def startService(self) -> None:
        """Timers, threads and user code. Raises `ConfigError` where the user's object can't be made."""
        super().startService()
        if self._prepared.handlers is not None:
            self.node.hooks = UserHandlers(self._prepared.handlers, self.node, self.config.handlers.timeout)
        self._prepared.threads.start()
        if self._poller is not None:
            self._poller.start()
        self._heartbeat.start()
        self.node.positions.start()
        if self._webhooks is not None:
            self._webhooks.start()
        if self._refresher is not None:
            self._refresher.start()
        if self._reload_config is not None:
            signal.signal(signal.SIGHUP, lambda number, frame: self._reactor.callFromThread(self.reload))
        for name, (host, port) in self.addresses.items():
            _log.info("listening: {name} on {host} port {port}", name=name, host=host, port=port)
        sockets = "stock" if self._poller is None else self._prepared.kernel.name
        _log.info("sockets: {sockets}, frames: {frames}", sockets=sockets, frames="NVX" if NVX else "python")
        for warning in warnings(self.config):
            _log.warn("{text}", text=warning)
        for text in notes(self.config):
            _log.info("{text}", text=text)
        _log.info("realtime_svc ready")
        if self._welcome is not None:
            self._reactor.callWhenRunning(self._welcome, self)

    # ---- while it runs

    def readiness(self) -> str | None:
        """None, or why this process is not to get connections."""
        if self._draining:
            return "shutting down"
        if self._refresher is not None and not self._refresher.ready:
            return "no key set fetched yet"
        return None

    def _metrics(self) -> bytes:
        self.instruments.queued_bytes = self.node.queued_bytes()
        return exposition(self.instruments, ready=self.readiness() is None)

    def reload(self) -> None:
        """SIGHUP: read certificates, credentials and keys again. What is bad is logged, and the old one stays."""
        assert self._reload_config is not None
        steps: list[tuple[str, Callable[[], None]]] = [
            ("token keys", lambda: self._prepared.keyring.reload(self._reload_config().auth))  # type: ignore[misc]
        ]
        if self._prepared.tls is not None:
            steps.append(("certificates", self._prepared.tls.reload))
        if self.api is not None:
            steps.append(("API keys", lambda: self.api.reload(self._reload_config().api)))  # type: ignore[misc, union-attr]
        for what, step in steps:
            try:
                step()
            except ConfigError as error:
                _log.error("{what} not reloaded, the old ones stay: {error}", what=what, error=str(error))
            else:
                _log.info("{what} reloaded", what=what)

    # ---- stop

    @inlineCallbacks
    def stopService(self) -> Any:
        """Drain, then stop. Fires when every connection is gone."""
        super().stopService()
        self._draining = True
        if self._reload_config is not None:  # under twistd, which does nothing with a second signal
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, frame: self._reactor.callFromThread(self._cut))
        for port in self._public:
            yield port.stopListening()
        yield self._drain()
        self._heartbeat.stop()
        self.node.positions.stop()
        self._broker.stop()
        if self._webhooks is not None:
            yield self._webhooks.stop(WEBHOOKS_GRACE)
        if self._refresher is not None:
            self._refresher.stop()
        if self._internal is not None:
            yield self._internal.stopListening()
        self._prepared.threads.stop()
        if self._poller is not None:
            self._poller.stop()
        if self._log_observer is not None:
            self._log_observer.flush()

    @inlineCallbacks
    def _drain(self) -> Any:
        """Tell every client to go, wait for the queues, cut what is left at the limit."""
        self._caps.on_empty = self._drained
        limit = self._reactor.callLater(self.config.shutdown.drain_timeout, self._cut)
        self.node.draining = True
        for door in self._listening.doors:
            door.close_all()
        self._tell(list(self.node.hub.sessions.values()))
        if self._caps.open:
            yield self._gone
        if limit.active():
            limit.cancel()

    def _tell(self, sessions: list[Any]) -> None:
        for session in sessions[:DRAIN_SLICE]:
            session.close(errors.SHUTDOWN)
        if len(sessions) > DRAIN_SLICE:
            self._reactor.callLater(0, self._tell, sessions[DRAIN_SLICE:])

    def _cut(self) -> None:
        """The time is up, or somebody asked twice."""
        left = list(self.node.hub.sessions.values())
        _log.warn("drain is over: {left} connections cut", left=self._caps.open)
        for session in left:
            session.transport.abort()
        for door in self._listening.doors:
            door.abort_all()
        self._reactor.callLater(CUT_GRACE, self._drained)

    def _drained(self) -> None:
        if not self._gone.called:
            self._gone.callback(None)
