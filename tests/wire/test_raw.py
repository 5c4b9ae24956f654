"""`/raw/<channel>`: payloads as they are, errors in an envelope, nothing else."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import SubscriptionResult
from realtime_svc.core.ports import Traits
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication, StreamPosition
from realtime_svc.wire.raw import RawDialect

RAW = RawDialect()


class RawTests(SynchronousTestCase):
    """Both ways."""

    def test_every_message_is_a_publication(self) -> None:
        for payload, binary in ((b"1", False), (b"", True), (b"\xff", True), (b"subscribe x", False), (b"a\nb", False)):
            self.assertEqual((messages.Publish("home", payload, binary),), tuple(RAW.decode(payload, binary, "home")))

    def test_what_is_said_byte_for_byte(self) -> None:
        info = ClientInfo("c", "42", b"{}")
        for reply, payload, opcode in (
            (messages.Message(Publication("x", b'{"a": 1}', publisher=info, tags={"event": "e"})), b'{"a": 1}', 1),
            (messages.Message(Publication("x", b"1", True, True)), b"1", 1),
            (messages.Message(Publication("x", b"1").at(StreamPosition(7, "kQzT"))), b"1", 1),
            (messages.Message(Publication("b:x", b"\xff", False, True)), b"\xff", 2),
            (messages.Message(Publication("b:x", b"text", False, False)), b"text", 1),
            (
                messages.Failed(ReplyError(ErrorCode.BAD_REQUEST, "Invalid JSON"), "publish", "x", 7),
                b'{"error":{"code":107,"message":"Invalid JSON","temporary":false}}',
                1,
            ),
        ):
            frame = RAW.encode(reply)
            assert frame is not None
            self.assertEqual((payload, bytes((0x80 | opcode, len(payload))) + payload), (frame.payload, frame.wire))

    def test_nothing_else_is_said(self) -> None:
        for reply in (
            messages.Hello("c", "", 1),
            messages.Done("subscribe", "x"),
            messages.Subscribed("x", SubscriptionResult(True, True, StreamPosition(7, "kQzT"), True, False)),
            messages.ServerSubscribed("x", SubscriptionResult()),
            messages.Published("x", StreamPosition(7, "kQzT")),
            messages.HistoryResult("x", [], StreamPosition(7, "kQzT")),
            messages.PresenceResult("x", {}),
            messages.PresenceStatsResult("x", 1, 1),
            messages.CallResult("f"),
            messages.Connected("c", "1", {}),
            messages.Refreshed(),
            messages.Joined("x", ClientInfo("c", "")),
            messages.Left("x", ClientInfo("c", "")),
            messages.PingPush(),
            messages.HelpText(),
            messages.Unsubscribed("x", errors.UNSUBSCRIBED_BY_SERVER),
            messages.Bye(errors.SHUTDOWN),
        ):
            self.assertIsNone(RAW.encode(reply), reply)

    def test_what_kind_of_protocol_it_is(self) -> None:
        self.assertEqual(Traits(acknowledges=False), RAW.traits)
        frame = RAW.encode(messages.Message(Publication("x", b"1")))
        assert frame is not None
        self.assertIsNone(RAW.join((frame, frame)))

    def test_shutdown_is_a_service_restart(self) -> None:
        """No library that knows 3001 is at the other end. The other codes are those of the table."""
        self.assertEqual(errors.SERVICE_RESTART, RAW.close_with(errors.SHUTDOWN))
        self.assertEqual(errors.SLOW, RAW.close_with(errors.SLOW))
