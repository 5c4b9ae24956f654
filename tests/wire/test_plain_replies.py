"""Protocol plain.v1: what the server says, byte for byte."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import Failed, Message, SubscriptionResult
from realtime_svc.errors import ErrorCode, ReplyError, Unsubscription
from realtime_svc.model import ClientInfo, Publication, StreamPosition
from realtime_svc.wire.plain import PlainDialect

PLAIN = PlainDialect()
INFO = ClientInfo("c1", "42")
AT_7 = StreamPosition(7, "kQzT")
ANSWERS: tuple[tuple[messages.Reply, str], ...] = (
    (
        messages.Hello("c1", "", 65536),
        '{"hello":{"client":"c1","user":"","version":"1","recover":true,"max_size":65536}}',
    ),
    (messages.Done("unsubscribe", "chat"), '{"ok":"unsubscribe","channel":"chat"}'),
    (messages.Done("unsubscribe", "chat", 'a"b'), '{"ok":"unsubscribe","channel":"chat","id":"a\\"b"}'),
    (messages.Done("ping"), '{"ok":"ping"}'),
    (messages.Done("ping", None, 0), '{"ok":"ping","id":0}'),
    (messages.Done("auth", None, 1, "42"), '{"ok":"auth","user":"42","id":1}'),
    (messages.Done("auth", None, None, ""), '{"ok":"auth","user":""}'),
    # a subscription, as far as it has something to tell
    (messages.Subscribed("chat", SubscriptionResult(), 7), '{"ok":"subscribe","channel":"chat","id":7}'),
    (
        messages.Subscribed("chat", SubscriptionResult(True, True, AT_7)),
        '{"ok":"subscribe","channel":"chat","offset":7,"epoch":"kQzT"}',
    ),
    (
        messages.Subscribed("chat", SubscriptionResult(position=StreamPosition(0, "kQzT"))),
        '{"ok":"subscribe","channel":"chat","offset":0,"epoch":"kQzT"}',
    ),
    (
        messages.Subscribed(
            "chat",
            SubscriptionResult(True, True, AT_7, True, True, (Message(Publication("chat", b"1")),), b"[1,\r\n2]"),
            "x",
        ),
        '{"ok":"subscribe","channel":"chat","offset":7,"epoch":"kQzT","recovered":true,"data":[1,  2],"id":"x"}',
    ),
    (
        messages.Subscribed("chat", SubscriptionResult(position=AT_7, was_recovering=True)),
        '{"ok":"subscribe","channel":"chat","offset":7,"epoch":"kQzT","recovered":false}',
    ),
    (messages.ServerSubscribed("#42", SubscriptionResult()), '{"subscribed":"#42"}'),
    (
        messages.ServerSubscribed("#42", SubscriptionResult(True, True, AT_7, True, True, (), b'{"a":1}')),
        '{"subscribed":"#42","offset":7,"epoch":"kQzT","recovered":true,"data":{"a":1}}',
    ),
    # the other commands
    (messages.Published("chat", None, 7), '{"ok":"publish","channel":"chat","id":7}'),
    (messages.Published("chat", AT_7), '{"ok":"publish","channel":"chat","offset":7,"epoch":"kQzT"}'),
    (
        messages.HistoryResult("chat", [], StreamPosition(0, "kQzT"), 1),
        '{"ok":"history","channel":"chat","messages":[],"offset":0,"epoch":"kQzT","id":1}',
    ),
    (
        messages.HistoryResult(
            "chat",
            [
                Publication("chat", b"1", publisher=INFO, offset=6, epoch="kQzT"),
                Publication("chat", b"\xff", is_json=False, tags={"event": "e"}, offset=7, epoch="kQzT"),
            ],
            AT_7,
        ),
        '{"ok":"history","channel":"chat","messages":['
        '{"message":"chat","data":1,"offset":6,"from":{"client":"c1","user":"42"}},'
        '{"message":"chat","b64data":"/w==","offset":7,"tags":{"event":"e"}}'
        '],"offset":7,"epoch":"kQzT"}',
    ),
    (messages.PresenceResult("chat", {}, 1), '{"ok":"presence","channel":"chat","members":[],"id":1}'),
    (
        messages.PresenceResult("chat", {"c1": INFO, "c2": ClientInfo("c2", "", b'{"n":1}', b"[2,\n3]")}),
        '{"ok":"presence","channel":"chat","members":[{"client":"c1","user":"42"},'
        '{"client":"c2","user":"","info":{"n":1},"channel_info":[2, 3]}]}',
    ),
    (
        messages.PresenceStatsResult("chat", 0, 0, 1),
        '{"ok":"presence","channel":"chat","clients":0,"users":0,"id":1}',
    ),
    (messages.CallResult("sum", b"3", 1), '{"ok":"call","method":"sum","data":3,"id":1}'),
    (messages.CallResult('a"b', b'{\n"a":1}'), '{"ok":"call","method":"a\\"b","data":{ "a":1}}'),
    (messages.CallResult("sum"), '{"ok":"call","method":"sum","data":null}'),
    # errors
    (
        Failed(ReplyError(ErrorCode.PERMISSION_DENIED), "subscribe", "chat", 1),
        '{"error":{"code":103,"message":"permission denied","temporary":false},'
        '"on":"subscribe","channel":"chat","id":1}',
    ),
    (
        Failed(ReplyError(ErrorCode.INTERNAL)),
        '{"error":{"code":100,"message":"internal error","temporary":true}}',
    ),
    (
        Failed(ReplyError(ErrorCode.BAD_REQUEST, 'at "x"')),
        '{"error":{"code":107,"message":"at \\"x\\"","temporary":false}}',
    ),
    (
        messages.HelpText("h"),
        '{"ok":"help","data":"one command a line, as JSON or as words: auth TOKEN | subscribe CHANNEL | '
        "unsubscribe CHANNEL | publish CHANNEL DATA | history CHANNEL [HOW MANY] | presence CHANNEL | "
        'call METHOD [DATA] | ping | help","id":"h"}',
    ),
    # publications
    (Message(Publication("chat", b'{"a": 1}')), '{"message":"chat","data":{"a": 1}}'),
    (Message(Publication("chat", b"1").at(AT_7)), '{"message":"chat","data":1,"offset":7}'),
    (
        Message(Publication("chat", b"1", publisher=INFO)),
        '{"message":"chat","data":1,"from":{"client":"c1","user":"42"}}',
    ),
    (
        Message(
            Publication("chat", b"1", publisher=ClientInfo("", "42", b'{"name":"x"}'), tags={"event": "e"}, offset=1)
        ),
        '{"message":"chat","data":1,"offset":1,"from":{"client":"","user":"42","info":{"name":"x"}},'
        '"tags":{"event":"e"}}',
    ),
    (Message(Publication("b:x", b"\x00\xff", is_json=False)), '{"message":"b:x","b64data":"AP8="}'),
    (Message(Publication("", b'"to all"')), '{"message":"","data":"to all"}'),
    # what happens to others, and to the client
    (messages.Joined("chat", INFO), '{"join":"chat","from":{"client":"c1","user":"42"}}'),
    (
        messages.Left("chat", INFO._replace(info=b"{}", channel_info=b"1")),
        '{"leave":"chat","from":{"client":"c1","user":"42","info":{},"channel_info":1}}',
    ),
    (
        messages.Unsubscribed("chat", Unsubscription(2000, "gone")),
        '{"unsubscribed":"chat","code":2000,"reason":"gone"}',
    ),
    (
        messages.Unsubscribed("chat", errors.UNSUBSCRIBED_INSUFFICIENT),
        '{"unsubscribed":"chat","code":2500,"reason":"insufficient state"}',
    ),
    (messages.Bye(errors.SHUTDOWN), '{"bye":{"code":3001,"reason":"shutdown","reconnect":true}}'),
    (messages.Bye(errors.INVALID_TOKEN), '{"bye":{"code":3500,"reason":"invalid token","reconnect":false}}'),
)
NOT_SAID: tuple[messages.Reply, ...] = (
    messages.Connected("c1", "1", {}),
    messages.Refreshed(),
    messages.PingPush(),
)


class AnswerTests(SynchronousTestCase):
    def test_table(self) -> None:
        for reply, expected in ANSWERS:
            frame = PLAIN.encode(reply)
            assert frame is not None
            self.assertEqual((expected, False), (frame.payload.decode(), frame.binary))
            self.assertTrue(frame.wire.endswith(frame.payload) and frame.wire[0] == 0x81, "one whole text frame")
            self.assertNotIn(b"\n", frame.payload)
            json.loads(frame.payload)

    def test_every_kind_of_reply_is_in_the_table(self) -> None:
        self.assertEqual(
            set(messages.Reply.__args__), {type(reply) for reply in NOT_SAID} | {type(r) for r, _ in ANSWERS}
        )

    def test_what_belongs_to_other_protocols_is_not_said(self) -> None:
        for reply in NOT_SAID:
            self.assertIsNone(PLAIN.encode(reply))

    @given(st.text(), st.text(), st.integers(0, 2**63), st.dictionaries(st.text(), st.text(), max_size=3))
    def test_any_text_stays_one_object_on_one_line(
        self, channel: str, user: str, offset: int, tags: dict[str, str]
    ) -> None:
        publication = Publication(channel, b"1", tags=tags, publisher=ClientInfo("c", user), offset=offset)
        frame = PLAIN.encode(Message(publication))
        assert frame is not None
        self.assertNotIn(b"\n", frame.payload)
        fields = json.loads(frame.payload)
        self.assertEqual((channel, user), (fields["message"], fields["from"]["user"]))
        self.assertEqual((offset, tags), (fields.get("offset", 0), fields.get("tags", {})))
