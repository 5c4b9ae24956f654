"""SIGHUP: certificates, token keys, passwords and tokens are read again; what is bad is told, and the old one stays."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import TestCase

from realtime_svc.auth.passwords import set_user
from realtime_svc.client import ClientTls, ConnectionFailed, HandshakeRefused, client_tls, connect
from tests.client.pki import Authority, Key, new_key, pem, write_file
from tests.integration.server import ALICE, LISTENERS, Server, reactor, start_server, toml

SECURE = f'{LISTENERS}[listeners.secure]\nhost = "127.0.0.1"\nport = 0\ntls = true\n'
FOREVER = 4102444800  # 2100
GARBAGE = b"\x00 nothing useful"


class ReloadTests(TestCase):
    """A server whose files change under it."""

    def setUp(self) -> None:
        self.files = Path(self.mktemp()).absolute()
        self.files.mkdir(parents=True)
        self.reloads = 0

    def write_public(self, key: Key) -> str:
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return write_file(self.files, "jwt.pem", public)

    def write_certificate(self, authority: Authority) -> ClientTls:
        """Issue a certificate into the files that the configuration names; returns who trusts it."""
        authority.write(self.files, "server")
        return client_tls(write_file(self.files, f"{id(authority)}.pem", pem(authority.certificate)))

    def config(self, tokens: str) -> str:
        return f"""
[tls]
certificate = {toml(str(self.files / "server.pem"))}
key = {toml(str(self.files / "server-key.pem"))}
[auth]
passwords_file = {toml(str(self.files / "passwords"))}
[auth.jwt]
algorithms = ["ES256"]
key_file = {toml(str(self.files / "jwt.pem"))}
[auth.tokens]
{tokens}
"""

    async def reload(self, server: Server) -> str:
        """Send SIGHUP; returns what the server said about it."""
        self.reloads += 1
        before = len(server.process.output)
        server.process.signal(signal.SIGHUP)
        await server.process.when_printed(rf"(certificates (not )?reloaded[^\n]*\n[\s\S]*){{{self.reloads}}}")
        return server.process.output[before:]

    async def enters(self, server: Server, token: str | None = None, basic: tuple[str, str] | None = None) -> bool:
        try:
            connection = await connect(reactor, server.url("/raw/x"), token=token, basic=basic)
        except HandshakeRefused as refused:
            self.assertEqual(401, refused.status)
            return False
        connection.close()
        await connection.closed
        return True

    async def trusts(self, server: Server, tls: ClientTls) -> bool:
        try:
            connection = await connect(reactor, server.url("/raw/x", "secure", "wss"), token=ALICE, tls=tls)
        except ConnectionFailed as failed:
            self.assertIn("verify failed", str(failed))
            return False
        connection.close()
        await connection.closed
        return True

    async def test_everything_at_once(self) -> None:
        """New certificate, key, password and token are used; connections that are open go on with the old ones."""
        key = new_key()
        self.write_public(key)
        first = self.write_certificate(Authority("first"))
        passwords = str(self.files / "passwords")
        set_user(passwords, "pat", "old password")
        server = await start_server(self, self.config(f'alice = "{ALICE}"'), listeners=SECURE)
        token = jwt.encode({"sub": "jo", "exp": FOREVER}, key, "ES256")
        self.assertTrue(await self.enters(server, token) and await self.enters(server, basic=("pat", "old password")))
        old = await connect(reactor, server.url("/raw/x", "secure", "wss"), token=ALICE, tls=first)

        second = self.write_certificate(Authority("second"))
        next_key = new_key()
        self.write_public(next_key)
        set_user(passwords, "pat", "new password")
        config = server.folder / "server.toml"
        config.write_text(SECURE + self.config(f'alice = "{ALICE}"\nbob = "bob-token-0123456789"'))
        self.assertFalse(await self.trusts(server, second), "not before SIGHUP")
        said = await self.reload(server)
        self.assertIn("token keys reloaded", said)
        self.assertNotIn("not reloaded", said)

        next_token = jwt.encode({"sub": "jo", "exp": FOREVER}, next_key, "ES256")
        self.assertEqual((True, False), (await self.enters(server, next_token), await self.enters(server, token)))
        self.assertTrue(await self.enters(server, basic=("pat", "new password")))
        self.assertFalse(await self.enters(server, basic=("pat", "old password")))
        bob = await connect(reactor, server.url("/raw/x"), token="bob-token-0123456789")
        self.assertEqual((True, False), (await self.trusts(server, second), await self.trusts(server, first)))
        old.send('"still here"')
        self.assertEqual('"still here"', await bob.receive())

    async def test_bad_files(self) -> None:
        """Each is named in the log, one that is not there by its key; and everything that was good goes on."""
        key = new_key()
        self.write_public(key)
        tls = self.write_certificate(Authority("first"))
        set_user(str(self.files / "passwords"), "pat", "password")
        server = await start_server(self, self.config(f'alice = "{ALICE}"'), listeners=SECURE)
        token = jwt.encode({"sub": "jo", "exp": FOREVER}, key, "ES256")
        config = server.folder / "server.toml"
        for path, what, name in (
            (self.files / "jwt.pem", "token keys", "auth.jwt.key_file"),
            (self.files / "passwords", "token keys", "auth.passwords_file"),
            (self.files / "server.pem", "certificates", "tls.certificate"),
            (self.files / "server-key.pem", "certificates", "tls.key"),
            (config, "token keys", "is not valid TOML"),
        ):
            good = shutil.copy(path, self.files / "good")
            for content in (GARBAGE, None):
                path.write_bytes(content) if content else path.unlink()
                said = await self.reload(server)
                line = re.search(rf"ERROR .*{what} not reloaded, the old ones stay: (.*)", said)
                assert line is not None, said
                missing = "can't be read: No such file or directory"
                for part in (str(path), name) if content else ("" if path is config else name, missing):
                    self.assertIn(part, line[1])
                other = "certificates" if what == "token keys" else "token keys"
                if path is not config and content:
                    self.assertIn(f"{other} reloaded", said)
            self.assertTrue(await self.enters(server, token) and await self.enters(server, ALICE), path)
            self.assertTrue(await self.enters(server, basic=("pat", "password")) and await self.trusts(server, tls))
            shutil.copy(good, path)
        self.assertNotIn("not reloaded", await self.reload(server))
        self.assertNotIn("Traceback", server.process.output)
