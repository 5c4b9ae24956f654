"""Whatever the text of a token, nothing but `AuthenticationFailed` leaves the keyring."""

from __future__ import annotations

import string
import typing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.credentials import Cause
from realtime_svc.auth.keyring import Keyring, build_keyring
from realtime_svc.channel import is_channel
from realtime_svc.config import Auth
from realtime_svc.errors import AuthenticationFailed
from realtime_svc.model import BearerCredential, Grant, Identity, SubscriptionClaims
from tests.auth.bad_claims import SWITCHES
from tests.auth.bad_tokens import SETUP, good_claims
from tests.auth.forging import b64, compact, hs
from tests.auth.test_keyring import NOW, at_once

CAUSES = frozenset(typing.get_args(Cause))
TEXTS = ("", "news", "chat:1", "$a", "a b", "e30=", "42", "x" * 300, "\ud800", "\u202e\n")

scalars = (
    some.none()
    | some.booleans()
    | some.integers(min_value=-(2**70), max_value=2**70)
    | some.floats()
    | some.sampled_from((int(NOW), int(NOW) + 600, int(NOW) - 600, 0))
    | some.sampled_from(TEXTS)
    | some.text(max_size=20)
)
values = some.recursive(
    scalars,
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(some.sampled_from((*TEXTS, "value", "info", "override", *SWITCHES)), inner, max_size=4)
    ),
    max_leaves=12,
)
names = some.sampled_from(TEXTS)
grants = some.fixed_dictionaries(
    {},
    optional={
        "info": values,
        "b64data": values,
        "override": some.dictionaries(
            some.sampled_from(SWITCHES), some.fixed_dictionaries({"value": some.booleans() | scalars})
        ),
    },
)
subs = some.dictionaries(names, grants | values)
# Good claims of either kind, some of which are overwritten: what a test accepts must come about, too.
kinds = some.sampled_from(({}, {"channel": "news"}, {"channels": ["news"], "subs": {"a": {"data": 1}}, "meta": {}}))
changes = some.lists(
    some.tuples(some.sampled_from(("info", "data", "b64info", "b64data", "meta", "override")), values)
    | some.tuples(some.sampled_from(("sub", "exp", "expire_at", "nbf", "iat", "jti", "aud", "iss", "client")), values)
    | some.tuples(some.just("channel"), names | values)
    | some.tuples(some.just("channels"), some.lists(names) | values)
    | some.tuples(some.just("subs"), subs | values)
    | grants.map(lambda grant: ("override", grant.get("override"))),
    max_size=3,
)
headers = some.fixed_dictionaries(
    {"alg": some.just("HS256") | values}, optional=dict.fromkeys(("typ", "kid", "crit", "b64", "jwk"), values)
)
alphabet = some.text(string.ascii_letters + string.digits + "-_", max_size=60)
tokens = (
    some.text(max_size=200)
    | some.text(string.ascii_letters + string.digits + "-_.=", max_size=200)
    | some.tuples(alphabet, alphabet, alphabet).map(".".join)
    | some.text(min_size=8000, max_size=8400)
)


class AnyTokenTests(SynchronousTestCase):
    """Texts, half tokens, and tokens of a signer who has gone mad."""

    keyring: Keyring

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        config = Auth(tokens={"device": "token-of-the-device"}, jwt=SETUP.config(folder), insecure=True)
        self.keyring = build_keyring(config, at_once, lambda: NOW)

    def attempt(self, token: str) -> list[Any]:
        """What is accepted of it; anything else must have a cause of the list."""
        found: list[Any] = []
        for ask in (lambda: self.keyring.authenticate(BearerCredential(token)), self.subscription(token)):
            try:
                found.append(ask())
            except AuthenticationFailed as failure:
                self.assertIn(failure.cause, CAUSES)
        return found

    def subscription(self, token: str) -> Any:
        return lambda: self.keyring.authenticate_subscription(token)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(tokens)
    def test_any_text(self, token: str) -> None:
        self.assertEqual(self.attempt(token), [])

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(some.just({"alg": "HS256"}) | headers, kinds, changes, values)
    def test_any_claims_with_a_good_signature(self, header: Any, kind: Any, changed: Any, other: Any) -> None:
        """What is accepted is sound: names are names, texts are bounded, there is one purpose."""
        for body in ({**good_claims(NOW), **kind, **dict(changed)}, other):
            signed = f"{b64(compact(header))}.{b64(compact(body))}"
            found = self.attempt(f"{signed}.{b64(hs()(signed.encode('ascii')))}")
            self.assertLessEqual(len(found), 1)
            for subject in found:
                self.check(subject)

    def check(self, subject: Identity | SubscriptionClaims) -> None:
        self.assertLessEqual(len(subject.user.encode()), 255)
        self.assertLessEqual(len(subject.token_id.encode()), 255)
        if isinstance(subject, SubscriptionClaims):
            grants = {subject.channel: subject.grant}
        else:
            grants = dict(subject.subscriptions)
            self.assertTrue(subject.meta is None or subject.meta.startswith(b"{"))
        self.assertEqual([name for name in grants if not is_channel(name)], [])
        for grant in grants.values():
            self.check_grant(grant)

    def check_grant(self, grant: Grant) -> None:
        for text in (grant.info, grant.data):
            self.assertTrue(text is None or len(text) <= 4096)
        for switch in (grant.presence, grant.join_leave, grant.positioned, grant.recoverable):
            self.assertIn(switch, (None, True, False))
