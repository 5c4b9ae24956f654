"""Protocol plain.v1: what people and machines type, and what it means; every answer byte for byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import (
    Authenticate,
    Call,
    Failed,
    Help,
    History,
    Ping,
    Presence,
    PresenceStats,
    Publish,
    Unsubscribe,
)
from realtime_svc.core.ports import Traits
from realtime_svc.errors import ConnectionClosing
from realtime_svc.model import StreamPosition
from realtime_svc.wire.plain import PlainDialect

PLAIN = PlainDialect()
Meaning = Any


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def fails(
    number: int, detail: str = "", verb: str | None = None, channel: str | None = None, key: Any = None
) -> Meaning:
    return ("failed", number, detail, verb, channel, key)


def Subscribe(channel: str, key: Any = None, **options: Any) -> messages.Subscribe:  # noqa: N802
    """As this protocol subscribes: it always wants to know where it stands."""
    return messages.Subscribe(channel, key, recoverable=True, **options)


NO_VERB = fails(104, "no known verb: auth, subscribe, unsubscribe, publish, call, history, presence, ping, help")
NO_WORD = fails(104, "neither a JSON object nor a known verb; try: help")
NOT_JSON = fails(107, "Invalid JSON")
TYPES = (
    "verbs, since, token, key and b64data take a string, id a string or an integer, limit and history an integer, "
    "presence, stats and reverse true or false, tags an object of strings"
)
SINCE = "since is <epoch>:<offset>"
COUNT = "history CHANNEL [HOW MANY]"
AT_7 = StreamPosition(7, "kQ-z_T")

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
    ('{"publish":"c","data":1,"key":"k-1"}', (Publish("c", b"1", key="k-1"),)),
    ('{"publish":"c","b64data":"","key":null}', (Publish("c", b"", True),)),
    ('{"publish":"c","data":1,"key":1}', (fails(107, TYPES, "publish"),)),
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
    ('{"presence":"p","history":"h","call":"f"}', (Call("f"),)),
    ('{"presence":"p","history":"h"}', (History("h", -1),)),
    ('{"stats":true,"ping":1,"presence":"p"}', (PresenceStats("p"),)),
    ('{"help":1,"ping":1}', (Ping(),)),
    # subscribe and its options; unknown ones are ignored
    ('{"subscribe":"chat","colour":"red","data":[1]}', (Subscribe("chat"),)),
    ('{"subscribe":"chat","token":"t"}', (Subscribe("chat", token="t"),)),
    ('{"subscribe":"chat","presence":true}', (Subscribe("chat", join_leave=True),)),
    ('{"subscribe":"chat","presence":false}', (Subscribe("chat"),)),
    ('{"subscribe":"chat","history":10,"id":4}', (Subscribe("chat", 4, last=10),)),
    ('{"subscribe":"chat","history":0}', (Subscribe("chat"),)),
    ('{"subscribe":"chat","since":"kQ-z_T:7"}', (Subscribe("chat", recover=AT_7),)),
    ('{"subscribe":"chat","since":null,"token":null}', (Subscribe("chat"),)),
    ('{"subscribe":"chat","history":-1,"id":4}', (fails(107, "history is below 0", "subscribe", "chat", 4),)),
    ('{"subscribe":"chat","history":"10"}', (fails(107, TYPES, "subscribe", "chat"),)),
    ('{"subscribe":"chat","history":1.5}', (fails(107, TYPES, "subscribe"),)),
    ('{"subscribe":"chat","history":true}', (fails(107, TYPES, "subscribe"),)),
    ('{"subscribe":"chat","presence":"yes"}', (fails(107, TYPES, "subscribe", "chat"),)),
    ('{"subscribe":"chat","presence":1}', (fails(107, TYPES, "subscribe"),)),
    ('{"subscribe":"chat","token":1}', (fails(107, TYPES, "subscribe"),)),
    ('{"subscribe":"chat","since":7}', (fails(107, TYPES, "subscribe"),)),
    ('{"subscribe":"chat","since":"7"}', (fails(107, SINCE, "subscribe", "chat"),)),
    ('{"subscribe":"chat","since":"","id":1}', (fails(107, SINCE, "subscribe", "chat", 1),)),
    ('{"subscribe":"chat","since":":7"}', (fails(107, SINCE, "subscribe", "chat"),)),
    ('{"subscribe":"chat","since":"e:-7"}', (fails(107, SINCE, "subscribe", "chat"),)),
    ('{"subscribe":"chat","since":"e:7 "}', (fails(107, SINCE, "subscribe", "chat"),)),
    ('{"subscribe":"chat","since":"e:\\u0667"}', (fails(107, SINCE, "subscribe", "chat"),)),
    ('{"subscribe":"chat","since":"e\\n:7"}', (fails(107, SINCE, "subscribe", "chat"),)),
    ('{"subscribe":"chat","since":"e:9999999999999999999999"}', (fails(107, SINCE, "subscribe", "chat"),)),
    # history: the whole of a page where nothing is said
    ('{"history":"chat"}', (History("chat", -1),)),
    ('{"history":"chat","limit":20,"id":1}', (History("chat", 20, id=1),)),
    ('{"history":"chat","limit":0}', (History("chat", 0),)),
    ('{"history":"chat","limit":-5}', (History("chat", -5),)),
    ('{"history":"chat","limit":2,"since":"kQ-z_T:7","reverse":true}', (History("chat", 2, AT_7, True),)),
    ('{"history":"chat","since":"x"}', (fails(107, SINCE, "history", "chat"),)),
    ('{"history":"chat","limit":"2"}', (fails(107, TYPES, "history"),)),
    ('{"history":"chat","reverse":1}', (fails(107, TYPES, "history"),)),
    ('{"history":7,"id":2}', (fails(107, TYPES, "history", None, 2),)),
    # presence
    ('{"presence":"chat","id":2}', (Presence("chat", 2),)),
    ('{"presence":"chat","stats":true}', (PresenceStats("chat"),)),
    ('{"presence":"chat","stats":false}', (Presence("chat"),)),
    ('{"presence":true}', (fails(107, TYPES, "presence"),)),
    ('{"presence":"chat","stats":"yes"}', (fails(107, TYPES, "presence"),)),
    # call: JSON only, so it is checked here
    ('{"call":"f"}', (Call("f"),)),
    ('{"call":"f","data":{"a": 1},"id":"x"}', (Call("f", b'{"a": 1}', "x"),)),
    ('{"call":"f","data":null}', (Call("f", b"null"),)),
    ('{"call":"","data":1}', (Call("", b"1"),)),
    ('{"call":"f","data":1e999,"id":3}', (fails(107, "Invalid JSON", "call", None, 3),)),
    ('{"call":"f","data":' + "[" * 33 + "]" * 33 + "}", (fails(107, "Invalid JSON", "call"),)),
    ('{"call":["f"]}', (fails(107, TYPES, "call"),)),
    # unknown verbs
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
    ("history chat", (History("chat", -1),)),
    ("history  chat  20 ", (History("chat", 20),)),
    ("history chat 0", (History("chat", 0),)),
    ("history chat ten", (fails(107, COUNT, "history", "chat"),)),
    ("history chat -1", (fails(107, COUNT, "history", "chat"),)),
    ("history chat 1234567890", (fails(107, COUNT, "history", "chat"),)),
    ("history chat 5 6", (fails(107, COUNT, "history", "chat"),)),
    ("history", (History("", -1),)),
    ("presence chat", (Presence("chat"),)),
    ("presence chat stats", (fails(107, "one word too many", "presence"),)),
    ("call f", (Call("f"),)),
    ('call f {"a": 1}', (Call("f", b'{"a": 1}'),)),
    ("call f two words", (fails(107, "Invalid JSON", "call"),)),
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
        closing: ConnectionClosing = self.assertRaises(ConnectionClosing, PLAIN.decode, b"ping", True, "")
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

    def test_what_kind_of_protocol_it_is(self) -> None:
        """It opens with a hello, pings by frames, and says each thing in a frame of its own."""
        self.assertEqual(Traits(), PLAIN.traits)
        frame = PLAIN.encode(messages.Done("ping"))
        assert frame is not None
        self.assertIsNone(PLAIN.join((frame, frame)))
        self.assertEqual(errors.SHUTDOWN, PLAIN.close_with(errors.SHUTDOWN))
