"""The password file: its lines, its hashes, and how it is changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.auth.passwords import (
    Cost,
    PasswordFile,
    hash_password,
    parse_hash,
    remove_user,
    set_user,
    verify,
)
from realtime_svc.errors import ConfigError

CHEAP = Cost(10, 1, 1)

# RFC 7914 12, third vector: ln=14, r=8, p=1, salt "SodiumChloride", 64 bytes.
RFC_7914 = (
    "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$"
    "cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw"
)


class HashTests(SynchronousTestCase):
    """One line's hash."""

    def test_vector(self) -> None:
        """The published test vector verifies, and nothing near it."""
        self.assertTrue(verify(RFC_7914, "pleaseletmein"))
        self.assertFalse(verify(RFC_7914, "pleaseletmeIn"))

    def test_round_trip(self) -> None:
        """A hash verifies its password only; two hashes of one password differ."""
        first, second = hash_password("pässwörd", CHEAP), hash_password("pässwörd", CHEAP)
        self.assertNotEqual(first, second)
        self.assertTrue(verify(first, "pässwörd"))
        self.assertTrue(verify(second, "pa\u0308sswo\u0308rd"), "the same text as another keyboard types it")
        for other in ("", "passwort", "pässwörd ", "\ud800"):
            self.assertFalse(verify(first, other))
        self.assertEqual(str(parse_hash(first)), first)

    def test_default_cost(self) -> None:
        """What is written without further words is one of the strengths OWASP names."""
        self.assertTrue(hash_password("x").startswith("$scrypt$ln=14,r=8,p=5$"))

    def test_bad_hashes(self) -> None:
        """Other schemes, broken fields, and costs that would be worthless or would stop the machine."""
        good = hash_password("x", CHEAP)
        _, _, parameters, salt, digest = good.split("$")
        for text in (
            "", "x", "$scrypt$", good[:-30], good + "=", good + "$", good.replace("scrypt", "argon2id"), " " + good,
            f"$scrypt$ln=9,r=1,p=1${salt}${digest}", f"$scrypt$ln=20,r=8,p=1${salt}${digest}",
            f"$scrypt$ln=99,r=1,p=1${salt}${digest}", f"$scrypt$ln=14,r=8,p=99${salt}${digest}",
            f"$scrypt$ln=14,r=0,p=1${salt}${digest}", f"$scrypt$r=1,ln=10,p=1${salt}${digest}",
            f"$scrypt${parameters}$${digest}", f"$scrypt${parameters}${salt}$",
            f"$scrypt${parameters}$!{salt}${digest}",
            f"$scrypt$ln=\u0661\u0660,r=1,p=1${salt}${digest}", f"$scrypt${parameters}${'A' * 13}${digest}",
        ):  # fmt: skip
            self.assertRaises(ValueError, verify, text, "x")


class FileTests(SynchronousTestCase):
    """Loading and changing."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "passwords"

    def test_load(self) -> None:
        """Comments and blank lines are passed over; the dummy costs as much as most."""
        names = ("zoë", "b", "c")
        hashes = [hash_password("a", Cost(11, 1, 1)), hash_password("b", CHEAP), hash_password("c", CHEAP)]
        lines = ["# staff", "", *(f"{user}:{text}" for user, text in zip(names, hashes, strict=True)), "  "]
        self.path.write_text("\r\n".join(lines), encoding="utf-8", newline="")
        loaded = PasswordFile.load(str(self.path))
        found = [(user, str(entry)) for user, entry in loaded.users.items()]
        self.assertEqual(found, list(zip(names, hashes, strict=True)))
        self.assertEqual(loaded.dummy.cost, CHEAP)
        self.assertFalse(loaded.dummy.matches(""))

    def test_bad_lines(self) -> None:
        """The error names file and line and key, not what stands there."""
        good = f"alice:{hash_password('x', CHEAP)}"
        long = "é" * 128 + ":x"
        for line in ("bob", "bob:", "bob:canary", ":" + good, "b\x07b:" + good, good, "bob:$2b$canary", long):
            self.path.write_text(f"{good}\n# more\n{line}\n", encoding="utf-8")
            error = self.assertRaises(ConfigError, PasswordFile.load, str(self.path))
            self.assertEqual((error.where, error.key), (f"{self.path}:3", "auth.passwords_file"))
            self.assertNotIn("canary", str(error))
            self.assertNotIn("ln=", str(error))

    def test_bad_files(self) -> None:
        """Not there, a folder, not UTF-8, open to everybody's writing, an impossible name."""
        self.path.write_bytes(b"\xff:x")
        open_to_all = self.path.with_name("open")
        open_to_all.write_text("", encoding="utf-8")
        open_to_all.chmod(0o666)
        for path in (self.path, open_to_all, self.path.parent, self.path.with_name("none"), "nul\0"):
            error = self.assertRaises(ConfigError, PasswordFile.load, str(path))
            self.assertEqual((error.where, error.key), (str(path), "auth.passwords_file"))
            self.assertTrue(error.reason)

    def test_world_readable_is_accepted(self) -> None:
        """Mounted secrets often are."""
        set_user(str(self.path), "alice", "x", CHEAP)
        self.path.chmod(0o444)
        self.assertIn("alice", PasswordFile.load(str(self.path)).users)

    def test_set_user(self) -> None:
        """A new file, another user, a new password: others and comments stay in their places, the mode is 0600."""
        set_user(str(self.path), "alice", "one", CHEAP)
        self.path.write_text(f"# staff\n\n{self.path.read_text(encoding='utf-8')}", encoding="utf-8")
        self.path.chmod(0o644)
        set_user(str(self.path), "zoë", "two", CHEAP)
        before = self.path.read_text(encoding="utf-8").split("\n")
        set_user(str(self.path), "alice", "three", CHEAP)
        after = self.path.read_text(encoding="utf-8").split("\n")
        self.assertEqual((after[:2], after[3:]), (["# staff", ""], before[3:]))
        self.assertNotEqual(after[2], before[2])
        users = PasswordFile.load(str(self.path)).users
        self.assertTrue(users["alice"].matches("three") and users["zoë"].matches("two"))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(os.listdir(self.path.parent), ["passwords"])

    def test_file_without_newline_at_its_end(self) -> None:
        """The next user gets a line of his own."""
        self.path.write_text(f"alice:{hash_password('x', CHEAP)}", encoding="utf-8")
        set_user(str(self.path), "bob", "x", CHEAP)
        self.assertEqual(set(PasswordFile.load(str(self.path)).users), {"alice", "bob"})

    def test_through_a_link(self) -> None:
        """A symbolic link stays one."""
        set_user(str(self.path), "alice", "x", CHEAP)
        link = self.path.with_name("link")
        link.symlink_to("passwords")
        set_user(str(link), "bob", "x", CHEAP)
        self.assertTrue(link.is_symlink())
        self.assertEqual(set(PasswordFile.load(str(self.path)).users), {"alice", "bob"})

    def test_remove_user(self) -> None:
        """Says whether the user was there."""
        for user in ("alice", "bob"):
            set_user(str(self.path), user, "x", CHEAP)
        self.assertTrue(remove_user(str(self.path), "alice"))
        self.assertFalse(remove_user(str(self.path), "alice"))
        self.assertEqual(set(PasswordFile.load(str(self.path)).users), {"bob"})

    def test_refused_changes(self) -> None:
        """Names that would break the file, empty passwords, a folder that is not there: nothing is written."""
        for user in ("", "a:b", "#a", " a", "a ", "a\nb", "a" * 256):
            self.assertRaises(ConfigError, set_user, str(self.path), user, "x", CHEAP)
        self.assertRaises(ConfigError, set_user, str(self.path), "alice", "", CHEAP)
        missing = str(self.path / "none" / "passwords")
        self.assertEqual(self.assertRaises(ConfigError, set_user, missing, "alice", "x", CHEAP).where, missing)
        self.assertEqual(os.listdir(self.path.parent), [])

    def test_failure_leaves_the_old_file(self) -> None:
        """When the new file can't take the old one's place, the old one is whole and nothing is left over."""
        set_user(str(self.path), "alice", "x", CHEAP)
        before = self.path.read_bytes()

        def refuse(*_arguments: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "replace", refuse)
        error = self.assertRaises(ConfigError, set_user, str(self.path), "bob", "x", CHEAP)
        self.assertEqual(error.reason, "No space left on device")
        self.assertEqual((self.path.read_bytes(), os.listdir(self.path.parent)), (before, ["passwords"]))
