"""Real clients against the real process: npm `ws`, wscat, PyPI `websockets`, ours, and pages in Chromium.

Each connects with its way of authenticating, all to one channel; what one sends, all others receive.
"""

from __future__ import annotations

import base64
import io
import json
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from twisted.trial.unittest import TestCase

from realtime_svc import cli, client
from realtime_svc.cli.console import Console
from realtime_svc.devcert import make_dev_certificates
from tests.integration.chromium import CERTIFICATE_REFUSED, Browser, PageSite
from tests.integration.clients import (
    Connection,
    Library,
    Refused,
    connect_command,
    node_ws,
    websockets,
    wscat,
)
from tests.integration.participants import CHANNEL, Participant, PlainParticipant, StayingClient, converse, together
from tests.integration.server import ALICE, BOB, TOKENS, Server, start_server, toml

RAW = f"/raw/{CHANNEL}"
PLAIN = f"/ws?channel={CHANNEL}"
SECRET = "a secret that has more than 32 bytes"
PASSWORD = "correct: horse battery"
BEARER = {"Authorization": f"Bearer {ALICE}"}
LISTENER = """
[listeners.public]
host = "127.0.0.1"
port = 0
tls = {tls}
[internal]
port = 0
"""


def json_web_token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 600}, SECRET, "HS256")


@dataclass(frozen=True)
class Stage:
    """A server, and what clients need to reach it. `ca` is None where there is no TLS, or where it is not trusted."""

    test: TestCase
    server: Server
    site: PageSite
    passwords: Path
    scheme: str
    ca: Path | None

    def url(self, path: str) -> str:
        return self.server.url(path, scheme=self.scheme)

    @property
    def tls(self) -> client.ClientTls | None:
        return client.client_tls(self.ca) if self.ca else None

    def token_file(self) -> Path:
        path = self.server.folder / "token"
        path.write_text(BOB + "\n")
        return path

    async def browser(self) -> Browser:
        browser = Browser(self.test, self.site, self.ca)
        await browser.start()
        return browser


async def set_stage(
    test: TestCase, *, tls: bool = False, trusted: bool = True, both_origins: bool = False, config: str = ""
) -> Stage:
    """Start a server that takes every kind of credential, from pages of the site's first origin or of both."""
    folder = Path(test.mktemp()).absolute()
    made = make_dev_certificates(folder)
    site = PageSite(test, f"session={BOB}; HttpOnly; SameSite=Lax; Path=/", made if tls and trusted else None)
    password_file = folder / "passwords"
    console = Console(stdin=io.StringIO(PASSWORD), stderr=io.StringIO())
    test.assertEqual(0, cli.main(["passwd", str(password_file), "dora", "--stdin"], console))
    text = f"""
        [http]
        allowed_origins = {toml([site.origin, site.foreign_origin] if both_origins else [site.origin])}
        [websocket]
        ping_interval = "4s"  # all that wscat shows of a raw connection on which nothing is said
        ping_timeout = "3s"
        [auth]
        cookie = "session"
        passwords_file = {toml(str(password_file))}
        {TOKENS}
        [auth.jwt]
        algorithms = ["HS256"]
        secret = {toml(SECRET)}
        [tls]
        certificate = {toml(str(made.certificate) if tls else "")}
        key = {toml(str(made.key) if tls else "")}
    """
    server = await start_server(test, text + config, listeners=LISTENER.format(tls=toml(tls)))
    return Stage(test, server, site, password_file, "wss" if tls else "ws", made.ca if tls and trusted else None)


def raw_clients(stage: Stage, browser: Browser) -> list[Participant]:
    """One of each kind on /raw/<channel>."""
    test, url, ca = stage.test, stage.url(RAW), stage.ca
    token = {"Authorization": f"Bearer {json_web_token('carol')}"}
    connections: list[Connection] = [
        node_ws(test, "ws, raw", url, BEARER, ca),
        wscat(test, "wscat, raw", url, ["--auth", f"dora:{PASSWORD}"], ca),
        websockets(test, "websockets, raw", url, token, ca),
        connect_command(test, "realtime-svc connect", url, ["--token-file", str(stage.token_file())], ca),
        browser.socket("page, raw", url, ("raw.v1", f"bearer.{ALICE}")),
        browser.socket("page with a cookie, raw", url),
    ]
    return [Participant(connection) for connection in connections]


def plain_clients(stage: Stage, browser: Browser) -> list[Participant]:
    """One of each kind on /ws, ours twice: with a first message, and with a token as `Client` sends it."""
    test, url, ca = stage.test, stage.url(PLAIN), stage.ca
    token = {"Authorization": f"Bearer {json_web_token('carol')}"}
    ours = Library(test, "our connect()", url, tls=stage.tls)
    return [
        PlainParticipant(node_ws(test, "ws, plain", url, BEARER, ca)),
        PlainParticipant(wscat(test, "wscat, plain", url, ["-H", f"Authorization: Bearer {ALICE}"], ca)),
        PlainParticipant(websockets(test, "websockets, plain", url, token, ca)),
        PlainParticipant(ours, token=json_web_token("erin")),
        PlainParticipant(browser.socket("page, plain", url, (f"bearer.{json_web_token('frank')}", "plain.v1"))),
        StayingClient(test, "our Client", stage.url("/ws"), BOB, stage.tls),
    ]


class ClientsTests(TestCase):
    """What one sends, all others receive."""

    async def test_ws(self) -> None:
        """Unencrypted."""
        stage = await set_stage(self)
        browser = await stage.browser()
        await converse(self, raw_clients(stage, browser) + plain_clients(stage, browser))

    async def test_wss(self) -> None:
        """Over TLS; each client trusts the development CA."""
        stage = await set_stage(self, tls=True)
        browser = await stage.browser()
        await converse(self, raw_clients(stage, browser) + plain_clients(stage, browser))

    async def test_wss_without_trust(self) -> None:
        """Each client refuses the server's certificate where it was not told to trust the CA."""
        stage = await set_stage(self, tls=True, trusted=False)
        browser = await stage.browser()
        url = stage.url(RAW)
        ours = "TLS: certificate verify failed"
        refused: list[tuple[Connection, str]] = [
            (node_ws(self, "ws", url, BEARER, None), "UNABLE_TO_VERIFY_LEAF_SIGNATURE"),
            (wscat(self, "wscat", url, ["--auth", f"dora:{PASSWORD}"], None), "unable to verify the first certificate"),
            (websockets(self, "websockets", url, BEARER, None), "CERTIFICATE_VERIFY_FAILED"),
            (Library(self, "our connect()", url, token=ALICE), ours),
            (connect_command(self, "connect", url, ["--token-file", str(stage.token_file())], None), ours),
            (browser.socket("page", url, ("raw.v1", f"bearer.{ALICE}")), "closed \\[1006"),
        ]
        for connection, reason in refused:
            error = await self.assertFailure(connection.opened, Refused)
            self.assertRegex(str(error), reason)
        await browser.process.when_printed(CERTIFICATE_REFUSED)
        self.assertNotIn("realtime_svc_connections_total{", await stage.server.metrics())

    async def test_deflate(self) -> None:
        """permessage-deflate with npm `ws`, both ways, large messages and small ones, beside a client without it."""
        stage = await set_stage(self, config="\n[websocket.deflate]\nenabled = true\n")
        ones = [node_ws(self, f"ws {number}", stage.url(RAW), BEARER, None, deflate=number < 2) for number in range(3)]
        details = [await one.opened for one in ones]
        offered = [detail["extensions"] for detail in details]
        self.assertRegex(offered[0], "permessage-deflate")
        self.assertRegex(offered[1], "permessage-deflate")
        self.assertEqual("", offered[2])
        repeated, noise = "a" * 60_000, base64.b64encode(random.Random(1).randbytes(45_000)).decode()
        for text in ("1", json.dumps(repeated), "[]", json.dumps(noise), json.dumps(repeated)):
            for speaker in ones:
                speaker.send(text)
                heard = await together(*(one.receive() for one in ones if one is not speaker))
                self.assertEqual([text, text], heard)
        self.assertGreater(ones[2].bytes_read, 4 * 60_000, "without the extension nothing is compressed")
        self.assertLess(ones[1].bytes_read, 3 * 60_000, "what repeats itself was not compressed")


class PagesTests(TestCase):
    """What pages may do: one of an allowed origin all, one of a foreign origin nothing."""

    async def test_allowed_origin(self) -> None:
        """EventSource with a cookie receives what `fetch` publishes: with the cookie, and with a header."""
        stage = await set_stage(self)
        browser = await stage.browser()
        events = browser.events("events", stage.server.url(f"/sse/{CHANNEL}", scheme="http"))
        await events.opened
        url = stage.server.url(f"/publish/{CHANNEL}", scheme="http")
        json_type = {"Content-Type": "application/json"}
        ways: list[dict[str, Any]] = [
            {"credentials": "include"},
            {"credentials": "include", "headers": json_type},
            {"headers": {**json_type, **BEARER}},
        ]
        for number, options in enumerate(ways):
            answer = await browser.fetch(url, method="POST", body=json.dumps({"number": number}), **options)
            self.assertEqual(200, answer.get("status"), answer)
            self.assertEqual({"ok": "publish", "channel": CHANNEL}, json.loads(answer["body"]))
            self.assertEqual({"number": number}, json.loads(await events.receive()))

    async def test_refusals_can_be_read(self) -> None:
        """A page of an allowed origin sees why it was refused."""
        stage = await set_stage(self)
        browser = await stage.browser()
        url = stage.server.url(f"/publish/{CHANNEL}", scheme="http")
        bad = {"Authorization": "Bearer wrong-token-0123456789"}
        answer = await browser.fetch(url, method="POST", body="1", headers=bad)
        self.assertEqual(401, answer.get("status"), answer)
        answer = await browser.fetch(url, method="POST", body="no JSON", headers=BEARER)
        self.assertEqual(400, answer.get("status"), answer)

    async def test_other_allowed_origin(self) -> None:
        """The list decides: a page of another site, once it is on the list, comes in with the user's cookie."""
        stage = await set_stage(self, both_origins=True)
        browser = await stage.browser()
        await browser.go(stage.site.foreign_origin)
        socket = browser.socket("with a cookie", stage.url(RAW))
        await socket.opened
        url = stage.server.url(f"/publish/{CHANNEL}", scheme="http")
        for mode in ("cors", "no-cors"):
            await browser.fetch(url, method="POST", body=toml(mode), credentials="include", mode=mode)
            self.assertEqual(toml(mode), await socket.receive())

    async def test_foreign_origin(self) -> None:
        """A page of a foreign origin is refused, whatever credentials it has: the user's cookie, or a token."""
        stage = await set_stage(self)
        browser = await stage.browser()
        witness = Library(self, "witness", stage.url(RAW), token=ALICE)
        await witness.opened
        first = browser.socket("with a cookie, allowed", stage.url(RAW))
        await first.opened
        await browser.go(stage.site.foreign_origin)
        sockets: list[Connection] = [
            browser.socket("with a cookie", stage.url(RAW)),
            browser.socket("with a token", stage.url(RAW), ("raw.v1", f"bearer.{ALICE}")),
            browser.socket("with a token on /ws", stage.url("/ws"), ("plain.v1", f"bearer.{ALICE}")),
            browser.events("events", stage.server.url(f"/sse/{CHANNEL}", scheme="http")),
        ]
        for socket in sockets:
            await self.assertFailure(socket.opened, Refused)
        url = stage.server.url(f"/publish/{CHANNEL}", scheme="http")
        cookie = {"method": "POST", "body": '"foreign"', "credentials": "include"}
        for options in (cookie, {**cookie, "headers": BEARER}):
            self.assertIn("failed", await browser.fetch(url, **options))
        await browser.fetch(url, **cookie, mode="no-cors")  # goes out, and the page learns nothing
        publisher = Library(self, "publisher", stage.url(RAW), token=BOB)
        await publisher.opened
        publisher.send('"ours"')
        self.assertEqual('"ours"', await witness.receive(), "something of the foreign page was published")
        refusals = re.findall(r"^realtime_svc_refusals_total(.*)", await stage.server.metrics(), re.M)
        self.assertEqual(['{cause="origin",status="403"} 7.0'], refusals)
