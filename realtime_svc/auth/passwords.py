"""The password file: one user a line, salted scrypt hashes (RFC 7914) in the PHC string format.

    line  = user ":" hash          blank lines and lines that start with "#" are passed over
    hash  = "$scrypt$ln=" int ",r=" int ",p=" int "$" salt "$" digest       standard base64 without padding

The file is best readable for the server's user only (`set_user` writes it so). One that everybody may read is accepted,
because secrets mounted into containers often are; one that everybody may write is refused.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from realtime_svc.auth.credentials import is_user
from realtime_svc.errors import ConfigError

KEY = "auth.passwords_file"

_PHC = re.compile(
    r"\$scrypt\$ln=(?P<ln>[1-9][0-9]?),r=(?P<r>[1-9][0-9]?),p=(?P<p>[1-9][0-9]?)"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<digest>[A-Za-z0-9+/]{22,86})",
    re.ASCII,
)
_MOST_MEMORY = 128 * 2**20
_MOST_WORK = 2**30


class Cost(NamedTuple):
    """What a hash costs: 2**ln rounds, block size, parallelism. Memory is 128 * r * 2**ln bytes."""

    ln: int
    r: int
    p: int

    @property
    def memory(self) -> int:
        return 128 * self.r << self.ln

    @property
    def acceptable(self) -> bool:
        """Enough to mean something, and not so much that one login stops the machine."""
        return self.ln >= 10 and self.memory <= _MOST_MEMORY and self.memory * self.p <= _MOST_WORK


DEFAULT_COST = Cost(14, 8, 5)  # 16 MiB; one of the equivalent settings of the OWASP password storage cheat sheet


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """One salted hash."""

    cost: Cost
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def matches(self, password: str) -> bool:
        """Hash `password` the same way and compare in constant time. Slow by design, outside of the GIL."""
        return hmac.compare_digest(_derive(password, self.cost, self.salt, len(self.digest)), self.digest)

    def __str__(self) -> str:
        return f"$scrypt$ln={self.cost.ln},r={self.cost.r},p={self.cost.p}${_encode(self.salt)}${_encode(self.digest)}"


def new_hash(password: str, cost: Cost = DEFAULT_COST) -> PasswordHash:
    """Hash a password with a fresh salt. The same as typed on any keyboard: Unicode form NFC (RFC 8265 4.2.2)."""
    salt = secrets.token_bytes(16)
    return PasswordHash(cost, salt, _derive(password, cost, salt, 32))


def hash_password(password: str, cost: Cost = DEFAULT_COST) -> str:
    """The text for the password file."""
    return str(new_hash(password, cost))


def parse_hash(text: str) -> PasswordHash:
    """Read what `hash_password` wrote. ValueError: not that, or a cost out of bounds."""
    match = _PHC.fullmatch(text)
    if match is None:
        raise ValueError("not a $scrypt$ hash")
    cost = Cost(int(match["ln"]), int(match["r"]), int(match["p"]))
    if not cost.acceptable:
        raise ValueError("the cost is out of bounds (ln at least 10, at most 128 MiB, r * 2^ln * p at most 2^23)")
    try:
        return PasswordHash(cost, _decode(match["salt"]), _decode(match["digest"]))
    except ValueError:
        raise ValueError("salt or digest is not base64") from None


def verify(text: str, password: str) -> bool:
    """Does `password` belong to the hash `text`? ValueError when that is no hash."""
    return parse_hash(text).matches(password)


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """Users and their hashes, and a hash that belongs to nobody, as costly as most of the others."""

    users: Mapping[str, PasswordHash] = field(repr=False)
    dummy: PasswordHash = field(repr=False)

    @classmethod
    def load(cls, path: str) -> PasswordFile:
        """Raises `ConfigError` naming file, line and reason, never what is in the line."""
        users: dict[str, PasswordHash] = {}
        for number, line in enumerate(_read(path), 1):
            if not line.strip() or line.startswith("#"):
                continue
            user, colon, text = line.partition(":")
            try:
                if not colon or not is_user(user):
                    raise ValueError("not a line of the form user:hash")
                if user in users:
                    raise ValueError("the user is there twice")
                users[user] = parse_hash(text)
            except ValueError as error:
                raise ConfigError(f"{path}:{number}", KEY, str(error)) from None
        costs = Counter(entry.cost for entry in users.values()).most_common(1)
        cost = costs[0][0] if costs else DEFAULT_COST
        return cls(users, PasswordHash(cost, secrets.token_bytes(16), secrets.token_bytes(32)))


def set_user(path: str, user: str, password: str, cost: Cost = DEFAULT_COST) -> None:
    """Add a user or change the password; the file is made if it is not there, and replaced at once (mode 0600).

    Raises `ConfigError` for a user name or password that can't be used and for a file that can't be read or written.
    """
    if not is_user(user) or user != user.strip() or ":" in user or user.startswith("#"):
        reason = "a user name has 1 to 255 bytes, no control characters or ':', no space around it, no '#' in front"
        raise ConfigError("", "user", reason)
    if not password:
        raise ConfigError("", "password", "is empty")
    entry = f"{user}:{hash_password(password, cost)}"

    def change(lines: list[str]) -> list[str]:
        at = [index for index, line in enumerate(lines) if line.partition(":")[0] == user]
        kept = [line for index, line in enumerate(lines) if index not in at]
        kept.insert(at[0] if at else len(kept), entry)
        return kept

    _rewrite(path, change)


def remove_user(path: str, user: str) -> bool:
    """Take a user out of the file; False: was not in it. Raises `ConfigError` as `set_user`."""
    removed = False

    def change(lines: list[str]) -> list[str]:
        nonlocal removed
        kept = [line for line in lines if line.startswith("#") or line.partition(":")[0] != user]
        removed = len(kept) < len(lines)
        return kept

    _rewrite(path, change)
    return removed


def _derive(password: str, cost: Cost, salt: bytes, length: int) -> bytes:
    typed = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    n, r, p = 1 << cost.ln, cost.r, cost.p
    limit = 128 * r * (n + p + 2) + 2**20
    return hashlib.scrypt(typed, salt=salt, n=n, r=r, p=p, maxmem=limit, dklen=length)


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _read(path: str) -> list[str]:
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise ConfigError(path, KEY, "everybody may write to this file; take that right away (chmod 600)")
            text = file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(path, KEY, "is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None
    return text.replace("\r\n", "\n").split("\n")


def _rewrite(path: str, change: Callable[[list[str]], list[str]]) -> None:
    """Replace the file by its changed lines in one step: a reader sees the old one or the new one."""
    target = Path(os.path.realpath(path))
    try:
        with _only_one(target.parent):
            lines = _read(str(target)) if target.exists() else []
            text = "\n".join([*change(lines[:-1] if lines and not lines[-1] else lines), ""])
            _replace(target, text.encode("utf-8"))
    except OSError as error:
        raise _unusable(path, error) from None


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two writers at once would lose the change of one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            if target.exists():
                # Run by root, the file must stay readable for the user the server runs as.
                owner = target.stat()
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _unusable(path: str, error: Exception) -> ConfigError:
    return ConfigError(path, KEY, getattr(error, "strerror", None) or "not a file name")
