"""Histograms, looked at by their pixels: what passes is shaded, bounds are lines, nothing odd breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dj_assets.plan import StatRange
from dj_assets.plots import histogram

INF = float("inf")
MOST_BYTES = 40_000


def draw(values: Sequence[float], *ranges: StatRange, missing: int = 0) -> bytes:
    return histogram(values, stat="video_motion_score", unit="px per frame", ranges=ranges, num_missing=missing)


def pixels(png: bytes) -> np.ndarray:
    import cv2

    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def lines_of(png: bytes) -> np.ndarray:
    """Columns of the picture with a red line."""
    picture = pixels(png).astype(int)
    return np.nonzero((picture[:, :, 0] - picture[:, :, 1] > 60).sum(axis=0) > 20)[0]


def shaded_of(png: bytes) -> np.ndarray:
    """Columns of the picture whose background is green."""
    picture = pixels(png).astype(int)
    return np.nonzero((picture[:, :, 1] - picture[:, :, 2] > 20).sum(axis=0) > 20)[0]


@pytest.mark.parametrize(
    ("values", "range_"),
    [
        pytest.param([], StatRange("s", 2, INF), id="no value"),
        pytest.param([3.0], StatRange("s", -INF, INF, low_is_set=False, high_is_set=False), id="one value, no bound"),
        pytest.param([720.0] * 50, StatRange("s", 480, 4000), id="all equal"),
        pytest.param([0.0] * 50, StatRange("s", -INF, 0.2), id="all zero"),
        pytest.param([*np.linspace(0, 5, 300), 9e6], StatRange("s", 2, INF), id="long tail"),
        pytest.param([1e308, -1e308, 1.0], StatRange("s", 0, 1.7e308), id="overflow"),
        pytest.param([INF, float("nan"), 1.0], StatRange("s", 0, 2.0**63), id="not finite"),
        pytest.param(np.random.default_rng(0).normal(0, 1, 20_000).tolist(), StatRange("s", -1, 1), id="many"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_values_make_a_small_png(values: list[float], range_: StatRange) -> None:
    png = draw(values, range_, missing=2)
    assert png.startswith(b"\x89PNG") and len(png) <= MOST_BYTES
    assert pixels(png).shape == (250, 480, 3)


def test_bounds_are_lines_and_what_passes_between_them_is_shaded() -> None:
    png = draw(np.linspace(0, 10, 101).tolist(), StatRange("s", 4, 6))
    lines, shaded = lines_of(png), shaded_of(png)
    middle = (lines.min() + lines.max()) / 2
    assert len(lines) and lines.min() < middle - 20
    assert lines.min() - 3 <= shaded.min() and shaded.max() <= lines.max() + 3


def test_reversed_bounds_shade_what_lies_outside() -> None:
    png = draw(np.linspace(0, 10, 101).tolist(), StatRange("s", 4, 6, is_reversed=True))
    lines, shaded = lines_of(png), shaded_of(png)
    assert shaded.min() < lines.min() - 20 and shaded.max() > lines.max() + 20
    assert not ((shaded > lines.min() + 3) & (shaded < lines.max() - 3)).any()


def test_no_bound_draws_no_line() -> None:
    png = draw([1.0, 2.0, 3.0], StatRange("s", -INF, INF))
    assert not len(lines_of(png)) and len(shaded_of(png))


def test_a_bound_out_in_the_tail_is_on_the_axis() -> None:
    """990 videos without any text and 10 with some: the bound lies where the tail is."""
    png = draw([0.0] * 990 + np.linspace(0.1, 1, 10).tolist(), StatRange("s", -INF, 0.2))
    assert lines_of(png).min() > 300


def test_the_same_numbers_give_the_same_bytes() -> None:
    values: Any = [1.0, 2.0, 2.5]
    assert draw(values, StatRange("s", 2, 3)) == draw(values, StatRange("s", 2, 3))
