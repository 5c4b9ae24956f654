"""PyPI `cent`, a client library of the Centrifugo server API, against the real process."""

from __future__ import annotations

from typing import Any

import cent
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.api_calls import KEY, READ_KEY, start_api, watch
from tests.integration.server import BOB, Server


class CentTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.server: Server = await start_api(self)
        self.client = self.connect(KEY)

    def connect(self, key: str) -> Any:
        address = f"http://127.0.0.1:{self.server.port('internal')}/api"
        client = cent.Client(address, key)
        self.addCleanup(client._session.close)
        return client

    async def call(self, method: str, request: Any) -> Any:
        """What the library makes of the answer."""
        return await deferToThread(getattr(self.client, method), request)

    async def test_publishing(self) -> None:
        alice = await watch(self.server, "chat:x")
        done = await self.call("publish", cent.PublishRequest(channel="chat:x", data={"a": 1}, tags={"t": "1"}))
        self.assertEqual(1, done.offset)
        said = await alice.told("message")
        self.assertEqual(({"a": 1}, {"t": "1"}), (said["data"], said["tags"]))
        many = cent.BroadcastRequest(channels=["chat:x", "no:where"], data="b", idempotency_key="k", skip_history=False)
        first, second = (await self.call("broadcast", many)).responses
        self.assertEqual((2, None), (first.result.offset, first.error))
        self.assertEqual((None, 102), (second.result, second.error.code))
        found = await self.call("history", cent.HistoryRequest(channel="chat:x", limit=10))
        self.assertEqual([{"a": 1}, "b"], [one.data for one in found.publications])
        self.assertEqual((2, done.epoch, {"t": "1"}), (found.offset, found.epoch, found.publications[0].tags))
        since = cent.StreamPosition(offset=1, epoch=done.epoch)
        later = await self.call("history", cent.HistoryRequest(channel="chat:x", limit=10, since=since))
        self.assertEqual([2], [one.offset for one in later.publications])
        await self.call("history_remove", cent.HistoryRemoveRequest(channel="chat:x"))
        self.assertEqual([], (await self.call("history", cent.HistoryRequest(channel="chat:x", limit=1))).publications)

    async def test_bytes(self) -> None:
        await self.call("publish", cent.PublishRequest(channel="blob:x", data=None, b64data="AAE="))
        (kept,) = (await self.call("history", cent.HistoryRequest(channel="blob:x", limit=1))).publications
        self.assertEqual((None, "AAE="), (kept.data, kept.b64data))

    async def test_who_is_there(self) -> None:
        alice = await watch(self.server, "chat:x")
        found = await self.call("presence", cent.PresenceRequest(channel="chat:x"))
        self.assertEqual("alice", found.presence[alice.client].user)
        counts = await self.call("presence_stats", cent.PresenceStatsRequest(channel="chat:x"))
        self.assertEqual((1, 1), (counts.num_clients, counts.num_users))
        channels = await self.call("channels", cent.ChannelsRequest(pattern="chat:*"))
        self.assertEqual({"chat:x": 1}, {name: one.num_clients for name, one in channels.channels.items()})
        (node,) = (await self.call("info", cent.InfoRequest())).nodes
        self.assertEqual((1, 1, 1, 1), (node.num_clients, node.num_users, node.num_channels, node.num_subs))

    async def test_what_is_done_to_clients(self) -> None:
        alice, bob = await watch(self.server), await watch(self.server, token=BOB)
        off = cent.ChannelOptionsOverride(presence=cent.BoolValue(value=False))
        await self.call(
            "subscribe",
            cent.SubscribeRequest(user="alice", channel="chat:x", data={"d": 1}, info={"i": 1}, override=off),
        )
        self.assertEqual({"d": 1}, (await alice.told("subscribed"))["data"])
        self.assertEqual({}, (await self.call("presence", cent.PresenceRequest(channel="chat:x"))).presence)
        await self.call("unsubscribe", cent.UnsubscribeRequest(user="alice", channel="chat:x"))
        await alice.told("unsubscribed")
        why = cent.Disconnect(code=4000, reason="bye")
        await self.call("disconnect", cent.DisconnectRequest(user="alice", disconnect=why))
        self.assertEqual((4000, "bye"), await alice.connection.closed)
        await self.call("refresh", cent.RefreshRequest(user="bob", expire_at=2**33))
        await self.call("refresh", cent.RefreshRequest(user="bob", expired=True))
        self.assertEqual(3005, (await bob.connection.closed)[0])

    async def test_batch(self) -> None:
        requests = [
            cent.PublishRequest(channel="chat:x", data=1),
            cent.BroadcastRequest(channels=["chat:x", "chat:y"], data=2),
            cent.PresenceStatsRequest(channel="chat:x"),
            cent.InfoRequest(),
        ]
        for parallel in (False, True):
            replies = (await self.call("batch", cent.BatchRequest(requests=requests, parallel=parallel))).replies
            published, broadcast, counts, info = replies
            self.assertEqual(1 + 2 * parallel, published.offset)
            self.assertEqual(2 + 2 * parallel, broadcast.responses[0].result.offset)
            self.assertEqual((0, 1), (counts.num_clients, len(info.nodes)))

    async def test_trouble(self) -> None:
        for method, request, code in (
            ("publish", cent.PublishRequest(channel="no:where", data=1), 102),
            ("publish", cent.PublishRequest(channel="", data=1), 107),
            ("history", cent.HistoryRequest(channel="x"), 108),
            ("connections", cent.ConnectionsRequest(user="u", expression=""), 108),
            ("block_user", cent.BlockUserRequest(user="u"), 108),
        ):
            with self.assertRaises(cent.CentApiResponseError) as caught:
                await self.call(method, request)
            self.assertEqual(code, caught.exception.code, method)
        self.client = self.connect("wrong")
        with self.assertRaises(cent.CentUnauthorizedError):
            await self.call("info", cent.InfoRequest())
        self.client = self.connect(READ_KEY)
        with self.assertRaises(cent.CentApiResponseError) as caught:
            await self.call("publish", cent.PublishRequest(channel="chat:x", data=1))
        self.assertEqual(103, caught.exception.code)
