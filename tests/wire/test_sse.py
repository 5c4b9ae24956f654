"""`/sse/<channel>`: events that an EventSource reads back as what was published."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import SubscriptionResult
from realtime_svc.core.payload import parse_json
from realtime_svc.core.ports import Traits
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication, StreamPosition
from realtime_svc.wire.sse import COMMENT, SseDialect

SSE = SseDialect()
AT_7 = StreamPosition(7, "kQ-z_T")


class EventSource:
    """What a browser makes of a stream (WHATWG HTML 9.2.6): the events its page sees, and the id it would send."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.last_id = ""

    def read(self, stream: str) -> None:
        assert stream.endswith("\n\n"), "an event that is not ended is never seen"
        for block in stream.split("\n\n")[:-1]:
            kind, data = "message", None
            for name, _, value in (line.partition(":") for line in block.split("\n")):
                value = value.removeprefix(" ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = value if data is None else f"{data}\n{value}"
            if data is not None:
                self.seen.append((kind, data))


class SseTests(SynchronousTestCase):
    """WHATWG HTML 9.2."""

    def test_what_is_said_byte_for_byte(self) -> None:
        for reply, wire in (
            (messages.Message(Publication("x", b'{"a": 1}')), b'data: {"a": 1}\n\n'),
            (messages.Message(Publication("x", '"é"'.encode())), 'data: "é"\n\n'.encode()),
            (messages.Message(Publication("b:x", b"\x00\n\xff", False, True)), b"data: AAr/\n\n"),
            (messages.Message(Publication("b:x", b"", False, True)), b"data: \n\n"),
            (messages.Message(Publication("x", b"1").at(AT_7)), b"id: kQ-z_T:7\ndata: 1\n\n"),
            (messages.Subscribed("x", SubscriptionResult(True, True, AT_7)), b"id: kQ-z_T:7\n\n"),
            (messages.Subscribed("x", SubscriptionResult(True, True, AT_7, True, True)), b"id: kQ-z_T:7\n\n"),
            (
                messages.Subscribed("x", SubscriptionResult(True, True, AT_7, True, False)),
                b'event: reset\nid: kQ-z_T:7\ndata: {"epoch":"kQ-z_T","offset":7}\n\n',
            ),
            (
                messages.Subscribed("x", SubscriptionResult(was_recovering=True)),
                b'event: reset\nid:\ndata: {"epoch":"","offset":0}\n\n',
            ),
            (messages.Bye(errors.SHUTDOWN), b'event: bye\ndata: {"code":3001,"reason":"shutdown"}\n\n'),
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
            messages.Subscribed("x", SubscriptionResult()),
            messages.ServerSubscribed("x", SubscriptionResult()),
            messages.Published("x", AT_7),
            messages.HistoryResult("x", [], AT_7),
            messages.PresenceResult("x", {}),
            messages.PresenceStatsResult("x", 1, 1),
            messages.CallResult("f"),
            messages.Connected("c", "1", {}),
            messages.Refreshed(),
            messages.Joined("x", ClientInfo("c", "")),
            messages.Left("x", ClientInfo("c", "")),
            messages.PingPush(),
            messages.HelpText(),
            messages.Failed(ReplyError(ErrorCode.BAD_REQUEST)),
            messages.Unsubscribed("x", errors.UNSUBSCRIBED_BY_SERVER),
        ):
            self.assertIsNone(SSE.encode(reply), reply)
        self.assertEqual((), SSE.decode(b"ping", False, "x"))
        self.assertEqual(errors.SHUTDOWN, SSE.close_with(errors.SHUTDOWN))

    def test_what_kind_of_protocol_it_is(self) -> None:
        self.assertEqual(Traits(), SSE.traits)
        frame = SSE.encode(messages.Message(Publication("x", b"1")))
        assert frame is not None
        self.assertIsNone(SSE.join((frame, frame)))

    def test_a_browser_always_knows_where_it_is(self) -> None:
        """From the answer to its subscription on; after a reset from there on; and the page sees publications only."""
        browser = EventSource()
        first, eighth = Publication("x", b"1").at(AT_7._replace(offset=1)), Publication("x", b"8")
        for reply, last_id in (
            (messages.Subscribed("x", SubscriptionResult(position=AT_7._replace(offset=0))), "kQ-z_T:0"),
            (messages.Message(first), "kQ-z_T:1"),
            (messages.Message(eighth), "kQ-z_T:1"),
            (messages.Subscribed("x", SubscriptionResult(position=AT_7, was_recovering=True)), "kQ-z_T:7"),
            (messages.Message(eighth.at(StreamPosition(8, "kQ-z_T"))), "kQ-z_T:8"),
            (messages.Bye(errors.SHUTDOWN), "kQ-z_T:8"),
            (messages.Subscribed("x", SubscriptionResult(was_recovering=True)), ""),
        ):
            frame = SSE.encode(reply)
            assert frame is not None
            browser.read(frame.wire.decode() + COMMENT.decode())
            self.assertEqual(last_id, browser.last_id, reply)
        self.assertEqual(
            [
                ("message", "1"),
                ("message", "8"),
                ("reset", '{"epoch":"kQ-z_T","offset":7}'),
                ("message", "8"),
                ("bye", '{"code":3001,"reason":"shutdown"}'),
                ("reset", '{"epoch":"","offset":0}'),
            ],
            browser.seen,
        )

    def test_comment_is_no_event(self) -> None:
        self.assertTrue(COMMENT.startswith(b":") and COMMENT.endswith(b"\n\n"))
