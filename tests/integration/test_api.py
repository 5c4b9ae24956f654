"""The server API of the real process: every method once and what it does to real clients; keys, scopes, bounds."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from realtime_svc.cli.api_client import ApiClient
from realtime_svc.client import HandshakeRefused, connect
from realtime_svc.http import openapi
from tests.integration.api_calls import (
    BODY_SIZE,
    BOUNDS,
    CHAT_KEY,
    KEY,
    READ_KEY,
    SCOPES,
    api_config,
    ask,
    error,
    result,
    start_api,
    watch,
)
from tests.integration.raw_http import chunked, exchange, head, parse
from tests.integration.server import ALICE, BOB, Server, reactor, start_server

SECRET = "a secret that has more than thirty-two bytes"
JWT = f'[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "{SECRET}"\n'
PUBLISH = {"channel": "chat:x", "data": {"text": "hi"}}


class PublishingTests(TestCase):
    async def test_publish_broadcast_and_history(self) -> None:
        server = await start_api(self)
        alice = await watch(server, "chat:x", "chat:y")
        first = await result(server, "publish", {**PUBLISH, "tags": {"event": "typing"}})
        self.assertEqual(1, first["offset"])
        said = await alice.told("message")
        self.assertEqual(("chat:x", {"text": "hi"}, 1), (said["message"], said["data"], said["offset"]))
        self.assertEqual({"event": "typing"}, said["tags"])
        self.assertNotIn("from", said)

        found = await result(server, "broadcast", {"channels": ["chat:x", "no:where", "a b", "chat:y"], "data": 2})
        codes = [one.get("error", {}).get("code") for one in found["responses"]]
        self.assertEqual([None, 102, 107, None], codes)
        self.assertEqual(2, found["responses"][0]["result"]["offset"])
        self.assertEqual({"chat:x", "chat:y"}, {(await alice.told("message"))["message"] for _ in "12"})

        await self.check_history(server, first["epoch"])
        await result(server, "history_remove", {"channel": "chat:x"})
        gone = await result(server, "history", {"channel": "chat:x", "limit": 10})
        self.assertEqual({"publications": [], "offset": 2, "epoch": first["epoch"]}, gone)

    async def check_history(self, server: Server, epoch: str) -> None:
        """Two publications in chat:x."""
        one = {"data": {"text": "hi"}, "offset": 1, "tags": {"event": "typing"}}
        two = {"data": 2, "offset": 2}
        top = {"offset": 2, "epoch": epoch}
        for query, expected in (
            ({}, []),
            ({"limit": -1}, [one, two]),
            ({"limit": 1}, [one]),
            ({"limit": 1, "reverse": True}, [two]),
            ({"limit": 9, "since": {"offset": 1, "epoch": epoch}}, [two]),
        ):
            found = await result(server, "history", {"channel": "chat:x", **query})
            self.assertEqual({"publications": expected, **top}, found, query)
        other = {"channel": "chat:x", "limit": 1, "since": {"offset": 1, "epoch": "other"}}
        self.assertEqual(112, await error(server, "history", other))
        self.assertEqual(108, await error(server, "history", {"channel": "x"}))
        self.assertEqual(108, await error(server, "history_remove", {"channel": "x"}))

    async def test_bytes_retries_versions_and_what_is_not_kept(self) -> None:
        server = await start_api(self)
        data = base64.b64encode(b"\x00\xff").decode()
        await result(server, "publish", {"channel": "blob:x", "b64data": data})
        kept = await result(server, "history", {"channel": "blob:x", "limit": 1})
        self.assertEqual([{"data": None, "b64data": data, "offset": 1}], kept["publications"])
        self.assertEqual(107, await error(server, "publish", {"channel": "chat:x", "b64data": data}))
        self.assertEqual(107, await error(server, "publish", {"channel": "chat:x"}))

        retried = [await result(server, "publish", {**PUBLISH, "idempotency_key": "k"}) for _ in "123"]
        self.assertEqual([1, 1, 1], [one["offset"] for one in retried])
        for version, offset in ((5, 2), (4, 2), (5, 2), (6, 3)):
            done = await result(server, "publish", {**PUBLISH, "version": version, "version_epoch": "e"})
            self.assertEqual(offset, done["offset"], version)
        self.assertEqual({}, await result(server, "publish", {**PUBLISH, "skip_history": True}))
        self.assertEqual(3, (await result(server, "history", {"channel": "chat:x"}))["offset"])
        self.assertEqual({}, await result(server, "publish", {"channel": "x", "data": None}))

    async def test_batch(self) -> None:
        server = await start_api(self)
        alice = await watch(server, "chat:x")
        commands = [{"publish": {**PUBLISH, "data": number}} for number in (1, 2)]
        commands += [{"nope": {}}, {"history": {"channel": "x"}}, {"presence_stats": {"channel": "chat:x"}}]
        for parallel in (False, True):
            _, _, answer = await ask(server, "batch", {"commands": commands, "parallel": parallel})
            *published, unknown, refused, counted = answer["replies"]
            self.assertEqual([["publish"], ["publish"]], [list(one) for one in published])
            self.assertEqual((104, 108), (unknown["error"]["code"], refused["error"]["code"]))
            self.assertEqual({"presence_stats": {"num_clients": 1, "num_users": 1}}, counted)
            self.assertEqual([1, 2], [(await alice.told("message"))["data"] for _ in "12"])
        self.assertEqual(400, (await ask(server, "batch", {"commands": [{"info": {}}] * 6}))[0])


class ClientTests(TestCase):
    async def test_presence_channels_and_info(self) -> None:
        server = await start_api(self)
        alice, _bob = await watch(server, "chat:x"), await watch(server, "chat:x", "x", token=BOB)
        self.assertEqual(
            {"num_clients": 2, "num_users": 2}, await result(server, "presence_stats", {"channel": "chat:x"})
        )
        who = (await result(server, "presence", {"channel": "chat:x"}))["presence"]
        self.assertEqual({"client": alice.client, "user": "alice"}, who[alice.client])
        self.assertEqual({"alice", "bob"}, {one["user"] for one in who.values()})
        self.assertEqual(108, await error(server, "presence", {"channel": "x"}))
        self.assertEqual(
            {"chat:x": {"num_clients": 2}, "x": {"num_clients": 1}}, (await result(server, "channels"))["channels"]
        )
        some = await result(server, "channels", {"pattern": "chat:*"})
        self.assertEqual({"chat:x": {"num_clients": 2}}, some["channels"])
        (node,) = (await result(server, "info"))["nodes"]
        self.assertTrue(node["uid"] and node["name"] and node["version"])
        counts = [node[f"num_{what}"] for what in ("clients", "users", "channels", "subs")]
        self.assertEqual([2, 2, 2, 3], counts)
        self.assertGreaterEqual(node["uptime"], 0)

    async def test_subscribe_and_unsubscribe(self) -> None:
        """All connections of the user, or the one that is named."""
        server = await start_api(self)
        first, second, bob = await watch(server), await watch(server), await watch(server, token=BOB)
        position = await result(server, "publish", PUBLISH)
        since = {**position, "offset": 0}
        await result(
            server,
            "subscribe",
            {"user": "alice", "channel": "chat:x", "client": first.client, "data": {"why": 1}, "recover_since": since},
        )
        said = await first.told("subscribed")
        self.assertEqual(("chat:x", {"why": 1}), (said["subscribed"], said["data"]))
        self.assertEqual(1, (await first.told("message"))["offset"])
        await result(server, "subscribe", {"user": "alice", "channel": "chat:x", "info": {"role": "guest"}})
        await second.told("subscribed")
        who = (await result(server, "presence", {"channel": "chat:x"}))["presence"]
        self.assertEqual({first.client, second.client}, set(who))
        self.assertEqual({"role": "guest"}, who[second.client]["chan_info"])

        await result(server, "unsubscribe", {"user": "alice", "channel": "chat:x", "client": first.client})
        self.assertEqual(2000, (await first.told("unsubscribed"))["code"])
        await result(server, "unsubscribe", {"user": "alice", "channel": "chat:x"})
        await second.told("unsubscribed")
        await result(server, "subscribe", {"user": "nobody", "channel": "chat:x"})
        self.assertEqual({}, (await result(server, "channels"))["channels"])
        self.assertEqual(107, await error(server, "subscribe", {"user": "", "channel": "chat:x"}))
        self.assertFalse(bob.connection.closed.called)

    async def test_disconnect(self) -> None:
        server = await start_api(self)
        first, second, third = [await watch(server) for _ in "123"]
        bob = await watch(server, token=BOB)
        await result(server, "disconnect", {"user": "alice", "client": first.client})
        self.assertEqual(3503, (await first.connection.closed)[0])
        custom = {"code": 4321, "reason": "banned"}
        await result(server, "disconnect", {"user": "alice", "whitelist": [third.client], "disconnect": custom})
        self.assertEqual((4321, "banned"), await second.connection.closed)
        await result(server, "publish", {"channel": "x", "data": 1})
        (node,) = (await result(server, "info"))["nodes"]
        self.assertEqual(2, node["num_clients"])
        for one in (third, bob):
            self.assertFalse(one.connection.closed.called)
        self.assertEqual(107, await error(server, "disconnect", {"user": ""}))

    async def test_refresh_and_revoke(self) -> None:
        server = await start_server(self, api_config().replace("[auth.tokens]", JWT + "[auth.tokens]"))
        far = time.time() + 3600
        tokens = [jwt.encode({"sub": "carol", "exp": far, "iat": far - 7200, "jti": jti}, SECRET) for jti in "ab"]
        first, second = [await watch(server, token=token) for token in tokens]
        await result(server, "revoke", {"token_id": "a", "expire_at": int(far)})
        self.assertEqual(3500, (await first.connection.closed)[0])
        await self.assert_refused(server, tokens[0])
        third = await watch(server, token=tokens[1])
        await result(server, "refresh", {"user": "carol", "client": third.client, "expired": True})
        self.assertEqual(3005, (await third.connection.closed)[0])
        await result(server, "refresh", {"user": "carol", "expire_at": int(far) + 60})
        await result(server, "revoke", {"user": "carol"})
        self.assertEqual(3500, (await second.connection.closed)[0])
        await self.assert_refused(server, tokens[1])
        for body in ({}, {"user": "u", "token_id": "t"}):
            self.assertEqual(107, await error(server, "revoke", body))

    async def assert_refused(self, server: Server, token: str) -> None:
        with self.assertRaises(HandshakeRefused) as caught:
            await connect(reactor, server.url("/raw/x"), token=token)
        self.assertEqual(401, caught.exception.status)


class GateTests(TestCase):
    async def test_keys_and_scopes(self) -> None:
        server = await start_api(self)
        for key in (None, "", "canary-wrong", KEY[:-1], KEY + "x", KEY.upper()):
            status, headers, answer = await ask(server, "publish", PUBLISH, key=key)
            self.assertEqual((401, 101), (status, answer["error"]["code"]), key)
            self.assertIn("www-authenticate", headers)
        for scheme in ("apikey", "Bearer"):
            named = {"Authorization": f"{scheme} {KEY}"}
            self.assertEqual(200, (await ask(server, "publish", PUBLISH, key=None, headers=named))[0])
        self.assertEqual(401, (await ask(server, "publish", PUBLISH, key=None, query=f"?api_key={KEY}"))[0])
        for key, method, body, code in (
            (READ_KEY, "publish", PUBLISH, 103),
            (READ_KEY, "history", {"channel": "chat:x"}, None),
            (CHAT_KEY, "publish", PUBLISH, None),
            (CHAT_KEY, "publish", {"channel": "x", "data": 1}, 103),
            (CHAT_KEY, "disconnect", {"user": "alice"}, 103),
        ):
            _, _, answer = await ask(server, method, body, key=key)
            self.assertEqual(code, answer.get("error", {}).get("code"), (key, method))
        metrics = await server.metrics()
        self.assertIn('realtime_svc_refusals_total{cause="api_key",status="401"} 6.0', metrics)
        await server.stop()
        for key in SCOPES:
            self.assertNotIn(key, server.process.output)
        self.assertNotIn("canary", server.process.output)

    async def test_real_statuses(self) -> None:
        """400, 401, 404, 405 and 413 always; those of errors on demand."""
        server = await start_api(self)
        wanted = {"X-Centrifugo-Error-Mode": "transport"}
        for method, body, headers, expected in (
            ("publish", PUBLISH, {}, 200),
            ("nope", PUBLISH, {}, 404),
            ("publish", b"{", {}, 400),
            ("publish", {"channel": 1}, {}, 400),
            ("publish", b" " * (BODY_SIZE + 1), {}, 413),
            ("publish", {"channel": "no:where", "data": 1}, {}, 200),
            ("publish", {"channel": "no:where", "data": 1}, wanted, 404),
            ("publish", {"channel": "a b", "data": 1}, wanted, 400),
            ("history", {"channel": "x"}, wanted, 404),
            ("broadcast", {"channels": ["no:where"], "data": 1}, wanted, 200),
        ):
            status, _, _ = await ask(server, method, body, headers=headers)
            self.assertEqual(expected, status, (method, body, headers))
        status, headers, _ = await ask(server, "publish", b"", verb="PUT")
        self.assertEqual((405, "POST"), (status, headers["allow"]))

    async def test_body_is_counted_while_it_comes(self) -> None:
        """A body that does not say its length is refused where it passes the bound."""
        server = await start_api(self)
        start = head("POST /api/publish HTTP/1.1", f"X-API-Key: {KEY}", "Transfer-Encoding: chunked")
        body = chunked(b" " * BODY_SIZE, b" ")
        (response,) = parse(await exchange(server.port("internal"), start, body))
        self.assertEqual((413, "close"), (response.status, response.get("connection")))

    async def test_the_document_and_an_api_that_is_off(self) -> None:
        server = await start_api(self)
        _, _, document = await ask(server, "openapi.json", b"", verb="GET", key=None)
        self.assertEqual(openapi.document(document["info"]["version"]), document)
        off = await start_api(self, "enabled = false")
        self.assertEqual(404, (await ask(off, "publish", PUBLISH))[0])

    async def test_public_port(self) -> None:
        """Only where the configuration says so, and with the same keys, bounds and answers."""
        closed = await start_api(self)
        self.assertEqual(404, (await ask(closed, "publish", PUBLISH, port="public"))[0])
        server = await start_api(self, BOUNDS + "public = true")
        for key, body, expected in ((KEY, PUBLISH, 200), (None, PUBLISH, 401), (ALICE, PUBLISH, 401), (KEY, b"{", 400)):
            self.assertEqual(expected, (await ask(server, "publish", body, key=key, port="public"))[0], key)
        status, _, answer = await ask(server, "publish", {"channel": "no:where", "data": 1}, port="public")
        self.assertEqual((200, 102), (status, answer["error"]["code"]))
        self.assertEqual(413, (await ask(server, "publish", b" " * (BODY_SIZE + 1), port="public"))[0])
        fits = b'{"channel":"chat:x","data":1}'.ljust(BODY_SIZE)
        self.assertEqual(200, (await ask(server, "publish", fits, port="public"))[0])
        _, _, document = await ask(server, "openapi.json", b"", verb="GET", key=None, port="public")
        self.assertEqual("3.1.0", document["openapi"])

    async def test_insecure(self) -> None:
        """Without a key; but not for a page of a foreign origin, whose types a browser sends without asking."""
        server = await start_api(self, "insecure = true")
        self.assertEqual(200, (await ask(server, "publish", PUBLISH, key=None))[0])
        plain = {"Content-Type": "text/plain"}
        self.assertEqual(400, (await ask(server, "publish", PUBLISH, key=None, headers=plain))[0])
        page = {"Host": "evil.example", "Origin": "http://evil.example"}
        self.assertEqual(400, (await ask(server, "publish", PUBLISH, key=None, headers=page))[0])
        self.assertIn("api.insecure: for development only", server.process.output)

    async def test_the_command_line_client(self) -> None:
        server = await start_api(self)
        address = f"http://127.0.0.1:{server.port('internal')}"
        text = await call_in_thread(ApiClient(address, KEY), "publish", PUBLISH)
        self.assertIn('"offset":1', text)


def call_in_thread(api: ApiClient, method: str, body: Any) -> Deferred[str]:
    return deferToThread(api.call, method, body)
