"""Arrays behind a chart: bins of an axis, the values that decide about one end of a range, what is kept from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dj_assets.columns import PASSES, UNKNOWN, StepColumns
from dj_assets.operators._contract import Bound
from dj_assets.plan import Step
from dj_assets.ranges import StatRange

BINS = 120
TAIL_SPANS = 2.0
"""As in the plots: a tail further than so many widths of the middle 98 % is gathered in the outermost bar."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.uint8]
"""Bins of an axis: of at most 256, since a million of them are copied with every move of the mouse."""


@dataclass(frozen=True)
class Axis:
    """Equal bins over one stat. What lies beyond the ends is gathered in the outermost bins."""

    low: float
    high: float
    bins: int = BINS

    def places(self, values: Floats) -> Places:
        """Bin of each value, 0 to bins - 1; of NaN any."""
        with np.errstate(invalid="ignore"):
            scaled = (values - self.low) * (self.bins / (self.high - self.low))
            return np.clip(np.nan_to_num(scaled, nan=0.0), 0, self.bins - 1).astype(np.uint8)

    def inside(self, values: Floats) -> Flags:
        """Values that lie on the axis. Of NaN none."""
        return (values >= self.low) & (values <= self.high)

    def beyond(self, values: Floats, *, above: bool) -> Flags:
        """Values past the end of the axis on the side that is kept: they pass wherever on it a bound lies."""
        return values > self.high if above else values < self.low


def axis_over(values: Floats, ends: Sequence[float]) -> Axis:
    """An axis that shows these values but for far tails, and each end of a range."""
    found = values[np.isfinite(values)]
    if len(found):
        first, last = np.quantile(found, (0.01, 0.99))
        reach = TAIL_SPANS * (last - first)
        low = float(found.min()) if not reach or found.min() >= first - reach else float(first)
        high = float(found.max()) if not reach or found.max() <= last + reach else float(last)
    else:
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    span = (high - low) or abs(low) or 1.0
    near = [end for end in ends if low - 2 * span <= end <= high + 2 * span]
    low, high = min(low, *near, low), max(high, *near, high)
    margin = 0.08 * (high - low) or 0.05 * abs(low) or 0.5
    return Axis(low - margin, high + margin)


def deciding_values(
    one: StepColumns, bound: Bound, ranges: Sequence[StatRange], any_or_all: Literal["any", "all"]
) -> Floats:
    """Per sample, the value that one end of one range is compared with: float64 [num_samples].

    Of the videos for which this end matters, the best under `any` and the worst under `all`. NaN where the sample
    fails or is unknown wherever the end lies; infinite, on the side that is kept, where it passes anyway.
    """
    above = (bound.side == "min") != next(r for r in ranges if r.stat == bound.stat).is_reversed
    always = np.inf if above else -np.inf
    values = one.values[one.stat(bound.stat)].copy()
    for range_ in ranges:
        codes = one.range_codes(range_)
        if range_.stat != bound.stat or not range_.is_reversed:
            values[codes != PASSES] = np.nan
        else:
            # Outside a reversed range's other end a video passes, wherever this end lies.
            values[codes == UNKNOWN] = np.nan
            values[_beyond_other_end(values, range_, bound)] = always
    if one.is_one_each:
        return values
    found = np.full(one.num_samples, always)
    if len(values):
        starts = one.starts
        best = (any_or_all == "any") == above
        filled = np.where(np.isnan(values), -always, values) if any_or_all == "any" else values
        reduced = (np.maximum if best else np.minimum).reduceat(filled, starts)  # NaN is passed on
        if any_or_all == "any":
            reduced = np.where(reduced == -always, np.nan, reduced)
        found[one.samples[starts]] = reduced
    return found


def _beyond_other_end(values: Floats, range_: StatRange, bound: Bound) -> Flags:
    """Values that a reversed range keeps by its other end than this bound."""
    if bound.side == "min":
        return values >= range_.high if range_.high_closed else values > range_.high
    return values <= range_.low if range_.low_closed else values < range_.low


def keeps_above(step: Step, bound: Bound) -> bool:
    """Whether this end keeps values above it: a minimum does, and the maximum of a reversed range."""
    is_reversed = next((range_.is_reversed for range_ in step.ranges if range_.stat == bound.stat), False)
    return (bound.side == "min") != is_reversed


def passes_end(values: Floats, limit: float, range_: StatRange, bound: Bound, step: Step) -> Flags:
    # Also of a reversed range: by default its ends are kept on both sides.
    closed = range_.low_closed if bound.side == "min" else range_.high_closed
    if keeps_above(step, bound):
        return values >= limit if closed else values > limit
    return values <= limit if closed else values < limit


def bars(places: Places, chosen: Flags) -> list[int]:
    # Quicker than places[chosen], which has to guess each sample's turn; the last bin is of those not chosen.
    return np.bincount(np.where(chosen, places, np.uint8(BINS)), minlength=BINS + 1)[:BINS].tolist()


def kept_from(counts: npt.NDArray[np.int64], above: bool) -> npt.NDArray[np.int64]:
    """Counts per bin → counts kept with the end at each edge: [bins] → [bins + 1]."""
    if above:
        return np.concatenate([np.cumsum(counts[::-1])[::-1], [0]])
    return np.concatenate([[0], np.cumsum(counts)])


def kept_with_anyway(counts: npt.NDArray[np.int64], above: bool) -> npt.NDArray[np.int64]:
    """As `kept_from`, of counts whose last bin is kept anyway."""
    return kept_from(counts[:-1], above) + counts[-1]


def of_videos(one: StepColumns, of_samples: Flags) -> Flags:
    return of_samples if one.is_one_each else of_samples[one.samples]
