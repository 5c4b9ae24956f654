"""Whether a client comes back, and when."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.client import backoff
from realtime_svc.client.errors import ConnectionClosed, ConnectionFailed, HandshakeRefused, ProtocolViolation


def least(low: float, high: float) -> float:
    return low


def most(low: float, high: float) -> float:
    return high


class RuleTests(SynchronousTestCase):
    def test_close_codes(self) -> None:
        """The range rule, at its borders."""
        stop = {1002, 1003, 1007, 1008, 1009, 3500, 3501, 3999, 4500, 4999}
        again = {1000, 1001, 1005, 1006, 1011, 1012, 1013, 3000, 3001, 3005, 3499, 4000, 4499, 5000}
        for code in stop | again:
            self.assertEqual(backoff.comes_back(ConnectionClosed(code, "")), code in again, code)

    def test_statuses(self) -> None:
        stop = {400, 401, 403, 404, 405, 414, 421, 426, 431}
        again = {200, 302, 408, 429, 500, 502, 503, 504, 505}
        for status in stop | again:
            self.assertEqual(backoff.comes_back(HandshakeRefused(status)), status in again, status)

    def test_other_errors(self) -> None:
        """What the network does passes; what we ask for, and what the server speaks, does not change."""
        passing: tuple[Exception, ...] = (ConnectionFailed("x"), RuntimeError("no token just now"))
        lasting: tuple[Exception, ...] = (ValueError("x"), ProtocolViolation("x"))
        for error in passing:
            self.assertTrue(backoff.comes_back(error))
        for error in lasting:
            self.assertFalse(backoff.comes_back(error))


class DelayTests(SynchronousTestCase):
    def test_full_jitter(self) -> None:
        """From half a second to twice as much each time, never more than 20 s."""
        self.assertEqual([backoff.delay(attempt, least) for attempt in (0, 1, 5, 1_000_000)], [0.5] * 4)
        expected = [1.0, 1.5, 2.5, 4.5, 8.5, 16.5, 20.0, 20.0, 20.0]
        self.assertEqual([backoff.delay(attempt, most) for attempt in (*range(8), 1_000_000)], expected)

    def test_retry_after(self) -> None:
        """Comes on top of it, up to a minute."""
        for asked, seconds in ((None, 0.5), (3.0, 3.5), (3600.0, 60.5)):
            self.assertEqual(backoff.delay_after(HandshakeRefused(503, None, asked), 0, least), seconds)
        self.assertEqual(backoff.delay_after(ConnectionFailed("x"), 0, least), 0.5)
