"""Whose key is it, and what may it do."""

from __future__ import annotations

import hashlib

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import configrules
from realtime_svc.config import ApiKey
from realtime_svc.http import api_keys, api_methods
from realtime_svc.http.api_keys import METHODS, READING, ApiKeys, hash_of, holder, make_key
from realtime_svc.http.api_types import Part


class ScopeTests(SynchronousTestCase):
    def allowed(self, *scopes: str, channel: str | None = None) -> set[str]:
        found = holder("k", scopes)
        return {name for name in METHODS if found.allows(name, channel)}

    def test_what_words_allow(self) -> None:
        for scopes, expected in (
            (("all",), METHODS),
            (("read",), READING),
            (("publish",), {"publish"}),
            (("publish", "info"), {"publish", "info"}),
            (("read", "all"), METHODS),
            ((), set()),
        ):
            self.assertEqual(expected, self.allowed(*scopes), scopes)
            self.assertEqual(expected, self.allowed(*scopes, channel="chat:x"), scopes)

    def test_prefixes_hold_for_channels_that_begin_so(self) -> None:
        scopes = ("publish:chat:", "publish:news", "history:chat:")
        for channel, expected in (
            ("chat:x", {"publish", "history"}),
            ("news", {"publish"}),
            ("newspaper", {"publish"}),
            ("chat", set()),
            ("Chat:x", set()),
            ("x:chat:", set()),
            ("", set()),
            (None, set()),
        ):
            self.assertEqual(expected, self.allowed(*scopes, channel=channel), channel)

    def test_a_wider_word_wins(self) -> None:
        self.assertEqual({"publish"}, self.allowed("publish", "publish:chat:", channel="other"))

    def test_reading_changes_nothing(self) -> None:
        changing = {"publish", "broadcast", "subscribe", "unsubscribe", "disconnect", "refresh", "revoke"}
        self.assertEqual(METHODS - changing - {"history_remove"}, READING)

    def test_words_are_the_methods_there_are(self) -> None:
        """And those that take a prefix are those about one channel; broadcast looks at each of its own."""
        self.assertEqual(set(api_methods.METHODS), METHODS)
        about_one = {name for name, method in api_methods.METHODS.items() if "channel" in fields(method.request)}
        self.assertEqual(about_one | {"broadcast"}, api_keys.CHANNEL_METHODS)

    def test_configuration_knows_the_same_words(self) -> None:
        self.assertLessEqual(METHODS | {"all", "read"}, configrules.SCOPES)


def fields(request: type[Part]) -> tuple[str, ...]:
    return request.__struct_fields__


class KeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.key, self.other = make_key(), make_key()
        self.keys = ApiKeys(
            {"a": ApiKey(hash=hash_of(self.key), scopes=("info",)), "b": ApiKey(hash=hash_of(self.other))}
        )

    def test_keys_are_found_by_what_they_hash_to(self) -> None:
        for key, name in ((self.key, "a"), (self.other, "b")):
            found = self.keys.find(key)
            assert found is not None
            self.assertEqual((name, name == "b"), (found.name, found.allows("revoke")))

    def test_all_else_is_nobodys(self) -> None:
        hashed = hash_of(self.key)
        for key in ("", "x", self.key[:-1], self.key + "x", self.key.upper(), hashed, hashed[7:], "\ud800", "\xe9"):
            self.assertIsNone(self.keys.find(key), key)

    def test_hash_is_sha256(self) -> None:
        self.assertEqual("sha256:" + hashlib.sha256(b"k").hexdigest(), hash_of("k"))

    def test_keys_differ_and_are_long(self) -> None:
        made = {make_key() for _ in range(100)}
        self.assertEqual((100, {43}), (len(made), {len(key) for key in made}))
