"""SDKs that come back, over each transport, after the network broke, the server was restarted, the history trimmed."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.integration import sdk_scenarios as scenarios
from tests.integration.participants import together
from tests.integration.sdk import Driver, node_driver, python_driver
from tests.integration.sdk_recovery import RECOVERIES, server_restarted
from tests.integration.sdk_stage import Stage, start_sdk_server


class RecoveryTests(TestCase):
    timeout = 120

    async def come_back(self, driver: Driver) -> None:
        """All transports at the same time, each with a cable of its own; then all when the server is restarted."""
        server = await start_sdk_server(self)

        async def one(transport: str) -> None:
            stage = Stage(self, server, driver)
            for scenario in RECOVERIES:
                await scenarios.run(stage, [scenario], [transport])

        await together(*(one(transport) for transport in driver.transports))
        await server_restarted(Stage(self, server, driver), driver.transports)

    async def test_centrifuge(self) -> None:
        await self.come_back(await node_driver(self))

    async def test_centrifuge_python(self) -> None:
        await self.come_back(await python_driver(self))
