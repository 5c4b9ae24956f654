"""What an SDK finds when it comes back: scenarios (`sdk_scenarios`) of broken networks, and a restarted server.

Each breaks the network with the stage's cable, for all clients behind it; so on one stage they run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.sdk import Client, Event
from tests.integration.sdk_scenarios import LONG_TEXT
from tests.integration.sdk_stage import Stage, token

PAGE = 300  # `streams.page`: what one recovery may bring


async def listener(stage: Stage, transport: str, channel: str, **options: object) -> tuple[Client, Event]:
    """A client behind the cable that has heard the first publication of a channel; and how it was subscribed."""
    user = f"listener-{transport}"
    client = await stage.client(transport, user, base=stage.cable.base, timeout=2000)
    subscribed = await client.subscribe(channel, recoverable=True, **options)
    stage.test.assertTrue(subscribed["recoverable"])
    await stage.publish(channel, ["before"])
    stage.test.assertEqual(["before"], await client.data(channel, 1))
    client.events.clear()
    return client, subscribed


async def cut(stage: Stage, *clients: Client) -> None:
    """Break the network; done when the clients have noticed."""
    await stage.cable.cut()
    for client in clients:
        await client.take("connecting")


async def expect(stage: Stage, client: Client, channel: str, values: list[object], *, recovered: bool) -> Event:
    """The client comes back to exactly these publications, then to one that is published now. Returns `subscribed`."""
    test = stage.test
    back = await client.take("subscribed", channel=channel)
    test.assertEqual((True, recovered), (back["wasRecovering"], back["recovered"]), client.name)
    await stage.publish(channel, ["after"])
    heard = [await client.take("publication", channel=channel) for _ in range(len(values) + 1)]
    test.assertEqual([*values, "after"], [one["data"] for one in heard], client.name)
    offsets = [one["offset"] for one in heard]
    test.assertEqual(list(range(offsets[0], offsets[0] + len(offsets))), offsets, client.name)
    test.assertNotIn("publication", client.kinds(), client.name)
    return back


async def network_broke(stage: Stage, transport: str) -> None:
    """All that was published meanwhile comes, in order, once; the second time too."""
    channel = f"all:broken-{transport}"
    client, _ = await listener(stage, transport, channel)
    for round_number in range(2):
        await cut(stage, client)
        missed: list[object] = [{"round": round_number, "number": number} for number in range(10)]
        await stage.publish(channel, missed)
        stage.cable.mend()
        await expect(stage, client, channel, missed, recovered=True)
    await client.disconnect()


async def nothing_missed(stage: Stage, transport: str) -> None:
    """Where nothing was published meanwhile, it is recovered all the same: no gap is signalled."""
    channel = f"all:quiet-{transport}"
    client, _ = await listener(stage, transport, channel)
    await cut(stage, client)
    stage.cable.mend()
    await expect(stage, client, channel, [], recovered=True)
    await client.disconnect()


async def deltas_recovered(stage: Stage, transport: str) -> None:
    """What is recovered in a channel with differences arrives whole, and so does what follows."""
    channel = f"delta:recovered-{transport}"
    client, _ = await listener(stage, transport, channel, delta="fossil")
    await cut(stage, client)
    missed: list[object] = [{"text": LONG_TEXT, "number": number} for number in range(4)]
    await stage.publish(channel, missed, delta=True)
    stage.cable.mend()
    await expect(stage, client, channel, missed, recovered=True)
    await client.disconnect()


async def history_trimmed(stage: Stage, transport: str) -> None:
    """Where the history does not hold all of it any more, none of it comes, and the client is told."""
    channel = f"small:trimmed-{transport}"
    client, _ = await listener(stage, transport, channel)
    await cut(stage, client)
    await stage.publish(channel, list(range(3)))
    stage.cable.mend()
    await expect(stage, client, channel, [], recovered=False)
    await cut(stage, client)
    await stage.publish(channel, [0, 1])  # as many as it holds
    stage.cable.mend()
    await expect(stage, client, channel, [0, 1], recovered=True)
    await client.disconnect()


async def history_removed(stage: Stage, transport: str) -> None:
    """The same where the history was removed while the client was away."""
    channel = f"all:removed-{transport}"
    client, _ = await listener(stage, transport, channel)
    await cut(stage, client)
    await stage.publish(channel, [1])
    await stage.api("history_remove", channel=channel)
    stage.cable.mend()
    await expect(stage, client, channel, [], recovered=False)
    await client.disconnect()


async def many_missed(stage: Stage, transport: str) -> None:
    """As many as one recovery may bring come, all; one more, and none comes."""
    channel = f"stream:many-{transport}"
    client, _ = await listener(stage, transport, channel)
    for count, recovered in ((PAGE, True), (PAGE + 1, False)):
        await cut(stage, client)
        missed: list[object] = list(range(count))
        await stage.publish(channel, missed)
        stage.cable.mend()
        await expect(stage, client, channel, missed if recovered else [], recovered=recovered)
    await client.disconnect()


async def server_restarted(stage: Stage, transports: Sequence[str]) -> None:
    """The memory of the server is gone: another epoch, nothing recovered, the clients are told."""
    channels = {transport: f"all:restarted-{transport}" for transport in transports}
    listeners = {transport: await listener(stage, transport, channel) for transport, channel in channels.items()}
    await stage.restart()
    for transport, (client, subscribed) in listeners.items():
        await client.take("connecting")
        back = await expect(stage, client, channels[transport], [], recovered=False)
        stage.test.assertNotEqual(subscribed["position"]["epoch"], back["position"]["epoch"])
        stage.test.assertEqual(0, back["position"]["offset"])
        await client.disconnect()


async def server_side_recovered(stage: Stage, transport: str) -> None:
    """Subscriptions that the server makes are recovered, too."""
    test, channel = stage.test, f"stream:served-again-{transport}"
    claims = token(f"served-again-{transport}", channels=[channel])
    client = await stage.driver.open(transport, stage.cable.base, token=claims, timeout=2000)
    await client.take("connected")
    made = await client.take("subscribed", channel=channel)
    test.assertTrue(made["recoverable"])
    await stage.publish(channel, ["before"])
    test.assertEqual(["before"], await client.data(channel, 1))
    client.events.clear()
    await cut(stage, client)
    missed: list[object] = list(range(5))
    await stage.publish(channel, missed)
    stage.cable.mend()
    await expect(stage, client, channel, missed, recovered=True)
    await client.disconnect()


RECOVERIES = (
    network_broke,
    nothing_missed,
    deltas_recovered,
    history_trimmed,
    history_removed,
    many_missed,
    server_side_recovered,
)
