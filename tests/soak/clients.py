"""Light clients of the Centrifugo client protocol in JSON (asyncio), which record all that happens to them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TextIO

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.soak.records import ACK, DELIVERY, GAP, LEFT, NEW, PUBLISH, RECOVERED, SUBSCRIBED, Record

INSUFFICIENT = 2500  # from this code on a client subscribes again


class Recorder:
    """Writes records to a file. `noted` counts what belongs to no record: how connections ended, what was refused."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._numbers = 0
        self.noted: Counter[str] = Counter()

    def note(self, kind: str, client: str, channel: str, *, epoch: str = "", offset: int = 0, note: str = "") -> None:
        self._file.write(Record(time.monotonic(), kind, client, channel, epoch, offset, note).line())

    def new_message(self) -> str:
        """A name for a message; no two are the same."""
        self._numbers += 1
        return f"m{self._numbers}"


class _Place:
    """Where a client is in a channel."""

    __slots__ = ("epoch", "known", "live", "offset")

    def __init__(self) -> None:
        self.epoch = ""
        self.offset = 0
        self.known = False  # was it ever subscribed?
        self.live = False


class Client:
    """Stays connected, and subscribed to its channels, until it is told to stop; it comes back where it was.

    `arrived` is called with each change of its places. `drop()` breaks the connection.
    """

    def __init__(self, name: str, url: str, token: str, channels: list[str], recorder: Recorder) -> None:
        self.name = name
        self.places = {channel: _Place() for channel in channels}
        self.pause = 0.0  # seconds to stay away after the next loss of the connection
        self._url = url
        self._token = token
        self._recorder = recorder
        self._connection: ClientConnection | None = None
        self._commands: dict[int, tuple[str, str, Callable[[dict[str, Any]], None]]] = {}
        self._number = 0
        self._stopped = False

    async def run(self) -> None:
        while not self._stopped:
            try:
                async with connect(
                    self._url, compression=None, ping_interval=None, proxy=None, open_timeout=30, close_timeout=5
                ) as connection:
                    self._connection = connection
                    await self._greet(connection)
                    async for frame in connection:
                        await self._hear(connection, str(frame))
            except ConnectionClosed:
                pass
            except (OSError, WebSocketException) as error:
                self._recorder.noted[f"not connected: {type(error).__name__}"] += 1
            self._gone()
            if not self._stopped:
                pause, self.pause = self.pause, random.uniform(0.05, 0.5)
                await asyncio.sleep(pause)

    def drop(self, *, politely: bool) -> None:
        """Lose the connection: by closing it, or with a reset in the middle of whatever there is."""
        if self._connection is not None:
            if politely:
                self._closing = asyncio.ensure_future(self._connection.close())
            else:
                self._connection.transport.abort()

    def stop(self) -> None:
        self._stopped = True
        self.drop(politely=True)

    def at(self, tops: dict[str, tuple[str, int]]) -> bool:
        """Is it live, and at the end of the stream, in each of its channels?"""
        return all(
            place.live and (place.epoch, place.offset) == tops[channel] for channel, place in self.places.items()
        )

    async def publish(self, channel: str, message: str) -> bool:
        """Publish, and wait for the answer. False: the connection was lost before it came; nobody knows."""
        connection = self._connection
        if connection is None or not self.places[channel].live:
            return False
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        command = self._command("publish", channel, lambda _: answered.set_result(None), data={"id": message})
        self._recorder.note(PUBLISH, self.name, channel, note=message)
        try:
            await connection.send(command)
            lost = asyncio.ensure_future(connection.wait_closed())
            await asyncio.wait((answered, lost), return_when=asyncio.FIRST_COMPLETED)
            lost.cancel()
        except ConnectionClosed:
            return False
        if not answered.done():
            return False
        self._recorder.note(ACK, self.name, channel, note=message)
        return True

    # ---- the connection

    def _gone(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._recorder.noted[f"closed with {connection.close_code}"] += 1
        self._commands.clear()
        for channel, place in self.places.items():
            self._leave(channel, place)

    def _leave(self, channel: str, place: _Place) -> None:
        if place.live:
            place.live = False
            self._recorder.note(LEFT, self.name, channel)

    async def _greet(self, connection: ClientConnection) -> None:
        """Connect and all subscriptions in one frame, as SDKs do."""
        self._number = 1
        greeting = json.dumps({"id": 1, "connect": {"token": self._token, "name": "soak"}})
        await connection.send("\n".join([greeting, *(self._subscription(channel) for channel in self.places)]))

    def _subscription(self, channel: str) -> str:
        place = self.places[channel]
        wish: dict[str, Any] = {"recoverable": True, "positioned": True}
        if place.known:
            wish |= {"recover": True, "epoch": place.epoch, "offset": place.offset}
        return self._command("subscribe", channel, lambda result: self._subscribed(channel, result), **wish)

    def _command(self, verb: str, channel: str, done: Callable[[dict[str, Any]], None], **more: Any) -> str:
        self._number += 1
        self._commands[self._number] = verb, channel, done
        return json.dumps({"id": self._number, verb: {"channel": channel, **more}})

    # ---- what it hears

    async def _hear(self, connection: ClientConnection, frame: str) -> None:
        for line in frame.split("\n"):
            reply = json.loads(line)
            if not reply:
                await connection.send("{}")
            elif push := reply.get("push"):
                await self._push(connection, push)
            else:
                self._answer(reply)

    def _answer(self, reply: dict[str, Any]) -> None:
        if error := reply.get("error"):
            self._recorder.noted[f"error {error['code']}"] += 1
        if reply["id"] in self._commands:
            verb, _, done = self._commands.pop(reply["id"])
            if verb in reply:
                done(reply[verb])

    def _subscribed(self, channel: str, result: dict[str, Any]) -> None:
        place = self.places[channel]
        epoch, offset = result["epoch"], result.get("offset", 0)
        how = NEW
        if result.get("was_recovering"):
            how = RECOVERED if result.get("recovered") else GAP
        self._recorder.note(SUBSCRIBED, self.name, channel, epoch=epoch, offset=offset, note=how)
        place.epoch, place.offset, place.known, place.live = epoch, offset, True, True
        for publication in result.get("publications", ()):
            self._delivered(channel, publication)

    async def _push(self, connection: ClientConnection, push: dict[str, Any]) -> None:
        channel = push["channel"]
        if publication := push.get("pub"):
            self._delivered(channel, publication)
        elif ended := push.get("unsubscribe"):
            self._recorder.noted[f"unsubscribed with {ended['code']}"] += 1
            self._leave(channel, self.places[channel])
            if ended["code"] >= INSUFFICIENT:
                await connection.send(self._subscription(channel))

    def _delivered(self, channel: str, publication: dict[str, Any]) -> None:
        place, offset = self.places[channel], publication["offset"]
        message = publication["data"]["id"]
        self._recorder.note(DELIVERY, self.name, channel, epoch=place.epoch, offset=offset, note=message)
        place.offset = offset
