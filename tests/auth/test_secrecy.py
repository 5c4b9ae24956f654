"""No secret reaches a log line, a repr or the text of an error."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from realtime_svc.auth.credentials import bearer, bearer_or_basic, cookie_value, from_protocols
from realtime_svc.auth.keyring import build_keyring
from realtime_svc.auth.keys import load_keys
from realtime_svc.auth.passwords import PasswordFile, new_hash, set_user
from realtime_svc.config import Auth, Jwt
from realtime_svc.errors import AuthenticationFailed, ConfigError
from realtime_svc.model import BasicCredential, BearerCredential, CredentialSource
from tests.auth.forging import forge, hs
from tests.auth.test_keyring import CHEAP, NOW, at_once

CANARY = "canary-4f1c-canary"


class SecrecyTests(SynchronousTestCase):
    """A canary in every place a secret can be in."""

    def setUp(self) -> None:
        self.texts: list[str] = []
        watch = implementer(ILogObserver)(lambda event: self.observe(event))
        globalLogPublisher.addObserver(watch)
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.passwords = str(folder / "passwords")
        self.secret = CANARY * 3

    def observe(self, event: LogEvent) -> None:
        self.texts.append(formatEvent(event) + repr({key: str(value) for key, value in event.items()}))

    def note(self, *values: object) -> None:
        for value in values:
            self.texts.extend((repr(value), str(value)))

    def attempt(self, function: object, *arguments: object) -> None:
        """Call it; an error's texts and traceback are noted, a result's repr too."""
        assert callable(function)
        try:
            self.note(function(*arguments))
        except (AuthenticationFailed, ConfigError, ValueError) as error:
            self.note(error)
            self.texts.append(Failure(error).getTraceback())

    def test_canary(self) -> None:
        """Good and bad credentials of every kind, through every part."""
        set_user(self.passwords, "alice", CANARY, CHEAP)
        jwt = Jwt(algorithms=("HS256",), secret=self.secret)
        keyring = build_keyring(
            Auth(tokens={"device": CANARY}, passwords_file=self.passwords, jwt=jwt),
            at_once,
            lambda: NOW,
            Clock().seconds,
        )
        self.note(keyring, keyring.jwt, load_keys(jwt), load_keys(jwt).keys, PasswordFile.load(self.passwords))
        self.note(new_hash(CANARY, CHEAP))
        claims = {"sub": "1", "exp": NOW + 1, "jti": CANARY, "meta": {"a": CANARY}}
        token = forge({"alg": "HS256", "kid": CANARY}, claims, hs(self.secret))
        for credential in (
            BearerCredential(CANARY),
            BearerCredential(CANARY + "x"),
            BearerCredential(f"{CANARY}.{CANARY}.{CANARY}"),
            BearerCredential(token),
            BearerCredential(token[:-2]),
            BearerCredential(forge({"alg": CANARY}, {"sub": CANARY}, hs(CANARY))),
            BearerCredential(forge({"alg": "HS256"}, {"exp": CANARY}, hs(self.secret))),
            BasicCredential("alice", CANARY),
            BasicCredential("alice", CANARY + "x"),
        ):
            self.note(credential)
            keyring.prepare(credential)
            self.attempt(keyring.authenticate, credential)
            if isinstance(credential, BearerCredential):
                self.attempt(keyring.authenticate_subscription, credential.token)
        self.attempt(
            keyring.authenticate_subscription, forge({"alg": "HS256"}, {**claims, "channel": "a"}, hs(self.secret))
        )
        self.attempt(bearer_or_basic, f"Bearer {CANARY} {CANARY}")
        self.attempt(bearer_or_basic, f"Basic {CANARY}")
        self.attempt(bearer, CANARY + "\n", CredentialSource.MESSAGE)
        self.attempt(cookie_value, f"a={CANARY}; a={CANARY}", "a")
        self.attempt(from_protocols, [f"bearer.{CANARY}"])
        self.attempt(load_keys, Jwt(algorithms=("HS512",), secret=self.secret))
        self.attempt(load_keys, Jwt(algorithms=("HS256",), secret=CANARY))
        self.assertGreater(len(self.texts), 40)
        leaks = [text for text in self.texts if CANARY in text or token in text]
        self.assertEqual(leaks, [])
