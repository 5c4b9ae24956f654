"""Protocol plain.v1: what people and machines type, and what it means; every answer byte for byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import Authenticate, Failed, Help, Ping, Publish, Subscribe, Unsubscribe
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication
from realtime_svc.wire.plain import PlainDialect

PLAIN = PlainDialect()
Meaning = Any


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def fails(
    number: int, detail: str = "", verb: str | None = None, channel: str | None = None, key: Any = None
) -> Meaning:
    return ("failed", number, detail, verb, channel, key)


NO_VERB = fails(104, "no known verb: auth, subscribe, unsubscribe, publish, ping, help")
NO_WORD = fails(104, "neither a JSON object nor a known verb; try: help")
NOT_JSON = fails(107, "Invalid JSON")
TYPES = "a verb takes a string, id a string or an integer, tags an object of strings, b64data a string"
OPTIONS = "history, since and presence are not available"

# What is typed, and the commands it means. A line for each rule, and one for each way past it that was thought of.
GRAMMAR: tuple[tuple[str | bytes, tuple[Meaning, ...]], ...] = (
    # machines: every verb
    ('{"auth":"t0ken"}', (Authenticate("t0ken"),)),
    ('{"subscribe":"chat"}', (Subscribe("chat"),)),
    ('{"unsubscribe":"chat"}', (Unsubscribe("chat"),)),
    ('{"publish":"chat","data":1}', (Publish("chat", b"1"),)),
    ('{"ping":1}', (Ping(),)),
    ('{"ping":null}', (Ping(),)),
    ('{"ping":{"any":["thing"]}}', (Ping(),)),
    ('{"help":true}', (Help(),)),
    # ids come back as they were
    ('{"ping":1,"id":7}', (Ping(7),)),
    ('{"id":"seven","ping":1}', (Ping("seven"),)),
    ('{"ping":1,"id":""}', (Ping(""),)),
    ('{"ping":1,"id":-1}', (Ping(-1),)),
    ('{"ping":1,"id":null}', (Ping(),)),
    ('{"subscribe":"chat","id":1}', (Subscribe("chat", 1),)),
    ('{"auth":"t","id":1}', (Authenticate("t", 1),)),
    ('{"ping":1,"id":1.5}', (fails(107, TYPES, "ping"),)),
    ('{"ping":1,"id":[1]}', (fails(107, TYPES, "ping"),)),
    ('{"ping":1,"id":true}', (fails(107, TYPES, "ping"),)),
    # payloads travel as they came
    ('{"publish":"c","data":{"b": 1, "a":[ ]}}', (Publish("c", b'{"b": 1, "a":[ ]}'),)),
    ('{"publish":"c","data":null}', (Publish("c", b"null"),)),
    ('{"publish":"c","data":"\\u00e9\\n"}', (Publish("c", b'"\\u00e9\\n"'),)),
    ('{"data":1.50,"publish":"c"}', (Publish("c", b"1.50"),)),
    ('{"publish":"c","b64data":"AP8="}', (Publish("c", b"\x00\xff", True),)),
    ('{"publish":"c","b64data":""}', (Publish("c", b"", True),)),
    ('{"publish":"c","data":1,"tags":{"event":"join"}}', (Publish("c", b"1", False, {"event": "join"}),)),
    ('{"publish":"c","data":1,"tags":null}', (Publish("c", b"1"),)),
    ('{"publish":"c"}', (fails(107, "data is missing", "publish", "c"),)),
    ('{"publish":"c","b64data":"AP8"}', (fails(107, "b64data is not base64", "publish", "c"),)),
    ('{"publish":"c","b64data":"A P8="}', (fails(107, "b64data is not base64", "publish", "c"),)),
    ('{"publish":"c","b64data":"\\u00e9"}', (fails(107, "b64data is not base64", "publish", "c"),)),
    ('{"publish":"c","b64data":1}', (fails(107, TYPES, "publish"),)),
    ('{"publish":"c","data":1,"tags":{"n":1}}', (fails(107, TYPES, "publish"),)),
    ('{"publish":"c","data":1,"tags":[]}', (fails(107, TYPES, "publish"),)),
    # the verb is the first one present, in the order of the table, not of the object
    ('{"ping":1,"subscribe":"chat"}', (Subscribe("chat"),)),
    ('{"publish":"c","data":1,"unsubscribe":"d"}', (Unsubscribe("d"),)),
    ('{"help":1,"ping":1}', (Ping(),)),
    # unknown options are ignored, unknown verbs are not
    ('{"subscribe":"chat","colour":"red","token":"t"}', (Subscribe("chat"),)),
    ('{"subscribe":"chat","presence":true}', (fails(108, OPTIONS, "subscribe", "chat"),)),
    ('{"subscribe":"chat","history":10,"id":4}', (fails(108, OPTIONS, "subscribe", "chat", 4),)),
    ('{"subscribe":"chat","since":"e:1"}', (fails(108, OPTIONS, "subscribe", "chat"),)),
    ('{"history":"chat"}', (fails(108, "not available", "history"),)),
    ('{"presence":"chat","id":2}', (fails(108, "not available", "presence", None, 2),)),
    ('{"call":"f","data":1}', (fails(108, "not available", "call"),)),
    ("{}", (NO_VERB,)),
    ('{"Subscribe":"chat"}', (NO_VERB,)),
    ('{"shout":"chat","id":5}', (fails(104, NO_VERB[2], key=5),)),
    ('{"subscribe":7}', (fails(107, TYPES, "subscribe"),)),
    ('{"subscribe":null}', (fails(107, TYPES, "subscribe"),)),
    ('{"auth":{"token":"t"}}', (fails(107, TYPES, "auth"),)),
    # what is no object
    ("{", (NOT_JSON,)),
    ('{"ping":1}}', (NOT_JSON,)),
    ('{"ping":1} {"ping":1}', (NOT_JSON,)),
    ("{'ping':1}", (NOT_JSON,)),
    ('{"ping":1,}', (NOT_JSON,)),
    ('{"ping":NaN}', (NOT_JSON,)),
    (b'{"subscribe":"\xff"}', (NOT_JSON,)),
    ('{"subscribe":"\\ud800"}', (NOT_JSON,)),
    ('{"ping":' + "[" * 40 + "]" * 40 + "}", (NOT_JSON,)),
    ("[" * 5000, (NO_WORD,)),
    ('["ping"]', (NO_WORD,)),
    ('"ping"', (NO_WORD,)),
    ("1", (NO_WORD,)),
    # people: every verb
    ("auth t0ken", (Authenticate("t0ken"),)),
    ("subscribe chat", (Subscribe("chat"),)),
    ("unsubscribe chat", (Unsubscribe("chat"),)),
    ('publish chat {"a": 1}', (Publish("chat", b'{"a": 1}'),)),
    ('publish chat "two words"', (Publish("chat", b'"two words"'),)),
    ("publish chat two words", (Publish("chat", b"two words"),)),
    ("publish chat   1  ", (Publish("chat", b"1"),)),
    ("publish chat", (fails(107, "data is missing", "publish", "chat"),)),
    ("subscribe chat hello", (fails(107, "one word too many", "subscribe"),)),
    ("publish", (fails(107, "data is missing", "publish", ""),)),
    ("publish chat grüße", (Publish("chat", "grüße".encode()),)),
    ("ping", (Ping(),)),
    ("ping me", (Ping(),)),
    ("help", (Help(),)),
    ("help me", (Help(),)),
    ("  subscribe   chat  ", (Subscribe("chat"),)),
    ("subscribe", (Subscribe(""),)),
    ("auth", (Authenticate(""),)),
    ("history chat", (fails(108, "not available", "history"),)),
    ("call f", (fails(108, "not available", "call"),)),
    ("SUBSCRIBE chat", (NO_WORD,)),
    ("subscribe\tchat", (NO_WORD,)),
    ("hello", (NO_WORD,)),
    ("", (NO_WORD,)),
    ("   ", (NO_WORD,)),
    ("\x00", (NO_WORD,)),
    (b"\xff\xfe", (fails(107, "Invalid UTF-8"),)),
    # several lines in a frame
    ("ping\nhelp", (Ping(), Help())),
    ("ping\r\nhelp\r\n", (Ping(), Help())),
    ("\n\nping\n\n\n", (Ping(),)),
    ('{"ping":1}\n{"ping":2,"id":2}', (Ping(), Ping(2))),
    ('{"ping":1}\nsubscribe chat\n{', (Ping(), Subscribe("chat"), NOT_JSON)),
    ('{\n  "subscribe": "chat",\n  "id": 1\n}\n', (Subscribe("chat", 1),)),
    ('{"publish":"c",\n"data":[1,\n2]}', (Publish("c", b"[1,\n2]"),)),
    ('{\n"ping":1', (NOT_JSON, NO_WORD)),
)


def meaning(command: object) -> Meaning:
    if isinstance(command, Failed):
        return ("failed", command.error.number, command.error.message, command.verb, command.channel, command.id)
    return command


class GrammarTests(SynchronousTestCase):
    """Decoding."""

    def test_table(self) -> None:
        self.assertGreaterEqual(len(GRAMMAR), 60)
        for typed, expected in GRAMMAR:
            payload = typed.encode() if isinstance(typed, str) else typed
            found = tuple(meaning(command) for command in PLAIN.decode(payload, False, ""))
            self.assertEqual(expected, found, repr(typed)[:100])
            self.assertEqual([type(e) for e in expected], [type(f) for f in found], repr(typed)[:100])

    def test_binary_frames_end_the_connection(self) -> None:
        closing: ConnectionClosing = self.assertRaises(ConnectionClosing, list, PLAIN.decode(b"ping", True, ""))
        self.assertEqual(errors.INAPPROPRIATE_PROTOCOL, closing.disconnect)

    def test_lines_are_read_one_by_one(self) -> None:
        """A frame of many lines is not read as a whole before the first command is carried out."""
        self.assertEqual(Ping(), next(iter(PLAIN.decode(b"ping\n" * 10_000, False, ""))))

    def test_tags_are_bounded(self) -> None:
        for tags, good in (
            ({str(n): "" for n in range(16)}, True),
            ({str(n): "" for n in range(17)}, False),
            ({"k": "v" * 255}, True),
            ({"k": "v" * 256}, False),
        ):
            text = as_json({"publish": "c", "data": 1, "tags": tags})
            (command,) = PLAIN.decode(text, False, "")
            self.assertEqual(good, isinstance(command, Publish), len(tags))

    def test_long_channel_is_not_repeated(self) -> None:
        (command,) = PLAIN.decode(as_json({"publish": "c" * 256}), False, "")
        assert isinstance(command, Failed)
        self.assertIsNone(command.channel)

    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
    def test_any_bytes_are_a_command_or_an_error(self, payload: bytes) -> None:
        for command in PLAIN.decode(payload, False, ""):
            self.assertIsInstance(command, tuple)


INFO = ClientInfo("c1", "42")
ANSWERS: tuple[tuple[messages.Reply, str], ...] = (
    (
        messages.Hello("c1", "", 65536),
        '{"hello":{"client":"c1","user":"","version":"1","recover":false,"max_size":65536}}',
    ),
    (messages.Done("subscribe", "chat"), '{"ok":"subscribe","channel":"chat"}'),
    (messages.Done("publish", "chat", 7), '{"ok":"publish","channel":"chat","id":7}'),
    (messages.Done("publish", "chat", 'a"b'), '{"ok":"publish","channel":"chat","id":"a\\"b"}'),
    (messages.Done("ping"), '{"ok":"ping"}'),
    (messages.Done("ping", None, 0), '{"ok":"ping","id":0}'),
    (messages.Done("auth", None, 1, "42"), '{"ok":"auth","user":"42","id":1}'),
    (messages.Done("auth", None, None, ""), '{"ok":"auth","user":""}'),
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
        'unsubscribe CHANNEL | publish CHANNEL DATA | ping | help","id":"h"}',
    ),
    (messages.Message(Publication("chat", b'{"a": 1}')), '{"message":"chat","data":{"a": 1}}'),
    (
        messages.Message(Publication("chat", b"1", publisher=INFO)),
        '{"message":"chat","data":1,"from":{"client":"c1","user":"42"}}',
    ),
    (
        messages.Message(
            Publication("chat", b"1", publisher=ClientInfo("", "42", b'{"name":"x"}'), tags={"event": "e"})
        ),
        '{"message":"chat","data":1,"from":{"client":"","user":"42","info":{"name":"x"}},"tags":{"event":"e"}}',
    ),
    (messages.Message(Publication("b:x", b"\x00\xff", is_json=False)), '{"message":"b:x","b64data":"AP8="}'),
    (messages.Message(Publication("", b'"to all"')), '{"message":"","data":"to all"}'),
    (messages.Unsubscribed("chat", 2000, "gone"), '{"unsubscribed":"chat","code":2000,"reason":"gone"}'),
    (messages.Bye(errors.SHUTDOWN), '{"bye":{"code":3001,"reason":"shutdown","reconnect":true}}'),
    (messages.Bye(errors.INVALID_TOKEN), '{"bye":{"code":3500,"reason":"invalid token","reconnect":false}}'),
)


class AnswerTests(SynchronousTestCase):
    """Encoding."""

    def test_table(self) -> None:
        for reply, expected in ANSWERS:
            frame = PLAIN.encode(reply)
            assert frame is not None
            self.assertEqual((expected, False), (frame.payload.decode(), frame.binary))
            self.assertTrue(frame.wire.endswith(frame.payload) and frame.wire[0] == 0x81, "one whole text frame")

    def test_every_kind_of_reply_is_in_the_table(self) -> None:
        self.assertEqual(set(messages.Reply.__args__), {type(reply) for reply, _ in ANSWERS})

    def test_close_codes_are_those_of_the_table(self) -> None:
        self.assertEqual(errors.SHUTDOWN, PLAIN.close_with(errors.SHUTDOWN))
