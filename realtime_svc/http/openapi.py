"""The OpenAPI 3.1 document of the server API, made from the types that decode and encode it."""

from __future__ import annotations

from typing import Any

import msgspec

from realtime_svc.http import api_types as types
from realtime_svc.http.api import BATCH, REFUSED, RETRY_AFTER, STATUS
from realtime_svc.http.api_methods import METHODS, Method

REF = "#/components/schemas/{name}"

DESCRIPTION = """\
Names of methods and fields are those of the Centrifugo server API, so its libraries work here (not affiliated).

A call is answered with status 200 and either `result` or `error`. With `X-Centrifugo-Error-Mode: transport` an error
has a status of its own instead. 400 (malformed), 401 (key), 404 (method), 413 (too big) and 503 (shutting down) are
always real. Integers are written without a fraction: 5, not 5.0. The key may also come as `Authorization: apikey <key>`
or `Authorization: Bearer <key>`.
"""

_POSITION = {"offset": 7, "epoch": "rTqY"}
_CLIENT = {"client": "7f1c2a", "user": "42", "conn_info": {"name": "Ada"}}

# For each method a request, and what answers it.
EXAMPLES: dict[str, tuple[Any, Any]] = {
    "publish": ({"channel": "chat:lobby", "data": {"text": "hello"}}, {"result": _POSITION}),
    "broadcast": (
        {"channels": ["chat:lobby", "no:where"], "data": "hello", "tags": {"event": "notice"}},
        {"result": {"responses": [{"result": _POSITION}, {"error": {"code": 102, "message": "unknown channel"}}]}},
    ),
    "subscribe": (
        {"user": "42", "channel": "chat:lobby", "data": {"why": "invited"}, "override": {"presence": {"value": False}}},
        {"result": {}},
    ),
    "unsubscribe": ({"user": "42", "channel": "chat:lobby"}, {"result": {}}),
    "disconnect": ({"user": "42", "disconnect": {"code": 3503, "reason": "banned"}}, {"result": {}}),
    "refresh": ({"user": "42", "expire_at": 1893456000}, {"result": {}}),
    "revoke": ({"token_id": "b1a7"}, {"result": {}}),
    "presence": ({"channel": "chat:lobby"}, {"result": {"presence": {"7f1c2a": _CLIENT}}}),
    "presence_stats": ({"channel": "chat:lobby"}, {"result": {"num_clients": 3, "num_users": 2}}),
    "history": (
        {"channel": "chat:lobby", "limit": 10, "since": {"offset": 6, "epoch": "rTqY"}},
        {"result": {"publications": [{"data": {"text": "hello"}, "offset": 7, "info": _CLIENT}], **_POSITION}},
    ),
    "history_remove": ({"channel": "chat:lobby"}, {"result": {}}),
    "channels": ({"pattern": "chat:*"}, {"result": {"channels": {"chat:lobby": {"num_clients": 3}}}}),
    "info": (
        {},
        {
            "result": {
                "nodes": [
                    {
                        "uid": "5d0c",
                        "name": "host-1",
                        "version": "1.0.0",
                        "num_clients": 3,
                        "num_users": 2,
                        "num_channels": 1,
                        "num_subs": 3,
                        "uptime": 3600,
                    }
                ]
            }
        },
    ),
    BATCH: (
        {"commands": [{"publish": {"channel": "chat:lobby", "data": 1}}, {"presence": {"channel": "quiet"}}]},
        {"replies": [{"publish": _POSITION}, {"error": {"code": 108, "message": "not available"}}]},
    ),
}

_REASONS = {
    400: "The body is malformed.",
    401: "There is no valid key.",
    404: "There is no such method.",
    413: "The body is too big (`api.body_size`).",
    503: "The server is shutting down; nothing was done.",
}


def document(version: str) -> dict[str, Any]:
    """The whole document, as JSON values. `version` is that of the server."""
    paths = {f"/{method.name}": {"post": _operation(method)} for method in METHODS.values()}
    paths[f"/{BATCH}"] = {"post": _batch_operation()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "realtime_svc server API", "version": version, "description": DESCRIPTION},
        "servers": [{"url": "/api"}],
        "security": [{"ApiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "ApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "Made by `realtime-svc api-key`.",
                }
            },
            "parameters": {
                "ErrorMode": {
                    "name": "X-Centrifugo-Error-Mode",
                    "in": "header",
                    "description": "`transport`: an error of the method has a status of its own instead of 200.",
                    "schema": {"type": "string"},
                    "example": "transport",
                }
            },
            "responses": {f"Status{status}": _failure(status, text) for status, text in sorted(_statuses().items())},
            "schemas": _schemas(),
        },
    }


def encoded(version: str) -> bytes:
    """The document as it is served and kept in etc/openapi.json."""
    return msgspec.json.format(msgspec.json.encode(document(version)), indent=2) + b"\n"


def _ref(name: str) -> dict[str, str]:
    return {"$ref": REF.format(name=name)}


def _operation(method: Method) -> dict[str, Any]:
    return _post(method.name, method.summary, method.request, _answer_name(method), sorted(_statuses()))


def _batch_operation() -> dict[str, Any]:
    return _post(BATCH, "Several commands in one request.", types.BatchRequest, "BatchResponse", sorted(_REASONS))


def _post(name: str, summary: str, request: type, answer: str, statuses: list[int]) -> dict[str, Any]:
    asked, answered = EXAMPLES[name]
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(request.__name__), "example": asked}},
        },
        "responses": {
            "200": {
                "description": "It was done, or `error` says why not.",
                "content": {"application/json": {"schema": _ref(answer), "example": answered}},
            },
            **{str(status): {"$ref": f"#/components/responses/Status{status}"} for status in statuses},
        },
    }
    if name != BATCH:
        operation["parameters"] = [{"$ref": "#/components/parameters/ErrorMode"}]
    return operation


def _statuses() -> dict[int, str]:
    """Status: what it stands for. The errors of methods have theirs on demand only."""
    texts = {status: [text] for status, text in _REASONS.items()}
    for code, status in STATUS.items():
        texts.setdefault(status, []).append(f"Error {code.number}, {code.message} (on demand).")
    return {status: " ".join(lines) for status, lines in texts.items()}


def _failure(status: int, text: str) -> dict[str, Any]:
    codes = [REFUSED[status]] if status in _REASONS else []
    codes += [code for code, other in STATUS.items() if other == status]
    example = {"error": {"code": codes[0].number, "message": codes[0].message}}
    content = {"application/json": {"schema": _ref("ErrorResponse"), "example": example}}
    found: dict[str, Any] = {"description": text, "content": content}
    headers = {}
    if status in (429, 500, 503):
        headers["Retry-After"] = ("Seconds after which to try again.", RETRY_AFTER)
    if status == 401:
        headers["WWW-Authenticate"] = ("RFC 9110 11.6.1", 'apikey realm="realtime_svc"')
    if headers:
        found["headers"] = {
            name: {"description": description, "schema": {"type": "string"}, "example": example}
            for name, (description, example) in headers.items()
        }
    return found


# ---- schemas


def _answer_name(method: Method) -> str:
    """Methods with the same result share a schema."""
    return "Done" if method.result is types.Nothing else method.result.__name__.removesuffix("Result") + "Answer"


def _schemas() -> dict[str, Any]:
    requests = {method.request for method in METHODS.values()} | {types.BatchRequest}
    results = {method.result for method in METHODS.values()} | {types.Error}
    ordered = sorted(requests | results, key=lambda one: one.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=REF)
    schemas = {name: _tidied(schema) for name, schema in components.items()}
    for method in METHODS.values():
        result = _object({"result": _ref(method.result.__name__)})
        schemas[_answer_name(method)] = {"oneOf": [result, _ref("ErrorResponse")]}
    schemas["ErrorResponse"] = _object({"error": _ref("Error")})
    schemas["PublishResponse"] = {"oneOf": [_object({"result": _ref("PublishResult")}), _ref("ErrorResponse")]}
    schemas["BatchRequest"]["properties"]["commands"]["items"] = _batch_command()
    schemas["BatchResponse"] = _object({"replies": {"type": "array", "items": {"oneOf": _batch_replies()}}})
    return dict(sorted(schemas.items()))


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _batch_command() -> dict[str, Any]:
    """One key. A method that is not known is answered with an error of its own."""
    known = {method.name: _ref(method.request.__name__) for method in METHODS.values()}
    return {"type": "object", "properties": known, "minProperties": 1, "maxProperties": 1}


def _batch_replies() -> list[dict[str, Any]]:
    replies = [_object({method.name: _ref(method.result.__name__)}) for method in METHODS.values()]
    return [*replies, _ref("ErrorResponse")]


def _tidied(schema: dict[str, Any]) -> dict[str, Any]:
    """Descriptions on one line, and no titles, which only repeat the names."""
    tidy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))
    tidy.pop("title", None)
    if "description" in tidy:
        tidy["description"] = " ".join(tidy["description"].split())
    return tidy
