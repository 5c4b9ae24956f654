"""Keys from a web address: whom we ask, whom we believe, and when we ask again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import realtime_svc
from realtime_svc.auth.jwks import (
    DEADLINE,
    EARLY_INTERVAL,
    JwksRefresher,
    check_url,
    trust_root,
)
from realtime_svc.errors import ConfigError
from tests.auth.certificates import Authority

reactor: Any = global_reactor
INTERVAL = 300.0


def observer(call: Callable[[LogEvent], None]) -> ILogObserver:
    """A function as the observer of one logger."""
    observed: ILogObserver = implementer(ILogObserver)(lambda event: call(event))
    return observed


class UrlTests(SynchronousTestCase):
    """`check_url` and `trust_root`."""

    def test_good(self) -> None:
        """https to anywhere, http to this machine."""
        for url in (
            "https://keys.test/jwks.json", "https://keys.test:8443/?a=b", "https://[2001:db8::1]/", "http://localhost/x",
            "http://127.0.0.1:8080/", "http://127.9.9.9/", "http://[::1]:80/", "HTTPS://keys.test/",
        ):  # fmt: skip
            check_url(url)

    def test_bad(self) -> None:
        """Everything else is refused; the address, which may hold a secret, is not repeated."""
        for url in (
            "http://keys.test/canary", "http://10.0.0.1/canary", "http://localhost.canary/", "ftp://localhost/canary",
            "file:///canary", "canary", "https://", "https:///canary", "https://canary:x@keys.test/",
            "https://canary@keys.test/", "https://keys.test/#canary", "https://keys.test:99999/canary",
            "https://keys.test:x/canary", "https://keys.test:0/canary", "https://keys.test/a canary",
            "https://keys.test/\r\ncanary", "https://k\xe9ys.test/canary", "https://[::1/canary",
        ):  # fmt: skip
            error = self.assertRaises(ConfigError, check_url, url)
            self.assertEqual(error.key, "auth.jwt.jwks_url", url)
            self.assertNotIn("canary", str(error))

    def test_trust_root(self) -> None:
        """A file of authorities, or the system's; a file without any is an error."""
        folder = Path(self.mktemp())
        folder.mkdir()
        good, bad, empty = folder / "good", folder / "bad", folder / "empty"
        good.write_bytes(b"# two\n" + Authority().pem + Authority().pem)
        bad.write_bytes(b"-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n")
        empty.write_bytes(b"")
        self.assertIsNotNone(trust_root(str(good)))
        self.assertIsNotNone(trust_root(""))
        for path in (bad, empty, folder / "missing", folder):
            error = self.assertRaises(ConfigError, trust_root, str(path))
            self.assertEqual((error.where, error.key), (str(path), "auth.jwt.jwks_ca"))
            self.assertNotIn("canary", str(error))

    def test_reactor_is_not_imported(self) -> None:
        """Only the tap chooses the reactor."""
        code = (
            "import sys, realtime_svc.auth.keyring, realtime_svc.auth.tools;"
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        folder = Path(realtime_svc.__file__).parent.parent
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False, cwd=folder).returncode, 0)


class RefresherTests(SynchronousTestCase):
    """`JwksRefresher` with a clock and answers of our own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[bytes]] = []
        self.accepted: list[bytes] = []
        self.logged: list[tuple[str, str]] = []
        self.chance = 0.5
        log = Logger(namespace="test", observer=observer(self.observe))
        self.refresher = JwksRefresher(
            self.clock, self.fetch, self.accept, INTERVAL, chance=lambda: self.chance, log=log
        )

    def observe(self, event: LogEvent) -> None:
        self.logged.append((event["log_level"].name, event.get("reason", "")))

    def fetch(self) -> Deferred[bytes]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def accept(self, body: bytes) -> None:
        if body != b"good":
            raise ValueError("not a JSON Web Key Set")
        self.accepted.append(body)

    def test_regular(self) -> None:
        """Asked at start, and an interval after each answer."""
        self.refresher.start()
        self.assertFalse(self.refresher.ready)
        self.asked[0].callback(b"good")
        self.assertTrue(self.refresher.ready)
        for count in (2, 3):
            self.clock.advance(INTERVAL - 1)
            self.assertEqual(len(self.asked), count - 1)
            self.clock.advance(1)
            self.assertEqual(len(self.asked), count)
            self.asked[-1].callback(b"good")
        self.assertEqual((len(self.accepted), self.logged), (3, []))

    def test_jitter(self) -> None:
        """Ten percent to either side, so that many servers don't ask at once."""
        for chance, factor in ((0.0, 0.9), (1.0, 1.1)):
            self.chance = chance
            self.refresher.start()
            self.asked[-1].callback(b"good")
            (call,) = self.clock.getDelayedCalls()
            self.assertAlmostEqual(call.getTime() - self.clock.seconds(), INTERVAL * factor)
            self.refresher.stop()

    def test_failures(self) -> None:
        """Asked again after 1, 2, 4 ... seconds, never later than the interval; the first is logged, and the end."""
        self.refresher.start()
        for delay in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
            count = len(self.asked)
            self.asked[-1].errback(ConnectionRefusedError())
            self.clock.advance(delay - 0.5)
            self.assertEqual(len(self.asked), count)
            self.clock.advance(0.5)
            self.assertEqual(len(self.asked), count + 1)
        self.assertEqual(self.logged, [("warn", "ConnectionRefusedError")])
        self.asked[-1].callback(b"good")
        self.assertEqual([level for level, _ in self.logged], ["warn", "info"])
        self.clock.advance(INTERVAL)
        self.asked[-1].errback(ConnectionRefusedError())
        self.assertEqual([level for level, _ in self.logged], ["warn", "info", "warn"])
        self.assertTrue(self.refresher.ready)

    def test_bad_set(self) -> None:
        """A set that is not accepted is a failure like any other."""
        self.refresher.start()
        self.asked[0].callback(b"bad")
        self.assertFalse(self.refresher.ready)
        self.assertEqual(self.logged, [("warn", "not a JSON Web Key Set")])
        self.clock.advance(1)
        self.asked[1].callback(b"good")
        self.assertTrue(self.refresher.ready)

    def test_deadline(self) -> None:
        """An answer that doesn't come is given up, and asked for again."""
        self.refresher.start()
        self.clock.advance(DEADLINE)
        self.assertEqual(self.logged, [("warn", "no answer within 10 seconds")])
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 2)

    def test_unknown_key(self) -> None:
        """Asked for at once, but once in 30 seconds only, and not while an answer is on its way."""
        self.refresher.unknown_kid()
        self.assertEqual(len(self.asked), 0, "before start")
        self.refresher.start()
        self.refresher.unknown_kid()
        self.assertEqual(len(self.asked), 1, "under way")
        self.asked[-1].callback(b"good")
        for _ in range(100):
            self.refresher.unknown_kid()
        self.assertEqual(len(self.asked), 2)
        self.asked[-1].callback(b"good")
        self.clock.advance(EARLY_INTERVAL - 1)
        self.refresher.unknown_kid()
        self.assertEqual(len(self.asked), 2)
        self.clock.advance(1)
        self.refresher.unknown_kid()
        self.assertEqual(len(self.asked), 3)
        self.asked[-1].callback(b"good")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1, "the regular refresh starts over")

    def test_stop(self) -> None:
        """Nothing is left over, whether an answer was on its way or not; it is not logged as a failure."""
        self.refresher.start()
        self.refresher.stop()
        self.refresher.start()
        self.asked[-1].callback(b"good")
        self.refresher.stop()
        self.refresher.unknown_kid()
        self.assertEqual((self.clock.getDelayedCalls(), self.logged, len(self.asked)), ([], [], 2))
