"""Microseconds a message: the JSON check, the schema check, and what jsonschema would take for the same.

    python bench/validation.py [SECONDS_PER_LINE]

The schemas are those of etc/schemas. `parse` is `core.payload.parse_json`; `check` is the schema check of the server;
`jsonschema` is the same verdict by the reference validator.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import referencing
from referencing.jsonschema import DRAFT202012

from realtime_svc.config import Namespace
from realtime_svc.core.payload import parse_json
from realtime_svc.errors import ReplyError
from realtime_svc.validation import load_schemas

FOLDER = Path(__file__).parent.parent / "etc" / "schemas"
USER = {"id": "u-5b3f0c6e", "name": "Ada Lovelace"}
LINE = {"id": "m-7d1e", "text": "See you at eight. " * 12, "user": USER, "sent": 1767225600000, "reply_to": None}
MESSAGES: dict[str, tuple[str, Any]] = {
    "typing": ("typing", {"typing": True, "user": USER}),
    "short message": ("message", {"text": "hello"}),
    "typical message": ("message", LINE),
    "message, 20 mentions": ("message", {**LINE, "mentions": [USER] * 20}),
    "message, 4000 characters": ("message", {"text": "x" * 4000}),
    "not valid": ("message", {**LINE, "user": {**USER, "admin": True}}),
    "not valid, 64 KiB": ("message", {"text": "a", "mentions": list(range(10000, 20500))}),
}


def microseconds(call: Callable[[], Any], seconds: float) -> float:
    """The best of 5 rounds, each of about a fifth of `seconds`."""
    count, took = 1, 0.0
    while took < seconds / 20:
        count *= 2
        took = timed(call, count)
    count = max(1, round(count * seconds / 5 / took))
    return min(timed(call, count) for _ in range(5)) / count * 1e6


def timed(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start


def references() -> referencing.Registry[Any]:
    documents = {path.relative_to(FOLDER).as_posix(): json.loads(path.read_text()) for path in FOLDER.rglob("*.json")}
    return referencing.Registry().with_resources(
        (f"https://example.com/{name}", DRAFT202012.create_resource(schema)) for name, schema in documents.items()
    )


def main(seconds: float) -> None:
    schemas = load_schemas(FOLDER, {"chat": Namespace(schema=True)})
    registry = references()
    sys.stdout.write(f"{'':26}{'bytes':>8}{'parse':>10}{'check':>10}{'jsonschema':>12}\n")
    for name, (event, value) in MESSAGES.items():
        data = json.dumps(value, separators=(",", ":")).encode()
        slow = jsonschema.Draft202012Validator({"$ref": f"https://example.com/chat/{event}.json"}, registry=registry)

        def check(event: str = event, value: Any = value) -> None:
            try:
                schemas.check("chat", event, value)
            except ReplyError:
                return

        figures = (
            microseconds(lambda data=data: parse_json(data), seconds),  # type: ignore[misc]
            microseconds(check, seconds),
            microseconds(lambda slow=slow, value=value: slow.is_valid(value), seconds),  # type: ignore[misc]
        )
        sys.stdout.write(f"{name:26}{len(data):>8}{figures[0]:>10.2f}{figures[1]:>10.2f}{figures[2]:>12.1f}\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.5)
