"""Passwords: hashed elsewhere, a bounded number at a time, remembered for a while."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from realtime_svc.auth import password_keeper
from realtime_svc.auth.password_keeper import BAD_TTL, GOOD_TTL, MOST_JOBS, HashThreads, PasswordKeeper
from realtime_svc.auth.passwords import Cost, PasswordFile, PasswordHash, new_hash
from realtime_svc.errors import AuthenticationFailed
from realtime_svc.model import BasicCredential, Identity

CHEAP = Cost(10, 1, 1)
HASHES = {user: new_hash(f"password of {user}", CHEAP) for user in ("alice", "bob")}
ALICE = BasicCredential("alice", "password of alice")
WRONG = BasicCredential("alice", "wrong")
NOBODY = BasicCredential("mallory", "password of alice")


def file_of(**users: PasswordHash) -> PasswordFile:
    return PasswordFile(users, new_hash("of nobody", CHEAP))


class SlowHashes:
    """A `Defer` whose functions run when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[str], bool], str, Deferred[bool]]] = []
        self.count = 0

    def __call__(self, function: Callable[[str], bool], password: str, /) -> Deferred[bool]:
        answer: Deferred[bool] = Deferred()
        self.waiting.append((function, password, answer))
        self.count += 1
        return answer

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for function, password, answer in waiting:
            answer.callback(function(password))


class KeeperTests(SynchronousTestCase):
    """`PasswordKeeper` with hashes run by hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hashes = SlowHashes()
        self.keeper = PasswordKeeper(file_of(**HASHES), self.hashes, self.clock.seconds)

    def check(self, credential: BasicCredential) -> str:
        """What `authenticate` says: the user, or the cause."""
        try:
            return self.keeper.authenticate(credential).user
        except AuthenticationFailed as failure:
            return failure.cause

    def ask(self, credential: BasicCredential) -> str:
        """Prepare, let the hashes run, authenticate."""
        self.keeper.prepare(credential)
        self.hashes.run()
        return self.check(credential)

    def test_good_and_bad(self) -> None:
        """The right password gives the user; a wrong one and an unknown user fail alike, each for one hash."""
        self.assertEqual([self.ask(one) for one in (ALICE, WRONG, NOBODY)], ["alice", "password", "password"])
        self.assertEqual(self.hashes.count, 3)
        self.assertEqual(self.keeper.authenticate(ALICE), Identity("alice"))

    def test_unknown_user_costs_the_same(self) -> None:
        """The hash that is computed for nobody has the parameters of the others."""
        for credential in (WRONG, NOBODY):
            self.keeper.prepare(credential)
        costs = [function.__self__.cost for function, _, _ in self.hashes.waiting]  # type: ignore[attr-defined]
        self.assertEqual(costs, [CHEAP, CHEAP])

    def test_dummy_password_lets_nobody_in(self) -> None:
        """Even who guesses what the dummy was made of stays unknown."""
        self.assertEqual(self.ask(BasicCredential("mallory", "of nobody")), "password")

    def test_unprepared(self) -> None:
        """`authenticate` never computes."""
        self.assertEqual(self.check(ALICE), "unprepared")
        self.assertEqual(self.hashes.count, 0)

    def test_awaitable(self) -> None:
        """Several who ask for the same wait for one hash, and all are told when it is done."""
        waits = [self.keeper.prepare(ALICE) for _ in range(3)]
        told: list[None] = []
        for wait in waits:
            assert isinstance(wait, Deferred)
            wait.addCallback(told.append)
        self.assertEqual((self.hashes.count, told), (1, []))
        self.hashes.run()
        self.assertEqual(told, [None] * 3)
        self.assertIsNone(self.keeper.prepare(ALICE))

    def test_remembered_for_a_while(self) -> None:
        """Good results last a minute, bad ones some seconds, and then the hash is computed again."""
        self.ask(ALICE)
        self.ask(WRONG)
        self.clock.advance(BAD_TTL - 0.1)
        self.assertEqual([self.check(one) for one in (ALICE, WRONG)], ["alice", "password"])
        self.clock.advance(0.2)
        self.assertEqual([self.check(one) for one in (ALICE, WRONG)], ["alice", "unprepared"])
        self.clock.advance(GOOD_TTL)
        self.assertEqual(self.check(ALICE), "unprepared")
        self.assertEqual(self.ask(ALICE), "alice")
        self.assertEqual(self.hashes.count, 3)

    def test_overload(self) -> None:
        """More than so many at once fail, without a hash and without waiting; later they are heard again."""
        guesses = [BasicCredential("alice", f"guess {number}") for number in range(MOST_JOBS)]
        for guess in guesses:
            self.assertIsNotNone(self.keeper.prepare(guess))
        self.assertIsNone(self.keeper.prepare(ALICE))
        self.assertEqual((self.check(ALICE), self.hashes.count), ("overloaded", MOST_JOBS))
        self.hashes.run()
        self.clock.advance(1.1)
        self.assertEqual(self.ask(ALICE), "alice")

    def test_guesses_push_nobody_out(self) -> None:
        """The memory is bounded, and a flood of guesses doesn't cost a known user his place."""
        self.patch(password_keeper, "MOST_REMEMBERED", 4)
        self.ask(ALICE)
        for number in range(10):
            self.ask(BasicCredential("alice", f"guess {number}"))
        self.assertEqual(self.check(ALICE), "alice")
        self.assertEqual(self.check(BasicCredential("alice", "guess 0")), "unprepared")
        self.assertEqual(self.check(BasicCredential("alice", "guess 9")), "password")

    def test_failing_hash(self) -> None:
        """When the threads are gone or memory is short it is a failure to log in, and nobody waits for ever."""

        def refuse(_function: Callable[[str], bool], _password: str, /) -> Deferred[bool]:
            raise MemoryError

        keeper = PasswordKeeper(file_of(**HASHES), refuse, self.clock.seconds)
        self.assertIsNone(keeper.prepare(ALICE))
        failure = self.assertRaises(AuthenticationFailed, keeper.authenticate, ALICE)
        self.assertEqual(failure.cause, "password")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_new_file(self) -> None:
        """At once the old password is void, a removed user is out, a new one in; an unchanged line stays known."""
        for user in ("alice", "bob"):
            self.assertEqual(self.ask(BasicCredential(user, f"password of {user}")), user)
        self.assertEqual(self.ask(NOBODY), "password")
        changed = new_hash("new password", CHEAP)
        mallory = new_hash(NOBODY.password, CHEAP)
        again = PasswordHash(HASHES["bob"].cost, HASHES["bob"].salt, HASHES["bob"].digest)
        self.keeper.replace(file_of(alice=changed, bob=again, mallory=mallory))
        self.assertEqual(self.check(BasicCredential("bob", "password of bob")), "bob")
        self.assertEqual(self.ask(ALICE), "password")
        self.assertEqual(self.ask(BasicCredential("alice", "new password")), "alice")
        self.assertEqual(self.ask(NOBODY), "mallory")
        self.keeper.replace(file_of())
        self.assertEqual(self.check(BasicCredential("bob", "password of bob")), "unprepared")
        self.assertEqual(self.ask(BasicCredential("bob", "password of bob")), "password")

    def test_file_changes_during_a_hash(self) -> None:
        """The result counts for the file that is there at the end."""
        wait = self.keeper.prepare(ALICE)
        assert isinstance(wait, Deferred)
        self.keeper.replace(file_of(alice=new_hash("new password", CHEAP)))
        self.hashes.run()
        self.assertNoResult(wait)
        self.hashes.run()
        self.successResultOf(wait)
        self.assertEqual(self.check(ALICE), "password")


class ThreadTests(TestCase):
    """With the real threads."""

    async def test_real_threads(self) -> None:
        """A good and a bad password, hashed in threads of their own."""
        threads = HashThreads(reactor)  # type: ignore[arg-type]
        threads.start()
        self.addCleanup(threads.stop)
        keeper = PasswordKeeper(file_of(**HASHES), threads)
        for credential in (ALICE, WRONG):
            wait = keeper.prepare(credential)
            assert wait is not None
            await wait
        self.assertEqual(keeper.authenticate(ALICE), Identity("alice"))
        self.assertRaises(AuthenticationFailed, keeper.authenticate, WRONG)
