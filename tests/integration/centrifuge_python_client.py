"""PyPI `centrifuge-python`, driven by a test: commands on standard input, answers and events on standard output, each a
JSON object a line, in the words of `node/centrifuge_driver.js`. The end of standard input ends it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any

import centrifuge  # type: ignore[import-untyped]

DELAYS = (0.02, 0.2)  # seconds before the first attempt to come back, and at most


def tell(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def position_of(found: Any) -> dict[str, Any] | None:
    return {"offset": found.offset, "epoch": found.epoch} if found else None


class Client:
    """One client of the SDK, under the name the test gave it."""

    def __init__(self, name: str, transport: str, base: str, options: dict[str, Any]) -> None:
        self.name = name
        self._binary = transport.endswith("protobuf")
        self._bytes = options.get("bytes", False)
        self.differences: Counter[str] = Counter()  # by channel, how many publications were some
        self._wanted: dict[str, deque[asyncio.Future[str]]] = defaultdict(deque)
        data = options.get("data")
        self.sdk = centrifuge.Client(
            f"ws{base[4:]}/connection/websocket",
            events=ClientEvents(self),
            token=options.get("token", ""),
            get_token=(lambda: self._fetch("")) if options.get("fetchesToken") else None,
            use_protobuf=self._binary,
            data=None if data is None else self._payload(data),
            min_reconnect_delay=DELAYS[0],
            max_reconnect_delay=DELAYS[1],
            headers=options.get("headers"),
            proxy=None,
        )

    def tell(self, event: str, **details: Any) -> None:
        tell({"event": event, "client": self.name, **details})

    async def _fetch(self, channel: str) -> str:
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._wanted[channel].append(waiting)
        self.tell("token", channel=channel)
        return await waiting

    def _payload(self, value: Any) -> Any:
        if self._bytes:
            return base64.b64decode(value)
        return json.dumps(value).encode() if self._binary else value

    def plain(self, value: Any) -> Any:
        if self._bytes:
            return base64.b64encode(value or b"").decode()
        return (json.loads(value) if value else None) if isinstance(value, bytes) else value

    def info(self, one: Any) -> dict[str, Any] | None:
        if one is None:
            return None
        shown = {"connInfo": self.plain(one.conn_info), "chanInfo": self.plain(one.chan_info)}
        return {"client": one.client, "user": one.user, **shown}

    def publication(self, one: Any) -> dict[str, Any]:
        data, info = self.plain(one.data), self.info(one.info)
        return {"data": data, "offset": one.offset or 0, "tags": dict(one.tags or {}), "info": info}

    def subscribed(self, ctx: Any) -> dict[str, Any]:
        return {
            "recoverable": ctx.recoverable,
            "positioned": ctx.positioned,
            "position": position_of(ctx.stream_position),
            "wasRecovering": ctx.was_recovering,
            "recovered": ctx.recovered,
            "data": self.plain(ctx.data),
        }

    # ---- the acts

    async def token(self, channel: str, token: str) -> None:
        self._wanted[channel].popleft().set_result(token)

    async def disconnect(self) -> None:
        await self.sdk.disconnect()

    async def subscribe(self, channel: str, options: dict[str, Any]) -> None:
        subscription = self.sdk.get_subscription(channel)
        if subscription is None:
            tags_filter, data = options.get("tagsFilter"), options.get("data")
            subscription = self.sdk.new_subscription(
                channel,
                events=SubscriptionEvents(self, channel),
                token=options.get("token", ""),
                get_token=self._fetch if options.get("fetchesToken") else None,
                data=None if data is None else self._payload(data),
                min_resubscribe_delay=DELAYS[0],
                max_resubscribe_delay=DELAYS[1],
                positioned=options.get("positioned", False),
                recoverable=options.get("recoverable", False),
                join_leave=options.get("joinLeave", False),
                delta=centrifuge.DeltaType.FOSSIL if options.get("delta") else None,
                tags_filter=centrifuge.FilterNode(tags_filter) if tags_filter else None,
            )
        await subscription.subscribe()

    async def unsubscribe(self, channel: str) -> None:
        subscription = self.sdk.get_subscription(channel)
        assert subscription is not None
        await subscription.unsubscribe()

    async def publish(self, channel: str, data: Any) -> None:
        await self.sdk.publish(channel, self._payload(data))

    async def presence(self, channel: str) -> list[Any]:
        return [self.info(one) for one in (await self.sdk.presence(channel)).clients.values()]

    async def presenceStats(self, channel: str) -> dict[str, int]:  # noqa: N802 (a word of the language)
        stats = await self.sdk.presence_stats(channel)
        return {"clients": stats.num_clients, "users": stats.num_users}

    async def history(self, channel: str, options: dict[str, Any]) -> dict[str, Any]:
        since = options.pop("since", None)
        found = await self.sdk.history(channel, since=centrifuge.StreamPosition(**since) if since else None, **options)
        publications = [self.publication(one) for one in found.publications]
        return {"publications": publications, "offset": found.offset, "epoch": found.epoch}

    async def deltas(self, channel: str) -> int:
        return self.differences[channel]

    async def call(self, method: str, data: Any) -> Any:
        return self.plain((await self.sdk.rpc(method, self._payload(data))).data)


class ClientEvents(centrifuge.ClientEventHandler):  # type: ignore[misc]
    """What happens to the connection, and in channels the server subscribed it to."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _told(self, event: str, channel: str, **details: Any) -> None:
        self._client.tell(event, channel=channel, server=True, **details)

    async def on_connecting(self, ctx: Any) -> None:
        self._client.tell("connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx: Any) -> None:
        self._client.tell("connected", session=ctx.client, data=self._client.plain(ctx.data))

    async def on_disconnected(self, ctx: Any) -> None:
        self._client.tell("disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx: Any) -> None:
        self._client.tell("error", code=getattr(ctx.error, "code", 0), message=str(ctx.error))

    async def on_subscribing(self, ctx: Any) -> None:
        self._told("subscribing", ctx.channel)

    async def on_subscribed(self, ctx: Any) -> None:
        self._told("subscribed", ctx.channel, **self._client.subscribed(ctx))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._told("unsubscribed", ctx.channel)

    async def on_publication(self, ctx: Any) -> None:
        self._told("publication", ctx.channel, **self._client.publication(ctx.pub))

    async def on_join(self, ctx: Any) -> None:
        self._told("join", ctx.channel, info=self._client.info(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._told("leave", ctx.channel, info=self._client.info(ctx.info))


class SubscriptionEvents(centrifuge.SubscriptionEventHandler):  # type: ignore[misc]
    """What happens in a channel the client subscribed to."""

    def __init__(self, client: Client, channel: str) -> None:
        self._client = client
        self._channel = channel

    def _told(self, event: str, **details: Any) -> None:
        self._client.tell(event, channel=self._channel, server=False, **details)

    async def on_subscribing(self, ctx: Any) -> None:
        self._told("subscribing", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx: Any) -> None:
        self._told("subscribed", **self._client.subscribed(ctx))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._told("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx: Any) -> None:
        self._client.differences[self._channel] += bool(ctx.pub.delta)
        self._told("publication", **self._client.publication(ctx.pub))

    async def on_join(self, ctx: Any) -> None:
        self._told("join", info=self._client.info(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._told("leave", info=self._client.info(ctx.info))

    async def on_error(self, ctx: Any) -> None:
        self._told("error", code=getattr(ctx.error, "code", 0), message=str(ctx.error))


clients: dict[str, Client] = {}


async def answer(number: int, act: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> None:
    try:
        tell({"id": number, "done": await act(**arguments)})
    except Exception as error:
        failed = {"code": getattr(error, "code", 0), "message": f"{type(error).__name__}: {error}"}
        tell({"id": number, "failed": failed})


async def open_client(client: str, transport: str, base: str, options: dict[str, Any]) -> None:
    clients[client] = made = Client(client, transport, base, options)
    await made.sdk.connect()


async def carry_out_lines() -> None:
    """Read in a thread: standard input is whatever the parent made of it."""
    tasks = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        number, act = command.pop("id"), command.pop("act")
        carry_out = open_client if act == "open" else getattr(clients[command.pop("client")], act)
        task = asyncio.create_task(answer(number, carry_out, command))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(carry_out_lines())
