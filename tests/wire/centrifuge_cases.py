"""The Centrifugo client protocol by example: every reply with its JSON, and requests that two encodings read alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime_svc import errors
from realtime_svc.core.messages import (
    Bye,
    Call,
    CallResult,
    Command,
    Connect,
    Connected,
    Done,
    Failed,
    History,
    HistoryResult,
    Joined,
    Left,
    Message,
    PingPush,
    Presence,
    PresenceResult,
    PresenceStats,
    PresenceStatsResult,
    Publish,
    Published,
    Refresh,
    Refreshed,
    Reply,
    Send,
    ServerSubscribed,
    Subscribe,
    Subscribed,
    SubscriptionRefresh,
    SubscriptionResult,
    Unsubscribe,
    Unsubscribed,
)
from realtime_svc.core.tagsfilter import FilterNode
from realtime_svc.errors import ApplicationError, ErrorCode, ReplyError
from realtime_svc.model import ClientInfo, Publication, StreamPosition

BOB = ClientInfo("c1", "bob", b'{"name":"Bob"}', b"[1]")
NOBODY = ClientInfo("c2", "")
FULL = Publication("chat", b'{"a": 1}', tags={"event": "msg"}, publisher=BOB, offset=8, epoch="xyz", version=3)
FIRST = Publication("chat", b"1", offset=1, epoch="xyz")
SECOND = Publication("chat", b"2", offset=2, epoch="xyz")
DELTA = b'15\nA:{"count":2w@A,FGEcu;'

# The results and pushes of the protocol, with every field that may be left out and every one that may not.
REPLIES: tuple[tuple[Reply, str], ...] = (
    (
        Connected("95da", "1.0", {}, ping=25, id=1),
        '{"id":1,"connect":{"client":"95da","version":"1.0","ping":25,"pong":true}}',
    ),
    (
        Connected(
            "95da",
            "1.0",
            {"#42": SubscriptionResult(True, True, StreamPosition(0, "nsoMrHGO"))},
            ping=25,
            id=1,
        ),
        '{"id":1,"connect":{"client":"95da","version":"1.0","subs":{"#42":{"recoverable":true,"epoch":"nsoMrHGO",'
        '"positioned":true}},"ping":25,"pong":true}}',
    ),
    (
        Connected("c", "1", {}, b'{"x":1}', 3600, 0, "s3cret", "node-1", 2),
        '{"id":2,"connect":{"client":"c","version":"1","expires":true,"ttl":3600,"data":{"x":1},"session":"s3cret",'
        '"node":"node-1"}}',
    ),
    (Subscribed("chat", SubscriptionResult(), 2), '{"id":2,"subscribe":{}}'),
    (
        Subscribed(
            "chat",
            SubscriptionResult(True, True, StreamPosition(1, "e"), True, True, (Message(SECOND),)),
            3,
        ),
        '{"id":3,"subscribe":{"recoverable":true,"epoch":"e","publications":[{"data":2,"offset":2}],"recovered":true,'
        '"offset":1,"positioned":true,"was_recovering":true}}',
    ),
    (
        Subscribed("chat", SubscriptionResult(data=b'"d"', delta=True, expires_in=60, was_recovering=True), 3),
        '{"id":3,"subscribe":{"expires":true,"ttl":60,"data":"d","was_recovering":true,"delta":true}}',
    ),
    (Published("chat", StreamPosition(4, "e"), 3), '{"id":3,"publish":{}}'),
    (Published("chat", None, 3), '{"id":3,"publish":{}}'),
    (
        HistoryResult("chat", [], StreamPosition(0, ""), 4),
        '{"id":4,"history":{"publications":[],"epoch":"","offset":0}}',
    ),
    (
        HistoryResult("chat", [FIRST, FULL], StreamPosition(8, "xyz"), 4),
        '{"id":4,"history":{"publications":[{"data":1,"offset":1,"epoch":"xyz"},{"data":{"a": 1},"info":{"user":"bob",'
        '"client":"c1","conn_info":{"name":"Bob"},"chan_info":[1]},"offset":8,"tags":{"event":"msg"},"version":3}],'
        '"epoch":"xyz","offset":8}}',
    ),
    (PresenceResult("chat", {}, 5), '{"id":5,"presence":{"presence":{}}}'),
    (
        PresenceResult("chat", {"c2": NOBODY}, 5),
        '{"id":5,"presence":{"presence":{"c2":{"user":"","client":"c2"}}}}',
    ),
    (PresenceStatsResult("chat", 0, 0, 6), '{"id":6,"presence_stats":{"num_clients":0,"num_users":0}}'),
    (PresenceStatsResult("chat", 3, 2, 6), '{"id":6,"presence_stats":{"num_clients":3,"num_users":2}}'),
    (CallResult("f", b'{"year": 2030}', 7), '{"id":7,"rpc":{"data":{"year": 2030}}}'),
    (CallResult("f", None, 7), '{"id":7,"rpc":{}}'),
    (Refreshed(60, None, 8), '{"id":8,"refresh":{"expires":true,"ttl":60}}'),
    (Refreshed(None, None, 8), '{"id":8,"refresh":{}}'),
    (Refreshed(60, "chat", 9), '{"id":9,"sub_refresh":{"expires":true,"ttl":60}}'),
    (Refreshed(None, "chat", 9), '{"id":9,"sub_refresh":{}}'),
    (Done("unsubscribe", "chat", 10), '{"id":10,"unsubscribe":{}}'),
    (
        Failed(ReplyError(ErrorCode.PERMISSION_DENIED), "publish", "chat", 11),
        '{"id":11,"error":{"code":103,"message":"permission denied"}}',
    ),
    (
        Failed(ReplyError(ErrorCode.INTERNAL), id=4294967295),
        '{"id":4294967295,"error":{"code":100,"message":"internal error","temporary":true}}',
    ),
    (Failed(ApplicationError(1001, 'no "x"'), id=1), '{"id":1,"error":{"code":1001,"message":"no \\"x\\""}}'),
    (Message(Publication("chat", b'{"a": 1}')), '{"push":{"channel":"chat","pub":{"data":{"a": 1}}}}'),
    (
        Message(FULL),
        '{"push":{"channel":"chat","pub":{"data":{"a": 1},"info":{"user":"bob","client":"c1",'
        '"conn_info":{"name":"Bob"},"chan_info":[1]},"offset":8,"tags":{"event":"msg"},"version":3}}}',
    ),
    (Message(FIRST), '{"push":{"channel":"chat","pub":{"data":1,"offset":1,"epoch":"xyz"}}}'),
    (Message(Publication("", b"[1, 2]")), '{"push":{"message":{"data":[1, 2]}}}'),
    (
        Joined("chat", BOB._replace(channel_info=None)),
        '{"push":{"channel":"chat","join":{"info":{"user":"bob","client":"c1","conn_info":{"name":"Bob"}}}}}',
    ),
    (Left("chat", NOBODY), '{"push":{"channel":"chat","leave":{"info":{"user":"","client":"c2"}}}}'),
    (
        ServerSubscribed("#42", SubscriptionResult(True, True, StreamPosition(3, "e"), data=b"{}")),
        '{"push":{"channel":"#42","subscribe":{"recoverable":true,"epoch":"e","offset":3,"positioned":true,"data":{}}}}',
    ),
    (ServerSubscribed("#42", SubscriptionResult()), '{"push":{"channel":"#42","subscribe":{}}}'),
    (
        ServerSubscribed(
            "chat", SubscriptionResult(True, position=StreamPosition(1, "e"), messages=(Message(SECOND),))
        ),
        '{"push":{"channel":"chat","subscribe":{"recoverable":true,"epoch":"e","offset":1}}}\n'
        '{"push":{"channel":"chat","pub":{"data":2,"offset":2}}}',
    ),
    (
        Unsubscribed("chat", errors.UNSUBSCRIBED_INSUFFICIENT),
        '{"push":{"channel":"chat","unsubscribe":{"code":2500,"reason":"insufficient state"}}}',
    ),
    (PingPush(), "{}"),
)

GOODBYE = (Bye(errors.SHUTDOWN), '{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}')

# What a client may send, as the fields of the request, and what it means. Payloads are strings of JSON here.
REQUESTS: tuple[tuple[int, str, Mapping[str, Any], Command], ...] = (
    (1, "connect", {}, Connect(id=1)),
    (1, "connect", {"token": "t0ken", "name": "js", "version": "5.2"}, Connect("t0ken", None, "js", "5.2", {}, 1)),
    (1, "connect", {"data": '{"a": 1}'}, Connect(data=b'{"a": 1}', id=1)),
    (
        1,
        "connect",
        {"subs": {"#1": {"recover": True, "offset": 5, "epoch": "e"}, "news": {"offset": 5}}},
        Connect(recover={"#1": StreamPosition(5, "e")}, id=1),
    ),
    (1, "connect", {"name": "n" * 17, "version": "v" * 65}, Connect(name="n" * 16, version="v" * 64, id=1)),
    (1, "connect", {"headers": {"X-A": "b", "authorization": "bearer  t"}}, Connect("t", id=1)),
    (1, "connect", {"headers": {"Authorization": "Bearer t"}, "token": "u"}, Connect("u", id=1)),
    (1, "connect", {"headers": {"Authorization": "Basic dTpw"}}, Connect(id=1)),
    (2, "subscribe", {"channel": "chat"}, Subscribe("chat", 2)),
    (
        2,
        "subscribe",
        {
            "channel": "chat",
            "token": "t",
            "data": "[]",
            "recover": True,
            "offset": 7,
            "epoch": "e",
            "positioned": True,
            "recoverable": True,
            "join_leave": True,
            "delta": "fossil",
            "flag": 3,
        },
        Subscribe("chat", 2, "t", b"[]", StreamPosition(7, "e"), True, 0, True, True, True, "fossil"),
    ),
    (2, "subscribe", {"channel": "chat", "recover": True}, Subscribe("chat", 2, recover=StreamPosition(0, ""))),
    (2, "subscribe", {"channel": "chat", "offset": 7, "epoch": "e", "flag": 1}, Subscribe("chat", 2)),
    (2, "subscribe", {"channel": "chat", "type": 1}, Subscribe("chat", 2, kind=1)),
    (
        2,
        "subscribe",
        {
            "channel": "chat",
            "tf": {
                "op": "and",
                "nodes": [{"key": "a", "cmp": "eq", "val": "1"}, {"key": "b", "cmp": "in", "vals": ["x", "y"]}],
            },
        },
        Subscribe(
            "chat",
            2,
            tags_filter=FilterNode(
                op="and",
                nodes=(FilterNode("", "a", "eq", "1"), FilterNode("", "b", "in", "", ("x", "y"))),
            ),
        ),
    ),
    (3, "unsubscribe", {"channel": "chat"}, Unsubscribe("chat", 3)),
    (4, "publish", {"channel": "chat", "data": '{"a":  [1.50]}'}, Publish("chat", b'{"a":  [1.50]}', id=4)),
    (4, "publish", {"channel": "chat", "data": "null"}, Publish("chat", b"null", id=4)),
    (5, "presence", {"channel": "chat"}, Presence("chat", 5)),
    (6, "presence_stats", {"channel": "chat"}, PresenceStats("chat", 6)),
    (7, "history", {"channel": "chat"}, History("chat", id=7)),
    (7, "history", {"channel": "chat", "limit": -1, "reverse": True}, History("chat", -1, None, True, 7)),
    (
        7,
        "history",
        {"channel": "chat", "limit": 10, "since": {"offset": 3, "epoch": "e"}},
        History("chat", 10, StreamPosition(3, "e"), False, 7),
    ),
    (7, "history", {"channel": "chat", "since": {}}, History("chat", 0, StreamPosition(0, ""), False, 7)),
    (8, "rpc", {"method": "f", "data": '"x"'}, Call("f", b'"x"', 8)),
    (8, "rpc", {}, Call("", None, 8)),
    (0, "send", {"data": "{}"}, Send(b"{}")),
    (9, "send", {"data": "{}"}, Send(b"{}")),
    (10, "refresh", {"token": "t"}, Refresh("t", 10)),
    (11, "sub_refresh", {"channel": "chat", "token": "t"}, SubscriptionRefresh("chat", "t", 11)),
    (11, "sub_refresh", {"channel": "chat"}, SubscriptionRefresh("chat", "", 11)),
    (4294967295, "unsubscribe", {"channel": "chat"}, Unsubscribe("chat", 4294967295)),
)

# Refused, while the connection stays: (id, method, fields, error number).
REFUSED: tuple[tuple[int, str, Mapping[str, Any], int], ...] = (
    (4, "publish", {"channel": "chat", "data": "1", "type": 1}, 108),
    (11, "sub_refresh", {"channel": "chat", "token": "t", "type": 2}, 108),
)

# The end of the connection: (id, method, fields).
BROKEN: tuple[tuple[int, str, Mapping[str, Any]], ...] = (
    *((0, method, {"channel": "chat", "token": "t"}) for method in ("subscribe", "sub_refresh")),
    *((0, method, {"channel": "chat"}) for method in ("unsubscribe", "presence", "presence_stats", "history")),
    *((1, method, {}) for method in ("subscribe", "unsubscribe", "presence", "presence_stats", "history", "publish")),
    (1, "subscribe", {"channel": ""}),
    (0, "connect", {}),
    (0, "rpc", {"method": "f"}),
    (0, "refresh", {"token": "t"}),
    (0, "publish", {"channel": "chat", "data": "1"}),
    (1, "publish", {"channel": "", "data": "1"}),
    (1, "refresh", {}),
    (1, "sub_refresh", {"token": "t"}),
)


def nested_filter(levels: int) -> dict[str, Any]:
    """A tags filter of so many levels."""
    node: dict[str, Any] = {"key": "a", "cmp": "ex"}
    for _ in range(levels - 1):
        node = {"op": "not", "nodes": [node]}
    return node
