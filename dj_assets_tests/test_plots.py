"""Histograms, looked at by their pixels: what passes is shaded, bounds are lines, nothing odd breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dj_assets.plots import box, heat_map, histogram
from dj_assets.ranges import StatRange

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


ANY_VALUES = [
    pytest.param([], StatRange("s", 2, INF), id="no value"),
    pytest.param([3.0], StatRange("s", -INF, INF, low_is_set=False, high_is_set=False), id="one value, no bound"),
    pytest.param([720.0] * 50, StatRange("s", 480, 4000), id="all equal"),
    pytest.param([0.0] * 50, StatRange("s", -INF, 0.2), id="all zero"),
    pytest.param([*np.linspace(0, 5, 300), 9e6], StatRange("s", 2, INF), id="long tail"),
    pytest.param([1e308, -1e308, 1.0], StatRange("s", 0, 1.7e308), id="overflow"),
    pytest.param([16 / 9, 16 / 9 + 2.3e-16], StatRange("s", 1, 2), id="equal but for rounding"),
    pytest.param([0.0, 1e-310], StatRange("s", 0, 1), id="underflow"),
    pytest.param([1e-310, 1e-310], StatRange("s", -INF, INF), id="underflow, all equal"),
    pytest.param([INF, float("nan"), 1.0], StatRange("s", 0, 2.0**63), id="not finite"),
    pytest.param(np.random.default_rng(0).normal(0, 1, 20_000).tolist(), StatRange("s", -1, 1), id="many"),
]


@pytest.mark.parametrize(("values", "range_"), ANY_VALUES)
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


def draw_box(values: Sequence[float], *ranges: StatRange, missing: int = 0) -> bytes:
    return box(values, stat="video_motion_score", unit="px per frame", ranges=ranges, num_missing=missing)


@pytest.mark.parametrize(("values", "range_"), ANY_VALUES)
@pytest.mark.filterwarnings("error")
def test_any_values_make_a_small_box_plot(values: list[float], range_: StatRange) -> None:
    png = draw_box(values, range_, missing=2)
    assert png.startswith(b"\x89PNG") and len(png) <= MOST_BYTES
    assert pixels(png).shape == (170, 480, 3)


def boxed(png: bytes) -> np.ndarray:
    """Columns of the picture with the box's pale blue."""
    return np.nonzero((np.abs(pixels(png).astype(int) - (0xC9, 0xD8, 0xEA)).sum(axis=2) < 12).sum(axis=0) > 10)[0]


def test_the_box_holds_the_middle_half() -> None:
    """0 to 100: the box spans 25 to 75, half of what the axis shows but for its margins of 4 % each."""
    png = draw_box(np.linspace(0, 100, 101).tolist(), StatRange("s", -INF, INF))
    inside, axis = boxed(png), shaded_of(png)
    share = (inside.max() - inside.min()) / (axis.max() - axis.min())
    assert share == pytest.approx(0.5 / 1.08, abs=0.02)
    assert (inside.min() + inside.max()) / 2 == pytest.approx((axis.min() + axis.max()) / 2, abs=3)


def test_a_box_has_the_bounds_of_its_histogram() -> None:
    png = draw_box(np.linspace(0, 10, 101).tolist(), StatRange("s", 4, 6))
    assert len(lines_of(png)) and lines_of(png).min() < boxed(png).max()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_any_number_of_stats_make_a_heat_map(count: int) -> None:
    names = [f"a_stat_with_a_long_name_{number}" for number in range(count)]
    assert heat_map(names, [[(1.0, 3)] * count] * count, title="Pearson").startswith(b"\x89PNG")


def test_together_is_red_against_is_blue_and_nothing_is_grey() -> None:
    cells = [[(1.0, 9), (-1.0, 9)], [(-1.0, 9), (None, 0)]]
    picture = pixels(heat_map(["a", "b"], cells, title="Pearson")).astype(int)
    red, blue = picture[..., 0] - picture[..., 2] > 60, picture[..., 2] - picture[..., 0] > 60
    grey = np.abs(picture - 0xE6).sum(axis=2) < 6
    for found in (red, blue, grey):
        assert found[:, : picture.shape[1] * 3 // 4].sum() > 1500  # the bar of colours at the right left out
