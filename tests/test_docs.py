"""The documents: every link inside the repository leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def documents() -> list[Path]:
    return [path for pattern in ("*.md", "docs/*.md", "bench/**/*.md") for path in sorted(ROOT.glob(pattern))]


def anchors(text: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    found = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in found}


def broken(document: Path, text: str) -> list[str]:
    """Links of `text`, the contents of `document`, that lead nowhere."""
    found = []
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and anchor not in anchors(text if not path else target.read_text())):
            found.append(f"{document.relative_to(ROOT)}: {link}")
    return found


class LinkTests(SynchronousTestCase):
    def test_all_lead_somewhere(self) -> None:
        found = documents()
        self.assertGreater(len(found), 10)
        self.assertEqual([], [link for path in found for link in broken(path, path.read_text())])

    def test_one_that_does_not_is_found(self) -> None:
        readme = ROOT / "README.md"
        text = (
            "# A `b` c\n[1](docs/none.md) [2](docs/sdks.md) [3](#a-b-c) [4](#d) [5](docs/sdks.md#none) [6](https://x.y)"
        )
        expected = ["README.md: docs/none.md", "README.md: #d", "README.md: docs/sdks.md#none"]
        self.assertEqual(expected, broken(readme, text))
