"""`POST /publish/<channel>`: what becomes of the body, and what is answered."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone

from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import StreamPosition
from tests.http.public_web import PublicTestCase


class PublishingTests(PublicTestCase):
    def test_publish(self) -> None:
        """The body is the payload; text and JSON are text where they are UTF-8, everything else is binary."""
        cases = [
            ("", b"1", True),
            ("Content-Type: application/json", b"1", False),
            ("Content-Type: Text/Plain; charset=utf-8", b"caf\xc3\xa9", False),
            ("Content-Type: application/cloudevents+json", b"{}", False),
            ("Content-Type: text/plain", b"\xff", True),
            ("Content-Type: application/octet-stream", b"1", True),
            ("Content-Type: multipart/form-data; boundary=x", b"--x", True),
            ("Content-Type: application/x-www-form-urlencoded", b"a=b", True),
        ]
        for field, body, _ in cases:
            self.publish(body, *([field] if field else []))
        self.assertEqual(self.node.published, [("a", body, binary, None) for _, body, binary in cases])
        self.assertEqual(
            [response.json() for response in self.responses()], [{"ok": "publish", "channel": "a"}] * len(cases)
        )
        self.assertEqual(self.visitor.events, ["body", "responded"] * len(cases))

    def test_event(self) -> None:
        """The event of the address is a tag; one that is too long is refused."""
        self.gate.event = "joined"
        self.publish(b"1")
        self.assertEqual(self.node.published[0][3], {"event": "joined"})
        self.gate.event = "x" * 65
        self.publish(b"1")
        self.assertEqual((self.responses()[1].status, self.visitor.events[-1]), (400, "last"))

    def test_refused_publication(self) -> None:
        """An error of the core has its status and the connection stays; one nobody expected is reported, and is 500."""
        errors: list[tuple[Exception, int, int]] = [
            (ReplyError(ErrorCode.BAD_REQUEST, "Invalid JSON"), 400, 107),
            (ReplyError(ErrorCode.PERMISSION_DENIED), 403, 103),
            (ReplyError(ErrorCode.UNKNOWN_CHANNEL), 404, 102),
            (ReplyError(ErrorCode.TOO_MANY_REQUESTS), 429, 111),
            (ReplyError(ErrorCode.NOT_AVAILABLE), 503, 108),
            (RuntimeError("canary"), 500, 100),
        ]
        for error, _, _ in errors:
            self.node.error = error
            self.publish(b"1")
        answers = [(response.status, response.json()["error"]["code"]) for response in self.responses()]
        self.assertEqual(answers, [(status, code) for _, status, code in errors])
        self.assertEqual(self.visitor.events[1::2], ["responded"] * len(errors))
        self.assertEqual(self.node.reported, [("a publication failed", "canary")])
        self.assertNotIn(b"canary", self.transport.value())

    def test_client_gone_meanwhile(self) -> None:
        """Who left before the answer gets none, and nothing is said about it."""
        self.node.waiting = Deferred()
        self.publish(b"1")
        self.channel.lost(connectionDone)
        self.node.waiting.callback(None)
        self.assertEqual((self.transport.value(), self.visitor.events, self.node.reported), (b"", ["body"], []))

    def test_position(self) -> None:
        """Where it stands in the channel's stream, if there is one."""
        self.node.position = StreamPosition(7, "ep")
        self.publish(b"1")
        (response,) = self.responses()
        self.assertEqual(response.json(), {"ok": "publish", "channel": "a", "offset": 7, "epoch": "ep"})

    def test_idempotency(self) -> None:
        """The header is the key; one that is too long is refused before anything is published."""
        self.publish(b"1")
        self.publish(b"1", "Idempotency-Key: 8e03978e")
        self.assertEqual(self.node.keys, ["", "8e03978e"])
        self.publish(b"1", f"Idempotency-Key: {'x' * 256}")
        self.assertEqual((self.responses()[2].status, len(self.node.published)), (400, 2))
