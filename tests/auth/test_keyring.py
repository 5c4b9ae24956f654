"""All keepers as one authenticator, and what a reload does to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.keyring import Keyring, build_keyring, build_refresher
from realtime_svc.auth.passwords import Cost, remove_user, set_user
from realtime_svc.auth.revocations import RevocationList
from realtime_svc.config import Auth, Jwt
from realtime_svc.core.ports import Authenticator
from realtime_svc.errors import AuthenticationFailed, ConfigError, ReplyError
from realtime_svc.model import BasicCredential, BearerCredential, Credential, CredentialSource, Identity
from tests.auth.bad_tokens import SETUP, bad_subscription_tokens, bad_tokens, good_claims
from tests.auth.forging import SECRET, es, forge, hs, nothing

NOW = 1_800_000_000.0
CHEAP = Cost(10, 1, 1)
ALICE = BasicCredential("alice", "a password")
TOKENS = {"device": "token-of-the-device"}
JWKS_URL = "http://127.0.0.1:8080/jwks.json"


def at_once(function: Callable[[str], bool], password: str, /) -> Deferred[bool]:
    """A `Defer` that doesn't wait."""
    return maybeDeferred(function, password)


class KeyringCase(SynchronousTestCase):
    """A folder with a password file and a key set, and the configuration of all keepers."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.passwords = str(self.folder / "passwords")
        set_user(self.passwords, ALICE.user, ALICE.password, CHEAP)
        self.jwt = SETUP.config(self.folder)

    def config(self, **changes: Any) -> Auth:
        values: dict[str, Any] = {"tokens": TOKENS, "passwords_file": self.passwords, "jwt": self.jwt}
        return Auth(**{**values, **changes})

    def build(self, **changes: Any) -> Keyring:
        return build_keyring(self.config(**changes), at_once, lambda: NOW, Clock().seconds)

    def subscription_cause(self, keyring: Authenticator, token: str) -> str:
        try:
            keyring.authenticate_subscription(token)
        except AuthenticationFailed as failure:
            return failure.cause
        return "accepted"

    def cause(self, keyring: Authenticator, credential: Credential) -> str:
        keyring.prepare(credential)
        try:
            keyring.authenticate(credential)
        except AuthenticationFailed as failure:
            return failure.cause
        return "accepted"


class AuthenticatorTests(KeyringCase):
    """Which credential goes where."""

    def test_all_keepers(self) -> None:
        """Static token, JWT from any source, password."""
        keyring: Authenticator = self.build()
        jwt = SETUP.sign(good_claims(NOW))
        self.assertIsNone(keyring.prepare(ALICE))
        self.assertEqual(keyring.authenticate(ALICE), Identity("alice"))
        for source in CredentialSource:
            self.assertEqual(keyring.authenticate(BearerCredential(TOKENS["device"], source)), Identity("device"))
            self.assertEqual(keyring.authenticate(BearerCredential(jwt, source)).user, "42")
        self.assertIsNone(keyring.prepare(BearerCredential(jwt)))

    def test_wrong_credentials(self) -> None:
        """No kind of credential is looked for in another kind's keeper."""
        keyring = self.build()
        cases: list[tuple[Credential, str]] = [
            (BearerCredential("nonsense"), "unknown"),
            (BearerCredential(""), "unknown"),
            (BearerCredential("a.b"), "unknown"),
            (BearerCredential("a.b.c"), "malformed"),
            (BearerCredential("x" * 8193), "oversize"),
            (BearerCredential(ALICE.password), "unknown"),
            (BasicCredential("device", TOKENS["device"]), "password"),
            (BasicCredential("alice", ""), "password"),
        ]
        for credential, cause in cases:
            self.assertEqual(self.cause(keyring, credential), cause)

    def test_bad_tokens(self) -> None:
        """None of the table gets in through the composite either."""
        keyring = self.build()
        accepted = [
            bad.name for bad in bad_tokens(NOW) if self.cause(keyring, BearerCredential(bad.token)) == "accepted"
        ]
        self.assertEqual(accepted, [])

    def test_nothing_configured(self) -> None:
        """Every credential is wrong, Basic isn't offered."""
        keyring = build_keyring(Auth(), at_once, lambda: NOW)
        self.assertFalse(keyring.accepts_basic)
        self.assertIsNone(keyring.jwt)
        self.assertEqual(self.cause(keyring, ALICE), "unsupported")
        self.assertEqual(self.cause(keyring, BearerCredential(SETUP.sign(good_claims(NOW)))), "unknown")

    def test_basic_is_offered(self) -> None:
        """Where there is a password file."""
        self.assertTrue(self.build().accepts_basic)

    def test_static_token_that_looks_like_a_jwt(self) -> None:
        """Is found before anybody tries to read it as one."""
        keyring = self.build(tokens={"device": "one.two.three-and-more"})
        self.assertEqual(keyring.authenticate(BearerCredential("one.two.three-and-more")), Identity("device"))


class SubscriptionTests(KeyringCase):
    """`authenticate_subscription`."""

    def test_only_a_jwt_can_be_one(self) -> None:
        """Not a static token, whatever it looks like, and not what is good for connecting."""
        keyring = self.build(tokens={**TOKENS, "other": "one.two.three-and-more"})
        good = SETUP.sign({**good_claims(NOW), "channel": "news"})
        self.assertEqual(keyring.authenticate_subscription(good).channel, "news")
        for token, cause in (
            (TOKENS["device"], "malformed"),
            ("one.two.three-and-more", "malformed"),
            ("", "malformed"),
            ("x" * 8193, "oversize"),
            (SETUP.sign(good_claims(NOW)), "purpose"),
        ):
            self.assertEqual(self.subscription_cause(keyring, token), cause)
        self.assertEqual(self.cause(keyring, BearerCredential(good)), "purpose")

    def test_bad_tokens(self) -> None:
        """None of the table gets in through the composite either."""
        keyring = self.build()
        table = bad_subscription_tokens(NOW)
        accepted = [bad.name for bad in table if self.subscription_cause(keyring, bad.token) == "accepted"]
        self.assertEqual(accepted, [])

    def test_without_jwt(self) -> None:
        """Nothing can be good."""
        keyring = self.build(jwt=Jwt())
        self.assertEqual(self.subscription_cause(keyring, SETUP.sign({"channel": "news"})), "unsupported")
        self.assertEqual(self.subscription_cause(keyring, TOKENS["device"]), "unsupported")


class RevocationTests(KeyringCase):
    """What is revoked is refused by every keeper."""

    def test_token(self) -> None:
        """By its id: to connect and to subscribe; others of the same user are good."""
        keyring = self.build()
        keyring.revocations.revoke_token("a")
        for token_id, cause in (("a", "revoked"), ("b", "accepted")):
            claims = {**good_claims(NOW), "jti": token_id}
            self.assertEqual(self.cause(keyring, BearerCredential(SETUP.sign(claims))), cause)
            self.assertEqual(self.subscription_cause(keyring, SETUP.sign({**claims, "channel": "news"})), cause)

    def test_user(self) -> None:
        """Tokens issued until then, static tokens and passwords; others are not touched."""
        keyring = self.build()
        for user in ("42", "alice", "device"):
            keyring.revocations.revoke_user(user, NOW - 1)
        old = {**good_claims(NOW), "iat": NOW - 1}
        for claims, cause in ((old, "revoked"), (good_claims(NOW), "accepted"), ({**old, "sub": "7"}, "accepted")):
            self.assertEqual(self.cause(keyring, BearerCredential(SETUP.sign(claims))), cause)
            self.assertEqual(self.subscription_cause(keyring, SETUP.sign({**claims, "channel": "news"})), cause)
        self.assertEqual(self.cause(keyring, BearerCredential(TOKENS["device"])), "revoked")
        self.assertEqual(self.cause(keyring, ALICE), "revoked")
        self.assertEqual(self.cause(keyring, BasicCredential("alice", "wrong")), "password")

    def test_reload(self) -> None:
        """Forgets nothing."""
        keyring = self.build()
        keyring.revocations.revoke_token("a")
        keyring.reload(self.config())
        claims = {**good_claims(NOW), "jti": "a"}
        self.assertEqual(self.cause(keyring, BearerCredential(SETUP.sign(claims))), "revoked")
        self.assertEqual(self.subscription_cause(keyring, SETUP.sign({**claims, "channel": "news"})), "revoked")

    def test_bound(self) -> None:
        """The configuration says how many; a list that is given is used, an empty one too."""
        keyring = self.build(revocations=1)
        keyring.revocations.revoke_token("a")
        self.assertRaises(ReplyError, keyring.revocations.revoke_token, "b")
        given = RevocationList(5, lambda: NOW)
        self.assertIs(build_keyring(self.config(), at_once, lambda: NOW, revocations=given).revocations, given)


class InsecureTests(KeyringCase):
    """`auth.insecure`."""

    def test_short_secret(self) -> None:
        """Is good there, and nowhere else."""
        jwt = Jwt(algorithms=("HS256", "HS512"), secret="secret")
        self.assertRaises(ConfigError, self.build, jwt=jwt)
        keyring = self.build(jwt=jwt, insecure=True)
        for algorithm, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            token = forge({"alg": algorithm}, good_claims(NOW), hs("secret", digest))
            self.assertEqual(self.cause(keyring, BearerCredential(token)), "accepted")
            token = forge({"alg": algorithm}, good_claims(NOW), hs("Secret", digest))
            self.assertEqual(self.cause(keyring, BearerCredential(token)), "signature")
        self.assertEqual(self.cause(keyring, BearerCredential(forge({"alg": "none"}, {}, nothing))), "algorithm")
        self.assertRaises(ConfigError, keyring.reload, self.config(jwt=jwt))


class ConfigTests(KeyringCase):
    """Errors have the key of the part that is wrong."""

    def test_errors(self) -> None:
        """One case a keeper."""
        cases: list[tuple[str, dict[str, Any]]] = [
            ("auth.tokens.a", {"tokens": {"a": "not sendable"}}),
            ("auth.passwords_file", {"passwords_file": self.passwords + "x"}),
            ("auth.jwt.secret", {"jwt": Jwt(algorithms=("HS256",), secret="short")}),
            ("auth.jwt.jwks_url", {"jwt": Jwt(algorithms=("RS256",), jwks_url="http://keys.test/")}),
            ("auth.jwt.jwks_ca", {"jwt": Jwt(algorithms=("RS256",), jwks_url=JWKS_URL, jwks_ca=self.passwords)}),
        ]
        for key, change in cases:
            error = self.assertRaises(ConfigError, self.build, **change)
            self.assertEqual(error.key, key)


class ReloadTests(KeyringCase):
    """Files are read again; all or nothing."""

    def test_new_values(self) -> None:
        """New tokens, keys and passwords count at once, the old ones no more."""
        keyring = self.build()
        old = SETUP.sign(good_claims(NOW))
        self.assertEqual(self.cause(keyring, ALICE), "accepted")
        set_user(self.passwords, "alice", "new", CHEAP)
        jwt = Jwt(algorithms=("HS256",), secret="y" * 32)
        keyring.reload(self.config(tokens={"device": "another-token-0000"}, jwt=jwt))
        self.assertEqual(self.cause(keyring, BearerCredential(TOKENS["device"])), "unknown")
        self.assertEqual(self.cause(keyring, BearerCredential("another-token-0000")), "accepted")
        self.assertEqual(self.cause(keyring, BearerCredential(old)), "signature")
        self.assertEqual(self.cause(keyring, ALICE), "password")
        self.assertEqual(self.cause(keyring, BasicCredential("alice", "new")), "accepted")

    def test_bad_part_changes_nothing(self) -> None:
        """Whatever part is wrong, all the others stay old as well."""
        keyring = self.build()
        changes: list[dict[str, Any]] = [
            {"tokens": {"": "x" * 16}},
            {"passwords_file": self.passwords + "x"},
            {"jwt": Jwt(algorithms=("HS256",))},
        ]
        for change in changes:
            new = {"tokens": {"device": "another-token-0000"}, "jwt": Jwt(), "passwords_file": "", **change}
            self.assertRaises(ConfigError, keyring.reload, self.config(**new))
        for credential in (ALICE, BearerCredential(TOKENS["device"]), BearerCredential(SETUP.sign(good_claims(NOW)))):
            self.assertEqual(self.cause(keyring, credential), "accepted")

    def test_passwords_on_and_off(self) -> None:
        """The file can come and go."""
        keyring = self.build(passwords_file="")
        self.assertFalse(keyring.accepts_basic)
        keyring.reload(self.config())
        self.assertEqual(self.cause(keyring, ALICE), "accepted")
        keyring.reload(self.config(passwords_file=""))
        self.assertEqual(self.cause(keyring, ALICE), "unsupported")

    def test_known_users_stay_known(self) -> None:
        """A reload costs nobody a new hash whose line is the same; a removed user is out at once."""
        set_user(self.passwords, "bob", "b password", CHEAP)
        bob = BasicCredential("bob", "b password")
        keyring = self.build()
        self.assertEqual([self.cause(keyring, one) for one in (ALICE, bob)], ["accepted", "accepted"])
        remove_user(self.passwords, "bob")
        keyring.reload(self.config())
        self.assertEqual(keyring.authenticate(ALICE), Identity("alice"))
        self.assertRaises(AuthenticationFailed, keyring.authenticate, bob)

    def test_fetched_keys_stay(self) -> None:
        """Keys of the web address outlive a reload; the address itself can't change."""
        jwt = Jwt(algorithms=("ES256",), jwks_url=JWKS_URL)
        keyring = self.build(jwt=jwt)
        token = BearerCredential(forge({"alg": "ES256", "kid": "p256"}, good_claims(NOW), es(SETUP.p256)))
        keyring.accept_jwks(json.dumps(SETUP.jwks).encode())
        keyring.reload(self.config(jwt=jwt))
        self.assertEqual(self.cause(keyring, token), "accepted")
        changed = Jwt(algorithms=("ES256",), jwks_url=JWKS_URL + "x")
        self.assertEqual(
            self.assertRaises(ConfigError, keyring.reload, self.config(jwt=changed)).key, "auth.jwt.jwks_url"
        )
        other = Jwt(algorithms=("ES384",), jwks_url=JWKS_URL)
        self.assertEqual(
            self.assertRaises(ConfigError, keyring.reload, self.config(jwt=other)).key, "auth.jwt.jwks_url"
        )
        self.assertEqual(self.cause(keyring, token), "accepted")

    def test_unknown_keys_are_reported_after_a_reload(self) -> None:
        """To the callback that was given once."""
        jwt = Jwt(algorithms=("ES256",), jwks_url=JWKS_URL)
        keyring = self.build(jwt=jwt)
        asked: list[None] = []
        keyring.on_unknown_key(lambda: asked.append(None))
        keyring.reload(self.config(jwt=jwt))
        token = forge({"alg": "ES256", "kid": "new"}, good_claims(NOW), es(SETUP.p256))
        self.assertEqual(self.cause(keyring, BearerCredential(token)), "key")
        self.assertEqual(len(asked), 1)


class RefresherTests(KeyringCase):
    """`build_refresher`: from the address to the keyring."""

    def test_none_without_address(self) -> None:
        """Nothing to do, nothing is made."""
        self.assertIsNone(build_refresher(MemoryReactorClock(), self.jwt, self.build()))

    def test_keys_arrive(self) -> None:
        """Started, it asks the address; what comes back verifies tokens; an unknown key makes it ask again."""
        reactor = MemoryReactorClock()
        jwt = Jwt(algorithms=("ES256", "HS256"), secret=SECRET, jwks_url=JWKS_URL)
        keyring = self.build(jwt=jwt)
        refresher = build_refresher(reactor, jwt, keyring)
        assert refresher is not None
        self.assertEqual(reactor.tcpClients, [])
        refresher.start()
        transport, protocol = self.connect(reactor)
        self.assertTrue(transport.value().startswith(b"GET /jwks.json HTTP/1.1\r\n"))
        body = json.dumps(SETUP.jwks).encode()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertTrue(refresher.ready)
        token = forge({"alg": "ES256", "kid": "p256"}, good_claims(NOW), es(SETUP.p256))
        self.assertEqual(self.cause(keyring, BearerCredential(token)), "accepted")
        unknown = forge({"alg": "ES256", "kid": "new"}, good_claims(NOW), es(SETUP.p256))
        self.assertEqual(self.cause(keyring, BearerCredential(unknown)), "key")
        self.assertEqual(len(reactor.tcpClients), 2)
        refresher.stop()

    def connect(self, reactor: MemoryReactorClock) -> tuple[StringTransport, Any]:
        host, port, factory, _timeout, _bind = reactor.tcpClients[-1]
        self.assertEqual((host, port), ("127.0.0.1", 8080))
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        transport = StringTransport()
        protocol.makeConnection(transport)
        return transport, protocol
