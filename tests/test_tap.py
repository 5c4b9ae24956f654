"""twistd's side: options that check everything, and a service that is made without touching anything."""

from __future__ import annotations

import builtins
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceMaker, MultiService
from twisted.internet.base import ReactorBase
from twisted.logger import ILogObserver
from twisted.plugin import getPlugins
from twisted.python.components import Componentized
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import tap
from realtime_svc.errors import ConfigError
from tests.client.pki import Authority, write_file

PUBLIC = '[listeners.public]\nhost = "127.0.0.1"\n'


def under_twistd(**twistd: Any) -> tap.Options:
    """Options as twistd makes them, in the foreground."""
    options: Any = tap.Options()
    options.parent = {"nodaemon": True, **twistd}
    made: tap.Options = options
    return made


class Broken:
    """User code whose module is fine and whose constructor is not."""

    def __init__(self, server: object) -> None:
        raise RuntimeError("no database\nat all")

    def message(self, client: object, message: object) -> None:
        """Never called."""


class Case(SynchronousTestCase):
    """Options on files in a folder of the test's own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.config = self.folder / "server.toml"

    def options(self, text: str, *arguments: str) -> tap.Options:
        """Parsed, as twistd does it in the foreground; what is told on the terminal goes into a file."""
        self.config.write_text(text)
        options = under_twistd(pidfile=str(self.folder / "pid"))
        descriptor = os.open(self.folder / "terminal", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.addCleanup(os.close, descriptor)
        options.terminal = descriptor
        options.parseOptions(["--config", str(self.config), *arguments])
        return options

    def told(self) -> str:
        return (self.folder / "terminal").read_text()

    def exits(self, code: int, text: str, *arguments: str) -> str:
        """What was told before the process ended with this code."""
        ended: SystemExit = self.assertRaises(SystemExit, self.options, text, *arguments)
        self.assertEqual(code, ended.code)
        return self.told()


class BadConfigTests(Case):
    """Each ends with 78 and one line: file, dotted key, reason."""

    def test_every_kind(self) -> None:
        missing = self.folder / "nowhere.pem"
        garbage = write_file(self.folder, "garbage.pem", b"no PEM")
        certificate, _ = Authority("one").write(self.folder, "one")
        _, other_key = Authority("two").write(self.folder, "two")
        schemas = self.folder / "schemas"
        (schemas / "default").mkdir(parents=True)
        schema = Path(write_file(schemas / "default", "message.json", b'{"type": "strin"}'))
        module = Path(write_file(self.folder, "bad_user_code.py", b"raise ValueError('one\\ntwo')"))
        sys.path.insert(0, str(module.parent))
        self.addCleanup(sys.path.remove, str(module.parent))
        tls = '[listeners.public]\ntls = true\n[tls]\ncertificate = "%s"\nkey = "%s"\n'
        jwt = '[auth.jwt]\nalgorithms = ["HS256"]\n'
        for text, key, reason in (
            ("[limts]\nconnections = 1", "limts", "unknown key"),
            ("[limits]\nconections = 1", "limits.conections", "unknown key"),
            ('[limits]\nconnections = "many"', "limits.connections", "must be"),
            ("[listeners.public]\nport = 70000", "listeners.public.port", ""),
            ("[limits\n", "", "not valid TOML"),
            (tls % (missing, missing), "tls.certificate", "No such file"),
            (tls % (garbage, garbage), "tls.certificate", "PEM"),
            (tls % (certificate, other_key), "tls.key", "does not belong"),
            (f'[schemas]\nfolder = "{schemas}"\n[namespaces.default]\nschema = true', "schemas", ""),
            ('[handlers]\nobject = "no_such_module:x"', "handlers.object", "No module named"),
            ('[handlers]\nobject = "json:nothing"', "handlers.object", "has no attribute"),
            ('[handlers]\nobject = "json:dumps"', "handlers.object", "none of the handlers"),
            ('[handlers]\nobject = "bad_user_code:x"', "handlers.object", "ValueError: one two"),
            (f'{jwt}key_file = "{missing}"', "auth.jwt.key_file", "No such file"),
            (f'{jwt}key_file = "{garbage}"', "auth.jwt", ""),
            (f'[auth]\npasswords_file = "{missing}"', "auth.passwords_file", "No such file"),
        ):
            line = self.exits(78, text)
            self.assertTrue(line.startswith("realtime_svc: ") and line.endswith("\n"), line)
            self.assertEqual(1, line.count("\n"), line)
            place = str(schema) if key == "schemas" else key
            for part in (str(self.folder), place, reason):
                self.assertIn(part, line, text)

    def test_variable_and_flag_are_named(self) -> None:
        self.patch(os, "environ", {**os.environ, "REALTIME_SVC_LOG__LEVEL": "loud"})
        self.assertIn("realtime_svc: REALTIME_SVC_LOG__LEVEL: log.level: ", self.exits(78, ""))
        os.environ.pop("REALTIME_SVC_LOG__LEVEL")
        self.assertIn("realtime_svc: command line: listeners.public.port: ", self.exits(78, "", "--port", "http"))

    def test_secret_is_not_repeated(self) -> None:
        self.assertNotIn("canary", self.exits(78, '[auth.tokens]\na = "canary"'))


class GoodConfigTests(Case):
    """What is checked and what comes of it."""

    def test_check_says_so_and_ends(self) -> None:
        said: list[str] = []
        self.patch(sys, "stdout", type("Out", (), {"write": staticmethod(said.append), "flush": lambda: None}))
        self.exits(0, PUBLIC, "--check")
        self.assertEqual([f"{self.config}: the configuration is good\n"], said)

    def test_flags_win_over_environment_over_file(self) -> None:
        environ = {"REALTIME_SVC_LISTENERS__PUBLIC__PORT": "2", "REALTIME_SVC_LOG__BURST": "7"}
        self.patch(os, "environ", {**os.environ, **environ})
        text = '[listeners.public]\nport = 1\nhost = "127.0.0.1"\n[log]\nburst = 3\n'
        options = self.options(
            text, "--port", "3", "--host", "::1", "--internal-port", "4", "--log-format", "json", "--log-level", "warn"
        )
        config = options.prepared.config
        self.assertEqual(("::1", 3), (config.listeners["public"].host, config.listeners["public"].port))
        self.assertEqual(4, config.internal.port)
        self.assertEqual(("json", "warn", 7), (config.log.format, config.log.level, config.log.burst))

    def test_no_file_is_needed(self) -> None:
        options = tap.Options()
        options.parseOptions([])
        self.addCleanup(options.started)
        self.assertEqual(8000, options.prepared.config.listeners["public"].port)

    def test_relative_file_is_found_again_after_a_daemon_has_moved(self) -> None:
        """SIGHUP reads it from where twistd was started."""
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        self.config.write_text("[log]\nburst = 3")
        options = under_twistd()
        options.parseOptions(["--config", "server.toml"])
        os.chdir("/")
        self.config.write_text("[log]\nburst = 4")
        self.assertEqual(4, options.load().log.burst)

    def test_plugin_is_found(self) -> None:
        (maker,) = (maker for maker in getPlugins(IServiceMaker) if maker.tapname == "realtime_svc")
        self.assertIs(tap.Options, maker.options)
        self.assertIs(tap.makeService, maker.makeService)


class MakeServiceTests(Case):
    """Between `postOptions` and the fork."""

    def forbid(self, *names: str) -> None:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError(f"I/O: {args[:2]}")

        for name in names:
            self.patch(os, name, refuse)
        self.patch(builtins, "open", refuse)
        self.patch(socket, "socket", refuse)
        self.patch(threading.Thread, "start", refuse)

    def test_no_io(self) -> None:
        """With all that the configuration can name: TLS, JWKS, passwords, schemas, user code."""
        certificate, key = Authority("one").write(self.folder, "one")
        schemas = self.folder / "schemas" / "chat"
        schemas.mkdir(parents=True)
        write_file(schemas, "message.json", b"{}")
        passwords = write_file(self.folder, "passwords", b"")
        options = self.options(
            f"""
[listeners.public]
tls = true
[tls]
certificate = "{certificate}"
key = "{key}"
[auth]
passwords_file = "{passwords}"
[auth.jwt]
algorithms = ["RS256"]
jwks_url = "https://localhost/keys"
jwks_ca = "{certificate}"
[schemas]
folder = "{schemas.parent}"
[namespaces.chat]
schema = true
[handlers]
object = "{__name__}:Broken"
"""
        )
        self.forbid("open", "write", "read", "dup", "pipe", "stat", "listdir", "unlink", "mkdir", "fork")
        service = tap.makeService(options)
        application: Any = type("Application", (Componentized, MultiService), {})()
        Componentized.__init__(application)
        MultiService.__init__(application)
        service.setServiceParent(application)
        self.assertTrue(ILogObserver.providedBy(application.getComponent(ILogObserver)))

    def test_monotonic_time(self) -> None:
        """Reactors made anywhere in this process keep it."""
        before = time.monotonic()
        now = ReactorBase.seconds()
        self.assertTrue(before <= now <= time.monotonic())


class StartTests(Case):
    """What goes wrong when it starts is told like what is wrong with a configuration."""

    def service(self, text: str, **twistd: Any) -> Any:
        options = self.options(text)
        options.twistd.update(twistd)
        return tap.makeService(options)

    def taken_port(self) -> int:
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port: int = taken.getsockname()[1]
        return port

    def test_port_is_taken(self) -> None:
        """In the foreground: one line, 78, and no pidfile stays behind."""
        pidfile = Path(write_file(self.folder, "pid", b"1"))
        port = self.taken_port()
        service = self.service(f"{PUBLIC}port = {port}")
        ended: SystemExit = self.assertRaises(SystemExit, service.privilegedStartService)
        reason = f"listeners.public.port: can't listen on 127.0.0.1:{port}: Address already in use"
        self.assertEqual((78, f"realtime_svc: {self.config}: {reason}\n"), (ended.code, self.told()))
        self.assertFalse(pidfile.exists())

    def test_port_of_a_daemon_is_taken(self) -> None:
        """twistd gets the exception: it removes the pidfile and tells the process that waits."""
        port = self.taken_port()
        service = self.service(f"{PUBLIC}port = {port}", nodaemon=False)
        self.assertRaises(ConfigError, service.privilegedStartService)
        self.assertIn(f"{self.config}: listeners.public.port: can't listen on 127.0.0.1:{port}", self.told())

    def test_user_code_cannot_be_made(self) -> None:
        service = self.service(f'[handlers]\nobject = "{__name__}:Broken"')
        ended: SystemExit = self.assertRaises(SystemExit, service.startService)
        self.assertEqual(78, ended.code)
        self.assertIn("handlers.object: can't make Broken: RuntimeError: no database at all\n", self.told())
