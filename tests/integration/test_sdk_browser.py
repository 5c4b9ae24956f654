"""npm `centrifuge` in a page of headless Chromium against the real process, from an origin that is allowed."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import TestCase

from tests.integration import sdk_scenarios as scenarios
from tests.integration.sdk import NODE_TRANSPORTS, SdkBrowser, SdkSite
from tests.integration.sdk_recovery import history_trimmed, network_broke, server_restarted, server_side_recovered
from tests.integration.sdk_stage import Stage, start_sdk_server, token


class PageStage(Stage):
    """Chromium has six HTTP connections to a host; so each client asks a host of its own, all of which are this one."""

    _numbers = itertools.count()

    @property
    def base(self) -> str:
        return f"http://host-{next(self._numbers)}.localhost:{self.server.port()}"


class PageTests(TestCase):
    timeout = 120

    async def test_everything(self) -> None:
        """All scenarios over all transports, then those of coming back, one transport after the other."""
        site = SdkSite(self)
        browser = SdkBrowser(self, site)
        await browser.start()
        origins = [site.origin]
        stage = PageStage(self, await start_sdk_server(self, origins), browser.driver, origins)
        await scenarios.run(stage, scenarios.EVERYTHING, NODE_TRANSPORTS)
        for transport in NODE_TRANSPORTS:
            for scenario in (network_broke, history_trimmed, server_side_recovered):
                await scenarios.run(stage, [scenario], [transport])
        await server_restarted(stage, NODE_TRANSPORTS)

    async def test_foreign_origin(self) -> None:
        """No transport lets in a page of an origin that is not allowed."""
        site = SdkSite(self)
        browser = SdkBrowser(self, site)
        await browser.start()
        stage = PageStage(self, await start_sdk_server(self, [site.foreign_origin]), browser.driver)
        for transport in NODE_TRANSPORTS:
            client = await browser.driver.open(transport, stage.base, token=token("alice"))
            await client.take("error")
            await client.disconnect()
            self.assertNotIn("connected", client.kinds())
