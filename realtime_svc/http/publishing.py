"""`POST /publish/<channel>`: one publication; the body is the payload.

`?event=typing` is its event; the header `Idempotency-Key` makes it safe to send it again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from realtime_svc.core.messages import Publish
from realtime_svc.core.ports import Admitted
from realtime_svc.core.publishing import EVENT_TAG, MAX_KEY
from realtime_svc.errors import ErrorCode, ReplyError, bad_head
from realtime_svc.model import ClientInfo, PublishResult

if TYPE_CHECKING:
    from realtime_svc.http.request import PublicRequest

STATUS = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.UNKNOWN_CHANNEL: 404,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.INTERNAL: 500,
}
MAX_EVENT = 64


def publish(request: PublicRequest, admitted: Admitted) -> None:
    """Raises `Refusal` 400."""
    identity = admitted.identity
    assert identity is not None
    data, node, channel = request.body(), request.web.node, request.route.channel
    if admitted.event is not None and len(admitted.event) > MAX_EVENT:
        raise bad_head("bad_event", "the event name is too long")
    key = request.head.get("idempotency-key") or ""
    if len(key) > MAX_KEY:
        raise bad_head("bad_key", "the Idempotency-Key header is too long")
    node.instruments.messages_in["http"] += 1
    node.instruments.bytes_in += len(data)
    tags = {EVENT_TAG: admitted.event} if admitted.event else None
    command = Publish(channel, data, not (_is_textual(request.kind) and _is_utf8(data)), tags, key=key)
    publisher = ClientInfo("", identity.user, identity.info)
    work = node.publishing.publish(command, identity=identity, publisher=publisher)
    request.web.run(work, partial(_published, request, channel))


def _published(request: PublicRequest, channel: str, result: PublishResult | None, error: BaseException | None) -> None:
    if request.gone:
        return
    if error is None:
        assert result is not None
        position = result.position
        place = {"offset": position.offset, "epoch": position.epoch} if position is not None else {}
        request.send_json(200, {"ok": "publish", "channel": channel, **place})
        return
    node = request.web.node
    if not isinstance(error, ReplyError):
        node.report("a publication failed", error)
        error = ReplyError(ErrorCode.INTERNAL)
    node.count_error(error)
    status, cause = STATUS.get(error.code, 503), error.code.name.lower()
    body: dict[str, Any] = {"status": status, "cause": cause, "code": error.number, "message": error.message}
    request.send_json(status, {"error": {**body, "temporary": error.temporary}})


def _is_textual(kind: str) -> bool:
    return kind.startswith("text/") or kind == "application/json" or kind.endswith("+json")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
