"""Numbers → pictures: how a stat is spread or runs through a video, where its bounds lie; how stats go together."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from dj_assets.ranges import StatRange
from dj_assets.spread import BARS, BOUND, PASSES, bin_edges, drawable, ends_of, passing, tails, unit_and_ranges, view

SIZE_INCHES = (4.8, 2.5)  # matplotlib takes (width, height)
BOX_INCHES = (4.8, 1.7)
DPI = 100
MEAN = "#222222"
MOST_DOTS = 200
"""Of a curve; more of them would make it a band."""
BOX, DARK, NOTHING = "#c9d8ea", "#1c2733", "#e6e6e6"


def histogram(
    values: Sequence[float],
    *,
    stat: str,
    unit: str,
    ranges: Sequence[StatRange],
    num_missing: int,
    counted: str = "videos",
) -> bytes:
    """PNG of how a stat's values are spread, with its ranges: each end a line, what passes shaded.

    values: any number of them, none included; what is no finite number is counted as missing. num_missing: how many
    have no value. counted: what each value is of. A long tail is gathered in the outermost bar, and the picture says
    so.
    """
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    found, missing = drawable(values, num_missing)
    figure, axes = _figure(SIZE_INCHES)
    axes.set_title(f"{stat}: n = {len(found)}, {missing} without a value", fontsize=9)
    axes.set_ylabel(counted, fontsize=8)
    ends = sorted({end for range_ in ranges for end in ends_of(range_)})
    low, high = view(found, ends)
    _shade(axes, ranges, ends, low, high)
    if len(found):
        axes.hist(np.clip(found, low, high), bins=bin_edges(found, low, high), color=BARS, zorder=2)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        _name_tails(axes, found, low, high)
    else:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", fontsize=9)
        axes.set_yticks([])
    axes.set_xlim(low, high)
    axes.set_xlabel(unit_and_ranges(stat, unit, ranges), fontsize=8)
    return _png(figure)


def box(
    values: Sequence[float],
    *,
    stat: str,
    unit: str,
    ranges: Sequence[StatRange],
    num_missing: int,
    counted: str = "videos",
) -> bytes:
    """PNG of the same in one line, which counts nothing; arguments, axis and shades are those of `histogram`.

    The box holds the middle half, the whiskers the middle 90 %; a bar is the median, a diamond the mean. Dots are what
    lies beyond, at most `MOST_DOTS` on either side.
    """
    import numpy as np

    found, missing = drawable(values, num_missing)
    figure, axes = _figure(BOX_INCHES)
    axes.set_title(f"{stat}: n = {len(found)}, {missing} without a value", fontsize=9)
    axes.set_yticks([])
    ends = sorted({end for range_ in ranges for end in ends_of(range_)})
    low, high = view(found, ends)
    _shade(axes, ranges, ends, low, high)
    if len(found):
        p05, p25, p50, p75, p95 = (float(cut) for cut in np.quantile(found, (0.05, 0.25, 0.5, 0.75, 0.95)))
        # By hand: `bxp` calls its direction by another name in 3.8 than in 3.13.
        axes.hlines(1, *np.clip([p05, p95], low, high), color=BARS, zorder=2)
        axes.vlines(np.clip([p05, p95], low, high), 0.9, 1.1, color=BARS, zorder=2)
        left, right = np.clip([p25, p75], low, high)
        axes.barh(1, right - left, left=left, height=0.5, facecolor=BOX, edgecolor=BARS, zorder=2.1)
        axes.vlines(np.clip(p50, low, high), 0.75, 1.25, color=DARK, linewidth=2.5, zorder=2.2)
        mean = np.clip(found.mean(), low, high)
        axes.plot(mean, 1, "D", markerfacecolor="white", markeredgecolor=DARK, markersize=5, zorder=2.3)
        dots = np.concatenate([_some(found[found < p05]), _some(found[found > p95])])
        axes.plot(np.clip(dots, low, high), np.ones(len(dots)), ".", color=BARS, alpha=0.4, markersize=4, zorder=2)
        axes.set_ylim(0.55, 1.6)
        _name_tails(axes, found, low, high)
    else:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", fontsize=9)
    axes.set_xlim(low, high)
    axes.set_xlabel(unit_and_ranges(stat, unit, ranges), fontsize=8)
    return _png(figure)


def heat_map(names: Sequence[str], cells: Sequence[Sequence[tuple[float | None, int]]], *, title: str) -> bytes:
    """PNG of a square of correlations. cells: (-1 to 1, or None for none; number of pairs) by line and column."""
    import numpy as np

    count = len(names)
    shown = np.array([[np.nan if r is None else r for r, _ in line] for line in cells], dtype=np.float64)
    height = 1.3 + max(1.0, 0.55 * count)
    figure, axes = _figure((2.6 + max(1.6, 0.95 * count), height))
    axes.set_title(title, fontsize=9)
    axes.set_facecolor(NOTHING)
    if count:
        image = axes.imshow(shown.reshape(count, count), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02).ax.tick_params(labelsize=7)
    axes.set_xticks(range(count), names, fontsize=7, rotation=25, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names, fontsize=7)
    for row, line in enumerate(cells):
        for column, (r, pairs) in enumerate(line):
            is_dark = r is not None and abs(r) > 0.6
            said = "–" if r is None else f"{r:+.2f}"
            colour = "white" if is_dark else "black"
            axes.text(column, row, f"{said}\nn = {pairs}", ha="center", va="center", fontsize=7, color=colour)
    return _png(figure)


def _figure(size_inches: tuple[float, float]) -> tuple[Any, Any]:
    """(figure, its axes). size_inches: (width, height)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.tick_params(labelsize=8)
    return figure, axes


def _png(figure: Any) -> bytes:
    import io

    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _some(values: Any) -> Any:
    """At most `MOST_DOTS` of many, evenly over their order, both ends among them."""
    import numpy as np

    ordered = np.sort(values)
    return ordered if len(ordered) <= MOST_DOTS else ordered[np.linspace(0, len(ordered) - 1, MOST_DOTS).astype(int)]


def _shade(axes: Any, ranges: Sequence[StatRange], ends: Sequence[float], low: float, high: float) -> None:
    """Shade what all ranges let pass, by asking them between each two neighbouring bounds; a line for each bound."""
    shown = [end for end in ends if low < end < high]
    for left, right in passing(ranges, ends, low, high):
        axes.axvspan(left, right, color=PASSES, linewidth=0, zorder=0)
    for end in shown:
        axes.axvline(end, color=BOUND, linewidth=1.2, linestyle="--", zorder=3)


def _name_tails(axes: Any, values: Any, low: float, high: float) -> None:
    for text, place, align in zip(tails(values, low, high), (0.01, 0.99), ("left", "right"), strict=True):
        axes.text(place, 0.97, text, transform=axes.transAxes, ha=align, va="top", fontsize=7)


CURVE_INCHES_HIGH = 1.9


def curve(
    seconds: Sequence[float],
    values: Sequence[float],
    *,
    unit: str,
    stat: float,
    stat_label: str,
    ranges: Sequence[StatRange],
    shown: Sequence[int],
    width_px: int,
) -> bytes:
    """PNG of window values through a video: each a point over its time, their stat a line, bounds as in `histogram`.

    seconds, values: one per window, one or more. stat: what they are reduced to, which the bounds are about.
    stat_label: `mean`, say. shown: numbers of windows to mark. Bounds far above every value are left out, and named.
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
    ends = sorted({end for range_ in ranges for end in ends_of(range_)})
    bottom, top = min(0.0, float(found.min())), max(float(found.max()), stat) or 1.0
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
    axes.axhline(stat, color=MEAN, linewidth=1.4, zorder=3, label=f"{stat_label} {stat:.4g}")
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
