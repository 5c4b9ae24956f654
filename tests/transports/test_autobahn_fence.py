"""What is overridden of Autobahn, pinned: a new release that changes what we rely on fails here first."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import textwrap
import zlib
from collections import deque
from typing import Any

import txaio
from autobahn.websocket.protocol import (
    TrafficStats,
    WebSocketProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
    parseHttpHeader,
)
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Config, Deflate, Limits, Websocket
from realtime_svc.errors import Refusal
from realtime_svc.transports.autobahn_fence import MAX_DISCARDED, FencedServerProtocol, server_factory
from tests.integration.ws_peer import BINARY, CLOSE, TEXT, close_frame, fragments, frame
from tests.transports.sockets import EVERYBODY, FIELDS, House

# fmt: off
OPTIONS = {
    "versions": [13], "webStatus": False, "failByDrop": False, "maxFramePayloadSize": 1000,
    "maxMessagePayloadSize": 1000, "autoFragmentSize": 0, "openHandshakeTimeout": 0, "closeHandshakeTimeout": 0,
    "autoPingInterval": 0, "autoPingTimeout": 0, "echoCloseCodeReason": True, "maxConnections": 0,
    "trustXForwardedFor": 0, "serveFlashSocketPolicy": False, "utf8validateIncoming": True,
    "requireMaskedClientFrames": True, "applyMask": True, "maskServerFrames": False, "logOctets": False,
    "logFrames": False, "trackTimings": False, "tcpNoDelay": True, "allowedOrigins": ["*"], "allowNullOrigin": True,
}
# fmt: on
INDIFFERENT = {"allowedOriginsPatterns", "autoPingRestartOnAnyTraffic", "autoPingSize", "flashSocketPolicy"}
DEFLATE = Config(websocket=Websocket(deflate=Deflate(enabled=True)), limits=Limits(message_size=1000))


class Recorder(FencedServerProtocol):
    """The hooks a subclass gives."""

    def linger(self) -> None:
        self.lingered = True

    def on_message(self, payload: bytes, binary: bool) -> None:
        self.got = (payload, binary)


class Stock(WebSocketServerProtocol):
    """Autobahn's own handshake."""

    factory: Any
    transport: Any
    log = FencedServerProtocol.log
    sent = b""

    def onConnect(self, request: object) -> str:
        return "plain.v1"

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        self.sent += data

    def _onOpen(self) -> None:  # noqa: N802
        """Nothing."""


class OptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.factory = server_factory(Recorder, 1000, Deflate())
        self.configured: Any = self.factory.protocol

    def test_values(self) -> None:
        """Every option Autobahn knows is in the table, so that a new one is looked at; each has the value we want."""
        names = set(self.configured.CONFIG_ATTRS) - INDIFFERENT - {"perMessageCompressionAccept"}
        self.assertEqual({name: getattr(self.configured, name) for name in names}, OPTIONS)
        self.assertIsNone(self.configured.perMessageCompressionAccept([object()]))

    def test_nothing_is_announced(self) -> None:
        """No Server header."""
        _, socket = House().request()
        self.assertNotIn(b"server:", socket.written.lower())

    def test_options_are_not_copied(self) -> None:
        """They are found on the class, so Autobahn gives no connection a copy of its own."""
        protocol, _ = House().connect()
        self.assertEqual([name for name in protocol.CONFIG_ATTRS if name in vars(protocol)], [])
        self.assertTrue(all(name in vars(type(protocol)) for name in protocol.CONFIG_ATTRS))

    def test_two_factories(self) -> None:
        """Options belong to a factory's own class: a second one changes nothing of the first."""
        server_factory(Recorder, 5, Deflate())
        self.assertEqual(self.configured.maxMessagePayloadSize, 1000)
        self.assertFalse(hasattr(Recorder, "maxMessagePayloadSize"))

    def test_nothing_is_copied(self) -> None:
        """What Autobahn sets on each new connection is on the class, too: an open one holds what differs."""
        protocol, _ = House(namespaces=EVERYBODY, anonymous=True).connect("/raw/x")
        self.assertEqual(set(vars(protocol)), {"connected", "link", "state", "transport"})

    def test_what_is_shared(self) -> None:
        """Of what is shared, nothing that is ever changed matters: `sendData` queues nothing, nobody reads numbers."""
        pattern = vars(self.configured)
        own = {name for name, value in pattern.items() if isinstance(value, (list, dict, set, deque, TrafficStats))}
        self.assertEqual(own - set(self.configured.CONFIG_ATTRS), {"send_queue", "trafficStats"})
        self.assertIsNot(Recorder().utf8validator, Recorder().utf8validator)

    def test_state_at_first(self) -> None:
        """A new connection looks as Autobahn makes it, and is as it is behind its handshake once it is open."""
        stock: Any = Stock()
        stock.factory = WebSocketServerFactory()
        stock.openHandshakeTimeout = 0
        before = set(vars(stock))
        WebSocketProtocol._connectionMade(stock)
        for name in sorted(set(vars(stock)) - set(stock.CONFIG_ATTRS) - before):
            mine, value = getattr(self.configured(), name), getattr(stock, name)
            self.assertTrue(mine == value or type(mine) is type(value), name)
        protocol, _ = House().connect()
        self.assertEqual((protocol.state, protocol.inside_message), (protocol.STATE_OPEN, False))
        self.assertEqual((protocol.current_frame, protocol.websocket_version), (None, 13))

    def test_what_its_handshake_sets(self) -> None:
        """All that Autobahn's own handshake sets and its other methods read is set here as well (`peer` is logged)."""
        stored: dict[str, set[str]] = {}
        read: dict[str, set[str]] = {}
        for owner in (WebSocketProtocol, WebSocketServerProtocol):
            for name, method in vars(owner).items():
                if not inspect.isfunction(method):
                    continue
                for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(method)))):
                    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                        table = stored if isinstance(node.ctx, ast.Store) else read
                        table.setdefault(node.attr, set()).add(name)
        shake = {"processHandshake", "succeedHandshake"}
        found = {name for name, where in stored.items() if where & shake and read.get(name, set()) - shake}
        shared = {"data", "state", "openHandshakeTimeoutCall", "autoPingPendingCall", "_perMessageCompress"}
        shared.add("wasServingFlashSocketPolicyFile")
        self.assertEqual(found - shared, {"websocket_version", "inside_message", "current_frame", "peer"})

    def test_handshake_leaves_nothing(self) -> None:
        """What only the handshake needed is not kept for as long as the connection lasts."""
        protocol, _ = House(DEFLATE).connect("/ws", "Sec-WebSocket-Extensions: permessage-deflate", "Cookie: s=canary")
        kept = " ".join(map(repr, vars(protocol).values()))
        for text in ("canary", "Upgrade", "permessage"):
            self.assertNotIn(text, kept.replace(repr(protocol._perMessageCompress), ""))


class QuietTests(SynchronousTestCase):
    """Autobahn's own timers, logs and formatting are off."""

    def test_no_logs(self) -> None:
        """Nothing of a connection's life reaches a logger, neither through txaio nor through logging."""
        lines: list[object] = []
        handler = logging.Handler()
        handler.emit = lines.append  # type: ignore[method-assign, assignment]
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)
        for level in ("trace", "debug", "info", "warn", "error", "critical", "failure"):
            self.assertIsNone(getattr(FencedServerProtocol.log, level)("text {x}", x=1))
        house = House()
        for data in (frame(3), close_frame(), frame(TEXT, b"\xff"), b""):
            protocol, _ = house.connect()
            protocol.dataReceived(data)
            protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(lines, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_no_timers(self) -> None:
        """Autobahn sets none: not with txaio, not in its batched timer."""
        asked: list[object] = []
        self.patch(txaio, "call_later", lambda *call: asked.append(call))
        house = House()
        self.patch(house.hall._factory._batched_timer, "call_later", lambda *call: asked.append(call))
        protocol, _ = house.connect()
        protocol.dataReceived(frame(TEXT, b"{}"))
        protocol.sendCloseFrame(code=1000)
        protocol.dataReceived(close_frame())
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(asked, [])

    def test_no_future_for_a_message(self) -> None:
        """Autobahn makes one for each, to tell listeners that nobody has added."""
        protocol, _ = House().connect("/raw/x")
        protocol.fire = protocol._onMessage = lambda *call: self.fail("called")
        protocol.dataReceived(frame(TEXT, b"{}") + fragments(TEXT, [b"[", b"]"]))
        self.assertEqual(protocol.message_data, [])

    def test_written_at_once(self) -> None:
        """No queue between us and the socket."""
        protocol, socket = House().connect()
        protocol.sendData(b"abc", sync=True, chopsize=1)
        self.assertEqual((socket.take(), len(protocol.send_queue)), (b"abc", 0))


class HandshakeTests(SynchronousTestCase):
    def test_refusal(self) -> None:
        """Our own answer, whatever the reason: fixed words, JSON, and FIN."""
        house = House()
        house.gate.answer = Refusal(403, "test", "not today", {"X-Why": "because"})
        _, socket = house.request()
        head, _, body = socket.written.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 403 "))
        self.assertIn(b"X-Why: because", head)
        self.assertIn(b'"cause":"test"', body)
        self.assertEqual(socket.did[-1], "fin")

    def test_answer(self) -> None:
        """The same as Autobahn's own, for the same request."""
        house = House(DEFLATE)
        house.gate.subprotocol = "plain.v1"
        fields = ("Sec-WebSocket-Protocol: x, plain.v1", "Sec-WebSocket-Extensions: permessage-deflate")
        _, socket = house.request("/ws", *fields)
        stock = Stock()
        stock.factory = server_factory(Recorder, 1000, Deflate())
        WebSocketProtocol._connectionMade(stock)
        request = ("GET /ws HTTP/1.1", *FIELDS, *fields, "", "")
        stock.transport = self
        stock.data = "\r\n".join(request).encode()
        stock.consumeData()
        ours, theirs = (parseHttpHeader(data.partition(b"\r\n\r\n")[0]) for data in (socket.written, stock.sent))
        self.assertTrue(ours[1].pop("sec-websocket-extensions").startswith("permessage-deflate"))
        self.assertEqual((ours[0], ours[1]), (theirs[0], theirs[1]))
        self.assertEqual(ours[1]["sec-websocket-protocol"], "plain.v1")
        self.assertEqual(ours[1]["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_reason_is_not_repeated(self) -> None:
        """What Autobahn says of a bad handshake holds the client's bytes: it is not sent."""
        protocol, socket = House().connect()
        protocol.state = protocol.STATE_CONNECTING
        protocol.failHandshake('bad "\x1b[31m"', 400, [("X", "y")])
        self.assertIn(b"the WebSocket handshake is not valid", socket.written)
        self.assertNotIn(b"\x1b", socket.written)

    def test_crash(self) -> None:
        """An exception while a client is let in is a 500 without its text, and is reported."""
        house = House()
        house.gate.answer = ValueError("secret")
        _, socket = house.request()
        self.assertTrue(socket.written.startswith(b"HTTP/1.1 500 "))
        self.assertNotIn(b"secret", socket.written)
        self.assertEqual([what for what, _ in house.world.reports], ["a handshake failed"])

    def test_extensions(self) -> None:
        """We agree to permessage-deflate, or to nothing; Autobahn is not asked."""
        offer = (
            "Sec-WebSocket-Extensions: x, permessage-deflate; mystery, permessage-deflate; server_max_window_bits=10"
        )
        for config, agreed in ((DEFLATE, True), (Config(), False)):
            protocol, socket = House(config).request("/ws", offer)
            self.assertEqual(b"server_max_window_bits=10" in socket.written, agreed)
            self.assertEqual(protocol._perMessageCompress is not None, agreed)

    def test_length_of_a_compressed_message(self) -> None:
        """It is limited when it is inflated: noise is a little longer compressed than it is."""
        noise = os.urandom(1000)
        compressor = zlib.compressobj(1, zlib.DEFLATED, -15, 1)
        body = (compressor.compress(noise) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        self.assertGreater(len(body), 1000)
        for data in (frame(BINARY, body, rsv=4), fragments(BINARY, [body[:500], body[500:]], rsv=4)):
            protocol, _ = House(DEFLATE).connect("/raw/x", "Sec-WebSocket-Extensions: permessage-deflate")
            got: list[bytes] = []
            protocol.on_message = lambda payload, binary, got=got: got.append(payload)
            protocol.dataReceived(data)
            self.assertEqual(got, [noise])
        protocol, socket = House(DEFLATE).connect("/raw/x", "Sec-WebSocket-Extensions: permessage-deflate")
        protocol.dataReceived(frame(BINARY, rsv=4, declared=1200))
        self.assertEqual(socket.written[2:4], b"\x03\xf1")


class EndTests(SynchronousTestCase):
    """A connection ends in order: Close, FIN, and reading on until the peer's FIN; by force when the time is up."""

    def setUp(self) -> None:
        self.house = House(Config(limits=Limits(message_size=1000)))
        self.protocol, self.socket = self.house.connect("/raw/x")

    def closed_with(self, code: int) -> None:
        written = self.socket.take()
        self.assertEqual((written[0], written[2:4]), (0x80 | CLOSE, code.to_bytes(2, "big")))
        self.assertEqual(self.socket.did, ["fin"])
        self.assertEqual(self.protocol.state, self.protocol.STATE_CLOSED)

    def test_never_aborts_in_order(self) -> None:
        """Autobahn resets the connection behind a closing handshake that it began, which can take the Close along."""
        self.protocol.sendCloseFrame(code=1012)
        self.protocol.dataReceived(close_frame(1012))
        self.closed_with(1012)

    def test_answer(self) -> None:
        self.protocol.dataReceived(close_frame(3999, b"why") + frame(TEXT, b"behind it"))
        self.assertEqual(self.socket.written[2:], b"\x0f\x9fwhy")
        self.closed_with(3999)

    def test_violations(self) -> None:
        """Each way in which Autobahn fails a connection: Close with the code, then FIN."""
        for data, code in (
            (frame(3), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (close_frame(1005), 1002),
            (close_frame(1000, b"\xff"), 1007),
            (frame(TEXT, declared=1001), 1009),
        ):
            self.protocol, self.socket = self.house.connect("/raw/x")
            self.protocol.dataReceived(data + frame(TEXT, b"behind it"))
            self.closed_with(code)

    def test_violation_while_closing(self) -> None:
        """No second Close: FIN."""
        self.protocol.sendCloseFrame(code=1012)
        self.socket.take()
        self.protocol.dataReceived(frame(3))
        self.assertEqual((self.socket.take(), self.socket.did), (b"", ["fin"]))

    def test_later_failure(self) -> None:
        """What fails behind the end changes nothing."""
        self.protocol.dataReceived(close_frame())
        self.socket.take()
        self.protocol._fail_connection(1011, "")
        self.protocol.dropConnection(abort=True)
        self.assertEqual((self.socket.take(), self.socket.did), (b"", ["fin"]))

    def test_bytes_behind_the_end(self) -> None:
        """They are read and thrown away; a peer that never stops is cut."""
        self.protocol.dataReceived(frame(3))
        chunk = bytes(2**20)
        for _ in range(MAX_DISCARDED // len(chunk)):
            self.protocol.dataReceived(chunk)
        self.assertEqual((self.protocol.data, self.socket.did), (b"", ["fin"]))
        self.protocol.dataReceived(b"x")
        self.assertEqual(self.socket.did, ["fin", "abort"])

    def test_tls(self) -> None:
        """TLS has an end of its own (close_notify), and no half of a connection."""
        self.socket.half_closes = False  # type: ignore[attr-defined]
        self.protocol.dataReceived(close_frame())
        self.assertEqual(self.socket.did, ["close"])

    def test_every_close_code(self) -> None:
        """RFC 6455 7.4 and the registry: 1000-1003, 1007-1014, 3000-4999."""
        good = []
        for code in (*range(1200), *range(2900, 3100), *range(4900, 5100), 65535):
            protocol, socket = self.house.connect("/raw/x")
            protocol.dataReceived(close_frame(code))
            if socket.written[2:4] == code.to_bytes(2, "big") and code != 1002:
                good.append(code)
        expected = [1000, 1001, 1003, *range(1007, 1015), *range(3000, 3100), *range(4900, 5000)]
        self.assertEqual(good, expected)


class RelianceTests(SynchronousTestCase):
    """Names of Autobahn that we override or call: if one goes, an override would silently do nothing."""

    def test_names(self) -> None:
        for name in (
            *("onConnect", "failHandshake", "_connectionMade"),
            *(
                "onMessageBegin",
                "onMessageFrameBegin",
                "onMessageEnd",
                "onFrameEnd",
                "onCloseFrame",
                "onPing",
                "onPong",
            ),
            *("sendData", "sendCloseFrame", "_protocol_violation", "_invalid_payload", "_fail_connection"),
            *("dropConnection", "_max_message_size_exceeded", "consumeData", "onClose"),
        ):
            self.assertTrue(callable(getattr(WebSocketServerProtocol, name)), name)

    def test_states(self) -> None:
        names = ("STATE_CLOSED", "STATE_CONNECTING", "STATE_CLOSING", "STATE_OPEN")
        self.assertEqual([getattr(WebSocketProtocol, name) for name in names], [0, 1, 2, 3])
