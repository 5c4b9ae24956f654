"""Calls of the server API for commands: one request, one answer, every trouble one line."""

from __future__ import annotations

import http.client
import ipaddress
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

import msgspec

from realtime_svc.cli.console import CommandFailed
from realtime_svc.log import escape

TIMEOUT = 10.0
MAX_ANSWER = 2**28
_END = re.compile(r"(?<![:/])/+(api/*)?\Z")  # not that of http://api, which is a host


class ApiClient:
    """Talks to the API at `address` (http or https, with or without `/api`). No proxy is asked, no redirect followed:
    the key goes to that address and nowhere else."""

    def __init__(self, address: str, key: str | None, *, ca: str | None = None, insecure: bool = False) -> None:
        """Raises `CommandFailed`: no address, a key that would cross a network in clear text."""
        self._address = _END.sub("", address)
        self._key = key
        host = _host(self._address)
        if key and self._address.startswith("http:") and not insecure and not _is_loopback(host):
            raise CommandFailed("the key could be read by anyone on the way: use https://, or --insecure")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise CommandFailed("the key holds a character that no key has")
        self._opener = OpenerDirector()  # urllib's own knows proxies and redirects
        self._opener.add_handler(HTTPHandler())
        if ca is not None or self._address.startswith("https:"):
            self._opener.add_handler(HTTPSHandler(context=_context(ca)))

    def call(self, method: str, body: Any) -> str:
        """The result, as JSON text. Raises `CommandFailed`."""
        headers = {"Content-Type": "application/json"} | ({"X-API-Key": self._key} if self._key else {})
        request = Request(f"{self._address}/api/{method}", msgspec.json.encode(body), headers, method="POST")
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:  # whatever its status
                status, text = response.status, response.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            detail = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise CommandFailed(f"{self._address}: can't be called: {escape(detail)}") from None
        return self._result(status, text)

    def _result(self, status: int, text: bytes) -> str:
        try:
            answer = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            if "error" not in answer:
                return bytes(answer["result"]).decode()
            error = msgspec.json.decode(answer["error"])
            code, message = int(error["code"]), str(error["message"])
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError):
            raise CommandFailed(f"{self._address}: {status}, and no answer of the server API") from None
        if status == 401:
            message += ": --key-file, or REALTIME_SVC_API_KEY"
        raise CommandFailed(f"error {code}: {escape(message)}")


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.port != 0 and "@" not in parts.netloc
        host = parts.hostname
    except ValueError:
        usable, host = False, None
    if not usable or not host or not address.isascii() or not address.isprintable() or " " in address:
        raise CommandFailed("--api: is not an http or https address")
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761 6.3


def _context(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "is not a PEM file"
        raise CommandFailed(f"{ca}: {reason}") from None


def read_key(path: str) -> str:
    """The first line of a file."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            key = file.readline(2**16).strip()
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{path}: can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if not key:
        raise CommandFailed(f"{path}: is empty")
    return key
