"""The report: tables for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.compare.figures import SERVERS, Figure
from bench.compare.runner import Results
from bench.compare.stats import Summary, summary

BEGIN = "<!-- bench-peers: begin -->"
END = "<!-- bench-peers: end -->"


def summaries(figure: Figure, results: Results) -> dict[str, Summary]:
    """By server, the best first (for memory: the least); those that failed last."""
    runs = results.get(figure.name, {})
    ceiling, ours = runs.get(figure.ceiling, []), runs.get("realtime_svc", [])
    found = {name: summary(samples, ceiling, ours) for name, samples in runs.items()}
    sign = 1 if figure.mode == "idle" else -1

    def order(item: tuple[str, Summary]) -> tuple[bool, float]:
        return item[1].rate is None, sign * (item[1].rate or 0)

    return dict(sorted(found.items(), key=order))


def number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def head(figure: Figure) -> list[str]:
    if figure.mode == "idle":
        return ["server", "KB a connection", "to realtime_svc", "least - most", "runs"]
    to_ceiling = ["to the ceiling"] if figure.ceiling else []
    probe = ["other channel p99, ms"] if figure.probe else []
    cells = [
        "server",
        f"{figure.unit}/s",
        *to_ceiling,
        "to realtime_svc",
        "CPU s a million",
        "p50 ms",
        "p99 ms",
        *probe,
    ]
    return [*cells, "least - most", "load busy", "runs"]


def row(figure: Figure, name: str, found: Summary) -> list[str]:
    """As many cells as `head` has."""
    title = SERVERS[name].title
    runs = f"{found.runs - found.failed} of {found.runs}" if found.failed else str(found.runs)
    if found.rate is None:
        return [title, "failed", *[""] * (len(head(figure)) - 3), runs]
    if figure.mode == "idle":
        span = f"{number((found.lowest or 0) / 1000, 1)} - {number((found.highest or 0) / 1000, 1)}"
        return [title, number(found.rate / 1000, 1), number(found.ours, 2), span, runs]
    to_ceiling = [number(found.ceiling, 2)] if figure.ceiling else []
    probe = [number(found.probe_p99, 1)] if figure.probe else []
    span = f"{number(found.lowest)} - {number(found.highest)}"
    cells = [title, number(found.rate), *to_ceiling, number(found.ours, 2), number(found.cpu, 2)]
    return [*cells, number(found.p50, 2), number(found.p99, 2), *probe, span, _share(found.load_busy), runs]


def rows(figure: Figure, results: Results) -> list[list[str]]:
    return [head(figure), *(row(figure, name, found) for name, found in summaries(figure, results).items())]


def failures(figure: Figure, results: Results) -> list[str]:
    """One line for each server that failed in a run, with every reason."""
    found = summaries(figure, results).items()
    return [f"{SERVERS[name].title}: {'; '.join(one.errors)}" for name, one in found if one.errors]


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, numbers to the right."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]

    def line(values: Sequence[str]) -> str:
        first, *others = (
            f"{value:<{w}}" if i == 0 else f"{value:>{w}}"
            for i, (value, w) in enumerate(zip(values, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join(map(line, cells))


def as_markdown(cells: Sequence[Sequence[str]], bold: str = "") -> str:
    """A table whose first line is the head; the line whose first cell is `bold` is."""

    def line(values: Sequence[str]) -> str:
        strong = bold and values[0] == bold
        return "| " + " | ".join(f"**{value}**" if strong and value else value for value in values) + " |"

    first, *others = cells
    align = "|---|" + "---:|" * (len(first) - 1)
    return "\n".join([line(first), align, *map(line, others)])


def report(
    figures: Sequence[Figure],
    results: Results,
    told: Sequence[tuple[str, str]],
    missing: Mapping[str, str],
    plot: str = "",
) -> str:
    """The whole of it in Markdown. `told`: the conditions. `plot`: the plot's file."""
    parts = ["\n".join(f"* {name}: {value}" for name, value in told)]
    if missing:
        parts.append("Not measured, because not installed:\n")
        parts[-1] += "\n".join(f"* {name}: {reason}" for name, reason in missing.items())
    if plot:
        parts.append(f"![Rates and memory of all servers]({plot})")
    for figure in figures:
        if not results.get(figure.name):
            continue
        parts.append(f"### {figure.title}")
        parts.append(as_markdown(rows(figure, results), SERVERS["realtime_svc"].title))
        parts += [f"Failed: {line}" for line in failures(figure, results)]
    return "\n\n".join(parts) + "\n"


def included(document: str, part: str) -> str:
    """`document` with `part` between the markers; at its end without. Raises `ValueError`: one of them is missing."""
    begin, end = document.find(BEGIN), document.find(END)
    if begin < 0 and end < 0:
        return f"{document.rstrip()}\n\n{BEGIN}\n\n{part.strip()}\n\n{END}\n".lstrip()
    if begin < 0 or end < begin:
        raise ValueError(f"the document has not {BEGIN} before {END}")
    return f"{document[: begin + len(BEGIN)]}\n\n{part.strip()}\n\n{document[end:]}"
