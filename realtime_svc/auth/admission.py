"""May this request come in? Host, origin, credentials and, where the address names a channel, permission.

The order is that of the answers: 421, 403 (origin), 400 (where a credential may stand), 401, 404, 403, 400 (the rest of
the query). Requests that prove themselves by a secret of another kind (`Endpoint.has_secret`) are asked for host and
origin only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from realtime_svc import channel as channels
from realtime_svc.auth import credentials, wishes
from realtime_svc.config import Auth, Http, Namespace
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.permissions import may, may_look_back
from realtime_svc.core.ports import Admitted, Authenticator
from realtime_svc.errors import AuthenticationFailed, Refusal, bad_head, unauthorized
from realtime_svc.model import ANONYMOUS, Credential, CredentialSource, Identity
from realtime_svc.wire.http_head import RequestHead
from realtime_svc.wire.routes import Endpoint, Route
from realtime_svc.wire.upgrade import parse_protocols

_TOKEN_PARAMETERS = frozenset(("token", "access_token", "authorization", "auth"))


class _Offer(NamedTuple):
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
        self._anonymous = auth.anonymous or auth.insecure
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
        if route.endpoint.has_secret:
            return Admitted(None, None, (), False, None)
        try:
            offer = self._offer(head)
            identity = self._identity(offer, head, route)
        except AuthenticationFailed as failure:
            self._instruments.authentication_failures[failure.cause] += 1
            raise self._challenge() from None
        if route.endpoint.has_channel:
            if identity is None:
                raise self._challenge()
            self._check_channel(identity, route, offer.query)
        return self._admitted(offer, identity, head, route)

    def _offer(self, head: RequestHead) -> _Offer:
        """What `_look_for_offer` finds, looked for once."""
        if not isinstance(head.offer, _Offer):
            head.offer = self._look_for_offer(head)
        return head.offer

    def _look_for_offer(self, head: RequestHead) -> _Offer:
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
            raise _no_subprotocol()
        return _Offer(credential, protocols, query)

    def _query_token(self, query: Sequence[tuple[str, str]]) -> str | None:
        if not query:
            return None
        tokens = [value for name, value in query if name.lower() in _TOKEN_PARAMETERS]
        if tokens and (not self._auth.query_token or len(tokens) > 1):
            raise bad_head("token_in_query", "a token in the address is not accepted: use a header or a sub-protocol")
        return tokens[0] if tokens else None

    def _identity(self, offer: _Offer, head: RequestHead, route: Route) -> Identity | None:
        """None: no credential, and nobody may come in without one, or `Connect` is still to bring it."""
        if offer.credential is None:
            return ANONYMOUS if self._anonymous and not route.endpoint.connects else None
        if offer.credential.source is CredentialSource.COOKIE and not _from_page(head, route):
            raise Refusal(403, "origin", "a cookie is accepted from pages only: the Origin header is missing")
        identity = self._authenticator.authenticate(offer.credential)
        if not identity.user and not self._anonymous:
            raise Refusal(403, "anonymous", "anonymous users may not connect")
        return identity

    def _check_channel(self, identity: Identity, route: Route, query: Sequence[tuple[str, str]]) -> None:
        """May `identity` do what the address is for? Somebody without a name is asked for one first."""
        namespace = self._namespaces.get(channels.namespace_of(route.channel))
        if namespace is None:
            raise Refusal(404, "unknown_channel", "there is no such channel namespace")
        rules: tuple[Sequence[str], ...] = (namespace.subscribe, namespace.publish)
        if route.endpoint is not Endpoint.RAW:
            rules = rules[:1] if route.endpoint is Endpoint.SSE else rules[1:]
        looks_back = wishes.first(query, "history") is not None
        allowed = _allows(namespace, identity, rules, route.channel)
        if allowed and (not looks_back or may_look_back(identity, namespace, route.channel)):
            return
        raise Refusal(403, "permission", "permission denied") if identity.user else self._challenge()

    def _admitted(self, offer: _Offer, identity: Identity | None, head: RequestHead, route: Route) -> Admitted:
        query = offer.query
        if not query and not offer.protocols and route.endpoint is Endpoint.RAW:
            return Admitted(identity, None, (), False, None)  # nothing is wished for
        speech = wishes.speech(route.endpoint, offer.protocols, query)
        if speech.subprotocol is None and offer.credential and offer.credential.source is CredentialSource.SUBPROTOCOL:
            raise _no_subprotocol()
        echo = route.endpoint is Endpoint.RAW and ("echo", "1") in query
        if echo and not self._namespaces[channels.namespace_of(route.channel)].echo:
            raise Refusal(403, "echo", "this namespace does not allow echo")
        first = tuple(value for name, value in query if name == "channel")
        return Admitted(
            identity,
            speech.subprotocol,
            () if route.endpoint.connects else first,
            echo,
            wishes.first(query, "event"),
            wishes.since(route.endpoint, head, query),
            wishes.last(route.endpoint, query),
            speech.protobuf,
            speech.frame_pings,
        )

    def _challenge(self) -> Refusal:
        return unauthorized(basic=self._accepts_basic())


def _allows(namespace: Namespace, identity: Identity, rules: Iterable[Sequence[str]], channel: str) -> bool:
    """Does one of the rules let `identity` use the channel? A private one takes a token that no request can bring."""
    if namespace.insecure:
        return not channels.is_private(channel)
    return any(may(identity, rule, channel) for rule in rules)


def _from_page(head: RequestHead, route: Route) -> bool:
    """Is it known which page sends the request? Browsers leave Origin out of a GET to the page's own origin (Fetch
    3.1), and say so (Fetch Metadata 2.3); never of the opening of a WebSocket.
    """
    same = not route.endpoint.is_websocket and head.get("sec-fetch-site") == "same-origin"
    return same or head.get("origin") is not None


def _no_subprotocol() -> Refusal:
    return bad_head("no_subprotocol", "offer the sub-protocol of this address together with bearer.<token>")


def _without_port(host: str) -> str:
    """`[::1]:80` -> `::1`, `localhost:80` -> `localhost`."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _same(authority: str, host: str | None, scheme: str) -> bool:
    """Is it the same host and port? A default port may be written or left out."""
    default = ":443" if scheme == "https" else ":80"
    return host is not None and authority.removesuffix(default) == host.lower().removesuffix(default)
