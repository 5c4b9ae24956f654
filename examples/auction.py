"""An auction, as code that runs in the server: calls that are answered, and subscribers who learn where things stand.

Start it (from the root of the repository, after `make run` or `make test` has installed everything):

    .venv/bin/twistd -n --pidfile= realtime_svc --config examples/auction.toml --welcome

Bid from two terminals, as the two users of `auction.toml`:

    export REALTIME_SVC_TOKEN=alice-of-the-example
    .venv/bin/realtime-svc connect ws://localhost:8000/ws

    {"call": "items"}
    {"subscribe": "auction:lamp"}
    {"call": "bid", "data": {"item": "lamp", "price": 12}}

Only the server publishes in `auction:<item>`, so every message there is a bid that counts.
"""

from __future__ import annotations

from typing import Any

from realtime_svc.handlers import ApplicationError, Client, Denied, MethodNotFound, Server, SubscribeRequest

NO_SUCH_ITEM = 1000
TOO_LOW = 1001
NOT_A_BID = 1002


class Auction:
    """One object for the whole server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._prices = {"lamp": 10, "chair": 25}
        self._leaders: dict[str, str] = {}

    def subscribe(self, client: Client, channel: str, request: SubscribeRequest) -> None:
        """Somebody subscribes, and may: refuse what is not there, and say where the bids stand."""
        item = channel.removeprefix("auction:")
        if item not in self._prices:
            raise Denied("there is no such item")  # error 103
        request.grant(data=self._state(item))

    async def rpc(self, client: Client, method: str, data: Any) -> Any:
        """Somebody calls; what this returns is the answer."""
        match method:
            case "items":
                return self._prices
            case "bid":
                return await self._bid(client, data)
        raise MethodNotFound  # error 104

    async def _bid(self, client: Client, data: Any) -> dict[str, Any]:
        match data:
            case {"item": str(item), "price": int(price)}:
                if item not in self._prices:
                    raise ApplicationError(NO_SUCH_ITEM, "there is no such item")
                if price <= self._prices[item]:
                    raise ApplicationError(TOO_LOW, f"more than {self._prices[item]}, please")
            case _:
                raise ApplicationError(NOT_A_BID, 'a bid is {"item": text, "price": whole number}')
        self._prices[item] = price
        self._leaders[item] = client.user
        state = self._state(item)
        await self._server.publish(f"auction:{item}", state)
        return state

    def _state(self, item: str) -> dict[str, Any]:
        return {"item": item, "price": self._prices[item], "leader": self._leaders.get(item)}
