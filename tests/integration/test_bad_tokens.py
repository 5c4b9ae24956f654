"""Credentials that are no good, each through the real socket on every way in: one answer for all of them."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twisted.trial.unittest import TestCase

from realtime_svc.auth.passwords import Cost, set_user
from realtime_svc.client import connect
from tests.auth.bad_tokens import AUDIENCE, ISSUER, LEEWAY, SETUP, bad_tokens, good_claims
from tests.auth.forging import SECRET, b64, es, forge, rs
from tests.integration.raw_http import bearer, exchange, head, open_connection, parse, post, upgrade
from tests.integration.server import ALICE, BOB, TOKENS, Server, reactor, start_server, toml

COST = Cost(10, 1, 1)
ORIGIN = "Origin: http://localhost"
PASSWORD = "canary-password-1"  # its base64 ends with padding
CHALLENGE = 'Bearer realm="realtime_svc", Basic realm="realtime_svc", charset="UTF-8"'
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Bad(NamedTuple):
    name: str
    token: str


class Way(NamedTuple):
    """One way in: `request(field)` is a request with this header field."""

    name: str
    path: str
    method: str = "GET"

    def request(self, *fields: str) -> bytes:
        if self.method == "POST":
            return post(self.path, b"{}", *fields)
        if self.path.startswith("/sse"):
            return head(f"GET {self.path} HTTP/1.1", "Host: localhost", *fields)
        return upgrade(self.path, *fields)


WAYS = [Way("ws", "/ws"), Way("raw", "/raw/a"), Way("sse", "/sse/a"), Way("publish", "/publish/a", "POST")]
WEBSOCKETS = [(WAYS[0], "plain.v1"), (WAYS[1], "raw.v1")]


def bad() -> list[Bad]:
    """The forged tokens, and some that are no JWT."""
    others = [
        Bad("static token, last character wrong", ALICE[:-1] + "x"),
        Bad("static token, first character wrong", "x" + ALICE[1:]),
        Bad("static token, cut", ALICE[:-1]),
        Bad("static token, longer", ALICE + "0"),
        Bad("static token in capitals", ALICE.upper()),
        Bad("two static tokens", ALICE + BOB),
        Bad("a user's name", "alice"),
        Bad("one character", "x"),
        Bad("base64", base64.b64encode(b"alice:" + PASSWORD.encode()).decode()),
        Bad("punctuation", "-._~+/=="),
    ]
    return [*(Bad(entry.name, entry.token) for entry in bad_tokens(time.time())), *others]


def authorizations() -> Iterator[tuple[str, str]]:
    """`Authorization` headers that are no good, besides bad bearer tokens."""
    pairs = {
        "wrong password": f"alice:{PASSWORD}x",
        "empty password": "alice:",
        "unknown user": f"mallory:{PASSWORD}",
        "user in capitals": f"ALICE:{PASSWORD}",
        "no colon": f"alice{PASSWORD}",
        "no user": f":{PASSWORD}",
        "NUL": f"alice:{PASSWORD}\0",
        "newline": f"alice\n:{PASSWORD}",
        "a static token as password": f"alice:{ALICE}",
        "long password": "alice:" + "x" * 5000,
    }
    good = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    for name, pair in pairs.items():
        yield f"Basic, {name}", "Basic " + base64.b64encode(pair.encode()).decode()
    yield "Basic, not UTF-8", "Basic " + base64.b64encode(b"\xff:\xff").decode()
    yield "Basic, no base64", "Basic !canary!"
    yield "Basic, padding gone", "Basic " + good.rstrip("=")
    yield "Basic, too much padding", f"Basic {good}===="
    yield "Basic, spare bits set", "Basic " + good.removesuffix("E=") + "F="
    yield "Basic, two values", f"Basic {good} {good}"
    yield "Basic, empty", "Basic"
    yield "Bearer, empty", "Bearer"
    yield "Bearer, two tokens", f"Bearer {ALICE} {ALICE}"
    yield "Bearer, two in a list", f"Bearer {ALICE}, Bearer {BOB}"
    yield "Bearer with =", f"Bearer={ALICE}"
    yield "Bearer with quotes", f'Bearer "{ALICE}"'
    yield "Bearer in a parameter", f"Bearer token={ALICE}"
    yield "no scheme", ALICE
    yield "Digest", f'Digest username="alice", response="{ALICE}"'
    yield "another scheme", f"Token {ALICE}"
    yield "nothing", ""


class BadTokens(TestCase):
    """Whatever is wrong, a client is told the same."""

    timeout = 110

    async def serve(self) -> Server:
        """A server with static tokens, the keys of the forger's victims, a password file and a cookie."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        set_user(str(folder / "passwords"), "alice", PASSWORD, COST)
        shared = {"kty": "oct", "k": b64(SECRET.encode())}
        (folder / "keys.json").write_text(json.dumps({"keys": [shared, *SETUP.jwks["keys"]]}))
        auth = f"""
            {TOKENS}
            [auth]
            cookie = "session"
            passwords_file = {toml(str(folder / "passwords"))}
            [auth.jwt]
            algorithms = ["HS256", "RS256", "ES256", "EdDSA"]
            jwks_file = {toml(str(folder / "keys.json"))}
            audience = [{toml(AUDIENCE)}]
            issuer = {toml(ISSUER)}
            leeway = {LEEWAY}
            [limits]
            connections_per_user = 0
            [log]
            level = "debug"
            """
        return await start_server(self, auth)

    async def refusal(self, server: Server, request: bytes, name: str) -> bytes:
        """The whole answer, once it is known to be a 401 that says nothing."""
        received = await exchange(server.port(), request)
        responses = parse(received)
        self.assertEqual([response.status for response in responses], [401], name)
        self.assertEqual(responses[0].get("www-authenticate"), CHALLENGE, name)
        return received

    def check_log(self, server: Server, secrets: list[str]) -> None:
        """No credential, nor a part of one that would help, has been printed."""
        for secret in secrets:
            for part in (secret, secret[-24:], secret[:64] if len(secret) > 64 else secret):
                if len(part) > 8:
                    self.assertNotIn(part, server.process.output)
        self.assertNotIn("Traceback", server.process.output)

    async def test_header(self) -> None:
        """In the Authorization header, on every address: 401, to the byte the same for every cause."""
        server = await self.serve()
        tokens = bad()
        self.assertGreaterEqual(len(tokens), 60)
        self.assertEqual(len({token for _, token in tokens}), len(tokens))
        for way in WAYS:
            answers = {await self.refusal(server, way.request(bearer(token)), name) for name, token in tokens}
            self.assertEqual(len(answers), 1, way.name)
        self.check_log(server, [token for _, token in tokens])
        metrics = await server.metrics()
        self.assertIn(f'realtime_svc_refusals_total{{cause="unauthorized",status="401"}} {4 * len(tokens)}.0', metrics)

    async def test_cookie(self) -> None:
        """In the cookie of a page of the right origin: the same."""
        server = await self.serve()
        tokens = [(name, token) for name, token in bad() if ";" not in token]
        for way in WAYS:
            requests = [(name, way.request(ORIGIN, f"Cookie: a=b; session={token}")) for name, token in tokens]
            answers = {await self.refusal(server, request, name) for name, request in requests}
            self.assertEqual(len(answers), 1, way.name)
        self.check_log(server, [token for _, token in tokens])

    async def test_subprotocol(self) -> None:
        """In a sub-protocol, for tokens that can stand there: the same."""
        server = await self.serve()
        tokens = [(name, token) for name, token in bad() if _TOKEN.fullmatch(token)]
        self.assertGreaterEqual(len(tokens), 60)
        for way, protocol in WEBSOCKETS:
            for field in (f"{protocol}, bearer.%s", f"bearer.%s,{protocol}"):
                requests = [
                    (name, way.request("Sec-WebSocket-Protocol: " + field.replace("%s", token)))
                    for name, token in tokens
                ]
                answers = {await self.refusal(server, request, name) for name, request in requests}
                self.assertEqual(len(answers), 1, way.name)
        self.check_log(server, [token for _, token in tokens])

    async def test_first_message(self) -> None:
        """In a first message on /ws: error 101, and the connection closes with 3500; the same for every cause."""
        server = await self.serve()
        answers = set()
        tokens = bad()
        for name, token in tokens:
            connection = await connect(reactor, server.url("/ws"))
            hello = json.loads(await connection.receive())
            self.assertEqual((list(hello), hello["hello"]["user"]), (["hello"], ""))
            connection.send(json.dumps({"auth": token}))
            error = await connection.receive()
            self.assertEqual(json.loads(error)["error"]["code"], 101, name)
            answers.add((error, await connection.receive(), await connection.closed))
        self.assertEqual(len(answers), 1)
        _, bye, closed = answers.pop()
        self.assertEqual(json.loads(bye), {"bye": {"code": 3500, "reason": "invalid token", "reconnect": False}})
        self.assertEqual(closed, (3500, "invalid token"))
        self.check_log(server, [token for _, token in tokens])

    async def test_first_message_is_something_else(self) -> None:
        """Before it has authenticated, a client may do nothing: one error, and it is out."""
        server = await self.serve()
        firsts = [
            '{"subscribe":"a"}',
            '{"publish":"a","data":1}',
            "help",
            '{"ping":1}',
            "canary",
            "{",
            '{"auth":1}',
            '{"auth":{}}',
            '{"subscribe":"a","auth":1}',
            "auth",
            "",
            '{"subscribe":"a"}\n' + json.dumps({"auth": ALICE}),
        ]
        for first in firsts:
            connection = await connect(reactor, server.url("/ws"))
            await connection.receive()
            connection.send(first)
            self.assertIn("error", json.loads(await connection.receive()), first)
            self.assertEqual(list(json.loads(await connection.receive())), ["bye"], first)
            self.assertEqual(await connection.closed, (3500, "invalid token"), first)

    async def test_authorization(self) -> None:
        """Passwords, and headers of no known form: the same 401, also for an unknown user."""
        server = await self.serve()
        cases = list(authorizations())
        for way in WAYS:
            requests = [(name, way.request(f"Authorization: {value}")) for name, value in cases]
            answers = {await self.refusal(server, request, name) for name, request in requests}
            answers.add(await self.refusal(server, way.request(bearer("x.y.z")), "bearer"))
            self.assertEqual(len(answers), 1, way.name)
        self.check_log(server, [value for _, value in cases] + [PASSWORD])

    async def test_one_identity(self) -> None:
        """A bad credential is not mended by a good one elsewhere in the request."""
        server = await self.serve()
        bad_header, good_cookie = bearer("x" * 20), f"Cookie: session={ALICE}"
        for way in WAYS:
            await self.refusal(server, way.request(ORIGIN, bad_header, good_cookie), way.name)
        for way, protocol in WEBSOCKETS:
            offer = f"Sec-WebSocket-Protocol: {protocol}, bearer."
            await self.refusal(server, way.request(bad_header, offer + ALICE), way.name)
            await self.refusal(server, way.request(ORIGIN, good_cookie, offer + "x" * 20), way.name)

    async def status(self, server: Server, request: bytes) -> int:
        connection = await open_connection(server.port())
        connection.send(request)
        received = await connection.when_contains(b"\r\n\r\n")
        await connection.close()
        return int(received.split(b" ", 2)[1])

    async def test_good_ones(self) -> None:
        """What the tables differ from by one thing each: these come in, by every way."""
        server = await self.serve()
        good: dict[str, str] = {"static": ALICE, **self.good_jwts()}
        expected = {"ws": 101, "raw": 101, "sse": 200, "publish": 200}
        password = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        for way in WAYS:
            for name, token in good.items():
                self.assertEqual(await self.status(server, way.request(bearer(token))), expected[way.name], name)
                cookie = way.request(ORIGIN, f"Cookie: session={token}")
                self.assertEqual(await self.status(server, cookie), expected[way.name], name)
            basic = way.request(f"Authorization: Basic {password}")
            self.assertEqual(await self.status(server, basic), expected[way.name], "password")
        for way, protocol in WEBSOCKETS:
            for name, token in good.items():
                offer = way.request(f"Sec-WebSocket-Protocol: {protocol}, bearer.{token}")
                self.assertEqual(await self.status(server, offer), 101, name)
        for token in good.values():
            connection = await connect(reactor, server.url("/ws"))
            await connection.receive()
            connection.send(json.dumps({"auth": token}))
            self.assertEqual(json.loads(await connection.receive())["ok"], "auth")
            connection.close()
            await connection.closed
        self.check_log(server, [*good.values(), PASSWORD, password])

    def good_jwts(self) -> dict[str, str]:
        """One of each kind of key."""
        claims: dict[str, Any] = good_claims(time.time())
        return {
            "HS256": SETUP.sign(claims),
            "RS256": forge({"alg": "RS256", "kid": "rsa"}, claims, rs(SETUP.first_rsa)),
            "ES256": forge({"alg": "ES256", "kid": "p256"}, claims, es(SETUP.p256)),
            "EdDSA": forge({"alg": "EdDSA", "kid": "ed"}, claims, SETUP.ed.sign),
        }
