"""The server's answer to the upgrade, however it is cut into pieces."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.client.errors import CommandError, ConnectionClosed, ConnectionFailed, HandshakeRefused
from realtime_svc.client.reply import MAX_BODY, MAX_HEAD, Reply

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def feed_all(data: bytes, step: int) -> bytes:
    """What comes out, given `step` bytes at a time; then the connection ends."""
    reply, out = Reply(), b""
    for start in range(0, len(data), step):
        out = reply.feed(data[start : start + step])
    if not out:
        raise reply.end()
    return out


class ReplyTests(SynchronousTestCase):
    def test_switching(self) -> None:
        """The head is handed on whole, with what came along with its end."""
        for step in (1, 7, 1000):
            self.assertEqual(feed_all(SWITCH, step), SWITCH)
        self.assertEqual(feed_all(SWITCH + b"\x81\x01a", 1000), SWITCH + b"\x81\x01a")

    def test_refused(self) -> None:
        """(head, body, what is made of it)"""
        table: tuple[tuple[bytes, bytes, object, float | None], ...] = (
            (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2", b"{}", {}, None),
            (b"HTTP/1.1 401", b'{"a":1}', {"a": 1}, None),
            (b"HTTP/1.0 500 \xff", b"no JSON", None, None),
            (b"HTTP/1.1 503 No\r\nretry-after: 12", b"", None, 12.0),
            (b"HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT", b"", None, None),
            (b"HTTP/1.1 302 Found\r\nLocation: /\r\nTransfer-Encoding: chunked", b"", None, None),
            (b"HTTP/1.1 200 Ok\r\nContent-Length: 3", b"123456", 123, None),
            (b"HTTP/1.1 400 No\r\nContent-Length: 0", b"", None, None),
            (b"HTTP/1.1 400 No\r\nContent-Length: x", b"1", 1, None),
            (b"HTTP/1.1 400 No\r\nContent-Length: 99999999999", b"1", 1, None),
            (b"HTTP/1.1 400 No", b"[" * 5000, None, None),
            (b"HTTP/1.1 400 No", b" " * 100_000, None, None),
        )
        for head, body, expected, retry_after in table:
            for step in (1, 1000):
                error = self.assertRaises(HandshakeRefused, feed_all, head + b"\r\n\r\n" + body, step)
                self.assertEqual(error.status, int(head[9:12]))
                self.assertEqual((error.body, error.retry_after), (expected, retry_after), head)

    def test_body_is_bounded(self) -> None:
        reply = Reply()
        reply.feed(b"HTTP/1.1 400 No\r\n\r\n")
        reply.feed(b"x" * (MAX_BODY - 1))
        self.assertRaises(HandshakeRefused, reply.feed, b"x")

    def test_head_is_bounded(self) -> None:
        reply = Reply()
        reply.feed(b"HTTP/1.1 101 Ok\r\nX: ")
        self.assertRaises(ConnectionFailed, reply.feed, b"x" * MAX_HEAD)

    def test_not_http(self) -> None:
        for head in (
            b"",
            b"rubbish",
            b"HTTP/1.1 x",
            b"HTTP/2 101",
            b"HTTP/1.1 099 No",
            b"HTTP/1.1 1011 No",
            b"\nHTTP/1.1 101",
        ):
            self.assertRaises(ConnectionFailed, feed_all, head + b"\r\n\r\n", 1000)

    def test_ambiguous_head_of_a_switch(self) -> None:
        """What Autobahn would take for the end of a line, or could not read."""
        for byte in (b"\n", b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\0", b"\xff"):
            head = SWITCH[:-4] + b"\r\nX: a" + byte + b"Y: b\r\n\r\n"
            self.assertRaises(ConnectionFailed, feed_all, head, 1000)

    def test_ended_early(self) -> None:
        self.assertIsInstance(Reply().end(), ConnectionFailed)
        self.assertRaises(ConnectionFailed, feed_all, SWITCH[:-1], 5)

    def test_text_for_people(self) -> None:
        """The server's message if there is one, of either port, bounded, without what a terminal would obey."""
        plain = "refused with HTTP status 429"
        table: tuple[tuple[object, str], ...] = (
            ({"code": "busy", "message": "slow\x1b[2J\n\u202edown"}, plain + ": slow\\x1b[2J\\n\\u202edown"),
            ({"error": {"status": 429, "cause": "busy", "message": "slow\tdown"}}, plain + ": slow\\tdown"),
            ({"error": {"message": "x" * 201}}, plain + ": " + "x" * 200),
            ({"error": {"message": ""}}, plain),
            ({"error": {"message": ["x"]}}, plain),
            ({"error": "x", "message": "y"}, plain),
            ({"message": ["x"]}, plain),
            (["x"], plain),
            (None, plain),
        )
        for body, text in table:
            self.assertEqual(str(HandshakeRefused(429, body)), text)

    def test_text_of_other_errors(self) -> None:
        self.assertEqual(str(ConnectionClosed(3005, "over\x1b[2J")), "closed with code 3005: over\\x1b[2J")
        self.assertEqual(str(ConnectionClosed(1005, "")), "closed with code 1005")
        self.assertEqual(str(CommandError(107, "no\n", False)), "error 107: no\\n")
