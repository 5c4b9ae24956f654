"""The server HTTP API: `POST /api/<method>`, on the internal port and, where `api.public` says so, the public ones.

Every request goes through the same gates: key (401), method (404), drain (503), body (400); then scopes and the method
itself, whose errors are answers: `{"error":{"code","message"}}` with status 200, as SDKs of this API expect, or with a
status of their own for a request with `X-Centrifugo-Error-Mode: transport`. Broadcast and batch hold the outcomes of
several commands, so what one of them meets is never the status of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw
from twisted.logger import Logger

from realtime_svc import config
from realtime_svc.core.payload import MAX_DEPTH, check_depth
from realtime_svc.errors import ErrorCode, Refusal, ReplyError
from realtime_svc.http import api_types as types
from realtime_svc.http.api_keys import ANYBODY, ApiKeys, Holder
from realtime_svc.http.api_methods import (
    BATCH_DECODER,
    DECODERS,
    METHODS,
    NOT_HERE,
    Context,
    as_error,
    as_reply_error,
)
from realtime_svc.http.api_work import Pace, gather

if TYPE_CHECKING:
    from realtime_svc.core.node import Node

Respond = Callable[[int, dict[str, str], bytes], None]

BATCH = "batch"
ERROR_MODE = "x-centrifugo-error-mode"
RETRY_AFTER = "1"  # seconds
_DEPTH = MAX_DEPTH + 8  # of a body: a payload, and what is around it in a batch

# The status of an error, where the request asks for real ones.
STATUS = {
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.UNKNOWN_CHANNEL: 404,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.METHOD_NOT_FOUND: 404,
    ErrorCode.ALREADY_SUBSCRIBED: 409,
    ErrorCode.LIMIT_EXCEEDED: 400,
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.NOT_AVAILABLE: 404,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.EXPIRED: 401,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.UNRECOVERABLE_POSITION: 416,
}
# The number in the body of what is refused before its method is called, and always with its real status.
REFUSED = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.UNAUTHORIZED,
    404: ErrorCode.METHOD_NOT_FOUND,
    405: ErrorCode.BAD_REQUEST,
    413: ErrorCode.LIMIT_EXCEEDED,
    503: ErrorCode.INTERNAL,
}
# For who reads the request.
TOO_BIG = Refusal(413, "body_too_big", "the body is too big")
NOT_POST = Refusal(405, "method_not_allowed", "only POST is allowed here", {"Allow": "POST"})
# What changes more than a stream leaves a line in the log.
_NOTED = frozenset(("subscribe", "unsubscribe", "disconnect", "refresh", "revoke", "history_remove"))

# A browser sends the first with each POST (Fetch 3.1), the second where it trusts the address (Fetch Metadata 2.3).
_OF_BROWSERS = ("origin", "sec-fetch-site")
_AUTHORIZATION = re.compile(r"(?:apikey|bearer) +(\S+)", re.ASCII | re.IGNORECASE)
_log = Logger(namespace="realtime_svc.api")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call. `key` is from a header, `query_key` from `?api_key=`; None where there is none. `remote` is the host
    that calls, for counters and notes. `from_page`: a browser sent it."""

    method: str
    key: str | None = field(repr=False)
    query_key: str | None = field(repr=False)
    content_type: str
    transport_errors: bool
    body: bytes = field(repr=False)
    remote: str = ""
    from_page: bool = False


def api_request(
    method: str, header: Callable[[str], str | None], query: str, body: bytes, remote: str = ""
) -> ApiRequest:
    """From an HTTP request. `header` gives a header's value by its name in lower case; a repeated one is no good."""
    bearer = _AUTHORIZATION.fullmatch(header("authorization") or "")
    given = parse_qs(query, keep_blank_values=True).get("api_key")
    return ApiRequest(
        method=method,
        key=header("x-api-key") or (bearer[1] if bearer else None),
        query_key=None if given is None else ",".join(given),
        content_type=header("content-type") or "",
        transport_errors=(header(ERROR_MODE) or "").lower() == "transport",
        from_page=any(header(name) is not None for name in _OF_BROWSERS),
        body=body,
        remote=remote,
    )


class _Command(NamedTuple):
    """A decoded command of a batch; or, instead of the request, why it can't be called."""

    name: str
    request: types.Part | ReplyError


class Api:
    """Answers calls with what the node says. Nothing is kept between two calls."""

    def __init__(self, node: Node, options: config.Api) -> None:
        self._node = node
        self._options = options
        self._keys = ApiKeys(options.keys)

    def reload(self, options: config.Api) -> None:
        """Use these keys from now on. All else of the section holds from the start."""
        self._keys = ApiKeys(options.keys)

    @property
    def body_size(self) -> int:
        """Largest body, in bytes; who reads it has to keep to it."""
        return self._options.body_size

    def call(self, request: ApiRequest, respond: Respond) -> None:
        """`respond` is called exactly once, now or later, with status, headers and body. Never raises."""
        try:
            holder = self._holder(request)
            work = self._work(request, holder)
        except Refusal as refusal:
            respond(*self.refuse(refusal, request.remote))
        else:
            self._node.run(work, partial(self._done, request, respond))

    def refuse(self, refusal: Refusal, remote: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to a call that is refused as a whole; it is counted."""
        self._node.refused(refusal, remote)
        error = types.Error(code=REFUSED[refusal.status].number, message=refusal.message)
        return refusal.status, {**_headers(), **refusal.headers}, _error_body(error)

    # ---- the gates

    def _holder(self, request: ApiRequest) -> Holder:
        """Who calls. Raises `Refusal` 401, the same for every cause."""
        if self._options.insecure:
            kind = request.content_type.partition(";")[0].strip().lower()
            if kind != "application/json":  # else any page in a browser on this machine could call, without asking
                raise Refusal(400, "content_type", "without keys, the content type must be application/json")
            if request.from_page:  # of its own origin, it says, once a name of it leads to this machine (DNS rebinding)
                raise Refusal(400, "origin", "without keys, no page in a browser may call")
            return ANYBODY
        key = request.key
        if request.query_key is not None:
            if not self._options.query_key:
                raise _unauthorized("api_key_in_query")
            key = key or request.query_key
        holder = self._keys.find(key) if key else None
        if holder is None:
            raise _unauthorized("api_key")
        return holder

    def _work(self, request: ApiRequest, holder: Holder) -> Coroutine[Any, Any, bytes]:
        """What answers the call. Raises `Refusal` 404, 503, 400."""
        name = request.method
        if name != BATCH and name not in METHODS and name not in NOT_HERE:
            raise Refusal(404, "not_found", "there is no such method")
        if self._node.draining:
            raise Refusal(503, "draining", "the server is shutting down", {"Retry-After": RETRY_AFTER})
        context = Context(self._node, holder, self._options.batch, Pace(self._node.clock))
        if name in NOT_HERE:
            return self._single(context, _Command(name, ReplyError(ErrorCode.NOT_AVAILABLE)))
        _check_text(request.body)
        if name == BATCH:
            batch = _decode(BATCH_DECODER, request.body)
            if len(batch.commands) > self._options.batch:
                raise _malformed(f"$.commands: at most {self._options.batch}")
            return self._batch(context, list(_commands(batch)), batch.parallel)
        return self._single(context, _Command(name, _decode(DECODERS[name], request.body)))

    # ---- the answers

    async def _single(self, context: Context, command: _Command) -> bytes:
        return msgspec.json.encode({"result": await self._call(context, command)})

    async def _batch(self, context: Context, commands: list[_Command], parallel: bool) -> bytes:
        run, pace, calls = self._node.run, context.pace, (self._call(context, command) for command in commands)
        if parallel:
            outcomes = await gather(run, pace, calls)
        else:
            outcomes = [(await gather(run, pace, (call,)))[0] for call in calls]
        pairs = zip(commands, outcomes, strict=True)
        return msgspec.json.encode({"replies": [self._reply(command, *outcome) for command, outcome in pairs]})

    def _reply(self, command: _Command, result: Any, error: BaseException | None) -> dict[str, Any]:
        if error is None:
            return {command.name: result}
        return {"error": as_error(as_reply_error(self._node, error))}

    async def _call(self, context: Context, command: _Command) -> types.Part:
        name, request = command
        if isinstance(request, ReplyError):
            raise request
        if not _permitted(context.holder, name, request):
            _say(f"denied: {name}", f"API key {context.holder.name} may not {name}")
            raise ReplyError(ErrorCode.PERMISSION_DENIED)
        result = await METHODS[name].call(context, request)
        if name in _NOTED:
            _say(name, f"API key {context.holder.name or '(none)'}: {name}")
        return result

    def _done(self, request: ApiRequest, respond: Respond, body: Any, error: BaseException | None) -> None:
        if error is None:
            respond(200, _headers(), body)
            return
        known = as_reply_error(self._node, error)
        status = STATUS[known.code] if request.transport_errors else 200
        headers = _headers()
        if status in (429, 500) and known.temporary:
            headers["Retry-After"] = RETRY_AFTER
        respond(status, headers, _error_body(as_error(known)))


def _error_body(error: types.Error) -> bytes:
    return msgspec.json.encode({"error": error})


def _headers() -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def _unauthorized(cause: str) -> Refusal:
    challenge = {"WWW-Authenticate": 'apikey realm="realtime_svc"'}  # RFC 9110 11.6.1
    return Refusal(401, cause, "a valid API key is required", challenge)


def _malformed(reason: str) -> Refusal:
    return Refusal(400, "bad_request", reason)


def _check_text(body: bytes) -> None:
    """A decoder of JSON does not look at the text of what it skips, and must not go too deep."""
    try:
        body.decode()
    except UnicodeDecodeError:
        raise _malformed("the body is not UTF-8") from None
    if not check_depth(body, _DEPTH):
        raise _malformed("the body is nested too deep, or is not JSON")


def _decode(decoder: msgspec.json.Decoder[Any], data: bytes | Raw, path: str = "$") -> Any:
    """Raises `Refusal` 400, which names the path, never a value."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        reason = str(error)
        raise _malformed(reason.replace("`$", f"`{path}", 1) if "`$" in reason else f"{reason} - at `{path}`") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _malformed("the body is not JSON") from None


def _commands(batch: types.BatchRequest) -> Iterator[_Command]:
    """All are decoded before the first is called: a batch that is malformed changes nothing."""
    for index, command in enumerate(batch.commands):
        if len(command) != 1:
            raise _malformed(f"$.commands[{index}]: must have one key, the method")
        ((name, data),) = command.items()
        if name in DECODERS:
            yield _Command(name, _decode(DECODERS[name], data, f"$.commands[{index}].{name}"))
        else:
            code = ErrorCode.NOT_AVAILABLE if name in NOT_HERE else ErrorCode.METHOD_NOT_FOUND
            yield _Command(name, ReplyError(code))


def _permitted(holder: Holder, name: str, request: types.Part) -> bool:
    """For broadcast: is there a channel that he may publish to? Each one is looked at again."""
    if isinstance(request, types.BroadcastRequest):
        return holder.allows(name) or any(holder.allows(name, channel) for channel in request.channels)
    return holder.allows(name, getattr(request, "channel", None))


def _say(kind: str, text: str) -> None:
    _log.info("{text}", text=text, log_kind=f"api {kind}")
