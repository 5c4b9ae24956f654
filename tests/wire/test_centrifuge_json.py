"""Centrifugo client protocol in JSON: what each line means, every reply byte for byte, and nothing gets past 3501."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import Failed, HistoryResult, Message, Pong, Publish, Subscribe, Unsubscribe
from realtime_svc.core.tagsfilter import MAX_DEPTH, MAX_NODES
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication, StreamPosition
from realtime_svc.wire.centrifuge_json import HTTP_STREAM, SSE, WEBSOCKET
from tests.wire.centrifuge_cases import BROKEN, DELTA, FIRST, GOODBYE, REFUSED, REPLIES, REQUESTS, nested_filter


def line_of(key: int, method: str, fields: Mapping[str, Any]) -> bytes:
    """A command. Payloads are given as strings of JSON, and embedded as they are."""
    said = [f"{json.dumps(name)}:{value if name == 'data' else json.dumps(value)}" for name, value in fields.items()]
    head = f'"id":{key},' if key else ""
    return f'{{{head}"{method}":{{{",".join(said)}}}}}'.encode()


def commands(payload: bytes) -> list[messages.Command | Failed]:
    return list(WEBSOCKET.decode(payload, False, ""))


def outcome(payload: bytes) -> list[messages.Command | Failed | str]:
    """What a frame means; "3501" where it ends the connection. Anything else that is raised is a mistake."""
    found: list[messages.Command | Failed | str] = []
    try:
        for command in WEBSOCKET.decode(payload, True, ""):
            found.append(command)
    except ConnectionClosing as closing:
        assert closing.disconnect is errors.BAD_REQUEST
        found.append("3501")
    return found


def said(reply: messages.Reply) -> str | None:
    frame = WEBSOCKET.encode(reply)
    return None if frame is None else frame.payload.decode()


# Frames that are no frames, or no commands.
HOSTILE: tuple[bytes, ...] = (
    b"",
    b"\n",
    b" \r\n\t\n",
    b"x",
    b"[]",
    b"null",
    b"1",
    b'"{}"',
    b"[{}]",
    b"{",
    b"{}}",
    b"{} {}",
    b'{"id":1,"subscribe":{"channel":"a"}} {"id":2,"subscribe":{"channel":"b"}}',
    b'{"id":1,"subscribe":{"channel":"a"},}',
    b"{'id':1}",
    b"\xef\xbb\xbf{}",
    b'{"id":1}',
    b'{"id":1,"shout":{}}',
    b'{"id":1,"ping":{}}',
    b'{"id":1,"Publish":{"channel":"c","data":1}}',
    b'{"id":1,"subscribe":null}',
    b'{"id":1,"subscribe":"chat"}',
    b'{"id":1,"subscribe":[]}',
    b'{"id":1,"subscribe":{"channel":7}}',
    b'{"id":1,"subscribe":{"channel":null}}',
    b'{"id":1,"subscribe":{"channel":"c","recover":1}}',
    b'{"id":1,"subscribe":{"channel":"c","offset":-1}}',
    b'{"id":1,"subscribe":{"channel":"c","offset":1.5}}',
    b'{"id":1,"subscribe":{"channel":"c","offset":"1"}}',
    b'{"id":1,"subscribe":{"channel":"c","offset":' + b"9" * 100_000 + b"}}",
    b'{"id":1,"subscribe":{"channel":"c","tf":{"nodes":[null]}}}',
    b'{"id":1,"subscribe":{"channel":"c"},"unsubscribe":{"channel":"c"}}',
    b'{"subscribe":{"channel":"c"},"send":{"data":1}}',
    b'{"id":1,"history":{"channel":"c","limit":2147483648}}',
    b'{"id":1,"connect":{"headers":{"a":1}}}',
    b'{"id":1,"connect":{"subs":{"c":true}}}',
    b'{"id":-1,"connect":{}}',
    b'{"id":1.0,"connect":{}}',
    b'{"id":"1","connect":{}}',
    b'{"id":true,"connect":{}}',
    b'{"id":4294967296,"connect":{}}',
    b'{"id":' + b"9" * 100_000 + b',"connect":{}}',
    b'{"id":1,"subscribe":{"channel":"\xff"}}',
    b'{"id":1,"rpc":{"method":"f","data":"\xff"}}',
    b'{"id":1,"rpc":{"method":"f","data":"\xed\xa0\x80"}}',
    b'{"id":1,"unknown":"\xc0\xaf"}',
    b'{"id":1,"subscribe":{"channel":"\\ud800"}}',
    b'{"id":1,"rpc":{"data":NaN}}',
    b'{"id":1,"rpc":{"data":' + b"[" * 100_000,
    b'{"id":1,"rpc":{"data":' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
    b'{"id":1,"publish":{"channel":"c","data":' + b'{"a":' * 127 + b"1" + b"}" * 127 + b"}}",
    b'{"a":' * 20_000,
)


class DecodeTests(SynchronousTestCase):
    """Frames of a client."""

    def test_every_request(self) -> None:
        for key, method, fields, meaning in REQUESTS:
            line = line_of(key, method, fields)
            self.assertEqual([meaning], commands(line), line)

    def test_refused_requests_are_answered_in_their_place(self) -> None:
        for key, method, fields, number in REFUSED:
            (failed,) = commands(line_of(key, method, fields))
            assert isinstance(failed, Failed)
            self.assertEqual((number, method, key), (failed.error.number, failed.verb, failed.id))

    def test_requests_that_break_the_protocol_end_the_connection(self) -> None:
        for key, method, fields in BROKEN:
            line = line_of(key, method, fields)
            self.assertEqual(["3501"], outcome(line), line)

    def test_hostile_frames_end_the_connection(self) -> None:
        for payload in HOSTILE:
            self.assertEqual(["3501"], outcome(payload), payload[:100])

    def test_empty_object_is_a_pong(self) -> None:
        for payload in (b"{}", b" { } ", b'{"id":0}', b'{"id":null}', b'{"novelty":1}', b'{"ping":{}}'):
            self.assertEqual([Pong()], commands(payload), payload)

    def test_batch_is_read_in_order_whatever_separates_the_lines(self) -> None:
        payload = b'\n{"id":1,"subscribe":{"channel":"a"}}\r\n\n{}\n{"id":2,"unsubscribe":{"channel":"a"}}\n'
        self.assertEqual([Subscribe("a", 1), Pong(), Unsubscribe("a", 2)], commands(payload))

    def test_commands_before_a_broken_one_are_carried_out(self) -> None:
        self.assertEqual(
            [Pong(), Unsubscribe("a", 2), "3501"], outcome(b'{}\n{"id":2,"unsubscribe":{"channel":"a"}}\nx')
        )

    def test_text_and_binary_frames_are_read_alike(self) -> None:
        for binary in (False, True):
            self.assertEqual([Pong()], list(WEBSOCKET.decode(b"{}", binary, "")))

    def test_null_is_as_good_as_absent_and_unknown_keys_are_ignored(self) -> None:
        line = (
            b'{"id":1,"subscribe":{"channel":"c","token":null,"offset":null,"tf":null,"new":[{}]},"publish":null,"x":1}'
        )
        self.assertEqual([Subscribe("c", 1)], commands(line))

    def test_of_a_key_that_comes_twice_the_last_one_counts(self) -> None:
        line = b'{"id":1,"id":2,"publish":{"channel":"a","channel":"b","data":1,"data":{"x":1,"x":2}}}'
        self.assertEqual([Publish("b", b'{"x":1,"x":2}', id=2)], commands(line))
        self.assertEqual(
            [Unsubscribe("b", 1)], commands(b'{"id":1,"unsubscribe":{"channel":"a"},"unsubscribe":{"channel":"b"}}')
        )

    def test_payloads_travel_as_they_came(self) -> None:
        for data in (' {"b": 1,\t"a":[ ]}', '"\\u00e9\\n"', "1.50", "1" * 5000, '"grüße"', '{"id":1}'):
            (command,) = commands(f'{{"id":1,"publish":{{"channel":"c","data":{data}}}}}'.encode())
            self.assertEqual(Publish("c", data.strip().encode(), id=1), command)

    def test_missing_payload_is_refused(self) -> None:
        (failed,) = commands(b'{"id":4,"publish":{"channel":"chat"}}')
        assert isinstance(failed, Failed)
        self.assertEqual((107, "data is missing", 4), (failed.error.number, failed.error.message, failed.id))

    def test_missing_payload_of_a_message_is_not_answered(self) -> None:
        (failed,) = commands(b'{"send":{}}')
        assert isinstance(failed, Failed)
        self.assertEqual((107, None), (failed.error.number, failed.id))
        self.assertIsNone(said(failed))

    def test_payload_as_deep_as_may_be_and_deeper_is_for_the_core_to_judge(self) -> None:
        for depth in (32, 33, 100):
            data = b"[" * depth + b"]" * depth
            self.assertEqual(
                [Publish("c", data, id=1)], commands(b'{"id":1,"publish":{"channel":"c","data":%b}}' % data)
            )

    def test_tags_filter_has_bounds(self) -> None:
        wide = {"op": "or", "nodes": [{"key": "a"}] * (MAX_NODES - 1)}
        for tf in (nested_filter(MAX_DEPTH), wide):
            (command,) = commands(line_of(1, "subscribe", {"channel": "c", "tf": tf}))
            self.assertIsInstance(command, Subscribe)
        wider = {"op": "or", "nodes": [{"key": "a"}] * MAX_NODES}
        for tf in (nested_filter(MAX_DEPTH + 1), nested_filter(60), wider):
            (failed,) = commands(line_of(1, "subscribe", {"channel": "c", "tf": tf}))
            assert isinstance(failed, Failed)
            self.assertEqual((107, 1), (failed.error.number, failed.id))
        self.assertEqual(["3501"], outcome(line_of(1, "subscribe", {"channel": "c", "tf": nested_filter(100)})))

    @given(st.binary(max_size=200))
    def test_bytes_at_random_raise_nothing_but_3501(self, payload: bytes) -> None:
        outcome(payload)

    @given(
        st.integers(0, 3),
        st.sampled_from(["connect", "subscribe", "publish", "history", "rpc", "send", "sub_refresh"]),
        st.dictionaries(
            st.sampled_from(["channel", "token", "data", "subs", "offset", "epoch", "recover", "tf", "since", "type"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=8,
            ),
        ),
    )
    def test_values_at_random_raise_nothing_but_3501(self, key: int, method: str, fields: dict[str, Any]) -> None:
        outcome(json.dumps({"id": key, method: fields}).encode())

    @given(st.sampled_from(REQUESTS), st.integers(0, 300), st.binary(max_size=3))
    def test_damaged_commands_raise_nothing_but_3501(self, request: Any, at: int, damage: bytes) -> None:
        line = line_of(*request[:3])
        outcome(line[:at] + damage + line[at + 1 :])


class EncodeTests(SynchronousTestCase):
    """Replies of the server."""

    def test_every_reply(self) -> None:
        for reply, line in REPLIES:
            self.assertEqual(line, said(reply))
            for part in line.split("\n"):
                json.loads(part)

    def test_every_reply_of_the_core_is_known_or_never_said_here(self) -> None:
        kinds = {type(reply) for reply, _ in REPLIES} | {messages.Bye}
        self.assertEqual({messages.Hello, messages.HelpText}, set(messages.Reply.__args__) - kinds)
        self.assertIsNone(said(messages.Hello("c", "u", 1)))
        self.assertIsNone(said(messages.HelpText(1)))

    def test_what_nobody_asked_for_is_not_answered(self) -> None:
        for reply in (Failed(ReplyError(ErrorCode.INTERNAL)), messages.Published("chat"), messages.Refreshed()):
            self.assertIsNone(said(reply))

    def test_goodbye_is_said_where_no_close_frame_can_say_it(self) -> None:
        bye, line = GOODBYE
        self.assertIsNone(said(bye))
        for dialect in (HTTP_STREAM, SSE):
            frame = dialect.encode(bye)
            assert frame is not None
            self.assertEqual(line, frame.payload.decode())

    def test_fossil_payload_is_a_string_and_so_is_a_delta(self) -> None:
        whole = Publication("c", '{"a":"é\\n"}'.encode(), offset=4)
        self.assertEqual(
            '{"push":{"channel":"c","pub":{"data":"{\\"a\\":\\"é\\\\n\\"}","offset":4}}}', said(Message(whole, True))
        )
        self.assertEqual(
            '{"push":{"channel":"c","pub":{"data":"15\\nA:{\\"count\\":2w@A,FGEcu;","offset":4,"delta":true}}}',
            said(Message(whole, True, DELTA)),
        )

    def test_recovered_publications_are_deltas_too(self) -> None:
        found = (Message(FIRST, True), Message(Publication("chat", b"2", offset=2), True, b"1\n1:2O;"))
        line = said(messages.Subscribed("chat", messages.SubscriptionResult(messages=found, delta=True), 1))
        self.assertEqual(
            '{"id":1,"subscribe":{"publications":[{"data":"1","offset":1,"epoch":"xyz"},'
            '{"data":"1\\n1:2O;","offset":2,"delta":true}],"delta":true}}',
            line,
        )

    def test_what_is_not_json_is_not_said(self) -> None:
        opaque = Publication("bytes", b"\xff\x00", is_json=False, binary=True)
        self.assertIsNone(said(Message(opaque)))
        self.assertIsNone(said(Message(Publication("", b"\xff", is_json=False))))
        line = said(HistoryResult("bytes", [opaque], StreamPosition(1, "e"), 3))
        assert line is not None
        self.assertEqual((3, 108), (json.loads(line)["id"], json.loads(line)["error"]["code"]))

    def test_embedded_json_never_breaks_the_line(self) -> None:
        info = ClientInfo("c", "u", b'{\r\n"a":\n1}')
        line = said(messages.Joined("chat", info))
        assert line is not None
        self.assertNotIn("\n", line)
        self.assertNotIn("\r", line)
        self.assertEqual({"a": 1}, json.loads(line)["push"]["join"]["info"]["conn_info"])

    @given(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
        st.integers(0, 2**63 - 1),
        st.dictionaries(st.text(), st.text(), max_size=3),
    )
    def test_publications_come_out_as_they_went_in(
        self, channel: str, data: Any, offset: int, tags: dict[str, str]
    ) -> None:
        publication = Publication(channel, json.dumps(data).encode(), tags=tags, offset=offset, epoch="e")
        expected: dict[str, Any] = {"data": data}
        expected |= {"offset": offset} if offset else {}
        expected |= {"tags": tags} if tags else {}
        expected |= {"epoch": "e"} if offset == 1 else {}
        line = said(Message(publication))
        assert line is not None
        self.assertEqual({"push": {"channel": channel, "pub": expected}}, json.loads(line))


class TransportTests(SynchronousTestCase):
    """The same codec on three transports."""

    def frames_of(self, dialect: Any) -> list[Any]:
        replies = (messages.PingPush(), messages.Published("c", None, 1))
        return [dialect.encode(reply) for reply in replies]

    def test_frames_on_the_wire(self) -> None:
        for dialect, wires, joined in (
            (WEBSOCKET, [b"\x81\x02{}", b'\x81\x15{"id":1,"publish":{}}'], b'\x81\x18{}\n{"id":1,"publish":{}}'),
            (HTTP_STREAM, [b"{}\n", b'{"id":1,"publish":{}}\n'], b'{}\n{"id":1,"publish":{}}\n'),
            (
                SSE,
                [b"data: {}\n\n", b'data: {"id":1,"publish":{}}\n\n'],
                b'data: {}\n\ndata: {"id":1,"publish":{}}\n\n',
            ),
        ):
            frames = self.frames_of(dialect)
            self.assertEqual(wires, [frame.wire for frame in frames])
            together = dialect.join(frames)
            self.assertEqual((joined, False), (together.wire, together.binary))
            again = dialect.join([together, frames[0]])
            self.assertEqual(3, len(again.payload.split(b"\n")))

    def test_several_lines_of_one_reply_are_events_of_their_own(self) -> None:
        found = messages.SubscriptionResult(messages=(Message(FIRST),))
        frame = SSE.encode(messages.ServerSubscribed("chat", found))
        assert frame is not None
        self.assertEqual(2, frame.wire.count(b"data: {"))
        self.assertEqual(2, frame.wire.count(b"}\n\n"))

    def test_names_and_closes(self) -> None:
        names = [dialect.name for dialect in (WEBSOCKET, HTTP_STREAM, SSE)]
        self.assertEqual(["centrifuge", "centrifuge_http_stream", "centrifuge_sse"], names)
        self.assertIs(errors.SHUTDOWN, WEBSOCKET.close_with(errors.SHUTDOWN))
        self.assertTrue(WEBSOCKET.traits.handshake and WEBSOCKET.traits.inline_recovery and WEBSOCKET.traits.json_only)
