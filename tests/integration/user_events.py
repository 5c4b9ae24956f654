"""User code for `test_handler_events.py`: every handler there is, each doing something that a client can see."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.threads import deferToThread

from realtime_svc.handlers import (
    ApplicationError,
    Client,
    ConnectRequest,
    Denied,
    Message,
    MethodNotFound,
    Server,
    SubscribeRequest,
)

LOG = "log"


class Events:
    """Calls are named after the methods `call_...`. What ends is told in the channel `log`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.loop = threading.get_ident()

    def connect(self, client: Client, request: ConnectRequest) -> None:
        client.reply({"said in": "connect"})
        request.answer({"user": client.user, "data": request.data, "meta": client.meta})
        request.subscribe("given", data={"from": "connect"})
        client.subscribe("nowhere:x")

    def subscribe(self, client: Client, channel: str, request: SubscribeRequest) -> None:
        if channel == "staff":
            raise Denied("staff only")
        if channel == "full":
            raise ApplicationError(1001, "come back later", temporary=True)
        if channel == "broken":
            raise RuntimeError("subscribe is broken")
        request.grant(data={"data": request.data}, info={"role": "reader"})

    async def publish(self, client: Client, message: Message) -> Any:
        match message.data:
            case {"change": value}:
                return message.replace(data={"changed": value}, tags={"by": "handler"})
            case "drop":
                return False
            case "others":
                return message.replace(exclude=client)
            case "spoil":
                return message.replace(data=b"{no json")
        return None

    def message(self, client: Client, message: Message) -> None:
        if message.data == "refuse":
            raise Denied
        client.reply({"channel": message.channel, "said": message.data})

    async def rpc(self, client: Client, method: str, data: Any) -> Any:
        call = getattr(self, f"call_{method}", None)
        if call is None:
            raise MethodNotFound
        return await call(client, data)

    def unsubscribe(self, client: Client, channel: str, code: int, reason: str) -> None:
        self.server.publish(LOG, {"unsubscribed": client.user, "channel": channel, "code": code})

    def disconnect(self, client: Client, code: int, reason: str) -> None:
        self.server.publish(LOG, {"disconnected": client.user, "code": code})

    async def call_echo(self, client: Client, data: Any) -> Any:
        return data

    async def call_fail(self, client: Client, data: Any) -> Any:
        raise ApplicationError(*data)

    async def call_look(self, client: Client, data: Any) -> Any:
        history = await self.server.history("kept:x")
        members = await self.server.presence("kept:x")
        return {
            "history": [message.data for message in history.messages],
            "offset": history.position.offset,
            "members": sorted((member.user, member.channel_info) for member in members.values()),
            "counts": await self.server.presence_stats("kept:x"),
            "here": sorted(one.user for one in self.server.clients("kept:x")),
        }

    async def call_from_thread(self, client: Client, data: Any) -> Any:
        """As a view of a web framework in a thread does it."""

        def view() -> Any:
            assert threading.get_ident() != self.loop
            result = self.server.publish_from_thread("kept:x", data).result(timeout=30)
            stats = self.server.call_from_thread(self.server.presence_stats, "kept:x").result(timeout=30)
            return {"fresh": result.fresh, "clients": stats.clients}

        return await deferToThread(view)

    async def call_users(self, client: Client, data: Any) -> Any:
        await self.server.subscribe("bob", "made", data={"by": "server"})
        await self.server.unsubscribe("bob", "made")
        await self.server.disconnect("bob", code=4500, reason="enough")
        return None

    async def call_both(self, client: Client, data: Any) -> Any:
        """A subscription of this client, made and ended while it is connected."""
        await client.subscribe("mine", info={"n": 1})
        channels = sorted(client.channels)
        await client.unsubscribe("mine")
        return [channels, sorted(client.channels)]
