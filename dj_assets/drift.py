"""A shard's figure against those of other shards: is it as far off as chance and the usual spread allow?

far:  |figure - median of the others|  >  max_drift * max(spread of the others, noise of this shard)
spread: 1.4826 * median distance from the median, which one odd shard among the others does not move
noise: what a sample of this size varies by when nothing has changed, so that small shards raise no alarm
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

LEAST_OTHERS = 5
"""Of fewer shards nobody knows what is usual."""

MOST_OTHERS = 20

LEAST_SHARE = 0.01
"""Noise is never taken for less than this share of the usual figure, or of the range that it can have."""

MAD_TO_SIGMA = 1.4826
IQR_TO_SIGMA = 1 / 1.349
MEDIAN_ERROR = 1.2533
"""Standard error of a median, in units of sigma over the root of n. All three for normal numbers."""


@dataclass(frozen=True)
class Comparison:
    """usual: median of the others. deviation: distance from it, in units of the spread or noise. is_far: too much."""

    value: float
    usual: float
    deviation: float
    num_others: int
    is_far: bool


def compare(value: float, others: Sequence[float], *, noise: float, max_drift: float) -> Comparison | None:
    """None where there are fewer than `LEAST_OTHERS` others. noise: standard error of `value`, in its own unit."""
    if len(others) < LEAST_OTHERS:
        return None
    usual = statistics.median(others)
    spread = MAD_TO_SIGMA * statistics.median(abs(other - usual) for other in others)
    unit = max(spread, noise, LEAST_SHARE * abs(usual))
    distance = abs(value - usual)
    deviation = distance / unit if unit else math.inf if distance else 0.0
    return Comparison(value, usual, deviation, len(others), deviation > max_drift)


def rate_noise(usual: float, num: int) -> float:
    """Standard error of a share of `num` samples; that of one sample more and one less where all or none are usual."""
    smoothed = (usual * num + 1) / (num + 2)
    return max(LEAST_SHARE, math.sqrt(smoothed * (1 - smoothed) / num)) if num else math.inf


def median_noise(values: Sequence[float], *, low: float, high: float) -> float:
    """Standard error of the median of some values. low, high: the range that they can have, infinite ends included."""
    least = LEAST_SHARE * (high - low) if math.isfinite(high - low) else 0.0
    if len(values) < 2:
        return math.inf
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return max(least, MEDIAN_ERROR * IQR_TO_SIGMA * (third - first) / math.sqrt(len(values)))


def neighbours(figures: Mapping[str, float]) -> Iterator[tuple[str, list[float]]]:
    """(shard, figures of up to `MOST_OTHERS` other shards, nearest by name), in order."""
    keys = sorted(figures)
    for place, key in enumerate(keys):
        around = range(max(0, place - MOST_OTHERS), min(len(keys), place + MOST_OTHERS + 1))
        near = sorted((abs(other - place), other) for other in around if other != place)
        yield key, [figures[keys[other]] for _, other in near[:MOST_OTHERS]]
