"""What one client may do to the server and to others: bounds in bytes, rate and time, each with its close code."""

from __future__ import annotations

import base64
import itertools
import re

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.limits import (
    MIB,
    NO_RATES,
    OPEN,
    again_and_again,
    bye,
    metric,
    pid_of,
    said,
    while_open,
)
from tests.integration.server import Server, reactor, start_server
from tests.integration.ws_peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    End,
    Peer,
    Wire,
    frame,
    open_peer,
    resident,
)


class SizeTests(TestCase):
    async def test_message_size(self) -> None:
        """1009 when the length is known, before the payload is there; one of exactly the limit passes."""
        server = await start_server(self, OPEN + "[limits]\nmessage_size = 1000")
        half = frame(TEXT, b"x" * 500, fin=False)
        for path in ("/raw/x?echo=1", "/ws"):
            for data in (
                frame(TEXT, declared=1001),
                frame(BINARY, declared=2**62),
                frame(TEXT, declared=1001, fin=False),
                half + frame(CONTINUATION, declared=501),
                half + frame(CONTINUATION, b"y" * 500, fin=False) + frame(CONTINUATION, b"z", fin=False),
            ):
                peer = await open_peer(self, server.port(), path)
                peer.send(data)
                self.assertEqual((await peer.end())[::2], (1009, "eof"))
        peer = await open_peer(self, server.port(), "/raw/x?echo=1")
        peer.send(frame(TEXT, b"x" * 1000), half, frame(CONTINUATION, b"y" * 500))
        self.assertEqual([len((await peer.next_frame()).payload) for _ in range(2)], [1000, 1000])
        self.assertEqual(await metric(server, 'realtime_svc_closes_total{code="1009"}'), 10)


class ControlFrameTests(TestCase):
    async def test_ping_flood_of_a_reader(self) -> None:
        """Who reads gets an answer to the newest ping at least, and never one out of order; to all where there are few
        at a time."""
        server = await start_server(self, OPEN + NO_RATES)
        peer = await open_peer(self, server.port(), "/raw/x")
        pings = [b"%d" % number for number in range(30000)]
        for start in range(0, 10000, 100):
            peer.send(*(frame(PING, payload) for payload in pings[start : start + 100]))
            await peer.when(lambda count=start + 100: len(peer.frames) == count)  # type: ignore[misc]
        peer.send(*(frame(PING, payload) for payload in pings[10000:]))
        await peer.when(lambda: peer.frames[-1].payload == pings[-1])
        numbers = [int(one.payload) for one in peer.frames]
        self.assertEqual(numbers[:10000], list(range(10000)))
        self.assertEqual(numbers, sorted(set(numbers)))

    async def test_ping_flood_of_a_client_that_does_not_read(self) -> None:
        """Answers do not pile up: what is pinged meanwhile gets one, to the newest (RFC 6455 5.5.3)."""
        server = await start_server(self, OPEN + NO_RATES)
        listener = await open_peer(self, server.port(), "/raw/x")
        peer = await open_peer(self, server.port(), "/raw/x")
        peer.stop_reading()
        before, count = resident(pid_of(server)), 120_000
        peer.send(b"".join(frame(PING, b"%0125d" % number, mask=bytes(4)) for number in range(count)))
        peer.send(frame(TEXT, b"all pings are through"))
        self.assertEqual((await listener.next_frame()).payload, b"all pings are through")
        self.assertLess(resident(pid_of(server)) - before, 4 * MIB)
        peer.read_on()
        await peer.when(lambda: peer.frames[-1:] == [Wire(PONG, b"%0125d" % (count - 1))])
        numbers = [int(one.payload) for one in peer.frames]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertLess(len(numbers), count - 1000)

    async def test_pong_flood(self) -> None:
        """Unasked pongs cost nothing that stays."""
        server = await start_server(self, OPEN + NO_RATES)
        peer = await open_peer(self, server.port(), "/raw/x?echo=1")
        before = resident(pid_of(server))
        peer.send(frame(PONG, b"x" * 125) * 50_000, frame(TEXT, b"still here"))
        self.assertEqual(await peer.next_frame(), Wire(TEXT, b"still here"))
        self.assertLess(resident(pid_of(server)) - before, 4 * MIB)

    async def test_half_open_peer(self) -> None:
        """Who does not answer a ping is closed with 3012, after a bye where the protocol has one; the others stay."""
        server = await start_server(self, OPEN + '[websocket]\nping_interval = "800ms"\nping_timeout = "700ms"')
        good = await open_peer(self, server.port(), "/ws")
        frozen = [await open_peer(self, server.port(), path) for path in ("/ws", "/raw/x")]
        for peer in frozen:
            peer.answer_pings = False
            while_open(self, peer, frame(TEXT, b'{"ping":1}'), 0.1)  # it talks, but not by pongs
        self.assertEqual(await frozen[0].end(), End(3012, b"no pong", "eof"))
        self.assertEqual(await frozen[1].end(), End(3012, b"no pong", "eof"))
        self.assertEqual(said(frozen[0])[-1], bye(3012, "no pong", reconnect=True))
        good.send(frame(TEXT, b'{"ping":1}'))
        await good.when(lambda: len(good.messages) == 2)
        self.assertEqual(said(good)[1], {"ok": "ping"})


class UnfinishedMessageTests(TestCase):
    async def test_never_finished(self) -> None:
        """1008 after fragment_timeout, whatever comes meanwhile: more fragments, pongs, single bytes of a frame."""
        server = await start_server(self, OPEN + '[websocket]\nfragment_timeout = "300ms"')
        trickles = {
            "nothing": b"",
            "fragments": frame(CONTINUATION, b"y", fin=False),
            "empty fragments": frame(CONTINUATION, fin=False),
            "pongs": frame(PONG),
        }
        peers = []
        for trickle in trickles.values():
            peer = await open_peer(self, server.port(), "/raw/x")
            peer.send(frame(TEXT, b"x", fin=False))
            peers.append(peer)
            if trickle:
                while_open(self, peer, trickle, 0.05)
        slow = await open_peer(self, server.port(), "/raw/x")
        slow.send(frame(BINARY, declared=1000))
        while_open(self, slow, b"z", 0.05)
        for peer in (*peers, slow):
            end = await peer.end()
            self.assertEqual((end.code, end.tcp), (1008, "eof"))

    async def test_finished_in_time(self) -> None:
        """The time is a message's, not a connection's: a client that sends one fragmented message after another stays,
        longer than another takes to be closed."""
        server = await start_server(self, OPEN + '[websocket]\nfragment_timeout = "1s"')
        busy = await open_peer(self, server.port(), "/raw/x?echo=1")
        idle = await open_peer(self, server.port(), "/raw/y")
        idle.send(frame(TEXT, b"x", fin=False))
        parts = itertools.cycle((frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b")))
        again_and_again(self, lambda: busy.send(next(parts)), 0.05)
        self.assertEqual((await idle.end()).code, 1008)
        seen = len(busy.messages)
        await busy.when(lambda: len(busy.messages) > seen)


class FloodTests(TestCase):
    async def test_frame_flood(self) -> None:
        """Above the rate reading pauses, and when it goes on like that the connection ends with 1008."""
        limits = '[limits]\nframes_per_second = 200\nflood_patience = "300ms"'
        server = await start_server(self, OPEN + limits)
        for data in (frame(PING), frame(PONG), frame(CONTINUATION, b"x", fin=False), frame(CONTINUATION, fin=False)):
            peer = await open_peer(self, server.port(), "/ws")
            if data[0] & 0x0F == CONTINUATION:
                peer.send(frame(TEXT, b"x", fin=False))
            while_open(self, peer, data * 20000, 0.01)
            end = await peer.end()
            self.assertEqual(end.code, 1008, data)

    async def test_frames_within_the_rate(self) -> None:
        """A burst is no flood: it takes its time, and all of it is answered."""
        server = await start_server(self, OPEN + '[limits]\nframes_per_second = 200\nflood_patience = "2s"')
        peer = await open_peer(self, server.port(), "/raw/x?echo=1")
        peer.send(frame(PING, b"p") * 500, frame(TEXT, b"after"))
        self.assertEqual(await peer.next(), Wire(TEXT, b"after"))
        self.assertEqual(len(peer.frames), 501)

    async def test_message_flood(self) -> None:
        """The same for messages: 3013. A bystander in the same channel loses nothing of what was accepted."""
        limits = '[limits]\nmessages_per_second = 100\nframes_per_second = 0\nflood_patience = "300ms"'
        server = await start_server(self, OPEN + limits)
        other = await open_peer(self, server.port(), "/raw/x")
        raw = await open_peer(self, server.port(), "/raw/x")
        plain = await open_peer(self, server.port(), "/ws")
        number = iter(range(10**9))

        def flood() -> None:
            if raw.tcp is None:
                raw.send(*(frame(TEXT, b"%01000d" % next(number)) for _ in range(100)))
            if plain.tcp is None:
                plain.send(frame(TEXT, b'{"ping":1}' + b" " * 1000) * 100)

        again_and_again(self, flood, 0.01)
        self.assertEqual((await raw.end())[:2], (3013, b"too many requests"))
        self.assertEqual((await plain.end())[:2], (3013, b"too many requests"))
        self.assertEqual(said(plain)[-1], bye(3013, "too many requests", reconnect=True))
        accepted = int(await metric(server, "realtime_svc_publications_total"))
        await other.when(lambda: len(other.messages) >= accepted)
        self.assertEqual([int(payload) for payload in other.messages], list(range(accepted)))

    async def test_rubbish_flood(self) -> None:
        """A client that only sends what is refused is answered, slowed, then cut with 3509; nobody else notices."""
        limits = '[limits]\nerrors_per_minute = 120\nmessages_per_second = 0\nflood_patience = "300ms"'
        server = await start_server(self, OPEN + limits)
        good, reader = [await open_peer(self, server.port(), "/raw/json:x") for _ in range(2)]
        bad = await open_peer(self, server.port(), "/raw/json:x")
        while_open(self, bad, frame(TEXT, b"no JSON " + b"x" * 1000) * 100, 0.01)
        ended = bad.end()
        rounds = 0
        while bad.tcp is None:
            good.send(frame(TEXT, b"%d" % rounds))
            self.assertEqual((await reader.next_frame()).payload, b"%d" % rounds)
            rounds += 1
            await deferLater(reactor, 0.01)
        self.assertEqual((await ended)[:2], (3509, b"too many errors"))
        answer = {"error": {"code": 107, "message": "Invalid JSON", "temporary": False}}
        answers = [one for one in said(bad) if not isinstance(one, int)]
        self.assertEqual([one for one in answers if one != answer], [])
        self.assertGreater(len(answers), 0)
        good.send(frame(TEXT, b"[]"))
        self.assertEqual(await reader.next_frame(), Wire(TEXT, b"[]"))


class SlowConsumerTests(TestCase):
    async def _publish(self, server: Server, *, enough: Deferred[re.Match[str]], size: int = 16 * 1024) -> int:
        """Publish numbered messages, each after a reader has got the one before, until `enough` has fired."""
        sender, reader = [await open_peer(self, server.port(), "/raw/x") for _ in range(2)]
        count = 0
        while not enough.called:
            payload = b"%d " % count + b"x" * size
            sender.send(frame(TEXT, payload, mask=bytes(4)))
            self.assertTrue((await reader.next_frame()).payload == payload)
            count += 1
        return count

    def _numbers(self, peer: Peer) -> list[int]:
        return [int(payload.split()[0]) for payload in peer.messages]

    async def test_too_many_bytes(self) -> None:
        """More than queue_size waits: 3008. The others get everything in order; the slow one a beginning of it, whole
        messages, then the reason. The server's memory stays where it was."""
        server = await start_server(self, OPEN + NO_RATES + 'queue_size = "1MiB"\nstall_timeout = "1h"')
        slow = await open_peer(self, server.port(), "/raw/x")
        slow.stop_reading()
        before = resident(pid_of(server))
        count = await self._publish(server, enough=server.process.when_printed(r"closed \S+ 3008 slow"))
        self.assertLess(resident(pid_of(server)) - before, 8 * MIB)
        slow.read_on()
        self.assertEqual(await slow.end(), End(3008, b"slow", "eof"))
        got = self._numbers(slow)
        self.assertEqual(got, list(range(len(got))))
        self.assertLess(len(got), count)
        self.assertEqual(await metric(server, 'realtime_svc_closes_total{code="3008"}'), 1)

    async def test_too_long(self) -> None:
        """Little waits, but for longer than stall_timeout: 3008, on /ws after a bye."""
        server = await start_server(self, OPEN + NO_RATES + 'queue_size = "64MiB"\nstall_timeout = "400ms"')
        slow = await open_peer(self, server.port(), "/ws?channel=x")
        await slow.next_frame()
        slow.stop_reading()
        await self._publish(server, enough=server.process.when_printed(r"closed \S+ 3008 slow"))
        slow.read_on()
        self.assertEqual(await slow.end(), End(3008, b"slow", "eof"))
        self.assertEqual(said(slow)[-1], bye(3008, "slow", reconnect=True))

    async def test_reads_again(self) -> None:
        """A client that was behind, but less than the limits, gets everything in order."""
        server = await start_server(self, OPEN + NO_RATES + 'queue_size = "64MiB"\nstall_timeout = "1h"')
        slow = await open_peer(self, server.port(), "/raw/x")
        slow.stop_reading()
        waiting: Deferred[re.Match[str]] = Deferred()
        again_and_again(self, lambda: self._look_for_queue(server, waiting), 0.02)
        count = await self._publish(server, enough=waiting)
        slow.read_on()
        await slow.when(lambda: len(slow.messages) == count)
        self.assertEqual(self._numbers(slow), list(range(count)))
        self.assertEqual(await metric(server, "realtime_svc_queue_bytes"), 0)

    async def _look_for_queue(self, server: Server, waiting: Deferred[re.Match[str]]) -> None:
        if not waiting.called and await metric(server, "realtime_svc_queue_bytes") > MIB and not waiting.called:
            waiting.callback(re.match("", ""))  # type: ignore[arg-type]

    async def test_bye_is_last(self) -> None:
        """At the end: what is queued, in order, then bye, then Close with its code, then EOF."""
        server = await start_server(self, OPEN + NO_RATES + 'queue_size = "64MiB"\nstall_timeout = "1h"')
        slow = await open_peer(self, server.port(), "/ws?channel=x")
        await slow.next_frame()
        slow.stop_reading()
        waiting: Deferred[re.Match[str]] = Deferred()
        again_and_again(self, lambda: self._look_for_queue(server, waiting), 0.02)
        count = await self._publish(server, enough=waiting)
        stopped = server.stop()
        slow.read_on()
        self.assertEqual(await slow.end(), End(3001, b"shutdown", "eof"))
        told = said(slow)
        numbers = [int(base64.b64decode(str(one["b64data"])).split()[0]) for one in told[2:-1]]
        self.assertEqual(numbers, list(range(count)))
        self.assertEqual(told[-1], bye(3001, "shutdown", reconnect=True))
        self.assertEqual(slow.frames[-1].opcode, CLOSE)
        await stopped
