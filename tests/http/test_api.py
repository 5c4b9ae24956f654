"""Calls of the server API: the gates before a method, scopes, errors, batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import config
from realtime_svc.core.node import Node
from realtime_svc.errors import ApplicationError, ErrorCode, ReplyError
from realtime_svc.http.api import REFUSED, STATUS, Api, ApiRequest, api_request
from realtime_svc.http.api_keys import hash_of
from realtime_svc.http.api_methods import METHODS, NOT_HERE
from realtime_svc.model import PublishResult
from tests.http.fake_node import DENIED, FakeNode

KEY, WRITER, READER, BATCHER = "key-all", "key-chat", "key-read", "key-publish"
CANARY = "canary-7f3a"
OK_BODY = b'{"channel":"chat:x","data":1}'
POSITION = {"offset": 7, "epoch": "ep"}


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = FakeNode()
        self.api = self.make()

    def make(self, **options: Any) -> Api:
        scopes = {KEY: ("all",), WRITER: ("publish:chat:", "broadcast:chat:"), READER: ("read",), BATCHER: ("publish",)}
        keys = {key: config.ApiKey(hash=hash_of(key), scopes=scopes[key]) for key in scopes}
        return Api(cast(Node, self.node), config.Api(keys=keys, **options))

    def ask(
        self, method: str, body: Any = OK_BODY, *, key: str | None = KEY, api: Api | None = None, **more: Any
    ) -> tuple[int, dict[str, str], Any]:
        """(status, headers, decoded body) of a call that is answered at once, and once."""
        answers: list[tuple[int, dict[str, str], bytes]] = []
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        values = {"query_key": None, "content_type": "", "transport_errors": False, "remote": "192.0.2.1", **more}
        request = ApiRequest(method=method, key=key, body=text, **values)
        (api or self.api).call(request, lambda *answer: answers.append(answer))
        ((status, headers, answer),) = answers
        return status, headers, json.loads(answer)

    def error(self, method: str, body: Any = OK_BODY, **more: Any) -> int:
        """The number of the error in an answer with status 200."""
        status, _, answer = self.ask(method, body, **more)
        self.assertEqual((200, ["error"]), (status, list(answer)))
        self.assertIsInstance(answer["error"]["message"], str)
        number: int = answer["error"]["code"]
        return number

    def channels(self) -> list[str]:
        """Where something was published."""
        return [args[0].channel for name, args, _ in self.node.calls if name == "publish"]


class GateTests(Case):
    def test_a_call_is_answered(self) -> None:
        status, headers, answer = self.ask("publish")
        self.assertEqual((200, {"result": POSITION}), (status, answer))
        self.assertEqual(("application/json", "no-store"), (headers["Content-Type"], headers["Cache-Control"]))

    def test_without_a_valid_key_every_answer_is_the_same(self) -> None:
        """Also for methods that do not exist, malformed bodies, and a good key in the address where that is off."""
        answers = [
            self.ask(method, body, key=key, query_key=query)
            for method in ("publish", "nope", "device_list")
            for body in (OK_BODY, b"{")
            for key, query in ((None, None), ("", None), ("bad", None), (None, KEY), (KEY, KEY), (KEY, ""))
        ]
        for status, headers, answer in answers:
            self.assertEqual((401, answers[0][2]), (status, answer))
            self.assertEqual('apikey realm="realtime_svc"', headers["WWW-Authenticate"])
        self.assertEqual(101, answers[0][2]["error"]["code"])
        self.assertEqual([], self.node.calls)
        self.assertEqual(
            {(401, "api_key", "192.0.2.1"), (401, "api_key_in_query", "192.0.2.1")}, set(self.node.refusals)
        )

    def test_key_in_the_address_where_it_is_allowed(self) -> None:
        api = self.make(query_key=True)
        self.assertEqual(200, self.ask("publish", key=None, query_key=KEY, api=api)[0])
        self.assertEqual(401, self.ask("publish", key=None, query_key="bad", api=api)[0])
        self.assertEqual(401, self.ask("publish", key="bad", query_key=KEY, api=api)[0])

    def test_insecure_needs_no_key_but_a_content_type_that_a_foreign_page_can_not_send_unasked(self) -> None:
        api = self.make(insecure=True)
        for kind, status in (
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("text/plain", 400),
            ("application/x-www-form-urlencoded", 400),
            ("", 400),
        ):
            self.assertEqual(status, self.ask("publish", key=None, content_type=kind, api=api)[0], kind)

    def test_insecure_is_not_for_pages(self) -> None:
        """Of whatever origin: a name that leads to this machine makes a page's own origin of it (DNS rebinding)."""
        api = self.make(insecure=True)
        for headers, from_page in (
            ({}, False),
            ({"origin": "http://evil.example:9000"}, True),
            ({"origin": "null"}, True),
            ({"sec-fetch-site": "same-origin"}, True),
        ):
            self.assertIs(from_page, api_request("publish", headers.get, "", b"").from_page)
        json_type = "application/json"
        answer = self.ask("publish", key=None, content_type=json_type, from_page=True, api=api)
        self.assertEqual((400, []), (answer[0], self.node.calls))
        self.assertEqual(200, self.ask("publish", from_page=True)[0], "with a key it is as good as anybody")

    def test_unknown_methods_are_404(self) -> None:
        for method in ("", "nope", "Publish", "publish/", "__init__", "openapi.json"):
            status, _, answer = self.ask(method)
            self.assertEqual((404, 104), (status, answer["error"]["code"]), method)

    def test_methods_that_others_have_are_not_available(self) -> None:
        for method in NOT_HERE:
            self.assertEqual(108, self.error(method, b"whatever"))
        self.assertFalse(NOT_HERE & set(METHODS))

    def test_draining_is_503(self) -> None:
        self.node.draining = True
        status, headers, answer = self.ask("publish")
        self.assertEqual((503, 100, "1"), (status, answer["error"]["code"], headers["Retry-After"]))
        self.assertEqual([], self.node.calls)

    def test_malformed_bodies_are_400_and_name_the_place_but_not_the_value(self) -> None:
        for method, body, place in self.malformed():
            status, _, answer = self.ask(method, body)
            self.assertEqual((400, 107), (status, answer["error"]["code"]), (method, body))
            self.assertIn(place, answer["error"]["message"], (method, body))
            self.assertNotIn(CANARY, json.dumps(answer))
        self.assertEqual([], self.node.calls)

    def malformed(self) -> Iterator[tuple[str, Any, str]]:
        yield from (
            ("publish", body, "not JSON") for body in (b"", b"{", b'{"channel":"x"} x', b"nope", b"\xef\xbb\xbf{}")
        )
        yield "publish", b'{"channel":"\\ud800","data":1}', "not JSON"
        yield "publish", b'{"channel":"x","data":"\xff"}', "UTF-8"
        yield "publish", b"[" * 100_000, "too deep"
        wrong: tuple[Any, ...] = ([], "x", 1, None, {}, {"data": 1})
        yield from (("publish", body, "`$`") for body in wrong)
        yield "publish", {"channel": 1}, "`$.channel`"
        yield "publish", {"channel": None, "data": CANARY}, "`$.channel`"
        yield "publish", {"channel": "x", "b64data": CANARY}, "`$.b64data`"
        yield "publish", {"channel": "x", "tags": {CANARY: 1}}, "`$.tags[...]`"
        yield "publish", {"channel": "x", "tags": [CANARY]}, "`$.tags`"
        yield "publish", {"channel": "x", "version": -1}, "`$.version`"
        yield "publish", {"channel": "x", "version": 2**63}, "`$.version`"
        yield "broadcast", {"channels": ["x", 1]}, "`$.channels[1]`"
        yield "history", {"channel": "x", "limit": CANARY}, "`$.limit`"
        yield "history", {"channel": "x", "since": {"offset": -1}}, "`$.since.offset`"
        yield "history", {"channel": "x", "since": 1}, "`$.since`"
        yield "disconnect", {"user": "u", "disconnect": {"code": 5000}}, "`$.disconnect.code`"
        yield "subscribe", {"user": "u", "channel": "x", "override": {"presence": True}}, "`$.override.presence`"
        yield "batch", {"commands": {}}, "`$.commands`"
        yield "batch", {"commands": [1]}, "`$.commands[0]`"
        yield "batch", {"commands": [{"info": {}}, {}]}, "$.commands[1]"
        yield "batch", {"commands": [{"info": {}, "publish": {}}]}, "$.commands[0]"
        good = {"publish": {"channel": "x", "data": 1}}
        yield "batch", {"commands": [good, {"publish": {"channel": [CANARY]}}]}, "`$.commands[1].publish.channel`"
        yield "batch", {"commands": [good, {"publish": {}}]}, "`$.commands[1].publish`"

    def test_fields_that_are_not_known_are_ignored(self) -> None:
        self.assertEqual(200, self.ask("info", {"more": [1, {"x": None}]})[0])

    def test_every_refusal_has_a_number(self) -> None:
        self.assertEqual({400, 401, 404, 405, 413, 503}, set(REFUSED))

    def test_request_shows_no_secret(self) -> None:
        headers: dict[str, str] = {"x-api-key": CANARY}
        request = api_request("publish", lambda name: headers.get(name), f"api_key={CANARY}", CANARY.encode())
        self.assertEqual((CANARY, CANARY), (request.key, request.query_key))
        self.assertNotIn(CANARY, repr(request))


class HeaderTests(SynchronousTestCase):
    def test_where_the_key_stands(self) -> None:
        for headers, key in (
            ({}, None),
            ({"x-api-key": "k"}, "k"),
            ({"authorization": "apikey k"}, "k"),
            ({"authorization": "ApiKey  k"}, "k"),
            ({"authorization": "Bearer k"}, "k"),
            ({"authorization": "Basic azpr"}, None),
            ({"authorization": "Bearer k x"}, None),
            ({"authorization": "Bearer"}, None),
            ({"x-api-key": "k", "authorization": "Bearer other"}, "k"),
        ):
            self.assertEqual(key, api_request("info", headers.get, "", b"").key, headers)

    def test_key_in_the_address(self) -> None:
        for query, key in (
            ("", None),
            ("x=1", None),
            ("api_key=k", "k"),
            ("x=1&api_key=k%2B", "k+"),
            ("api_key=", ""),
            ("api_key=a&api_key=b", "a,b"),
        ):
            self.assertEqual(key, api_request("info", lambda name: None, query, b"").query_key, query)

    def test_error_mode(self) -> None:
        for value, expected in (("transport", True), ("Transport", True), ("", False), ("x", False)):
            request = api_request("info", {"x-centrifugo-error-mode": value}.get, "", b"")
            self.assertEqual(expected, request.transport_errors)


class ErrorTests(Case):
    def test_errors_are_200_or_have_a_status_of_their_own_where_wanted(self) -> None:
        for code in ErrorCode:
            self.node.outcomes["publish"] = ReplyError(code, "a reason")
            self.assertEqual(code.number, self.error("publish"))
            status, headers, answer = self.ask("publish", transport_errors=True)
            expected = {"error": {"code": code.number, "message": "a reason"}}
            self.assertEqual((STATUS[code], expected), (status, answer))
            self.assertEqual(code.temporary, "Retry-After" in headers, code)
        self.assertEqual(2 * len(ErrorCode), len(self.node.errors))

    def test_errors_of_the_application_are_bad_requests(self) -> None:
        self.node.outcomes["publish"] = ApplicationError(1000, "no")
        self.assertEqual(1000, self.error("publish"))
        self.assertEqual(400, self.ask("publish", transport_errors=True)[0])

    def test_what_was_not_expected_is_reported_and_said_to_be_internal(self) -> None:
        self.node.outcomes["publish"] = trouble = RuntimeError(CANARY)
        status, _, answer = self.ask("publish")
        self.assertEqual((200, {"error": {"code": 100, "message": "internal error"}}), (status, answer))
        self.assertEqual([trouble], [error for _, error in self.node.reports])
        self.assertEqual([100], self.node.errors)

    def test_an_answer_that_comes_later(self) -> None:
        waiting: Deferred[PublishResult] = Deferred()
        self.node.outcomes["publish"] = waiting
        answers: list[tuple[int, dict[str, str], bytes]] = []
        request = ApiRequest("publish", KEY, None, "", False, OK_BODY)
        self.api.call(request, lambda *answer: answers.append(answer))
        self.assertEqual([], answers)
        waiting.callback(PublishResult(None))
        self.assertEqual([(200, b'{"result":{}}')], [(status, body) for status, _, body in answers])


class ScopeTests(Case):
    def test_a_key_without_the_scope_is_denied(self) -> None:
        for key, method, body in (
            (READER, "publish", OK_BODY),
            (READER, "disconnect", {"user": "u"}),
            (READER, "history_remove", {"channel": "chat:x"}),
            (WRITER, "publish", {"channel": "news", "data": 1}),
            (WRITER, "publish", {"channel": "chat", "data": 1}),
            (WRITER, "info", {}),
            (WRITER, "channels", {}),
            (WRITER, "broadcast", {"channels": ["a", "b"], "data": 1}),
            (BATCHER, "broadcast", {"channels": ["chat:x"], "data": 1}),
        ):
            self.assertEqual(103, self.error(method, body, key=key), (key, method))
            self.assertEqual(403, self.ask(method, body, key=key, transport_errors=True)[0])
        self.assertEqual([], self.node.calls)

    def test_a_key_with_the_scope_is_not(self) -> None:
        for key, method, body in (
            (READER, "history", {"channel": "x"}),
            (READER, "info", {}),
            (WRITER, "publish", OK_BODY),
            (BATCHER, "publish", {"channel": "news", "data": 1}),
        ):
            self.assertIn("result", self.ask(method, body, key=key)[2], (key, method))

    def test_broadcast_looks_at_each_channel(self) -> None:
        _, _, answer = self.ask("broadcast", {"channels": ["chat:a", "news", "chat:b"], "data": 1}, key=WRITER)
        codes = [one.get("error", {}).get("code") for one in answer["result"]["responses"]]
        self.assertEqual([None, 103, None], codes)
        self.assertEqual(["chat:a", "chat:b"], self.channels())

    def test_batch_looks_at_each_command(self) -> None:
        commands = [{"publish": {"channel": "x", "data": 1}}, {"info": {}}]
        _, _, answer = self.ask("batch", {"commands": commands}, key=BATCHER)
        self.assertEqual({"publish": POSITION}, answer["replies"][0])
        self.assertEqual(103, answer["replies"][1]["error"]["code"])


class BatchTests(Case):
    def test_replies_in_order_under_the_names_of_their_methods(self) -> None:
        self.node.outcomes["bad"] = DENIED
        commands = [
            {"publish": {"channel": "a", "data": 1}},
            {"publish": {"channel": "bad", "data": 1}},
            {"presence_stats": {"channel": "a"}},
            {"nope": {}},
            {"batch": {"commands": []}},
            {"device_list": {}},
            {"publish": {"channel": "b", "data": 1}},
        ]
        for parallel in (False, True):
            self.node.calls.clear()
            status, _, answer = self.ask("batch", {"commands": commands, "parallel": parallel})
            self.assertEqual((200, ["replies"]), (status, list(answer)))
            found = [one["error"]["code"] if "error" in one else one for one in answer["replies"]]
            stats = {"presence_stats": {"num_clients": 3, "num_users": 2}}
            self.assertEqual([{"publish": POSITION}, 103, stats, 104, 104, 108, {"publish": POSITION}], found)
            self.assertEqual(["a", "bad", "b"], self.channels())

    def test_one_after_the_other_or_all_at_once(self) -> None:
        self.check_order(False, ["a"])
        self.check_order(True, ["a", "b"])

    def check_order(self, parallel: bool, started: list[str]) -> None:
        """`started`: where something is published before the first publication is done."""
        self.node.calls.clear()
        waiting: Deferred[PublishResult] = Deferred()
        self.node.outcomes["a"] = waiting
        commands = [{"publish": {"channel": name, "data": 1}} for name in "ab"]
        answers: list[bytes] = []
        body = json.dumps({"commands": commands, "parallel": parallel}).encode()
        self.api.call(ApiRequest("batch", KEY, None, "", False, body), lambda *answer: answers.append(answer[2]))
        self.assertEqual((started, []), (self.channels(), answers))
        waiting.callback(PublishResult(None))
        self.assertEqual(["a", "b"], self.channels())
        self.assertEqual({"replies": [{"publish": {}}, {"publish": POSITION}]}, json.loads(answers[0]))

    def test_nothing_of_a_malformed_batch_is_done(self) -> None:
        commands = [{"publish": {"channel": "a", "data": 1}}, {"publish": {"channel": 1}}]
        self.assertEqual(400, self.ask("batch", {"commands": commands})[0])
        self.assertEqual([], self.node.calls)

    def test_bounds(self) -> None:
        api = self.make(batch=2)
        for count, status in ((0, 200), (2, 200), (3, 400)):
            self.assertEqual(status, self.ask("batch", {"commands": [{"info": {}}] * count}, api=api)[0], count)
        for count, number in ((0, 107), (2, None), (3, 106)):
            _, _, answer = self.ask("broadcast", {"channels": ["a"] * count, "data": 1}, api=api)
            self.assertEqual(number, answer.get("error", {}).get("code"), count)

    def test_errors_inside_are_never_the_status_of_the_whole(self) -> None:
        self.node.outcomes["a"] = DENIED
        command = {"publish": {"channel": "a", "data": 1}}
        for method, body in (("batch", {"commands": [command]}), ("broadcast", {"channels": ["a"], "data": 1})):
            self.assertEqual(200, self.ask(method, body, transport_errors=True)[0])
