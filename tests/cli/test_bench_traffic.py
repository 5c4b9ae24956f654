"""`realtime-svc bench`: payloads with numbers, what is said through each protocol, what comes and what does not."""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.cli.bench_peer import Loop, Peer
from realtime_svc.cli.bench_tally import Delays, Meter, Tally
from realtime_svc.cli.bench_traffic import Listener, Speaker, Stream, Traffic
from realtime_svc.cli.bench_wire import DIALECTS, Numbered, RunFailed, frame

RAW, CENTRIFUGO = DIALECTS["raw"], DIALECTS["centrifugo"]


class PayloadTests(SynchronousTestCase):
    def test_has_its_size_and_its_number_and_is_json(self) -> None:
        for size in (35, 36, 128, 5000):
            numbered = Numbered(size)
            payload = numbered.payload(42)
            self.assertEqual(size, len(payload))
            self.assertEqual(["text"], list(json.loads(payload)))
            self.assertEqual([b"0000000042"], numbered.find(b"around" + payload + b"it"))

    def test_what_others_publish_is_not_ours(self) -> None:
        self.assertEqual([], Numbered(128).find(Numbered(128).payload(42)))

    def test_template(self) -> None:
        payload = Numbered(100, '{"n":1,"é":"{fill}"}').payload(7)
        self.assertEqual((100, 1), (len(payload), json.loads(payload)["n"]))

    def test_what_can_not_be(self) -> None:
        for size, template, said in (
            (34, '{"text":"{fill}"}', "--size: must be at least 35"),
            (128, '{"text":""}', "--payload: must hold {fill} once"),
            (128, "{fill}{fill}", "--payload: must hold {fill} once"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                Numbered(size, template)


class DialectTests(SynchronousTestCase):
    def test_where_they_connect(self) -> None:
        self.assertEqual("/raw/chat:a%23b", RAW.resource("chat:a#b", False))
        self.assertEqual("/raw/chat:a?echo=1", RAW.resource("chat:a", True))
        self.assertEqual("/connection/websocket?cf_ws_frame_ping_pong=true", CENTRIFUGO.resource("chat:a", True))

    def test_greetings(self) -> None:
        self.assertEqual(b"", RAW.greeting("a"))
        self.assertEqual(b'{"id":1,"connect":{}}', CENTRIFUGO.greeting(None))
        self.assertEqual(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"a"}}', CENTRIFUGO.greeting("a"))
        connected, subscribed = b'{"id":1,"connect":{"ping":25}}', b'{"id":2,"subscribe":{}}'
        for payload, subscribes, joined in (
            (connected, False, True),
            (connected, True, False),
            (subscribed, True, True),
            (connected + b"\n" + subscribed, True, True),
            (b'{"push":{"channel":"a"}}', True, False),
        ):
            self.assertEqual(joined, CENTRIFUGO.is_joined(payload, subscribes), payload)

    def test_publications_and_their_acknowledgements(self) -> None:
        self.assertEqual((b"P", []), (RAW.publication("a", 7, b"P"), RAW.acknowledged(b'{"text":"of another"}')))
        command = json.loads(CENTRIFUGO.publication("a", 7, b'{"x":1}'))
        self.assertEqual({"channel": "a", "data": {"x": 1}}, command["publish"])
        answer = b'{"id":%d,"publish":{}}\n{"push":{"id":3}}\n{"id":1,"connect":{}}' % command["id"]
        self.assertEqual([7], CENTRIFUGO.acknowledged(answer))

    def test_a_refusal_ends_the_run(self) -> None:
        error = b'"error":{"code":103,"message":"permission denied"}}'
        for dialect, payload in ((RAW, b"{" + error), (CENTRIFUGO, b'{"id":17,' + error)):
            with self.assertRaisesRegex(RunFailed, "error 103: permission denied"):
                dialect.acknowledged(payload)
        with self.assertRaisesRegex(RunFailed, "error 103"):
            CENTRIFUGO.is_joined(b'{"id":2,' + error, True)
        with self.assertRaisesRegex(RunFailed, "not of this protocol"):
            CENTRIFUGO.is_joined(b"hello", True)

    def test_frames(self) -> None:
        for size, head in ((5, "8185"), (125, "81fd"), (126, "81fe007e"), (65536, "81ff0000000000010000")):
            self.assertEqual(bytes.fromhex(head) + bytes(4) + b"x" * size, frame(b"x" * size))


class FakePeer:
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


class TrafficTests(SynchronousTestCase):
    """Without sockets: a loop whose turns the test makes."""

    def setUp(self) -> None:
        self.loop = Loop()
        self.addCleanup(self.loop.close)
        self.numbered = Numbered(128)
        self.speaker = FakePeer()
        self.others = [FakePeer(), FakePeer()]

    def begin(self, window: int = 1, *, publish: bool = False) -> None:
        """Two who listen, or one who publishes for itself."""
        dialect = CENTRIFUGO if publish else RAW
        self.traffic = Traffic(self.loop, dialect, self.numbered, window, acknowledged=publish)
        self.peers = [self.speaker] if publish else self.others
        self.stream = Stream(self.traffic, "a", self.as_peer(self.speaker), len(self.peers))
        self.traffic.streams.append(self.stream)
        self.listeners = [Listener(self.stream) for _ in self.peers]

    def as_peer(self, fake: FakePeer) -> Peer:
        return cast("Peer", fake)

    def measure(self, *turns: list[tuple[int, int]]) -> Tally:
        """In each turn the listeners with these places get these numbers; then the time is over."""
        tally, waiting = Tally(), list(turns)

        def run(until: Any, seconds: float) -> bool:
            for turn in waiting:
                for place, number in turn:
                    self.get(place, number)
                self.loop.turn()
            waiting.clear()
            return bool(until())

        self.patch(self.loop, "run", run)
        self.traffic.measure(1, Meter(None), tally)
        return tally

    def get(self, place: int, number: int) -> None:
        self.listeners[place].received(self.as_peer(self.peers[place]), self.numbered.payload(number))

    def test_next_one_is_published_when_all_have_it(self) -> None:
        self.begin()
        tally = self.measure([(0, 1)], [(1, 1)], [(1, 2)])
        self.assertEqual(2, len(self.speaker.sent))
        self.assertEqual((2, 3, 3, 1), (tally.publications, tally.deliveries, tally.done, tally.lost))

    def test_window_is_filled_in_one_write(self) -> None:
        self.begin(window=3)
        tally = self.measure([(place, number) for number in (1, 2) for place in (0, 1)])
        self.assertEqual([3 * 136, 2 * 136], [len(data) for data in self.speaker.sent])
        self.assertEqual((5, 4, 6), (tally.publications, tally.deliveries, tally.lost))

    def test_faults_are_told_apart(self) -> None:
        every = [(1, number) for number in (1, 2, 3, 4)]
        for got, expected in (
            ([1, 2, 3, 4], (0, 0, 0)),
            ([1, 3, 4], (1, 0, 0)),
            ([1, 2, 3], (1, 0, 0)),
            ([1, 3, 2, 4], (0, 1, 0)),
            ([1, 2, 2, 3, 4], (0, 0, 1)),
            ([1, 4, 2, 3, 3], (0, 2, 1)),
        ):
            self.begin(window=4)
            self.stream.publish(4)
            self.patch(self.stream, "forget", lambda: None)
            self.patch(self.stream, "publish", lambda count: None)
            tally = self.measure([*every, *((0, number) for number in got)])
            self.assertEqual(expected, (tally.lost, tally.out_of_order, tally.duplicates), got)
            self.assertEqual(expected == (0, 0, 0), tally.faultless)
            self.assertEqual(4 + len(set(got)), tally.deliveries)

    def test_one_that_is_lost_does_not_hold_up_the_rest(self) -> None:
        self.begin(window=2)
        tally = self.measure([(0, 1), (1, 1)], [(1, 2), (0, 3), (1, 3)], [(0, 4), (1, 4), (0, 5), (1, 5)])
        self.assertEqual((7, 9, 1 + 4), (tally.publications, tally.deliveries, tally.lost))

    def test_acknowledgements_count_and_free_the_window(self) -> None:
        self.begin(publish=True)
        tally = self.measure([(0, 1)])
        self.assertEqual((1, 0, 1, 0), (tally.publications, tally.done, tally.unacknowledged, tally.lost))
        self.begin(publish=True)
        self.patch(
            self,
            "get",
            lambda place, number: self.answer(b'{"id":11,"publish":{}}\n{"push":' + b"%b}" % self.numbered.payload(1)),
        )
        tally = self.measure([(0, 1)])
        self.assertEqual((2, 1, 1), (tally.publications, tally.done, tally.deliveries))

    def answer(self, payload: bytes) -> None:
        self.listeners[0].received(self.as_peer(self.speaker), payload)

    def test_speaker_hears_refusals_only(self) -> None:
        self.begin()
        speaker = Speaker(self.stream)
        speaker.received(self.as_peer(self.speaker), b'{"text":"of another"}')
        with self.assertRaises(RunFailed):
            speaker.received(self.as_peer(self.speaker), b'{"error":{"code":103,"message":"no"}}')

    def test_stopped_early_nothing_counts_as_lost(self) -> None:
        self.begin()
        self.loop.stopped = True
        tally = self.measure([(0, 1)])
        self.assertEqual((1, True), (tally.deliveries, tally.faultless))

    def test_probes_until_everybody_gets_one(self) -> None:
        self.begin()
        asked: list[float] = []

        def run(until: Any, seconds: float) -> bool:
            asked.append(seconds)
            for place in ((0,), (0, 1))[len(asked) - 1]:
                self.get(place, len(asked))
            self.loop.turn()
            return bool(until())

        self.patch(self.loop, "run", run)
        self.traffic.join()
        self.assertEqual(2, len(asked))

    def test_deaf_subscriber_ends_the_run(self) -> None:
        self.begin()
        self.patch(self.loop, "run", lambda until, seconds: until())
        with self.assertRaisesRegex(RunFailed, "not every subscriber"):
            self.traffic.join()


class DelayTests(SynchronousTestCase):
    def test_quantiles_within_a_hundredth(self) -> None:
        delays = Delays()
        self.assertIsNone(delays.quantile(0.5))
        for microseconds in range(1, 100_001):
            delays.note(microseconds / 1e6)
        for share in (0.001, 0.5, 0.99, 1.0):
            found = delays.quantile(share)
            assert found is not None
            self.assertLess(abs(found - share * 100_000), 0.008 * share * 100_000, share)

    def test_counts(self) -> None:
        delays = Delays()
        delays.note(0.000_010, 99)
        delays.note(0.000_020)
        self.assertEqual((10, 10, 20), (delays.quantile(0.5), delays.quantile(0.99), delays.quantile(1)))
