"""`/sse/<channel>`: events that an EventSource reads back as what was published."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.payload import parse_json
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import Publication
from realtime_svc.wire.sse import COMMENT, SseDialect

SSE = SseDialect()


class SseTests(SynchronousTestCase):
    """WHATWG HTML 9.2."""

    def test_what_is_said_byte_for_byte(self) -> None:
        for reply, wire in (
            (messages.Message(Publication("x", b'{"a": 1}')), b'data: {"a": 1}\n\n'),
            (messages.Message(Publication("x", '"é"'.encode())), 'data: "é"\n\n'.encode()),
            (messages.Message(Publication("b:x", b"\x00\n\xff", False, True)), b"data: AAr/\n\n"),
            (messages.Message(Publication("b:x", b"", False, True)), b"data: \n\n"),
            (messages.Bye(errors.SHUTDOWN), b'event: bye\ndata: {"code":3001}\n\n'),
        ):
            frame = SSE.encode(reply)
            assert frame is not None
            self.assertEqual(wire, frame.wire)

    def test_no_payload_ends_its_event_early(self) -> None:
        """Whatever newlines stand between tokens, the event is one line of data."""
        data, _ = parse_json(b'{\r\n"a":\r1,\n\n"event":"x"}')
        frame = SSE.encode(messages.Message(Publication("x", data)))
        assert frame is not None
        self.assertEqual(2, frame.wire.count(b"\n"))
        self.assertNotIn(b"\r", frame.wire)

    def test_nothing_else_is_said_and_nothing_is_read(self) -> None:
        for reply in (
            messages.Hello("c", "", 1),
            messages.Done("subscribe", "x"),
            messages.HelpText(),
            messages.Failed(ReplyError(ErrorCode.BAD_REQUEST)),
            messages.Unsubscribed("x", 2000, ""),
        ):
            self.assertIsNone(SSE.encode(reply), reply)
        self.assertEqual((), SSE.decode(b"ping", False, "x"))
        self.assertEqual(errors.SHUTDOWN, SSE.close_with(errors.SHUTDOWN))

    def test_comment_is_no_event(self) -> None:
        self.assertTrue(COMMENT.startswith(b":") and COMMENT.endswith(b"\n\n"))
