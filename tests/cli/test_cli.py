"""Commands, run in this process with streams of their own."""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import __version__
from realtime_svc.auth import passwords
from realtime_svc.auth.credentials import is_token68
from realtime_svc.cli import main
from realtime_svc.cli.console import Console
from realtime_svc.config import Config
from realtime_svc.configfile import load
from realtime_svc.tap import Options

SECRET = "c4f1ac7e0ab4fd0ac8bb3b0ac4bcac4f1a"
JWT = f'[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "{SECRET}"\n'


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Terminal(io.StringIO):
    """A stream that somebody sits at."""

    def isatty(self) -> bool:
        return True


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, text: str, name: str = "a.toml") -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def run_command(
        self, *argv: str, stdin: str | io.StringIO = "", environ: Mapping[str, str] | None = None
    ) -> Result:
        source = io.StringIO(stdin) if isinstance(stdin, str) else stdin
        console = Console(source, io.StringIO(), io.StringIO(), environ or {})
        code = main(argv, console)
        assert isinstance(console.stdout, io.StringIO) and isinstance(console.stderr, io.StringIO)
        return Result(code, console.stdout.getvalue(), console.stderr.getvalue())


class GeneralTests(Case):
    def test_wrong_command_lines_exit_with_2(self) -> None:
        self.patch(sys, "stderr", io.StringIO())
        for argv in (
            [],
            ["nope"],
            ["config"],
            ["config", "check"],
            ["token"],
            ["passwd", "file"],
            ["connect"],
            ["--nope"],
        ):
            stop = self.assertRaises(SystemExit, main, argv, Console())
            self.assertEqual(2, stop.code, argv)

    def test_version_and_help(self) -> None:
        for argv, expected in (
            (["--version"], __version__),
            (["--help"], "78 wrong"),
            (["connect", "--help"], "--ca FILE"),
        ):
            out = io.StringIO()
            self.patch(sys, "stdout", out)
            stop = self.assertRaises(SystemExit, main, argv, Console())
            self.assertEqual(0, stop.code)
            self.assertIn(expected, out.getvalue())

    def test_module_runs_it(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "realtime_svc", "config", "check", str(self.folder / "no.toml")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((78, ""), (done.returncode, done.stdout), done.stderr)
        self.assertEqual(
            f"realtime-svc: {self.folder}/no.toml: can't be read: No such file or directory\n", done.stderr
        )


class ConfigTests(Case):
    def test_check_of_a_good_file(self) -> None:
        path = self.write("[log]\nlevel = 'warn'\n" + JWT)
        self.assertEqual(Result(0, f"{path}: ok\n", ""), self.run_command("config", "check", path))

    def test_check_warns_of_what_cannot_be_meant(self) -> None:
        """On standard error; it is a good configuration all the same. Other commands say nothing of it."""
        nobody = (
            "auth: nobody can authenticate: none of auth.tokens, auth.passwords_file, auth.jwt or auth.anonymous is set"
        )
        shut = '"anonymous" lets only clients in that have credentials: auth.anonymous is false'
        tokens = "[auth.tokens]\nalice = 'a-token-of-16-characters'\n"
        anonymous = "[namespaces.chat]\npublish = ['user:a', 'anonymous']\n"
        for text, expected in (
            ("", [nobody]),
            ("[auth]\nanonymous = true\n" + anonymous, []),
            (tokens, []),
            ("[auth]\npasswords_file = 'passwords'", []),
            (tokens + anonymous, ["namespaces.chat.publish: " + shut]),
            (
                anonymous + "subscribe = ['anonymous']",
                [nobody, *(f"namespaces.chat.{key}: {shut}" for key in ("subscribe", "publish"))],
            ),
        ):
            self.write("", "passwords")
            path = self.write(text)
            err = "".join(f"{path}: warning: {line}\n" for line in expected)
            self.assertEqual(Result(0, f"{path}: ok\n", err), self.run_command("config", "check", path))
            self.assertEqual("", self.run_command("config", "show", path).err)

    def test_check_of_a_bad_file_is_one_line(self) -> None:
        path = self.write("[log]\nlevel = 'loud'")
        code, out, err = self.run_command("config", "check", path)
        self.assertEqual((78, ""), (code, out))
        self.assertEqual(f'realtime-svc: {path}: log.level: must be one of "debug", "error", "info", "warn"\n', err)

    def test_check_looks_at_the_environment_too(self) -> None:
        result = self.run_command("config", "check", self.write(""), environ={"REALTIME_SVC_LOG__LEVEL": "loud"})
        self.assertEqual(78, result.code)
        self.assertTrue(result.err.startswith("realtime-svc: REALTIME_SVC_LOG__LEVEL: log.level: "), result.err)

    def test_check_reads_all_that_the_server_reads(self) -> None:
        """What can only be seen in the files that are named."""
        self.write("alice:no-hash", "passwords")
        self.write("no key", "key.pem")
        self.write("not JSON", "jwks.json")
        for text, reason in (
            ("[auth]\npasswords_file = 'passwords'", "not a $scrypt$ hash"),
            ("[auth.jwt]\nalgorithms = ['HS256']\nkey_file = 'key.pem'", "at least 32 bytes"),
            ("[auth.jwt]\nalgorithms = ['RS256']\njwks_file = 'jwks.json'", "auth.jwt.jwks_file"),
            ("[tls]\ncertificate = 'key.pem'\nkey = 'key.pem'\n[listeners.public]\ntls = true", "tls.certificate"),
            ("[handlers]\nobject = 'no_such_module:name'", "a.toml: handlers.object"),
        ):
            result = self.run_command("config", "check", self.write(text))
            self.assertEqual((78, ""), (result.code, result.out), text)
            self.assertIn(reason, result.err)
            self.assertEqual(1, result.err.count("\n"))

    def test_show_is_the_effective_configuration(self) -> None:
        path = self.write("[limits]\nconnections = 5\n" + JWT)
        code, out, err = self.run_command("config", "show", path, environ={"REALTIME_SVC_LOG__LEVEL": "warn"})
        self.assertEqual((0, ""), (code, err))
        tables = tomllib.loads(out)
        self.assertEqual(
            (5, "warn", "********"),
            (tables["limits"]["connections"], tables["log"]["level"], tables["auth"]["jwt"]["secret"]),
        )

    def test_show_without_a_file_is_the_defaults(self) -> None:
        path = self.write(self.run_command("config", "show").out)
        self.assertEqual(Config(), load(Path(path), {}))

    def test_schema_and_sample(self) -> None:
        self.assertEqual("realtime_svc configuration", json.loads(self.run_command("config", "schema").out)["title"])
        self.assertEqual({}, tomllib.loads(self.run_command("config", "sample").out)["limits"])


class TokenTests(Case):
    def test_a_token_that_was_made_is_accepted(self) -> None:
        path = self.write(JWT)
        made = self.run_command(
            "token", "make", "alice", "--config", path, "--info", '{"name": "A"}', "--expires", "5m"
        )
        self.assertEqual((0, ""), (made.code, made.err))
        explained = self.run_command("token", "explain", "--config", path, stdin=made.out)
        self.assertEqual(0, explained.code)
        self.assertIn('verdict: accepted for user "alice"', explained.out)
        self.assertIn('"info": {"name": "A"}', explained.out)
        again = self.run_command("token", "explain", made.out.strip(), "--config", path)
        self.assertIn("accepted", again.out)

    def test_a_token_for_another_server_is_explained(self) -> None:
        made = self.run_command("token", "make", "alice", "--config", self.write(JWT))
        other = self.write(JWT.replace(SECRET, SECRET[::-1]), "b.toml")
        for argv, stdin, verdict in (
            (["--config", other], made.out, "the signature is not by the key at hand"),
            (["--config", other], "verdict: accepted", "it is not a JSON Web Token in compact form"),
            ([], made.out, "auth.jwt.algorithms is empty"),
        ):
            explained = self.run_command("token", "explain", *argv, stdin=stdin)
            self.assertEqual((1, ""), (explained.code, explained.err))
            self.assertIn(f"verdict: refused: {verdict}", explained.out)

    def test_a_static_token_is_known(self) -> None:
        path = self.write("[auth.tokens]\n'a b' = 'a-token-of-16-characters'")
        explained = self.run_command("token", "explain", "--config", path, stdin="a-token-of-16-characters\n")
        self.assertEqual(Result(0, 'verdict: accepted, the static token of user "a b"\n', ""), explained)

    def test_what_cannot_be_made(self) -> None:
        path = self.write(JWT)
        for argv, code, reason in (
            (["alice"], 78, "auth.jwt: there is no shared secret to sign with"),
            (["alice", "--config", path, "--expires", "soon"], 1, "--expires: must be a duration"),
            (["alice", "--config", path, "--expires", "never"], 78, "auth.jwt.require_expiry"),
            (["alice", "--config", path, "--info", "{"], 1, "--info: is not valid JSON"),
            (["a\nb", "--config", path], 78, "a user id is at most 255 bytes"),
            (["alice", "--config", path, "--private-key", "/no/such"], 78, "/no/such"),
        ):
            result = self.run_command("token", "make", *argv)
            self.assertEqual((code, ""), (result.code, result.out), argv)
            self.assertIn(reason, result.err)
            self.assertEqual(1, result.err.count("\n"))


class PasswordTests(Case):
    def test_set_change_and_delete(self) -> None:
        path = str(self.folder / "passwords")
        for password in ("first", "second"):
            result = self.run_command("passwd", path, "alice", "--stdin", stdin=password + "\n")
            self.assertEqual((0, ""), (result.code, result.out))
            self.assertTrue(passwords.PasswordFile.load(path).users["alice"].matches(password))
        self.assertEqual(0, self.run_command("passwd", path, "alice", "--delete").code)
        self.assertEqual({}, dict(passwords.PasswordFile.load(path).users))
        self.assertEqual(1, self.run_command("passwd", path, "alice", "--delete").code)

    def test_at_a_terminal_the_password_is_asked_for_twice(self) -> None:
        path = str(self.folder / "passwords")
        answers = ["secret", "secret", "secret", "other"]
        self.patch(getpass, "getpass", lambda prompt, stream: answers.pop(0))
        self.assertEqual(0, self.run_command("passwd", path, "alice", stdin=Terminal()).code)
        result = self.run_command("passwd", path, "alice", stdin=Terminal())
        self.assertEqual((1, []), (result.code, answers))
        self.assertTrue(passwords.PasswordFile.load(path).users["alice"].matches("secret"))

    def test_what_cannot_be_set_is_one_line(self) -> None:
        for argv, stdin in (
            (["/no/such/file", "alice", "--stdin"], "secret\n"),
            ([str(self.folder / "p"), "a:b", "--stdin"], "secret\n"),
            ([str(self.folder / "p"), "alice", "--stdin"], ""),
        ):
            result = self.run_command("passwd", *argv, stdin=stdin)
            self.assertEqual((1, "", 1), (result.code, result.out, result.err.count("\n")), argv)
            self.assertNotIn("secret", result.err)


class DevelopmentTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.started: list[tuple[str, list[str], dict[str, str]]] = []
        self.patch(os, "execve", lambda *call: self.started.append(call))
        self.path = self.folder / "var" / "dev.toml"

    def dev(self, *argv: str) -> Result:
        return self.run_command("dev", "--dir", str(self.path.parent), *argv, environ={"HOME": "/h"})

    def test_first_start_writes_a_configuration_for_its_owner_only(self) -> None:
        self.assertIn(f"wrote {self.path}", self.dev().err)
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))
        config = load(self.path, {})
        self.assertEqual(("127.0.0.1", 8000), (config.listeners["public"].host, config.listeners["public"].port))
        self.assertEqual({"default", "chat"}, set(config.namespaces))
        self.assertEqual({"alice", "bob"}, set(config.auth.tokens))
        for token in config.auth.tokens.values():
            self.assertTrue(is_token68(token) and re.fullmatch("[A-Za-z0-9_-]{32}", token))
        self.assertNotEqual(config.auth.tokens["alice"], config.auth.tokens["bob"])

    def test_next_start_leaves_it_as_it_is(self) -> None:
        self.dev()
        self.path.write_text(self.path.read_text() + "# mine\n")
        before = self.path.read_text()
        self.assertEqual("", self.dev().err)
        self.assertEqual(before, self.path.read_text())

    def test_twistd_takes_the_place_of_the_process(self) -> None:
        self.dev("--port", "8123", "--internal-port", "0")
        program, argv, environ = self.started[0]
        self.assertEqual((sys.executable, sys.executable), (program, argv[0]))
        self.assertEqual(
            f"-n --pidfile= realtime_svc --config {self.path} --welcome --port=8123 --internal-port=0".split(" "),
            argv[3:],
        )
        self.assertEqual({"HOME": "/h"}, environ)

    def test_ports_mean_the_same_to_twistd(self) -> None:
        self.dev("--port", "8123", "--internal-port", "0")
        options = Options()
        options.parseOptions([word for word in self.started[0][1][6:] if word != "--welcome"])
        config = options.prepared.config
        self.assertEqual((8123, 0), (config.listeners["public"].port, config.internal.port))

    def test_port_that_cannot_be_one_is_told_before_anything_starts(self) -> None:
        for argv, key in (
            (["--port", "99999"], "listeners.public.port"),
            (["--port", "x"], "listeners.public.port"),
            (["--internal-port", "-1"], "internal.port"),
            (["--internal-port", "8000"], "internal.port"),
        ):
            result = self.dev(*argv)
            self.assertEqual((78, []), (result.code, self.started), argv)
            self.assertIn(f"realtime-svc: command line: {key}: ", result.err)

    def test_command_that_is_started_is_twistd(self) -> None:
        self.dev()
        _, argv, _ = self.started[0]
        done = subprocess.run([*argv[:3], "--version"], capture_output=True, text=True, timeout=60, check=False)
        self.assertIn("twistd (the Twisted daemon)", done.stdout, done.stderr)

    def test_mistake_in_the_file_is_told_before_anything_starts(self) -> None:
        self.dev()
        self.started.clear()
        self.path.write_text("[log]\nlevel = 'loud'")
        result = self.dev()
        self.assertEqual((78, []), (result.code, self.started))
        self.assertIn("log.level", result.err)

    def test_folder_that_cannot_be_made(self) -> None:
        result = self.run_command("dev", "--dir", "/dev/null/var")
        self.assertEqual((1, []), (result.code, self.started))
        self.assertIn("/dev/null/var/dev.toml: can't be written", result.err)

    def test_certificates(self) -> None:
        result = self.run_command("dev-cert", str(self.folder / "tls"), "--name", "a.example", "--name", "127.0.0.1")
        self.assertEqual((0, ""), (result.code, result.err))
        settings = dict(re.findall(r"(tls\.\w+): +(\S+)", result.out))
        self.assertTrue(Path(settings["tls.certificate"]).exists() and Path(settings["tls.key"]).exists())
        bad = self.run_command("dev-cert", str(self.folder / "tls"), "--name", "a b")
        self.assertEqual((1, "", 1), (bad.code, bad.out, bad.err.count("\n")))
