"""One small command does not make a large heap: answers are bounded, and a client that does not take them waits."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core.messages import Publish
from realtime_svc.core.session import Session
from realtime_svc.driver import run
from realtime_svc.model import StreamPosition
from realtime_svc.wire import centrifuge_json
from tests.fakes import ALICE, PEER, PLAIN, FakeTransport, World

SPACE = Namespace(
    subscribe=("anonymous",), history_size=100, history_ttl=60.0, recovery="always", presence=True, insecure=True
)
BIG = b'"%s"' % (b"x" * 998)


class BoundedAnswersTests(SynchronousTestCase):
    """Ten kilobytes may wait for a client; fifty publications of one kilobyte are there."""

    def setUp(self) -> None:
        self.world = World(namespaces={"default": SPACE}, queue_size=10_000, members=2, anonymous=True)
        for _ in range(50):
            run(self.world.node.publishing.publish(Publish("x", BIG)), lambda result, error: None)

    def connect(self, room: int | None = None) -> FakeTransport:
        transport = self.world.connect(None, centrifuge_json.WEBSOCKET, room=room)
        transport.type('{"id":1,"connect":{}}')
        return transport

    def answers(self, transport: FakeTransport) -> list[Any]:
        frames, transport.frames = transport.frames, []
        return [json.loads(line) for frame in frames for line in frame.payload.split(b"\n")]

    def test_page_of_history_ends_where_it_gets_too_big(self) -> None:
        client = self.connect()
        client.type('{"id":2,"history":{"channel":"x","limit":-1}}')
        result = self.answers(client)[1]["history"]
        self.assertEqual([*range(1, 11)], [publication["offset"] for publication in result["publications"]])
        self.assertEqual(50, result["offset"], "the top of the stream, so the client sees that there is more")

    def test_recovery_that_would_be_too_big_is_refused(self) -> None:
        for since, recovered, offsets in ((40, True, [*range(41, 51)]), (39, False, [])):
            client = self.connect()
            self.answers(client)
            client.type(f'{{"id":2,"subscribe":{{"channel":"x","recover":true,"offset":{since}}}}}')
            result = self.answers(client)[0]["subscribe"]
            found = [publication["offset"] for publication in result.get("publications", ())]
            self.assertEqual((recovered, offsets), (result.get("recovered", False), found))

    def test_too_many_members(self) -> None:
        clients = [self.connect() for _ in range(3)]
        for client in clients[:2]:
            client.type('{"id":2,"subscribe":{"channel":"x"}}')
        self.answers(clients[0])
        clients[0].type('{"id":3,"presence":{"channel":"x"}}')
        self.assertEqual(2, len(self.answers(clients[0])[0]["presence"]["presence"]))
        clients[2].type('{"id":2,"subscribe":{"channel":"x"}}')
        clients[0].type('{"id":4,"presence":{"channel":"x"}}', '{"id":5,"presence_stats":{"channel":"x"}}')
        refused, counted = self.answers(clients[0])
        self.assertEqual((106, 3), (refused["error"]["code"], counted["presence_stats"]["num_clients"]))

    def test_channels_in_the_address_come_as_the_client_takes_them(self) -> None:
        """Each brings nearly what may wait: a client that reads gets all of it, as if it had subscribed by itself."""
        for channel in "yz":
            for _ in range(50):
                run(self.world.node.publishing.publish(Publish(channel, BIG)), lambda result, error: None)
        transport = FakeTransport(room=2)
        since = StreamPosition(41, "")
        transport.session = Session(
            self.world.node, PLAIN, transport, ALICE, PEER, channels=("x", "y", "z"), since=since
        )
        transport.session.opened()
        told: list[Any] = []
        for _ in range(100):
            told += self.answers(transport)
            self.assertLess(transport.session.queued, 10_000)
            transport.unblock(2)
        told += self.answers(transport)
        self.assertIsNone(transport.closed)
        self.assertEqual([True] * 3, [one["recovered"] for one in told if one.get("ok") == "subscribe"])
        self.assertEqual(["x"] * 9 + ["y"] * 9 + ["z"] * 9, [one["message"] for one in told if "message" in one])
        self.assertTrue(transport.reading)

    def test_channels_in_the_address_come_before_the_next_command(self) -> None:
        """Also where the client said who it is in the same message."""
        transport = FakeTransport()
        transport.session = Session(self.world.node, PLAIN, transport, None, PEER, channels=("y", "z"))
        transport.session.opened()
        transport.type('{"auth":"a"}\n{"unsubscribe":"y"}\nping', "ping")
        verbs = [answer["ok"] for answer in self.answers(transport)[1:]]
        self.assertEqual(["auth", "subscribe", "subscribe", "unsubscribe", "ping", "ping"], verbs)
        self.assertEqual(["z"], list(transport.session.channels))
        self.assertTrue(transport.reading)

    def test_who_does_not_take_answers_is_not_asked_what_else(self) -> None:
        """One batch of many commands, each with a large answer: the rest waits until the client has taken some."""
        client = self.connect(room=2)
        batch = "\n".join(f'{{"id":{n},"history":{{"channel":"x","limit":3}}}}' for n in range(2, 42))
        client.type(batch)
        assert client.session is not None
        self.assertFalse(client.reading)
        self.assertLess(client.session.queued, 10_000)
        self.assertIsNone(client.closed)
        told: list[int] = []
        for _ in range(100):
            told += [answer["id"] for answer in self.answers(client)]
            client.unblock(2)
        told += [answer["id"] for answer in self.answers(client)]
        self.assertEqual([*range(1, 42)], told)
        self.assertTrue(client.reading)
