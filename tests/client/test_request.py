"""What may be asked for, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.client.request import make_request


class AddressTests(SynchronousTestCase):
    def test_good(self) -> None:
        table = (
            ("ws://localhost/ws", (False, "localhost", 80, "/ws", "localhost")),
            ("wss://Example.ORG", (True, "example.org", 443, "/", "example.org")),
            ("wss://example.org:8443/a?b=c&d", (True, "example.org", 8443, "/a?b=c&d", "example.org")),
            ("ws://[::1]:8000/ws", (False, "::1", 8000, "/ws", "[::1]")),
            ("WS://127.0.0.1?x", (False, "127.0.0.1", 80, "/?x", "127.0.0.1")),
        )
        for url, expected in table:
            request = make_request(url)
            found = (request.secure, request.host, request.port, request.resource, request.host_header)
            self.assertEqual(found, expected)

    def test_bad(self) -> None:
        """Refused, and no part of it is repeated: it may hold a credential."""
        urls = (
            "",
            "canary",
            "http://canary/",
            "ws://",
            "ws:///canary",
            "ws://canary:0/",
            "ws://canary:65536/",
            "ws://canary:x/",
            "ws://[canary/",
            "ws://canary/#fragment",
            "ws://canary@localhost/",
            "ws://user:canary@localhost/",
            "ws://localhost/ canary",
            "ws://localhost/\r\ncanary: 1",
            "ws://localhost/\0canary",
            "ws://localhost/canäry",
        )
        for url in urls:
            error = self.assertRaises(ValueError, make_request, url)
            self.assertNotIn("canary", str(error), url)


class HeaderTests(SynchronousTestCase):
    def test_bad(self) -> None:
        """Nothing gets into the request that would be read as another header, and no value into the error."""
        table: tuple[dict[str, Any], ...] = (
            {"headers": {"X": "canary\r\nY: 1"}},
            {"headers": {"X": "canary\n"}},
            {"headers": {"X": " canary"}},
            {"headers": {"X": "canary "}},
            {"headers": {"X": "canäry"}},
            {"headers": {"X": "canary\0"}},
            {"headers": {"X\r\nY": "canary"}},
            {"headers": {"X Y": "canary"}},
            {"headers": {"": "canary"}},
            {"headers": {"Host": "canary"}},
            {"headers": {"Sec-WebSocket-Key": "canary"}},
            {"headers": {"upgrade": "canary"}},
            {"headers": {"Content-Length": "1"}},
            {"token": ""},
            {"token": "canary canary"},
            {"token": "canary\r\nX: 1"},
            {"token": "canäry"},
            {"basic": ("us:er", "canary")},
            {"token": "canary", "basic": ("user", "canary")},
            {"token": "canary", "headers": {"authorization": "canary"}},
            {"headers": {"authorization": "canary", "Authorization": "canary"}},
            {"protocols": ("canary,canary",)},
            {"protocols": ("",)},
            {"protocols": ("canary\r\n",)},
        )
        for options in table:
            error = self.assertRaises(ValueError, make_request, "ws://localhost/", **options)
            self.assertNotIn("canary", str(error), options)

    def test_good(self) -> None:
        request = make_request("ws://localhost/", headers={"X-A": "b c", "Empty": ""}, token="a.b-c_d~e+f/g=")
        self.assertEqual(request.headers, {"X-A": "b c", "Empty": "", "Authorization": "Bearer a.b-c_d~e+f/g="})

    def test_repr_shows_no_secret(self) -> None:
        request = make_request(
            "wss://localhost/?token=canary", token="canary", headers={"Cookie": "canary"}, protocols=("bearer.canary",)
        )
        self.assertNotIn("canary", repr(request))


class ExposureTests(SynchronousTestCase):
    """Credentials in clear text stay on this machine, unless that is asked for."""

    SECRETS: tuple[tuple[str, dict[str, Any]], ...] = (
        ("", {"token": "t"}),
        ("", {"basic": ("u", "p")}),
        ("", {"headers": {"AUTHORIZATION": "x"}}),
        ("", {"headers": {"Cookie": "a=b"}}),
        ("", {"protocols": ("plain.v1", "bearer.t")}),
        ("?a=b&token=t", {}),
        ("?access_token=t", {}),
    )

    def test_table(self) -> None:
        for query, options in self.SECRETS:
            for host in ("example.org", "10.0.0.1", "[2001:db8::1]", "localhost.example.org", "[::ffff:10.0.0.1]"):
                self.assertRaises(ValueError, make_request, f"ws://{host}/{query}", **options)
                make_request(f"ws://{host}/{query}", insecure=True, **options)
                make_request(f"wss://{host}/{query}", **options)
            for host in ("localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "[::1]"):
                make_request(f"ws://{host}/{query}", **options)

    def test_no_secret(self) -> None:
        make_request("ws://example.org/ws?channel=chat", headers={"X": "1"}, protocols=("plain.v1",))
