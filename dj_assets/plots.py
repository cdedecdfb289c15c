"""Numbers → a picture: how one stat is spread over a shard, or runs through a video, and where the bounds lie in it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from dj_assets.plan import StatRange

SIZE_INCHES = (4.8, 2.5)  # matplotlib takes (width, height)
DPI = 100
MOST_BINS = 40
TAIL_SPANS = 2.0
"""A tail is cut off the axis where it reaches this many widths of the middle 98 % beyond them."""
FEW = 20
"""Of so few values none is called a tail."""
TOO_LARGE = 1e100
"""No such number was ever measured, and axes that reach it overflow."""
PASSES, BARS, BOUND, MEAN = "#d9f0d3", "#4477aa", "#bb3322", "#222222"
MOST_DOTS = 200
"""Of a curve; more of them would make it a band."""


def histogram(values: Sequence[float], *, stat: str, unit: str, ranges: Sequence[StatRange], num_missing: int) -> bytes:
    """PNG of how a stat's values are spread, with its ranges: each end a line, what passes shaded.

    values: any number of them, none included; what is no finite number is counted as missing. num_missing: videos
    without a value. A long tail is gathered in the outermost bar, and the picture says so.
    """
    import io

    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    given = np.asarray(values, dtype=np.float64)
    found = given[np.abs(given) < TOO_LARGE]  # no NaN either
    missing = num_missing + len(given) - len(found)

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(f"{stat}: n = {len(found)}, {missing} without a value", fontsize=9)
    axes.set_ylabel("videos", fontsize=8)
    axes.tick_params(labelsize=8)
    ends = sorted({end for range_ in ranges for end in _ends(range_)})
    low, high = _view(found, ends)
    _shade(axes, ranges, ends, low, high)
    if len(found):
        axes.hist(np.clip(found, low, high), bins=_bins(found, low, high), color=BARS, zorder=2)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        _name_tails(axes, found, low, high)
    else:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", fontsize=9)
        axes.set_yticks([])
    axes.set_xlim(low, high)
    said = " and ".join(str(range_) for range_ in ranges if _ends(range_)).replace(f"{stat} ", "")
    axes.set_xlabel(f"{unit}   (passes: {said or 'everything'})", fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _ends(range_: StatRange) -> list[float]:
    """The limits that a range sets, without Data-Juicer's words for "no limit"."""
    ends = ((range_.low, range_.low_is_set), (range_.high, range_.high_is_set))
    return [end for end, is_set in ends if is_set and abs(end) < TOO_LARGE]


def _view(values: Any, ends: Sequence[float]) -> tuple[float, float]:
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
    span = high - low or abs(low) or 1.0
    reach = TAIL_SPANS * span
    # Also a bound in a tail that was cut: it decides about what is beyond.
    first, last = (float(values.min()), float(values.max())) if len(values) else (low, high)
    near = [end for end in ends if min(first, low - reach) <= end <= max(last, high + reach)]
    low, high = min(low, *near, low), max(high, *near, high)
    margin = 0.04 * (high - low) or 0.05 * abs(low) or 0.5
    return low - margin, high + margin


def _bins(values: Any, low: float, high: float) -> Any:
    """Edges of equal width over the whole axis, fewer for few values."""
    import numpy as np

    count = min(MOST_BINS, max(10, 2 * math.isqrt(len(values))))
    return np.linspace(low, high, count + 1)


def _shade(axes: Any, ranges: Sequence[StatRange], ends: Sequence[float], low: float, high: float) -> None:
    """Shade what all ranges let pass, by asking them between each two neighbouring bounds; a line for each bound."""
    shown = [end for end in ends if low < end < high]
    edges = [low, *shown, high]
    for left, right in pairwise(edges):
        if all(range_.passes((left + right) / 2) for range_ in ranges):
            axes.axvspan(left, right, color=PASSES, linewidth=0, zorder=0)
    for end in shown:
        axes.axvline(end, color=BOUND, linewidth=1.2, linestyle="--", zorder=3)


def _name_tails(axes: Any, values: Any, low: float, high: float) -> None:
    for beyond, place, align, furthest in (
        (values < low, 0.01, "left", "down to {:.4g}"),
        (values > high, 0.99, "right", "up to {:.4g}"),
    ):
        if beyond.any():
            tail = values[beyond]
            end = tail.min() if align == "left" else tail.max()
            text = f"{len(tail)} beyond, {furthest.format(end)}"
            axes.text(place, 0.97, text, transform=axes.transAxes, ha=align, va="top", fontsize=7)


CURVE_INCHES_HIGH = 1.9


def curve(
    seconds: Sequence[float],
    values: Sequence[float],
    *,
    unit: str,
    mean: float,
    ranges: Sequence[StatRange],
    shown: Sequence[int],
    width_px: int,
) -> bytes:
    """PNG of window values through a video: each a point over its time, their mean a line, bounds as in `histogram`.

    seconds, values: one per window, one or more. mean: the stat that they are reduced to, which the bounds are about.
    shown: numbers of windows to mark. Bounds far above every value are left out, and named.
    """
    import io

    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_px / DPI, CURVE_INCHES_HIGH), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.tick_params(labelsize=8)
    found = np.asarray(values, dtype=np.float64)
    ends = sorted({end for range_ in ranges for end in _ends(range_)})
    bottom, top = min(0.0, float(found.min())), max(float(found.max()), mean) or 1.0
    # A bound that would squeeze the curve into a line is named by the sheet's title alone.
    near = [end for end in ends if bottom - 2 * (top - bottom) <= end <= top + 2 * (top - bottom)]
    low, high = min([bottom, *near]), max([top, *near])
    margin = 0.08 * (high - low)
    low, high = low - (margin if low < 0 else 0), high + margin
    shown_ends = [end for end in ends if low <= end <= high]
    for left, right in pairwise([low, *shown_ends, high]):
        if ends and all(range_.passes((left + right) / 2) for range_ in ranges):
            axes.axhspan(left, right, color=PASSES, linewidth=0, zorder=0)
    for end in shown_ends:
        axes.axhline(end, color=BOUND, linewidth=1.2, linestyle="--", zorder=3, label=f"bound {end:.6g}")
    axes.axhline(mean, color=MEAN, linewidth=1.4, zorder=3, label=f"mean {mean:.4g}")
    axes.plot(seconds, found, color=BARS, linewidth=1.2, marker="." if len(found) <= MOST_DOTS else "", zorder=4)
    marked = list(shown)
    axes.plot(
        np.asarray(seconds)[marked],
        found[marked],
        color=BARS,
        marker="o",
        linestyle="",
        markersize=6,
        zorder=5,
        label="shown below",
    )
    axes.set_ylim(low, high)
    axes.set_xlim(min(0.0, min(seconds)), max(seconds) * 1.01 or 1.0)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel(textwrap.fill(_plain(unit), 24), fontsize=7)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def font_path(*, is_bold: bool = False) -> Path:
    """A font file with most of Unicode's alphabets, which matplotlib brings along."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf")


def glyphs(path: Path) -> frozenset[int]:
    """The code points that a font file has a glyph for."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(path)).get_charmap())


def _plain(text: str) -> str:
    """No formula: matplotlib takes what stands between two dollars for one."""
    return text.replace("$", r"\$")
