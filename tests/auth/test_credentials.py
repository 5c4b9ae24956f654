"""Authorization headers, cookies and sub-protocols: what is taken, and that everything else is refused."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.credentials import (
    MAX_CREDENTIAL,
    bearer,
    bearer_or_basic,
    cookie_value,
    from_protocols,
    is_user,
)
from realtime_svc.errors import AuthenticationFailed
from realtime_svc.model import BasicCredential, BearerCredential, CredentialSource


def basic(raw: str | bytes) -> str:
    return "Basic " + b64encode(raw.encode() if isinstance(raw, str) else raw).decode()


class HeaderTests(SynchronousTestCase):
    """`bearer_or_basic`."""

    def test_good(self) -> None:
        """Schemes in any case, several spaces, every character of token68; a password may hold colons."""
        cases = {
            "Bearer abc": BearerCredential("abc"),
            "bEARER   a.b-c_d~e+f/g==": BearerCredential("a.b-c_d~e+f/g=="),
            " Bearer abc\t": BearerCredential("abc"),
            basic("alice:s3cret"): BasicCredential("alice", "s3cret"),
            basic("alice:a:b::").replace("Basic", "basic"): BasicCredential("alice", "a:b::"),
            basic("zoë:pässwörd ✓"): BasicCredential("zoë", "pässwörd ✓"),
            basic("alice:"): BasicCredential("alice", ""),
        }
        for value, expected in cases.items():
            credential = bearer_or_basic(value)
            self.assertEqual(credential, expected, value)
            self.assertIs(credential.source, CredentialSource.HEADER)

    def test_bad(self) -> None:
        """Everything else is malformed."""
        values = [
            "", " ", "Bearer", "Bearer ", "Bearer\tabc", "Bearer a b", "Bearer a,b", "Bearer =", "Bearer a=b",
            "Bearer abc, Bearer def", "Bearer \xe9", "Bearer a\x00", "Bearer a\n", "abc", "Bearer:abc", 'Bearer "abc"',
            "Digest username=alice", "Negotiate abcd", "Token abc", "B\u0435arer abc",
            "Bearer " + "a" * MAX_CREDENTIAL,
            "Basic", "Basic ", "Basic !!!!", "Basic YWxpY2U", "Basic YWxpY2U6eA", "Basic YWxpY2U6eA=",
            "Basic YWxpY2U6eA==YQ==", "Basic YWxpY2U6eB==", "Basic YWxp Y2U6eA==", "Basic YWxpY2U6eA\u2212\u2212",
            "Basic " + b64encode(b"alice:\xff").decode().replace("/", "_"),
            basic("alice"), basic(":password"), basic(b"alice:\xff"), basic("alice:a\x00b"), basic("alice:a\nb"),
            basic("al\x7fice:x"), basic("alice:\x85"), basic("a" * 256 + ":x"), basic("alice:" + "x" * 7000),
        ]  # fmt: skip
        for value in values:
            failure = self.assertRaises(AuthenticationFailed, bearer_or_basic, value)
            self.assertEqual(failure.cause, "malformed", ascii(value))

    def test_bearer_from_elsewhere(self) -> None:
        """A token of a message or an address has the same grammar and bound."""
        self.assertEqual(bearer("abc", CredentialSource.MESSAGE), BearerCredential("abc", CredentialSource.MESSAGE))
        for token in ("", "a b", "\ud800", "a" * (MAX_CREDENTIAL + 1)):
            self.assertRaises(AuthenticationFailed, bearer, token, CredentialSource.MESSAGE)


class CookieTests(SynchronousTestCase):
    """`cookie_value`."""

    def test_found(self) -> None:
        """The one with exactly that name, whatever stands around it."""
        cases = {
            "token=abc": "abc",
            "a=1; token=abc; b=2": "abc",
            "a=1;token=abc": "abc",
            "Token=no; xtoken=no; token=abc; token2=no": "abc",
            'token="abc"': "abc",
            "token=a=b==": "a=b==",
            "broken; =x; a=\x01; token=abc": "abc",
            'a="x; token=abc': "abc",
        }
        for header, expected in cases.items():
            self.assertEqual(cookie_value(header, "token"), expected, header)

    def test_absent(self) -> None:
        """No such cookie, or an empty one."""
        for header in ("", ";", "a=1", "token", "TOKEN=abc", "token=", 'token=""', "a=token=abc"):
            self.assertIsNone(cookie_value(header, "token"), header)

    def test_bad(self) -> None:
        """Two of that name, characters that can't be in a cookie, too large."""
        for header in (
            "token=a; token=b", "token=a; token=a", "token=; token=a", "token=a b", 'token="a', 'token=a"b',
            "token=a,b", "token=a\\b", "token=\xe9", "token=a\x7f", "token=" + "a" * (MAX_CREDENTIAL + 1),
        ):  # fmt: skip
            failure = self.assertRaises(AuthenticationFailed, cookie_value, header, "token")
            self.assertEqual(failure.cause, "malformed", ascii(header))


class ProtocolTests(SynchronousTestCase):
    """`from_protocols`."""

    def test_taken_out(self) -> None:
        """The token becomes a credential; what may be echoed does not hold it any more."""
        credential, others = from_protocols(["plain.v1", "bearer.a.b.c", "x"])
        self.assertEqual(credential, BearerCredential("a.b.c", CredentialSource.SUBPROTOCOL))
        self.assertEqual(others, ["plain.v1", "x"])

    def test_none(self) -> None:
        """Other protocols stay as they are; the prefix is compared exactly."""
        self.assertEqual(from_protocols([]), (None, []))
        self.assertEqual(from_protocols(["Bearer.abc", "bearer"]), (None, ["Bearer.abc", "bearer"]))

    def test_bad(self) -> None:
        """Two tokens, or none behind the prefix."""
        for offered in (["bearer.a", "bearer.b"], ["bearer.a", "bearer.a"], ["bearer."], ["bearer.a!b"]):
            failure = self.assertRaises(AuthenticationFailed, from_protocols, offered)
            self.assertEqual(failure.cause, "malformed")


class UserTests(SynchronousTestCase):
    """`is_user`."""

    def test_bounds(self) -> None:
        """1 to 255 bytes of UTF-8, no control characters, no half of a surrogate pair."""
        for good in ("a", "42", "zoë", "é" * 127, "a b", "a:b", "\U0001f600"):
            self.assertTrue(is_user(good), good)
        for bad in ("", "é" * 128, "a" * 256, "a\x00", "\n", "\x7f", "\x9b", "\ud800"):
            self.assertFalse(is_user(bad), ascii(bad))
