"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc import __version__
from realtime_svc.core.instruments import Instruments
from realtime_svc.metrics import exposition

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(instruments: Instruments, *, ready: bool = True) -> Samples:
    """(name, labels) -> value, by Prometheus' own parser."""
    text = exposition(instruments, ready=ready).decode()
    families = list(text_string_to_metric_families(text))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


class ExpositionTests(SynchronousTestCase):
    def test_every_instrument_is_exposed(self) -> None:
        """Each is set to a number of its own, and each number comes out where it belongs."""
        node = Instruments()
        node.connections["raw"], node.connections_total["raw"] = 1, 2
        node.messages_in["plain"], node.messages_out["plain"] = 3, 4
        node.refusals[401, "unauthorized"] = 5
        node.errors[107], node.closes[3008], node.authentication_failures["expired"] = 6, 7, 8
        node.bytes_in, node.bytes_out, node.publications = 9, 10, 11
        node.subscriptions, node.queued_bytes, node.log_lines_suppressed = 12, 13, 14
        node.webhooks["retried"] = 15
        node.positions_lost = 16
        expected: Samples = {
            ("connections", (("protocol", "raw"),)): 1,
            ("connections_opened_total", (("protocol", "raw"),)): 2,
            ("messages_in_total", (("protocol", "plain"),)): 3,
            ("messages_out_total", (("protocol", "plain"),)): 4,
            ("refusals_total", (("cause", "unauthorized"), ("status", "401"))): 5,
            ("errors_total", (("code", "107"),)): 6,
            ("closes_total", (("code", "3008"),)): 7,
            ("authentication_failures_total", (("cause", "expired"),)): 8,
            ("bytes_in_total", ()): 9,
            ("bytes_out_total", ()): 10,
            ("publications_total", ()): 11,
            ("subscriptions", ()): 12,
            ("queue_bytes", ()): 13,
            ("log_lines_suppressed_total", ()): 14,
            ("webhook_events_total", (("outcome", "retried"),)): 15,
            ("positions_lost_total", ()): 16,
        }
        self.assertEqual(len(Instruments.__slots__), len(expected), "an instrument is not exposed, or not tested")
        found = read(node)
        for (name, labels), value in expected.items():
            self.assertEqual(value, found.get((f"realtime_svc_{name}", labels)), name)

    def test_numbers_are_those_of_the_moment(self) -> None:
        node = Instruments()
        before = read(node)
        node.publications += 5
        self.assertEqual(0, before["realtime_svc_publications_total", ()])
        self.assertEqual(5, read(node)["realtime_svc_publications_total", ()])

    def test_readiness(self) -> None:
        for ready in (True, False):
            self.assertEqual(int(ready), read(Instruments(), ready=ready)["realtime_svc_ready", ()])

    def test_process_collector_and_version_are_there(self) -> None:
        found = read(Instruments())
        names = {name for name, _ in found}
        self.assertLessEqual(
            {"process_resident_memory_bytes", "process_open_fds", "python_gc_collections_total"}, names
        )
        build = next(dict(labels) for name, labels in found if name == "realtime_svc_build_info")
        self.assertEqual(__version__, build["version"])
