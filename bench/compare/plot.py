"""The plot: horizontal bars, one panel a figure, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LABELS, VALUES = 860, 260, 90
BAR, GAP, HEAD, MARGIN = 16, 5, 34, 20
STYLE = """\
text { font: 12px sans-serif; fill: #24292f } .title { font-weight: bold } .back { fill: #ffffff }
.ours { fill: #1f6feb } .ceiling { fill: #d0d7de } .other { fill: #8c959f }
"""


@dataclass(frozen=True)
class Bar:
    """`kind`: ours, ceiling or other."""

    label: str
    value: float
    text: str
    kind: str


@dataclass(frozen=True)
class Panel:
    title: str
    bars: Sequence[Bar]


def _text(x: float, y: float, content: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{more}>{escape(content)}</text>'


def _panel(panel: Panel, top: float) -> tuple[list[str], float]:
    """Its elements, and where the next begins."""
    made = [_text(MARGIN, top + 20, panel.title, ' class="title"')]
    highest = max((bar.value for bar in panel.bars), default=0) or 1
    room = WIDTH - LABELS - VALUES - 2 * MARGIN
    y = top + HEAD
    for bar in panel.bars:
        length = max(1.0, room * bar.value / highest)
        left = MARGIN + LABELS
        made.append(_text(left - 8, y + 12, bar.label, ' text-anchor="end"'))
        made.append(f'<rect x="{left}" y="{y:g}" width="{length:.1f}" height="{BAR}" class="{bar.kind}"/>')
        made.append(_text(left + length + 6, y + 12, bar.text))
        y += BAR + GAP
    return made, y + 10


def svg(panels: Sequence[Panel]) -> str:
    """The document; bars of a panel are drawn to the longest of it."""
    elements: list[str] = []
    top: float = MARGIN
    for panel in panels:
        made, top = _panel(panel, top)
        elements += made
    size = f'width="{WIDTH}" height="{top + MARGIN:g}" viewBox="0 0 {WIDTH} {top + MARGIN:g}"'
    back = '<rect width="100%" height="100%" class="back"/>'
    body = "\n".join([f"<style>{STYLE}</style>", back, *elements])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{body}\n</svg>\n'
