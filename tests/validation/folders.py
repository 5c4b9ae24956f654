"""Schema folders for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial import unittest

from realtime_svc.config import Namespace
from realtime_svc.errors import ErrorCode, ReplyError
from realtime_svc.validation import Schemas, load_schemas

CHAT = {"chat": Namespace(schema=True)}
SHIPPED = Path(__file__).parents[2] / "etc" / "schemas"


class SchemaTestCase(unittest.SynchronousTestCase):
    """Writes schema folders and checks payloads."""

    def folder(self, files: Mapping[str, Any]) -> Path:
        """A new folder. A file's content is bytes, or a value that is written as JSON."""
        root = Path(self.mktemp()).resolve()
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return root

    def load(self, schema: Any, **others: Any) -> Schemas:
        """`schema` for event `message` of namespace `chat`; `others` are files at the top, by name without .json."""
        files = {"chat/message.json": schema} | {f"{name}.json": content for name, content in others.items()}
        return load_schemas(self.folder(files), CHAT)

    def verdict(self, schemas: Schemas, value: Any, event: str = "message") -> str:
        """The message of the error, or "" where there is none."""
        return verdict(schemas, value, event)


def verdict(schemas: Schemas, value: Any, event: str = "message") -> str:
    try:
        schemas.check("chat", event, value)
    except ReplyError as error:
        assert error.code is ErrorCode.BAD_REQUEST
        return error.message
    return ""
