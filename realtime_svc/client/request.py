"""What a client asks for: an address, headers, credentials; all checked before anything is sent."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

_URL = re.compile(r"[!-~]+")
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2
_HEADER_VALUE = re.compile(r"[!-~]([\t -~]*[!-~])?|")
_CREDENTIAL = re.compile(r"[!-~]+")
_OURS = {"connection", "content-length", "host", "transfer-encoding", "upgrade"}  # what the handshake says itself
_SECRET_HEADERS = {"authorization", "cookie", "proxy-authorization"}
_SECRET_PARAMETERS = {"access_token", "token"}


@dataclass(frozen=True, slots=True)
class Request:
    """One upgrade request. `resource` is path and query; `host` comes without the brackets of an IPv6 address."""

    secure: bool
    host: str
    port: int
    resource: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    protocols: tuple[str, ...] = field(repr=False)

    @property
    def host_header(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def make_request(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    basic: tuple[str, str] | None = None,
    protocols: Sequence[str] = (),
    insecure: bool = False,
) -> Request:
    """Raises `ValueError` for what can't be in a request, and for credentials that would cross a network in clear text.

    `token` and `basic` (user, password) become the Authorization header (RFC 6750, RFC 7617).
    """
    secure, host, port, resource = _split(url)
    for protocol in protocols:
        if not _TOKEN.fullmatch(protocol):
            raise ValueError("a sub-protocol's name holds a character that is not allowed there")
    request = Request(secure, host, port, resource, _headers(headers or {}, token, basic), tuple(protocols))
    if not secure and not insecure and not _is_loopback(host) and has_secrets(request):
        raise ValueError("credentials over ws:// could be read by anyone on the way: use wss://, or insecure=True")
    return request


def _split(url: str) -> tuple[bool, str, int, str]:
    if not _URL.fullmatch(url):
        raise ValueError("the address holds a space or a character that is not ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the address has no valid host or port") from None
    if parts.scheme not in ("ws", "wss"):
        raise ValueError("the address must begin with ws:// or wss://")
    if "@" in parts.netloc:
        raise ValueError("the address must not hold a user or a password")
    if not parts.hostname or port == 0:
        raise ValueError("the address has no valid host or port")
    if parts.fragment:
        raise ValueError("the address must not have a fragment")
    secure = parts.scheme == "wss"
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return secure, parts.hostname, port or (443 if secure else 80), resource


def _headers(given: Mapping[str, str], token: str | None, basic: tuple[str, str] | None) -> dict[str, str]:
    for name, value in given.items():
        if not _TOKEN.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("a header's name or value holds a character that is not allowed there")
        if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"the header {name} is part of the handshake")
    headers = dict(given)
    if token is not None:
        if not _CREDENTIAL.fullmatch(token):
            raise ValueError("the token is empty or holds a character that is not allowed there")
        headers["Authorization"] = f"Bearer {token}"
    if basic is not None:
        user, password = basic
        if ":" in user:
            raise ValueError("the user's name must not hold a colon")
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    asked = (token is not None) + (basic is not None) + sum(name.lower() == "authorization" for name in given)
    if asked > 1:
        raise ValueError("more than one of token, basic and the header Authorization")
    return headers


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761 6.3


def has_secrets(request: Request) -> bool:
    """Is there anything in it that may be a credential?"""
    query = request.resource.partition("?")[2]
    return (
        any(name.lower() in _SECRET_HEADERS for name in request.headers)
        or any(protocol.startswith("bearer.") for protocol in request.protocols)
        or any(name in _SECRET_PARAMETERS for name, _ in parse_qsl(query))
    )
