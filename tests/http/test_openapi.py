"""The OpenAPI document: it is the one that ships, it is sound, and its examples are true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import __version__, config
from realtime_svc.core.node import Node
from realtime_svc.http import openapi
from realtime_svc.http.api import Api, ApiRequest
from realtime_svc.http.api_methods import METHODS
from tests.http.fake_node import FakeNode

FILE = Path(__file__).resolve().parents[2] / "etc" / "openapi.json"
DOCUMENT = openapi.document(__version__)


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Of a schema in the document; its references lead to the document's components."""
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        yield path.removeprefix("/"), item["post"]


def everything(node: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from everything(child)


class DocumentTests(SynchronousTestCase):
    def test_file_is_what_the_types_say(self) -> None:
        hint = f"`realtime-svc openapi > {FILE}` writes it anew"
        self.assertEqual(openapi.encoded(__version__).decode(), FILE.read_text(), hint)

    def test_every_method_is_in_it(self) -> None:
        names = {*METHODS, "batch"}
        self.assertEqual((names, names), ({name for name, _ in operations()}, set(openapi.EXAMPLES)))
        self.assertEqual(names, {operation["operationId"] for _, operation in operations()})

    def test_every_schema_is_one(self) -> None:
        for name, schema in DOCUMENT["components"]["schemas"].items():
            Draft202012Validator.check_schema(schema)
            self.assertTrue(name)

    def test_every_reference_leads_somewhere(self) -> None:
        references = [node["$ref"] for node in everything(DOCUMENT) if "$ref" in node]
        self.assertGreater(len(references), 50)
        for reference in references:
            target: Any = DOCUMENT
            for step in reference.removeprefix("#/").split("/"):
                self.assertIn(step, target, reference)
                target = target[step]

    def test_every_component_is_used(self) -> None:
        references = {node["$ref"] for node in everything(DOCUMENT) if "$ref" in node}
        for kind in ("schemas", "responses", "parameters"):
            for name in DOCUMENT["components"][kind]:
                self.assertIn(f"#/components/{kind}/{name}", references)

    def test_statuses(self) -> None:
        real = {"200", "400", "401", "404", "413", "503"}
        for name, operation in operations():
            found = set(operation["responses"])
            self.assertLessEqual(real, found, name)
            self.assertEqual(name == "batch", found == real, name)

    def test_examples_are_valid(self) -> None:
        for name, operation in operations():
            contents = [operation["requestBody"]["content"], operation["responses"]["200"]["content"]]
            for content in contents:
                media = content["application/json"]
                validator(media["schema"]).validate(media["example"])
            self.assertEqual(2, len(contents), name)
        for response in DOCUMENT["components"]["responses"].values():
            media = response["content"]["application/json"]
            validator(media["schema"]).validate(media["example"])


class TruthTests(SynchronousTestCase):
    """What the API does is what the document says."""

    def ask(self, method: str, body: Any) -> Any:
        api = Api(cast(Node, FakeNode()), config.Api(insecure=True))
        answers: list[tuple[int, bytes]] = []
        request = ApiRequest(method, None, None, "application/json", False, json.dumps(body).encode())
        api.call(request, lambda status, headers, answer: answers.append((status, answer)))
        ((status, answer),) = answers
        self.assertEqual(200, status, (method, body))
        return json.loads(answer)

    def test_examples_are_taken_and_answers_are_as_described(self) -> None:
        for name, operation in operations():
            answer = self.ask(name, operation["requestBody"]["content"]["application/json"]["example"])
            self.assertIn("replies" if name == "batch" else "result", answer)
            validator(operation["responses"]["200"]["content"]["application/json"]["schema"]).validate(answer)

    def test_errors_are_as_described(self) -> None:
        for name, operation in operations():
            body = {"channel": "x", "channels": [], "user": "", "disconnect": {"code": 1}, "commands": [{"nope": 1}]}
            answer = self.ask(name, body)
            validator(operation["responses"]["200"]["content"]["application/json"]["schema"]).validate(answer)

    def test_requests_without_what_is_required_are_against_the_schema(self) -> None:
        for name, operation in operations():
            media = operation["requestBody"]["content"]["application/json"]
            schema = DOCUMENT["components"]["schemas"][media["schema"]["$ref"].rpartition("/")[2]]
            for field in schema.get("required", ()):
                body = {key: value for key, value in media["example"].items() if key != field}
                self.assertFalse(validator(media["schema"]).is_valid(body), (name, field))
