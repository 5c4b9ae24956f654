"""How a client of a protocol with a handshake gets in and stays in: connect, expiry, refresh."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import errors
from realtime_svc.core import messages
from realtime_svc.core.messages import Connect, Connected, Failed, Message, Refresh, Subscribe
from realtime_svc.core.ports import Connecting
from realtime_svc.core.session import Session
from realtime_svc.core.state import State
from realtime_svc.errors import ConnectionClosing, ErrorCode, ReplyError
from realtime_svc.model import ANONYMOUS, Grant, Identity, Publication
from tests.core.talker import JOINING, NAMESPACES_FOR_ALL, Outcome, Talker, kinds, publish
from tests.fakes import ALICE, BOB, START, FakeHooks, World


class HandshakeTests(SynchronousTestCase):
    """The first command."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES_FOR_ALL)

    def test_nothing_comes_before_it(self) -> None:
        for command in (
            Subscribe("x", 1),
            messages.Publish("x", b"1", id=1),
            messages.Call("m", id=1),
            messages.Send(b"1"),
            messages.Pong(),
            Refresh("a", 1),
            Failed(ReplyError(ErrorCode.METHOD_NOT_FOUND), id=1),
        ):
            client = Talker(self.world, None)
            client.say(command)
            self.assertEqual(3501, client.closed, command)
            self.assertEqual(["Bye"], kinds(client.heard()), command)
        self.assertEqual([], self.world.fake_hooks.calls)

    def test_it_comes_once(self) -> None:
        for session in (Talker(self.world), Talker(self.world, identity=ALICE)):
            session.say(Connect("a", id=2))
            self.assertEqual(3501, session.closed)

    def test_it_comes_in_time(self) -> None:
        client, handshaken = Talker(self.world, None), Talker(self.world)
        self.world.pass_time(9.75)
        self.assertEqual(0, client.closed)
        self.world.pass_time(0.25)
        self.assertEqual((3502, 0), (client.closed, handshaken.closed))

    def test_time_that_user_code_takes_is_not_the_clients(self) -> None:
        self.world.fake_hooks.outcomes["connect"] = Deferred()
        client = Talker(self.world)
        self.world.pass_time(30)
        self.assertEqual(0, client.closed)

    def test_credentials(self) -> None:
        """Token (or identity of the request) and whether anonymous clients may come -> close or error, and user."""
        for token, identity, anonymous, closed, error, user in (
            ("a", None, False, 0, 0, "alice"),
            ("a", ALICE, False, 0, 0, "alice"),
            ("", ALICE, False, 0, 0, "alice"),
            ("b", ALICE, False, 3500, 0, None),
            ("a", ANONYMOUS, True, 0, 0, "alice"),
            ("wrong", None, True, 3500, 0, None),
            ("wrong", ALICE, False, 3500, 0, None),
            ("expired", None, True, 0, 109, None),
            ("expired", ALICE, False, 0, 109, None),
            ("", None, False, 3501, 0, None),
            ("", None, True, 0, 0, ""),
            ("nobody", None, False, 3507, 0, None),
            ("nobody", None, True, 0, 0, ""),
        ):
            world = World(anonymous=anonymous)
            client = Talker(world, None, identity=identity)
            answers = client.ask(Connect(token, id=1))
            case = (token, identity, anonymous)
            self.assertEqual(closed, client.closed, case)
            self.assertEqual([error] if error else [], [one.error.number for one in answers if isinstance(one, Failed)])
            connected = [one.client for one in answers if isinstance(one, Connected)]
            self.assertEqual([] if user is None else [client.session.id], connected, case)
            self.assertEqual(user is not None, client.session.state is State.OPEN, case)
            if user is not None:
                self.assertEqual(user, client.session.info.user, case)

    def test_after_an_error_nothing_is_heard(self) -> None:
        """109: the client closes and comes back with a new token. Who stays is closed as one that never came."""
        client = Talker(self.world, None)
        client.say(Connect("expired", id=1), Subscribe("x", 2))
        self.assertEqual(["Failed"], kinds(client.heard()))
        client.say(Connect("a", id=3), Subscribe("x", 4), messages.Pong())
        self.assertEqual(([], 0), (client.heard(), client.closed))
        self.assertEqual((), self.world.node.hub.subscribers("x"))
        self.world.pass_time(10)
        self.assertEqual(3502, client.closed)

    def test_answer(self) -> None:
        self.world.fake_hooks.connect_data = b'{"welcome":1}'
        client = Talker(self.world, None)
        (answer,) = client.ask(Connect("a", id=7))
        self.assertEqual(client.session.id, answer.client)
        self.assertTrue(answer.version)
        self.assertEqual((7, 25, None, b'{"welcome":1}'), (answer.id, answer.ping, answer.expires_in, answer.data))
        self.assertEqual(("", "", {}), (answer.session, answer.node, answer.subscriptions))

    def test_pings_of_the_transport_are_not_promised(self) -> None:
        (answer,) = Talker(self.world, None, frame_pings=True).ask(Connect("a", id=1))
        self.assertEqual(0, answer.ping)

    def test_emulated_one_is_named(self) -> None:
        client = Talker(self.world, None, emulated=True)
        (answer,) = client.ask(Connect("a", id=1))
        self.assertEqual(self.world.node.uid, answer.node)
        self.assertIs(client.session, self.world.node.emulated(answer.session))
        self.assertGreaterEqual(len(answer.session), 20, "nobody guesses it")
        client.leave()
        self.assertIs(None, self.world.node.emulated(answer.session))
        self.assertIs(None, self.world.node.emulated(""))

    def test_control_does_not_prolong_the_handshake(self) -> None:
        client = Talker(self.world, None, identity=ALICE)
        outcome = Outcome(self.world.node.control.refresh(user="alice", expire_at=START + 1000))
        self.assertTrue(outcome.done)
        self.world.pass_time(10)
        self.assertEqual(3502, client.closed)


class ConnectHandlerTests(SynchronousTestCase):
    """User code decides, and may take its time."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES_FOR_ALL)
        self.gate: Deferred[None] = Deferred()
        self.world.fake_hooks.outcomes["connect"] = self.gate

    def test_commands_wait_and_are_answered_in_order(self) -> None:
        client = Talker(self.world, None)
        client.say(Connect("a", id=1), Subscribe("x", 2))
        client.say(Subscribe("y", 3), messages.Publish("x", b"1", id=4))
        self.assertEqual([], client.heard())
        self.assertFalse(client.transport.reading)
        self.gate.callback(None)
        answers = [one.id for one in client.heard() if not isinstance(one, Message)]
        self.assertEqual([1, 2, 3, 4], answers)
        self.assertTrue(client.transport.reading)

    def test_denial(self) -> None:
        client = Talker(self.world, None)
        client.say(Connect("a", id=1), Subscribe("x", 2))
        self.gate.errback(ConnectionClosing(errors.PERMISSION_DENIED))
        self.assertEqual((3507, ["Bye"]), (client.closed, kinds(client.heard())))
        self.assertEqual([("connect", "alice")], self.world.fake_hooks.calls, "who never came in does not leave")

    def test_failure(self) -> None:
        client = Talker(self.world, None)
        client.say(Connect("a", id=1))
        self.gate.errback(ZeroDivisionError())
        self.assertEqual((3004, ["Bye"]), (client.closed, kinds(client.heard())))
        self.assertEqual(["a connect handler failed"], [what for what, _ in self.world.reports])

    def test_client_leaves_meanwhile(self) -> None:
        client = Talker(self.world, None)
        self.world.fake_hooks.connect_subscriptions = {"log:x": Grant()}
        client.say(Connect("a", id=1))
        client.leave()
        self.gate.callback(None)
        self.assertEqual([("connect", "alice"), ("close", 1006)], self.world.fake_hooks.calls)
        self.assertEqual(({}, {}, 0), (self.node.sessions, self.node.channels, self.world.instruments.subscriptions))

    @property
    def node(self) -> Any:
        return self.world.node.hub

    def test_token_runs_out_meanwhile(self) -> None:
        self.world.authenticator.tokens["short"] = Identity("alice", expires_at=START + 10)
        client = Talker(self.world, "short")
        self.world.pass_time(34.75)
        self.assertEqual(0, client.closed)
        self.world.pass_time(0.25)
        self.assertEqual(3005, client.closed)
        self.gate.callback(None)
        self.assertEqual(["Bye"], kinds(client.heard()))

    def test_server_api_does_not_see_who_is_not_in_yet(self) -> None:
        """Nothing is pushed before the answer to connect, nor to whom user code may still turn away."""
        client = Talker(self.world)
        control = self.world.node.control
        Outcome(control.subscribe(user="alice", channel="x", grant=Grant()))
        Outcome(control.unsubscribe(user="alice", channel="x"))
        Outcome(self.world.node.publishing.broadcast(b"1"))
        self.assertEqual(([], ()), (client.heard(), self.world.node.hub.subscribers("x")))

    def test_messages_of_user_code_follow_the_answer(self) -> None:
        class Greeting(FakeHooks):
            async def connect(self, session: Session, connecting: Connecting) -> None:
                connecting.said.append(Publication("", b'"hello"'))
                connecting.subscriptions["log:x"] = Grant()

        client = Talker(World(namespaces=NAMESPACES_FOR_ALL, hooks=Greeting()), None)
        self.assertEqual(["Connected", "Message", "Joined"], kinds(client.ask(Connect("a", id=1))))


class FrameTests(SynchronousTestCase):
    """Batches in, batches out."""

    def setUp(self) -> None:
        self.world = World(namespaces=NAMESPACES_FOR_ALL)
        self.client = Talker(self.world, None, dialect=JOINING)

    def test_answers_to_one_message_leave_in_one_frame(self) -> None:
        self.client.say(Connect("a", id=1), Subscribe("x", 2), Subscribe("log:x", 3), messages.Presence("x", 4))
        (frame,) = self.client.frames()
        self.assertEqual(["Connected", "Subscribed", "Subscribed", "Joined", "Failed"], kinds(frame))

    def test_push_comes_before_the_answer_to_its_publish(self) -> None:
        self.client.say(Connect("a", id=1), Subscribe("x", 2))
        self.client.frames()
        self.client.say(messages.Publish("x", b"1", id=3), messages.Publish("x", b"2", id=4))
        (frame,) = self.client.frames()
        self.assertEqual(["Message", "Published", "Message", "Published"], kinds(frame))

    def test_others_are_not_held_up(self) -> None:
        """What one message brings about for others leaves at once, each publication in its frame."""
        other = Talker(self.world, "b", dialect=JOINING)
        other.subscribe()
        self.client.say(Connect("a", id=1), messages.Publish("x", b"1", id=2), messages.Publish("x", b"2", id=3))
        self.assertEqual([["Message"], ["Message"]], [kinds(frame) for frame in other.frames()])

    def test_last_words_are_not_forgotten(self) -> None:
        """A message whose last command ends the connection: what came before is answered."""
        self.client.say(Connect("a", id=1), Subscribe("x", 2), Connect("a", id=3))
        self.assertEqual([["Connected", "Subscribed"], ["Bye"]], [kinds(frame) for frame in self.client.frames()])
        self.assertEqual(3501, self.client.closed)


class ExpiryTests(SynchronousTestCase):
    """A token that runs out in 60 seconds; the client gets 25 more to refresh it."""

    def setUp(self) -> None:
        self.world = World(anonymous=True)
        self.tokens = self.world.authenticator.tokens
        self.tokens["a"] = Identity("alice", expires_at=START + 60)
        self.client = Talker(self.world, None)
        (self.answer,) = self.client.ask(Connect("a", id=1))

    def test_time_left_is_told_and_grace_given(self) -> None:
        self.assertEqual(60, self.answer.expires_in)
        self.world.pass_time(84.75)
        self.assertEqual(0, self.client.closed)
        self.world.pass_time(0.25)
        self.assertEqual(3005, self.client.closed)

    def test_time_left_counts_whole_seconds_of_the_wall(self) -> None:
        """Not one less where the clock stands between two seconds, and never 0, which is for ever."""
        for now, expires_at, left in ((START + 0.9, START + 60, 60), (START, START + 0.5, 1), (START, START + 1.0, 1)):
            self.world.wall = now
            self.tokens["short"] = Identity("bob", expires_at=expires_at)
            (answer,) = Talker(self.world, None).ask(Connect("short", id=1))
            self.assertEqual(left, answer.expires_in)

    def test_refresh_moves_the_end(self) -> None:
        self.world.pass_time(70)
        self.tokens["newer"] = Identity("alice", info=b'"new"', expires_at=START + 200)
        (answer,) = self.client.ask(Refresh("newer", 2))
        self.assertEqual((2, 130, None), (answer.id, answer.expires_in, answer.channel))
        self.world.pass_time(130 + 24.75)
        self.assertEqual((0, b'"new"'), (self.client.closed, self.client.session.info.info))
        self.world.pass_time(0.25)
        self.assertEqual(3005, self.client.closed)

    def test_refresh_for_ever(self) -> None:
        self.tokens["lasting"] = ALICE
        (answer,) = self.client.ask(Refresh("lasting", 2))
        self.assertIs(None, answer.expires_in)
        self.world.pass_time(200)
        self.assertEqual(0, self.client.closed)

    def test_refresh_refused(self) -> None:
        self.tokens["b"] = BOB
        for token, code in (("b", 3500), ("wrong", 3500), ("nobody", 3500), ("expired", 3005), ("", 3501)):
            client = Talker(self.world)
            client.say(Refresh(token, 2))
            self.assertEqual((code, ["Bye"]), (client.closed, kinds(client.heard())), token)

    def test_anonymous_does_not_become_somebody(self) -> None:
        client = Talker(self.world, "nobody")
        client.say(Refresh("a", 2))
        self.assertEqual(3500, client.closed)

    def test_subscriptions_outlive_a_refresh(self) -> None:
        self.tokens["newer"] = Identity("alice", expires_at=START + 200)
        self.client.subscribe()
        self.client.ask(Refresh("newer", 3))
        publish(self.world, b"1")
        self.assertEqual([b"1"], self.client.published())
        self.assertEqual([("connect", "alice")], [call for call in self.world.fake_hooks.calls if call[0] == "connect"])

    def test_control_has_the_last_word(self) -> None:
        Outcome(self.world.node.control.refresh(user="alice", expire_at=START + 10, info=b"1"))
        self.assertEqual(b"1", self.client.session.info.info)
        self.world.pass_time(35)
        self.assertEqual(3005, self.client.closed)
