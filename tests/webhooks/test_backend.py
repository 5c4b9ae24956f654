"""One call over a real connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from realtime_svc import config
from realtime_svc.errors import ConfigError
from realtime_svc.webhooks import Answer, Backend, CallFailed
from tests.client.pki import Authority
from tests.webhooks.backends import FakeBackend, ca_file, reactor


def backend_of(url: str, **options: Any) -> Backend:
    return Backend(reactor, config.Webhooks(url=url, secret="s" * 16, **options))


class CallTests(TestCase):
    async def test_quiet(self) -> None:
        """Connections come and go with each call; the log does not tell."""
        events: list[LogEvent] = []
        remember: Any = events.append
        globalLogPublisher.addObserver(remember)
        self.addCleanup(globalLogPublisher.removeObserver, remember)
        ours = Authority("ours")
        for fake, scheme in (
            (FakeBackend().listen(self), "http"),
            (FakeBackend().listen(self, ours, "127.0.0.1"), "https"),
        ):
            await backend_of(f"{scheme}://127.0.0.1:{fake.port}/", ca=ca_file(self, ours)).post(b"{}", {})
        self.assertEqual([], [text for text in map(str, map(formatEvent, events)) if "HTTP11" in text])

    async def test_answers(self) -> None:
        """The status is what counts; redirects are answers like others, and are not followed."""
        fake = FakeBackend().listen(self)
        backend = backend_of(f"http://127.0.0.1:{fake.port}/a/path?key=1")
        fake.headers = {"Location": "/elsewhere", "Retry-After": "7"}
        for status in (200, 204, 302, 307, 404, 429, 500):
            fake.statuses = [status]
            answer = await backend.post(b"{}", {"X-Realtime-Event-Id": "e", "Content-Type": "application/json"})
            self.assertEqual(Answer(status, "7"), answer)
        self.assertEqual(
            {("POST", "/a/path?key=1", b"{}")}, {(told.method, told.path, told.body) for told in fake.calls}
        )
        headers = fake.calls[0].headers
        self.assertEqual(
            ("e", "application/json", "2"),
            tuple(headers[name] for name in ("x-realtime-event-id", "content-type", "content-length")),
        )
        self.assertEqual(7, len(fake.calls))

    async def test_answer_without_end(self) -> None:
        """It is not read for ever, and the connection is cut."""
        fake = FakeBackend().listen(self)
        fake.statuses = [1]
        self.assertEqual(200, (await backend_of(f"http://127.0.0.1:{fake.port}/").post(b"{}", {})).status)

    async def test_cancelled(self) -> None:
        """Where no answer comes: the connection is closed (or the test would not end)."""
        fake = FakeBackend().listen(self)
        fake.statuses = [0]
        call = Deferred.fromCoroutine(backend_of(f"http://127.0.0.1:{fake.port}/").post(b"{}", {}))
        await fake.told(1)
        call.cancel()
        failure = await self.assertFailure(call, CallFailed)
        self.assertEqual("no answer in time", str(failure))

    async def test_nobody_listens(self) -> None:
        """The reason names neither the address nor what was sent."""
        port = reactor.listenTCP(0, Site(Resource()), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        call = Deferred.fromCoroutine(backend_of(f"http://127.0.0.1:{number}/secret").post(b"{}", {}))
        failure = await self.assertFailure(call, CallFailed)
        self.assertEqual(ConnectionRefusedError.__name__, str(failure))


class TlsTests(TestCase):
    """https: the chain and the name are checked."""

    async def test_certificates(self) -> None:
        ours, other = Authority("ours"), Authority("other")
        for names, trusted, good in (
            (("127.0.0.1",), ours, True),
            (("example.com",), ours, False),
            (("127.0.0.1",), other, False),
        ):
            fake = FakeBackend().listen(self, ours, *names)
            backend = backend_of(f"https://127.0.0.1:{fake.port}/", ca=ca_file(self, trusted))
            call = Deferred.fromCoroutine(backend.post(b"{}", {}))
            if good:
                self.assertEqual(200, (await call).status)
            else:
                await self.assertFailure(call, CallFailed)
            self.assertEqual(int(good), len(fake.calls), names)

    async def test_system_authorities(self) -> None:
        """Without a file, a certificate of our own is worth nothing."""
        fake = FakeBackend().listen(self, Authority("ours"), "127.0.0.1")
        call = Deferred.fromCoroutine(backend_of(f"https://127.0.0.1:{fake.port}/").post(b"{}", {}))
        failure = await self.assertFailure(call, CallFailed)
        self.assertTrue(str(failure).startswith("TLS: "), failure)

    def test_bad_files(self) -> None:
        path = Path(self.mktemp())
        path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        empty = Path(self.mktemp())
        empty.touch()
        for file, reason in (
            (str(path), "holds no readable PEM certificate"),
            (str(empty), "holds no readable PEM certificate"),
            ("/nowhere", "can't be read: No such file or directory"),
        ):
            error: ConfigError = self.assertRaises(ConfigError, backend_of, "https://127.0.0.1/", ca=file)
            self.assertEqual((file, "webhooks.ca", reason), (error.where, error.key, error.reason))
