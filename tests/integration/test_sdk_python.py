"""PyPI `centrifuge-python` against the real process: JSON and Protobuf."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.integration import sdk_scenarios as scenarios
from tests.integration.sdk import PYTHON_TRANSPORTS, python_driver
from tests.integration.sdk_stage import Stage, start_sdk_server


class CentrifugePythonTests(TestCase):
    timeout = 90

    async def test_everything(self) -> None:
        """All scenarios over both transports, on one server."""
        stage = Stage(self, await start_sdk_server(self), await python_driver(self))
        await scenarios.run(stage, scenarios.EVERYTHING, PYTHON_TRANSPORTS)
