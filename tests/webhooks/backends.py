"""A backend for tests: what it was told, and how it answers. Over http or https, on a free port."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.client.pki import Authority, key_pem, pem

reactor: Any = _reactor


class Told:
    """One call."""

    def __init__(self, request: Request) -> None:
        self.method = request.method.decode()
        self.path = request.uri.decode()
        self.body: bytes = request.content.read()  # type: ignore[union-attr]
        self.headers = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }

    @property
    def events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = json.loads(self.body)["events"]
        return events


class _Connections(WrappingFactory):
    """Tells when the last connection is gone."""

    noisy = False

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        self.gone: Deferred[None] | None = None

    def unregisterProtocol(self, protocol: Any) -> None:  # noqa: N802 (Twisted)
        super().unregisterProtocol(protocol)
        if self.gone is not None and not self.protocols:
            self.gone.callback(None)


class FakeBackend(Resource):
    """Answers with the statuses in `statuses`, then with 200. Status 0: it never answers; 1: an answer without end."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.calls: list[Told] = []
        self.port = 0
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def listen(self, test: TestCase, authority: Authority | None = None, *names: str) -> FakeBackend:
        """Serve until the end of the test; with a certificate for `names`, signed by `authority`, if that is given."""
        factory = _Connections(Site(self))
        if authority is not None:
            certificate, key = authority.issue(names)
            options = PrivateCertificate.loadPEM(pem(certificate) + key_pem(key)).options()
            port = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = port.getHost().port

        async def close() -> None:
            await port.stopListening()
            if factory.protocols:
                factory.gone = Deferred()
                await factory.gone

        test.addCleanup(lambda: Deferred.fromCoroutine(close()))
        return self

    async def told(self, count: int) -> list[Told]:
        """The calls, when there have been so many."""
        if len(self.calls) < count:
            waiting: Deferred[None] = Deferred()
            self._waiting.append((count, waiting))
            await waiting
        return self.calls

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The events that were taken (answered with 200), when there have been so many."""
        calls = 1
        while True:
            found = [event for told in await self.told(calls) for event in told.events]
            if len(found) >= count:
                return found
            calls = len(self.calls) + 1

    def render_POST(self, request: Request) -> bytes | int:
        self.calls.append(Told(request))
        status = self.statuses.pop(0) if self.statuses else 200
        for name, value in self.headers.items():
            request.setHeader(name, value)
        for waiter in [waiter for waiter in self._waiting if len(self.calls) >= waiter[0]]:
            self._waiting.remove(waiter)
            waiter[1].callback(None)
        if status == 0:
            return NOT_DONE_YET
        if status == 1:
            request.write(b"x" * 2**20)
            return NOT_DONE_YET
        request.setResponseCode(status)
        return b"thanks"


def ca_file(test: TestCase, authority: Authority) -> str:
    """The authority's certificate as a file."""
    path = Path(test.mktemp())
    path.write_bytes(pem(authority.certificate))
    return str(path.absolute())
