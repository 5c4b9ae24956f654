"""Connections that take part in one channel, whatever they speak: they say JSON values and hear those of the others."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue, FirstError, gatherResults
from twisted.trial.unittest import TestCase

from realtime_svc import client
from tests.integration.clients import Connection
from tests.integration.server import reactor

CHANNEL = "clients"


class Participant:
    """A connection in the channel: says JSON values, hears those of the others."""

    hears_itself = False

    def __init__(self, connection: Connection) -> None:
        self.name = connection.name
        self._connection = connection

    async def enter(self) -> None:
        await self._connection.opened

    def say(self, value: Any) -> None:
        self._connection.send(json.dumps(value, ensure_ascii=False))

    async def hear(self) -> Any:
        return json.loads(await self._connection.receive())


class PlainParticipant(Participant):
    """Speaks plain.v1 over an address that names the channel. `token`: for a first message of authentication."""

    hears_itself = True

    def __init__(self, connection: Connection, token: str | None = None) -> None:
        super().__init__(connection)
        self._token = token

    async def enter(self) -> None:
        await super().enter()
        if self._token is not None:
            self._connection.send(json.dumps({"auth": self._token}))
        while (await super().hear()).get("ok") != "subscribe":
            pass

    def say(self, value: Any) -> None:
        super().say({"publish": CHANNEL, "data": value})

    async def hear(self) -> Any:
        """The next message, or whatever else comes that is no confirmation."""
        while (said := await super().hear()).get("ok") == "publish":
            pass
        return said["data"] if said.get("message") == CHANNEL else said


class StayingClient(Participant):
    """`realtime_svc.client.Client`."""

    hears_itself = True

    def __init__(self, test: TestCase, name: str, url: str, token: str, tls: client.ClientTls | None) -> None:
        self.name = name
        self._heard: DeferredQueue[Any] = DeferredQueue()
        self._client = client.Client(reactor, url, token=token, tls=tls)
        test.addCleanup(self._client.stop)

    async def enter(self) -> None:
        self._client.start()
        await self._client.subscribe(CHANNEL, lambda message: self._heard.put(message.data))

    def say(self, value: Any) -> None:
        self._client.publish(CHANNEL, value)

    async def hear(self) -> Any:
        return await self._heard.get()


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Wait for all at the same time; the first that fails is what fails."""
    try:
        return await gatherResults([Deferred.fromCoroutine(one) for one in work], consumeErrors=True)
    except FirstError as first:
        raise first.subFailure.value or first from None


async def converse(test: TestCase, participants: list[Participant]) -> None:
    """Each says something in turn, and at last the first again: all others hear it, and nothing else.

    A raw client that heard itself would have that in hand when the next message is compared.
    """
    await together(*(participant.enter() for participant in participants))
    for number, speaker in enumerate([*participants, participants[0]]):
        said = {"from": speaker.name, "number": number, "text": "grüße, \U0001f44b"}
        speaker.say(said)
        hearers = [participant for participant in participants if participant is not speaker or speaker.hears_itself]
        heard = await together(*(hearer.hear() for hearer in hearers))
        for hearer, words in zip(hearers, heard, strict=True):
            test.assertEqual(said, words, f"to {hearer.name}")
