"""Names of channels: the grammar, and what is read out of a name."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.channel import MAX_CHANNEL_BYTES, is_channel, is_private, namespace_of, users_of

_WORD = string.ascii_letters + string.digits + "-_"
_REST = _WORD + ".:#$,=@;"


def reference(name: str) -> bool:
    """The grammar of the module, letter by letter."""
    if not 1 <= len(name) <= MAX_CHANNEL_BYTES or any(letter not in _REST for letter in name):
        return False
    namespace, colon, rest = name.partition(":")
    return not colon or (bool(namespace) and bool(rest) and all(letter in _WORD for letter in namespace))


class ChannelTests(SynchronousTestCase):
    """The grammar on top of the module."""

    def test_table(self) -> None:
        for name, good in (
            ("a", True),
            ("chat:room", True),
            ("chat:a:b:c", True),
            ("A-Z_09.#$,=@;", True),
            ("#42", True),
            ("$private", True),
            ("ns:#", True),
            ("x" * 255, True),
            ("x" * 256, False),
            ("", False),
            (":", False),
            (":a", False),
            ("a:", False),
            ("a.b:c", False),
            ("#a:b", False),
            ("a b", False),
            ("a\n", False),
            ("\na", False),
            ("a\0", False),
            ("a/b", False),
            ("..", True),
            ("*", False),
            ("a}b{", False),
            ("ä", False),
            ("٣", False),
            ("\uff41", False),
            ("a\u200b", False),
        ):
            self.assertIs(good, is_channel(name), repr(name)[:40])

    @given(st.one_of(st.text(alphabet=_REST + " /*äA٣\n\0", max_size=20), st.text(max_size=10)))
    def test_agrees_with_the_grammar(self, name: str) -> None:
        self.assertEqual(reference(name), is_channel(name))

    def test_namespace(self) -> None:
        for name, namespace in (("a", "default"), ("a:b", "a"), ("a:b:c", "a"), ("#1", "default"), ("ns:x", "ns")):
            self.assertEqual(namespace, namespace_of(name))

    def test_users(self) -> None:
        for name, users in (
            ("a", None),
            ("#42", ["42"]),
            ("room#1,2", ["1", "2"]),
            ("a:b#1", ["1"]),
            ("#1#2", ["1#2"]),
            ("#", [""]),
            ("#1,", ["1", ""]),
        ):
            self.assertEqual(users, users_of(name))

    def test_private(self) -> None:
        for name, private in (("$a", True), ("a:$b", True), ("a$b", False), ("a:b$", False), ("a:b:$c", False)):
            self.assertIs(private, is_private(name))
