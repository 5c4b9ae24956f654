"""What every SDK has to be able to do, over each of its transports. A scenario gets a stage and a transport; its
channels and users bear the transport's name, so that all can run at once on one server.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from tests.integration.sdk import Client, SdkError
from tests.integration.sdk_stage import Stage, subscription_token, token

Scenario = Callable[[Stage, str], Awaitable[None]]
OTHER = "websocket-json"  # how the other one speaks, whom a client talks with
LONG_TEXT = " ".join(f"word {number}" for number in range(200))


async def run(stage: Stage, scenarios: Sequence[Scenario], transports: Sequence[str]) -> None:
    """All scenarios over all transports at the same time. Fails with all that failed."""

    async def one(scenario: Scenario, transport: str) -> None:
        await scenario(stage, transport)

    pairs = [(scenario, transport) for scenario in scenarios for transport in transports]
    results: Any = await DeferredList([Deferred.fromCoroutine(one(*pair)) for pair in pairs], consumeErrors=True)
    failures = [
        f"{scenario.__name__} over {transport}, {place(result.value)}: {result.getErrorMessage()}"
        for (scenario, transport), (succeeded, result) in zip(pairs, results, strict=True)
        if not succeeded
    ]
    if failures:
        raise AssertionError("\n".join(failures))


def place(error: BaseException) -> str:
    """The line of a scenario where it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    return ", ".join(f"line {frame.lineno}" for frame in frames if Path(frame.filename).name.startswith("sdk_"))


async def refused(work: Awaitable[Any]) -> int:
    """The code of the error reply."""
    try:
        result = await work
    except SdkError as error:
        return error.code
    raise AssertionError(f"not refused: {result!r}")


async def conversation(stage: Stage, transport: str) -> None:
    """Two clients in one channel: what each says both hear, once, and from whom; and who comes and goes."""
    test, channel = stage.test, f"all:talk-{transport}"
    alice = await stage.client(transport, f"alice-{transport}", data={"hello": "grüße, \U0001f44b"})
    bob = await stage.client(OTHER, f"bob-{transport}")
    greeted = await alice.subscribe(channel, joinLeave=True, data=[1])
    test.assertEqual({"you sent": [1]}, greeted["data"])
    test.assertEqual(f"alice-{transport}", (await alice.take("join"))["info"]["user"])
    await bob.subscribe(channel, joinLeave=True)
    test.assertEqual(f"bob-{transport}", (await alice.take("join"))["info"]["user"])
    for number, (speaker, name) in enumerate(((alice, "alice"), (bob, "bob"), (alice, "alice"))):
        said = {"number": number, "text": "grüße, \U0001f44b", "list": [1.5, None, True]}
        await speaker.publish(channel, said)
        for hearer in (alice, bob):
            heard = await hearer.take("publication")
            test.assertEqual((said, number + 1), (heard["data"], heard["offset"]), hearer.name)
            test.assertEqual(f"{name}-{transport}", heard["info"]["user"], hearer.name)
    await presence(stage, alice, bob, channel, transport)
    await history(stage, alice, channel)
    await bob.act("unsubscribe", channel=channel)
    test.assertEqual(0, (await bob.take("unsubscribed"))["code"])
    test.assertEqual(f"bob-{transport}", (await alice.take("leave"))["info"]["user"])
    test.assertEqual({"clients": 1, "users": 1}, await alice.act("presenceStats", channel=channel))
    test.assertEqual(103, await refused(bob.publish(channel, 1)))
    test.assertEqual(0, (await alice.disconnect())["code"])
    await bob.disconnect()


async def presence(stage: Stage, alice: Client, bob: Client, channel: str, transport: str) -> None:
    there = sorted(await alice.act("presence", channel=channel), key=lambda one: str(one["user"]))
    stage.test.assertEqual([f"alice-{transport}", f"bob-{transport}"], [one["user"] for one in there])
    stage.test.assertNotEqual(there[0]["client"], there[1]["client"])
    stage.test.assertEqual({"clients": 2, "users": 2}, await bob.act("presenceStats", channel=channel))


async def history(stage: Stage, client: Client, channel: str) -> None:
    """The three publications of `conversation`, in all the ways one can ask."""
    test = stage.test
    everything = await client.history(channel, limit=-1)
    test.assertEqual(3, everything["offset"])
    test.assertTrue(everything["epoch"])
    epoch = everything["epoch"]
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"limit": -1}, [1, 2, 3]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 2, "reverse": True}, [3, 2]),
        ({"limit": 1, "since": {"offset": 1, "epoch": epoch}}, [2]),
        ({"limit": 10, "since": {"offset": 3, "epoch": epoch}, "reverse": True}, [2, 1]),
        ({"limit": 0}, []),
    ]
    for options, expected in cases:
        found = await client.history(channel, **options)
        test.assertEqual(expected, [one["offset"] for one in found["publications"]], options)
        test.assertEqual(expected, [one["data"]["number"] + 1 for one in found["publications"]], options)
        test.assertEqual((3, epoch), (found["offset"], found["epoch"]), options)
    test.assertEqual(112, await refused(client.history(channel, limit=1, since={"offset": 1, "epoch": "another"})))


async def calls(stage: Stage, transport: str) -> None:
    """Remote procedure calls and their errors, what is not available, and messages outside any channel."""
    test, channel = stage.test, f"closed:{transport}"
    client = await stage.client(transport, f"caller-{transport}")
    answer = await client.call("echo", {"number": 1, "text": "grüße"})
    test.assertEqual({"user": f"caller-{transport}", "data": {"number": 1, "text": "grüße"}}, answer)
    test.assertEqual(1000, await refused(client.call("refuse", None)))
    test.assertEqual(104, await refused(client.call("nothing of this name", None)))
    await client.subscribe(channel)
    test.assertEqual(103, await refused(client.publish(channel, 1)))
    test.assertEqual(102, await refused(client.publish("unknown:channel", 1)))
    test.assertEqual(108, await refused(client.act("presence", channel=channel)))
    test.assertEqual(108, await refused(client.history(channel, limit=1)))
    if stage.driver.name != "centrifuge-python":  # it can't send
        await client.act("send", data={"some": "thing"})
        test.assertEqual({"you said": {"some": "thing"}}, (await client.take("message"))["data"])
    await client.disconnect()


async def tokens(stage: Stage, transport: str) -> None:
    """What is no token ends it; one that has expired is renewed; one that expires is renewed while connected."""
    test, user = stage.test, f"user-{transport}"
    bad = await stage.driver.open(transport, stage.base, token=token(user) + "x")
    test.assertEqual(3500, (await bad.take("disconnected"))["code"])
    late = await stage.driver.open(transport, stage.base, token=token(user, lasts=-1), fetchesToken=True)
    await late.give_token(token(user))
    await late.take("connected")
    short = await stage.driver.open(transport, stage.base, token=token(user, lasts=2.5), fetchesToken=True)
    first = (await short.take("connected"))["session"]
    await short.give_token(token(user))
    answer = await short.call("echo", 1)
    test.assertEqual(user, answer["user"])
    test.assertNotIn("disconnected", short.kinds())
    test.assertEqual(["connecting"], [kind for kind in short.kinds() if kind == "connecting"], first)
    another = await stage.driver.open(transport, stage.base, token=token(user, lasts=2.5), fetchesToken=True)
    await another.take("connected")
    await another.give_token(token("somebody-else"))
    test.assertEqual(3500, (await another.take("disconnected"))["code"])
    for client in (late, short):
        await client.disconnect()


async def subscription_tokens(stage: Stage, transport: str) -> None:
    """A channel that takes a token of its own: without, with one that has expired, with one that expires."""
    test, user = stage.test, f"subscriber-{transport}"
    client = await stage.client(transport, user)

    def grant(channel: str, **more: Any) -> str:
        return subscription_token(user, channel, **more)

    await client.act("subscribe", channel="token:none", options={})
    test.assertEqual(103, (await client.take("unsubscribed", channel="token:none"))["code"])
    good = await client.subscribe("token:good", token=grant("token:good"))
    test.assertFalse(good["recoverable"])
    await client.act(
        "subscribe", channel="token:late", options={"token": grant("token:late", lasts=-1), "fetchesToken": True}
    )
    await client.give_token(grant("token:late"), "token:late")
    await client.take("subscribed", channel="token:late")
    await client.subscribe("token:short", token=grant("token:short", lasts=2.5), fetchesToken=True)
    await client.give_token(grant("token:short"), "token:short")
    await client.call("echo", None)  # after which the refresh has been answered
    await stage.publish("token:short", ["still here"])
    test.assertEqual(["still here"], await client.data("token:short", 1))
    await client.act("subscribe", channel="token:denied", options={"token": grant("token:denied"), "data": "denied"})
    test.assertEqual(103, (await client.take("unsubscribed", channel="token:denied"))["code"])
    await client.act("subscribe", channel="token:other", options={"token": grant("token:good")})
    test.assertEqual(3500, (await client.take("disconnected"))["code"])


async def kicks(stage: Stage, transport: str) -> None:
    """The server ends a subscription, makes one, sends a user away, and for good."""
    test, user, channel = stage.test, f"kicked-{transport}", f"all:kicks-{transport}"
    client = await stage.client(transport, user)
    await client.subscribe(channel)
    await stage.api("unsubscribe", user=user, channel=channel)
    test.assertEqual(2000, (await client.take("unsubscribed", channel=channel, server=False))["code"])
    await stage.api("subscribe", user=user, channel=channel, data={"from": "the server"})
    made = await client.take("subscribed", channel=channel, server=True)
    test.assertEqual({"from": "the server"}, made["data"])
    await stage.publish(channel, [{"text": "to whom the server subscribed"}])
    heard = await client.take("publication", channel=channel, server=True)
    test.assertEqual({"text": "to whom the server subscribed"}, heard["data"])
    await stage.api("unsubscribe", user=user, channel=channel)
    await client.take("unsubscribed", channel=channel, server=True)
    await client.take("connecting")
    await stage.api("disconnect", user=user, disconnect={"code": 4000, "reason": "come back"})
    away = await client.take("connecting")
    test.assertEqual((4000, "come back"), (away["code"], away["reason"]))
    await client.take("connected")
    await stage.api("disconnect", user=user)
    away = await client.take("disconnected")
    test.assertEqual((3503, "force disconnect"), (away["code"], away["reason"]))


async def server_side(stage: Stage, transport: str) -> None:
    """Subscriptions the client did not ask for: those of its token, and the channel of its user."""
    test, user = stage.test, f"served-{transport}"
    channels = [f"stream:served-{transport}", f"#{user}"]
    client = await stage.driver.open(transport, stage.base, token=token(user, channels=channels[:1]))
    await client.take("connected")
    for channel in channels:
        made = await client.take("subscribed", channel=channel, server=True)
        test.assertFalse(made["wasRecovering"])
        await stage.publish(channel, [{"to": channel}])
        heard = await client.take("publication", channel=channel, server=True)
        test.assertEqual({"to": channel}, heard["data"])
    await client.disconnect()


async def deltas(stage: Stage, transport: str) -> None:
    """Publications that travel as differences arrive whole."""
    channel = f"delta:{transport}"
    client = await stage.client(transport, f"reader-{transport}")
    await client.subscribe(channel, delta="fossil")
    published = [{"text": LONG_TEXT, "number": number, "more": "grüße" * number} for number in range(6)]
    await stage.publish(channel, published, delta=True)
    stage.test.assertEqual(published, await client.data(channel, len(published)))
    stage.test.assertEqual(len(published) - 1, await client.act("deltas", channel=channel))
    await client.disconnect()


async def filters(stage: Stage, transport: str) -> None:
    """Only what passes the filter of a subscription comes; where there may be none, the subscription is refused."""
    test, channel = stage.test, f"tagged:{transport}"
    client = await stage.client(transport, f"filterer-{transport}")
    wanted = {"op": "or", "nodes": [{"key": "color", "cmp": "eq", "val": "red"}, {"key": "last", "cmp": "ex"}]}
    await client.subscribe(channel, tagsFilter=wanted)
    for number, tags in enumerate(({"color": "blue"}, {"color": "red"}, {"color": "green"}, {"last": "1"})):
        await stage.api("publish", channel=channel, data=number, tags=tags)
    first, last = await client.take("publication"), await client.take("publication")
    test.assertEqual([1, 3], [first["data"], last["data"]])
    test.assertEqual([2, 4], [first["offset"], last["offset"]])
    test.assertEqual({"color": "red"}, first["tags"])
    await client.act("subscribe", channel=f"all:{transport}", options={"tagsFilter": wanted})
    test.assertEqual(107, (await client.take("unsubscribed"))["code"])
    await client.disconnect()


EVERYTHING: tuple[Scenario, ...] = (
    conversation,
    calls,
    tokens,
    subscription_tokens,
    kicks,
    server_side,
    deltas,
    filters,
)
