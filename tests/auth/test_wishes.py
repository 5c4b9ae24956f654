"""What an address and its headers ask for besides coming in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth import wishes
from realtime_svc.auth.wishes import Speech
from realtime_svc.errors import Refusal
from realtime_svc.model import StreamPosition
from realtime_svc.wire.http_head import HeadLimits, HeadParser, RequestHead
from realtime_svc.wire.routes import Endpoint

PROTOBUF, JSON = "centrifuge-protobuf", "centrifuge-json"
AT_7 = StreamPosition(7, "ep")


def request(target: str, *fields: str) -> RequestHead:
    data = "\r\n".join((f"GET {target} HTTP/1.1", "Host: h", *fields, "", "")).encode("latin-1")
    parsed = HeadParser(HeadLimits()).feed(data)
    assert parsed is not None
    return parsed[0]


class SpeechTests(SynchronousTestCase):
    def test_centrifuge(self) -> None:
        """Protobuf by sub-protocol or query, else JSON; what is offered of the two is selected."""
        table: list[tuple[list[str], str, Speech]] = [
            ([], "", Speech()),
            ([], "cf_protocol_version=v2", Speech()),
            ([JSON], "", Speech(JSON)),
            ([PROTOBUF], "", Speech(PROTOBUF, True)),
            ([JSON, PROTOBUF], "", Speech(PROTOBUF, True)),
            (["x", "plain.v1"], "", Speech()),
            ([], "format=protobuf", Speech(None, True)),
            ([], "cf_protocol=protobuf", Speech(None, True)),
            ([], "format=json&cf_protocol=json", Speech()),
            ([], "cf_ws_frame_ping_pong=true", Speech(None, False, True)),
            ([], "cf_ws_frame_ping_pong=1", Speech()),
        ]
        for offered, query, expected in table:
            found = wishes.speech(Endpoint.CENTRIFUGE, offered, request(f"/x?{query}").query_items())
            self.assertEqual(found, expected, (offered, query))

    def test_others(self) -> None:
        """Elsewhere these words mean nothing."""
        query = request("/x?format=protobuf&cf_ws_frame_ping_pong=true").query_items()
        for endpoint in Endpoint:
            if endpoint is not Endpoint.CENTRIFUGE:
                self.assertEqual(wishes.speech(endpoint, [PROTOBUF, JSON], query), Speech(), endpoint)
        self.assertEqual(wishes.speech(Endpoint.PLAIN, ["raw.v1", "plain.v1"], []), Speech("plain.v1"))
        self.assertEqual(wishes.speech(Endpoint.RAW, ["raw.v1", "plain.v1"], []), Speech("raw.v1"))


class HistoryTests(SynchronousTestCase):
    def test_last(self) -> None:
        for endpoint in (Endpoint.PLAIN, Endpoint.RAW, Endpoint.SSE):
            for query, expected in (("", 0), ("history=0", 0), ("history=10", 10), ("history=1&history=x", 1)):
                self.assertEqual(wishes.last(endpoint, request(f"/x?{query}").query_items()), expected, query)
            for query in ("history=", "history=x", "history=-1", "history=1.5", "history=+1", "history=1234567890"):
                refusal = self.assertRaises(Refusal, wishes.last, endpoint, request(f"/x?{query}").query_items())
                assert isinstance(refusal, Refusal)
                self.assertEqual((refusal.status, refusal.cause), (400, "bad_history"), query)

    def test_since(self) -> None:
        for endpoint in (Endpoint.PLAIN, Endpoint.RAW, Endpoint.SSE):
            self.assertIsNone(self.since(endpoint, "/x"))
            self.assertEqual(self.since(endpoint, "/x?since=ep:7"), AT_7)
            for bad in ("", "7", "ep:", ":7", "ep:x", "ep:-1", "e p:7", "ep:7:", "ep:%31%0A", "ep:" + "1" * 19):
                refusal = self.assertRaises(Refusal, self.since, endpoint, f"/x?since={bad.replace(' ', '%20')}")
                assert isinstance(refusal, Refusal)
                self.assertEqual((refusal.status, refusal.cause), (400, "bad_since"), bad)
                self.assertIn("<epoch>:<offset>", refusal.message)

    def since(self, endpoint: Endpoint, target: str, *fields: str) -> StreamPosition | None:
        head = request(target, *fields)
        return wishes.since(endpoint, head, head.query_items())

    def test_last_event_id(self) -> None:
        """The header goes first; one that is not ours is passed over; it means nothing to a WebSocket."""
        for value, query, expected in (
            ("ep:9", "", StreamPosition(9, "ep")),
            ("ep:9", "?since=ep:7", StreamPosition(9, "ep")),
            ("", "?since=ep:7", AT_7),
            ("4711", "?since=ep:7", AT_7),
            ("\xe9:1", "", None),
            ("x" * 5000, "", None),
        ):
            found = self.since(Endpoint.SSE, f"/x{query}", f"Last-Event-ID: {value}")
            self.assertEqual(found, expected, (value[:20], query))
        self.assertIsNone(self.since(Endpoint.RAW, "/x", "Last-Event-ID: ep:9"))

    def test_elsewhere(self) -> None:
        """Where nothing is recovered by address, neither is looked at."""
        head = request("/x?since=bad&history=bad", "Last-Event-ID: ep:9")
        for endpoint in set(Endpoint) - {Endpoint.PLAIN, Endpoint.RAW, Endpoint.SSE}:
            self.assertIsNone(wishes.since(endpoint, head, head.query_items()))
            self.assertEqual(wishes.last(endpoint, head.query_items()), 0)
