"""Connections that are responses without an end: what they look like, who speaks on them, and how they end."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.config import Namespace
from realtime_svc.core.messages import Publish
from realtime_svc.core.ports import Admitted
from realtime_svc.core.ratelimit import RateLimit
from realtime_svc.core.reading import Hold
from realtime_svc.errors import Refusal
from realtime_svc.model import Identity, StreamPosition
from realtime_svc.transports.streams import MOST_WAITING, Streams
from realtime_svc.wire.routes import Endpoint, Route
from tests.fakes import ALICE, PEER, World

HTTP_STREAM, EVENTS = Route(Endpoint.HTTP_STREAM, ""), Route(Endpoint.CENTRIFUGE_SSE, "")
SSE = Route(Endpoint.SSE, "x")
CONNECT = b'{"id":1,"connect":{}}'
EVERYBODY = {
    "default": Namespace(subscribe=("anonymous",), publish=("anonymous",), history_size=10, history_ttl=60.0),
}


class FakeRequest:
    """A request of twisted.web. `written` is the response so far; `did` is what else was done, in order."""

    def __init__(self) -> None:
        self.channel: Any = self
        self.transport = self
        self.headers: dict[bytes, bytes] = {}
        self.written = b""
        self.did: list[str] = []
        self.producer: Any = None
        self._finished: list[Deferred[None]] = []

    def setHeader(self, name: bytes, value: bytes) -> None:  # noqa: N802
        self.headers[name] = value

    def notifyFinish(self) -> Deferred[None]:  # noqa: N802
        self._finished.append(Deferred())
        return self._finished[-1]

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        assert "finish" not in self.did
        self.written += data

    def finish(self) -> None:
        self.did.append("finish")
        for finished in self._finished:
            finished.callback(None)

    def abortConnection(self) -> None:
        self.did.append("abort")

    def lost(self) -> None:
        self.channel = None
        for finished in self._finished:
            finished.errback(Failure(ConnectionDone()))

    def take(self) -> bytes:
        written, self.written = self.written, b""
        return written


class StreamsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **changes: Any) -> None:
        self.world = World(namespaces=EVERYBODY, anonymous=True, **changes)
        self.node, self.clock = self.world.node, self.world.clock
        self.streams = Streams(self.node)

    def open(
        self,
        route: Route = HTTP_STREAM,
        commands: bytes = CONNECT,
        *,
        identity: Identity | None = None,
        protobuf: bool = False,
        **options: Any,
    ) -> Any:
        request: Any = FakeRequest()
        admitted = Admitted(identity, None, (), False, None, **options)
        self.streams.open(request, route, admitted, PEER, commands, protobuf)
        return request

    def lines(self, request: Any) -> list[Any]:
        """What an http_stream said since the last time."""
        return [json.loads(line) for line in request.take().splitlines()]

    def connect(self) -> tuple[Any, str]:
        """An http_stream, and the key of its session."""
        request = self.open()
        (answer,) = self.lines(request)
        return request, answer["connect"]["session"]

    def say(self, key: str, *commands: object) -> Deferred[None]:
        data = b"\n".join(json.dumps(command).encode() for command in commands)
        return self.streams.deliver(self.node.uid, key, data, False)

    def refused(self, node: str, key: str) -> tuple[int, str]:
        refusal = self.assertRaises(Refusal, self.streams.deliver, node, key, b"{}", False)
        assert isinstance(refusal, Refusal)
        return refusal.status, refusal.cause

    def publish(self, text: bytes, channel: str = "x") -> None:
        work = self.node.publishing.publish(Publish(channel, text))
        self.node.run(work, lambda result, error: self.assertIsNone(error))

    def session(self) -> Any:
        (session,) = self.node.hub.sessions.values()
        return session


class FormTests(StreamsTestCase):
    def test_heads(self) -> None:
        """No proxy keeps any of it, and none waits for more of it."""
        for route, kind, first in (
            (SSE, b"text/event-stream; charset=utf-8", b":\n\n"),
            (EVENTS, b"text/event-stream; charset=utf-8", b"\r\n"),
            (HTTP_STREAM, b"application/octet-stream", b'{"id":1'),
        ):
            request = self.open(route, identity=ALICE)
            self.assertEqual(request.headers[b"content-type"], kind)
            self.assertEqual(request.headers[b"cache-control"], b"no-store")
            self.assertEqual(request.headers[b"x-accel-buffering"], b"no")
            self.assertTrue(request.written.startswith(first), request.written)

    def test_connect(self) -> None:
        """The answer names session and node; the credential may come in the command, as in the request."""
        for identity, token in ((None, "a"), (ALICE, "")):
            command = json.dumps({"id": 1, "connect": {"token": token}}).encode()
            request = self.open(EVENTS, command, identity=identity)
            start, event = request.take().split(b"\r\n", 1)
            self.assertEqual((start, event[:6], event[-2:]), (b"", b"data: ", b"\n\n"))
            answer = json.loads(event[6:])["connect"]
            self.assertEqual(answer["node"], self.node.uid)
            session = self.node.emulated(answer["session"])
            assert session is not None
            self.assertEqual(session.info.user, "alice")
            self.assertNotEqual(answer["session"], answer["client"])

    def test_protobuf(self) -> None:
        request = self.open(commands=b"\x04\x08\x01\x22\x00", protobuf=True)
        written = request.take()
        self.assertEqual(written[0], len(written) - 1)
        self.assertEqual(written[1:3], b"\x08\x01")

    def test_sse(self) -> None:
        """Only listens: has no key, and keeps its place."""
        for text in (b"1", b"2", b"3"):
            self.publish(text)
        (epoch,) = {event.partition(b":")[0] for event in self.events(self.open(SSE, identity=ALICE, last=1))}
        request = self.open(SSE, identity=ALICE, since=StreamPosition(1, epoch.decode()))
        self.assertEqual(self.events(request), [epoch + b":2", epoch + b":3"])
        self.assertEqual({session.key for session in self.node.hub.sessions.values()}, {""})

    def events(self, request: Any) -> list[bytes]:
        """The ids of the events that have data; an id alone only says where the stream stands."""
        events = [event.split(b"\n") for event in request.take().split(b"\n\n") if b"data:" in event]
        return [line.removeprefix(b"id: ") for event in events for line in event if line.startswith(b"id:")]

    def test_too_many_of_a_user(self) -> None:
        """429, nothing is held, and nothing was written."""
        self.make(connections_per_user=1)
        first = self.open(identity=ALICE)
        refusal = self.assertRaises(Refusal, self.open, identity=ALICE)
        assert isinstance(refusal, Refusal)
        self.assertEqual(refusal.status, 429)
        first.lost()
        self.open(identity=ALICE)

    def test_keeps_alive(self) -> None:
        """A comment where only the transport can; not behind what a blocked socket does not take."""
        request = self.open(SSE, identity=ALICE)
        request.take()
        self.assertFalse(self.session().transport.ping())
        self.assertEqual(request.take(), b":\n\n")
        request.producer.pauseProducing()
        self.session().transport.ping()
        self.assertEqual(request.take(), b"")


class DeliveryTests(StreamsTestCase):
    def test_commands(self) -> None:
        """What is said by another request is answered down the stream, in order."""
        request, key = self.connect()
        taken = self.say(
            key, {"id": 2, "subscribe": {"channel": "x"}}, {"id": 3, "publish": {"channel": "x", "data": 1}}
        )
        self.successResultOf(taken)
        answers = self.lines(request)
        self.assertEqual([answer.get("id") for answer in answers if "push" not in answer], [2, 3])
        self.assertEqual([answer["push"]["pub"]["data"] for answer in answers if "push" in answer], [1])

    def test_unknown(self) -> None:
        """Another node: 404. No such session, a plain one (its key is "") or one that has ended: 500."""
        request, key = self.connect()
        self.open(SSE, identity=ALICE)
        self.assertEqual(self.refused("other", key), (404, "unknown_node"))
        self.assertEqual(self.refused("", key), (404, "unknown_node"))
        for wrong in ("", "x", key[:-1], next(iter(self.node.hub.sessions))):
            self.assertEqual(self.refused(self.node.uid, wrong), (500, "unknown_session"), wrong)
        request.lost()
        self.assertEqual(self.refused(self.node.uid, key), (500, "unknown_session"))

    def test_waits(self) -> None:
        """While the session does not read, what comes waits in line, bounded, and then is taken in order."""
        request, key = self.connect()
        session = self.session()
        session.reading.pause(Hold.BACKLOG)
        waiting = [
            self.say(key, {"id": 2 + number, "publish": {"channel": "x", "data": 1}}) for number in range(MOST_WAITING)
        ]
        for taken in waiting:
            self.assertNoResult(taken)
        self.assertEqual(self.refused(self.node.uid, key), (429, "emulation_line"))
        self.assertEqual(self.lines(request), [])
        session.reading.resume(Hold.BACKLOG)
        for taken in waiting:
            self.successResultOf(taken)
        self.assertEqual([answer["id"] for answer in self.lines(request)], list(range(2, 2 + MOST_WAITING)))

    def test_rate(self) -> None:
        """Who says too much is slowed: the requests behind wait for the time it takes."""
        self.make(messages=RateLimit(1, 2, 100.0))
        request, key = self.connect()
        command = {"id": 2, "publish": {"channel": "x", "data": 1}}
        waiting = [self.say(key, command) for _ in range(6)]
        self.assertLess(len([taken for taken in waiting if taken.called]), 6)
        self.clock.pump([0.1] * 100)
        self.assertTrue(all(taken.called for taken in waiting))
        self.assertEqual(len(self.lines(request)), 6)

    def test_waiting_at_the_end(self) -> None:
        """Nobody waits for a session that has ended, however it did."""
        for end in (lambda request, session: request.lost(), lambda request, session: session.close(errors.FORCED)):
            request, key = self.connect()
            session = self.node.emulated(key)
            assert session is not None
            session.reading.pause(Hold.BACKLOG)
            taken = self.say(key, {"id": 2, "publish": {"channel": "x", "data": 1}})
            end(request, session)
            self.successResultOf(taken)
            self.assertEqual(self.node.instruments.publications, 0)

    def test_crash(self) -> None:
        """An exception while commands are taken ends this stream and no other; it is reported."""
        request, key = self.connect()
        other, _ = self.connect()
        self.node.count_in = lambda dialect, payload: 1 / 0  # type: ignore[method-assign, assignment]
        self.successResultOf(self.say(key, {}))
        self.assertEqual((request.did, other.did), (["finish"], []))
        self.assertEqual([what for what, _ in self.world.reports], ["a stream failed"])


class EndTests(StreamsTestCase):
    def test_ours(self) -> None:
        """The reason is the last thing that is said; then the response is complete, and nothing is left."""
        request, _ = self.connect()
        self.session().close(errors.FORCED)
        (push,) = self.lines(request)
        self.assertEqual(push["push"]["disconnect"]["code"], 3503)
        self.assertEqual(request.did, ["finish"])
        self.assert_nothing_left()

    def test_before_the_handshake(self) -> None:
        """Whoever does not connect is told 3501; an error of the token is an answer."""
        for commands in (b"", b"rubbish", b'{"id":1,"subscribe":{"channel":"x"}}'):
            request = self.open(commands=commands)
            (push,) = self.lines(request)
            self.assertEqual((push["push"]["disconnect"]["code"], request.did), (3501, ["finish"]), commands)
            self.assert_nothing_left()
        request = self.open(commands=b'{"id":1,"connect":{"token":"bad"}}')
        self.assertEqual(self.lines(request)[-1]["push"]["disconnect"]["code"], 3500)

    def test_draining(self) -> None:
        self.node.draining = True
        request = self.open()
        self.assertEqual(self.lines(request)[-1]["push"]["disconnect"]["code"], 3001)
        self.assertEqual(request.did, ["finish"])

    def test_lost(self) -> None:
        """The client is gone, at any time."""
        for route, commands in ((HTTP_STREAM, CONNECT), (EVENTS, CONNECT), (SSE, b""), (HTTP_STREAM, b"")):
            request = self.open(route, commands, identity=ALICE)
            if not request.did:
                request.lost()
            self.assert_nothing_left()

    def test_slow(self) -> None:
        """What the socket does not take waits, bounded: then the client is cut."""
        request = self.open(SSE, identity=ALICE)
        request.take()
        session = self.session()
        request.producer.pauseProducing()
        self.publish(b'"%s"' % (b"x" * 100))
        self.assertEqual(request.take(), b"")
        self.assertGreater(session.queued, 100)
        request.producer.resumeProducing()
        self.assertIn(b"xxx", request.take())
        request.producer.pauseProducing()
        self.publish(b'"%s"' % (b"x" * 20_000))
        self.assertEqual((request.did, self.node.instruments.closes), (["finish"], {3008: 1}))
        self.assert_nothing_left()

    def test_abort(self) -> None:
        """Behind a goodbye that is not taken: by force; of what is gone already: nothing."""
        request, _ = self.connect()
        transport = self.session().transport
        transport.abort()
        self.assertEqual(request.did, ["abort"])
        request.lost()
        transport.abort()
        transport.close(errors.FORCED)
        transport.write(None)
        transport.ping()
        self.assertEqual(request.did, ["abort"])

    def assert_nothing_left(self) -> None:
        instruments = self.node.instruments
        counts = [*instruments.connections.values(), instruments.subscriptions]
        self.assertEqual((counts, self.node.hub.sessions), ([0] * len(counts), {}))
