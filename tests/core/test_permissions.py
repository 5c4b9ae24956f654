"""Who may use a channel: `may` against a reference that was written from the documentation, in other words."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.permissions import may
from realtime_svc.model import ANONYMOUS, Identity

USERS = ("", "1", "2", "42", "4", "a", "authenticated", "anonymous", "#", "$", "1,2", "a:b")
WORDS = ("anonymous", "authenticated", "user:1", "user:42", "user:", "user:a:b", "user", "1", "AUTHENTICATED", "")
CHANNELS = st.one_of(
    st.sampled_from(
        ("x", "#42", "#", "#42,1", "a:#42", "a:b#1,2", "$x", "a:$x", "a$x", "a:b:$x", "#4#2", "x#,", "$#1")
    ),
    st.text(alphabet="ab:#$,124", min_size=1, max_size=12),
)


def reference(user: str, rule: tuple[str, ...], channel: str) -> bool:
    """Read the name from left to right: namespace, `$`, then what stands behind the first `#`."""
    rest = channel[channel.index(":") + 1 :] if ":" in channel else channel
    if rest[:1] == "$":
        return False
    if "#" in channel:
        named = []
        word = ""
        for letter in channel[channel.index("#") + 1 :] + ",":
            if letter == ",":
                named.append(word)
                word = ""
            else:
                word += letter
        if user == "" or user not in named:
            return False
    for word in rule:
        if word == "anonymous":
            return True
        if user != "" and word in ("authenticated", f"user:{user}"):
            return True
    return False


class MayTests(SynchronousTestCase):
    """Rules, users and names of channels."""

    @given(st.sampled_from(USERS), st.lists(st.sampled_from(WORDS), max_size=3).map(tuple), CHANNELS)
    @example("42", ("anonymous",), "#42")
    @example("4", ("anonymous",), "#42")
    @example("", ("anonymous",), "#")
    @example("", ("user:",), "x")
    def test_agrees_with_the_reference(self, user: str, rule: tuple[str, ...], channel: str) -> None:
        self.assertEqual(reference(user, rule, channel), may(Identity(user), rule, channel))

    def test_table(self) -> None:
        for user, rule, channel, allowed in (
            ("", ("anonymous",), "news", True),
            ("1", ("anonymous",), "news", True),
            ("", ("authenticated",), "news", False),
            ("1", ("authenticated",), "news", True),
            ("1", (), "news", False),
            ("1", ("user:1",), "news", True),
            ("2", ("user:1",), "news", False),
            ("42", ("authenticated",), "#42", True),
            ("4", ("authenticated",), "#42", False),
            ("", ("anonymous",), "#42", False),
            ("43", ("authenticated",), "room#42,43", True),
            ("42", ("user:1",), "#42", False),
            ("1", ("authenticated",), "$secret", False),
            ("1", ("authenticated",), "chat:$secret", False),
            ("1", ("authenticated",), "chat$secret", True),
        ):
            self.assertIs(allowed, may(Identity(user), rule, channel), (user, rule, channel))

    def test_nobody_is_nobody(self) -> None:
        """No rule and no list lets an anonymous client pass for a user whose id is empty."""
        for rule in (("user:",), ("authenticated",)):
            self.assertFalse(may(ANONYMOUS, rule, "x"))
        self.assertFalse(may(ANONYMOUS, ("anonymous",), "x#"))
