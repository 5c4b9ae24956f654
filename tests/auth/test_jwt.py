"""JSON Web Tokens: every bad one is refused for its own reason, every good one is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.credentials import looks_like_jwt
from realtime_svc.auth.jwt import JwtKeeper
from realtime_svc.auth.keys import Key, KeySet, algorithms_of, load_keys
from realtime_svc.config import Jwt
from realtime_svc.errors import AuthenticationFailed
from realtime_svc.model import Identity
from tests.auth.bad_tokens import AUDIENCE, LEEWAY, SETUP, bad_tokens, good_claims
from tests.auth.forging import SECRET, es, forge, hs, rs

NOW = 1_800_000_000.0
PLAIN = Jwt(algorithms=("HS256",), secret=SECRET, require_expiry=False)


def keeper_of(config: Jwt) -> JwtKeeper:
    return JwtKeeper(config, load_keys(config), lambda: NOW)


def cause_of(keeper: JwtKeeper, token: str) -> str:
    """Why `token` is refused; "accepted" if it is not."""
    try:
        keeper.authenticate(token)
    except AuthenticationFailed as failure:
        return failure.cause
    return "accepted"


class BadTokenTests(SynchronousTestCase):
    """The table of `bad_tokens`."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.keeper = keeper_of(SETUP.config(folder))

    def test_table(self) -> None:
        """Each bad token is refused with the cause that stands in the table."""
        table = bad_tokens(NOW)
        seen = {bad.name: cause_of(self.keeper, bad.token) for bad in table}
        self.assertEqual(seen, {bad.name: bad.cause for bad in table})

    def test_size_of_the_table(self) -> None:
        """No name is there twice, and all tokens can stand in a header."""
        table = bad_tokens(NOW)
        self.assertGreaterEqual(len(table), 60)
        self.assertEqual(len({bad.name for bad in table}), len(table))
        self.assertEqual([bad.name for bad in table if not bad.token.isascii() or " " in bad.token], [])

    def test_any_single_change_is_noticed(self) -> None:
        """Changing any one character of a good token makes it a bad one."""
        good = SETUP.sign(good_claims(NOW))
        self.assertEqual(cause_of(self.keeper, good), "accepted")
        for index, character in enumerate(good):
            changed = good[:index] + ("A" if character != "A" else "B") + good[index + 1 :]
            self.assertNotEqual(cause_of(self.keeper, changed), "accepted", f"character {index}")

    def test_any_prefix_is_refused(self) -> None:
        """No part of a token is a token."""
        good = SETUP.sign(good_claims(NOW))
        for length in range(len(good)):
            self.assertNotEqual(cause_of(self.keeper, good[:length]), "accepted", f"length {length}")

    def test_other_characters(self) -> None:
        """What can't be in a header at all, but in a message: refused too."""
        good = SETUP.sign(good_claims(NOW))
        wide = good.replace("A", "\uff21", 1)
        for token in ("", " ", good + "\n", good + "\0", good + "\u2028", "\ud800" + good, wide):
            self.assertEqual(cause_of(self.keeper, token), "malformed", ascii(token[:5]))

    def test_no_chain_of_exceptions(self) -> None:
        """What a library said about the token is not shown with the failure."""
        for bad in bad_tokens(NOW):
            failure = self.assertRaises(AuthenticationFailed, self.keeper.authenticate, bad.token)
            self.assertTrue(failure.__suppress_context__ or failure.__context__ is None, bad.name)
            self.assertEqual(str(failure), bad.cause)


class GoodTokenTests(SynchronousTestCase):
    """Every algorithm, and what claims mean."""

    def test_every_algorithm(self) -> None:
        """A token of each algorithm is accepted when that algorithm alone is configured, and no other is."""
        p384, p521 = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP521R1())
        cases: dict[str, tuple[Any, Any]] = {
            "HS256": (SECRET.encode(), hs()),
            "HS384": (SECRET.encode(), hs(SECRET, "sha384")),
            "HS512": (SECRET.encode(), hs(SECRET, "sha512")),
            "RS256": (SETUP.first_rsa.public_key(), rs(SETUP.first_rsa)),
            "RS384": (SETUP.first_rsa.public_key(), rs(SETUP.first_rsa, hashes.SHA384())),
            "RS512": (SETUP.first_rsa.public_key(), rs(SETUP.first_rsa, hashes.SHA512())),
            "ES256": (SETUP.p256.public_key(), es(SETUP.p256)),
            "ES384": (p384.public_key(), es(p384, hashes.SHA384())),
            "ES512": (p521.public_key(), es(p521, hashes.SHA512())),
            "EdDSA": (SETUP.ed.public_key(), SETUP.ed.sign),
        }
        tokens = {name: forge({"alg": name}, good_claims(NOW), sign) for name, (_, sign) in cases.items()}
        for name, (material, _) in cases.items():
            config = Jwt(algorithms=(name,))  # type: ignore[arg-type]
            keeper = JwtKeeper(config, KeySet([Key(None, algorithms_of(material), material)]), lambda: NOW)
            accepted = [other for other, token in tokens.items() if cause_of(keeper, token) == "accepted"]
            self.assertEqual(accepted, [name])

    def test_identity(self) -> None:
        """sub, exp and info become the identity; info is compact JSON."""
        info = {"name": "Zoë", "n": [1, 2.5, None], "text": "a\nb"}
        token = SETUP.sign({"sub": "42", "exp": NOW + 1.5, "info": info})
        identity = keeper_of(PLAIN).authenticate(token)
        expected = '{"name":"Zoë","n":[1,2.5,null],"text":"a\\nb"}'.encode()
        self.assertEqual(identity, Identity("42", expected, NOW + 1.5))

    def test_anonymous(self) -> None:
        """Without sub, or with an empty one, a token speaks for nobody in particular."""
        keeper = keeper_of(PLAIN)
        self.assertEqual(keeper.authenticate(SETUP.sign({})), Identity(""))
        self.assertEqual(keeper.authenticate(SETUP.sign({"sub": "", "info": None})), Identity(""))

    def test_edges_of_time(self) -> None:
        """exp is the first moment a token is not valid, nbf and iat the first it is; leeway moves all of them."""
        for leeway in (0.0, LEEWAY):
            keeper = keeper_of(Jwt(algorithms=("HS256",), secret=SECRET, require_expiry=False, leeway=leeway))
            seen = [
                cause_of(keeper, SETUP.sign(claims))
                for claims in (
                    {"exp": NOW - leeway},
                    {"exp": NOW - leeway + 0.5},
                    {"nbf": NOW + leeway},
                    {"nbf": NOW + leeway + 0.5},
                    {"iat": NOW + leeway},
                    {"iat": NOW + leeway + 0.5},
                )
            ]
            expected = ["expired", "accepted", "accepted", "not_yet_valid", "accepted", "issued_in_future"]
            self.assertEqual(seen, expected)

    def test_accepted_forms(self) -> None:
        """Spellings of typ, audience lists, 255 bytes of sub, info of 4 KiB, 32 levels: all at their limit."""
        config = Jwt(algorithms=("HS256",), secret=SECRET, require_expiry=False, audience=("a", AUDIENCE))
        keeper = keeper_of(config)
        nested: Any = 1
        for _ in range(30):
            nested = [nested]
        listed, longest = {"aud": ["x", AUDIENCE]}, {"sub": "é" * 127 + "x"}
        for claims in ({}, listed, longest, {"info": "x" * 4094}, {"info": [nested]}):
            self.assertEqual(cause_of(keeper, SETUP.sign({"aud": "a", **claims})), "accepted")
        for kind in ("JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"):
            self.assertEqual(cause_of(keeper, SETUP.sign({"aud": "a"}, {"typ": kind})), "accepted")
        self.assertEqual(cause_of(keeper, SETUP.sign({"aud": "a"}, {"b64": True, "x5t": "unused"})), "accepted")

    def test_kid_is_ignored_by_a_key_without_name(self) -> None:
        """An issuer that puts a kid in can be used with a plain secret or PEM file."""
        self.assertEqual(cause_of(keeper_of(PLAIN), SETUP.sign({}, {"kid": "2026-01"})), "accepted")

    def test_library_failure(self) -> None:
        """Whatever the library raises while it verifies, the token is not good."""
        config = Jwt(algorithms=("HS256",), secret=SECRET)
        keys = KeySet([Key(None, frozenset(("HS256",)), SETUP.ed.public_key())])
        self.assertEqual(cause_of(JwtKeeper(config, keys, lambda: NOW), SETUP.sign({})), "signature")

    def test_looks_like_jwt(self) -> None:
        """Three parts are worth a try."""
        self.assertTrue(looks_like_jwt("a.b.c"))
        self.assertFalse(looks_like_jwt("a.b"))


class KeyChangeTests(SynchronousTestCase):
    """Local keys are replaced, fetched ones are added."""

    def setUp(self) -> None:
        config = Jwt(algorithms=("HS256", "ES256"), secret=SECRET, jwks_url="https://keys.test/", require_expiry=False)
        self.keeper = keeper_of(config)
        self.asked: list[None] = []
        self.keeper.on_unknown_key(lambda: self.asked.append(None))
        self.token = forge({"alg": "ES256", "kid": "p256"}, {"sub": "42"}, es(SETUP.p256))
        self.jwks = json.dumps(SETUP.jwks).encode()

    def test_fetched_keys(self) -> None:
        """Before they are there a token's key is unknown, which is reported; afterwards it is good."""
        self.assertEqual(cause_of(self.keeper, self.token), "key")
        self.assertEqual(len(self.asked), 1)
        self.keeper.accept_jwks(self.jwks)
        self.assertEqual(cause_of(self.keeper, self.token), "accepted")
        self.assertEqual(cause_of(self.keeper, SETUP.sign({})), "accepted")
        self.assertEqual(len(self.asked), 1)

    def test_bad_set_keeps_the_old_one(self) -> None:
        """Whatever is wrong with a new set, the keys at hand go on."""
        self.keeper.accept_jwks(self.jwks)
        twice = json.dumps({"keys": [SETUP.jwks["keys"][2]] * 2}).encode()
        for body in (b"", b"{}", b'{"keys":[]}', b'{"keys":[1]}', twice, b"<html>"):
            self.assertRaises(ValueError, self.keeper.accept_jwks, body)
        self.assertEqual(cause_of(self.keeper, self.token), "accepted")

    def test_withdrawn_key(self) -> None:
        """A key that is not in the newest set any more verifies nothing."""
        self.keeper.accept_jwks(self.jwks)
        other = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
        self.keeper.accept_jwks(json.dumps({"keys": [{**other, "kid": "new"}]}).encode())
        self.assertEqual(cause_of(self.keeper, self.token), "key")

    def test_replaced_secret(self) -> None:
        """A new secret ends the old one's tokens; fetched keys stay."""
        self.keeper.accept_jwks(self.jwks)
        new = "x" * 40
        self.keeper.replace(load_keys(Jwt(algorithms=("HS256",), secret=new)))
        self.assertEqual(cause_of(self.keeper, SETUP.sign({})), "signature")
        self.assertEqual(cause_of(self.keeper, forge({"alg": "HS256"}, {}, hs(new))), "accepted")
        self.assertEqual(cause_of(self.keeper, self.token), "accepted")

    def test_shared_secrets_of_the_network_are_ignored(self) -> None:
        """An oct key in a fetched set would let its publisher's readers sign."""
        body = b'{"keys":[{"kty":"oct","kid":"x","k":"' + b"QUFB" * 20 + b'"}]}'
        self.assertRaises(ValueError, self.keeper.accept_jwks, body)
