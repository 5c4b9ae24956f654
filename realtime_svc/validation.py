"""Temporary: being written elsewhere."""
from typing import Any
class V:
    def check(self, namespace: str, event: str, value: Any) -> None: ...
def load_schemas(folder: Any, namespaces: Any) -> V:
    return V()
