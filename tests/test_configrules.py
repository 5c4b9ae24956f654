"""What is said of a configuration that is allowed: warnings and notes. What is refused stands in `bad_configs`."""

from __future__ import annotations

from realtime_svc import configrules
from realtime_svc.config import Config
from tests import bad_configs
from tests.test_configfile import TOKEN, Case


class WarningTests(Case):
    """What is said at start: one line each, the key first."""

    def test_warnings(self) -> None:
        """Open doors, doors nobody can use, history that keeps nothing."""
        tokens = f"[auth.tokens]\nalice = '{TOKEN}'\n"
        development = ": for development only: everybody "
        webhook = "[webhooks]\nsecret = 'sixteen-bytes-00'\nurl = "
        shut = '"anonymous" lets only clients in that have credentials: auth.anonymous is false'
        cases: tuple[tuple[str, list[str]], ...] = (
            (tokens, []),
            ("[auth]\nanonymous = true", []),
            ("[auth]\ninsecure = true", [f"auth.insecure{development}may connect, and a JWT secret may be short"]),
            (
                tokens + "[api]\ninsecure = true\npublic = true",
                [
                    f"api.insecure{development}who reaches the port may use the server API",
                    "api.public: for development only: with api.insecure everybody on the public ports may use it",
                ],
            ),
            (tokens + "[api]\npublic = true", []),
            (tokens + "[api]\ninsecure = true\nenabled = false", []),
            (
                tokens + "[namespaces.a]\ninsecure = true\n[namespaces.b]\ninsecure = true",
                [f"namespaces.{name}.insecure{development}may do everything in its channels" for name in "ab"],
            ),
            (
                "[auth]\nanonymous = true\n[namespaces.a]\ninsecure = true",
                [f"namespaces.a.insecure{development}may do everything in its channels"],
            ),
            (
                tokens + "[namespaces.a]\nread_history = ['anonymous']\nread_presence = ['anonymous']",
                [f"namespaces.a.{key}: {shut}" for key in ("read_history", "read_presence")],
            ),
            (tokens + webhook + "'http://127.0.0.1/'", []),
            (tokens + webhook + "'http://localhost:80/'", []),
            (tokens + webhook + "'https://a.example/'", []),
            (
                tokens + webhook + "'http://a.example/'",
                ["webhooks.url: is not https: everybody on the way can read what is sent"],
            ),
            (
                tokens + "[namespaces.a]\nhistory_size = 5\n[namespaces.b]\nhistory_ttl = '1m'",
                [
                    f"namespaces.{key}: keeps nothing: it takes both history_size and history_ttl"
                    for key in ("a.history_size", "b.history_ttl")
                ],
            ),
        )
        for text, expected in cases:
            self.assertEqual(expected, configrules.warnings(self.loaded(text)), text)

    def test_no_line_repeats_a_secret(self) -> None:
        text = f"[auth]\ninsecure = true\n[auth.jwt]\nalgorithms = ['HS256']\nsecret = '{TOKEN}'\n"
        text += f"[webhooks]\nurl = 'http://a.example/{TOKEN}'\nsecret = '{TOKEN}'"
        lines = configrules.warnings(self.loaded(text))
        self.assertEqual(2, len(lines))
        self.assertNotIn(TOKEN, "".join(lines))

    def test_notes(self) -> None:
        """An API nobody can call is as it should be, but may surprise."""
        nobody = ["api: nobody can call the server API: api.keys is empty"]
        self.assertEqual(nobody, configrules.notes(Config()))
        for text in (
            "[api]\nenabled = false",
            "[api]\ninsecure = true",
            f"[api.keys.a]\nhash = '{bad_configs.HASH}'",
        ):
            self.assertEqual([], configrules.notes(self.loaded(text)), text)
