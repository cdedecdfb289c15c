"""A bound from clips that somebody marked: the threshold that is wrong least often, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dj_assets.errors import DjAssetsError

RESAMPLES = 2000
SEED = 0
Z_95 = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""


Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A proposed bound. precision: of the marked clips that it keeps, the share marked keep; None where it keeps none.
    recall: of those marked keep, the share that it keeps. interval: of the bound itself, 95 %, from resampling the
    marks, and never less than the gap that the bound lies in; the other two by Wilson. errors: marked clips that it
    gets wrong."""

    bound: float
    interval: Interval
    precision: float | None
    precision_interval: Interval | None
    recall: float
    recall_interval: Interval
    errors: int
    num_keep: int
    num_drop: int


def fit_bound(values: npt.NDArray[np.float64], keep: npt.NDArray[np.bool_], *, side: Literal["min", "max"]) -> Fit:
    """The bound with the fewest errors on marked clips; of several, the one in the middle of the widest gap.

    values: float64 [n], finite. keep: bool [n]. side: `min` keeps values at or above the bound, `max` at or below.
    Raises `DjAssetsError` where the marks cannot say anything.
    """
    num_keep, num_drop = int(keep.sum()), int((~keep).sum())
    if not num_keep or not num_drop:
        raise DjAssetsError(
            f"{num_keep} clips are marked keep and {num_drop} drop",
            allowed="at least one of each, with a number under this step",
            try_="mark some clips on both sides of the bound",
        )
    # A maximum is a minimum of the negated values.
    sign = 1.0 if side == "min" else -1.0
    order = np.argsort(sign * values, kind="stable")
    ordered, kept = (sign * values)[order], keep[order]
    if ordered[0] == ordered[-1]:
        raise DjAssetsError(
            f"all marked clips have the same number, {values[0]:.6g}",
            allowed="marked clips with different numbers",
            try_="mark clips that lie further from each other",
        )
    cuts = _cuts(ordered)
    weights = np.ones((1, len(ordered)))
    bound = float(_best(ordered, kept, cuts, weights)[0])
    # Each kind of mark is drawn anew among its own: without either, a resample would say nothing.
    generator = np.random.default_rng(SEED)
    resampled = np.zeros((RESAMPLES, len(ordered)))
    for of_kind in (kept, ~kept):
        count = int(of_kind.sum())
        resampled[:, of_kind] = generator.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    spread = np.quantile(_best(ordered, kept, cuts, resampled), (0.025, 0.975))
    passes = ordered >= bound
    # Whatever lies between its two neighbours does the same to these marks, however the resampling falls out.
    between = (*ordered[~passes][-1:], bound, *ordered[passes][:1])
    ends = sorted(sign * float(end) for end in (min(spread[0], *between), max(spread[1], *between)))
    hits = int((passes & kept).sum())
    return Fit(
        bound=sign * bound,
        interval=Interval(*ends),
        precision=hits / int(passes.sum()) if passes.any() else None,
        precision_interval=wilson(hits, int(passes.sum())) if passes.any() else None,
        recall=hits / num_keep,
        recall_interval=wilson(hits, num_keep),
        errors=int((passes != kept).sum()),
        num_keep=num_keep,
        num_drop=num_drop,
    )


def wilson(hits: int, count: int) -> Interval:
    """95 % interval of a share, after Wilson (1927), which holds for few cases and for shares of 0 and 1. count > 0."""
    share, z2 = hits / count, Z_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def _cuts(ordered: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Thresholds that split sorted values differently, float64 [n + 1]: below all, between neighbours, above all. NaN
    between equal values, which nothing can split."""
    between = (ordered[:-1] + ordered[1:]) / 2
    between[ordered[:-1] == ordered[1:]] = np.nan
    beyond = np.nextafter(ordered[-1], np.inf)
    return np.concatenate([[ordered[0]], between, [beyond]])


def _best(
    ordered: npt.NDArray[np.float64],
    keep: npt.NDArray[np.bool_],
    cuts: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The best cut under each line of weights [B, n] -> float64 [B]."""
    zero = np.zeros((len(weights), 1))
    lost = np.concatenate([zero, np.cumsum(weights * keep, axis=1)], axis=1)
    let_in = np.concatenate([zero, np.cumsum(weights * ~keep, axis=1)], axis=1)
    errors = lost + (let_in[:, -1:] - let_in)
    errors[:, np.isnan(cuts)] = np.inf
    gaps = np.concatenate([[0.0], np.diff(ordered), [0.0]])
    # Errors are whole numbers, so a share of the widest gap only tells equals apart.
    preference = errors - 0.5 * gaps / max(float(gaps.max()), np.finfo(float).tiny)
    return cuts[np.argmin(preference, axis=1)]
