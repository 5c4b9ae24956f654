"""What claims mean: connection tokens, subscription tokens, and that neither is taken for the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.jwt import JwtKeeper
from realtime_svc.auth.keys import load_keys
from realtime_svc.auth.revocations import RevocationList
from realtime_svc.config import Jwt
from realtime_svc.errors import AuthenticationFailed
from realtime_svc.model import Grant, Identity, SubscriptionClaims
from tests.auth import bad_claims
from tests.auth.bad_tokens import LEEWAY, SETUP, bad_subscription_tokens, good_claims
from tests.auth.forging import SECRET, compact, standard_b64

NOW = 1_800_000_000.0


class Case(SynchronousTestCase):
    """A keeper that wants nothing but a good signature."""

    leeway = 0.0

    def setUp(self) -> None:
        config = Jwt(algorithms=("HS256",), secret=SECRET, require_expiry=False, leeway=self.leeway)
        self.revocations = RevocationList(10, lambda: NOW)
        self.keeper = JwtKeeper(config, load_keys(config), lambda: NOW, self.revocations)

    def identity(self, **claims: Any) -> Identity:
        return self.keeper.authenticate(SETUP.sign(bad_claims.short(compact(claims))))

    def subscription(self, **claims: Any) -> SubscriptionClaims:
        return self.keeper.authenticate_subscription(SETUP.sign(claims))

    def cause(self, **claims: Any) -> str:
        try:
            self.identity(**claims)
        except AuthenticationFailed as failure:
            return failure.cause
        return "accepted"

    def subscription_cause(self, **claims: Any) -> str:
        try:
            self.subscription(**claims)
        except AuthenticationFailed as failure:
            return failure.cause
        return "accepted"


class ConnectionTests(Case):
    """From claims to an `Identity`."""

    def test_everything(self) -> None:
        """Each claim has its place."""
        identity = self.identity(
            sub="42",
            exp=NOW + 60,
            iat=NOW - 1,
            jti="token-1",
            info={"name": "Zoë"},
            meta={"roles": ["a", 1]},
            channels=["news", "#42"],
            subs={
                "chat:1": {
                    "info": {"role": "op"},
                    "data": [1, "a\nb"],
                    "override": {
                        "presence": {"value": True},
                        "join_leave": {"value": False},
                        "force_positioning": {"value": True},
                        "force_recovery": {"value": False},
                    },
                }
            },
        )
        grant = Grant(b'{"role":"op"}', b'[1,"a\\nb"]', None, True, False, True, False)
        self.assertEqual(
            identity,
            Identity(
                "42",
                '{"name":"Zoë"}'.encode(),
                NOW + 60,
                b'{"roles":["a",1]}',
                "token-1",
                NOW - 1,
                {"news": Grant(), "#42": Grant(), "chat:1": grant},
            ),
        )
        self.assertEqual(list(identity.subscriptions), ["news", "#42", "chat:1"])

    def test_base64(self) -> None:
        """JSON in base64 is what it encodes, made compact; it wins; an empty one is none."""
        encoded = standard_b64(b'{ "a" : 1 }')
        self.assertEqual(self.identity(b64info=encoded, info="other").info, b'{"a":1}')
        self.assertEqual(self.identity(b64info="", info="other").info, b'"other"')
        self.assertIsNone(self.identity(b64info=standard_b64(b"null"), info="other").info)
        grant = self.identity(subs={"news": {"b64info": encoded, "b64data": encoded}}).subscriptions["news"]
        self.assertEqual(grant, Grant(b'{"a":1}', b'{"a":1}'))

    def test_null_is_not_there(self) -> None:
        """As some libraries write fields that are not set; null in an entry of `subs` is an entry without options."""
        names = ("info", "b64info", "meta", "channels", "subs")
        self.assertEqual(self.identity(jti="", **dict.fromkeys(names)), Identity(""))
        nothing = dict.fromkeys(("info", "b64info", "data", "b64data", "override"))
        override = {"override": dict.fromkeys(bad_claims.SWITCHES)}
        subs = {"a": None, "b": {}, "c": nothing, "d": override}
        self.assertEqual(self.identity(subs=subs).subscriptions, dict.fromkeys("abcd", Grant()))

    def test_joins_are_announced_and_pushed_as_one(self) -> None:
        """`join_leave` decides; `force_push_join_leave` where it is not there."""
        for announced, pushed, expected in (
            (None, None, None),
            (None, True, True),
            (None, False, False),
            (True, False, True),
            (False, True, False),
        ):
            switches = {"join_leave": announced, "force_push_join_leave": pushed}
            override = {name: {"value": value} for name, value in switches.items() if value is not None}
            grant = self.identity(subs={"news": {"override": override}}).subscriptions["news"]
            self.assertEqual(grant, Grant(join_leave=expected))

    def test_options_of_both_lists(self) -> None:
        """A channel that is in `channels` and in `subs` has the options of `subs`; named twice it is there once."""
        subscriptions = self.identity(channels=["news", "news"], subs={"news": {"data": 1}}).subscriptions
        self.assertEqual(subscriptions, {"news": Grant(data=b"1")})

    def test_limits(self) -> None:
        """128 channels, ids of 255 bytes, 4 KiB of each text, 16 KiB of all: accepted."""
        for claims in (
            {"channels": [f"c{number}" for number in range(128)]},
            {"channels": [f"c{number}" for number in range(64)], "subs": {f"s{number}": {} for number in range(64)}},
            {"channels": ["x" * 255]},
            {"jti": "é" * 127 + "x"},
            {"meta": {"x": bad_claims.LONG[:-9]}},
            {"subs": {f"c{number}": {"data": bad_claims.GROWING} for number in range(4)}},
            {"b64info": standard_b64(json.dumps(bad_claims.LONG[1:]).encode())},
        ):
            self.assertEqual(self.cause(**claims), "accepted", str(claims)[:40])

    def test_names_of_channels(self) -> None:
        """The issuer decides: private channels and those of others are no matter of this place."""
        names = ["$secret", "chat:$secret", "#7", "room#42,43", "a:b:c"]
        self.assertEqual(list(self.identity(sub="42", channels=names).subscriptions), names)

    def test_unknown_claims(self) -> None:
        """What is not known is not looked at, on any level."""
        more = {"value": True, "more": 1}
        subs = {"news": {"more": [], "override": {"more": 1, "presence": more}}}
        expected = {"news": Grant(presence=True)}
        self.assertEqual(self.identity(more={}, client=7, override=7, data=7, subs=subs).subscriptions, expected)

    def test_meta_is_not_shown(self) -> None:
        """Nor is the token's id: an identity may be logged."""
        text = repr(self.identity(sub="42", meta={"a": "canary"}, jti="canary"))
        self.assertIn("42", text)
        self.assertNotIn("canary", text)


class LifeTests(Case):
    """`exp`, `expire_at`, leeway."""

    leeway = LEEWAY

    def test_end_of_the_connection(self) -> None:
        """`expire_at` in place of `exp`, later or sooner; 0 is never; leeway moves both."""
        for claims, ends in (
            ({}, None),
            ({"exp": NOW + 60}, NOW + 60 + LEEWAY),
            ({"exp": NOW + 60, "expire_at": NOW + 30}, NOW + 30 + LEEWAY),
            ({"exp": NOW + 60, "expire_at": NOW + 90.5}, NOW + 90.5 + LEEWAY),
            ({"exp": NOW + 60, "expire_at": 0}, None),
            ({"expire_at": 0}, None),
            ({"expire_at": NOW + 30}, NOW + 30 + LEEWAY),
        ):
            self.assertEqual(self.identity(**claims).expires_at, ends, claims)
            self.assertEqual(self.subscription(channel="news", **claims).grant.expires_at, ends, claims)

    def test_edges(self) -> None:
        """The first moment that is too late."""
        for claims, cause in (
            ({"exp": NOW - LEEWAY + 0.5}, "accepted"),
            ({"exp": NOW - LEEWAY}, "expired"),
            ({"expire_at": NOW - LEEWAY + 0.5}, "accepted"),
            ({"expire_at": NOW - LEEWAY}, "expired"),
            ({"exp": NOW - LEEWAY, "expire_at": NOW + 60}, "expired"),
            ({"exp": NOW - LEEWAY, "expire_at": 0}, "expired"),
            ({"exp": NOW + 60, "expire_at": NOW - LEEWAY}, "expired"),
        ):
            self.assertEqual(self.cause(**claims), cause, claims)
            self.assertEqual(self.subscription_cause(channel="news", **claims), cause, claims)

    def test_expire_at_is_no_exp(self) -> None:
        """Where `exp` is required, `expire_at` does not stand in for it."""
        config = Jwt(algorithms=("HS256",), secret=SECRET)
        keeper = JwtKeeper(config, load_keys(config), lambda: NOW)
        for function in (keeper.authenticate, keeper.authenticate_subscription):
            token = SETUP.sign({"expire_at": NOW + 60, "channel": "news"})
            self.assertEqual(self.assertRaises(AuthenticationFailed, function, token).cause, "claims")

    def test_expired_is_said_last(self) -> None:
        """Of a token that is revoked as well, the other thing is said."""
        self.revocations.revoke_token("stolen")
        over = {"exp": NOW - 3600, "iat": NOW - 7200}
        self.assertEqual(self.cause(jti="stolen", **over), "revoked")
        self.assertEqual(self.subscription_cause(channel="news", jti="stolen", **over), "revoked")
        self.assertEqual(self.cause(jti="good", **over), "expired")


class SubscriptionTests(Case):
    """From claims to `SubscriptionClaims`."""

    def test_everything(self) -> None:
        """Each claim has its place; options stand on top."""
        claims = self.subscription(
            sub="42",
            channel="$chat",
            client="c-1",
            exp=NOW + 60,
            iat=NOW - 1,
            jti="token-1",
            info={"role": "op"},
            b64data=standard_b64(b'{ "a": 1 }'),
            override={"presence": {"value": True}, "force_recovery": {"value": True}},
        )
        grant = Grant(b'{"role":"op"}', b'{"a":1}', NOW + 60, presence=True, recoverable=True)
        self.assertEqual(claims, SubscriptionClaims("42", "$chat", grant, "c-1", "token-1", NOW - 1))

    def test_least(self) -> None:
        """A channel is enough: for the anonymous user, without an end."""
        self.assertEqual(self.subscription(channel="news"), SubscriptionClaims("", "news", Grant()))
        nothing = dict.fromkeys(("info", "b64info", "data", "b64data", "override"))
        claims = self.subscription(channel="news", client="", jti="", **nothing)
        self.assertEqual(claims, SubscriptionClaims("", "news", Grant()))

    def test_every_bad_token(self) -> None:
        """The table of `bad_subscription_tokens`: each for its own reason."""
        folder = Path(self.mktemp())
        folder.mkdir()
        config = SETUP.config(folder)
        keeper = JwtKeeper(config, load_keys(config), lambda: NOW)
        table = bad_subscription_tokens(NOW)
        self.assertEqual(len({bad.name for bad in table}), len(table))
        for bad in table:
            failure = self.assertRaises(AuthenticationFailed, keeper.authenticate_subscription, bad.token)
            self.assertEqual(failure.cause, bad.cause, bad.name)
            self.assertTrue(failure.__suppress_context__ or failure.__context__ is None, bad.name)
        good = SETUP.sign({**good_claims(NOW), "channel": "news"})
        self.assertEqual(keeper.authenticate_subscription(good).channel, "news")


class PurposeTests(Case):
    """A token is for one thing."""

    def test_subscription_token_does_not_connect(self) -> None:
        """Whatever stands in `channel`; one that names `channels` is fine."""
        channels: tuple[Any, ...] = ("news", "", None, 1, ["news"], {})
        for channel in channels:
            self.assertEqual(self.cause(sub="42", channel=channel), "purpose")
        self.assertEqual(self.cause(sub="42", channels=["news"]), "accepted")

    def test_connection_token_does_not_subscribe(self) -> None:
        """Not even to the channels it names."""
        self.assertEqual(self.subscription_cause(sub="42"), "purpose")
        self.assertEqual(self.subscription_cause(sub="42", channels=["news"], subs={"news": {}}), "purpose")

    def test_expired_token_of_the_wrong_kind(self) -> None:
        """Is no reason to fetch another one of its kind."""
        self.assertEqual(self.cause(exp=1, channel="news"), "purpose")
        self.assertEqual(self.subscription_cause(exp=1), "purpose")
