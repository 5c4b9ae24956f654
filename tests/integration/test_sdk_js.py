"""npm `centrifuge` in Node against the real process: WebSocket (JSON, Protobuf), HTTP streaming, SSE."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.integration import sdk_scenarios as scenarios
from tests.integration.sdk import NODE_TRANSPORTS, node_driver
from tests.integration.sdk_stage import Stage, start_sdk_server


class CentrifugeTests(TestCase):
    timeout = 90

    async def test_everything(self) -> None:
        """All scenarios over all transports, on one server."""
        stage = Stage(self, await start_sdk_server(self), await node_driver(self))
        await scenarios.run(stage, scenarios.EVERYTHING, NODE_TRANSPORTS)
