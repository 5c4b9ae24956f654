"""The shortest way through everything: a real server, two real clients, one message."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from realtime_svc.client import connect
from tests.integration.server import ALICE, BOB, STOPPED, TOKENS, reactor, start_server


class SmokeTests(TestCase):
    async def test_one_message(self) -> None:
        """What one raw client sends, the other receives, and SIGTERM ends the server in good order."""
        server = await start_server(self, TOKENS)
        alice = await connect(reactor, server.url("/raw/hello"), token=ALICE)
        bob = await connect(reactor, server.url("/raw/hello"), token=BOB)
        alice.send('{"text":"hi"}')
        self.assertEqual(await bob.receive(), '{"text":"hi"}')
        self.assertEqual(await server.stop(), STOPPED)
        self.assertEqual((await alice.closed)[0], 1012)
