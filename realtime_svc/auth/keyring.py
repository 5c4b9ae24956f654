"""All keepers of credentials behind the one seam `Authenticator`: static tokens, then JWT; passwords for Basic."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from realtime_svc.auth.credentials import MAX_CREDENTIAL, failed, looks_like_jwt
from realtime_svc.auth.jwks import JwksRefresher, KeyServer, check_url, trust_root
from realtime_svc.auth.jwt import JwtKeeper
from realtime_svc.auth.keys import load_keys
from realtime_svc.auth.password_keeper import Defer, PasswordKeeper
from realtime_svc.auth.passwords import PasswordFile
from realtime_svc.auth.revocations import RevocationList
from realtime_svc.auth.tokens import StaticTokens
from realtime_svc.config import Auth, Jwt
from realtime_svc.errors import ConfigError
from realtime_svc.model import BasicCredential, Credential, Identity, SubscriptionClaims

WallClock = Callable[[], float]


class _Parts(NamedTuple):
    """What is built from one configuration."""

    config: Auth
    tokens: StaticTokens
    passwords: PasswordFile | None
    jwt: JwtKeeper | None


class Keyring:
    """An `Authenticator` made from section `auth`. A credential of a kind that is not configured is a wrong one."""

    __slots__ = ("_jwks", "_keeper", "_parts", "_revocations", "_unknown_key", "_wall_clock", "_work")

    def __init__(
        self,
        config: Auth,
        defer: Defer,
        wall_clock: WallClock,
        monotonic: Callable[[], float] = time.monotonic,
        revocations: RevocationList | None = None,
    ) -> None:
        """Raises `ConfigError`. `defer` runs password hashes, `wall_clock` is seconds since the epoch."""
        self._wall_clock = wall_clock
        self._revocations = RevocationList(config.revocations, wall_clock) if revocations is None else revocations
        self._work = (defer, monotonic)
        self._jwks: bytes | None = None
        self._unknown_key: Callable[[], None] = lambda: None
        self._parts = self._build(config)
        self._keeper = self._password_keeper(None)

    @property
    def accepts_basic(self) -> bool:
        """Are passwords configured (so that a 401 offers Basic)?"""
        return self._keeper is not None

    @property
    def jwt(self) -> JwtKeeper | None:
        """The keeper of JSON Web Tokens; None when they are off. Another one after a reload."""
        return self._parts.jwt

    @property
    def revocations(self) -> RevocationList:
        """What is refused from now on, whatever the credential. The same after a reload."""
        return self._revocations

    def prepare(self, credential: Credential) -> Awaitable[None] | None:
        """As `Authenticator.prepare`: only a password has something to wait for."""
        if isinstance(credential, BasicCredential) and self._keeper is not None:
            return self._keeper.prepare(credential)
        return None

    def authenticate(self, credential: Credential) -> Identity:
        """As `Authenticator.authenticate`. A subscription token is none to connect with."""
        if isinstance(credential, BasicCredential):
            if self._keeper is None:
                raise failed("unsupported")
            identity = self._keeper.authenticate(credential)
        else:
            identity = self._of_token(credential.token)
        self._revocations.check(identity)
        return identity

    def _of_token(self, token: str) -> Identity:
        tokens, jwt = self._parts.tokens, self._parts.jwt
        if len(token) > MAX_CREDENTIAL:
            raise failed("oversize")
        if jwt is None or not looks_like_jwt(token):
            return tokens.authenticate(token)
        found = tokens.find(token) if tokens.some_look_like_jwt else None
        return found or jwt.authenticate(token)

    def authenticate_subscription(self, token: str) -> SubscriptionClaims:
        """As `Authenticator.authenticate_subscription`. Only a JSON Web Token can be one."""
        if self._parts.jwt is None:
            raise failed("unsupported")
        return self._parts.jwt.authenticate_subscription(token)

    def reload(self, config: Auth) -> None:
        """Read tokens, passwords and keys again. Raises `ConfigError`, and then everything stays as it was.

        The JWKS address belongs to the refresher, which runs since start: it can't change here. Keys it has fetched
        stay, and so do users who are known and whose password did not change.
        """
        for name in ("jwks_url", "jwks_ca", "jwks_refresh"):
            if getattr(config.jwt, name) != getattr(self._parts.config.jwt, name):
                raise ConfigError("", f"auth.jwt.{name}", "can't change while the server runs; restart it")
        self._parts = self._build(config)
        self._keeper = self._password_keeper(self._keeper)

    def accept_jwks(self, body: bytes) -> None:
        """A key set was fetched: use it. ValueError: it is bad, the keys at hand stay."""
        if self._parts.jwt is not None:
            self._parts.jwt.accept_jwks(body)
            self._jwks = body

    def on_unknown_key(self, callback: Callable[[], None]) -> None:
        """Call this for each token whose key is not held, also after a reload."""
        self._unknown_key = callback

    def _build(self, config: Auth) -> _Parts:
        tokens = StaticTokens(config.tokens)
        passwords = PasswordFile.load(config.passwords_file) if config.passwords_file else None
        keys = load_keys(config.jwt, insecure=config.insecure)
        if config.jwt.jwks_url:
            check_url(config.jwt.jwks_url)
            trust_root(config.jwt.jwks_ca)
        if not config.jwt.algorithms:
            return _Parts(config, tokens, passwords, None)
        jwt = JwtKeeper(config.jwt, keys, self._wall_clock, self._revocations)
        jwt.on_unknown_key(lambda: self._unknown_key())
        if self._jwks is not None:
            try:
                jwt.accept_jwks(self._jwks)
            except ValueError as error:
                raise ConfigError("", "auth.jwt.jwks_url", f"the keys fetched before: {error}") from None
        return _Parts(config, tokens, passwords, jwt)

    def _password_keeper(self, present: PasswordKeeper | None) -> PasswordKeeper | None:
        """Keeps the one that is there: connections may be waiting for it."""
        if self._parts.passwords is None:
            return None
        if present is None:
            return PasswordKeeper(self._parts.passwords, *self._work)
        present.replace(self._parts.passwords)
        return present


def build_keyring(
    config: Auth,
    defer: Defer,
    wall_clock: WallClock,
    monotonic: Callable[[], float] = time.monotonic,
    revocations: RevocationList | None = None,
) -> Keyring:
    """The keyring of section `auth`. Reads the files it names; raises `ConfigError` with the dotted key.

    `revocations` is what it asks; None: a list of its own, see `Keyring.revocations`.
    """
    return Keyring(config, defer, wall_clock, monotonic, revocations)


def build_refresher(reactor: Any, config: Jwt, keyring: Keyring) -> JwksRefresher | None:
    """What keeps the keyring's fetched keys fresh, not started yet. None: no `jwks_url`. Raises `ConfigError`."""
    if not config.jwks_url:
        return None
    server = KeyServer(reactor, config.jwks_url, config.jwks_ca)
    refresher = JwksRefresher(reactor, server.fetch, keyring.accept_jwks, config.jwks_refresh)
    keyring.on_unknown_key(refresher.unknown_kid)
    return refresher
