"""The tables of errors: their numbers are a promise to clients, their texts fit where they are sent."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.errors import ConfigError, Disconnect, ErrorCode, Refusal, ReplyError, unauthorized

DISCONNECTS = {name: value for name, value in vars(errors).items() if isinstance(value, Disconnect)}


class ReplyErrorTests(SynchronousTestCase):
    """Answers to commands."""

    def test_numbers(self) -> None:
        """Those of the Centrifugo client protocol."""
        numbers = {code.name: code.number for code in ErrorCode}
        expected = {
            "INTERNAL": 100,
            "UNAUTHORIZED": 101,
            "UNKNOWN_CHANNEL": 102,
            "PERMISSION_DENIED": 103,
            "METHOD_NOT_FOUND": 104,
            "ALREADY_SUBSCRIBED": 105,
            "LIMIT_EXCEEDED": 106,
            "BAD_REQUEST": 107,
            "NOT_AVAILABLE": 108,
            "TOKEN_EXPIRED": 109,
            "EXPIRED": 110,
            "TOO_MANY_REQUESTS": 111,
            "UNRECOVERABLE_POSITION": 112,
        }
        self.assertEqual(expected, numbers)

    def test_only_what_may_succeed_later_is_temporary(self) -> None:
        self.assertEqual({100, 111}, {code.number for code in ErrorCode if code.temporary})

    def test_detail_replaces_the_message(self) -> None:
        plain, detailed = ReplyError(ErrorCode.BAD_REQUEST), ReplyError(ErrorCode.BAD_REQUEST, "x")
        self.assertEqual(("bad request", "x"), (plain.message, detailed.message))
        self.assertEqual((107, False), (detailed.number, detailed.temporary))


class DisconnectTests(SynchronousTestCase):
    """Reasons to close."""

    def test_reasons_fit_into_a_close_frame(self) -> None:
        """RFC 6455 5.5: 125 bytes, two of them the code."""
        for name, disconnect in DISCONNECTS.items():
            self.assertLess(len(disconnect.reason.encode()), 124, name)

    def test_codes_may_be_sent_and_are_used_once(self) -> None:
        """RFC 6455 7.4: 1004, 1005, 1006, 1015 are never sent; ours are from 3000 on."""
        codes = [disconnect.code for disconnect in DISCONNECTS.values()]
        self.assertEqual(len(codes), len(set(codes)))
        standard = {1000, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013}
        self.assertEqual([], [code for code in codes if code not in standard and not 3000 <= code <= 3999])

    def test_who_comes_back(self) -> None:
        stay_away = {name for name, disconnect in DISCONNECTS.items() if not disconnect.reconnect}
        expected = {
            "POLICY",
            "INVALID_TOKEN",
            "BAD_REQUEST",
            "CHANNEL_LIMIT",
            "NOT_AVAILABLE",
            "STALE",
            "FORCED",
            "CONNECTION_LIMIT",
            "INAPPROPRIATE_PROTOCOL",
            "PERMISSION_DENIED",
            "TOO_MANY_ERRORS",
        }
        self.assertEqual(expected, stay_away)
        for code, comes_back in ((2999, True), (3499, True), (3500, False), (4000, True), (4499, True), (4500, False)):
            self.assertIs(comes_back, Disconnect(code, "").reconnect, code)


class OtherTests(SynchronousTestCase):
    """Configuration and HTTP."""

    def test_config_error_is_one_line_of_what_is_known(self) -> None:
        for error, text in (
            (ConfigError("a.toml", "log.level", "is bad"), "a.toml: log.level: is bad"),
            (ConfigError("", "log.level", "is bad"), "log.level: is bad"),
            (ConfigError("a.toml", "", "is bad"), "a.toml: is bad"),
        ):
            self.assertEqual(text, str(error))

    def test_challenge_offers_what_is_configured(self) -> None:
        for basic, schemes in ((False, ["Bearer"]), (True, ["Bearer", "Basic"])):
            refusal = unauthorized(basic=basic)
            challenge = refusal.headers["WWW-Authenticate"]
            offered = [scheme for scheme in ("Bearer", "Basic") if f"{scheme} realm=" in challenge]
            self.assertEqual((401, schemes), (refusal.status, offered))

    def test_refusals_do_not_share_their_headers(self) -> None:
        headers = {"A": "b"}
        refusal = Refusal(400, "x", "y", headers)
        headers["A"] = "c"
        self.assertEqual({"A": "b"}, refusal.headers)
