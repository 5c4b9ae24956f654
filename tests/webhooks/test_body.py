"""What is said, and how it is signed; the snippet of the documentation checks it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.model import ClientInfo, LifecycleEvent
from realtime_svc.webhooks.body import encode, signature

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/webhooks.md"
BOB = ClientInfo("c", "bob", b'{"name":"Bob"}', b"[1]")


class BodyTests(SynchronousTestCase):
    def test_each_kind(self) -> None:
        plain = ClientInfo("c", "")
        for event, expected in (
            (LifecycleEvent("connect", 1.23456, "", plain), {"time": 1.235, "client": "c", "user": ""}),
            (
                LifecycleEvent("disconnect", 1.0, "", BOB._replace(channel_info=None), 3000, "bye"),
                {"time": 1.0, "client": "c", "user": "bob", "info": {"name": "Bob"}, "code": 3000, "reason": "bye"},
            ),
            (
                LifecycleEvent("subscribe", 1.0, "x", BOB),
                {
                    "time": 1.0,
                    "channel": "x",
                    "client": "c",
                    "user": "bob",
                    "info": {"name": "Bob"},
                    "channel_info": [1],
                },
            ),
            (
                LifecycleEvent("unsubscribe", 1.0, "x", plain, 0, ""),
                {"time": 1.0, "channel": "x", "client": "c", "user": "", "code": 0, "reason": ""},
            ),
            (LifecycleEvent("occupied", 1.0, "x"), {"time": 1.0, "channel": "x"}),
            (LifecycleEvent("vacated", 1.0, "x"), {"time": 1.0, "channel": "x"}),
        ):
            self.assertEqual({"events": [{"type": event.kind, **expected}]}, json.loads(encode([event])))

    def test_order(self) -> None:
        events = [LifecycleEvent("occupied", 1.0, name) for name in "abc"]
        self.assertEqual(["a", "b", "c"], [event["channel"] for event in json.loads(encode(events))["events"]])


class SignatureTests(SynchronousTestCase):
    def test_known_value(self) -> None:
        """As `printf '1700000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef` says it."""
        expected = "t=1700000000,v1=e4f8e2ecae2295b2ddb2f0b5584c8275e226c0ebe9b3b819e70156bb67122e3e"
        self.assertEqual(expected, signature("0123456789abcdef", 1700000000, b"{}"))

    def test_snippet_of_the_documentation(self) -> None:
        """It believes what is ours and fresh, and nothing else."""
        snippets = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        namespace: dict[str, Any] = {}
        exec(next(code for code in snippets if "def verify" in code), namespace)
        verify = namespace["verify"]
        secret, body, now = "0123456789abcdef", b'{"events":[]}', 1_700_000_000
        good = signature(secret, now, body)
        for header, said, at, expected in (
            (good, body, now, True),
            (good, body, now + 299, True),
            (good, body, now + 301, False),
            (good, body, now - 301, False),
            (good, body + b" ", now, False),
            (good.replace("t=1700000000", "t=1700000001"), body, now, False),
            (signature("another secret !!", now, body), body, now, False),
            (good + ",v0=old", body, now, True),
            ("", body, now, False),
            ("t=,v1=", body, now, False),
            ("t=x,v1=y", body, now, False),
            ("nonsense", body, now, False),
            ("t=1700000000,v1=é", body, now, False),
        ):
            self.assertEqual(expected, verify(secret, header, said, at), header)
