"""May this request come in? Host, origin, credentials and, where the address names a channel, permission.

The order is that of the answers: 421, 403 (origin), 400 (where a credential may stand), 401, 404, 403.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from realtime_svc import channel as channels
from realtime_svc.auth import credentials
from realtime_svc.config import Auth, Http, Namespace
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.permissions import may
from realtime_svc.core.ports import Admitted, Authenticator
from realtime_svc.errors import AuthenticationFailed, Refusal, bad_head, unauthorized
from realtime_svc.model import ANONYMOUS, Credential, CredentialSource, Identity
from realtime_svc.wire import plain, raw
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.routes import Endpoint, Route
from realtime_svc.wire.upgrade import parse_protocols

_SUBPROTOCOLS = {Endpoint.PLAIN: plain.SUBPROTOCOL, Endpoint.RAW: raw.SUBPROTOCOL}
_TOKEN_PARAMETERS = frozenset(("token", "access_token", "authorization", "auth"))


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a request brings along: a credential, and the sub-protocols that may be selected."""

    credential: Credential | None
    protocols: Sequence[str]
    query: Sequence[tuple[str, str]]


class Gatekeeper:
    """Implements `core.ports.Gatekeeper`. `accepts_basic`: are there passwords, so that a challenge offers them?"""

    def __init__(
        self,
        http: Http,
        auth: Auth,
        authenticator: Authenticator,
        namespaces: Mapping[str, Namespace],
        instruments: Instruments,
        accepts_basic: Callable[[], bool],
    ) -> None:
        self._http = http
        self._auth = auth
        self._authenticator = authenticator
        self._namespaces = namespaces
        self._instruments = instruments
        self._accepts_basic = accepts_basic
        self._hosts = frozenset(host.lower().strip("[]") for host in http.allowed_hosts)
        self._origins = frozenset(origin.lower() for origin in http.allowed_origins)

    def prepare(self, head: RequestHead) -> Awaitable[None] | None:
        """What has to be done before `admit` can answer at once; None: nothing. Raises nothing."""
        try:
            offer = self._offer(head)
        except (AuthenticationFailed, Refusal):
            return None
        return self._authenticator.prepare(offer.credential) if offer.credential else None

    def check(self, head: RequestHead) -> None:
        """Host and origin. Raises `Refusal` 421 or 403."""
        if self._hosts and _without_port(head.host or "").lower() not in self._hosts:
            raise Refusal(421, "wrong_host", "this server does not answer to that host name")
        origin = head.get("origin")
        if origin is not None and not self.allows_origin(origin, head.host):
            raise Refusal(403, "origin", "pages of this origin may not connect")

    def allows_origin(self, origin: str, host: str | None) -> bool:
        """Exact comparison; without a list, a page may talk to the address it came from (RFC 6454)."""
        if "*" in self._origins:
            return True
        if self._origins:
            return origin.lower() in self._origins
        scheme, separator, authority = origin.lower().partition("://")
        return bool(separator) and scheme in ("http", "https") and bool(authority) and _same(authority, host, scheme)

    def admit(self, head: RequestHead, route: Route) -> Admitted:
        """Who is it, and may they? Raises `Refusal`. Never waits."""
        self.check(head)
        try:
            offer = self._offer(head)
            identity = self._identity(offer, head)
        except AuthenticationFailed as failure:
            self._instruments.authentication_failures[failure.cause] += 1
            raise self._challenge() from None
        if route.endpoint is not Endpoint.PLAIN:
            if identity is None:
                raise self._challenge()
            self._check_channel(identity, route)
        return self._admitted(offer, identity, route)

    def _offer(self, head: RequestHead) -> _Offer:
        """The credential, from the first place that has one: header, sub-protocol, query, cookie."""
        from_protocols, protocols = credentials.from_protocols(parse_protocols(head))
        query = head.query_items()
        token = self._query_token(query)
        credential: Credential | None = None
        if (authorization := head.get("authorization")) is not None:
            credential = credentials.bearer_or_basic(authorization)
        elif from_protocols is not None:
            credential = from_protocols
        elif token is not None:
            credential = credentials.bearer(token, CredentialSource.QUERY)
        elif self._auth.cookie and (cookie := head.get("cookie")) is not None:
            value = credentials.cookie_value(cookie, self._auth.cookie)
            credential = credentials.bearer(value, CredentialSource.COOKIE) if value is not None else None
        if from_protocols is not None and not protocols:
            raise bad_head("no_subprotocol", "offer raw.v1 or plain.v1 together with bearer.<token>: it is selected")
        return _Offer(credential, protocols, query)

    def _query_token(self, query: Sequence[tuple[str, str]]) -> str | None:
        tokens = [value for name, value in query if name.lower() in _TOKEN_PARAMETERS]
        if tokens and (not self._auth.query_token or len(tokens) > 1):
            raise bad_head("token_in_query", "a token in the address is not accepted: use a header or a sub-protocol")
        return tokens[0] if tokens else None

    def _identity(self, offer: _Offer, head: RequestHead) -> Identity | None:
        """None: no credential, and nobody may come in without one."""
        if offer.credential is None:
            return ANONYMOUS if self._auth.anonymous else None
        if offer.credential.source is CredentialSource.COOKIE and head.get("origin") is None:
            raise Refusal(403, "origin", "a cookie is accepted from pages only: the Origin header is missing")
        identity = self._authenticator.authenticate(offer.credential)
        if not identity.user and not self._auth.anonymous:
            raise Refusal(403, "anonymous", "anonymous users may not connect")
        return identity

    def _check_channel(self, identity: Identity, route: Route) -> None:
        """May `identity` do what the address is for? Somebody without a name is asked for one first."""
        namespace = self._namespaces.get(channels.namespace_of(route.channel))
        if namespace is None:
            raise Refusal(404, "unknown_channel", "there is no such channel namespace")
        rules = {
            Endpoint.RAW: (namespace.subscribe, namespace.publish),
            Endpoint.SSE: (namespace.subscribe,),
            Endpoint.PUBLISH: (namespace.publish,),
        }[route.endpoint]
        if any(may(identity, rule, route.channel) for rule in rules):
            return
        raise Refusal(403, "permission", "permission denied") if identity.user else self._challenge()

    def _admitted(self, offer: _Offer, identity: Identity | None, route: Route) -> Admitted:
        wanted = _SUBPROTOCOLS.get(route.endpoint)
        selected = wanted if wanted in offer.protocols else None
        if selected is None and offer.credential and offer.credential.source is CredentialSource.SUBPROTOCOL:
            raise bad_head("no_subprotocol", "offer the sub-protocol of this address together with bearer.<token>")
        echo = route.endpoint is Endpoint.RAW and ("echo", "1") in offer.query
        if echo and not self._namespaces[channels.namespace_of(route.channel)].echo:
            raise Refusal(403, "echo", "this namespace does not allow echo")
        first = tuple(value for name, value in offer.query if name == "channel")
        event = next((value for name, value in offer.query if name == "event"), None)
        return Admitted(identity, selected, first, echo, event)

    def _challenge(self) -> Refusal:
        return unauthorized(basic=self._accepts_basic())


def _without_port(host: str) -> str:
    """`[::1]:80` -> `::1`, `localhost:80` -> `localhost`."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _same(authority: str, host: str | None, scheme: str) -> bool:
    """Is it the same host and port? A default port may be written or left out."""
    default = ":443" if scheme == "https" else ":80"
    return host is not None and authority.removesuffix(default) == host.lower().removesuffix(default)
