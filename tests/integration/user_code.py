"""User code for `test_handlers.py`: what a client publishes says what the handler is to do."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from twisted.internet.defer import Deferred

from realtime_svc.handlers import Client, Denied, Message, Server

LOG = "log"


class UserCode:
    """Each of its handlers can wait at a gate, which another client opens.

    A user called `broken` breaks `connect`, one called `messy` breaks `close`; `denied` is, and `slow` waits.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.gates: dict[str, Deferred[None]] = defaultdict(Deferred)

    async def connect(self, client: Client) -> None:
        if client.user == "denied":
            raise Denied
        if client.user == "broken":
            raise RuntimeError("connect is broken")
        if client.user == "slow":
            self.server.publish(LOG, {"waits": client.user})
            await self.gates["connect"]
        client.reply({"connected": client.user})

    def close(self, client: Client, code: int, reason: str) -> None:
        self.server.publish(LOG, {"closed": client.user, "code": code})
        if client.user == "messy":
            raise RuntimeError("close is broken")

    async def message(self, client: Client, message: Message) -> bool | None:
        data = message.data
        if not isinstance(data, dict):
            return None
        ((verb, value),) = data.items()
        await getattr(self, f"do_{verb}")(client, message.channel, value)
        return False

    async def do_reply(self, client: Client, channel: str, value: Any) -> None:
        client.reply(value)

    async def do_others(self, client: Client, channel: str, value: Any) -> None:
        await client.broadcast(channel, value)

    async def do_everybody_else(self, client: Client, channel: str, value: Any) -> None:
        await self.server.broadcast(value, exclude=client)

    async def do_publish(self, client: Client, channel: str, value: Any) -> None:
        await self.server.publish(value["channel"], value["data"])

    async def do_subscribe(self, client: Client, channel: str, value: str) -> None:
        await client.subscribe(value)

    async def do_unsubscribe(self, client: Client, channel: str, value: str) -> None:
        await client.unsubscribe(value)

    async def do_close(self, client: Client, channel: str, value: list[Any]) -> None:
        client.close(*value)

    async def do_deny(self, client: Client, channel: str, value: str) -> None:
        raise Denied(value)

    async def do_fail(self, client: Client, channel: str, value: str) -> None:
        raise RuntimeError(value)

    async def do_drop(self, client: Client, channel: str, value: str) -> None:
        """Nothing comes of it."""

    async def do_wait(self, client: Client, channel: str, value: str) -> None:
        self.server.publish(LOG, {"waits": client.user})
        await self.gates[value]
        await client.broadcast(channel, f"{value} is open")

    async def do_open(self, client: Client, channel: str, value: str) -> None:
        self.gates.pop(value).callback(None)
