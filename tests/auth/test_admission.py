"""The gatekeeper alone: whose credential counts, who is let in, and in which order the refusals come."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.admission import Gatekeeper
from realtime_svc.config import Auth, Http, Namespace
from realtime_svc.core.instruments import Instruments
from realtime_svc.core.ports import Admitted
from realtime_svc.errors import AuthenticationFailed, Refusal
from realtime_svc.model import (
    ANONYMOUS,
    BasicCredential,
    BearerCredential,
    Credential,
    Identity,
    StreamPosition,
    SubscriptionClaims,
)
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead
from realtime_svc.wire.routes import Endpoint, Route

NAMESPACES = {
    "default": Namespace(echo=True),
    "open": Namespace(subscribe=("anonymous",), publish=("authenticated",)),
    "bobs": Namespace(subscribe=("user:bob",), publish=()),
    "feed": Namespace(subscribe=(), publish=("user:alice",)),
    "members": Namespace(subscribe=("user:alice",), publish=("subscriber",)),
    "wild": Namespace(subscribe=(), publish=(), insecure=True),
    "now": Namespace(history_size=1, history_ttl=60.0, read_history=("user:bob",)),
    "log": Namespace(history_size=1, history_ttl=60.0),
}
CONNECTIONS = [Route(endpoint, "") for endpoint in Endpoint if endpoint.connects]
RAW = Route(Endpoint.RAW, "a")
PLAIN = Route(Endpoint.PLAIN, "")
ORIGIN = "Origin: http://h"
BEARER = "Authorization: Bearer alice"


class Keeper:
    """An authenticator whose tokens are the names of users; `asked` are the credentials it was shown."""

    def __init__(self) -> None:
        self.asked: list[Credential] = []
        self.prepared: list[Credential] = []
        self.waiting: Deferred[None] | None = None

    def prepare(self, credential: Credential) -> Awaitable[None] | None:
        self.prepared.append(credential)
        return self.waiting

    def authenticate(self, credential: Credential) -> Identity:
        self.asked.append(credential)
        name = credential.user if isinstance(credential, BasicCredential) else credential.token
        if name not in ("alice", "bob", "nobody"):
            raise AuthenticationFailed("unknown")
        return ANONYMOUS if name == "nobody" else Identity(name)

    def authenticate_subscription(self, token: str) -> SubscriptionClaims:
        raise AssertionError("nobody subscribes before there is a connection")


def request(*fields: str, target: str = "/raw/a", host: str = "h") -> RequestHead:
    data = "\r\n".join((f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "", "")).encode("latin-1")
    parsed = HeadParser(HeadLimits()).feed(data)
    assert parsed is not None
    return parsed[0]


class GatekeeperTests(SynchronousTestCase):
    def gate(self, http: Http | None = None, *, basic: bool = False, **auth: Any) -> Gatekeeper:
        self.keeper = Keeper()
        self.instruments = Instruments()
        namespaces = NAMESPACES
        return Gatekeeper(http or Http(), Auth(**auth), self.keeper, namespaces, self.instruments, lambda: basic)

    def refused(self, gate: Gatekeeper, head: RequestHead, route: Route = RAW) -> tuple[int, str]:
        refusal = self.assertRaises(Refusal, gate.admit, head, route)
        assert isinstance(refusal, Refusal)
        return refusal.status, refusal.cause

    def user(self, gate: Gatekeeper, head: RequestHead, route: Route = RAW) -> str | None:
        identity = gate.admit(head, route).identity
        return identity.user if identity else None

    # ---- where a credential comes from

    def test_places(self) -> None:
        """Header, then sub-protocol, then query, then cookie: the first one that is there counts, good or bad."""
        bearer, cookie = "Sec-WebSocket-Protocol: raw.v1, bearer.{}", "Cookie: a=b; c={}"
        options: dict[str, Any] = {"cookie": "c", "query_token": True}
        places = [
            ("/raw/a", [BEARER]),
            ("/raw/a", [bearer.format("alice")]),
            ("/raw/a?token=alice", []),
            ("/raw/a", [ORIGIN, cookie.format("alice")]),
        ]
        worse = [
            ("/raw/a?token=bad", [bearer.format("bad"), ORIGIN, cookie.format("bad")]),
            ("/raw/a?token=bad", [ORIGIN, cookie.format("bad")]),
            ("/raw/a?token=alice", [ORIGIN, cookie.format("bad")]),
            ("/raw/a", [ORIGIN, cookie.format("alice")]),
        ]
        for (_, first), (target, others) in zip(places, worse, strict=True):
            fields = list(dict.fromkeys([*first, *others]))
            self.assertEqual(self.user(self.gate(**options), request(*fields, target=target)), "alice", fields)
        for target, fields in places:
            bad = [field.replace("alice", "bad") for field in fields]
            head = request(*bad, target=target.replace("alice", "bad"))
            self.assertEqual(self.refused(self.gate(**options), head), (401, "unauthorized"))
            self.assertEqual(self.instruments.authentication_failures, {"unknown": 1})

    def test_header_kinds(self) -> None:
        gate = self.gate()
        gate.admit(request(BEARER), RAW)
        gate.admit(request("Authorization: Basic YWxpY2U6cGFzcw=="), RAW)
        self.assertEqual(self.keeper.asked, [BearerCredential("alice"), BasicCredential("alice", "pass")])

    def test_cookie_needs_a_page(self) -> None:
        """A cookie counts only where an origin that was let through says which page sends it."""
        gate = self.gate(cookie="c")
        self.assertEqual(self.user(gate, request(ORIGIN, "Cookie: c=alice")), "alice")
        self.assertEqual(self.refused(gate, request("Cookie: c=alice")), (403, "origin"))
        self.assertEqual(self.refused(gate, request("Origin: http://x", "Cookie: c=alice")), (403, "origin"))
        self.assertEqual(self.refused(gate, request(ORIGIN, "Cookie: c=alice; c=alice")), (401, "unauthorized"))
        self.assertEqual(self.refused(self.gate(), request(ORIGIN, "Cookie: c=alice")), (401, "unauthorized"))
        self.assertEqual(self.keeper.asked, [], "cookies are off: it is not looked at")

    def test_cookie_of_the_same_page(self) -> None:
        """Browsers send no Origin with a GET to the page's own; Sec-Fetch-Site says so, but never opens a WebSocket."""
        same, cookie = "Sec-Fetch-Site: same-origin", "Cookie: c=alice"
        sse = Route(Endpoint.SSE, "a")
        self.assertEqual(self.user(self.gate(cookie="c"), request(same, cookie), sse), "alice")
        for fields, route in (
            ((same,), RAW),
            (("Sec-Fetch-Site: same-site",), sse),
            (("Sec-Fetch-Site: cross-site",), sse),
            (("Sec-Fetch-Site: none",), sse),
            ((same, same), sse),
            ((same, "Origin: http://x"), sse),
        ):
            refused = self.refused(self.gate(cookie="c"), request(*fields, cookie), route)
            self.assertEqual(refused, (403, "origin"), fields)

    def test_subprotocol(self) -> None:
        """The one of the address is selected where it is offered; the token never is, and can't come alone."""
        centrifuge = Route(Endpoint.CENTRIFUGE, "")
        cases = [
            (centrifuge, "bearer.alice, centrifuge-json", "centrifuge-json"),
            (centrifuge, "centrifuge-protobuf, bearer.alice", "centrifuge-protobuf"),
            (RAW, "raw.v1, bearer.alice", "raw.v1"),
            (RAW, "bearer.alice, x, raw.v1", "raw.v1"),
            (PLAIN, "plain.v1, raw.v1, bearer.alice", "plain.v1"),
        ]
        for route, offer, selected in cases:
            self.assertEqual(self.admitted(route, offer).subprotocol, selected)
        for route, offer in (
            (RAW, "bearer.alice"),
            (PLAIN, "bearer.alice"),
            (RAW, "plain.v1, bearer.alice"),
            (PLAIN, "x, bearer.alice"),
            (centrifuge, "bearer.alice"),
        ):
            head = request(f"Sec-WebSocket-Protocol: {offer}")
            self.assertEqual(self.refused(self.gate(), head, route), (400, "no_subprotocol"), offer)
        offers: list[tuple[str, str | None]] = [("raw.v1", "raw.v1"), ("x", None), ("plain.v1", None)]
        for offer, chosen in offers:
            head = request(BEARER, f"Sec-WebSocket-Protocol: {offer}")
            self.assertEqual(self.gate().admit(head, RAW).subprotocol, chosen)

    def admitted(self, route: Route, offer: str) -> Admitted:
        return self.gate().admit(request(f"Sec-WebSocket-Protocol: {offer}"), route)

    def test_query(self) -> None:
        """A token in the address is a 400 unless it is allowed; twice it always is."""
        for name in ("token", "access_token", "TOKEN", "auth", "authorization", "%74oken"):
            head = request(BEARER, target=f"/raw/a?{name}=alice")
            self.assertEqual(self.refused(self.gate(), head), (400, "token_in_query"), name)
            self.assertEqual(self.refused(self.gate(anonymous=True), head), (400, "token_in_query"), name)
        head = request(target="/raw/a?token=alice&auth=alice")
        self.assertEqual(self.refused(self.gate(query_token=True), head), (400, "token_in_query"))
        self.assertEqual(self.user(self.gate(), request(BEARER, target="/raw/a?mytoken=x")), "alice")

    # ---- host and origin

    def test_hosts(self) -> None:
        gate = self.gate(Http(allowed_hosts=("Example.com", "[::1]", "10.0.0.1")))
        for host in ("example.com", "EXAMPLE.com:8000", "[::1]", "[::1]:80", "10.0.0.1:1"):
            gate.check(request(host=host))
        for host in ("example.com.", "sub.example.com", "example.com.evil", "[::2]", "10.0.0.10", "x"):
            self.assertEqual(self.refused(gate, request(BEARER, host=host)), (421, "wrong_host"), host)
        self.gate().check(request(host="whatever"))

    def test_origins(self) -> None:
        listed = self.gate(Http(allowed_origins=("https://a.example", "http://b:8000", "null")))
        for origin in ("https://a.example", "HTTPS://A.example", "http://b:8000", "null"):
            listed.check(request(f"Origin: {origin}"))
        for origin in ("http://a.example", "https://a.example:443", "http://b", "https://h", "http://h", ""):
            self.assertEqual(self.refused(listed, request(BEARER, f"Origin: {origin}")), (403, "origin"), origin)
        every = self.gate(Http(allowed_origins=("*",)))
        for origin in ("null", "https://whoever.example", "rubbish"):
            every.check(request(f"Origin: {origin}"))

    def test_same_origin(self) -> None:
        gate = self.gate()
        good = [
            ("http://h", "h"),
            ("https://h", "h:443"),
            ("http://h:80", "h"),
            ("http://H:1", "h:1"),
            ("http://[::1]", "[::1]:80"),
        ]
        for origin, host in good:
            gate.check(request(f"Origin: {origin}", host=host))
        bad = [
            ("http://h", "h:443"),
            ("https://h:80", "h"),
            ("http://h:1", "h"),
            ("ftp://h", "h"),
            ("//h", "h"),
            ("http://", "h"),
        ]
        for origin, host in bad:
            self.assertEqual(self.refused(gate, request(f"Origin: {origin}", host=host)), (403, "origin"), origin)

    # ---- who may

    def test_nobody(self) -> None:
        """Without a credential: /ws waits for one in a message, everything else asks for it at once."""
        gate = self.gate()
        self.assertIsNone(gate.admit(request(), PLAIN).identity)
        for endpoint in (Endpoint.RAW, Endpoint.SSE, Endpoint.PUBLISH):
            for channel in ("a", "open:a", "bobs:a", "nowhere:a", "$a"):
                self.assertEqual(self.refused(gate, request(), Route(endpoint, channel)), (401, "unauthorized"))

    def test_anonymous(self) -> None:
        """Where nobody may come in, the namespace decides; where it says no, one is asked who one is."""
        gate = self.gate(anonymous=True)
        self.assertEqual(gate.admit(request(), PLAIN).identity, ANONYMOUS)
        self.assertEqual(gate.admit(request(), Route(Endpoint.SSE, "open:a")).identity, ANONYMOUS)
        self.assertEqual(self.refused(gate, request(), Route(Endpoint.PUBLISH, "open:a")), (401, "unauthorized"))
        self.assertEqual(self.refused(gate, request(), Route(Endpoint.SSE, "nowhere:a")), (404, "unknown_channel"))
        self.assertEqual(self.refused(gate, request("Authorization: Bearer bad"), PLAIN), (401, "unauthorized"))
        token = request("Authorization: Bearer nobody")
        self.assertEqual(gate.admit(token, PLAIN).identity, ANONYMOUS)
        self.assertEqual(self.refused(self.gate(), token, PLAIN), (403, "anonymous"))

    def test_insecure(self) -> None:
        """The switch for development lets nobody in everywhere."""
        gate = self.gate(insecure=True)
        self.assertEqual(gate.admit(request(), PLAIN).identity, ANONYMOUS)
        self.assertEqual(gate.admit(request(), Route(Endpoint.SSE, "open:a")).identity, ANONYMOUS)
        self.assertEqual(gate.admit(request("Authorization: Bearer nobody"), PLAIN).identity, ANONYMOUS)

    def test_connections(self) -> None:
        """/connection/*: what the request brings is checked at once; without, `Connect` says who it is, whoever may."""
        for route in CONNECTIONS:
            for gate in (self.gate(), self.gate(anonymous=True), self.gate(insecure=True)):
                self.assertIsNone(gate.admit(request(), route).identity)
            gate = self.gate(cookie="c")
            self.assertEqual(self.user(gate, request(BEARER), route), "alice")
            self.assertEqual(self.user(gate, request(ORIGIN, "Cookie: c=alice"), route), "alice")
            self.assertEqual(self.refused(gate, request("Authorization: Bearer bad"), route), (401, "unauthorized"))
            self.assertEqual(self.refused(gate, request(ORIGIN, "Cookie: c=bad"), route), (401, "unauthorized"))
            self.assertEqual(self.refused(gate, request(target="/x?token=a"), route), (400, "token_in_query"))
            self.assertEqual(self.refused(gate, request("Origin: http://x"), route), (403, "origin"))
            admitted = gate.admit(request(target="/x?channel=a&history=x&since=x&cf_protocol_version=v2"), route)
            self.assertEqual((admitted.channels, admitted.last, admitted.since), ((), 0, None))

    def test_secrets_of_another_kind(self) -> None:
        """/emulation and /api: host and origin; whatever stands where a credential might is not looked at."""
        gate = self.gate(Http(allowed_hosts=("h",)))
        for route in (Route(Endpoint.EMULATION, ""), Route(Endpoint.API, "", "publish")):
            for head in (request(), request("Authorization: Bearer bad"), request(target="/api/x?token=a")):
                self.assertIsNone(gate.admit(head, route).identity)
            self.assertEqual(self.refused(gate, request("Origin: http://x"), route), (403, "origin"))
            self.assertEqual(self.refused(gate, request(host="x"), route), (421, "wrong_host"))
        self.assertEqual(self.keeper.asked, [])

    def test_channels(self) -> None:
        """raw: who may subscribe or publish; sse: subscribe; publish: publish."""
        table = {
            "a": "alice+raw alice+sse alice+publish bob+raw bob+sse bob+publish",
            "bobs:a": "bob+raw bob+sse",
            "feed:a": "alice+raw alice+publish",
            "#alice": "alice+raw alice+sse alice+publish",
            "bobs:#alice": "",
            "members:a": "alice+raw alice+sse",
            "wild:a": "alice+raw alice+sse alice+publish bob+raw bob+sse bob+publish",
            "wild:#alice": "alice+raw alice+sse alice+publish bob+raw bob+sse bob+publish",
            "wild:$a": "",
            "$a": "",
        }
        for channel, allowed in table.items():
            for name in ("alice", "bob"):
                for endpoint in (Endpoint.RAW, Endpoint.SSE, Endpoint.PUBLISH):
                    head, route = request(f"Authorization: Bearer {name}"), Route(endpoint, channel)
                    if f"{name}+{endpoint.value}" in allowed.split():
                        self.assertEqual(self.user(self.gate(), head, route), name)
                    else:
                        self.assertEqual(self.refused(self.gate(), head, route), (403, "permission"), (channel, name))

    def test_history_is_for_those_who_may_read_it(self) -> None:
        for channel, name, expected in (
            ("log:a", "alice", None),
            ("now:a", "bob", None),
            ("now:a", "alice", (403, "permission")),
        ):
            for endpoint in (Endpoint.RAW, Endpoint.SSE):
                bearer, route = f"Authorization: Bearer {name}", Route(endpoint, channel)
                self.assertEqual(name, self.user(self.gate(), request(bearer), route))
                head = request(bearer, target="/raw/a?history=1")
                if expected is None:
                    self.assertEqual(name, self.user(self.gate(), head, route), channel)
                else:
                    self.assertEqual(expected, self.refused(self.gate(), head, route), channel)

    def test_order(self) -> None:
        """The first thing that is wrong is what is said: host, origin, place of the credential, who, where, whether."""
        gate = self.gate(Http(allowed_hosts=("h",)))
        wrong = "Authorization: Bearer bad"
        cases = [
            (request(wrong, "Origin: null", target="/raw/a?token=x", host="x"), "nowhere:a", 421),
            (request(wrong, "Origin: null", target="/raw/a?token=x"), "nowhere:a", 403),
            (request(wrong, target="/raw/a?token=x"), "nowhere:a", 400),
            (request(wrong, target="/raw/a?x=%ff"), "nowhere:a", 400),
            (request(wrong), "nowhere:a", 401),
            (request(BEARER), "nowhere:a", 404),
            (request(BEARER, target="/raw/a?echo=1&since=x"), "feed:a", 403),
            (request(BEARER, target="/raw/a?since=x"), "feed:a", 400),
        ]
        for head, channel, status in cases:
            self.assertEqual(self.refused(gate, head, Route(Endpoint.RAW, channel))[0], status)

    def test_challenge(self) -> None:
        """The 401 offers what is configured, and is the same for none, for a bad one and for one of no form."""
        for basic in (False, True):
            gate = self.gate(basic=basic)
            seen = set()
            for fields in ((), ("Authorization: Bearer bad",), ("Authorization: canary",), ("Authorization: Basic !",)):
                refusal = self.assertRaises(Refusal, gate.admit, request(*fields), RAW)
                assert isinstance(refusal, Refusal)
                seen.add((refusal.status, refusal.cause, refusal.message, tuple(refusal.headers.items())))
            self.assertEqual(len(seen), 1)
            self.assertEqual("Basic" in repr(seen), basic)

    # ---- what the address says besides

    def test_options(self) -> None:
        admitted = self.gate().admit(request(BEARER, target="/raw/a?echo=1&channel=b&channel=c&event=e&event=f&x"), RAW)
        self.assertEqual((admitted.echo, admitted.channels, admitted.event), (True, ("b", "c"), "e"))
        admitted = self.gate().admit(request(BEARER, target="/raw/a?echo=0"), RAW)
        self.assertEqual((admitted.echo, admitted.channels, admitted.event), (False, (), None))
        refused = self.refused(self.gate(), request(BEARER, target="/raw/a?echo=1"), Route(Endpoint.RAW, "open:a"))
        self.assertEqual(refused, (403, "echo"))

    def test_recovery(self) -> None:
        """`since` and `history` of the address; on /sse what a browser says about itself goes first."""
        head = request(BEARER, "Last-Event-ID: ep:9", target="/sse/a?since=ep:7&history=3")
        admitted = self.gate().admit(head, Route(Endpoint.SSE, "a"))
        self.assertEqual((admitted.since, admitted.last), (StreamPosition(9, "ep"), 3))
        admitted = self.gate().admit(head, RAW)
        self.assertEqual((admitted.since, admitted.last), (StreamPosition(7, "ep"), 3))

    def test_speech(self) -> None:
        head = request("Sec-WebSocket-Protocol: centrifuge-protobuf", target="/x?cf_ws_frame_ping_pong=true")
        admitted = self.gate().admit(head, Route(Endpoint.CENTRIFUGE, ""))
        found = (admitted.subprotocol, admitted.protobuf, admitted.frame_pings)
        self.assertEqual(found, ("centrifuge-protobuf", True, True))

    def test_prepare(self) -> None:
        """What the credential has to wait for; nothing where there is none, or one that is refused anyway."""
        gate = self.gate()
        self.keeper.waiting = Deferred()
        self.assertIs(gate.prepare(request("Authorization: Basic YWxpY2U6cGFzcw==")), self.keeper.waiting)
        self.assertEqual(self.keeper.prepared, [BasicCredential("alice", "pass")])
        for fields in (
            (),
            ("Authorization: canary",),
            ("Sec-WebSocket-Protocol: bearer.alice",),
            ("Sec-WebSocket-Protocol: ,",),
        ):
            self.assertIsNone(gate.prepare(request(*fields)), fields)
        self.assertIsNone(gate.prepare(request(target="/raw/a?token=x")))
        self.assertEqual(len(self.keeper.prepared), 1)
