"""The soak: a real server in a process of its own, clients and publishers in this one (asyncio)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple, TextIO

import jwt

from tests.soak.api import Api
from tests.soak.clients import Client, Recorder
from tests.soak.records import ACK, PUBLISH, TOP

SECRET = "the secret of the soak, 32 bytes and more"
API_KEY = "the-key-of-the-soak"
SUBSCRIPTIONS = 3  # of each client
RESTLESS = 0.3  # of the clients come and go
STAY = 20.0  # seconds that they stay, at most
PUBLISHERS = 10  # over the API, and as many among the clients
ABSENT = "clients that did not arrive where the streams end"
ARRIVAL = 60.0  # seconds that everybody gets to be where the streams end
CONFIG = f"""
[listeners.public]
host = "127.0.0.1"
port = 0
[internal]
port = 0
[limits]
connections_per_address = 0
connections_per_user = 0
[auth.jwt]
algorithms = ["HS256"]
secret = "{SECRET}"
[api.keys.soak]
hash = "sha256:{hashlib.sha256(API_KEY.encode()).hexdigest()}"
[namespaces.long]
history_size = 10000
history_ttl = "300s"
recovery = "always"
positioning = "always"
[namespaces.short]
history_size = 2
history_ttl = "300s"
recovery = "always"
positioning = "always"
"""
_TWISTD = "from twisted.scripts.twistd import run; run()"
_LISTENING = re.compile(r"listening: (\S+) on \S+ port (\d+)")


class Options(NamedTuple):
    clients: int
    channels: int
    seconds: float
    rate: float

    def names(self) -> list[str]:
        """Of the channels: every tenth has a short history."""
        return [f"{'short' if number % 10 == 0 else 'long'}:{number}" for number in range(self.channels)]


def start_server(folder: Path) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """The server, and its ports by listener; what it logs goes to `server.log` in `folder`."""
    config, log = folder / "server.toml", folder / "server.log"
    config.write_text(CONFIG)
    command = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "realtime_svc", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if "realtime_svc ready" in line:
            threading.Thread(target=_keep, args=(process.stdout, text, log), daemon=True).start()
            return process, {name: int(port) for name, port in _LISTENING.findall(text)}
    sys.exit(f"the server did not start:\n{text}")


def _keep(output: IO[str], text: str, log: Path) -> None:
    """Write a log to its file until its process has ended."""
    with log.open("w") as file:
        file.write(text)
        for line in output:
            file.write(line)


async def soak(options: Options, folder: Path, file: TextIO) -> Counter[str]:
    """Run it, and record into `file`. Returns what was noted besides."""
    process, ports = start_server(folder)
    recorder = Recorder(file)
    apis = [Api(ports["internal"], API_KEY) for _ in range(PUBLISHERS)]
    clients = make_clients(options, f"ws://127.0.0.1:{ports['public']}/connection/websocket", recorder)
    running = [asyncio.ensure_future(client.run()) for client in clients]
    try:
        if not await wait_for(lambda: all(place.live for client in clients for place in client.places.values())):
            raise SystemExit(f"not all clients could subscribe: {dict(recorder.noted)}")
        await trouble(options, clients, apis, recorder)
        tops = await find_tops(options, apis[0], recorder)
        if not await wait_for(lambda: all(client.at(tops) for client in clients)):
            recorder.noted[ABSENT] = sum(not client.at(tops) for client in clients)
        for client in clients:
            client.stop()
        await asyncio.gather(*running)
    finally:
        for api in apis:
            api.close()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    return recorder.noted


def make_clients(options: Options, url: str, recorder: Recorder) -> list[Client]:
    names = options.names()
    clients = []
    for number in range(options.clients):
        name = f"c{number}"
        token = jwt.encode({"sub": name, "exp": int(time.time() + options.seconds) + 600}, SECRET, "HS256")
        channels = random.sample(names, min(SUBSCRIPTIONS, len(names)))
        client = Client(name, url, token, channels, recorder)
        client.pause = 0.0
        clients.append(client)
    return clients


async def trouble(options: Options, clients: list[Client], apis: list[Api], recorder: Recorder) -> None:
    """Publish, while some come and go; until the time is over."""
    until = time.monotonic() + options.seconds
    restless = random.sample(clients, round(RESTLESS * len(clients)))
    pause = 2 * PUBLISHERS / options.rate
    work = [come_and_go(client, until, options.seconds) for client in restless]
    work += [publish_by_api(f"api{number}", api, options, until, pause, recorder) for number, api in enumerate(apis)]
    work += [publish_by_clients(group, until, pause, recorder) for group in split(clients, PUBLISHERS)]
    await asyncio.gather(*work)


def split(clients: list[Client], parts: int) -> list[list[Client]]:
    return [group for group in (clients[part::parts] for part in range(parts)) if group]


async def come_and_go(client: Client, until: float, seconds: float) -> None:
    """Lose the connection again and again; one time in five stay away for long."""
    stay = min(STAY, seconds / 3)
    while True:
        for_now = random.uniform(0.0, stay)
        if time.monotonic() + for_now >= until:
            return
        await asyncio.sleep(for_now)
        client.pause = random.uniform(0.0, 0.5) if random.random() < 0.8 else random.uniform(0.0, stay / 2)
        client.drop(politely=random.random() < 0.5)


async def publish_by_api(name: str, api: Api, options: Options, until: float, pause: float, recorder: Recorder) -> None:
    names = options.names()
    while time.monotonic() < until:
        await asyncio.sleep(random.uniform(0.0, 2 * pause))
        channel, message = random.choice(names), recorder.new_message()
        recorder.note(PUBLISH, name, channel, note=message)
        result = await api.call("publish", channel=channel, data={"id": message})
        recorder.note(ACK, name, channel, epoch=result["epoch"], offset=result["offset"], note=message)


async def publish_by_clients(clients: list[Client], until: float, pause: float, recorder: Recorder) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(random.uniform(0.0, 2 * pause))
        client = random.choice(clients)
        if not await client.publish(random.choice(list(client.places)), recorder.new_message()):
            recorder.noted["publications by clients without an answer"] += 1


async def find_tops(options: Options, api: Api, recorder: Recorder) -> dict[str, tuple[str, int]]:
    """Where each stream ends."""
    tops = {}
    for channel in options.names():
        found = await api.call("history", channel=channel, limit=0)
        tops[channel] = found["epoch"], found["offset"]
        recorder.note(TOP, "", channel, epoch=found["epoch"], offset=found["offset"])
    return tops


async def wait_for(condition: Callable[[], bool]) -> bool:
    """Is it met within the time for that?"""
    until = time.monotonic() + ARRIVAL
    while not condition():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.1)
    return True
