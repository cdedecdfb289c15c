"""How a stat's values are spread, as an axis shows it: which part of it, in how many bars, what passes; and a sketch of
that in SVG, for runs, where importing matplotlib would take longer than everything else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from dj_assets.ranges import StatRange, in_words

PASSES, BARS, BOUND = "#d9f0d3", "#4477aa", "#bb3322"
MOST_BINS = 40
TAIL_SPANS = 2.0
"""A tail is cut off the axis where it reaches this many widths of the middle 98 % beyond them."""
FEW = 20
"""Of so few values none is called a tail."""
TOO_LARGE = 1e100
"""No such number was ever measured, and axes that reach it overflow."""
LEAST, LEAST_SHARE = 1e-100, 1e-9
"""Numbers that differ by less, or by less of themselves, are one: ticks could not tell them apart."""


def drawable(values: Sequence[float], num_missing: int) -> tuple[Any, int]:
    """(float64 [n] that an axis can hold, how many others)."""
    import numpy as np

    given = np.asarray(values, dtype=np.float64)
    found = given[np.abs(given) < TOO_LARGE]  # no NaN either
    return found, num_missing + len(given) - len(found)


def ends_of(range_: StatRange) -> list[float]:
    """The limits of a range that an axis can hold."""
    return [end for end in range_.limits if abs(end) < TOO_LARGE]


def view(values: Any, ends: Sequence[float]) -> tuple[float, float]:
    """(left, right) end of the axis: the values but for long tails, and each bound not far from any of them."""
    import numpy as np

    if not len(values):
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    elif len(values) < FEW:
        low, high = float(values.min()), float(values.max())
    else:
        first, last = (float(value) for value in np.quantile(values, (0.01, 0.99)))
        reach = TAIL_SPANS * (last - first)
        low = float(values.min()) if first - float(values.min()) <= reach or reach == 0 else first
        high = float(values.max()) if float(values.max()) - last <= reach or reach == 0 else last
    if high - low < max(LEAST_SHARE * max(abs(low), abs(high)), LEAST):  # one number but for rounding
        low = high = (low + high) / 2
    span = high - low or abs(low) or 1.0
    reach = TAIL_SPANS * span
    # Also a bound in a tail that was cut: it decides about what is beyond.
    first, last = (float(values.min()), float(values.max())) if len(values) else (low, high)
    near = [end for end in ends if min(first, low - reach) <= end <= max(last, high + reach)]
    low, high = min(low, *near, low), max(high, *near, high)
    margin = 0.04 * (high - low) or 0.05 * abs(low)
    margin = margin if margin > LEAST else 0.5
    return low - margin, high + margin


def bin_edges(values: Any, low: float, high: float) -> Any:
    """Edges of equal width over the whole axis, fewer for few values."""
    import numpy as np

    count = min(MOST_BINS, max(10, 2 * math.isqrt(len(values))))
    return np.linspace(low, high, count + 1)


def unit_and_ranges(stat: str, unit: str, ranges: Sequence[StatRange]) -> str:
    said = in_words(ranges).replace(f"{stat} ", "")
    return f"{unit}   (passes: {said})"


def passing(
    ranges: Sequence[StatRange], ends: Sequence[float], low: float, high: float
) -> Iterator[tuple[float, float]]:
    """The parts of an axis that all ranges let pass, found by asking them between each two neighbouring bounds."""
    for left, right in pairwise([low, *(end for end in ends if low < end < high), high]):
        if all(range_.passes((left + right) / 2) for range_ in ranges):
            yield left, right


def tails(values: Any, low: float, high: float) -> tuple[str, str]:
    """What lies beyond the (left, right) end of an axis, in words; empty where nothing does."""
    below, above = values[values < low], values[values > high]
    return (
        f"{len(below)} beyond, down to {below.min():.4g}" if len(below) else "",
        f"{len(above)} beyond, up to {above.max():.4g}" if len(above) else "",
    )


# --- the sketch

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 470, 26, 200
"""Edges of the axes, in pixels."""

LINE_LETTERS = 76
"""Of what stands below the axis, in a line."""


def histogram_svg(
    values: Sequence[float],
    *,
    stat: str,
    unit: str,
    ranges: Sequence[StatRange],
    num_missing: int,
    counted: str = "videos",
) -> str:
    """What `plots.histogram` shows of these, as an SVG document of a few kB, without matplotlib; arguments as there."""
    import numpy as np

    found, missing = drawable(values, num_missing)
    ends = sorted({end for range_ in ranges for end in ends_of(range_)})
    low, high = view(found, ends)
    counts, edges = np.histogram(np.clip(found, low, high), bins=bin_edges(found, low, high))
    across = _Scale(low, high, LEFT, RIGHT)
    up = _Scale(0.0, 1.05 * max(1, int(counts.max())), BOTTOM, TOP)
    parts = [
        *(_box(across(a), TOP, across(b), BOTTOM, PASSES) for a, b in passing(ranges, ends, low, high)),
        *(
            _box(across(a), up(count), across(b), BOTTOM, BARS)
            for count, (a, b) in zip(counts.tolist(), pairwise(edges.tolist()), strict=True)
            if count
        ),
        *(_bound(across(end)) for end in ends if low < end < high),
        f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}" fill="none" stroke="black"/>',
        *(_tick_across(across(tick), tick) for tick in _ticks(low, high)),
        *(_tick_up(up(tick), tick) for tick in _ticks(0.0, up.high, whole=True) if len(found)),
        *_words(found, f"{stat}: n = {len(found)}, {missing} without a value", counted, low, high),
        *_below(unit_and_ranges(stat, unit, ranges)),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )


class _Scale:
    """From numbers to pixels."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self.low, self.high = low, high
        self._first, self._factor = first, (last - first) / (high - low)

    def __call__(self, value: float) -> float:
        return self._first + self._factor * (value - self.low)


def _box(left: float, top: float, right: float, bottom: float, colour: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" fill="{colour}"/>'
    )


def _bound(x: float) -> str:
    return f'<path d="M{x:.1f} {TOP}V{BOTTOM}" stroke="{BOUND}" stroke-width="1.2" stroke-dasharray="4 2"/>'


def _tick_across(x: float, value: float) -> str:
    return f'<path d="M{x:.1f} {BOTTOM}v4" stroke="black"/>{_text(x, BOTTOM + 15, f"{value:.6g}", "middle")}'


def _tick_up(y: float, value: float) -> str:
    return f'<path d="M{LEFT} {y:.1f}h-4" stroke="black"/>{_text(LEFT - 6, y + 4, f"{value:.6g}", "end")}'


def _words(found: Any, title: str, counted: str, low: float, high: float) -> Iterator[str]:
    yield _text((LEFT + RIGHT) / 2, 17, title, "middle")
    middle = (TOP + BOTTOM) / 2
    yield f'<g transform="rotate(-90 10 {middle})">{_text(10, middle + 2, counted, "middle")}</g>'
    if not len(found):
        yield _text((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2, "no values", "middle")
    left, right = tails(found, low, high)
    yield _text(LEFT + 4, TOP + 12, left, "start") if left else ""
    yield _text(RIGHT - 4, TOP + 12, right, "end") if right else ""


def _below(text: str) -> Iterator[str]:
    import textwrap

    for number, line in enumerate(textwrap.wrap(text, LINE_LETTERS)[:2]):
        yield _text((LEFT + RIGHT) / 2, BOTTOM + 30 + 13 * number, line, "middle")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(_printable(text))}</text>'


def _printable(text: str) -> str:
    """XML holds no control characters and no lone surrogates."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """At most seven round numbers within an axis, a step of 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** math.floor(math.log10((high - low) / 6))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= (high - low) / 6)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step)
    # 0.3 rather than 3 * 0.1
    return [float(f"{number * step:.12g}") for number in range(first, first + 8) if number * step <= high]
