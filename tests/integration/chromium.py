"""Headless Chromium with one page of ours in it, which does what a test tells it and tells what it sees.

The page comes from a small site in the test's process, under two origins, which differ in their port: one that a server
may be told to allow, and a foreign one. They are of one site (localhost), so that Chromium sends the same cookies with
what pages of either ask for. Commands wait at /next, events come to /seen.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from realtime_svc.devcert import DevCertificates
from tests.integration.clients import Connection, find_program
from tests.integration.server import Process, reactor, spawn

PAGE = Path(__file__).parent / "pages" / "page.html"
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    "--enable-logging=stderr",
)
CERTIFICATE_REFUSED = r"net_error -202"  # ERR_CERT_AUTHORITY_INVALID


class _Connections(WrappingFactory):
    """The connections of the site; `all_closed` fires when there is none left."""

    noisy = False

    def close_all(self) -> Deferred[None]:
        self.all_closed: Deferred[None] = Deferred()
        for protocol in tuple(self.protocols):
            protocol.transport.abortConnection()
        self._check()
        return self.all_closed

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:  # noqa: N802 (Twisted)
        super().unregisterProtocol(p)
        if hasattr(self, "all_closed"):
            self._check()

    def _check(self) -> None:
        if not self.protocols and not self.all_closed.called:
            self.all_closed.callback(None)


class _Route(Resource):
    isLeaf = True

    def __init__(self, answer: Callable[[Request], bytes | int]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Request) -> bytes | int:
        return self._answer(request)


def _listen(test: TestCase, factory: WrappingFactory, certificates: DevCertificates | None) -> str:
    """The origin of a free port: http, or https where there are certificates."""
    if certificates is None:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    else:
        tls = DefaultOpenSSLContextFactory(str(certificates.key), str(certificates.certificate))
        port = reactor.listenSSL(0, factory, tls, interface="127.0.0.1")
    test.addCleanup(port.stopListening)
    return f"http{'s' if certificates else ''}://localhost:{port.getHost().port}"


class PageSite:
    """Serves the page. `cookie` is set with it: Chromium sends that of an http page to ws:// only, not to wss://."""

    def __init__(self, test: TestCase, cookie: str, certificates: DevCertificates | None) -> None:
        self.commands: DeferredQueue[dict[str, Any]] = DeferredQueue()
        self.on_event: Callable[[dict[str, Any]], None] = lambda _: None
        self._cookie = cookie
        root = Resource()
        root.putChild(b"page", _Route(self._page))
        root.putChild(b"next", _Route(self._next))
        root.putChild(b"seen", _Route(self._seen))
        site = Site(root)
        site.noisy = False
        connections = _Connections(site)
        test.addCleanup(connections.close_all)
        self.origin, self.foreign_origin = (_listen(test, connections, certificates) for _ in range(2))

    def _page(self, request: Request) -> bytes:
        request.setHeader("content-type", "text/html; charset=utf-8")
        request.setHeader("set-cookie", self._cookie)
        return PAGE.read_bytes()

    def _next(self, request: Request) -> int:
        gone: list[Failure] = []
        waiting = self.commands.get()

        def answer(command: dict[str, Any]) -> None:
            request.write(json.dumps(command).encode())
            request.finish()

        def lost(failure: Failure) -> None:
            gone.append(failure)
            waiting.cancel()

        request.notifyFinish().addErrback(lost)
        waiting.addCallback(answer).addErrback(lambda failure: None if gone else failure)
        return NOT_DONE_YET

    def _seen(self, request: Request) -> bytes:
        assert request.content is not None
        self.on_event(json.loads(request.content.read()))
        return b""


class PageConnection(Connection):
    """A WebSocket or an EventSource of the page."""

    def __init__(self, browser: Browser, name: str) -> None:
        super().__init__(name)
        self._browser = browser

    def send(self, text: str) -> None:
        self._browser.command("send", id=self.name, text=text)

    def event(self, event: dict[str, Any]) -> None:
        if "open" in event:
            self.open(event["open"])
        elif "message" in event:
            self.deliver(event["message"])
        else:
            self.end(f"closed {event['closed']}")


class Browser:
    """A running Chromium. `ca`: a PEM file with an authority it trusts besides its own."""

    def __init__(self, test: TestCase, site: PageSite, ca: Path | None) -> None:
        self._site = site
        self._connections: dict[str, PageConnection] = {}
        self._answers: dict[str, Deferred[dict[str, Any]]] = {}
        self._numbers = itertools.count()
        self._page: Deferred[str] = Deferred()
        self._home = Path(test.mktemp()).absolute()
        self._home.mkdir(parents=True)
        self._test = test
        self._ca = ca
        self.process: Process
        site.on_event = self._event

    async def start(self) -> None:
        """Fires when the page runs."""
        program = find_program("chromium", "chromium-browser", "google-chrome")
        if self._ca is not None:
            await self._trust(self._ca)
        profile = self._home / "profile"
        command = [program, *FLAGS, f"--user-data-dir={profile}", f"{self._site.origin}/page"]
        self.process = spawn(self._test, command, environ=self._environ())
        self.process.ended.addCallback(self._died)
        await self._page

    def _environ(self) -> dict[str, str]:
        """A home of its own: certificates and caches are those of this test."""
        folders = {"CONFIG": ".config", "CACHE": ".cache", "DATA": ".local/share"}
        return {
            "HOME": str(self._home),
            **{f"XDG_{kind}_HOME": str(self._home / folder) for kind, folder in folders.items()},
        }

    async def _trust(self, ca: Path) -> None:
        """Chromium on Linux reads the user's NSS database."""
        database = self._home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        program = find_program("certutil")
        for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "development CA", "-i", str(ca)]):
            process = spawn(self._test, [program, "-d", f"sql:{database}", *arguments])
            code = await process.ended
            if code:
                raise AssertionError(f"certutil ended with {code}: {process.output}")

    def _died(self, code: int) -> int:
        if not self._page.called:
            self._page.errback(AssertionError(f"Chromium ended with {code}:\n{self.process.output}"))
        return code

    # ---- the page

    def command(self, act: str, **arguments: Any) -> None:
        self._site.commands.put({"act": act, **arguments})

    def _event(self, event: dict[str, Any]) -> None:
        name = event.pop("id")
        if name is None:
            self._page.callback(event["open"])
        elif name in self._answers:
            self._answers.pop(name).callback(event)
        else:
            self._connections[name].event(event)

    def socket(self, name: str, url: str, protocols: tuple[str, ...] = ()) -> PageConnection:
        """`new WebSocket(url, protocols)`; `opened` fires with the sub-protocol that was selected."""
        return self._open("socket", name, url=url, protocols=protocols)

    def events(self, name: str, url: str) -> PageConnection:
        """`new EventSource(url)` with cookies; it ends at its first error."""
        return self._open("events", name, url=url)

    def _open(self, act: str, name: str, **arguments: Any) -> PageConnection:
        connection = self._connections[name] = PageConnection(self, name)
        self.command(act, id=name, **arguments)
        return connection

    def fetch(self, url: str, **options: Any) -> Deferred[dict[str, Any]]:
        """`fetch(url, options)`: {"status", "body"}, or {"failed"} where the page gets no answer."""
        name = f"fetch {next(self._numbers)} of {url}"
        answer = self._answers[name] = Deferred()
        self.command("fetch", id=name, url=url, options=options)
        return answer

    async def go(self, origin: str) -> None:
        """Load the page anew, from `origin`."""
        self._page = Deferred()
        self.command("go", url=f"{origin}/page")
        await self._page
