"""Who may do what, through sessions: a table written by hand, and any other case against a reference.

Both were written from the documentation of the options (docs, `config.channels`), not from the code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.config import Namespace
from realtime_svc.core import messages
from realtime_svc.core.messages import History, Presence, PresenceStats, Publish, Subscribe
from realtime_svc.model import Grant, SubscriptionClaims
from tests.core.talker import Talker
from tests.fakes import World

TOKENS = {"nobody": "nobody", "alice": "a", "bob": "b"}  # of connections
CHANNELS = ("x", "#alice", "#alice,bob", "room#bob", "$private", "ns:x", "ns:#alice", "ns:$private", "ns:a#alice,bob")
READING = ("history", "presence", "presence_stats")
ACTIONS = ("subscribe", "publish", *READING)
WORDS = ("anonymous", "authenticated", "user:alice", "user:bob", "user:", "subscriber")


class Case(NamedTuple):
    """`rule` is the one for the action. `subscribed`: by a token, whatever the rules say. `token`: it brings a good
    subscription token along."""

    who: str
    action: str
    channel: str
    rule: tuple[str, ...]
    subscribed: bool = False
    token: bool = False
    insecure: bool = False


def reference(case: Case) -> bool:
    """May it be done?"""
    if case.insecure:
        return True
    if case.action == "subscribe":
        if case.token:
            return True
        inside = False
    else:
        inside = case.subscribed
        if inside and "subscriber" in case.rule:
            return True
    behind = case.channel.split(":")[-1]
    if not inside and behind.startswith("$"):
        return False
    if not inside and "#" in behind and case.who not in behind.split("#")[1].split(","):
        return False
    if case.who == "nobody":
        return "anonymous" in case.rule
    return any(word in case.rule for word in ("anonymous", "authenticated", f"user:{case.who}"))


def command_of(case: Case) -> messages.Command:
    match case.action:
        case "subscribe":
            return Subscribe(case.channel, 9, token="good" if case.token else "")
        case "publish":
            return Publish(case.channel, b"1", id=9)
        case "history":
            return History(case.channel, id=9)
        case "presence":
            return Presence(case.channel, 9)
        case _:
            return PresenceStats(case.channel, 9)


def behaviour(case: Case) -> bool:
    """What a node does: is the command carried out? A refusal is 103, and nothing happened then."""
    right = {"history": "read_history", "presence": "read_presence", "presence_stats": "read_presence"}
    options: dict[str, Any] = dict.fromkeys(("subscribe", "publish", "read_history", "read_presence"), ())
    options[right.get(case.action, case.action)] = case.rule
    namespace = Namespace(insecure=case.insecure, presence=True, history_size=5, history_ttl=60.0, **options)
    world = World(namespaces={"default": namespace, "ns": namespace}, anonymous=True)
    user = "" if case.who == "nobody" else case.who
    world.authenticator.subscriptions["good"] = SubscriptionClaims(user, case.channel, Grant())
    client = Talker(world, TOKENS[case.who])
    if case.subscribed:
        client.subscribe(case.channel, token="good")
    failed = client.refused(command_of(case))
    assert failed in (0, 103), (case, failed)
    assert not client.closed and not world.reports
    if case.action == "subscribe":
        assert (case.channel in client.session.channels) is (not failed)
    if case.action == "publish":
        assert world.instruments.publications == (not failed)
    return not failed


# who action channel rule flags: s subscribed, t token, i insecure -> may it
TABLE = """
nobody  subscribe x           anonymous            -   yes
nobody  subscribe x           authenticated        -   no
nobody  subscribe x           user:alice           -   no
nobody  subscribe x           user:                -   no
nobody  subscribe x           -                    -   no
nobody  subscribe x           -                    t   yes
nobody  subscribe x           -                    i   yes
nobody  subscribe #alice      anonymous            -   no
nobody  subscribe #alice      anonymous            t   yes
nobody  subscribe $private    anonymous            -   no
nobody  subscribe $private    -                    t   yes
nobody  subscribe $private    -                    i   yes
nobody  subscribe #alice      -                    i   yes
alice   subscribe x           anonymous            -   yes
alice   subscribe x           authenticated        -   yes
alice   subscribe x           user:alice           -   yes
alice   subscribe x           user:bob             -   no
alice   subscribe x           user:bob,user:alice  -   yes
alice   subscribe x           subscriber           -   no
alice   subscribe x           -                    -   no
alice   subscribe #alice      authenticated        -   yes
alice   subscribe #alice      anonymous            -   yes
alice   subscribe #alice      user:bob             -   no
alice   subscribe #alice      -                    -   no
alice   subscribe #alice,bob  authenticated        -   yes
alice   subscribe room#bob    authenticated        -   no
alice   subscribe room#bob    user:alice           -   no
alice   subscribe room#bob    -                    t   yes
alice   subscribe $private    authenticated        -   no
alice   subscribe $private    anonymous            -   no
alice   subscribe $private    user:alice           -   no
alice   subscribe $private    -                    t   yes
alice   subscribe ns:x        authenticated        -   yes
alice   subscribe ns:#alice   authenticated        -   yes
alice   subscribe ns:$private anonymous            -   no
alice   subscribe ns:$private -                    t   yes
bob     subscribe #alice      authenticated        -   no
bob     subscribe #alice,bob  authenticated        -   yes
bob     subscribe #alice,bob  user:alice           -   no
bob     subscribe ns:#alice   anonymous            -   no
bob     subscribe ns:#alice   -                    i   yes
bob     subscribe ns:a#alice,bob authenticated     -   yes
nobody  publish   x           anonymous            -   yes
nobody  publish   x           authenticated        -   no
nobody  publish   x           subscriber           -   no
nobody  publish   x           subscriber           s   yes
nobody  publish   x           authenticated        s   no
nobody  publish   #alice      anonymous            -   no
nobody  publish   #alice      anonymous            s   yes
nobody  publish   x           -                    i   yes
alice   publish   x           -                    -   no
alice   publish   x           -                    s   no
alice   publish   x           authenticated        -   yes
alice   publish   x           subscriber           -   no
alice   publish   x           subscriber           s   yes
alice   publish   x           user:bob             s   no
alice   publish   x           user:bob,subscriber  s   yes
alice   publish   room#bob    authenticated        -   no
alice   publish   room#bob    authenticated        s   yes
alice   publish   room#bob    subscriber           s   yes
alice   publish   $private    authenticated        -   no
alice   publish   $private    anonymous            -   no
alice   publish   $private    authenticated        s   yes
alice   publish   $private    subscriber           s   yes
alice   publish   $private    -                    i   yes
bob     publish   #alice,bob  authenticated        -   yes
bob     publish   ns:#alice   authenticated        -   no
nobody  history   x           subscriber           -   no
nobody  history   x           subscriber           s   yes
nobody  history   x           anonymous            -   yes
alice   history   x           subscriber           -   no
alice   history   x           authenticated        -   yes
alice   history   $private    authenticated        -   no
alice   history   $private    subscriber           s   yes
alice   history   #alice      authenticated        -   yes
bob     history   #alice      authenticated        -   no
bob     history   #alice      -                    s   no
bob     history   #alice      -                    i   yes
nobody  presence  x           authenticated        -   no
nobody  presence  x           subscriber           s   yes
alice   presence  x           subscriber           -   no
alice   presence  x           user:alice           -   yes
bob     presence  x           user:alice           s   no
bob     presence  ns:$private anonymous            -   no
bob     presence  ns:$private subscriber           s   yes
bob     presence  ns:#alice   -                    i   yes
nobody  presence_stats x      anonymous            -   yes
alice   presence_stats x      subscriber           -   no
alice   presence_stats x      subscriber           s   yes
bob     presence_stats #alice authenticated        -   no
"""


def table() -> list[tuple[Case, bool]]:
    found = []
    for line in TABLE.strip().splitlines():
        who, action, channel, rule, flags, allowed = line.split()
        words = () if rule == "-" else tuple(rule.split(","))
        found.append((Case(who, action, channel, words, "s" in flags, "t" in flags, "i" in flags), allowed == "yes"))
    return found


CASES = st.builds(
    Case,
    st.sampled_from(sorted(TOKENS)),
    st.sampled_from(ACTIONS),
    st.sampled_from(CHANNELS),
    st.lists(st.sampled_from(WORDS), max_size=3, unique=True).map(tuple),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


class AuthorizationTests(SynchronousTestCase):
    """The node against the table and the reference, and these against each other."""

    def test_table(self) -> None:
        cases = table()
        self.assertGreaterEqual(len(set(cases)), 60)
        self.assertEqual(len(cases), len(set(cases)), "each once")
        for case, allowed in cases:
            self.assertIs(allowed, reference(case), ("reference", case))
            self.assertIs(allowed, behaviour(case), ("node", case))

    @settings(max_examples=500, deadline=None)
    @given(CASES)
    def test_any_case(self, case: Case) -> None:
        if case.action == "subscribe":
            case = case._replace(subscribed=False)
        self.assertIs(reference(case), behaviour(case), case)

    def test_asking_beforehand(self) -> None:
        """What `may_subscribe` says without a session is what happens without a token."""
        for case, allowed in table():
            if case.action == "subscribe" and not case.token:
                namespace = Namespace(subscribe=case.rule, insecure=case.insecure)
                world = World(namespaces={"default": namespace, "ns": namespace})
                identity = world.authenticator.tokens[TOKENS[case.who]]
                self.assertIs(allowed, world.node.may_subscribe(identity, case.channel), case)
