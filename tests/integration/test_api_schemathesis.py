"""schemathesis reads our OpenAPI document and calls the real process with whatever that allows, and with more."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from realtime_svc.http.api_methods import METHODS
from tests.integration.api_calls import KEY, start_api
from tests.integration.server import Server, spawn

ROOT = Path(__file__).resolve().parents[2]
SEED = "20260101"
EXAMPLES = "15"  # a method and phase, at most


class SchemathesisTests(TestCase):
    """No 5xx, nothing that the document does not say, nothing refused that it allows."""

    timeout = 180

    async def test_errors_in_the_body(self) -> None:
        await self.run_against(await start_api(self, ""), "body")

    async def test_errors_as_statuses(self) -> None:
        """What the schema allows may be refused then: a schema can't know which channels there are."""
        await self.run_against(await start_api(self, ""), "transport", "--exclude-checks", "positive_data_acceptance")

    async def run_against(self, server: Server, mode: str, *more: str) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        document = f"http://127.0.0.1:{server.port('internal')}/api/openapi.json"
        command = [str(Path(sys.executable).with_name("st")), "--no-color", "run", document]
        command += ["--header", f"X-API-Key: {KEY}", "--header", f"X-Centrifugo-Error-Mode: {mode}"]
        command += ["--phases", "examples,coverage,fuzzing", "--seed", SEED, "--max-examples", EXAMPLES, *more]
        environ = {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.integration.schemathesis_hooks"}
        done = spawn(self, command, cwd=str(folder), environ=environ)
        code = await done.ended
        self.assertEqual(0, code, done.output)
        self.assertIn(f"Tested: {len(METHODS) + 1}\n", done.output)
        self.assertNotIn("Traceback", server.process.output)
        self.assertNotIn(" failed", server.process.output)
