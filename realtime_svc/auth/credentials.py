"""Credentials as they arrive: an `Authorization` header, a cookie, a sub-protocol. Pure parsing; nothing is verified.

    Authorization = scheme 1*SP token68                                  RFC 9110 11.4
    token68       = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
    Basic         = base64( user ":" password ), UTF-8                   RFC 7617 2
    cookie-string = name "=" value *( ";" SP name "=" value )            RFC 6265 4.2.1
    sub-protocol  = "bearer." token                                      a token of RFC 9110 5.6.2

Whatever is wrong raises `AuthenticationFailed`; no text made here repeats what was sent.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Literal

from realtime_svc.errors import AuthenticationFailed
from realtime_svc.model import BasicCredential, BearerCredential, Credential, CredentialSource

Cause = Literal[
    "algorithm",
    "audience",
    "claims",
    "expired",
    "header",
    "issued_in_future",
    "issuer",
    "key",
    "malformed",
    "not_yet_valid",
    "overloaded",
    "oversize",
    "password",
    "purpose",
    "revoked",
    "signature",
    "subject",
    "type",
    "unknown",
    "unprepared",
    "unsupported",
]

MAX_CREDENTIAL = 8 * 1024
MAX_USER = 255
SUBPROTOCOL_PREFIX = "bearer."

_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
_BEARER = re.compile(r"[Bb]earer +([A-Za-z0-9\-._~+/]+=*)", re.ASCII)  # how nearly all of them look
_HEADER = re.compile(r"(?P<scheme>[A-Za-z]+) +(?P<rest>[^ ]+)", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COOKIE_OCTETS = re.compile(r"[\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]*")


def failed(cause: Cause) -> AuthenticationFailed:
    """The exception for a cause out of the fixed list: these words become labels of a metric."""
    return AuthenticationFailed(cause)


def bearer_or_basic(value: str) -> Credential:
    """Parse the value of an `Authorization` header. The scheme's case does not matter."""
    if len(value) > MAX_CREDENTIAL:
        raise failed("malformed")
    match = _BEARER.fullmatch(value)
    if match is not None:
        return BearerCredential(match[1], CredentialSource.HEADER)
    match = _HEADER.fullmatch(value.strip(" \t"))
    if match is None:
        raise failed("malformed")
    scheme = match["scheme"].lower()
    if scheme == "bearer":
        return bearer(match["rest"], CredentialSource.HEADER)
    if scheme == "basic":
        return _basic(match["rest"])
    raise failed("malformed")


def bearer(token: str, source: CredentialSource) -> BearerCredential:
    """A token from anywhere, once its characters and its length are known to be good."""
    if len(token) > MAX_CREDENTIAL or not is_token68(token):
        raise failed("malformed")
    return BearerCredential(token, source)


def is_token68(text: str) -> bool:
    """Could `text` stand behind `Bearer`?"""
    return _TOKEN68.fullmatch(text) is not None


def looks_like_jwt(token: str) -> bool:
    """Three parts: worth a try as a JWT."""
    return token.count(".") == 2


def _basic(encoded: str) -> BasicCredential:
    try:
        raw = base64.b64decode(encoded, validate=True)
        user, colon, password = raw.decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise failed("malformed") from None
    # b64decode forgives padding in the middle and spare bits at the end: only one spelling of a value is taken.
    if base64.b64encode(raw).decode("ascii") != encoded:
        raise failed("malformed")
    if not colon or not is_user(user) or has_controls(password):
        raise failed("malformed")
    return BasicCredential(user, password, CredentialSource.HEADER)


def cookie_value(header: str, name: str) -> str | None:
    """The value of cookie `name`; None where there is none, or an empty one (how pages log out).

    Other cookies are not looked at: any page of the domain may have set them. One pair of quotes around the value is
    taken off. Twice the same name raises, since two parsers could choose differently.
    """
    found: list[str] = []
    for pair in header.split(";"):
        key, equals, value = pair.strip(" \t").partition("=")
        if equals and key == name:
            found.append(value)
    if len(found) > 1:
        raise failed("malformed")
    if not found:
        return None
    value = found[0]
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if len(value) > MAX_CREDENTIAL or not _COOKIE_OCTETS.fullmatch(value):
        raise failed("malformed")
    return value or None


def from_protocols(offered: Sequence[str]) -> tuple[BearerCredential | None, list[str]]:
    """Take `bearer.<token>` out of the offered sub-protocols: the credential, and the others in their order.

    The others are what may be selected and echoed; the one with the token never is.
    """
    if not offered:
        return None, []
    tokens = [protocol for protocol in offered if protocol.startswith(SUBPROTOCOL_PREFIX)]
    others = [protocol for protocol in offered if not protocol.startswith(SUBPROTOCOL_PREFIX)]
    if len(tokens) > 1:
        raise failed("malformed")
    if not tokens:
        return None, others
    return bearer(tokens[0].removeprefix(SUBPROTOCOL_PREFIX), CredentialSource.SUBPROTOCOL), others


def is_user(text: str) -> bool:
    """Can `text` be a user's id? 1 to 255 bytes of UTF-8 without control characters."""
    if text.isascii():
        return 0 < len(text) <= MAX_USER and text.isprintable()
    try:
        length = len(text.encode("utf-8"))
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return 0 < length <= MAX_USER and not has_controls(text)


def has_controls(text: str) -> bool:
    """Is there a control character (C0, DEL, C1) in it?"""
    return _CONTROL.search(text) is not None
