"""All protocols in one channel of the real process: everybody gets the same publications in the same order."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from realtime_svc import client
from realtime_svc.devcert import make_dev_certificates
from realtime_svc.model import StreamPosition
from tests.integration.cable import Cable
from tests.integration.clients import ConnectCommand, Library, connect_command
from tests.integration.participants import together
from tests.integration.parties import (
    API_KEY,
    CONFIG,
    Api,
    Events,
    Heard,
    Hearer,
    Poster,
    Raw,
    Sdk,
    Speaker,
    Staying,
    Terminal,
    dial,
)
from tests.integration.sdk import (
    NODE_TRANSPORTS,
    PYTHON_TRANSPORTS,
    Driver,
    SdkBrowser,
    SdkSite,
    node_driver,
    python_driver,
)
from tests.integration.server import ALICE, BOB, Server, start_server, toml

CHANNEL = "one"
EACH = 8
"""How much each says."""
LISTENERS = """
[listeners.public]
host = "127.0.0.1"
port = 0
tls = {tls}
[internal]
port = 0
"""


class Everybody:
    """One of each kind, in a channel of a server with or without TLS."""

    def __init__(self, test: TestCase, *, tls: bool = False) -> None:
        self.test = test
        made = make_dev_certificates(Path(test.mktemp()).absolute()) if tls else None
        self._site = SdkSite(test, made)
        self._made = made
        self.ca = made.ca if made else None
        self.tls = client.client_tls(made.ca) if made else None

    async def start(self) -> None:
        made = self._made
        files = f"[tls]\ncertificate = {toml(str(made.certificate))}\nkey = {toml(str(made.key))}\n" if made else ""
        origins = f"[http]\nallowed_origins = {toml([self._site.origin])}\n"
        listeners = LISTENERS.format(tls=toml(made is not None))
        browser = SdkBrowser(self.test, self._site, self.ca)
        self.server, self._python, _ = await together(
            start_server(self.test, origins + files + CONFIG, listeners=listeners),
            python_driver(self.test, self.ca),
            browser.start(),
        )
        self._page = browser.driver
        await self._meet()

    def url(self, path: str) -> str:
        server: Server = self.server
        return server.url(path, scheme="wss" if self.tls else "ws")

    def token_file(self) -> str:
        path = self.server.folder / "token"
        path.write_text(BOB)
        return str(path)

    async def _meet(self) -> None:
        """All enter, and hear everything from now on."""
        test, trust = self.test, ["--token-file", self.token_file()]
        dialler = partial(dial, self.server.port(), self.tls)
        command = connect_command(test, "connect, plain", self.url(f"/ws?channel={CHANNEL}"), trust, self.ca)
        raw_command = connect_command(test, "connect, raw", self.url(f"/raw/{CHANNEL}"), trust, self.ca)
        both: list[Sdk | Terminal | Staying | Raw] = [
            *[await self._sdk(self._page, transport) for transport in NODE_TRANSPORTS],
            *[await self._sdk(self._python, transport) for transport in PYTHON_TRANSPORTS],
            Terminal(command, CHANNEL),
            Staying(test, self.url("/ws"), ALICE, CHANNEL, self.tls),
            Raw(Library(test, "our connect(), raw", self.url(f"/raw/{CHANNEL}"), token=ALICE, tls=self.tls)),
            Raw(raw_command),
        ]
        self.api = Api(test, self.server.url("", "internal", "http"), API_KEY, CHANNEL)
        self.hearers: list[Hearer] = [*both, Events(dialler, CHANNEL, ALICE)]
        self.speakers: list[Speaker] = [*both, Poster(dialler, CHANNEL, BOB), self.api]
        await together(*(hearer.enter() for hearer in self.hearers))

    async def _sdk(self, driver: Driver, transport: str) -> Sdk:
        base = self.server.url("", scheme="https" if self.tls else "http")
        return Sdk(await driver.open(transport, base, token=ALICE), CHANNEL)


def interleaved(names: list[str]) -> bool:
    """Did they speak in between each other, not one after the other?"""
    changes = sum(one != other for one, other in itertools.pairwise(names))
    return changes >= len(set(names))


class OneChannelTests(TestCase):
    """Each protocol's clients publish at the same time, and none waits for another."""

    timeout = 60

    async def meet(self, *, tls: bool) -> None:
        everybody = Everybody(self, tls=tls)
        await everybody.start()
        speakers, hearers = everybody.speakers, everybody.hearers
        words = {
            one.name: [{"from": one.name, "number": n, "text": "grüße, \U0001f44b"} for n in range(EACH)]
            for one in speakers
        }
        self.assertEqual(len(speakers), len(words))
        await together(*(one.say(words[one.name]) for one in speakers))
        count = len(speakers) * EACH
        heard = await together(*(one.hear_many(count if one.hears_itself else count - EACH) for one in hearers))
        await everybody.api.say(["the end"])
        ends = await together(*(one.hear() for one in hearers))
        kept, top = await everybody.api.history()
        self.assertEqual(list(range(1, count + 2)), [one.offset for one in kept])
        self.assertEqual(Heard("the end", count + 1), kept.pop())
        self.assertTrue(interleaved([one.data["from"] for one in kept]))
        for speaker in speakers:
            self.check_speaker(speaker, words[speaker.name], kept, top.epoch)
        for hearer, received, end in zip(hearers, heard, ends, strict=True):
            self.check_hearer(hearer, received, kept, top.epoch)
            self.assertEqual(Heard("the end", (count + 1) * hearer.hears_offsets), end, hearer.name)

    def check_speaker(self, speaker: Speaker, words: list[dict[str, Any]], kept: list[Heard], epoch: str) -> None:
        """All it said was kept, in its order, where it was told."""
        own = [one for one in kept if one.data["from"] == speaker.name]
        self.assertEqual(words, [one.data for one in own], speaker.name)
        if speaker.is_told:
            places = [StreamPosition(one.offset, epoch) for one in own]
            self.assertEqual(places, speaker.told[:EACH], speaker.name)

    def check_hearer(self, hearer: Hearer, received: list[Heard], kept: list[Heard], epoch: str) -> None:
        """It got all that was kept, in its order; a raw client what others said."""
        expected = [one for one in kept if hearer.hears_itself or one.data["from"] != hearer.name]
        if not hearer.hears_offsets:
            expected, epoch = [Heard(one.data) for one in expected], ""
        self.assertEqual(expected, received, hearer.name)
        self.assertEqual(epoch, hearer.epoch, hearer.name)

    async def test_ws(self) -> None:
        """Unencrypted."""
        await self.meet(tls=False)

    async def test_wss(self) -> None:
        """Over TLS; each client, and the page, trusts the development CA."""
        await self.meet(tls=True)


class ComingBackTests(TestCase):
    """In each protocol that can, clients get what was published while they were away, at the same place."""

    timeout = 60

    async def test_missed(self) -> None:
        """Their network breaks; meanwhile HTTP, the server API, one of us and a raw client go on publishing."""
        server, node, python = await together(start_server(self, CONFIG), node_driver(self), python_driver(self))
        cable, here = Cable(self, server.port()), partial(dial, server.port())
        away = Away(self, server, cable)
        await away.open([node, python])
        witness = Staying(self, server.url("/ws"), BOB, CHANNEL)
        raw = Raw(Library(self, "raw", server.url(f"/raw/{CHANNEL}"), token=BOB))
        poster = Poster(here, CHANNEL, BOB)
        api = Api(self, server.url("", "internal", "http"), API_KEY, CHANNEL)
        await together(*(one.enter() for one in (*away.hearers, witness, raw)))
        await api.say(["before"])
        first = await together(*(one.hear() for one in (*away.hearers, witness)))
        self.assertEqual({Heard("before", 1)}, set(first))
        await cable.cut()
        await away.noticed()
        for number, speaker in enumerate((poster, api, raw, witness)):
            await speaker.say([{"missed": number}])
            self.assertEqual(Heard({"missed": number}, number + 2), await witness.hear())
        cable.mend()
        hearers = await away.back()
        await poster.say(["after"])
        kept, top = await api.history()
        self.assertEqual(["before", *({"missed": number} for number in range(4)), "after"], [one.data for one in kept])
        heard = await together(*(one.hear_many(5) for one in hearers))
        for hearer, received in zip(hearers, heard, strict=True):
            self.assertEqual(kept[1:], received, hearer.name)
            self.assertEqual(top.epoch, hearer.epoch, hearer.name)


class Away:
    """One of each kind that can come back, behind a cable."""

    def __init__(self, test: TestCase, server: Server, cable: Cable) -> None:
        self.test = test
        self._cable = cable
        self._token_file = server.folder / "token"
        self._token_file.write_text(BOB)
        self._staying = Staying(test, self._url("/ws"), ALICE, CHANNEL)
        self._events = Events(partial(dial, cable.port), CHANNEL, ALICE)
        self._command = self._connect("")
        self._sdks: list[Sdk] = []

    def _url(self, path: str) -> str:
        return f"ws://localhost:{self._cable.port}{path}"

    def _connect(self, query: str) -> ConnectCommand:
        url = self._url(f"/ws?channel={CHANNEL}{query}")
        return connect_command(self.test, "connect, plain", url, ["--token-file", str(self._token_file)], None)

    async def open(self, drivers: list[Driver]) -> None:
        for driver in drivers:
            for transport in driver.transports:
                opened = await driver.open(transport, self._cable.base, token=ALICE, timeout=2000)
                self._sdks.append(Sdk(opened, CHANNEL))
        self.hearers: list[Hearer] = [*self._sdks, self._staying, self._events, Terminal(self._command, CHANNEL)]

    async def noticed(self) -> None:
        """All know that they are away."""
        for sdk in self._sdks:
            await sdk.client.take("connecting")
        await self._staying.away
        await self._events.connection.when_ended()
        await self._command.ended

    async def back(self) -> list[Hearer]:
        """Each says where it was; none is told that anything is missing. Who is there now."""
        terminal = Terminal(self._connect(f"&since={self._events.last_id}"), CHANNEL)
        await together(terminal.enter(), self._events.enter())
        self.test.assertTrue(terminal.recovered)
        for sdk in self._sdks:
            again = await sdk.client.take("subscribed", channel=CHANNEL)
            self.test.assertEqual((True, True), (again["wasRecovering"], again["recovered"]), sdk.name)
            self.test.assertEqual(sdk.epoch, again["position"]["epoch"], sdk.name)
        self.test.assertTrue(await self._staying.recovered.get())
        return [*self._sdks, self._staying, self._events, terminal]
