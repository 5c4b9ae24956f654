"""Webhooks of the real process: what a backend is told while clients come and go."""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import TestCase

from realtime_svc.client import Connection, connect
from realtime_svc.webhooks.body import signature
from tests.client.pki import Authority
from tests.integration.server import (
    ALICE,
    BOB,
    STOPPED,
    TOKENS,
    Server,
    reactor,
    spawn_server,
    start_server,
    write_config,
)
from tests.webhooks.backends import FakeBackend, Told, ca_file

SECRET = "the-secret-of-the-webhooks"


class Case(TestCase):
    """A backend, and a server that tells it."""

    async def start(self, more: str = "", *, scheme: str = "http", delay: str = "50ms") -> Server:
        authority = Authority("webhooks") if scheme == "https" else None
        self.backend = FakeBackend().listen(self, authority, "localhost")
        lines = [f'url = "{scheme}://localhost:{self.backend.port}/told?key=1"', f'secret = "{SECRET}"']
        lines += [f'vacated_delay = "{delay}"', f'ca = "{ca_file(self, authority)}"' if authority else "", more]
        return await start_server(self, TOKENS + "[webhooks]\n" + "\n".join(lines))

    def seen(self, events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """(type, channel, user) of each."""
        return [(event["type"], event.get("channel"), event.get("user")) for event in events]


async def enter(server: Server, path: str, token: str) -> Connection:
    """A client that is subscribed."""
    connection = await connect(reactor, server.url(path), token=token)
    if path.startswith("/ws"):
        for _ in range(1 + path.count("channel=")):
            await connection.receive()
    return connection


async def leave(connection: Connection) -> None:
    connection.close()
    await connection.closed


class LifeTests(Case):
    async def test_all_events_of_a_client(self) -> None:
        """Over https, in order, signed; a second subscriber occupies nothing."""
        server = await self.start(scheme="https")
        alice = await enter(server, "/ws?channel=x", ALICE)
        first = [("connect", None, "alice"), ("occupied", "x", None), ("subscribe", "x", "alice")]
        self.assertEqual(first, self.seen(await self.backend.events(3)))
        bob = await enter(server, "/ws?channel=x", BOB)
        second = [("connect", None, "bob"), ("subscribe", "x", "bob")]
        self.assertEqual(second, self.seen(await self.backend.events(5))[3:])
        bob.send('{"unsubscribe":"x"}')
        self.assertEqual([("unsubscribe", "x", "bob")], self.seen(await self.backend.events(6))[5:])
        await leave(bob)
        self.assertEqual([("disconnect", None, "bob")], self.seen(await self.backend.events(7))[6:])
        await leave(alice)
        events = await self.backend.events(10)
        ends = {("unsubscribe", "x", "alice"), ("disconnect", None, "alice"), ("vacated", "x", None)}
        self.assertEqual((ends, "vacated"), (set(self.seen(events)[7:]), events[-1]["type"]))
        gone = next(event for event in events if event["type"] == "disconnect" and event["user"] == "alice")
        self.assertEqual(1000, gone["code"])
        self.assertEqual(1, len({event["client"] for event in events if event.get("user") == "alice"}))
        for told in self.backend.calls:
            self.check(told)
        self.assertEqual(
            len(self.backend.calls), len({told.headers["x-realtime-event-id"] for told in self.backend.calls})
        )
        await enter(server, "/ws", BOB)
        await self.backend.events(11)  # so the answer to the one before has arrived
        self.assertRegex(await server.metrics(), r'realtime_svc_webhook_events_total\{outcome="sent"\} 1[01]\.0')
        self.assertNotIn(SECRET, server.process.output)

    def check(self, told: Told) -> None:
        header = told.headers["x-realtime-signature"]
        match = re.match(r"t=(\d+),", header)
        assert match is not None
        self.assertEqual(signature(SECRET, int(match[1]), told.body), header)
        self.assertEqual(("POST", "/told?key=1"), (told.method, told.path))

    async def test_only_what_is_wanted(self) -> None:
        server = await self.start('events = ["disconnect"]')
        await leave(await enter(server, "/ws?channel=x", ALICE))
        self.assertEqual([("disconnect", None, "alice")], self.seen(await self.backend.events(1)))

    async def test_channel_that_is_empty_for_a_moment(self) -> None:
        """Is no news: nothing but the subscriptions themselves is told."""
        server = await self.start(delay="1h")
        alice = await enter(server, "/ws", ALICE)
        for command in ('{"subscribe":"x"}', '{"unsubscribe":"x"}') * 3:
            alice.send(command)
        await leave(alice)
        events = await self.backend.events(9)
        self.assertEqual(1, sum(event["type"] == "occupied" for event in events))
        self.assertEqual("disconnect", events[-1]["type"])


class TroubleTests(Case):
    async def test_backend_that_fails_for_a_while(self) -> None:
        """The same call comes again, and clients notice nothing."""
        server = await self.start()
        self.backend.statuses = [500, 429]
        alice = await enter(server, "/ws?channel=x", ALICE)
        first, second, third = (await self.backend.told(3))[:3]
        self.assertEqual(1, len({told.body for told in (first, second, third)}))
        self.assertEqual(1, len({told.headers["x-realtime-event-id"] for told in (first, second, third)}))
        alice.send('{"ping":1}')
        self.assertIn("ping", str(await alice.receive()))
        await server.process.when_printed("webhooks: status 500: trying again")

    async def test_backend_that_refuses(self) -> None:
        """It is not asked again; what follows is told."""
        server = await self.start('events = ["connect", "disconnect"]')
        self.backend.statuses = [404]
        alice = await enter(server, "/ws", ALICE)
        await self.backend.told(1)
        await leave(alice)
        calls = await self.backend.told(2)
        self.assertEqual(["connect", "disconnect"], [event["type"] for told in calls for event in told.events])
        await server.process.when_printed("webhooks: status 404: given up")

    async def test_end_of_the_server(self) -> None:
        """It tells the last things before it ends: also what it would have held back."""
        server = await self.start(delay="1h")
        await enter(server, "/ws?channel=x", ALICE)
        await self.backend.events(3)
        self.assertEqual(STOPPED, await server.stop())
        events = (await self.backend.events(6))[3:]
        ends = {("unsubscribe", "x", "alice"), ("disconnect", None, "alice"), ("vacated", "x", None)}
        self.assertEqual(ends, set(self.seen(events)))
        self.assertEqual({3001}, {event["code"] for event in events if "code" in event})

    async def test_bad_configuration(self) -> None:
        """Said at start, naming the key and never the secret."""
        for lines, key in (
            ('url = "https://localhost/"\nsecret = "too-short"', "webhooks.secret"),
            (f'url = "ftp://localhost/"\nsecret = "{SECRET}"', "webhooks.url"),
            (f'url = "https://localhost/"\nsecret = "{SECRET}"\nca = "/nowhere.pem"', "webhooks.ca"),
        ):
            process = spawn_server(self, write_config(self, TOKENS + "[webhooks]\n" + lines), "--check")
            self.assertNotEqual(0, await process.ended)
            self.assertIn(key, process.output)
            self.assertNotIn(SECRET, process.output)
            self.assertNotIn("too-short", process.output)
            self.assertNotIn("Traceback", process.output)
