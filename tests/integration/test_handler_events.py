"""Every handler in the real process: what it is called for, and what its clients see of it, in two protocols."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from realtime_svc.client import connect
from tests.integration.server import (
    ALICE,
    LISTENERS,
    STOPPED,
    TOKENS,
    Server,
    reactor,
    spawn,
    start_server,
    write_config,
)
from tests.integration.test_handlers import Talker, token

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/handlers.md"
CONFIG = "\n".join(
    [
        '[handlers]\nobject = "tests.integration.user_events:Events"',
        "[namespaces.default]",
        "[namespaces.kept]\nhistory_size = 10\nhistory_ttl = 60\npresence = true",
        "[auth.tokens]",
        *(f'{user} = "{token(user)}"' for user in ("alice", "bob", "watcher")),
    ]
)
SUBSCRIBED = {"ok": "subscribe"}


class Sdk(Talker):
    """A client of the Centrifugo client protocol, JSON: one that connects, calls and says what it likes."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.heard: list[dict[str, Any]] = []

    async def hear(self) -> Any:
        """The next object; pings are answered."""
        while True:
            while not self.heard:
                frame = str(await self.connection.receive())
                self.heard += [json.loads(line) for line in frame.split("\n")]
            if message := self.heard.pop(0):
                return message
            self.connection.send("{}")


class Case(TestCase):
    async def start(self) -> Server:
        self.server = await start_server(self, CONFIG, environ={"PYTHONPATH": str(ROOT)})
        return self.server

    async def plain(self, user: str, path: str = "/ws") -> Talker:
        """A client on /ws that has heard everything it is told when it connects."""
        talker = Talker(await connect(reactor, self.server.url(path), token=token(user)))
        self.assertIn("hello", await talker.hear())
        self.assertEqual({"message": "", "data": {"said in": "connect"}}, await talker.hear())
        self.assertEqual({"message": "", "data": {"user": user, "data": None, "meta": None}}, await talker.hear())
        self.assertEqual("given", (await talker.hear())["subscribed"])
        self.assertEqual((102, "nowhere:x"), await self.refused(talker))
        return talker

    async def refused(self, talker: Talker) -> tuple[int, str]:
        told = await talker.hear()
        return told["error"]["code"], told["channel"]

    async def watcher(self) -> Talker:
        """One who hears of every end."""
        talker = await self.plain("watcher", "/ws?channel=log")
        self.assertEqual({"ok": "subscribe", "channel": "log"}, _without(await talker.hear(), "data"))
        return talker

    async def ask(self, talker: Talker, method: str, data: Any = None) -> Any:
        """Call, and return the answer: the data, or (number, message, temporary)."""
        talker.say({"call": method, "data": data, "id": method})
        told = await talker.hear()
        while told.get("id") != method:
            told = await talker.hear()
        if "error" in told:
            return tuple(told["error"][key] for key in ("code", "message", "temporary"))
        return told["data"]


def _without(told: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != key}


class CallTests(Case):
    async def test_calls(self) -> None:
        await self.start()
        alice = await self.plain("alice")
        for method, data, expected in (
            ("echo", {"a": [1, None, "é"]}, {"a": [1, None, "é"]}),
            ("echo", None, None),
            ("nothing", 1, (104, "method not found", False)),
            ("fail", [1234, "out of stock"], (1234, "out of stock", False)),
            ("fail", [400, "later", True], (400, "later", True)),
            ("fail", [200, "no such number"], (100, "internal error", True)),
            ("both", None, [["given", "mine"], ["given"]]),
        ):
            self.assertEqual(expected, await self.ask(alice, method, data), method)

    async def test_server_and_threads(self) -> None:
        """History, presence and clients; a publication from a thread, which waits for it."""
        await self.start()
        alice = await self.plain("alice")
        alice.say({"subscribe": "kept:x"})
        self.assertEqual(
            {"ok": "subscribe", "channel": "kept:x"},
            {k: v for k, v in (await alice.hear()).items() if k in ("ok", "channel")},
        )
        self.assertEqual({"fresh": True, "clients": 1}, await self.ask(alice, "from_thread", {"n": 1}))
        expected = {
            "history": [{"n": 1}],
            "offset": 1,
            "members": [["alice", {"role": "reader"}]],
            "counts": [1, 1],
            "here": ["alice"],
        }
        self.assertEqual(expected, await self.ask(alice, "look"))

    async def test_users(self) -> None:
        """Another user is subscribed, unsubscribed and disconnected; each is told, and so is user code."""
        await self.start()
        alice, bob, watcher = await self.plain("alice"), await self.plain("bob"), await self.watcher()
        self.assertIsNone(await self.ask(alice, "users"))
        self.assertEqual("made", (await bob.hear())["subscribed"])
        told = await bob.hear()
        self.assertEqual(("made", 2000), (told["unsubscribed"], told["code"]))
        self.assertEqual({"bye": {"code": 4500, "reason": "enough", "reconnect": False}}, await bob.hear())
        self.assertEqual((4500, "enough"), await bob.closed())
        told = [(await watcher.hear())["data"] for _ in range(2)]
        self.assertEqual({"unsubscribed": "bob", "channel": "made", "code": 2000}, told[0])
        self.assertEqual({"disconnected": "bob", "code": 4500}, told[1])


class SubscribeTests(Case):
    async def test_refused_and_granted(self) -> None:
        server = await self.start()
        alice = await self.plain("alice")
        for channel, error in (
            ("staff", {"code": 103, "message": "staff only", "temporary": False}),
            ("full", {"code": 1001, "message": "come back later", "temporary": True}),
            ("broken", {"code": 100, "message": "internal error", "temporary": True}),
        ):
            alice.say({"subscribe": channel})
            self.assertEqual(error, (await alice.hear())["error"])
        await server.process.when_printed("RuntimeError: subscribe is broken")
        alice.say({"subscribe": "x"}, {"unsubscribe": "x"}, {"unsubscribe": "x"})
        self.assertEqual(["subscribe", "unsubscribe", "unsubscribe"], [(await alice.hear())["ok"] for _ in range(3)])
        watcher = await self.watcher()
        alice.say({"subscribe": "y"}, {"unsubscribe": "y"})
        self.assertEqual({"unsubscribed": "alice", "channel": "y"}, _without((await watcher.hear())["data"], "code"))
        await alice.leave()
        self.assertEqual({"disconnected": "alice", "code": 1000}, (await watcher.hear())["data"])


class PublishTests(Case):
    async def test_changed_swallowed_and_spared(self) -> None:
        await self.start()
        alice, bob = await self.plain("alice"), await self.plain("bob")
        for talker in (alice, bob):
            talker.say({"subscribe": "x"})
            self.assertEqual("subscribe", (await talker.hear())["ok"])
        for data in ({"change": 1}, "drop", "others", "as it is"):
            alice.say({"publish": "x", "data": data})
        told = [await bob.hear() for _ in range(3)]
        self.assertEqual([{"changed": 1}, "others", "as it is"], [message["data"] for message in told])
        self.assertEqual({"by": "handler"}, told[0]["tags"])
        heard = [await alice.hear() for _ in range(6)]
        mine = [message["data"] for message in heard if "message" in message]
        self.assertEqual([{"changed": 1}, "as it is"], mine)
        self.assertEqual(4, sum(message.get("ok") == "publish" for message in heard))
        alice.say({"publish": "x", "data": "spoil"})
        self.assertEqual(107, (await alice.hear())["error"]["code"])


class SdkTests(Case):
    """The Centrifugo client protocol says more: data along with a connect, the answer, messages without a channel."""

    async def test_connect_and_messages(self) -> None:
        await self.start()
        sdk = Sdk(await connect(reactor, self.server.url("/connection/websocket"), token=token("alice")))
        sdk.say({"id": 1, "connect": {"data": {"device": 7}}})
        connected = (await sdk.hear())["connect"]
        self.assertEqual({"user": "alice", "data": {"device": 7}, "meta": None}, connected["data"])
        self.assertEqual({"given": {"from": "connect"}}, {name: one["data"] for name, one in connected["subs"].items()})
        self.assertEqual({"said in": "connect"}, (await sdk.hear())["push"]["message"]["data"])
        sdk.say({"send": {"data": "refuse"}}, {"send": {"data": "hello"}})  # to neither is there an answer
        self.assertEqual({"channel": "", "said": "hello"}, (await sdk.hear())["push"]["message"]["data"])
        sdk.say(
            {"id": 2, "subscribe": {"channel": "x", "data": [1]}},
            {"id": 3, "rpc": {"method": "echo", "data": {"a": 1}}},
        )
        self.assertEqual({"data": [1]}, (await sdk.hear())["subscribe"]["data"])
        self.assertEqual({"id": 3, "rpc": {"data": {"a": 1}}}, await sdk.hear())
        sdk.say(
            {"id": 4, "rpc": {"method": "nothing"}}, {"id": 5, "rpc": {"method": "fail", "data": [1001, "no", True]}}
        )
        self.assertEqual({"id": 4, "error": {"code": 104, "message": "method not found"}}, await sdk.hear())
        self.assertEqual({"id": 5, "error": {"code": 1001, "message": "no", "temporary": True}}, await sdk.hear())


class DocumentTests(TestCase):
    """The code of docs/handlers.md and of the examples does what it says."""

    async def test_handlers_of_the_documentation(self) -> None:
        text = DOCUMENT.read_text()
        code, config = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)[0] for kind in ("python", "toml"))
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "handlers.py").write_text(code)
        server = await start_server(self, config, environ={"PYTHONPATH": str(folder.absolute())})
        bob = Talker(await connect(reactor, server.url("/ws"), token="bob-of-the-documentation"))
        told = [await bob.hear() for _ in range(3)]
        self.assertEqual({"welcome": "bob"}, told[1]["data"])
        self.assertEqual("lobby", told[2]["subscribed"])
        bob.say({"subscribe": "staff"}, {"call": "count"}, {"call": "buy"}, {"call": "other"})
        told = [await bob.hear() for _ in range(5)]
        errors = [message["error"]["code"] for message in told if "error" in message]
        self.assertEqual([103, 1001, 104], errors)
        self.assertEqual([{"count": 1}, {"count": 1}], [message["data"] for message in told if "data" in message])
        for said in ("count", "darn it", "fine"):
            bob.say({"publish": "lobby", "data": said})
        told = [await bob.hear() for _ in range(5)]
        self.assertEqual(["**** it", "fine"], [message["data"] for message in told if "message" in message])

    async def test_service_of_the_documentation(self) -> None:
        """A .tac file that builds the service and publishes, as docs/publishing.md has it."""
        (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/publishing.md").read_text(), re.DOTALL)
        config = write_config(self, LISTENERS + TOKENS)
        (config.parent / "mine.tac").write_text(code)
        twistd = "from twisted.scripts.twistd import run; run()"
        process = spawn(
            self, [sys.executable, "-c", twistd, "-n", "--pidfile=", "-y", "mine.tac"], cwd=str(config.parent)
        )
        await process.when_printed("realtime_svc ready")
        server = Server(process, config.parent)
        alice = Talker(await connect(reactor, server.url("/raw/ticks"), token=ALICE))
        self.assertEqual(["seconds"], list(await alice.hear()))
        self.assertEqual(STOPPED, await server.stop())

    async def test_auction(self) -> None:
        config = (ROOT / "examples/auction.toml").read_text().replace("port = 8000", "port = 0")
        server = await start_server(
            self, config, environ={"PYTHONPATH": str(ROOT / "examples")}, listeners="[internal]\nport = 0\n"
        )
        alice, bob = [
            Talker(await connect(reactor, server.url("/ws"), token=f"{user}-of-the-example"))
            for user in ("alice", "bob")
        ]
        for talker in (alice, bob):
            await talker.hear()
        bob.say({"subscribe": "auction:lamp"}, {"subscribe": "auction:moon"}, {"publish": "auction:lamp", "data": 1})
        told = [await bob.hear() for _ in range(3)]
        self.assertEqual({"item": "lamp", "price": 10, "leader": None}, told[0]["data"])
        self.assertEqual([103, 103], [message["error"]["code"] for message in told[1:]])
        state = {"item": "lamp", "price": 12, "leader": "alice"}
        for data, expected in (
            ({"item": "lamp", "price": 12}, state),
            ({"item": "lamp", "price": 12}, 1001),
            ({"item": "moon", "price": 12}, 1000),
            ({"item": "lamp"}, 1002),
        ):
            alice.say({"call": "bid", "data": data})
            answer = await alice.hear()
            self.assertEqual(expected, answer["data"] if "data" in answer else answer["error"]["code"])
        self.assertEqual(state, (await bob.hear())["data"])
        alice.say({"call": "items"}, {"call": "else"})
        self.assertEqual({"lamp": 12, "chair": 25}, (await alice.hear())["data"])
        self.assertEqual(104, (await alice.hear())["error"]["code"])
