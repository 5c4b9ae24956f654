"""Centrifugo client protocol in Protocol Buffers: it says what its JSON says, and nothing gets past 3501."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message as ProtobufMessage
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import Failed, Message, Pong, Publish, Send, Subscribe, Unsubscribe
from realtime_svc.core.tagsfilter import MAX_DEPTH, MAX_NODES
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication, StreamPosition
from realtime_svc.wire import centrifuge_json
from realtime_svc.wire import centrifuge_pb2 as pb
from realtime_svc.wire.centrifuge_protobuf import HTTP_STREAM, WEBSOCKET
from tests.wire.centrifuge_cases import BROKEN, DELTA, GOODBYE, REFUSED, REPLIES, REQUESTS, nested_filter


def varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def framed(*bodies: bytes) -> bytes:
    return b"".join(varint(len(body)) + body for body in bodies)


def command(key: int, method: str, fields: Mapping[str, Any]) -> bytes:
    """A command. Payloads are given as strings of JSON."""
    said = pb.Command(id=key)
    request = getattr(said, method)
    request.SetInParent()
    rest = {name: value for name, value in fields.items() if name != "data"}
    json_format.ParseDict(rest, request, max_recursion_depth=500)
    if "data" in fields:
        request.data = fields["data"].encode()
    return said.SerializeToString()


def commands(*bodies: bytes) -> list[messages.Command | Failed]:
    return list(WEBSOCKET.decode(framed(*bodies), True, ""))


def outcome(payload: bytes) -> list[messages.Command | Failed | str]:
    """What a frame means; "3501" where it ends the connection. Anything else that is raised is a mistake."""
    found: list[messages.Command | Failed | str] = []
    try:
        for one in WEBSOCKET.decode(payload, True, ""):
            found.append(one)
    except ConnectionClosing as closing:
        assert closing.disconnect is errors.BAD_REQUEST
        found.append("3501")
    return found


def replies(payload: bytes) -> list[pb.Reply]:
    """The messages in a frame, by a reader of its own."""
    found = []
    while payload:
        length = shift = position = 0
        more = True
        while more:
            length |= (payload[position] & 127) << shift
            more = payload[position] > 127
            shift += 7
            position += 1
        found.append(pb.Reply.FromString(payload[position : position + length]))
        payload = payload[position + length :]
    return found


def said(reply: messages.Reply) -> list[pb.Reply]:
    frame = WEBSOCKET.encode(reply)
    return [] if frame is None else replies(frame.payload)


def plain(message: ProtobufMessage) -> dict[str, Any]:
    """A message as JSON would have it: bytes are JSON, and what is not there is absent."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = {
                key: plain(one) if isinstance(one, ProtobufMessage) else one for key, one in value.items()
            }
        elif isinstance(value, ProtobufMessage):
            found[field.name] = plain(value)
        elif isinstance(value, bytes):
            found[field.name] = json.loads(value)
        elif isinstance(value, bool | int | str):
            found[field.name] = value
        else:
            found[field.name] = [plain(one) if isinstance(one, ProtobufMessage) else one for one in value]
    return found


ALWAYS_IN_JSON = ("client", "user", "presence", "num_clients", "num_users", "publications", "epoch", "offset")


def without_zeros(value: Any) -> Any:
    """JSON, without the fields that are there although they say nothing."""
    if isinstance(value, dict):
        kept = {name: without_zeros(inner) for name, inner in value.items()}
        return {name: inner for name, inner in kept.items() if inner or name not in ALWAYS_IN_JSON}
    return [without_zeros(inner) for inner in value] if isinstance(value, list) else value


class DecodeTests(SynchronousTestCase):
    """Frames of a client."""

    def test_every_request(self) -> None:
        for key, method, fields, meaning in REQUESTS:
            self.assertEqual([meaning], commands(command(key, method, fields)), (method, fields))

    def test_refused_requests_are_answered_in_their_place(self) -> None:
        for key, method, fields, number in REFUSED:
            (failed,) = commands(command(key, method, fields))
            assert isinstance(failed, Failed)
            self.assertEqual((number, method, key), (failed.error.number, failed.verb, failed.id))

    def test_requests_that_break_the_protocol_end_the_connection(self) -> None:
        for key, method, fields in BROKEN:
            self.assertEqual(["3501"], outcome(framed(command(key, method, fields))), (key, method, fields))

    def test_recorded_connect(self) -> None:
        self.assertEqual([messages.Connect(id=1)], outcome(bytes.fromhex("0408012200")))

    def test_empty_message_is_a_pong(self) -> None:
        self.assertEqual([Pong()], outcome(b"\x00"))
        self.assertEqual([Pong()], outcome(b"\x80\x00"))  # the same length, written longer

    def test_batch_is_read_in_order(self) -> None:
        bodies = (command(1, "subscribe", {"channel": "a"}), b"", command(2, "unsubscribe", {"channel": "a"}))
        self.assertEqual([Subscribe("a", 1), Pong(), Unsubscribe("a", 2)], commands(*bodies))
        self.assertEqual([Subscribe("a", 1), Pong(), "3501"], outcome(framed(*bodies[:2]) + b"\x05\x08"))

    def test_payloads_are_bytes(self) -> None:
        for data, binary in (
            (b"", False),
            (b"{}", False),
            ("é".encode(), False),
            (b"\xff\x00", True),
            (b"\xed\xa0\x80", True),
        ):
            body = pb.Command(id=1, publish=pb.PublishRequest(channel="c", data=data)).SerializeToString()
            self.assertEqual([Publish("c", data, binary, None, 1)], commands(body))
        self.assertEqual([Send(b"\xff")], commands(pb.Command(send=pb.SendRequest(data=b"\xff")).SerializeToString()))
        self.assertEqual([Send(b"")], commands(pb.Command(send=pb.SendRequest()).SerializeToString()))

    def test_fields_of_newer_clients_are_skipped(self) -> None:
        request = pb.PublishRequest(channel="c", data=b"1").SerializeToString() + b"\xf2\x3f\x01x"
        body = b"\x08\x01\x3a" + varint(len(request)) + request + b"\xf8\x3f\x05"
        self.assertEqual([Publish("c", b"1", id=1)], commands(body))

    def test_hostile_frames_end_the_connection(self) -> None:
        two = pb.Command(
            id=1, subscribe=pb.SubscribeRequest(channel="c"), unsubscribe=pb.UnsubscribeRequest(channel="c")
        )
        bad_text = (
            pb.Command(id=1, subscribe=pb.SubscribeRequest(channel="ab"))
            .SerializeToString()
            .replace(b"ab", b"\xff\xfe")
        )
        deep = b""
        for _ in range(1000):
            deep = b"\x32" + varint(len(deep)) + deep
        too_deep = b"\x0a\x01c\x6a" + varint(len(deep)) + deep
        for payload in (
            b"",
            b"\x05\x08\x01",  # shorter than it says
            b"\x80",  # a length without an end
            b"\xff\xff\xff\xff\x0f\x00",  # 4 GiB
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",  # a length of ten bytes
            b"\x80" * 100_000,
            b"{}",
            b'{"id":1,"connect":{}}',
            framed(b"\x08\x01"),  # an id and nothing else
            framed(b"\x08\x01\x5a\x00"),  # ping, which no client sends
            framed(b"\x08\x01\xfa\x01\x00"),  # a method of the future
            framed(b"\x08"),
            framed(b"\x22\xff\xff\xff\xff\x0f"),
            framed(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            framed(b"\x0b"),  # a group that does not end
            framed(b"\x08\x01\x2a" + varint(len(too_deep)) + too_deep),
            framed(bad_text),
            framed(two.SerializeToString()),
        ):
            self.assertEqual(["3501"], outcome(payload), payload[:50])

    def test_tags_filter_has_bounds(self) -> None:
        def subscribe(tf: dict[str, Any]) -> Any:
            return commands(command(1, "subscribe", {"channel": "c", "tf": tf}))[0]

        wide, wider = ({"op": "or", "nodes": [{"key": "a"}] * count} for count in (MAX_NODES - 1, MAX_NODES))
        for tf in (nested_filter(MAX_DEPTH), wide):
            self.assertIsInstance(subscribe(tf), Subscribe)
        for tf in (nested_filter(MAX_DEPTH + 1), nested_filter(60), wider):
            self.assertEqual((107, 1), (subscribe(tf).error.number, subscribe(tf).id))

    @given(st.binary(max_size=200))
    def test_bytes_at_random_raise_nothing_but_3501(self, payload: bytes) -> None:
        outcome(payload)
        outcome(framed(payload))

    @given(st.sampled_from([command(*case[:3]) for case in REQUESTS]), st.integers(0, 100), st.binary(max_size=3))
    def test_damaged_commands_raise_nothing_but_3501(self, body: bytes, at: int, damage: bytes) -> None:
        outcome(framed(body[:at] + damage + body[at + 1 :]))
        outcome(framed(body)[:at])


class EncodeTests(SynchronousTestCase):
    """Replies of the server."""

    def test_every_reply_says_what_its_json_says(self) -> None:
        for reply, line in REPLIES:
            expected = [without_zeros(json.loads(part)) for part in line.split("\n")]
            self.assertEqual(expected, [without_zeros(plain(one)) for one in said(reply)], line)

    def test_ping_is_one_zero_byte(self) -> None:
        frame = WEBSOCKET.encode(messages.PingPush())
        assert frame is not None
        self.assertEqual((b"\x00", b"\x82\x01\x00", True), (frame.payload, frame.wire, frame.binary))

    def test_empty_results_are_there(self) -> None:
        for reply, payload in (
            (messages.Published("c", None, 3), "0408034200"),
            (messages.Done("unsubscribe", "c", 3), "0408033a00"),
            (messages.Subscribed("c", messages.SubscriptionResult(), 3), "0408033200"),
            (messages.CallResult("f", None, 3), "0408036a00"),
            (messages.PresenceResult("c", {}, 3), "0408034a00"),
            (messages.PresenceStatsResult("c", 0, 0, 3), "0408035200"),
            (messages.HistoryResult("c", [], StreamPosition(0, ""), 3), "0408035a00"),
            (messages.Refreshed(None, None, 3), "0408037200"),
            (messages.Refreshed(None, "c", 3), "0408037a00"),
        ):
            frame = WEBSOCKET.encode(reply)
            assert frame is not None
            self.assertEqual(bytes.fromhex(payload), frame.payload, reply)

    def test_payloads_are_bytes(self) -> None:
        opaque = Publication("c", b"\xff\x00", is_json=False, binary=True, offset=2)
        (reply,) = said(Message(opaque))
        self.assertEqual((b"\xff\x00", 2, False), (reply.push.pub.data, reply.push.pub.offset, reply.push.pub.delta))
        (reply,) = said(Message(opaque, True, DELTA))
        self.assertEqual((DELTA, True), (reply.push.pub.data, reply.push.pub.delta))
        (reply,) = said(Message(Publication("", b"\xff", is_json=False)))
        self.assertEqual(b"\xff", reply.push.message.data)

    def test_long_message_has_a_long_length(self) -> None:
        (reply,) = said(Message(Publication("c", b"x" * 70_000, is_json=False)))
        self.assertEqual(70_000, len(reply.push.pub.data))

    def test_expiry_in_a_far_future_fits(self) -> None:
        (reply,) = said(messages.Refreshed(2**40, None, 1))
        self.assertEqual(2**32 - 1, reply.refresh.ttl)

    def test_what_is_not_said(self) -> None:
        for reply in (
            GOODBYE[0],
            messages.Hello("c", "u", 1),
            messages.HelpText(1),
            Failed(ReplyError(ErrorCode.INTERNAL)),
            messages.Published("c"),
        ):
            self.assertEqual([], said(reply))

    def test_goodbye_is_said_where_no_close_frame_can_say_it(self) -> None:
        frame = HTTP_STREAM.encode(GOODBYE[0])
        assert frame is not None
        (reply,) = replies(frame.payload)
        self.assertEqual((3001, "shutdown"), (reply.push.disconnect.code, reply.push.disconnect.reason))

    @given(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.binary(max_size=300),
        st.integers(0, 2**63 - 1),
        st.dictionaries(st.text(), st.text(), max_size=3),
        st.none() | st.tuples(st.text(), st.text(), st.none() | st.binary(min_size=1)),
    )
    def test_publications_come_out_as_they_went_in(
        self, channel: str, data: bytes, offset: int, tags: dict[str, str], info: Any
    ) -> None:
        publisher = info and ClientInfo(*info)
        (reply,) = said(Message(Publication(channel, data, False, True, tags, publisher, None, offset, "e")))
        pub = reply.push.pub
        self.assertEqual((channel, data, offset, tags), (reply.push.channel, pub.data, pub.offset, dict(pub.tags)))
        self.assertEqual("e" if offset == 1 else "", pub.epoch)
        self.assertEqual(publisher is not None, pub.HasField("info"))
        if publisher is not None:
            found = ClientInfo(pub.info.client, pub.info.user, pub.info.conn_info or None)
            self.assertEqual(publisher, found)


class TransportTests(SynchronousTestCase):
    """The same codec on two transports."""

    def test_frames_on_the_wire(self) -> None:
        for dialect, head in ((WEBSOCKET, (b"\x82\x01", b"\x82\x05", b"\x82\x06")), (HTTP_STREAM, (b"", b"", b""))):
            bodies = (b"\x00", b"\x04\x08\x01\x42\x00", b"\x00\x04\x08\x01\x42\x00")
            frames = [dialect.encode(messages.PingPush()), dialect.encode(messages.Published("c", None, 1))]
            joined = dialect.join([frame for frame in frames if frame])
            wires = [frame.wire for frame in (*frames, joined) if frame]
            self.assertEqual([first + body for first, body in zip(head, bodies, strict=True)], wires)
            self.assertEqual([True] * 3, [frame.binary for frame in (*frames, joined) if frame])

    def test_names_and_closes(self) -> None:
        names = ["centrifuge_protobuf", "centrifuge_http_stream_protobuf"]
        self.assertEqual(names, [dialect.name for dialect in (WEBSOCKET, HTTP_STREAM)])
        self.assertIs(errors.SLOW, WEBSOCKET.close_with(errors.SLOW))
        self.assertEqual(centrifuge_json.WEBSOCKET.traits._replace(json_only=False), WEBSOCKET.traits)
