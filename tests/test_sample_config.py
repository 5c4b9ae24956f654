"""What ships in etc/: the documented sample, the published schema, the configuration for conformance suites."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jsonschema
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import configschema
from realtime_svc.cli import configtext
from realtime_svc.config import Config, Namespace
from realtime_svc.configfile import load

ETC = Path(__file__).resolve().parent.parent / "etc"
SAMPLE = ETC / "realtime_svc.toml"
SCHEMA = ETC / "realtime_svc.schema.json"
HINT = "`realtime-svc config {} > {}` writes it anew"


class SampleTests(SynchronousTestCase):
    """etc/realtime_svc.toml"""

    def uncommented(self) -> str:
        """Every key switched on: a key's line begins with `#` and no space."""
        return re.sub(r"(?m)^#(?=[a-z_]+ = )", "", SAMPLE.read_text())

    def load(self, text: str) -> Config:
        path = Path(self.mktemp())
        path.write_text(text)
        return load(path, {})

    def test_file_is_what_the_types_say(self) -> None:
        self.assertEqual(configtext.sample(), SAMPLE.read_text(), HINT.format("sample", SAMPLE))

    def test_it_changes_nothing(self) -> None:
        self.assertEqual(Config(), load(SAMPLE, {}))

    def test_every_key_is_there_with_its_default(self) -> None:
        """Uncommented it loads to the defaults, and no key is missing in it."""
        text = self.uncommented()
        self.assertEqual(Config(), self.load(text))
        tables = tomllib.loads(text)
        for key in configschema.known_keys():
            if key[:2] not in (("auth", "tokens"), ("api", "keys")):
                table = tables
                for name in key:
                    self.assertIn(name, table, key)
                    table = table[name]

    def test_every_key_is_documented(self) -> None:
        lines = SAMPLE.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"#[a-z_]+ = ", line):
                self.assertTrue(lines[number - 1].startswith("# "), line)

    def test_lines_fit_a_screen(self) -> None:
        self.assertEqual([], [line for line in SAMPLE.read_text().splitlines() if len(line) > 120])


class SchemaTests(SynchronousTestCase):
    """etc/realtime_svc.schema.json"""

    def test_file_is_what_the_types_say(self) -> None:
        self.assertEqual(configtext.schema_text(), SCHEMA.read_text(), HINT.format("schema", SCHEMA))

    def test_it_is_a_schema_that_takes_the_sample_and_refuses_unknown_keys(self) -> None:
        schema = json.loads(SCHEMA.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        text = re.sub(r"(?m)^#(?=[a-z_]+ = )", "", SAMPLE.read_text())
        validator.validate(tomllib.loads(text))
        self.assertFalse(validator.is_valid({"limits": {"nope": 1}}))


class ConformanceTests(SynchronousTestCase):
    """etc/conformance.toml"""

    def test_what_a_conformance_suite_needs(self) -> None:
        config = load(ETC / "conformance.toml", {})
        public = config.listeners["public"]
        self.assertEqual(("127.0.0.1", 9001, False), (public.host, public.port, public.tls))
        everybody = ("anonymous",)
        expected = Namespace(payload="bytes", echo=True, subscribe=everybody, publish=everybody)
        self.assertEqual({"default": expected}, config.namespaces)
        limits = config.limits
        self.assertEqual((16 * 2**20 + 1024, 64 * 2**20), (limits.message_size, limits.queue_size))
        self.assertEqual((0, 0, 0), (limits.messages_per_second, limits.frames_per_second, limits.errors_per_minute))
        self.assertTrue(config.auth.anonymous and config.websocket.deflate.enabled)
        self.assertFalse(config.internal.enabled)


class EffectiveTests(SynchronousTestCase):
    """`config show`"""

    TEXT = """
        [listeners.wss]
        port = 8443
        host = "::1"
        [http]
        allowed_origins = ["https://a.example", "http://b.example:81"]
        head_timeout = 1.2345678901
        [limits]
        stall_timeout = "1500ms"
        message_size = 1025
        messages_per_second = 0.3333333333333333
        [auth]
        cookie = "a'b"
        [auth.jwt]
        issuer = "\\"quoted\\" \\\\ \\u0000\\u007f\\u2028 é \\n"
        [namespaces.chat]
        subscribe = ["user:a b"]
    """

    def test_it_loads_to_the_same(self) -> None:
        path, shown = Path(self.mktemp()), Path(self.mktemp())
        path.write_text(self.TEXT)
        config = load(path, {})
        self.assertNotEqual(Config(), config)
        shown.write_text(configtext.effective(config))
        self.assertEqual(config, load(shown, {}))

    def test_secrets_are_masked(self) -> None:
        path = Path(self.mktemp())
        secret = "c4f1ac7e0ab4fd0ac8bb3b0ac4bcac4f1a"
        path.write_text(
            f'[auth.tokens]\n"a b" = "{secret}"\n[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "{secret[::-1]}"'
        )
        text = configtext.effective(load(path, {}))
        self.assertNotIn(secret, text)
        self.assertNotIn(secret[::-1], text)
        self.assertIn('[auth.tokens]\n"a b" = "********"', text)
        self.assertIn('secret = "********"', text)
