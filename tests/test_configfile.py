"""Loading the configuration: what is refused, and with which words; what comes out of file, environment and flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import configschema
from realtime_svc.config import Config, Listener, Namespace
from realtime_svc.configfile import FILE_KEYS, FOLDER_KEYS, MAX_FILE_BYTES, load
from realtime_svc.errors import ConfigError
from tests import bad_configs

TOKEN = "a-token-that-nobody-may-see"


class Case(SynchronousTestCase):
    """Files in a folder of the test's own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, text: str | bytes, name: str = "a.toml") -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def loaded(
        self, text: str, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
    ) -> Config:
        return load(self.write(text), environ or {}, flags or {})

    def refused(
        self, path: Path | None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
    ) -> ConfigError:
        error: ConfigError = self.assertRaises(ConfigError, load, path, environ or {}, flags or {})
        self.assertTrue(str(error).isprintable(), f"one printable line: {error!r}")
        return error


class RefusalTests(Case):
    """Each mistake is refused with the place, the dotted key, and the reason."""

    def test_table_is_large(self) -> None:
        self.assertGreaterEqual(len(bad_configs.FILES), 100)

    def test_every_bad_file(self) -> None:
        for text, key, reason in bad_configs.FILES:
            path = self.write(text)
            error = self.refused(path)
            self.assertEqual((str(path), key), (error.where, error.key), f"{text[:200]!r}: {error}")
            self.assertIn(reason, error.reason, text[:200])

    def test_every_bad_environment(self) -> None:
        for environ, variable, key, reason in bad_configs.ENVIRONMENTS:
            error = self.refused(self.write(""), environ)
            self.assertEqual((variable, key), (error.where, error.key), f"{environ!r:.200}: {error}")
            self.assertIn(reason, error.reason, f"{environ!r:.200}")

    def test_every_bad_flag(self) -> None:
        for flags, key, reason in bad_configs.FLAGS:
            error = self.refused(self.write(""), flags=flags)
            self.assertEqual(("command line", key), (error.where, error.key), flags)
            self.assertIn(reason, error.reason, flags)

    def test_file_that_cannot_be_read(self) -> None:
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for path, reason in (
            (self.folder / "no-such.toml", "can't be read: No such file or directory"),
            (self.folder, "is not a file"),
            (pipe, "is not a file"),
            (Path("/dev/zero"), "is not a file"),
            (self.write("#" * (MAX_FILE_BYTES + 1)), f"is larger than {MAX_FILE_BYTES} bytes"),
            (self.write(b"[log]\nlevel = '\xff'", "b.toml"), "is not UTF-8 (at line 2)"),
            (self.write("[log]\n".encode("utf-16"), "c.toml"), "is not UTF-8 (at line 1)"),
        ):
            error = self.refused(path)
            self.assertEqual((str(path), "", reason), (error.where, error.key, error.reason))

    def test_file_without_the_right_to_read_it(self) -> None:
        path = self.write("")
        path.chmod(0)
        if os.access(path, os.R_OK):
            self.assertEqual(Config(), load(path, {}))  # root reads everything
        else:
            self.assertIn("Permission denied", self.refused(path).reason)

    def test_mistake_is_named_where_it_was_made(self) -> None:
        """A good file with a bad variable names the variable; a bad value that is overridden harms nobody."""
        path = self.write("[log]\nlevel = 'info'\nburst = 5")
        self.assertEqual("REALTIME_SVC_LOG__BURST", self.refused(path, {"REALTIME_SVC_LOG__BURST": "0"}).where)
        bad = self.write("[log]\nburst = 0")
        self.assertEqual(7, load(bad, {"REALTIME_SVC_LOG__BURST": "7"}).log.burst)
        self.assertEqual(str(bad), self.refused(bad, {"REALTIME_SVC_LOG__LEVEL": "warn"}).where)

    def test_table_that_is_none_in_the_file_is_named_there(self) -> None:
        path = self.write("limits = 5")
        error = self.refused(path, {"REALTIME_SVC_LIMITS__CONNECTIONS": "1"})
        self.assertEqual((str(path), "limits", "must be a table"), (error.where, error.key, error.reason))

    def test_rule_between_two_keys_names_the_source_of_the_key_it_names(self) -> None:
        path = self.write("[websocket]\nping_timeout = '10s'")
        error = self.refused(path, {"REALTIME_SVC_WEBSOCKET__PING_INTERVAL": "5s"})
        self.assertEqual((str(path), "websocket.ping_timeout"), (error.where, error.key))

    def test_without_a_file_a_rule_still_names_something(self) -> None:
        error = self.refused(None, {"REALTIME_SVC_LISTENERS__PUBLIC__TLS": "true"})
        self.assertEqual(("configuration", "tls.certificate"), (error.where, error.key))


class SecretTests(Case):
    """No error repeats a value, secret or not."""

    def test_no_error_repeats_a_secret(self) -> None:
        for text in (
            f"[auth.tokens]\nalice = ['{TOKEN}']",
            f"[auth.tokens]\nalice = '{TOKEN} '",
            f"[auth.tokens]\nalice = '{TOKEN}'\nbob = '{TOKEN}'",
            f"[auth.tokens]\nalice = '{TOKEN}",
            f"[auth.tokens]\nalice = {TOKEN}",
            f"[auth.jwt]\nsecret = '{TOKEN}'",
            f"[auth.jwt]\nsecret = ['{TOKEN}']",
            f"[auth.jwt]\nalgorithms = ['HS256']\nsecret = '{TOKEN}'",
            f"[auth.jwt]\nalgorithms = ['{TOKEN}']",
            f"[auth.jwt]\nalgorithms = ['RS256']\njwks_url = 'http://a.example/?key={TOKEN}'",
        ):
            self.assertNotIn(TOKEN, str(self.refused(self.write(text))), text)
        for name, value in (
            ("AUTH__JWT__SECRET", TOKEN),
            ("AUTH__TOKENS", TOKEN),
            ("AUTH__TOKENS", f'{{"alice": ["{TOKEN}"]}}'),
            ("AUTH", f'{{"jwt": "{TOKEN}"}}'),
        ):
            self.assertNotIn(TOKEN, str(self.refused(None, {f"REALTIME_SVC_{name}": value})), name)

    def test_secret_comes_from_a_file_without_its_last_newline(self) -> None:
        secret = "c4f1ac7e0ab4fd0ac8bb3b0ac4bcac4f1a"
        for content in (secret, f"{secret}\n", f"{secret}\r\n"):
            environ = {
                "REALTIME_SVC_AUTH__JWT__SECRET_FILE": str(self.write(content, "secret")),
                "REALTIME_SVC_AUTH__JWT__ALGORITHMS": "HS256",
                "REALTIME_SVC_AUTH__TOKENS__ALICE_FILE": str(self.write(TOKEN + "\n", "token")),
            }
            auth = load(None, environ).auth
            self.assertEqual((secret, {"alice": TOKEN}), (auth.jwt.secret, auth.tokens))

    def test_secret_and_its_file_are_not_given_both(self) -> None:
        environ = {
            "REALTIME_SVC_AUTH__JWT__SECRET": TOKEN,
            "REALTIME_SVC_AUTH__JWT__SECRET_FILE": str(self.write(TOKEN, "secret")),
        }
        error = self.refused(None, environ)
        self.assertEqual("is given by REALTIME_SVC_AUTH__JWT__SECRET too", error.reason)

    def test_secret_file_must_be_small_text(self) -> None:
        for content, reason in ((b"\xff" * 40, "is not UTF-8"), (b"a" * 70000, "is larger than 65536 bytes")):
            path = self.write(content, "secret")
            error = self.refused(None, {"REALTIME_SVC_AUTH__JWT__SECRET_FILE": str(path)})
            self.assertEqual(("auth.jwt.secret", reason), (error.key, error.reason))

    def test_key_whose_name_ends_in_file_is_no_file_of_a_secret(self) -> None:
        path = self.write("", "passwords")
        self.assertEqual(str(path), load(None, {"REALTIME_SVC_AUTH__PASSWORDS_FILE": str(path)}).auth.passwords_file)


class MergeTests(Case):
    """Defaults, then the file, then the environment, then flags."""

    def test_nothing_given_is_the_defaults(self) -> None:
        self.assertEqual(Config(), load(None, {}))
        self.assertEqual(Config(), self.loaded(""))

    def test_file_then_environment_then_flag(self) -> None:
        text = "[limits]\nconnections = 1\nconnections_per_user = 1\nconnections_per_address = 1"
        environ = {
            "REALTIME_SVC_LIMITS__CONNECTIONS_PER_USER": "2",
            "REALTIME_SVC_LIMITS__CONNECTIONS_PER_ADDRESS": "2",
        }
        limits = self.loaded(text, environ, {"limits.connections_per_address": "3", "limits.queue_size": None}).limits
        self.assertEqual((1, 2, 3), (limits.connections, limits.connections_per_user, limits.connections_per_address))
        self.assertEqual(Config().limits.queue_size, limits.queue_size)

    def test_named_tables_are_added_to_those_that_are_always_there(self) -> None:
        config = self.loaded("[listeners.wide]\nport = 8001\n[namespaces.chat]\necho = true")
        self.assertEqual({"public": Listener(), "wide": Listener(port=8001)}, config.listeners)
        self.assertEqual({"default": Namespace(), "chat": Namespace(echo=True)}, config.namespaces)

    def test_table_given_in_part_keeps_its_other_defaults(self) -> None:
        config = self.loaded("[listeners.public]\nport = 1\n[auth.jwt]\nleeway = 1\n[namespaces.default]\necho = true")
        self.assertEqual(Listener(port=1), config.listeners["public"])
        self.assertEqual(Namespace(echo=True), config.namespaces["default"])
        self.assertEqual(
            (1.0, Config().auth.jwt.require_expiry), (config.auth.jwt.leeway, config.auth.jwt.require_expiry)
        )

    def test_durations_and_sizes_in_every_spelling(self) -> None:
        for text, expected in (
            ("1500", 1500),
            ("'1500ms'", 1.5),
            ("'90s'", 90),
            ("'1.5m'", 90),
            ("'2h'", 7200),
            ("1.5", 1.5),
        ):
            self.assertEqual(expected, self.loaded(f"[limits]\nstall_timeout = {text}").limits.stall_timeout, text)
        for text, size in (("2048", 2048), ("'2048'", 2048), ("'2048B'", 2048), ("'2KiB'", 2048), ("2048.0", 2048)):
            found = self.loaded(f"[limits]\nmessage_size = {text}").limits.message_size
            self.assertEqual((size, int), (found, type(found)), text)

    def test_environment_is_read_as_the_key_wants_it(self) -> None:
        values = {
            "LISTENERS__PUBLIC__PORT": "8123",
            "LISTENERS__WSS": '{"port": 8443, "host": "::1"}',
            "LISTENERS__WSS__PORT": "8444",
            "HTTP__ALLOWED_ORIGINS": "https://a.example, https://b.example:8443",
            "HTTP__ALLOWED_HOSTS": '["a.example", "::1"]',
            "HTTP__TRUSTED_PROXIES": "",
            "HTTP__HEAD_TIMEOUT": "7s",
            "WEBSOCKET__PING_INTERVAL": "30",
            "LIMITS__MESSAGE_SIZE": "128KiB",
            "AUTH__ANONYMOUS": "true",
            "AUTH__TOKENS": f'{{"Alice": "{TOKEN}"}}',
            "NAMESPACES__CHAT__PAYLOAD": "bytes",
            "AUTH__COOKIE": "123",
        }
        config = load(None, {f"REALTIME_SVC_{name}": value for name, value in values.items()})
        self.assertEqual(8123, config.listeners["public"].port)
        self.assertEqual(Listener(host="::1", port=8444), config.listeners["wss"])
        self.assertEqual(("https://a.example", "https://b.example:8443"), config.http.allowed_origins)
        self.assertEqual((("a.example", "::1"), ()), (config.http.allowed_hosts, config.http.trusted_proxies))
        self.assertEqual((7.0, 30.0), (config.http.head_timeout, config.websocket.ping_interval))
        self.assertEqual((131072, True), (config.limits.message_size, config.auth.anonymous))
        self.assertEqual(({"Alice": TOKEN}, "123"), (config.auth.tokens, config.auth.cookie))
        self.assertEqual("bytes", config.namespaces["chat"].payload)

    def test_variables_of_others_are_not_looked_at(self) -> None:
        others = {
            "PATH": "/bin",
            "REALTIME_SVCX": "1",
            "REALTIME_SVC_TOKEN": "the client's",
            "REALTIME_SVC_SERVICE_HOST": "10.0.0.1",
            "REALTIME_SVC_SERVICE_PORT": "8000",
            "REALTIME_SVC_SERVICE_PORT_HTTP": "8000",
            "REALTIME_SVC_PORT": "tcp://10.0.0.1:8000",
            "REALTIME_SVC_PORT_8000_TCP": "tcp://10.0.0.1:8000",
            "REALTIME_SVC_PORT_8000_TCP_ADDR": "10.0.0.1",
        }
        self.assertEqual(Config(), load(None, others))

    def test_byte_order_mark_is_passed_over(self) -> None:
        self.assertEqual(3, load(self.write(b"\xef\xbb\xbf[log]\nburst = 3\n"), {}).log.burst)


class PathTests(Case):
    """Relative paths are made absolute, from where they were written."""

    def test_path_in_the_file_starts_from_its_folder(self) -> None:
        for name in ("cert.pem", "key.pem"):
            self.write("", name)
        (self.folder / "schemas").mkdir()
        path = self.write("[tls]\ncertificate = 'cert.pem'\nkey = '../f/key.pem'\n[schemas]\nfolder = 'schemas'")
        os.symlink(self.folder, self.folder.parent / f"f-{self.folder.name}")
        path.write_text(path.read_text().replace("../f/", f"../f-{self.folder.name}/"))
        config = load(Path(os.path.relpath(path)), {})
        self.assertEqual(str(self.folder / "cert.pem"), config.tls.certificate)
        self.assertTrue(os.path.isabs(config.tls.key) and os.path.samefile(config.tls.key, self.folder / "key.pem"))
        self.assertEqual(str(self.folder / "schemas"), config.schemas.folder)

    def test_path_in_the_environment_starts_from_the_current_folder(self) -> None:
        passwords = self.write("", "passwords")
        environ = {"REALTIME_SVC_AUTH__PASSWORDS_FILE": os.path.relpath(passwords)}
        self.assertEqual(str(Path.cwd() / os.path.relpath(passwords)), self.loaded("", environ).auth.passwords_file)

    def test_every_key_that_names_a_file_is_resolved(self) -> None:
        """A key whose description begins like one of a file or a folder."""
        found = set()
        for key in configschema.known_keys():
            description = (configschema.find(key) or {}).get("description", "")
            if description.startswith(("PEM file", "File ", "Folder ", "Password file")):
                found.add(key)
        self.assertEqual(found, {*FILE_KEYS, *FOLDER_KEYS})


class GoodTests(Case):
    """What could be taken for a mistake and is none."""

    def test_good_files(self) -> None:
        for text in (
            "[listeners.a]\nport = 0\n[listeners.b]\nport = 0",
            "[listeners.public]\nhost = '127.0.0.1'\n[listeners.b]\nhost = '127.0.0.2'",
            "[listeners.public]\nenabled = false\n[listeners.b]",
            "[listeners.off]\nenabled = false\ntls = true",
            "[listeners.public]\nproxy_protocol = true\nproxy_sources = ['10.0.0.0/8', '::1']",
            "[websocket]\nping_interval = 0\nping_timeout = 30",
            "[http]\nallowed_origins = ['*', 'http://localhost:3000', 'https://[::1]:8443', 'capacitor://localhost']",
            "[http]\nallowed_origins = ['http://a.example:443', 'https://a.example:80', 'https://a.example:8443']",
            "[http]\nallowed_hosts = ['a.example', '127.0.0.1', '::1', '[::1]', 'under_score']",
            "[auth.jwt]\nalgorithms = ['RS256', 'ES256']\njwks_url = 'https://a.example/keys'",
            "[auth.jwt]\nalgorithms = ['RS256']\njwks_url = 'http://127.0.0.1:8080/keys'",
            "[namespaces.chat]\nsubscribe = []\npublish = ['anonymous', 'user:42', 'user:a b']",
            "[handlers]\nobject = 'package.module:Name.attribute'",
            "[auth]\ninsecure = true\n[auth.jwt]\nalgorithms = ['HS256']\nsecret = 'secret'",
            "[namespaces.a]\npublish = ['subscriber']\nread_history = ['anonymous']\nread_presence = ['user:1']",
            "[namespaces.a]\nrecovery = 'always'\npositioning = 'always'\nhistory_size = 1\nhistory_ttl = '1s'",
            "[namespaces.a]\nrecovery_mode = 'cache'\nhistory_size = 1\nhistory_ttl = '1s'",
            "[namespaces.a]\ndelta = true\npayload = 'bytes'\nrecovery = 'off'\nhistory_size = 1\nhistory_ttl = 1",
            f"[api.keys.back-end_1]\nhash = '{bad_configs.HASH}'\nscopes = []",
            f"[api.keys.a]\nhash = '{bad_configs.HASH}'\nscopes = ['batch', 'publish', 'history:chat:', 'subscribe:c']",
            "[webhooks]\nurl = 'https://a.example:8443/hook?x=1'\nsecret = 'sixteen-bytes-00'",
            "[webhooks]\nurl = 'http://127.0.0.1:8080/'\nsecret = 'sixteen-bytes-00'",
            "[webhooks]\nsecret = 'short'",
        ):
            self.loaded(text)
