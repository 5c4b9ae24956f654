"""Does the time a bad token takes tell how much of it is right? Asks the keyring itself, in this process.

    python bench/timing.py [--count 10000] [--rounds 3]

For static tokens and for the signature of a JWT: `--count` tokens that are right but for the end, and as many random
ones of the same length, in random order. The two samples are compared by the Mann-Whitney U test (two-sided, normal
approximation with correction for ties). p below 0.01 in every round would say that they differ.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import hmac
import json
import math
import random
import secrets
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median

from twisted.internet.defer import succeed

from realtime_svc.auth.keyring import Keyring, build_keyring
from realtime_svc.config import Auth, Jwt
from realtime_svc.errors import AuthenticationFailed
from realtime_svc.model import BearerCredential

SECRET = "a shared secret for this measurement, 32 bytes and more"
STATIC = "static-token-of-a-user-0123456789"
ALPHABET = string.ascii_letters + string.digits + "-_"
THRESHOLD = 0.01


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signing_input() -> str:
    header = b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    return f"{header}.{b64(json.dumps({'sub': '42', 'exp': int(time.time()) + 3600}).encode())}"


def random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def static_near() -> str:
    """Right up to the last four characters."""
    return STATIC[:-4] + random_text(4)


def static_far() -> str:
    return random_text(len(STATIC))


def jwt_makers() -> tuple[Callable[[], str], Callable[[], str]]:
    """The same header and claims; a signature whose first 28 of 32 bytes are right, and a random one."""
    signed = signing_input()
    good = hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256)
    return (
        lambda: f"{signed}.{b64(good[:28] + secrets.token_bytes(4))}",
        lambda: f"{signed}.{b64(secrets.token_bytes(32))}",
    )


def refuse(keyring: Keyring, token: str) -> int:
    """Nanoseconds until a token is refused."""
    credential = BearerCredential(token)
    began = time.perf_counter_ns()
    try:
        keyring.authenticate(credential)
    except AuthenticationFailed:
        return time.perf_counter_ns() - began
    raise SystemExit("a bad token was taken")


def sample(
    keyring: Keyring, near: Callable[[], str], far: Callable[[], str], count: int
) -> tuple[list[int], list[int]]:
    """The times of both kinds, measured in random order."""
    jobs = [(0, near()) for _ in range(count)] + [(1, far()) for _ in range(count)]
    random.shuffle(jobs)
    times: tuple[list[int], list[int]] = ([], [])
    for _, token in jobs[:1000]:
        refuse(keyring, token)
    gc.disable()
    for kind, token in jobs:
        times[kind].append(refuse(keyring, token))
    gc.enable()
    return times


def mann_whitney(first: Sequence[int], second: Sequence[int]) -> float:
    """The two-sided p of the U test."""
    together = Counter(first) + Counter(second)
    ranks, below, ties = {}, 0, 0
    for value, times in sorted(together.items()):
        ranks[value] = below + (times + 1) / 2
        below += times
        ties += times**3 - times
    n, m, total = len(first), len(second), len(first) + len(second)
    u = sum(ranks[value] for value in first) - n * (n + 1) / 2
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    z = max(abs(u - n * m / 2) - 0.5, 0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="tokens of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="how often; noise does not repeat itself")
    options = parser.parse_args()
    auth = Auth(tokens={"alice": STATIC}, jwt=Jwt(algorithms=("HS256",), secret=SECRET))
    keyring = build_keyring(auth, lambda function, password: succeed(function(password)), time.time)
    differ = False
    for name, (near, far) in {"static token": (static_near, static_far), "JWT, HS256": jwt_makers()}.items():
        results = []
        for number in range(1, options.rounds + 1):
            close, random_ones = sample(keyring, near, far, options.count)
            p = mann_whitney(close, random_ones)
            results.append(p)
            medians = (
                f"median {median(close) / 1000:.2f} us (nearly right), {median(random_ones) / 1000:.2f} us (random)"
            )
            print(f"{name}, round {number}: {medians}, p = {p:.3f}")
        differ = differ or max(results) < THRESHOLD
    print("the times DIFFER" if differ else "no difference seen")
    sys.exit(differ)


if __name__ == "__main__":
    main()
