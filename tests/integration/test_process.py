"""The process: how it starts, refuses to start, takes its place as a daemon, and what its flags and variables do."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import jwt
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from realtime_svc.client import HandshakeRefused, connect
from tests.integration.server import (
    ALICE,
    LISTENERS,
    STOPPED,
    TOKENS,
    Process,
    reactor,
    spawn,
    spawn_server,
    start_server,
    write_config,
)

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
EX_CONFIG = 78


class Gone(FileDescriptor):
    """Fires `ended` when a process that is no child of ours has ended (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        super().__init__(reactor)
        self.ended: Deferred[None] = Deferred()
        self._descriptor = os.pidfd_open(pid)
        self.startReading()

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> None:  # noqa: N802 (Twisted)
        self.stopReading()
        os.close(self._descriptor)
        self.ended.callback(None)

    def logPrefix(self) -> str:  # noqa: N802 (Twisted)
        return "a process"


def taken_port(test: TestCase) -> int:
    taken = socket.create_server(("127.0.0.1", 0))
    test.addCleanup(taken.close)
    port: int = taken.getsockname()[1]
    return port


class BadConfigTests(TestCase):
    """Nothing starts: one line on stderr, exit code 78."""

    async def test_one_line_and_nothing_started(self) -> None:
        cases = [
            ("[limits]\nconections = 1", "server.toml: limits.conections: unknown key"),
            ('[limits]\nconnections = "many"', "server.toml: limits.connections: "),
            ('[tls]\ncertificate = "no.pem"\nkey = "no.pem"', "server.toml: tls.certificate: can't be read"),
            ('[schemas]\nfolder = "."\n[namespaces.default]\nschema = true', "default/message.json: schemas"),
            ('[handlers]\nobject = "nowhere:Chat"', "server.toml: handlers.object: can't load nowhere:Chat: "),
            ('[auth.jwt]\nalgorithms = ["ES256"]\nkey_file = "no.pem"', "server.toml: auth.jwt.key_file: "),
        ]
        started: list[tuple[str, Path, Process]] = []
        for text, reason in cases:
            config = write_config(self, text)
            (config.parent / "default").mkdir()
            (config.parent / "default" / "message.json").write_text('{"type": 7}')
            command = [*TWISTD, "-n", "realtime_svc", "--config", "server.toml"]
            started.append((reason, config.parent, spawn(self, command, cwd=str(config.parent))))
        for reason, folder, process in started:
            self.assertEqual(EX_CONFIG, await process.ended, process.output)
            self.assertEqual((process.errors, 1), (process.output, process.output.count("\n")))
            self.assertTrue(process.errors.startswith("realtime_svc: "), process.errors)
            self.assertIn(reason, process.errors)
            self.assertEqual({"server.toml", "default"}, {path.name for path in folder.iterdir()} - {"__pycache__"})

    async def test_check(self) -> None:
        """Says so with 0, starts nothing, and does not mind that the port is taken by the server that runs."""
        config = write_config(self, f'[listeners.public]\nhost = "127.0.0.1"\nport = {taken_port(self)}\n')
        process = spawn_server(self, config, "--check")
        self.assertEqual(0, await process.ended)
        self.assertEqual(f"{config}: the configuration is good\n", process.output)
        config.write_text("[log]\nlevel = 3")
        process = spawn_server(self, config, "--check")
        self.assertEqual(EX_CONFIG, await process.ended)
        self.assertEqual(1, process.errors.count("\n"))


class PortInUseTests(TestCase):
    """A port that can't be bound ends the process."""

    async def test_foreground(self) -> None:
        """Such as by a second start; the first one goes on."""
        first = await start_server(self, TOKENS)
        port = first.port()
        config = write_config(self, f'[listeners.public]\nhost = "127.0.0.1"\nport = {port}\n[internal]\nport = 0\n')
        command = [*TWISTD, "-n", "--pidfile=a.pid", "realtime_svc", "--config", str(config)]
        second = spawn(self, command, cwd=str(config.parent))
        self.assertEqual(EX_CONFIG, await second.ended)
        reason = f"listeners.public.port: can't listen on 127.0.0.1:{port}: Address already in use"
        self.assertEqual(f"realtime_svc: {config}: {reason}\n", second.errors)
        self.assertNotIn("Traceback", second.output)
        self.assertFalse((config.parent / "a.pid").exists())
        await connect(reactor, first.url("/raw/x"), token=ALICE)

    async def test_internal_port(self) -> None:
        config = write_config(self, LISTENERS.rpartition("0")[0] + str(taken_port(self)))
        process = spawn_server(self, config)
        self.assertEqual(EX_CONFIG, await process.ended)
        self.assertIn(f"{config}: internal.port: can't listen on 127.0.0.1:", process.errors)

    async def test_daemon(self) -> None:
        """The process that was started waits for the daemon, tells the reason, and its exit code is not 0."""
        port = taken_port(self)
        config = write_config(self, f'[listeners.public]\nhost = "127.0.0.1"\nport = {port}\n')
        process = spawn(self, [*TWISTD, "realtime_svc", "--config", "server.toml"], cwd=str(config.parent))
        self.assertEqual(1, await process.ended)
        reason = f"listeners.public.port: can't listen on 127.0.0.1:{port}: Address already in use"
        self.assertEqual(f"realtime_svc: server.toml: {reason}", process.errors.splitlines()[0])
        self.assertFalse((config.parent / "twistd.pid").exists())


class DaemonTests(TestCase):
    """In the background."""

    def daemon(self, config: Path) -> Process:
        """Start it; whatever the pidfile names is killed at the end."""
        pidfile = config.parent / "twistd.pid"

        def kill() -> Deferred[None] | None:
            try:
                pid = int(pidfile.read_text())
                gone = Gone(pid)
                os.kill(pid, 9)
            except (OSError, ValueError):
                return None
            return gone.ended

        self.addCleanup(kill)
        return spawn(self, [*TWISTD, "realtime_svc", "--config", "server.toml"], cwd=str(config.parent))

    async def test_life(self) -> None:
        """Exit code 0 once it listens, nothing on the terminal, a pidfile, a log; both gone or closed after SIGTERM."""
        config = write_config(self, LISTENERS + TOKENS)
        process = self.daemon(config)
        self.assertEqual((0, ""), (await process.ended, process.output))
        log = (config.parent / "twistd.log").read_text()
        found = re.search(r"listening: public on 127.0.0.1 port (\d+)", log)
        assert found is not None, log
        client = await connect(reactor, f"ws://localhost:{found[1]}/raw/x", token=ALICE)
        pidfile = config.parent / "twistd.pid"
        pid = int(pidfile.read_text())
        gone = Gone(pid)
        os.kill(pid, 15)
        self.assertEqual(1012, (await client.closed)[0])
        await gone.ended
        self.assertFalse(pidfile.exists())
        self.assertNotIn("Traceback", (config.parent / "twistd.log").read_text())

    async def test_pidfile_of_a_process_that_is_gone(self) -> None:
        config = write_config(self, LISTENERS + TOKENS)
        pidfile = config.parent / "twistd.pid"
        pidfile.write_text(str(2**22 + 1))  # more than any pid can be (proc(5), pid_max)
        self.assertEqual(0, await self.daemon(config).ended)
        self.assertLess(int(pidfile.read_text()), 2**22)

    async def test_pidfile_of_a_process_that_runs(self) -> None:
        config = write_config(self, LISTENERS + TOKENS)
        pidfile = config.parent / "twistd.pid"
        self.assertEqual(0, await self.daemon(config).ended)
        pid = pidfile.read_text()
        second = spawn(self, [*TWISTD, "realtime_svc", "--config", "server.toml"], cwd=str(config.parent))
        self.assertEqual(1, await second.ended)
        self.assertIn(f"Another twistd server is running, PID {pid}", second.errors)
        self.assertEqual(pid, pidfile.read_text())

    async def test_handler_that_cannot_be_made(self) -> None:
        """It is made by the daemon, behind the fork, and still told where twistd was started."""
        config = write_config(self, LISTENERS + '[handlers]\nobject = "broken:Broken"')
        code = "class Broken:\n    def connect(self, client): pass\n"
        code += "    def __init__(self, server): raise OSError('no database')\n"
        (config.parent / "broken.py").write_text(code)
        command = [*TWISTD, "realtime_svc", "--config", "server.toml"]
        environ = {"PYTHONPATH": str(config.parent)}
        process = spawn(self, command, cwd=str(config.parent), environ=environ)
        self.assertEqual(1, await process.ended)
        reason = "handlers.object: can't make Broken: OSError: no database"
        self.assertEqual(f"realtime_svc: server.toml: {reason}", process.errors.splitlines()[0])


class SettingsTests(TestCase):
    """Flags, variables, and files with secrets."""

    async def test_flags(self) -> None:
        spare = socket.create_server(("127.0.0.1", 0))
        port = spare.getsockname()[1]
        spare.close()
        arguments = ["--port", str(port), "--host", "127.0.0.1", "--internal-port", "0", "--log-format", "json"]
        server = await start_server(self, TOKENS, *arguments, listeners="[listeners.public]\nport = 1\n")
        lines: list[dict[str, Any]] = [json.loads(line) for line in server.process.output.splitlines()]
        self.assertEqual({"time", "level", "namespace", "message"}, set.intersection(*(set(line) for line in lines)))
        (public,) = (line for line in lines if line["message"].startswith("listening: public"))
        self.assertEqual((port, "info", "realtime_svc"), (public["port"], public["level"], public["namespace"]))
        client = await connect(reactor, f"ws://localhost:{port}/raw/x", token=ALICE)
        await server.stop()
        self.assertEqual(1012, (await client.closed)[0])
        for line in server.process.output.splitlines():
            json.loads(line)

    async def test_environment_wins_over_the_file(self) -> None:
        """A secret may come from a file, without its newline."""
        secret = Path(self.mktemp()).absolute()
        secret.write_text(json.dumps({"carol": "carol-token-0123456789"}) + "\n")
        environ = {
            "REALTIME_SVC_AUTH__TOKENS": secret.read_text(),
            "REALTIME_SVC_NAMESPACES__DEFAULT__PUBLISH": "user:carol",
        }
        server = await start_server(self, TOKENS, environ=environ)
        carol = await connect(reactor, server.url("/raw/x"), token="carol-token-0123456789")
        alice = await connect(reactor, server.url("/raw/x"), token=ALICE)
        alice.send("1")
        self.assertEqual(103, json.loads(str(await alice.receive()))["error"]["code"])
        carol.send("2")
        self.assertEqual("2", await alice.receive())

    async def test_secret_from_a_file(self) -> None:
        secret = Path(self.mktemp()).absolute()
        secret.write_text("a secret that has more than thirty-two bytes\n")
        environ = {"REALTIME_SVC_AUTH__JWT__SECRET_FILE": str(secret)}
        server = await start_server(self, '[auth.jwt]\nalgorithms = ["HS256"]\n', environ=environ)
        await connect(reactor, server.url("/raw/x"), token=token(secret.read_text().strip(), "dora"))
        with self.assertRaises(HandshakeRefused):
            await connect(reactor, server.url("/raw/x"), token=token(secret.read_text(), "dora"))
        self.assertEqual(STOPPED, await server.stop())


def token(secret: str, user: str, **claims: Any) -> str:
    """A JWT that is good until 2100."""
    made: str = jwt.encode({"sub": user, "exp": 4102444800, **claims}, secret, "HS256")
    return made
