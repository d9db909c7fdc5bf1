"""A picture of the table: lines over the number of agents, both axes logarithmic. Plain SVG, made here.

Colours are Okabe and Ito's first, told apart by the colour-blind too; words and axes are a grey that reads on white and
on black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape, quoteattr

COLOURS = ["#009e73", "#d55e00", "#e69f00", "#0072b2", "#cc79a7", "#56b4e9", "#8c6bb1", "#a6761d", "#999999"]
_GREY = "#808080"
_WIDTH, _HEIGHT = 330, 250  # of a panel's plot
_LEFT, _TOP, _GAP = 62, 96, 78
_ROW = 18
_LEGEND_WIDTH = 170


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: what it shows, with the unit.
        lines: points by name, (x, y); values that are not above 0 are left out.
        ideal: a level that cannot be beaten, or None.
    """

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    ideal: float | None = None


def chart(title: str, panels: Sequence[Panel]) -> str:
    """The picture as an SVG document."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    columns = max(1, (width - _LEFT) // _LEGEND_WIDTH)
    legend_rows = -(-len(names) // columns)
    top = _TOP + legend_rows * _ROW - _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + _HEIGHT + 58}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="{_GREY}">',
        f"<title>{escape(title)}</title>",
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    for number, name in enumerate(names):
        x, y = _LEFT + number % columns * _LEGEND_WIDTH, 48 + number // columns * _ROW
        parts.append(f'<path d="M{x} {y}h22" stroke="{colours[name]}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 28}" y="{y + 4}">{escape(name)}</text>')
    for number, panel in enumerate(panels):
        parts += _draw(panel, _LEFT + number * (_WIDTH + _GAP), top, colours)
    return "\n".join([*parts, "</svg>", ""])


def _draw(panel: Panel, left: float, top: float, colours: Mapping[str, str]) -> list[str]:
    lines = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in panel.lines.items()}
    points = [point for line in lines.values() for point in line] or [(1.0, 1.0)]
    levels = [y for _, y in points] + ([panel.ideal] if panel.ideal else [])
    across, up = _Axis([x for x, _ in points], _WIDTH), _Axis(levels, _HEIGHT)
    bottom = top + _HEIGHT
    parts = [f'<text x="{left}" y="{top - 12}" font-weight="bold">{escape(panel.title)}</text>']
    for tick in sorted({x for x, _ in points}):
        x = left + across.at(tick)
        parts.append(f'<path d="M{x:.1f} {top}v{_HEIGHT}" stroke="{_GREY}" stroke-opacity="0.2"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in up.ticks():
        y = bottom - up.at(tick)
        parts.append(f'<path d="M{left} {y:.1f}h{_WIDTH}" stroke="{_GREY}" stroke-opacity="0.2"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<path d="M{left} {top}v{_HEIGHT}h{_WIDTH}" fill="none" stroke="{_GREY}"/>')
    parts.append(f'<text x="{left + _WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">agents at once</text>')
    if panel.ideal:
        y = bottom - up.at(panel.ideal)
        parts.append(f'<path d="M{left} {y:.1f}h{_WIDTH}" stroke="{_GREY}" stroke-dasharray="5 4"/>')
        parts.append(f'<text x="{left + _WIDTH}" y="{y - 4:.1f}" text-anchor="end">ideal</text>')
    for name, line in lines.items():
        at = [(left + across.at(x), bottom - up.at(y)) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        head = f'<polyline data-system={quoteattr(name)} points="{path}" fill="none"'
        parts.append(f'{head} stroke="{colours[name]}" stroke-width="2.5"/>')
        for (x, y), (agents, value) in zip(at, sorted(line), strict=True):
            said = f"<title>{escape(name)}, {agents:g} agents: {value:.4g}</title>"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[name]}">{said}</circle>')
    return parts


class _Axis:
    """Where values lie on a logarithmic axis of so many pixels."""

    def __init__(self, values: Sequence[float], pixels: float) -> None:
        low, high = log10(min(values)), log10(max(values))
        room = max(0.08 * (high - low), 0.06)
        self._low, self._high, self._pixels = low - room, high + room, pixels

    def at(self, value: float) -> float:
        return (log10(value) - self._low) / (self._high - self._low) * self._pixels

    def ticks(self) -> list[float]:
        """Powers of ten; with 2 and 5 between them where there is room for more."""
        decades = range(floor(self._low), ceil(self._high) + 1)
        steps = (
            (1,) if self._high - self._low > 3 else (1, 2, 5) if self._high - self._low > 0.6 else (1, 1.5, 2, 3, 5, 7)
        )
        found = [step * 10.0**decade for decade in decades for step in steps]
        return [tick for tick in found if self._low <= log10(tick) <= self._high]
