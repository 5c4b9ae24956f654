"""The list of what is revoked."""

from __future__ import annotations

import math
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.claims import LAST_DATE
from realtime_svc.auth.revocations import USER_FOR, RevocationList
from realtime_svc.core.ports import Revocations
from realtime_svc.errors import AuthenticationFailed, ErrorCode, ReplyError
from realtime_svc.model import Grant, Identity, SubscriptionClaims

START = 1_800_000_000.0


class Case(SynchronousTestCase):
    """A list of three, and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.list = RevocationList(3, self.clock.seconds)

    def refuses(self, user: str = "", **more: Any) -> bool:
        """An identity and a subscription of the same user; they share a fate."""
        checker: Revocations = self.list
        fates = set()
        for subject in (Identity(user, **more), SubscriptionClaims(user, "news", Grant(), **more)):
            try:
                checker.check(subject)
            except AuthenticationFailed as failure:
                fates.add(failure.cause)
            else:
                fates.add("")
        self.assertEqual(len(fates), 1)
        return fates == {"revoked"}

    def refused(self, code: ErrorCode, *arguments: Any, user: bool = False) -> str:
        function: Any = self.list.revoke_user if user else self.list.revoke_token
        error: ReplyError = self.assertRaises(ReplyError, function, *arguments)
        self.assertEqual(error.code, code, arguments)
        return error.message


class TokenTests(Case):
    """By `jti`."""

    def test_that_token_only(self) -> None:
        self.list.revoke_token("a", START + 60)
        self.assertTrue(self.refuses("42", token_id="a"))
        self.assertTrue(self.refuses("", token_id="a", issued_at=START + 5))
        for token_id in ("", "b", "A", "a "):
            self.assertFalse(self.refuses("42", token_id=token_id))
        self.assertFalse(self.refuses("a"), "a user's name is no token's")

    def test_until_its_end(self) -> None:
        self.list.revoke_token("a", START + 60)
        self.list.revoke_token("b")
        self.clock.advance(59.5)
        self.assertTrue(self.refuses(token_id="a"))
        self.clock.advance(0.5)
        self.assertFalse(self.refuses(token_id="a"))
        self.clock.advance(1e9)
        self.assertTrue(self.refuses(token_id="b"), "without an end it lasts as long as the process")

    def test_longer_of_two(self) -> None:
        for first, second in ((60.0, 10.0), (10.0, 60.0)):
            self.list.revoke_token(f"a{first}", START + first)
            self.list.revoke_token(f"a{first}", START + second)
            self.clock.advance(0)
        self.clock.advance(59)
        self.assertTrue(self.refuses(token_id="a60.0") and self.refuses(token_id="a10.0"))
        self.clock.advance(1)
        self.assertFalse(self.refuses(token_id="a60.0") or self.refuses(token_id="a10.0"))

    def test_no_end_stays_no_end(self) -> None:
        self.list.revoke_token("a", START + 60)
        self.list.revoke_token("a")
        self.list.revoke_token("a", START + 90)
        self.clock.advance(1e6)
        self.list.revoke_token("b")
        self.assertTrue(self.refuses(token_id="a"))

    def test_bad_ids_and_dates(self) -> None:
        for token_id in ("", "a\n", "x" * 256, "\ud800"):
            self.refused(ErrorCode.BAD_REQUEST, token_id)
        for date in (math.nan, math.inf, -1, LAST_DATE + 1):
            self.assertNotIn("canary", self.refused(ErrorCode.BAD_REQUEST, "canary", date))
        self.assertEqual(len(self.list), 0)


class UserTests(Case):
    """By user and date of issue."""

    def test_what_was_issued_before(self) -> None:
        """The moment itself included; later tokens are good; without a date there is no telling."""
        self.list.revoke_user("42", START)
        self.assertTrue(self.refuses("42", issued_at=START - 100))
        self.assertTrue(self.refuses("42", issued_at=START))
        self.assertFalse(self.refuses("42", issued_at=START + 1))
        self.assertTrue(self.refuses("42"), "a static token, a password, a token without iat")
        for user in ("", "4", "421", "43"):
            self.assertFalse(self.refuses(user))
        self.assertFalse(self.refuses("7", token_id="42"), "a token's id is no user's name")

    def test_how_long(self) -> None:
        self.list.revoke_user("day", START)
        self.list.revoke_user("minute", START, START + 60)
        self.clock.advance(60)
        self.assertEqual((self.refuses("day"), self.refuses("minute")), (True, False))
        self.clock.advance(USER_FOR - 60.5)
        self.assertTrue(self.refuses("day"))
        self.clock.advance(0.5)
        self.assertFalse(self.refuses("day"))

    def test_again(self) -> None:
        """A later moment counts, an earlier one changes nothing."""
        self.list.revoke_user("42", START, START + 600)
        self.list.revoke_user("42", START + 60, START + 60)
        self.list.revoke_user("42", START - 60, START + 300)
        self.clock.advance(599)
        self.assertTrue(self.refuses("42", issued_at=START + 60))
        self.assertFalse(self.refuses("42", issued_at=START + 61))

    def test_bad_users_and_dates(self) -> None:
        for user in ("", "a\0", "x" * 256):
            self.refused(ErrorCode.BAD_REQUEST, user, START, user=True)
        for dates in ((math.nan,), (START * 1000,), (START, math.nan), (START, -0.5)):
            self.refused(ErrorCode.BAD_REQUEST, "42", *dates, user=True)
        self.assertEqual(len(self.list), 0)


class BoundTests(Case):
    """Never more entries than the configuration allows."""

    def test_full(self) -> None:
        """Nothing is forgotten for a new one; an entry that is there can still be prolonged."""
        self.list.revoke_token("a", START + 60)
        self.list.revoke_token("b")
        self.list.revoke_user("a", START, START + 30)
        self.refused(ErrorCode.LIMIT_EXCEEDED, "c")
        self.refused(ErrorCode.LIMIT_EXCEEDED, "42", START, user=True)
        self.list.revoke_token("a", START + 90)
        self.assertEqual(len(self.list), 3)
        self.assertTrue(self.refuses(token_id="a") and self.refuses(token_id="b") and self.refuses("a"))
        self.assertFalse(self.refuses(token_id="c"))

    def test_ended_ones_make_room(self) -> None:
        self.list.revoke_token("a", START + 60)
        self.list.revoke_token("b", START + 30)
        self.list.revoke_user("c", START, START + 90)
        self.list.revoke_token("b", START + 80)
        self.clock.advance(61)
        self.list.revoke_token("d", START + 100)
        self.refused(ErrorCode.LIMIT_EXCEEDED, "e")
        self.assertTrue(self.refuses(token_id="b"), "it was prolonged")
        self.assertFalse(self.refuses(token_id="a"))
        self.clock.advance(1000)
        self.list.revoke_token("e")
        self.assertEqual(len(self.list), 1)

    def test_one_entry_prolonged_many_times(self) -> None:
        """Takes the room of one."""
        for second in range(1000):
            self.list.revoke_token("a", START + second)
            self.list.revoke_user("a", START, START + second)
        self.assertEqual(len(self.list), 2)
        self.clock.advance(998.5)
        self.assertTrue(self.refuses(token_id="a") and self.refuses("a"))
        self.clock.advance(1)
        self.list.revoke_token("b")
        self.assertEqual(len(self.list), 1)

    def test_what_is_over_takes_no_room(self) -> None:
        for number in range(10):
            self.list.revoke_token(f"a{number}", START - number)
        self.assertLessEqual(len(self.list), 1)
