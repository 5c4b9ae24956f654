"""The checker catches each kind of broken promise, and nothing else."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.soak.checker import Figures, check
from tests.soak.records import ACK, DELIVERY, GAP, LEFT, NEW, PUBLISH, RECOVERED, SUBSCRIBED, TOP, Record, parse


def records(text: str) -> list[Record]:
    """One a line: kind, client, offset, note; everything is in one channel, the epoch is `E` unless it says `@F`."""
    made = []
    for line in filter(None, text.splitlines()):
        kind, client, offset, note, *epoch = line.split()
        in_epoch = epoch[0][1:] if epoch else "E"
        made.append(Record(1.5, kind, client, "chat", in_epoch, int(offset), note))
    return made


START = """
subscribed ann 0 new
delivery ann 1 m1
delivery ann 2 m2
"""
BACK = """
left ann 0 -
subscribed ann 2 recovered
"""


class CheckerTests(SynchronousTestCase):
    def found(self, text: str) -> tuple[int, int, int, int]:
        """(lost, duplicated, reordered, unsignalled gaps)"""
        figures = check(records(text))
        counts = (figures.lost, figures.duplicated, figures.reordered, figures.unsignalled_gaps)
        self.assertEqual(figures.good, counts == (0, 0, 0, 0))
        self.assertEqual(figures.good, not figures.violations)
        return counts

    def test_good(self) -> None:
        """Live, recovered with and without anything missed, told of a gap, come late, gone before the end."""
        for text in (
            START + "top - 2 -",
            START + BACK + "delivery ann 3 m3\ntop - 3 -",
            START + BACK + "top - 2 -",
            START + "left ann 0 -\nsubscribed ann 9 gap\ndelivery ann 10 m10\ntop - 10 -",
            START + "left ann 0 -\nsubscribed ann 0 gap @F\ndelivery ann 1 n1 @F\ntop - 1 - @F",
            START + "subscribed bob 2 new\ndelivery bob 3 m3\ndelivery ann 3 m3\ntop - 3 -",
            START + "left ann 0 -\ntop - 7 -",
            START + "left ann 0 -\nsubscribed ann 5 new\ntop - 5 -",
        ):
            self.assertEqual((0, 0, 0, 0), self.found(text), text)

    def test_lost(self) -> None:
        for text in (
            START + "top - 5 -",  # the last three never came
            START + BACK + "top - 5 -",  # recovered, but not all
        ):
            self.assertEqual((3, 0, 0, 0), self.found(text), text)
        self.assertEqual((1, 0, 0, 0), self.found(START + "publish bob 0 m3\nack bob 0 m3\ntop - 2 -"))

    def test_duplicated(self) -> None:
        for text in (
            START + "delivery ann 2 m2\ntop - 2 -",  # live
            START + BACK + "delivery ann 2 m2\ntop - 2 -",  # recovered
            START + "delivery ann 3 m1\ntop - 3 -",  # one message in two places
        ):
            self.assertEqual((0, 1, 0, 0), self.found(text), text)

    def test_reordered(self) -> None:
        for text in (
            "subscribed bob 2 new\ndelivery bob 1 m1",  # from before its time
            START + "left ann 0 -\ndelivery ann 3 m3\ntop - 2 -",  # who is not there gets nothing
            START + "delivery ann 3 n3 @F\ntop - 2 -",  # of another epoch
            START + "subscribed bob 1 new\ndelivery bob 2 another\ntop - 2 -",  # others got something else there
            START + "publish bob 0 m2\nack bob 2 m2\npublish bob 0 m1\nack bob 1 m1\ntop - 2 -",
        ):
            self.assertEqual((0, 0, 1, 0), self.found(text), text)

    def test_late(self) -> None:
        """What comes after its successor is out of order, and was a gap nobody signalled; but it is not lost."""
        late = START + "delivery ann 4 m4\ndelivery ann 3 m3\ndelivery ann 5 m5\ntop - 5 -"
        self.assertEqual((0, 0, 1, 1), self.found(late))

    def test_unsignalled_gap(self) -> None:
        for text, lost in (
            (START + "delivery ann 5 m5\ntop - 5 -", 2),  # live
            (START + "left ann 0 -\nsubscribed ann 4 recovered\ndelivery ann 5 m5\ntop - 5 -", 2),
            (START + "left ann 0 -\nsubscribed ann 2 recovered @F\ntop - 2 - @F", 0),  # another stream
            (START + "top - 2 - @F", 0),  # the stream was replaced under it
            (START + "subscribed ann 2 new\ntop - 2 -", 0),  # it forgot where it was
            (START + "delivery ann 4 m4\nleft ann 0 -\nsubscribed ann 9 gap\ntop - 9 -", 1),  # signalled too late
        ):
            self.assertEqual((lost, 0, 0, 1), self.found(text), text)

    def test_figures(self) -> None:
        """All that happens is counted; only violations are described, and not more than can be read."""
        text = START + BACK + "publish bob 0 m3\nack bob 3 m3\ndelivery ann 3 m3\ntop - 3 -"
        figures = check(records(text))
        expected = Figures(published=1, acknowledged=1, delivered=3, subscriptions=2, recoveries=1)
        self.assertEqual(expected, figures)
        self.assertIn("unsignalled gaps", str(figures))
        many = check(records(START + "delivery ann 2 m2\n" * 50))
        self.assertEqual((50, 20), (many.duplicated, len(many.violations)))
        self.assertIn("duplicated: at 2 already: 1.500000 delivery ann chat E 2 m2", str(many))

    def test_lines(self) -> None:
        """A record survives the file."""
        for kind in (PUBLISH, ACK, SUBSCRIBED, DELIVERY, LEFT, TOP):
            for note in (NEW, RECOVERED, GAP, "", "m1"):
                record = Record(12.25, kind, "c1", "big:1", "e", 7, note)
                self.assertEqual(record, parse(record.line()))
