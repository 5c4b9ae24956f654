"""Commands that call the server API, against an HTTP server that remembers what it was asked; and making keys."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from realtime_svc import __version__, config
from realtime_svc.cli import main, server_api
from realtime_svc.cli.console import Console
from realtime_svc.configfile import load
from realtime_svc.http import openapi
from realtime_svc.http.api_keys import ApiKeys
from tests.cli.test_cli import Case, Result

KEY = "key-0123456789-secret"
OK_ANSWER = (200, b'{"result":{"offset":1}}')


class FakeApi(ThreadingHTTPServer):
    """Answers every request with `answer`; `asked` holds (path, headers, decoded body)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = OK_ANSWER
        self.location = ""
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: FakeApi

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, {name.lower(): self.headers[name] for name in self.headers}, body))
        status, answer = self.server.answer
        self.send_response(status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


class ApiCase(Case):
    def setUp(self) -> None:
        super().setUp()
        self.api = FakeApi()
        thread = threading.Thread(target=self.api.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.api.server_close)
        self.addCleanup(self.api.shutdown)

    def ask(self, *argv: str, stdin: str = "", **environ: str) -> Result:
        return self.run_command(*argv, "--api", self.api.address, stdin=stdin, environ=environ)

    def body(self, *argv: str, stdin: str = "") -> tuple[str, Any]:
        """(path, decoded body) of the one request that a command makes."""
        self.api.asked.clear()
        result = self.ask(*argv, stdin=stdin)
        self.assertEqual((0, ""), (result.code, result.err), argv)
        ((path, _, body),) = self.api.asked
        return path, json.loads(body)


class CallTests(ApiCase):
    def test_what_each_command_asks(self) -> None:
        quiet = {"skip_history": False}
        for argv, method, body in (
            (["publish", "chat:x", '{"a": 1}'], "publish", {**quiet, "channel": "chat:x", "data": {"a": 1}}),
            (["publish", "x", "hi", "--text"], "publish", {**quiet, "channel": "x", "data": "hi"}),
            (["publish", "x", "AAE=", "--base64"], "publish", {**quiet, "channel": "x", "b64data": "AAE="}),
            (
                ["publish", "x", "1", "--skip-history", "--tag", "a=b=c", "--tag", "d=", "--idempotency-key", "k"],
                "publish",
                {
                    "skip_history": True,
                    "channel": "x",
                    "data": 1,
                    "tags": {"a": "b=c", "d": ""},
                    "idempotency_key": "k",
                },
            ),
            (["broadcast", "1", "a", "b"], "broadcast", {**quiet, "channels": ["a", "b"], "data": 1}),
            (["history", "x"], "history", {"channel": "x", "limit": -1, "reverse": False}),
            (
                ["history", "x", "--limit", "5", "--since=-ep:7", "--reverse"],
                "history",
                {"channel": "x", "limit": 5, "reverse": True, "since": {"offset": 7, "epoch": "-ep"}},
            ),
            (
                ["history", "x", "--since", "7"],
                "history",
                {"channel": "x", "limit": -1, "reverse": False, "since": {"offset": 7, "epoch": ""}},
            ),
            (["presence", "x"], "presence", {"channel": "x"}),
            (["presence", "x", "--stats"], "presence_stats", {"channel": "x"}),
            (["channels"], "channels", {"pattern": ""}),
            (["channels", "chat:*"], "channels", {"pattern": "chat:*"}),
            (["info"], "info", {}),
            (["disconnect", "42"], "disconnect", {"user": "42", "client": ""}),
            (
                ["disconnect", "42", "--client", "c", "--code", "3999", "--reason", "bye"],
                "disconnect",
                {"user": "42", "client": "c", "disconnect": {"code": 3999, "reason": "bye"}},
            ),
            (["revoke", "--user", "42"], "revoke", {"token_id": "", "user": "42"}),
            (["revoke", "--token-id", "t"], "revoke", {"token_id": "t", "user": ""}),
        ):
            self.assertEqual((f"/api/{method}", body), self.body(*argv), argv)

    def test_data_from_standard_input(self) -> None:
        _, body = self.body("publish", "x", "-", stdin='{"a":1}\n')
        self.assertEqual({"a": 1}, body["data"])

    def test_data_passes_as_it_was_typed(self) -> None:
        self.ask("publish", "x", '{"b": 1.0, "a": 12345678901234567890}')
        self.assertIn(b'{"b": 1.0, "a": 12345678901234567890}', self.api.asked[0][2])

    def test_result_is_one_line(self) -> None:
        self.api.answer = (200, '{"result":{"presence":{"a":"\x9b\u2028é"}}}'.encode())
        result = self.ask("presence", "x")
        self.assertEqual((0, '{"presence":{"a":"\\x9b\\u2028é"}}\n'), (result.code, result.out))

    def test_key_is_in_a_file_or_in_the_environment(self) -> None:
        file = self.write(KEY + "\nsecond line", "key")
        for argv, environ, expected in (
            ([], {}, None),
            ([], {"REALTIME_SVC_API_KEY": KEY}, KEY),
            (["--key-file", file], {}, KEY),
            (["--key-file", file], {"REALTIME_SVC_API_KEY": "other"}, KEY),
        ):
            self.api.asked.clear()
            self.ask("info", *argv, **environ)
            self.assertEqual(expected, self.api.asked[0][1].get("x-api-key"))

    def test_address_from_the_configuration(self) -> None:
        port = self.api.server_address[1]
        for host in ("127.0.0.1", "0.0.0.0"):
            path = self.write(f'[internal]\nhost = "{host}"\nport = {port}\n')
            self.assertEqual(0, self.run_command("info", "--config", path).code)
        self.assertEqual(2, len(self.api.asked))

    def test_address_with_the_path_of_the_api(self) -> None:
        for end in ("/", "/api", "/api/", "//api//"):
            self.assertEqual(0, self.run_command("info", "--api", self.api.address + end).code, end)
        self.assertEqual({"/api/info"}, {path for path, _, _ in self.api.asked})

    def test_host_of_the_name_api(self) -> None:
        environ = {"REALTIME_SVC_API_KEY": KEY}
        for address in ("http://api", "http://api/", "http://api/api"):
            result = self.run_command("info", "--api", address, environ=environ)
            self.assertIn("--insecure", result.err, address)  # a host of a network, not a broken address

    def test_address_where_none_is_given(self) -> None:
        self.patch(server_api, "DEFAULT", self.api.address)
        self.assertEqual(0, self.run_command("info").code)

    def test_no_proxy_is_asked(self) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            self.patch(os, "environ", {**os.environ, name: "http://127.0.0.1:1"})
        self.assertEqual(0, self.ask("info").code)


class TroubleTests(ApiCase):
    def assert_one_line(self, result: Result, *words: str) -> None:
        self.assertEqual((1, "", 1), (result.code, result.out, result.err.count("\n")), result)
        for word in ("realtime-svc: ", *words):
            self.assertIn(word, result.err)
        self.assertNotIn(KEY, result.err)

    def test_what_the_server_refuses(self) -> None:
        for answer, words in (
            ((200, b'{"error":{"code":108,"message":"not available"}}'), "error 108: not available"),
            ((400, b'{"error":{"code":107,"message":"bad\\u001b[2J"}}'), "error 107: bad\\x1b[2J"),
            ((401, b'{"error":{"code":101,"message":"a valid API key is required"}}'), "--key-file"),
            ((404, b"<html>"), "404, and no answer of the server API"),
            ((200, b""), "200, and no answer of the server API"),
            ((200, b"[]"), "no answer of the server API"),
            ((200, b"{}"), "no answer of the server API"),
            ((500, b'{"error":"oops"}'), "500, and no answer of the server API"),
            ((200, b'{"error":{"code":"x"}}'), "no answer of the server API"),
        ):
            self.api.answer = answer
            self.assert_one_line(self.ask("info", REALTIME_SVC_API_KEY=KEY), words)

    def test_redirects_are_not_followed(self) -> None:
        self.api.answer, self.api.location = (307, b""), self.api.address + "/elsewhere"
        self.assert_one_line(self.ask("info", REALTIME_SVC_API_KEY=KEY), "307")
        self.assertEqual(1, len(self.api.asked))

    def test_nobody_is_there(self) -> None:
        self.api.shutdown()
        self.api.server_close()
        self.assert_one_line(self.ask("info"), self.api.address, "Connection refused")

    def test_what_is_wrong_with_the_command_is_told_before_anything_is_asked(self) -> None:
        empty = self.write("", "empty")
        for argv, word in (
            (["publish", "x", "hi"], "--text"),
            (["publish", "x", "*", "--base64"], "base64"),
            (["publish", "x", "1", "--tag", "a"], "--tag"),
            (["history", "x", "--since", "a"], "--since"),
            (["history", "x", "--since", "-1"], "--since"),
            (["history", "x", "--since", "7:ep"], "EPOCH:OFFSET"),
            (["history", "x", "--since", "1" * 5000], "--since"),
            (["info", "--key-file", "/no/such/file"], "can't be read"),
            (["info", "--key-file", empty], "is empty"),
            (["info", "--ca", "/no/such/file"], "/no/such/file"),
            (["info", "--ca", empty], "empty"),
        ):
            self.assert_one_line(self.ask(*argv), word)
        self.assertEqual([], self.api.asked)

    def test_addresses_that_are_none(self) -> None:
        for address in (
            "",
            "127.0.0.1:9000",
            "ws://x",
            "http://",
            "http://u:p@x",
            "http://x:99999",
            "http://x y",
            "http://é",
        ):
            result = self.run_command("info", "--api", address or "x")
            self.assert_one_line(result, "--api")

    def test_a_key_does_not_cross_a_network_in_clear_text(self) -> None:
        environ = {"REALTIME_SVC_API_KEY": KEY}
        for address in ("http://192.0.2.1:9000", "http://example.com", "http://localhost.example.com"):
            self.assert_one_line(self.run_command("info", "--api", address, environ=environ), "--insecure")

    def test_a_key_that_no_header_can_hold(self) -> None:
        for key in ("a\nb", "a b", "é", "\x00"):
            self.assert_one_line(self.ask("info", REALTIME_SVC_API_KEY=key), "the key holds")
        self.assertEqual([], self.api.asked)

    def test_wrong_command_lines_exit_with_2(self) -> None:
        self.patch(sys, "stderr", io.StringIO())
        for argv in (
            ["publish", "x"],
            ["publish", "x", "1", "--text", "--base64"],
            ["broadcast", "1"],
            ["history"],
            ["history", "x", "--limit", "many"],
            ["revoke"],
            ["revoke", "--user", "u", "--token-id", "t"],
            ["info", "--key", KEY],
            ["api-key"],
        ):
            stop = self.assertRaises(SystemExit, main, argv, Console())
            self.assertEqual(2, stop.code, argv)


class KeyTests(Case):
    def test_what_is_printed_goes_into_the_configuration_and_the_key_beside_it_fits(self) -> None:
        result = self.run_command("api-key", "backend", "--scope", "publish:chat:", "--scope", "read")
        self.assertEqual(0, result.code)
        key = result.err.strip().rpartition(" ")[2]
        self.assertNotIn(key, result.out)
        made = load(Path(self.write(result.out)), {}).api.keys
        self.assertEqual(("publish:chat:", "read"), made["backend"].scopes)
        found = ApiKeys(made).find(key)
        assert found is not None
        self.assertEqual("backend", found.name)

    def test_all_is_the_default(self) -> None:
        table = tomllib.loads(self.run_command("api-key", "a").out)
        self.assertEqual(["all"], table["api"]["keys"]["a"]["scopes"])

    def test_key_into_a_file_for_its_owner_only(self) -> None:
        path = self.folder / "key"
        result = self.run_command("api-key", "a", "--key-file", str(path))
        self.assertEqual((0, f"wrote {path}\n"), (result.code, result.err))
        key = path.read_text().strip()
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        self.assertNotIn(key, result.out)
        made = tomllib.loads(result.out)["api"]["keys"]["a"]
        self.assertIsNotNone(ApiKeys({"a": config.ApiKey(hash=made["hash"])}).find(key))

    def test_a_file_that_is_there_is_left_alone(self) -> None:
        path = self.write("mine", "key")
        result = self.run_command("api-key", "a", "--key-file", path)
        self.assertEqual(
            (1, "", f"realtime-svc: {path}: exists already: choose another name\n"),
            (result.code, result.out, result.err),
        )
        self.assertEqual("mine", Path(path).read_text())

    def test_what_no_configuration_takes(self) -> None:
        for argv, word in (
            (["a b"], "NAME"),
            ([""], "NAME"),
            (["a.b"], "NAME"),
            (["a", "--scope", "nope"], "--scope"),
            (["a", "--scope", "publish:"], "--scope"),
            (["a", "--scope", "info:chat:"], "--scope"),
            (["a", "--scope", ""], "--scope"),
        ):
            result = self.run_command("api-key", *argv)
            self.assertEqual((1, "", 1), (result.code, result.out, result.err.count("\n")), argv)
            self.assertIn(word, result.err)

    def test_document(self) -> None:
        self.assertEqual(openapi.encoded(__version__).decode(), self.run_command("openapi").out)

    def test_key_in_the_environment_is_no_configuration_of_the_server(self) -> None:
        self.assertEqual(config.Config(), load(Path(self.write("")), {"REALTIME_SVC_API_KEY": KEY}))
