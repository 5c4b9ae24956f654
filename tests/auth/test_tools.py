"""`realtime-svc token`: what is made is accepted, and what is explained is explained safely."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.jwt import JwtKeeper
from realtime_svc.auth.keys import load_keys
from realtime_svc.auth.tools import explain_token, make_token
from realtime_svc.config import Jwt
from realtime_svc.errors import ConfigError
from realtime_svc.model import Grant, Identity, SubscriptionClaims
from tests.auth.bad_tokens import SETUP, bad_subscription_tokens, bad_tokens, good_claims
from tests.auth.forging import SECRET, pem
from tests.auth.test_keys import private_pem

NOW = 1_800_000_000.0


class MakeTests(SynchronousTestCase):
    """`make_token`."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def accepts(self, config: Jwt, token: str) -> Identity:
        return JwtKeeper(config, load_keys(config), lambda: NOW).authenticate(token)

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def test_with_the_shared_secret(self) -> None:
        """Audience, issuer, end and info are those the server wants."""
        config = SETUP.config(self.folder)
        token = make_token(config, "42", 60, NOW, {"name": "Zoë"})
        self.assertEqual(
            self.accepts(config, token),
            Identity("42", '{"name":"Zoë"}'.encode(), NOW + 60 + config.leeway, issued_at=NOW),
        )

    def test_with_private_keys(self) -> None:
        """Each kind of key signs for its own algorithm, and the key's kid goes with it."""
        config = SETUP.config(self.folder)
        for key in (SETUP.first_rsa, SETUP.second_rsa, SETUP.p256, SETUP.ed):
            token = make_token(config, "42", 60, NOW, private_key_file=self.write("key.pem", private_pem(key)))
            self.assertEqual(self.accepts(config, token).user, "42")

    def test_without_kid_and_end(self) -> None:
        """A PEM key has no kid; where no end is required, there may be none."""
        public = self.write("public.pem", pem(SETUP.p256.public_key()))
        config = Jwt(algorithms=("ES256",), key_file=public, require_expiry=False)
        private = self.write("private.pem", private_pem(SETUP.p256))
        self.assertEqual(
            self.accepts(config, make_token(config, "", None, NOW, private_key_file=private)),
            Identity("", issued_at=NOW),
        )

    def test_more_claims(self) -> None:
        """All that `claims.py` knows can be asked for; with a channel it is a subscription token."""
        config = SETUP.config(self.folder)
        more = {"jti": "a", "meta": {"x": 1}, "channels": ["news"], "expire_at": 0}
        identity = self.accepts(config, make_token(config, "42", 60, NOW, more=more))
        self.assertEqual(identity, Identity("42", None, None, b'{"x":1}', "a", NOW, {"news": Grant()}))
        token = make_token(config, "42", 60, NOW, [1], more={"channel": "$a", "expire_at": NOW + 5})
        keeper = JwtKeeper(config, load_keys(config), lambda: NOW)
        grant = Grant(b"[1]", expires_at=NOW + 5 + config.leeway)
        self.assertEqual(keeper.authenticate_subscription(token), SubscriptionClaims("42", "$a", grant, issued_at=NOW))

    def test_short_secret(self) -> None:
        """Signs without a word where the server takes it."""
        config = Jwt(algorithms=("HS256",), secret="secret")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            token = make_token(config, "42", 60, NOW, insecure=True)
        keeper = JwtKeeper(config, load_keys(config, insecure=True), lambda: NOW)
        self.assertEqual(keeper.authenticate(token).user, "42")

    def test_claims_that_would_be_refused(self) -> None:
        """Are not signed; the values are not repeated."""
        config = SETUP.config(self.folder)
        cases: list[tuple[dict[str, Any], str]] = [
            ({"channel": "a canary"}, "channel"),
            ({"channel": ""}, "channel"),
            ({"channels": ["news", "a canary"]}, "channel"),
            ({"jti": "canary\n"}, "token"),
            ({"meta": ["canary"]}, "token"),
            ({"info": "canary" * 1000}, "token"),
            ({"expire_at": NOW * 1000}, "token"),
            ({"expire_at": NOW - 60}, "token"),
            ({"channels": [f"canary{number}" for number in range(129)]}, "token"),
            ({"channels": ["canary" * 40] * 30}, "token"),
        ]
        for more, key in cases:
            error = self.assertRaises(ConfigError, make_token, config, "42", 60, NOW, more=more)
            self.assertEqual(error.key, key, str(more)[:60])
            self.assertNotIn("canary", str(error))

    def test_errors(self) -> None:
        """What can't be made says why."""
        config = SETUP.config(self.folder)
        p384 = self.write("p384", private_pem(ec.generate_private_key(ec.SECP384R1())))
        locked = SETUP.p256.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"canary"),
        )
        cases: list[tuple[Jwt, str, float | None, str, str]] = [
            (config, "a\nb", 60, "", "user"),
            (config, "42", None, "", "ttl"),
            (config, "42", 60, p384, "auth.jwt.algorithms"),
            (config, "42", 60, self.write("locked", locked), "private key"),
            (config, "42", 60, self.write("canary", b"canary"), "private key"),
            (config, "42", 60, self.write("dsa", private_pem(dsa.generate_private_key(1024))), "private key"),
            (config, "42", 60, str(self.folder / "missing"), "private key"),
            (Jwt(algorithms=("ES256",), jwks_url="https://keys.test/"), "42", 60, "", "auth.jwt"),
        ]
        for used, user, ttl, private_key_file, key in cases:
            error = self.assertRaises(ConfigError, make_token, used, user, ttl, NOW, private_key_file=private_key_file)
            self.assertEqual(error.key, key)
            self.assertNotIn("canary", error.reason)

    def test_what_a_public_key_needs(self) -> None:
        """The error names the option."""
        config = Jwt(algorithms=("ES256",), jwks_url="https://keys.test/")
        error = self.assertRaises(ConfigError, make_token, config, "42", 60, NOW)
        self.assertIn("--private-key FILE", error.reason)


class ExplainTests(SynchronousTestCase):
    """`explain_token`."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        config = SETUP.config(folder)
        self.keeper = JwtKeeper(config, load_keys(config), lambda: NOW)

    def explain(self, token: str) -> list[str]:
        return explain_token(token, self.keeper, NOW)

    def test_good(self) -> None:
        """Header, claims, dates a person can read, verdict."""
        claims: dict[str, Any] = {**good_claims(NOW), "iat": NOW - 60}
        lines = self.explain(SETUP.sign(claims))
        expected = [
            'header:  {"alg": "HS256", "typ": "JWT"}',
            f"claims:  {json.dumps(claims)}",
            "iat:     2027-01-15T07:59:00+00:00 (60 s ago)",
            "exp:     2027-01-15T08:10:00+00:00 (in 600 s)",
            'verdict: accepted for user "42"',
        ]
        self.assertEqual(lines, expected)
        self.assertEqual(
            self.explain(SETUP.sign({**claims, "sub": ""}))[-1], "verdict: accepted for an anonymous client"
        )

    def test_subscription(self) -> None:
        """What a subscription token is good for; one without an end never ends."""
        claims = {**good_claims(NOW), "channel": "news", "expire_at": 0}
        lines = self.explain(SETUP.sign(claims))
        self.assertEqual(
            lines[-2:], ["expire_at: never", 'verdict: accepted for a subscription of user "42" to "news"']
        )
        lines = self.explain(SETUP.sign({**claims, "sub": "", "expire_at": NOW + 60}))
        expected = [
            "expire_at: 2027-01-15T08:01:00+00:00 (in 60 s)",
            'verdict: accepted for a subscription of an anonymous client to "news"',
        ]
        self.assertEqual(lines[-2:], expected)

    def test_every_bad_token(self) -> None:
        """Each has a verdict of its cause; all lines are printable ASCII, and none holds the signature."""
        for bad in (*bad_tokens(NOW), *bad_subscription_tokens(NOW)):
            lines = self.explain(bad.token)
            self.assertTrue(lines[-1].startswith("verdict: refused: "), bad.name)
            self.assertTrue(all(line.isascii() and line.isprintable() for line in lines), bad.name)
            signature = bad.token.rpartition(".")[2]
            self.assertFalse(len(signature) > 20 and any(signature in line for line in lines), bad.name)

    def test_terminal_escapes(self) -> None:
        """Text of the token can't move the cursor or change what was printed before."""
        lines = self.explain(SETUP.sign({**good_claims(NOW), "sub": "\x1b[2J\u202e\x9b"}))
        self.assertIn("\\u001b[2J\\u202e\\u009b", lines[1])

    def test_jwt_off(self) -> None:
        """Without a keeper the claims are shown, and why the server would not look at them."""
        lines = explain_token(SETUP.sign(good_claims(NOW)), None, NOW)
        self.assertIn("auth.jwt.algorithms is empty", lines[-1])

    def test_secret_is_not_shown(self) -> None:
        """Nor anything else that would let the reader sign."""
        self.assertNotIn(SECRET, "\n".join(self.explain(SETUP.sign(good_claims(NOW)))))
