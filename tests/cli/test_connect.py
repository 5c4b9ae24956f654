"""`realtime-svc connect`: between a terminal and a connection."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from realtime_svc import client
from realtime_svc.cli import connect, main
from realtime_svc.cli.connect import GRACE, INTERRUPTED, RETRY, Conversation, show
from realtime_svc.cli.console import CommandFailed, Console
from realtime_svc.cli.lines import Lines

reactor: Any = default_reactor


class FakeReactor(Clock):
    """Time, and readers that are called by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:  # noqa: N802 (Twisted)
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:  # noqa: N802 (Twisted)
        self.readers.discard(reader)


class FakeConnection:
    """Our side of a connection; the test plays the server."""

    subprotocol: str | None = None

    def __init__(self) -> None:
        self.closed: Deferred[tuple[int, str]] = Deferred()
        self.sent: list[str | bytes] = []
        self.full = False
        self.too_big = 100
        self.waiting: list[Deferred[str | bytes]] = []
        self.asked_to_close = False
        self.drained = False
        self.answers_a_close = True

    def send(self, message: str | bytes) -> None:
        if self.full:
            raise client.SendBufferFull
        if len(message) > self.too_big:
            raise ValueError("a message of many bytes is larger than max_size")
        self.sent.append(message)

    def receive(self) -> Deferred[str | bytes]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def close(self, code: int = 1000, reason: str = "", *, drain: bool = False) -> None:
        self.asked_to_close, self.drained = True, drain
        if self.answers_a_close:
            self.end(code, reason)

    def deliver(self, message: str | bytes) -> None:
        self.waiting.pop().callback(message)

    def end(self, code: int, reason: str = "") -> None:
        while self.waiting:
            self.waiting.pop().errback(client.ConnectionClosed(code, reason))
        self.closed.callback((code, reason))


class ConversationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        reader, writer = os.pipe()
        stdin, self.typist = os.fdopen(reader), os.fdopen(writer, "wb", buffering=0)
        self.addCleanup(stdin.close)
        self.addCleanup(self.typist.close)
        self.console = Console(stdin, io.StringIO(), io.StringIO(), {})
        self.connection = FakeConnection()

    def hold(self, connecting: Callable[[], Deferred[Any]] | None = None) -> Deferred[int]:
        return Conversation(self.reactor, self.console).hold(connecting or (lambda: succeed(self.connection)))

    def type(self, data: bytes) -> None:
        self.typist.write(data)
        self.read()

    def read(self) -> None:
        for reader in list(self.reactor.readers):
            reader.doRead()

    def end_input(self) -> None:
        self.typist.close()
        self.read()

    def out(self) -> str:
        assert isinstance(self.console.stdout, io.StringIO)
        return self.console.stdout.getvalue()

    def err(self) -> str:
        assert isinstance(self.console.stderr, io.StringIO)
        return self.console.stderr.getvalue()

    def test_lines_in_are_messages_out(self) -> None:
        self.hold()
        self.type(b"one\ntwo\r\n\nthr")
        self.type(b"ee\n")
        self.assertEqual(["one", "two", "", "three"], self.connection.sent)

    def test_messages_in_are_lines_out(self) -> None:
        self.hold()
        for message in ("hello é", "a\nb\x1b[2J", b"\x00\xff"):
            self.connection.deliver(message)
        self.assertEqual("hello é\na\\nb\\x1b[2J\nbase64:AP8=\n", self.out())

    def test_end_of_input_closes_after_the_last_line(self) -> None:
        code = self.hold()
        self.typist.write(b"one\nlast")
        self.end_input()
        self.read()
        self.assertEqual((["one", "last"], True), (self.connection.sent, self.connection.asked_to_close))
        self.assertEqual(0, self.successResultOf(code))
        self.assertIn("closed: 1000\n", self.err())
        self.assertEqual(set(), self.reactor.readers)

    def test_what_comes_after_the_end_of_input_is_shown(self) -> None:
        """Up to the server's Close: the answer to the last line is among it."""
        self.connection.answers_a_close = False
        code = self.hold()
        self.typist.write(b"bad")
        self.end_input()
        self.read()
        self.assertEqual(
            (["bad"], True, True), (self.connection.sent, self.connection.asked_to_close, self.connection.drained)
        )
        self.assertNoResult(code)
        self.connection.deliver("error 107")
        self.connection.end(1000)
        self.assertEqual((0, "error 107\n"), (self.successResultOf(code), self.out()))

    def test_interrupt_closes_and_says_nothing(self) -> None:
        talk = Conversation(self.reactor, self.console)
        code = talk.hold(lambda: succeed(self.connection))
        talk.interrupt()
        self.assertEqual((True, False), (self.connection.asked_to_close, self.connection.drained))
        self.assertEqual((INTERRUPTED, "connected\n"), (self.successResultOf(code), self.err()))
        self.assertEqual((set(), []), (self.reactor.readers, self.reactor.getDelayedCalls()))

    def test_interrupt_does_not_wait_for_a_server_that_says_nothing(self) -> None:
        """Not for long, and not at all when asked a second time."""
        for again in (False, True):
            self.connection = FakeConnection()
            self.connection.answers_a_close = False
            talk = Conversation(self.reactor, self.console)
            code = talk.hold(lambda: succeed(self.connection))
            talk.interrupt()
            self.assertNoResult(code)
            talk.interrupt() if again else self.reactor.advance(GRACE)
            self.assertEqual(INTERRUPTED, self.successResultOf(code))
            self.assertEqual((set(), []), (self.reactor.readers, self.reactor.getDelayedCalls()))
        self.assertEqual("connected\n" * 2, self.err())

    def test_interrupt_before_there_is_a_connection(self) -> None:
        connecting: Deferred[Any] = Deferred()
        talk = Conversation(self.reactor, self.console)
        code = talk.hold(lambda: connecting)
        talk.interrupt()
        self.assertEqual((INTERRUPTED, ""), (self.successResultOf(code), self.err()))

    def test_code_of_the_server_decides_about_the_exit_code(self) -> None:
        for number, reason, expected in ((1000, "", 0), (3005, "connection\x1b expired", 1), (1006, "lost", 1)):
            self.connection = FakeConnection()
            code = self.hold()
            self.connection.end(number, reason)
            self.assertEqual(expected, self.successResultOf(code))
            self.assertIn(f"closed: {number}", self.err())
        self.assertIn("closed: 3005 connection\\x1b expired\n", self.err())
        self.assertEqual(set(), self.reactor.readers)

    def test_no_connection(self) -> None:
        for error, text in (
            (client.ConnectionFailed("refused by\nnobody"), "realtime-svc: refused by\\nnobody\n"),
            (
                client.HandshakeRefused(401, {"error": {"message": "no\n"}}),
                "realtime-svc: refused with HTTP status 401: no\\n\n",
            ),
            (ValueError("use wss://, or insecure=True"), "realtime-svc: use wss://, or --insecure\n"),
        ):
            self.assertEqual(1, self.successResultOf(self.hold(lambda error=error: fail(error))))  # type: ignore[misc]
            self.assertTrue(self.err().endswith(text), self.err())
        self.assertEqual("", self.out())

    def test_server_that_does_not_keep_up_stops_the_reading_of_input(self) -> None:
        self.hold()
        self.connection.full = True
        self.type(b"one\ntwo\n")
        self.assertEqual((set(), []), (self.reactor.readers, self.connection.sent))
        self.reactor.advance(RETRY)
        self.assertEqual([], self.connection.sent)
        self.connection.full = False
        self.reactor.advance(RETRY)
        self.assertEqual(["one", "two"], self.connection.sent)
        self.assertEqual(1, len(self.reactor.readers))

    def test_connection_that_ends_while_something_waits_leaves_no_timer(self) -> None:
        self.hold()
        self.connection.full = True
        self.type(b"one\n")
        self.connection.end(1006)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_message_that_cannot_be_sent_is_told(self) -> None:
        self.hold()
        self.type(b"x" * 101 + b"\nsmall\n")
        self.assertEqual(["small"], self.connection.sent)
        self.assertIn("not sent: a message of many bytes is larger than max_size", self.err())

    def test_output_that_nobody_reads_closes(self) -> None:
        class Gone(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        self.console = Console(self.console.stdin, Gone(), self.console.stderr, {})
        code = self.hold()
        self.connection.deliver("hello")
        self.assertTrue(self.connection.asked_to_close)
        self.assertEqual(0, self.successResultOf(code))

    def test_selected_sub_protocol_is_shown(self) -> None:
        self.connection.subprotocol = "raw.v1"
        self.hold()
        self.assertEqual("connected (raw.v1)\n", self.err())


class LinesTests(SynchronousTestCase):
    def test_pipe_whose_other_end_is_gone_is_the_end_once(self) -> None:
        """The reactor may say so without letting us read."""
        got: list[str | None] = []
        lines = Lines(FakeReactor(), 0, got.append)  # type: ignore[arg-type]
        for _ in range(2):
            lines.connectionLost(Failure(ConnectionDone()))
        self.assertEqual([None], got)

    def test_terminal_that_is_gone_is_the_end(self) -> None:
        got: list[str | None] = []
        folder = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        Lines(FakeReactor(), folder, got.append).doRead()  # type: ignore[arg-type]
        self.assertEqual([None], got)

    def test_bytes_that_are_no_text_are_not_lost(self) -> None:
        self.assertEqual("a\\udcffb", show("a\udcffb"))


class OptionTests(SynchronousTestCase):
    """What becomes of the command line."""

    def options(self, *argv: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
        parser = argparse.ArgumentParser()
        connect.add(parser.add_subparsers())
        arguments = parser.parse_args(["connect", *argv, "ws://127.0.0.1/"])
        return connect._options(arguments, Console(io.StringIO(), io.StringIO(), io.StringIO(), environ or {}))

    def file(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def test_nothing(self) -> None:
        expected: dict[str, Any] = {"headers": {}, "protocols": [], "token": None, "insecure": False}
        self.assertEqual(expected, self.options())

    def test_everything(self) -> None:
        options = self.options("--header", "X-A: b: c", "--header", "X-B:d", "--protocol", "raw.v1", "--insecure")
        self.assertEqual({"X-A": "b: c", "X-B": "d"}, options["headers"])
        self.assertEqual((["raw.v1"], True), (options["protocols"], options["insecure"]))

    def test_credentials(self) -> None:
        environ = {"REALTIME_SVC_TOKEN": "from-environment"}
        self.assertEqual("from-environment", self.options(environ=environ)["token"])
        self.assertEqual("from-file", self.options("--token-file", self.file("from-file\n"), environ=environ)["token"])
        options = self.options("--basic-file", self.file("alice:a:b\n"), environ=environ)
        self.assertEqual((("alice", "a:b"), None), (options["basic"], options["token"]))

    def test_mistakes(self) -> None:
        for argv, text in (
            (["--header", "nothing"], "--header: must be 'Name: value'"),
            (["--token-file", "/no/such"], "/no/such: can't be read: No such file or directory"),
            (["--basic-file", self.file("alice")], "is not user:password"),
            (["--ca", "/no/such"], "/no/such"),
            (["--ca", self.file("no certificate")], "PEM"),
        ):
            self.assertIn(text, str(self.assertRaises(CommandFailed, self.options, *argv)))

    def test_who_does_not_trust_the_server_learns_how_to(self) -> None:
        """Unless --ca was given already; and nobody else does."""
        unknown = "TLS: certificate verify failed"
        for reason, options, expected in (
            (unknown, {}, f"{unknown}; if the server has an authority of its own, name it: --ca"),
            (unknown, {"tls": None}, unknown),
            ("TLS: unexpected eof while reading", {}, "TLS: unexpected eof while reading"),
        ):
            self.patch(client, "connect", lambda *_, reason=reason, **__: fail(client.ConnectionFailed(reason)))
            failure = self.failureResultOf(connect._dial(None, "wss://a.example/", options))
            self.assertEqual(expected, str(failure.value))

    def test_mistake_is_exit_code_1(self) -> None:
        console = Console(io.StringIO(), io.StringIO(), io.StringIO(), {})
        self.assertEqual(1, main(["connect", "ws://a.example/", "--header", "nothing"], console))


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803 (Autobahn)
        self.sendMessage(payload, isBinary)


class Talk(ProcessProtocol):
    """Types a line, ends the input when it came back, and waits for the end."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.ended: Deferred[int] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write("hello é\n".encode())

    def outReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted)
        self.out += data
        if self.out.endswith(b"\n") and self.transport is not None:
            self.transport.closeStdin()

    def errReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted)
        self.err += data

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 (Twisted)
        assert isinstance(reason.value, ProcessDone | ProcessTerminated)
        self.ended.callback(reason.value.exitCode)


class ProcessTests(TestCase):
    """The command itself, against an echo server in this process."""

    async def talk(self, url: str) -> tuple[int, Talk]:
        talk = Talk()
        command = [sys.executable, "-m", "realtime_svc", "connect", url]
        reactor.spawnProcess(talk, command[0], command, env=dict(os.environ))
        return await talk.ended, talk

    async def test_hello_comes_back(self) -> None:
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        code, talk = await self.talk(f"ws://127.0.0.1:{port.getHost().port}/")
        self.assertEqual((0, "hello é\n"), (code, talk.out.decode()), talk.err)
        self.assertEqual(b"connected\nclosed: 1000\n", talk.err)

    async def test_nobody_listens(self) -> None:
        port = reactor.listenTCP(0, WebSocketServerFactory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        code, talk = await self.talk(f"ws://127.0.0.1:{number}/")
        self.assertEqual((1, b"", 1), (code, talk.out, talk.err.count(b"\n")), talk.err)
