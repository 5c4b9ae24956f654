"""User code in the real process: what it can do, when it is called, and that its mistakes hurt nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from realtime_svc.client import Connection, connect
from tests.integration.raw_http import bearer, exchange, parse, post
from tests.integration.server import Server, reactor, start_server

ROOT = Path(__file__).resolve().parents[2]
USERS = ("alice", "bob", "slow", "denied", "broken", "messy")
CONFIG = "\n".join(
    [
        '[handlers]\nobject = "tests.integration.user_code:UserCode"',
        "[namespaces.closed]\nsubscribe = []\npublish = []",
        "[auth.tokens]",
        *(f'{user} = "{user}-token-0123456789"' for user in USERS),
    ]
)


def token(user: str) -> str:
    return f"{user}-token-0123456789"


class Talker:
    """A client that speaks JSON."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def say(self, *values: Any) -> None:
        for value in values:
            self.connection.send(json.dumps(value))

    async def hear(self) -> Any:
        return json.loads(str(await self.connection.receive()))

    async def closed(self) -> tuple[int, str]:
        return await self.connection.closed

    async def leave(self) -> None:
        self.connection.close()
        await self.connection.closed


class Case(TestCase):
    """A server with user code."""

    async def start(self, config: str = CONFIG, path: Path = ROOT) -> Server:
        self.server = await start_server(self, config, environ={"PYTHONPATH": str(path)})
        return self.server

    async def connect(self, user: str, path: str = "/raw/x") -> Talker:
        return Talker(await connect(reactor, self.server.url(path), token=token(user)))

    async def enter(self, user: str, path: str = "/raw/x") -> Talker:
        """Connect, and read the greetings."""
        talker = await self.connect(user, path)
        if path.startswith("/ws"):
            self.assertIn("hello", await talker.hear())
            greeting = {"message": "", "data": {"connected": user}}
        else:
            greeting = {"connected": user}
        self.assertEqual(greeting, await talker.hear())
        return talker

    async def watch(self) -> Talker:
        """One who hears what the user code writes into its log."""
        return await self.enter("bob", "/raw/log")


class AbilityTests(Case):
    """Each thing that user code may do, seen by a raw and by a plain client."""

    async def test_everything(self) -> None:
        await self.start()
        alice, bob = await self.enter("alice"), await self.enter("bob")
        plain = await self.enter("bob", "/ws?channel=x")
        self.assertEqual({"ok": "subscribe", "channel": "x"}, await plain.hear())

        alice.say({"reply": "to you"}, {"others": "to the channel"}, {"everybody_else": "to all"})
        self.assertEqual("to you", await alice.hear())
        self.assertEqual(["to the channel", "to all"], [await bob.hear(), await bob.hear()])
        self.assertEqual({"message": "x", "data": "to the channel"}, await plain.hear())
        self.assertEqual({"message": "", "data": "to all"}, await plain.hear())

        alice.say({"drop": "this"}, {"publish": {"channel": "x", "data": "by the server"}}, "as it is")
        self.assertEqual("by the server", await alice.hear())
        self.assertEqual(["by the server", "as it is"], [await bob.hear(), await bob.hear()])
        self.assertEqual("by the server", (await plain.hear())["data"])
        self.assertEqual("alice", (await plain.hear())["from"]["user"])

        plain.say({"publish": "x", "data": {"subscribe": "closed:y"}, "id": 1})
        self.assertEqual({"subscribed": "closed:y"}, await plain.hear())
        self.assertEqual({"ok": "publish", "channel": "x", "id": 1}, await plain.hear())
        alice.say({"publish": {"channel": "closed:y", "data": 1}}, {"reply": "done"})
        self.assertEqual("done", await alice.hear())
        self.assertEqual({"message": "closed:y", "data": 1}, await plain.hear())
        plain.say({"publish": "x", "data": {"unsubscribe": "x"}}, {"ping": 1})
        told = await plain.hear()
        self.assertEqual(("x", 2000), (told["unsubscribed"], told["code"]))
        self.assertEqual(["publish", "ping"], [(await plain.hear())["ok"], (await plain.hear())["ok"]])
        alice.say("not for plain", {"publish": {"channel": "closed:y", "data": 2}})
        self.assertEqual({"message": "closed:y", "data": 2}, await plain.hear())

        plain.say({"publish": "x", "data": {"close": [4001, "see you"]}})
        self.assertEqual({"bye": {"code": 4001, "reason": "see you", "reconnect": True}}, await plain.hear())
        alice.say({"close": [3503, "enough"]})
        self.assertEqual([(4001, "see you"), (3503, "enough")], [await plain.closed(), await alice.closed()])

    async def test_over_http(self) -> None:
        """A publication by POST passes through the same handler."""
        await self.start()
        bob = await self.enter("bob")
        for data, status, body in (
            ("as it is", 200, {"ok": "publish", "channel": "x"}),
            ({"drop": "this"}, 200, {"ok": "publish", "channel": "x"}),
            ({"publish": {"channel": "x", "data": "instead"}}, 200, {"ok": "publish", "channel": "x"}),
            ({"deny": "not here"}, 403, (103, "permission_denied", "not here", False)),
            ({"fail": "secret"}, 500, (100, "internal", "internal error", True)),
            ({"reply": 1}, 500, (100, "internal", "internal error", True)),
        ):
            request = post("/publish/x", json.dumps(data).encode(), bearer(token("alice")), "Connection: close")
            (response,) = parse(await exchange(self.server.port(), request))
            expected: Any = body
            if isinstance(body, tuple):
                keys = ("code", "cause", "message", "temporary")
                expected = {"error": {"status": status, **dict(zip(keys, body, strict=True))}}
            self.assertEqual((status, expected), (response.status, response.json()), data)
        self.assertEqual(["as it is", "instead"], [await bob.hear(), await bob.hear()])


class ConnectTests(Case):
    """After authentication, before the first command."""

    async def test_commands_wait_for_it(self) -> None:
        """Of a raw client, of a plain one, and of one that authenticates by message."""
        await self.start()
        watcher = await self.watch()
        for path in ("/raw/x", "/ws"):
            slow = await self.connect("slow", path)
            slow.say({"publish": "x", "data": 1})
            self.assertEqual({"waits": "slow"}, await watcher.hear())
            watcher.say({"open": "connect"})
            told = await slow.hear()
            if path == "/ws":
                self.assertIn("hello", told)
                told = (await slow.hear())["data"]
            self.assertEqual({"connected": "slow"}, told)
            if path == "/ws":
                self.assertEqual({"ok": "publish", "channel": "x"}, await slow.hear())
        late = Talker(await connect(reactor, self.server.url("/ws")))
        late.say({"auth": token("slow")}, {"ping": 1})
        await watcher.hear()
        watcher.say({"open": "connect"})
        told = [await late.hear() for _ in range(4)]
        self.assertEqual(["hello", "ok", "message", "ok"], [next(iter(message)) for message in told])

    async def test_denied(self) -> None:
        """3507, and `close` is not called for who was never let in."""
        await self.start()
        watcher = await self.watch()
        self.assertEqual((3507, "permission denied"), await (await self.connect("denied")).closed())
        plain = await self.connect("denied", "/ws")
        await plain.hear()
        self.assertEqual(3507, (await plain.hear())["bye"]["code"])
        self.assertEqual(3507, (await plain.closed())[0])
        late = Talker(await connect(reactor, self.server.url("/ws")))
        late.say({"auth": token("denied")}, {"publish": "log", "data": "I should not be here"})
        self.assertEqual(3507, (await late.closed())[0])
        await (await self.enter("alice")).leave()
        self.assertEqual({"closed": "alice", "code": 1000}, await watcher.hear())

    async def test_client_leaves_meanwhile(self) -> None:
        """It is let in when it has gone: `close` is called then, once."""
        await self.start()
        watcher = await self.watch()
        slow = await self.connect("slow")
        self.assertEqual({"waits": "slow"}, await watcher.hear())
        await slow.leave()
        await (await self.enter("alice")).leave()
        self.assertEqual({"closed": "alice", "code": 1000}, await watcher.hear())
        watcher.say({"open": "connect"})
        self.assertEqual({"closed": "slow", "code": 1000}, await watcher.hear())
        await (await self.enter("alice")).leave()
        self.assertEqual({"closed": "alice", "code": 1000}, await watcher.hear())


class OrderTests(Case):
    """Handlers that wait."""

    async def test_order_of_one_client_is_kept_while_others_go_on(self) -> None:
        await self.start()
        watcher, alice, bob = await self.watch(), await self.enter("alice"), await self.enter("bob")
        alice.say({"wait": "first"}, "second", {"wait": "third"}, "fourth")
        self.assertEqual({"waits": "alice"}, await watcher.hear())
        bob.say("meanwhile", {"reply": "mine"})
        self.assertEqual("mine", await bob.hear())
        bob.say({"open": "first"})
        self.assertEqual(["first is open", "second"], [await bob.hear(), await bob.hear()])
        bob.say({"open": "third"})
        self.assertEqual(["third is open", "fourth"], [await bob.hear(), await bob.hear()])
        self.assertEqual("meanwhile", await alice.hear())


class FailureTests(Case):
    """Exceptions are logged with their traceback, answered, and stay where they are."""

    async def test_in_each_handler(self) -> None:
        server = await self.start()
        watcher, alice = await self.watch(), await self.enter("alice")
        internal = {"code": 100, "message": "internal error", "temporary": True}

        alice.say({"fail": "message is broken"}, {"reply": "still here"})
        self.assertEqual([{"error": internal}, "still here"], [await alice.hear(), await alice.hear()])
        plain = await self.enter("bob", "/ws")
        plain.say({"publish": "x", "data": {"fail": "message is broken"}, "id": 7}, {"ping": 1})
        self.assertEqual({"error": internal, "on": "publish", "channel": "x", "id": 7}, await plain.hear())
        self.assertEqual({"ok": "ping"}, await plain.hear())

        broken = await self.connect("broken")
        self.assertEqual({"error": internal}, await broken.hear())
        self.assertEqual((3004, "internal error"), await broken.closed())
        late = Talker(await connect(reactor, server.url("/ws")))
        late.say({"auth": token("broken")}, {"publish": "log", "data": "I should not be here"})
        told = [next(iter(await late.hear())) for _ in range(4)]
        self.assertEqual((["hello", "ok", "error", "bye"], 3004), (told, (await late.closed())[0]))

        await (await self.enter("messy")).leave()
        self.assertEqual({"closed": "messy", "code": 1000}, await watcher.hear())
        watcher.say({"reply": "still here"})
        self.assertEqual("still here", await watcher.hear())
        for what in ("message", "connect", "close"):
            await server.process.when_printed(f"RuntimeError: {what} is broken")
        self.assertNotIn("Unhandled", server.process.output)

    async def test_close_is_called_once_however_it_ends(self) -> None:
        """By user code, or by the client."""
        await self.start()
        watcher = await self.watch()
        for message, code in (({"close": [4000, ""]}, 4000), ({"reply": 1}, 1000)):
            alice = await self.enter("alice")
            alice.say(message)
            if code == 1000:
                await alice.hear()
                alice.connection.close()
            await alice.closed()
            self.assertEqual({"closed": "alice", "code": code}, await watcher.hear())
        watcher.say({"reply": "nothing else"})
        self.assertEqual("nothing else", await watcher.hear())


class ExampleTests(Case):
    """examples/chat.py, as its first lines say to start it."""

    async def chat(self) -> tuple[Talker, Talker]:
        text = (ROOT / "examples" / "chat.toml").read_text()
        environ = {"PYTHONPATH": str(ROOT / "examples"), "REALTIME_SVC_INTERNAL__PORT": "0"}
        self.server = await start_server(self, text, "--port", "0", environ=environ, listeners="")
        alice = Talker(await connect(reactor, self.server.url("/raw/chat:lobby"), token="alice-of-the-example"))
        self.assertEqual({"welcome": "alice", "here": ["alice"]}, await alice.hear())
        bob = Talker(await connect(reactor, self.server.url("/raw/chat:lobby"), token="bob-of-the-example"))
        self.assertEqual({"welcome": "bob", "here": ["alice", "bob"]}, await bob.hear())
        self.assertEqual({"joined": "bob"}, await alice.hear())
        return alice, bob

    async def test_conversation(self) -> None:
        alice, bob = await self.chat()
        for said, heard in (
            ("hello", {"from": "alice", "text": "hello"}),
            ("/me waves", {"action": "alice waves"}),
            ("/nick Al", {"nick": "Al", "was": "alice"}),
            ("hello again", {"from": "Al", "text": "hello again"}),
        ):
            alice.say(said)
            self.assertEqual([heard, heard], [await alice.hear(), await bob.hear()], said)
        alice.say("/roll 20")
        self.assertIn((await bob.hear())["rolled"], range(1, 21))
        await alice.hear()
        alice.say("/all dinner is ready")
        self.assertEqual({"from": "Al", "text": "dinner is ready"}, await bob.hear())
        for said in ("Darn it", "/nick bob", "/roll 7", "/dance"):
            alice.say(said)
            self.assertEqual(103, (await alice.hear())["error"]["code"], said)
        alice.say({"not": "text"})
        self.assertEqual("say it as a string", (await alice.hear())["error"]["message"])
        alice.say("/quit")
        self.assertEqual((3503, "see you"), await alice.closed())
        self.assertEqual({"left": "Al"}, await bob.hear())

    async def test_who_else_may_talk(self) -> None:
        """Mallory is not let in; plain clients and HTTP take part; other channels are left alone."""
        alice, _ = await self.chat()
        mallory = await connect(reactor, self.server.url("/raw/chat:lobby"), token="mallory-of-the-example")
        self.assertEqual(3507, (await mallory.closed)[0])
        request = post("/publish/chat:lobby", b'"by post"', bearer("bob-of-the-example"), "Connection: close")
        (response,) = parse(await exchange(self.server.port(), request))
        self.assertEqual(200, response.status)
        self.assertEqual({"from": "bob", "text": "by post"}, await alice.hear())
        plain = Talker(await connect(reactor, self.server.url("/ws"), token="bob-of-the-example"))
        plain.say({"subscribe": "chat:other"}, {"publish": "chat:other", "data": {"any": "thing"}})
        told = [await plain.hear() for _ in range(6)]
        expected = ["hello", "message", "subscribed", "ok", "ok", "message"]
        self.assertEqual(expected, [next(iter(message)) for message in told])
        self.assertEqual(("chat:lobby", {"any": "thing"}), (told[2]["subscribed"], told[5]["data"]))
