"""`connect` and `Connection` over real sockets."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs
from txaio import tx

from realtime_svc.client import Connection, ConnectionClosed, ConnectionFailed, HandshakeRefused, connect
from tests.client.servers import ScriptFactory, SocketCase

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


def say(answer: bytes, head: bytes) -> bytes:
    return answer


def accept(head: bytes) -> bytes:
    """A correct answer to this request."""
    key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


class EchoTests(SocketCase):
    def url(self, path: str = "/") -> str:
        return f"ws://127.0.0.1:{self.listen(self.echo)}{path}"

    async def open(self) -> Connection:
        return await connect(self.reactor, self.url())

    async def test_text_and_binary(self) -> None:
        """Text comes back as text, binary as binary, in order; also what is longer than a read of the socket."""
        connection = await self.open()
        messages: list[str | bytes] = ["häh ☃", b"\0\xff", "", b"", "x" * 200_000]
        for message in messages:
            connection.send(message)
        self.assertEqual([await connection.receive() for _ in messages], messages)

    async def test_request(self) -> None:
        """Path, query, headers and sub-protocols arrive; the first protocol that was selected is known."""
        url = self.url("/a/b?c=d")
        connection = await connect(
            self.reactor, url, headers={"X-Thing": "1"}, token="t" * 20, protocols=("raw.v1", "plain.v1")
        )
        request = self.echo.requests[0]
        self.assertEqual((request.path, request.params), ("/a/b", {"c": ["d"]}))
        self.assertEqual(request.headers["x-thing"], "1")
        self.assertEqual(request.headers["authorization"], "Bearer " + "t" * 20)
        self.assertEqual(request.protocols, ["raw.v1", "plain.v1"])
        self.assertEqual(connection.subprotocol, "raw.v1")

    async def test_basic(self) -> None:
        await connect(self.reactor, self.url(), basic=("käthe", "pass:word"))
        expected = base64.b64encode("käthe:pass:word".encode()).decode()
        self.assertEqual(self.echo.requests[0].headers["authorization"], f"Basic {expected}")

    async def test_server_closes(self) -> None:
        """`closed` and every `receive`, waiting or later, tell code and reason; what had come before is still there."""
        connection = await self.open()
        first, second = connection.receive(), connection.receive()
        connection.send("one")
        connection.send("close 3500 invalid token")
        self.assertEqual(await first, "one")
        self.assertEqual(await connection.closed, (3500, "invalid token"))
        self.assertEqual(await connection.closed, (3500, "invalid token"))
        for waiting in (second, connection.receive()):
            error = await self.failure(waiting, ConnectionClosed)
            self.assertEqual((error.code, error.reason), (3500, "invalid token"))
        self.assertRaises(ConnectionClosed, connection.send, "too late")

    async def test_messages_before_the_close_are_not_lost(self) -> None:
        connection = await self.open()
        for text in ("one", "two", "close 3001 shutdown"):
            connection.send(text)
        await connection.closed
        self.assertEqual([await connection.receive(), await connection.receive()], ["one", "two"])
        await self.assertFailure(connection.receive(), ConnectionClosed)

    async def test_we_close(self) -> None:
        """The server sees the code; sending is over at once; closing twice does nothing."""
        connection = await self.open()
        connection.close(4000, "enough")
        connection.close()
        self.assertRaises(ConnectionClosed, connection.send, "too late")
        await connection.closed
        self.assertEqual(self.echo.left, [4000])

    async def test_close_that_drains(self) -> None:
        """What the server answered to what was sent before the Close can be received."""
        connection = await self.open()
        for number in range(100):
            connection.send(str(number))
        connection.close(drain=True)
        self.assertEqual([await connection.receive() for _ in range(100)], [str(number) for number in range(100)])
        error = await self.failure(connection.receive(), ConnectionClosed)
        self.assertEqual(error.code, 1000)

    async def test_lost_without_a_close(self) -> None:
        connection = await self.open()
        connection.send("drop")
        code, _ = await connection.closed
        self.assertEqual(code, 1006)

    async def test_receive_can_be_cancelled(self) -> None:
        """The message that comes then goes to the next who asks."""
        connection = await self.open()
        cancelled = connection.receive()
        cancelled.cancel()
        await self.assertFailure(cancelled, CancelledError)
        connection.send("for the next")
        self.assertEqual(await connection.receive(), "for the next")

    async def test_bad_arguments(self) -> None:
        connection = await self.open()
        for code, reason in ((1005, ""), (1006, ""), (999, ""), (2000, ""), (5000, ""), (1000, "x" * 124)):
            self.assertRaises(ValueError, connection.close, code, reason)
        self.assertRaises(ValueError, connection.send, "x" * (1024 * 1024 + 1))
        self.assertRaises(ValueError, connection.send, "\ud800")

    async def test_message_above_the_limit(self) -> None:
        """We close with 1009, and say so."""
        connection = await connect(self.reactor, self.url(), max_size=100)
        self.echo.protocols[0].sendMessage(b"x" * 101)
        self.assertEqual((await connection.closed)[0], 1009)
        self.assertEqual(self.echo.left, [1009])

    async def test_reading_pauses_while_nobody_takes(self) -> None:
        """More than `max_queue` is not kept here; all of it comes once it is taken."""
        connection = await connect(self.reactor, self.url(), max_queue=1000)
        server = self.echo.protocols[0]
        first = connection.receive()
        count = 600
        for number in range(count):
            server.sendMessage(b"%d " % number + b"x" * 20_000)
        await first
        for number in range(1, count):
            message = await connection.receive()
            assert isinstance(message, str)
            self.assertEqual(message.split(" ")[0], str(number))

    async def test_nothing_of_a_token_is_logged(self) -> None:
        """Not at debug level either, where Autobahn would log the whole request; nor is it in a repr."""
        secret = "canary-4711"
        url = self.url(f"/?token={secret}")
        tx.set_global_log_level("debug")
        self.addCleanup(tx.set_global_log_level, "info")
        with capturedLogs() as events:
            connection = await connect(self.reactor, url, token=secret)
            connection.close()
            await connection.closed
        ours = [event for event in events if "Server" not in str(event.get("log_namespace"))]
        self.assertLess(len(ours), len(events), "Autobahn's server has something to say at this level")
        self.assertNotIn(secret, repr(ours))
        self.assertNotIn(secret, repr(connection))


class RefusedTests(SocketCase):
    """What a server answers in place of a 101."""

    def connect_to(self, script: Callable[[bytes], bytes], *, close: bool = False) -> Deferred[Connection]:
        self.script = ScriptFactory(script, close=close)
        return connect(self.reactor, f"ws://127.0.0.1:{self.listen(self.script)}/", token="canary-token")

    async def test_status_and_body(self) -> None:
        answer = b'HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 27\r\n\r\n{"code":1,"message":"slow"}'
        error = await self.failure(self.connect_to(lambda head: answer), HandshakeRefused)
        self.assertEqual((error.status, error.body, error.retry_after), (429, {"code": 1, "message": "slow"}, 7.0))
        self.assertEqual(str(error), "refused with HTTP status 429: slow")

    async def test_body_up_to_the_end(self) -> None:
        refused = self.connect_to(lambda head: b"HTTP/1.1 401 No\r\n\r\n[1]", close=True)
        error = await self.failure(refused, HandshakeRefused)
        self.assertEqual((error.status, error.body), (401, [1]))

    async def test_not_a_handshake(self) -> None:
        """Each ends with one error of ours that repeats nothing of what came."""
        table = (
            b"rubbish CANARY\r\n\r\n",
            b"HTTP/2 101 CANARY\r\n\r\n",
            b"HTTP/1.1 101 CANARY\r\n\r\n",
            b"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: CANARY\r\n\r\n",
            b"HTTP/1.1 101 Ok\r\nX: CANARY\xff\r\n\r\n",
            b"HTTP/1.1 101 Ok\r\nX: a\x0bCANARY: b\r\n\r\n",
            b"HTTP/1.1 101 Ok\r\nX: " + b"CANARY" * 4000,
        )
        for answer in table:
            error = await self.failure(self.connect_to(partial(say, answer)), ConnectionFailed)
            self.assertNotIn("CANARY", str(error))
            self.assertNotIn("canary", str(error))

    async def test_closed_during_the_handshake(self) -> None:
        await self.assertFailure(self.connect_to(lambda head: b"", close=True), ConnectionFailed)

    async def test_nobody_listens(self) -> None:
        port = self.reactor.listenTCP(0, ScriptFactory(accept), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        error = await self.failure(connect(self.reactor, f"ws://127.0.0.1:{number}/"), ConnectionFailed)
        self.assertIn("refused", str(error))

    async def test_cancelled(self) -> None:
        """Cancelling closes the socket."""
        reached: Deferred[None] = Deferred()

        def never(head: bytes) -> bytes:
            reached.callback(None)
            return b""

        opening = self.connect_to(never)
        await reached
        gone = self.script.protocols[0].gone
        opening.cancel()
        await self.assertFailure(opening, CancelledError)
        await gone

    async def test_bad_request_is_never_sent(self) -> None:
        for url in ("http://127.0.0.1/", "ws://user:pass@127.0.0.1/", "ws://127.0.0.1:0/"):
            await self.assertFailure(connect(self.reactor, url), ValueError)
        await self.assertFailure(connect(self.reactor, "ws://192.0.2.1/", token="t"), ValueError)


class HostileServerTests(SocketCase):
    """Frames no server may send: we close with the code RFC 6455 has for it; nothing is logged as a failure."""

    async def end_after(self, frames: bytes) -> int:
        script = ScriptFactory(lambda head: accept(head) + frames)
        url = f"ws://127.0.0.1:{self.listen(script)}/"
        connection = await connect(self.reactor, url, max_size=1000, close_timeout=0.05)
        with capturedLogs() as events:
            code, _ = await connection.closed
        self.assertEqual([event for event in events if event["log_level"] >= LogLevel.warn], [])
        return code

    async def test_table(self) -> None:
        table = (
            (b"\x81\x02\xc3\x28", 1007),  # no UTF-8
            (b"\x81\x82\0\0\0\0ab", 1002),  # masked
            (b"\xc1\x01a", 1002),  # a reserved bit
            (b"\x83\x01a", 1002),  # a reserved opcode
            (b"\x80\x01a", 1002),  # a continuation of nothing
            (b"\x89\x7e\x00\x7e" + bytes(126), 1002),  # a ping of 126 bytes
            (b"\x82\x7e\x03\xe9", 1009),  # more than max_size is announced
            (b"\x02\x7e\x02\x58" + bytes(600) + b"\x80\x7e\x02\x58" + bytes(600), 1009),  # the same in two parts
            (b"\x88\x02\x03\xed", 1002),  # a Close with code 1005
            (b"\x88\x01\x03", 1002),  # half a code
            (b"\x88\x04\x03\xe8\xff\xff", 1007),  # a reason that is no UTF-8
            (b"\x88\x00", 1005),  # a Close without a code
            (b"\x88\x05\x0d\xacbye", 3500),
        )
        for frames, code in table:
            self.assertEqual(await self.end_after(frames), code, frames[:8])
