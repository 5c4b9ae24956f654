"""Records what many clients that come and go are given by a real server, and checks it.

    python -m tests.soak [--clients 1000] [--channels 100] [--seconds 300] [--rate 100] [--records FILE] [--seed N]

Three in ten clients lose their connection again and again, politely or in the middle of a frame, and come back where
they were; some stay away for so long that a short history can't hold what they missed. Messages come from clients and
over the server API. At the end all come back, and everybody has to be where the streams end. Prints figures, and ends
with 0 when none of the promises was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.checker import check
from tests.soak.records import parse
from tests.soak.run import ABSENT, Options, soak


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many clients that come and go: is anything lost?")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second, in all channels together")
    parser.add_argument("--records", help="keep the recording in this file")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    return parser.parse_args()


def main() -> None:
    given = arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    random.seed(given.seed)
    print(f"{given.clients} clients, {given.channels} channels, {given.seconds:g} s, seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(given.records or Path(folder) / "records.tsv")
        options = Options(given.clients, given.channels, given.seconds, given.rate)
        started = time.monotonic()
        with path.open("w", encoding="utf-8") as file:
            noted = asyncio.run(soak(options, Path(folder), file))
        print(f"recorded in {time.monotonic() - started:.0f} s", flush=True)
        with path.open(encoding="utf-8") as lines:
            figures = check(map(parse, lines))
    for what, count in sorted(noted.items()):
        print(f"{count:10,} {what}")
    print(figures)
    sys.exit(not figures.good or bool(noted[ABSENT]))


if __name__ == "__main__":
    main()
