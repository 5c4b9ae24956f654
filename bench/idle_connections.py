"""What an idle connection costs: holds N authenticated, subscribed connections on one server process.

    python bench/idle_connections.py [--connections 10000] [--tls] [--subscribe] [--json FILE]

The server runs on one core, this program on another. Memory is USS (what the process alone uses: Private_Clean and
Private_Dirty of /proc/PID/smaps_rollup): (with N connections - with none after a warm-up) / N. When all are up, one
message is published and every connection has to get it, so that none of them is dead weight.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import resource
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOKEN = "bench-token-0123456789"
CONFIG = """
[listeners.public]
host = "127.0.0.1"
port = 0
{wss}
[internal]
port = 0
[http]
head_timeout = "120s"
[limits]
connections_per_address = 0
connections_per_user = 0
[websocket]
ping_interval = "0s"
[auth.tokens]
bench = "{token}"
"""
WSS = """
[listeners.wss]
host = "127.0.0.1"
port = 0
tls = true
[tls]
certificate = "server.pem"
key = "server.key"
"""
TWISTD = "from twisted.scripts.twistd import run; run()"
REQUEST = (
    "GET /raw/bench HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n"
)


def pin(core: int) -> None:
    """Run on one core, where there are several."""
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[core % len(available)]})


def raise_descriptor_limit(needed: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(f"{needed} file descriptors are needed, the limit is {hard}: ulimit -n")


def uss(pid: int) -> int:
    """Bytes of memory that only this process uses."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(value) for value in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", text, re.MULTILINE))


def start_server(folder: Path, tls: bool) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """The server on core 0; returns it and its ports by listener."""
    if tls:
        from realtime_svc.devcert import make_dev_certificates

        made = make_dev_certificates(folder, ["localhost"])
        Path(made.certificate).rename(folder / "server.pem")
        Path(made.key).rename(folder / "server.key")
    config = folder / "server.toml"
    config.write_text(CONFIG.format(wss=WSS if tls else "", token=TOKEN))
    command = [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "realtime_svc", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, preexec_fn=lambda: pin(0))
    ports: dict[str, int] = {}
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"listening: (\S+) on \S+ port (\d+)", line):
            ports[match[1]] = int(match[2])
        if "realtime_svc ready" in line:
            return process, ports
    sys.exit("the server did not start")


def connect(port: int, context: ssl.SSLContext | None) -> socket.socket:
    """One WebSocket connection, opened and answered."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection = context.wrap_socket(plain, server_hostname="localhost") if context else plain
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(REQUEST.format(key=key, token=TOKEN).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(4096)
        if not data:
            sys.exit(f"refused: {answer!r}")
        answer += data
    if b" 101 " not in answer:
        sys.exit(f"refused: {answer!r}")
    return connection


def masked(payload: bytes) -> bytes:
    """A client's text frame, with a mask of zeros."""
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


def deliver(connections: list[socket.socket], payload: bytes) -> float:
    """The first publishes, all others have to receive; returns the seconds it took."""
    expected = bytes((0x81, len(payload))) + payload
    selector = selectors.DefaultSelector()
    for connection in connections[1:]:
        selector.register(connection, selectors.EVENT_READ)
    started = time.perf_counter()
    connections[0].sendall(masked(payload))
    missing = len(connections) - 1
    while missing:
        ready = selector.select(timeout=60)
        if not ready:
            sys.exit(f"{missing} connections did not get the message")
        for key, _ in ready:
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if connection.recv(len(expected)) != expected:
                sys.exit("a connection got something else")
            selector.unregister(connection)
            missing -= 1
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of idle connections.")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--warm-up", type=int, default=500)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raise_descriptor_limit(options.connections + 200)
    with tempfile.TemporaryDirectory() as folder:
        process, ports = start_server(Path(folder), options.tls)
        try:
            result = measure(process.pid, ports, options, Path(folder))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    print("\n".join(f"{name:<28}{value}" for name, value in result.items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(pid: int, ports: dict[str, int], options: argparse.Namespace, folder: Path) -> dict[str, object]:
    pin(1)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem")) if options.tls else None
    port = ports["wss" if options.tls else "public"]
    for warm in [connect(port, context) for _ in range(options.warm_up)]:
        warm.close()
    time.sleep(2)  # let the server see that they are gone
    before = uss(pid)
    started = time.perf_counter()
    connections = [connect(port, context) for _ in range(options.connections)]
    opening = time.perf_counter() - started
    time.sleep(2)
    after = uss(pid)
    took = deliver(connections, b'{"text":"one message to all of them"}')
    for connection in connections:
        connection.close()
    return {
        "connections held": len(connections),
        "transport": "wss" if options.tls else "ws",
        "bytes a connection (USS)": round((after - before) / len(connections)),
        "USS with none, MiB": round(before / 2**20, 1),
        "USS with all, MiB": round(after / 2**20, 1),
        "opened a second": round(len(connections) / opening),
        "one message to all, seconds": round(took, 3),
    }


if __name__ == "__main__":
    main()
