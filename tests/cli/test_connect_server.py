"""`realtime-svc connect` as a process of its own, against the real server; and what Ctrl-C does to it."""

from __future__ import annotations

import signal
import sys

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.client.servers import ScriptFactory, SocketCase
from tests.integration.server import ALICE, TOKENS, Process, Server, spawn, start_server

CHAT = "[limits]\nerrors_per_minute = 0\n[namespaces.chat]\n"
BAD_LINES = 400


class ServerTests(TestCase):
    def connect(self, server: Server, *options: str, token: str = "") -> Process:
        command = [sys.executable, "-m", "realtime_svc", "connect", server.url("/raw/chat:p"), *options]
        return spawn(self, command, environ={"REALTIME_SVC_TOKEN": token} if token else {})

    def type(self, process: Process, text: str) -> None:
        """All of it, and the end of input."""
        assert process.transport is not None
        process.transport.write(text.encode())
        process.transport.closeStdin()

    async def test_every_answer_to_what_was_piped_in_is_printed(self) -> None:
        """The input ends long before the first answer has come."""
        server = await start_server(self, TOKENS + CHAT)
        for text, expected in (
            ('{"i":1}\n{"i":2}\nbad\n', 1),
            ('{"i":1}\n' + "bad\n" * BAD_LINES, BAD_LINES),
        ):
            process = self.connect(server, token=ALICE)
            self.type(process, text)
            self.assertEqual(0, await process.ended, process.output)
            self.assertEqual("connected\nclosed: 1000\n", process.errors)
            self.assertEqual(expected, process.output.count("Invalid JSON"), process.output)

    async def test_refusal_is_told_in_the_words_of_the_server(self) -> None:
        """And who gave no credential learns how to."""
        server = await start_server(self, TOKENS + CHAT)
        refused = "realtime-svc: refused with HTTP status 401: valid credentials are required"
        advice = "; give a token: --token-file, or REALTIME_SVC_TOKEN"
        for options, token, line in (
            ([], "", refused + advice),
            ([], "wrong-" + ALICE, refused),
            (["--header", "Authorization: Bearer wrong"], "", refused),
        ):
            process = self.connect(server, *options, token=token)
            self.assertEqual(1, await process.ended)
            self.assertEqual(line + "\n", process.output)


class InterruptTests(SocketCase):
    """Ctrl-C."""

    def connect(self, port: int) -> Process:
        return spawn(self, [sys.executable, "-m", "realtime_svc", "connect", f"ws://127.0.0.1:{port}/"])

    async def test_quiet_and_a_normal_close(self) -> None:
        process = self.connect(self.listen(self.echo))
        await process.when_printed("connected\n")
        self.echo.empty = Deferred()
        process.signal(signal.SIGINT)
        self.assertEqual((130, "connected\n"), (await process.ended, process.output))
        await self.echo.empty
        self.assertEqual([1000], self.echo.left)

    async def test_quiet_while_the_server_has_not_answered(self) -> None:
        asked: Deferred[None] = Deferred()

        def say_nothing(head: bytes) -> bytes:
            asked.callback(None)
            return b""

        process = self.connect(self.listen(ScriptFactory(say_nothing)))
        await asked
        process.signal(signal.SIGINT)
        self.assertEqual((130, ""), (await process.ended, process.output))
