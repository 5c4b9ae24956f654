"""`realtime-svc token make`: the claims that can be asked for, on the command line."""

from __future__ import annotations

from realtime_svc.auth import strict_json
from realtime_svc.auth.jwt import split
from tests.cli.test_cli import JWT, Case


class TokenOptionTests(Case):
    def claims(self, *argv: str) -> dict[str, object]:
        """Those of a token that the server of `JWT` takes; its end and its date of issue left out."""
        path = self.write(JWT)
        made = self.run_command("token", "make", "alice", "--config", path, *argv)
        self.assertEqual((0, ""), (made.code, made.err), argv)
        explained = self.run_command("token", "explain", "--config", path, stdin=made.out)
        self.assertEqual(0, explained.code, explained.out)
        claims = strict_json.loads(split(made.out.strip()).claims)
        return {name: value for name, value in claims.items() if name not in ("exp", "iat")}

    def test_connection_token(self) -> None:
        argv = (
            "--info",
            "[1]",
            "--meta",
            '{"a": 1}',
            "--jti",
            "id-1",
            "--channels",
            "news,#alice",
            "--expire-at",
            "never",
        )
        expected = {
            "sub": "alice",
            "info": [1],
            "meta": {"a": 1},
            "jti": "id-1",
            "channels": ["news", "#alice"],
            "expire_at": 0,
        }
        self.assertEqual(expected, self.claims(*argv))
        self.assertEqual({"sub": "alice"}, self.claims())

    def test_subscription_token(self) -> None:
        claims = self.claims("--channel", "$secret", "--info", "{}", "--jti", "x", "--expire-at", "4102444800")
        expected = {"sub": "alice", "channel": "$secret", "info": {}, "jti": "x", "expire_at": 4102444800}
        self.assertEqual(expected, claims)

    def test_end_that_is_given_as_a_duration(self) -> None:
        path = self.write(JWT)
        made = self.run_command("token", "make", "alice", "--config", path, "--expire-at", "2h", "--expires", "1h")
        claims = strict_json.loads(split(made.out.strip()).claims)
        self.assertEqual(3600, claims["expire_at"] - claims["exp"])

    def test_subscription_token_is_explained(self) -> None:
        path = self.write(JWT)
        made = self.run_command("token", "make", "alice", "--config", path, "--channel", "news")
        explained = self.run_command("token", "explain", "--config", path, stdin=made.out)
        self.assertIn('verdict: accepted for a subscription of user "alice" to "news"\n', explained.out)

    def test_short_secret_of_an_insecure_server(self) -> None:
        path = self.write("[auth]\ninsecure = true\n[auth.jwt]\nalgorithms = ['HS256']\nsecret = 'secret'\n")
        made = self.run_command("token", "make", "alice", "--config", path)
        self.assertEqual((0, ""), (made.code, made.err))
        self.assertEqual(0, self.run_command("token", "explain", "--config", path, stdin=made.out).code)

    def test_what_cannot_be_made(self) -> None:
        path = self.write(JWT)
        for argv, code, reason in (
            (["--channel", "a b"], 78, "channel: is no channel name"),
            (["--channel", ""], 78, "channel: is no channel name"),
            (["--channels", "news,"], 78, "channel: is no channel name"),
            (["--channel", "news", "--channels", "chat"], 1, "--channel: a subscription token has neither"),
            (["--channel", "news", "--meta", "{}"], 1, "--channel: a subscription token has neither"),
            (["--meta", "[]"], 1, "--meta: must be a JSON object"),
            (["--meta", "{"], 1, "--meta: is not valid JSON"),
            (["--jti", "a\nb"], 78, "token: a claim is missing, of the wrong type, or out of range"),
            (["--info", '"' + "x" * 5000 + '"'], 78, "token: a claim is missing, of the wrong type, or out of range"),
            (["--expire-at", "soon"], 1, "--expire-at: must be a duration"),
            (["--expire-at", "-5"], 1, "--expire-at: must be a duration"),
            (["--expire-at", "1"], 78, "token: it has expired"),
            (["--expire-at", "9" * 400 + "h"], 1, "--expire-at: must be a duration"),
            (["--expires", "9" * 400 + "h"], 1, "--expires: must be a duration"),
        ):
            made = self.run_command("token", "make", "alice", "--config", path, *[f"{argv[0]}={argv[1]}", *argv[2:]])
            self.assertEqual((code, ""), (made.code, made.out), argv)
            self.assertIn(reason, made.err, argv)
            self.assertEqual(1, made.err.count("\n"), argv)
