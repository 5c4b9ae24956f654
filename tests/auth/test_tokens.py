"""Static tokens."""

from __future__ import annotations

import hmac
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.tokens import StaticTokens
from realtime_svc.errors import AuthenticationFailed, ConfigError
from realtime_svc.model import Identity

TOKENS = {"alice": "token-of-alice-000", "bob": "token-of-bob-00000"}


class StaticTokenTests(SynchronousTestCase):
    """Who has which token."""

    def test_found(self) -> None:
        """Each token gives its user, without an end."""
        keeper = StaticTokens(TOKENS)
        for user, token in TOKENS.items():
            self.assertEqual(keeper.authenticate(token), Identity(user))

    def test_refused(self) -> None:
        """Anything but exactly the token: prefixes, other cases, users' names, what is no text of this world."""
        keeper = StaticTokens(TOKENS)
        for token in ("", "alice", "token-of-alice-00", "token-of-alice-0000", "TOKEN-of-alice-000", "\ud800", "é" * 9):
            failure = self.assertRaises(AuthenticationFailed, keeper.authenticate, token)
            self.assertEqual(failure.cause, "unknown")

    def test_none_configured(self) -> None:
        """An empty table takes nothing, not even an empty token."""
        self.assertIsNone(StaticTokens({}).find(""))

    def test_only_keyed_digests_are_compared(self) -> None:
        """Neither the token nor a digest a stranger could compute is what the comparison sees."""
        with mock.patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compare:
            first, second = StaticTokens(TOKENS), StaticTokens(TOKENS)
            for keeper in (first, second):
                keeper.authenticate(TOKENS["alice"])
        compared = [call.args for call in compare.call_args_list]
        self.assertEqual([len(part) for arguments in compared for part in arguments], [32] * 4)
        self.assertNotEqual(compared[0], compared[1])

    def test_bad_tables(self) -> None:
        """Errors name the key and the user, not the token."""
        cases = [
            ({"": "a" * 20}, "auth.tokens"),
            ({"a\nb": "a" * 20}, "auth.tokens"),
            ({"alice": "not sendable token!"}, "auth.tokens.alice"),
            ({"alice": "é" * 20}, "auth.tokens.alice"),
            ({"alice": "a" * 20, "bob": "a" * 20}, "auth.tokens.bob"),
        ]
        for tokens, key in cases:
            error = self.assertRaises(ConfigError, StaticTokens, tokens)
            self.assertEqual(error.key, key)
            for token in tokens.values():
                self.assertNotIn(token, str(error))
