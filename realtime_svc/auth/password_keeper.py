"""Passwords, checked off the reactor's thread: slow hashes, a bounded number of them, and what they said remembered.

`prepare` computes, `authenticate` only looks up, so the handshake itself never waits (and an unknown user costs the
same hash as a known one). A result is bound to the hash in the file it came from: when the file changes, it is void.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from realtime_svc.auth.credentials import Cause, failed
from realtime_svc.auth.passwords import PasswordFile, PasswordHash
from realtime_svc.model import BasicCredential, Identity

GOOD_TTL = 60.0
BAD_TTL = 5.0
OVERLOADED_TTL = 1.0
MOST_REMEMBERED = 4096
MOST_JOBS = 16  # about two seconds of work for two threads: a handshake may take five


class Defer(Protocol):
    """Runs a function elsewhere; the Deferred fires in the reactor's thread with what it returned or raised."""

    def __call__(self, function: Callable[[str], bool], password: str, /) -> Deferred[bool]: ...


class HashThreads:
    """A `Defer` with two threads of its own, so that hashes never hold up name look-ups in the reactor's pool."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=2, name="password-hash")

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """Waits for the hashes under way: at most some tenths of a second."""
        self._pool.stop()

    def __call__(self, function: Callable[[str], bool], password: str, /) -> Deferred[bool]:
        return deferToThreadPool(self._reactor, self._pool, function, password)


class _Result(NamedTuple):
    record: PasswordHash | None
    failure: Cause | None
    until: float


class _Memory:
    """Results by digest; the oldest goes when there are too many."""

    __slots__ = ("_results",)

    def __init__(self) -> None:
        self._results: OrderedDict[bytes, _Result] = OrderedDict()

    def put(self, digest: bytes, result: _Result) -> None:
        self._results.pop(digest, None)
        self._results[digest] = result
        if len(self._results) > MOST_REMEMBERED:
            self._results.popitem(last=False)

    def get(self, digest: bytes, record: PasswordHash | None, now: float) -> _Result | None:
        result = self._results.get(digest)
        if result is None or result.record is not record or now >= result.until:
            return None
        return result


class PasswordKeeper:
    """Checks `BasicCredential`s against a password file.

    `defer` runs the hash; at most `MOST_JOBS` run or wait, further ones fail with the cause "overloaded". The same
    credential asked for by many at once is hashed once. Good and bad results are kept apart, so that guesses can't
    push out the users who are in.
    """

    __slots__ = ("_bad", "_defer", "_file", "_good", "_jobs", "_key", "_monotonic")

    def __init__(self, file: PasswordFile, defer: Defer, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._defer = defer
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._good = _Memory()
        self._bad = _Memory()
        self._jobs: dict[bytes, list[Deferred[None]]] = {}

    def replace(self, file: PasswordFile) -> None:
        """Use this file from now on. Users whose line did not change stay known."""
        same = {user: old for user, old in self._file.users.items() if file.users.get(user) == old}
        self._file = PasswordFile({**file.users, **same}, file.dummy)

    def prepare(self, credential: BasicCredential) -> Awaitable[None] | None:
        """Compute the hash unless its result is remembered. The awaitable never fails; ignoring it is harmless."""
        digest = self._digest(credential)
        if self._result(digest, credential.user) is not None:
            return None
        waiting = self._jobs.get(digest)
        if waiting is None:
            if len(self._jobs) >= MOST_JOBS:
                self._bad.put(digest, self._judged(credential.user, "overloaded", OVERLOADED_TTL))
                return None
            waiting = self._jobs[digest] = []
            self._compute(digest, credential)
            if digest not in self._jobs:
                return None
        answer: Deferred[None] = Deferred()
        waiting.append(answer)
        return answer

    def authenticate(self, credential: BasicCredential) -> Identity:
        """What `prepare` found out. Raises `AuthenticationFailed`: "password", "overloaded", "unprepared"."""
        result = self._result(self._digest(credential), credential.user)
        if result is None:
            raise failed("unprepared")
        if result.failure is not None:
            raise failed(result.failure)
        return Identity(credential.user)

    def _compute(self, digest: bytes, credential: BasicCredential) -> None:
        record = self._file.users.get(credential.user)
        tested = record if record is not None else self._file.dummy

        def finish(matches: bool | Failure) -> None:
            if self._file.users.get(credential.user) is not record:  # the file changed meanwhile
                self._compute(digest, credential)
                return
            if matches is True and record is not None:
                self._good.put(digest, _Result(record, None, self._monotonic() + GOOD_TTL))
            else:
                self._bad.put(digest, self._judged(credential.user, "password", BAD_TTL))
            for answer in self._jobs.pop(digest):
                answer.callback(None)

        maybeDeferred(self._defer, tested.matches, credential.password).addBoth(finish)

    def _judged(self, user: str, cause: Cause, ttl: float) -> _Result:
        return _Result(self._file.users.get(user), cause, self._monotonic() + ttl)

    def _result(self, digest: bytes, user: str) -> _Result | None:
        record, now = self._file.users.get(user), self._monotonic()
        good = self._good.get(digest, record, now) if record is not None else None
        return good or self._bad.get(digest, record, now)

    def _digest(self, credential: BasicCredential) -> bytes:
        # The colon can't be in a user's name (RFC 7617 2), so no two pairs give the same text.
        text = f"{credential.user}:{credential.password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
