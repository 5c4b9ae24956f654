"""What each method of the server API asks of the node, and what it answers."""

from __future__ import annotations

import base64
import json
from typing import Any

from realtime_svc.core.messages import Publish
from realtime_svc.errors import FORCED, Disconnect
from realtime_svc.http.api import ApiRequest
from realtime_svc.http.api_methods import DECODERS
from realtime_svc.model import Grant, HistoryPage, HistoryQuery, Publication, PublishResult, StreamPosition
from tests.http.fake_node import ADA, TOP
from tests.http.test_api import POSITION, Case

NOBODY = {"client": "", "session": ""}
PLAIN: dict[str, Any] = {"skip_history": False, "version": 0, "version_epoch": ""}
CLIENT = {"client": "c1", "user": "42", "conn_info": {"name": "Ada"}, "chan_info": [1]}


class MethodCase(Case):
    def result(self, method: str, body: Any) -> Any:
        status, _, answer = self.ask(method, body)
        self.assertEqual((200, ["result"]), (status, list(answer)), answer)
        return answer["result"]

    def asked(self, method: str, body: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """The one call of the node that a call of the API leads to."""
        self.node.calls.clear()
        self.result(method, body)
        (call,) = self.node.calls
        return call


class PublishTests(MethodCase):
    def test_every_field(self) -> None:
        body = {
            "channel": "chat:x",
            "data": {"a": [1]},
            "tags": {"event": "typing"},
            "idempotency_key": "k",
            "skip_history": True,
            "delta": True,
            "version": 3,
            "version_epoch": "e",
        }
        command = Publish("chat:x", b'{"a": [1]}', False, {"event": "typing"}, key="k")
        options = {"skip_history": True, "version": 3, "version_epoch": "e"}
        self.assertEqual(("publish", (command,), options), self.asked("publish", body))

    def test_data_passes_byte_for_byte(self) -> None:
        for text in (
            b"null",
            b'""',
            b"1.0",
            b"1e2",
            b'{"b" : 1,"a":2, "b":3}',
            b'"\\u00e9\xc3\xa9"',
            b"12345678901234567890",
        ):
            _, (command,), _ = self.asked("publish", b'{"channel":"x","data":' + text + b"}")
            self.assertEqual((text, False), (command.data, command.binary))

    def test_bytes_come_in_base64(self) -> None:
        for data in (b"", b"\x00\xff", b"text"):
            _, (command,), _ = self.asked("publish", {"channel": "x", "b64data": base64.b64encode(data).decode()})
            self.assertEqual((data, True), (command.data, command.binary))

    def test_either_data_or_b64data(self) -> None:
        for body in ({"channel": "x"}, {"channel": "x", "data": 1, "b64data": "AA=="}):
            self.assertEqual(107, self.error("publish", body))
            many = {**body, "channels": ["x"]}
            self.assertEqual(107, self.result("broadcast", many)["responses"][0]["error"]["code"])
        self.assertEqual([], self.node.calls)

    def test_position_is_left_out_where_there_is_none(self) -> None:
        self.assertEqual(POSITION, self.result("publish", {"channel": "x", "data": 1}))
        self.node.outcomes["publish"] = PublishResult(None)
        self.assertEqual({}, self.result("publish", {"channel": "x", "data": 1}))

    def test_broadcast(self) -> None:
        self.node.outcomes["b"] = RuntimeError("oops")
        found = self.result("broadcast", {"channels": ["a", "b", "c"], "data": 1, "idempotency_key": "k"})
        internal = {"error": {"code": 100, "message": "internal error"}}
        self.assertEqual([{"result": POSITION}, internal, {"result": POSITION}], found["responses"])
        self.assertEqual(["a", "b", "c"], self.channels())
        self.assertEqual({("k", b"1")}, {(args[0].key, args[0].data) for _, args, _ in self.node.calls})


class ControlTests(MethodCase):
    def test_subscribe(self) -> None:
        body = {
            "user": "42",
            "channel": "chat:x",
            "client": "c1",
            "session": "s1",
            "expire_at": 99,
            "info": {"a": 1},
            "data": [1],
            "recover_since": {"offset": 5, "epoch": "e"},
            "override": {
                "presence": {"value": False},
                "join_leave": {"value": True},
                "force_positioning": {"value": True},
                "force_recovery": {"value": False},
            },
        }
        grant = Grant(b'{"a": 1}', b"[1]", 99, False, True, True, False, StreamPosition(5, "e"))
        what = {"user": "42", "channel": "chat:x", "grant": grant, "client": "c1", "session": "s1"}
        self.assertEqual(("subscribe", (), what), self.asked("subscribe", body))

    def test_subscribe_without_wishes(self) -> None:
        _, _, what = self.asked("subscribe", {"user": "42", "channel": "x"})
        self.assertEqual({"user": "42", "channel": "x", "grant": Grant(), **NOBODY}, what)

    def test_two_switches_for_join_and_leave(self) -> None:
        for override, expected in (
            ({"force_push_join_leave": {"value": True}}, True),
            ({"force_push_join_leave": {"value": True}, "join_leave": {"value": False}}, False),
            ({}, None),
        ):
            _, _, what = self.asked("subscribe", {"user": "42", "channel": "x", "override": override})
            self.assertEqual(expected, what["grant"].join_leave, override)

    def test_info_and_data_in_base64_are_json_too(self) -> None:
        text = base64.b64encode(b'{"a":1}').decode()
        _, _, what = self.asked("subscribe", {"user": "42", "channel": "x", "b64info": text, "b64data": text})
        self.assertEqual((b'{"a":1}', b'{"a":1}'), what["grant"][:2])

    def test_info_that_is_no_json_to_pass_on(self) -> None:
        deep: Any = 1
        for _ in range(33):
            deep = [deep]
        bad = base64.b64encode(b"{").decode()
        for more in ({"b64info": bad}, {"b64data": bad}, {"info": deep}, {"data": deep}):
            self.assertEqual(107, self.error("subscribe", {"user": "42", "channel": "x", **more}), more)
        self.assertEqual(107, self.error("refresh", {"user": "42", "info": deep}))
        self.assertEqual([], self.node.calls)

    def test_unsubscribe(self) -> None:
        what = {"user": "42", "channel": "x", "client": "c", "session": "s"}
        self.assertEqual(("unsubscribe", (), what), self.asked("unsubscribe", what))

    def test_disconnect(self) -> None:
        for body, whitelist, disconnect in (
            ({}, (), FORCED),
            ({"whitelist": ["c1"], "disconnect": {}}, ["c1"], FORCED),
            ({"disconnect": {"code": 3999, "reason": "x" * 123}}, (), Disconnect(3999, "x" * 123)),
            ({"disconnect": {"code": 4999}}, (), Disconnect(4999, "")),
            ({"disconnect": {"reason": "bye"}}, (), Disconnect(3503, "bye")),
        ):
            what = {"user": "42", "whitelist": whitelist, "disconnect": disconnect, **NOBODY}
            self.assertEqual(("disconnect", (), what), self.asked("disconnect", {"user": "42", **body}))

    def test_disconnect_that_no_close_frame_can_say(self) -> None:
        for disconnect in ({"code": 1000}, {"code": 2999}, {"reason": "é" * 62}):
            self.assertEqual(107, self.error("disconnect", {"user": "42", "disconnect": disconnect}), disconnect)
        self.assertEqual([], self.node.calls)

    def test_refresh(self) -> None:
        for body, expired, expire_at, info in (
            ({}, False, None, None),
            ({"expired": True}, True, None, None),
            ({"expire_at": 99, "info": {"a": 1}}, False, 99, b'{"a": 1}'),
        ):
            what = {"user": "42", "expired": expired, "expire_at": expire_at, "info": info, **NOBODY}
            self.assertEqual(("refresh", (), what), self.asked("refresh", {"user": "42", **body}))

    def test_revoke(self) -> None:
        for body, expires_at in (({"token_id": "t"}, None), ({"user": "42", "expire_at": 99}, 99)):
            what = {"token_id": "", "user": "", **body, "expires_at": expires_at}
            what.pop("expire_at", None)
            self.assertEqual(("revoke", (), what), self.asked("revoke", body))


class ReadTests(MethodCase):
    def test_presence(self) -> None:
        self.assertEqual({"presence": {"c1": CLIENT}}, self.result("presence", {"channel": "x"}))
        self.node.outcomes["presence"] = {"c1": ADA._replace(user="", info=None, channel_info=None)}
        self.assertEqual({"presence": {"c1": {"client": "c1", "user": ""}}}, self.result("presence", {"channel": "x"}))

    def test_presence_stats(self) -> None:
        self.assertEqual({"num_clients": 3, "num_users": 2}, self.result("presence_stats", {"channel": "x"}))

    def test_history_asks_for_a_page_at_most(self) -> None:
        for body, query in (
            ({}, HistoryQuery(0)),
            ({"limit": 2}, HistoryQuery(2)),
            ({"limit": 1000}, HistoryQuery(3)),
            ({"limit": -1}, HistoryQuery(3)),
            ({"limit": 1, "since": {"offset": 4}, "reverse": True}, HistoryQuery(1, StreamPosition(4, ""), True)),
        ):
            self.assertEqual(("history", ("x", query), {}), self.asked("history", {"channel": "x", **body}))

    def test_history(self) -> None:
        self.assertEqual(
            {"publications": [{"data": {"a": 1}, "offset": 7}], **POSITION}, self.result("history", {"channel": "x"})
        )
        page = [
            Publication("x", b"null", tags={"a": "b"}, publisher=ADA, offset=1),
            Publication("x", b"\xff", False, True, offset=2),
        ]
        self.node.outcomes["history"] = HistoryPage(page, TOP)
        found = self.result("history", {"channel": "x"})["publications"]
        self.assertEqual({"data": None, "offset": 1, "info": CLIENT, "tags": {"a": "b"}}, found[0])
        self.assertEqual({"data": None, "offset": 2, "b64data": "/w=="}, found[1])

    def test_history_that_is_empty_has_all_its_fields(self) -> None:
        self.node.outcomes["history"] = HistoryPage([], StreamPosition(0, "e"))
        self.assertEqual({"publications": [], "offset": 0, "epoch": "e"}, self.result("history", {"channel": "x"}))

    def test_history_remove(self) -> None:
        self.assertEqual(("remove_history", ("x",), {}), self.asked("history_remove", {"channel": "x"}))

    def test_channels(self) -> None:
        self.assertEqual({"channels": {"chat:lobby": {"num_clients": 3}}}, self.result("channels", {"pattern": "c*"}))
        self.assertEqual([("channels", ("c*",), {})], self.node.calls)

    def test_info(self) -> None:
        (node,) = self.result("info", {})["nodes"]
        self.assertEqual(
            {
                "uid": "5d0c",
                "name": "host",
                "version": "1.0",
                "uptime": 60,
                "num_clients": 3,
                "num_users": 2,
                "num_channels": 1,
                "num_subs": 4,
            },
            node,
        )

    def test_nothing_of_a_request_is_in_its_repr(self) -> None:
        request = DECODERS["publish"].decode(b'{"channel":"canary","data":"canary"}')
        self.assertEqual("<PublishRequest>", repr(request))

    def test_results_are_json_without_spaces(self) -> None:
        answers: list[bytes] = []
        request = ApiRequest("presence_stats", "key-all", None, "", False, json.dumps({"channel": "x"}).encode())
        self.api.call(request, lambda *answer: answers.append(answer[2]))
        self.assertEqual([b'{"result":{"num_clients":3,"num_users":2}}'], answers)
