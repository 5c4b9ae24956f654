"""Where keys come from, what they may be used with, and the errors of the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.keys import MOST_KEYS, Key, KeySet, algorithms_of, load_keys, parse_jwks
from realtime_svc.config import Jwt
from realtime_svc.errors import ConfigError
from tests.auth.bad_tokens import SETUP
from tests.auth.certificates import Authority
from tests.auth.forging import SECRET, b64, pem

EVERY = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")


def private_pem(key: Any) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    raw: bytes = key.private_bytes(encoding, form, serialization.NoEncryption())
    return raw


class KeyKindTests(SynchronousTestCase):
    """`algorithms_of`."""

    def test_kinds(self) -> None:
        """What a key is decides what it may verify; weak and unusual ones may nothing."""
        rs = {"RS256", "RS384", "RS512"}
        cases: list[tuple[object, set[str]]] = [
            (b"x" * 31, set()),
            (b"x" * 32, {"HS256"}),
            (b"x" * 48, {"HS256", "HS384"}),
            (b"x" * 64, {"HS256", "HS384", "HS512"}),
            (rsa.generate_private_key(65537, 1024).public_key(), set()),
            (SETUP.first_rsa.public_key(), rs),
            (SETUP.p256.public_key(), {"ES256"}),
            (ec.generate_private_key(ec.SECP384R1()).public_key(), {"ES384"}),
            (ec.generate_private_key(ec.SECP521R1()).public_key(), {"ES512"}),
            (ec.generate_private_key(ec.SECP256K1()).public_key(), set()),
            (SETUP.ed.public_key(), {"EdDSA"}),
            (ed448.Ed448PrivateKey.generate().public_key(), set()),
            (dsa.generate_private_key(1024).public_key(), set()),
        ]
        for material, expected in cases:
            self.assertEqual(algorithms_of(material), expected, type(material).__name__)


class KeySetTests(SynchronousTestCase):
    """`KeySet.find`."""

    def test_find(self) -> None:
        """By kid and algorithm; without kid only when there is no choice."""
        hs = Key(None, frozenset(("HS256",)), b"x" * 32)
        first = Key("1", frozenset(("RS256", "RS512")), SETUP.first_rsa.public_key())
        second = Key("2", frozenset(("RS256",)), SETUP.second_rsa.public_key())
        keys = KeySet([hs, first, second])
        cases = [
            ("HS256", None, hs), ("HS256", "any", hs), ("RS256", "1", first), ("RS256", "2", second),
            ("RS512", "1", first), ("RS512", None, first), ("RS256", None, None), ("RS256", "3", None),
            ("RS512", "2", None), ("ES256", None, None),
        ]  # fmt: skip
        for algorithm, kid, expected in cases:
            self.assertIs(keys.find(algorithm, kid), expected, f"{algorithm} {kid}")

    def test_same_kid_twice(self) -> None:
        """Two keys of one name and algorithm are refused; of different algorithms they are two (RFC 7517 4.5)."""
        first = Key("1", frozenset(("RS256",)), SETUP.first_rsa.public_key())
        other = Key("1", frozenset(("ES256",)), SETUP.p256.public_key())
        self.assertRaises(ValueError, KeySet, [first, Key("1", frozenset(("RS256",)), SETUP.second_rsa.public_key())])
        self.assertIs(KeySet([first, other]).find("ES256", "1"), other)


class JwksTests(SynchronousTestCase):
    """`parse_jwks`."""

    def setUp(self) -> None:
        self.good = SETUP.jwks["keys"][0]

    def parse(self, *entries: Any, shared_secrets: bool = False) -> list[Key]:
        return parse_jwks(json.dumps({"keys": list(entries)}).encode(), EVERY, shared_secrets=shared_secrets)

    def test_good(self) -> None:
        """All kinds of public keys, with what they say about their use."""
        keys = parse_jwks(json.dumps(SETUP.jwks).encode(), ("RS256", "ES256", "EdDSA"), shared_secrets=False)
        found = [(key.kid, sorted(key.algorithms)) for key in keys]
        self.assertEqual(found, [("rsa", ["RS256"]), ("rsa-2", ["RS256"]), ("p256", ["ES256"]), ("ed", ["EdDSA"])])
        (narrowed,) = self.parse({**self.good, "alg": "RS384", "key_ops": ["verify"]})
        self.assertEqual(narrowed.algorithms, {"RS384"})

    def test_unusable_keys_are_passed_over(self) -> None:
        """Broken, weak, private, encryption and unknown keys neither count nor harm."""
        weak = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
        point = SETUP.jwks["keys"][2]
        unusable: list[Any] = [
            None, 1, "key", [], {}, {"kty": "RSA"}, {"kty": ["RSA"]}, {**self.good, "n": 5},
            {**self.good, "n": "A" * 2000},
            {**self.good, "n": "!"}, {**self.good, "e": ""}, {**self.good, "kid": 7}, {**self.good, "use": "enc"},
            {**self.good, "use": None}, {**self.good, "key_ops": ["encrypt"]}, {**self.good, "key_ops": "verify"},
            {**self.good, "alg": "ES256"}, {**self.good, "alg": ["RS256"]}, {**self.good, "alg": None}, weak,
            RSAAlgorithm.to_jwk(SETUP.second_rsa, as_dict=True), {**point, "y": point["x"]}, {**point, "crv": "P-384"},
            {**point, "crv": "P-257"}, OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True),
            {"kty": "OKP", "crv": "Ed25519", "x": "AA"}, {"kty": "oct", "k": b64(b"x" * 64)}, {"kty": "AKP"},
        ]  # fmt: skip
        self.assertEqual([key.kid for key in self.parse(*unusable, self.good)], ["rsa"])
        for entry in unusable:
            self.assertRaises(ValueError, self.parse, entry)

    def test_shared_secrets(self) -> None:
        """Only where they are asked for, and only if they are long enough."""
        (key,) = self.parse({"kty": "oct", "k": b64(b"x" * 48), "kid": "s"}, shared_secrets=True)
        self.assertEqual((key.kid, key.algorithms, key.material), ("s", {"HS256", "HS384"}, b"x" * 48))
        self.assertRaises(ValueError, self.parse, {"kty": "oct", "k": b64(b"x" * 31)}, shared_secrets=True)
        self.assertRaises(ValueError, self.parse, {"kty": "oct", "k": ""}, shared_secrets=True)

    def test_bad_sets(self) -> None:
        """What is not a set, or too large a one; the texts repeat nothing of it."""
        for raw in (b"", b"canary", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[],"keys":[]}', b"\xff"):
            error = self.assertRaises(ValueError, parse_jwks, raw, EVERY, shared_secrets=True)
            self.assertNotIn("canary", str(error))
        self.assertRaises(ValueError, self.parse, *([self.good] * (MOST_KEYS + 1)))


class LoadTests(SynchronousTestCase):
    """`load_keys`: one source a case."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def test_sources(self) -> None:
        """A secret, a secret in a file, a public key, a certificate, a key set, and two of them together."""
        public = self.file("public.pem", pem(SETUP.first_rsa.public_key()))
        certificate = self.file("certificate.pem", b"subject=/CN=x\n" + Authority().pem)
        secret = self.file("secret", SECRET.encode() + b"\n")
        jwks = self.file("jwks.json", json.dumps(SETUP.jwks).encode())
        cases = [
            (Jwt(algorithms=("HS256", "HS512"), secret=SECRET), 1),
            (Jwt(algorithms=("HS256",), key_file=secret), 1),
            (Jwt(algorithms=("RS256", "RS512"), key_file=public), 1),
            (Jwt(algorithms=("ES256",), key_file=certificate), 1),
            (Jwt(algorithms=("ES256", "EdDSA"), jwks_file=jwks), 2),
            (Jwt(algorithms=("HS256", "RS256"), secret=SECRET, key_file=public), 2),
            (Jwt(algorithms=("RS256",), jwks_url="https://keys.test/"), 0),
            (Jwt(), 0),
        ]
        for config, count in cases:
            self.assertEqual(len(load_keys(config).keys), count, config.algorithms)
        found = load_keys(Jwt(algorithms=("HS256",), key_file=secret)).find("HS256", None)
        assert found is not None
        self.assertEqual(found.material, SECRET.encode())

    def test_insecure(self) -> None:
        """A shared secret may be short, from either place; nothing else changes."""
        short = self.file("short", b"s\n")
        sources: list[dict[str, Any]] = [{"secret": "secret"}, {"key_file": short}, {"secret": SECRET}]
        for source in sources:
            config = Jwt(algorithms=("HS256", "HS384", "HS512"), **source)
            (key,) = load_keys(config, insecure=True).keys
            self.assertEqual(key.algorithms, {"HS256", "HS384", "HS512"})
        weak = self.file("weak.pem", pem(rsa.generate_private_key(65537, 1024).public_key()))
        for config in (
            Jwt(algorithms=("HS256",), key_file=self.file("empty", b"\n")),
            Jwt(algorithms=("HS256",), secret="ssh-ed25519 AAAA"),
            Jwt(algorithms=("RS256",), key_file=weak),
            Jwt(algorithms=("RS256",), secret="secret"),
            Jwt(algorithms=("HS256",), jwks_file=self.file("jwks", b'{"keys":[{"kty":"oct","k":"QUFB"}]}')),
        ):
            self.assertRaises(ConfigError, load_keys, config, insecure=True)

    def test_errors(self) -> None:
        """Each names the key, the file where there is one, and a reason, never what the file holds."""
        rsa_public = pem(SETUP.first_rsa.public_key())
        public, jwks = self.file("rsa.pem", rsa_public), self.file("jwks", json.dumps(SETUP.jwks).encode())
        weak = self.file("weak.pem", pem(rsa.generate_private_key(65537, 1024).public_key()))
        private = self.file("private.pem", private_pem(SETUP.p256))
        der = SETUP.p256.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        twice = self.file("twice", json.dumps({"keys": [SETUP.jwks["keys"][2]] * 2}).encode())
        broken = self.file("broken.pem", b"-----BEGIN PUBLIC KEY-----\ncanary\n-----END PUBLIC KEY-----\n")
        missing = str(self.folder / "missing")
        algorithms, key_file, jwks_file = "auth.jwt.algorithms", "auth.jwt.key_file", "auth.jwt.jwks_file"
        cases = [
            ("auth.jwt.secret", Jwt(algorithms=("HS256",), secret="canary")),
            ("auth.jwt.secret", Jwt(algorithms=("HS256",), secret=rsa_public.decode())),
            (algorithms, Jwt(algorithms=("HS256",))),
            (algorithms, Jwt(algorithms=("RS256",))),
            (algorithms, Jwt(secret=SECRET)),
            (algorithms, Jwt(jwks_file=jwks)),
            (algorithms, Jwt(algorithms=("HS512",), secret="x" * 63)),
            (algorithms, Jwt(algorithms=("HS256",), key_file=public)),
            (algorithms, Jwt(algorithms=("HS256", "RS256"), key_file=public)),
            (algorithms, Jwt(algorithms=("HS256", "RS256"), secret=SECRET)),
            (algorithms, Jwt(algorithms=("ES256",), key_file=public)),
            (algorithms, Jwt(algorithms=("ES256", "ES384"), jwks_file=jwks)),
            (algorithms, Jwt(algorithms=("HS256", "RS256"), jwks_url="https://keys.test/")),
            (algorithms, Jwt(algorithms=("HS256",), secret=SECRET, key_file=self.file("s", b"x" * 32))),
            (key_file, Jwt(algorithms=("RS256",), key_file=weak)),
            (key_file, Jwt(algorithms=("ES256",), key_file=private)),
            (key_file, Jwt(algorithms=("RS256",), key_file=broken)),
            (key_file, Jwt(algorithms=("RS256",), key_file=self.file("two.pem", rsa_public * 2))),
            (key_file, Jwt(algorithms=("HS256",), key_file=self.file("der", der))),
            (key_file, Jwt(algorithms=("HS256",), key_file=self.file("ssh", b"ssh-ed25519 " + b"canary" * 9))),
            (key_file, Jwt(algorithms=("HS256",), key_file=self.file("short", b"canary\n"))),
            (key_file, Jwt(algorithms=("HS256",), key_file=self.file("one.jwk", json.dumps(SETUP.jwks).encode()))),
            (key_file, Jwt(algorithms=("RS256",), key_file=missing)),
            (key_file, Jwt(algorithms=("RS256",), key_file=str(self.folder))),
            (key_file, Jwt(algorithms=("RS256",), key_file="a\0b")),
            (jwks_file, Jwt(algorithms=("RS256",), jwks_file=missing)),
            (jwks_file, Jwt(algorithms=("RS256",), jwks_file=public)),
            (jwks_file, Jwt(algorithms=("HS256",), jwks_file=jwks)),
            (jwks_file, Jwt(algorithms=("ES256",), jwks_file=twice)),
        ]
        for key, config in cases:
            error = self.assertRaises(ConfigError, load_keys, config)
            where = config.key_file if key == key_file else config.jwks_file if key == jwks_file else ""
            self.assertEqual((error.key, error.where), (key, where), str(error))
            self.assertTrue(error.reason)
            self.assertNotIn("canary", str(error))
