"""A chat room, as code that runs in the server: take it as a start for your own.

Start it (from the root of the repository, after `make run` or `make test` has installed everything):

    .venv/bin/twistd -n --pidfile= realtime_svc --config examples/chat.toml --welcome

Talk to it from two terminals, as the two users of `chat.toml`:

    export REALTIME_SVC_TOKEN=alice-of-the-example
    .venv/bin/realtime-svc connect ws://localhost:8000/raw/chat:lobby

    "hello"                     what you say is JSON: here a string
    "/me waves"
    "/nick Al"
    "/roll 20"
    "/all dinner is ready"
    "/quit"

What can be done besides stands in `realtime_svc/handlers.py`.
"""

from __future__ import annotations

import random
from typing import Any

from realtime_svc.handlers import Client, Denied, Message, Server

LOBBY = "chat:lobby"
BANNED = {"mallory"}
RUDE = {"darn", "heck"}
DICE = {"4", "6", "8", "12", "20"}


class Chat:
    """One object for the whole server. What it remembers lasts as long as the process."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._nicks: dict[Client, str] = {}

    def connect(self, client: Client) -> None:
        """Somebody has authenticated; nothing that they send is looked at before this returns."""
        if client.user in BANNED:
            raise Denied  # closes the connection with 3507
        self._nicks[client] = client.user
        client.subscribe(LOBBY)
        client.reply({"welcome": client.user, "here": sorted(self._nicks.values())})
        client.broadcast(LOBBY, {"joined": client.user})

    async def message(self, client: Client, message: Message) -> bool:
        """Somebody publishes. True passes it on as it is; False: it has been dealt with.

        While one waits here (for a database, say), the next message of the same client waits behind it, and nobody
        else's.
        """
        if message.channel != LOBBY:
            return True
        text = message.data
        if not isinstance(text, str):
            raise Denied("say it as a string")  # answers with error 103, the connection stays
        if RUDE & set(text.lower().split()):
            raise Denied("mind your language")
        command, _, rest = text.partition(" ")
        if command.startswith("/"):
            await self._command(client, command, rest.strip())
        else:
            await self._say({"from": self._nick(client), "text": text})
        return False

    def close(self, client: Client, code: int, reason: str) -> None:
        """Somebody who was let in is gone."""
        self._server.publish(LOBBY, {"left": self._nicks.pop(client)})

    async def _command(self, client: Client, command: str, rest: str) -> None:
        nick = self._nick(client)
        match command:
            case "/me":
                await self._say({"action": f"{nick} {rest}"})
            case "/nick" if rest and client in self._nicks and rest not in self._nicks.values():
                self._nicks[client] = rest
                await self._say({"nick": rest, "was": nick})
            case "/roll" if (sides := rest or "6") in DICE:
                await self._say({"from": nick, "rolled": random.randint(1, int(sides))})
            case "/all":  # to everybody on the server, in no channel
                await self._server.broadcast({"from": nick, "text": rest}, exclude=client)
            case "/quit" if client in self._nicks:
                client.close(3503, "see you")
            case _:
                raise Denied("there are /me TEXT, /nick NAME, /roll [4 6 8 12 20], /all TEXT, /quit")

    def _nick(self, client: Client) -> str:
        """Who publishes over HTTP has no connection, and so no nickname."""
        return self._nicks.get(client, client.user)

    async def _say(self, data: dict[str, Any]) -> None:
        await self._server.publish(LOBBY, data)
