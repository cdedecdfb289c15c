"""When a shard is unlike the others, with figures that can be checked by hand."""

from __future__ import annotations

import math

import pytest

from dj_assets.drift import MOST_OTHERS, compare, median_noise, neighbours, rate_noise

USUAL = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50]


@pytest.mark.parametrize(
    ("value", "others", "noise", "is_far"),
    [
        pytest.param(0.51, USUAL, 0.01, False, id="as the others"),
        pytest.param(0.90, USUAL, 0.01, True, id="far off"),
        pytest.param(0.10, USUAL, 0.01, True, id="far off below"),
        pytest.param(0.90, USUAL, 0.15, False, id="a shard too small to tell"),
        pytest.param(0.90, [*USUAL, 0.9, 0.9], 0.01, True, id="two odd ones among the others move nothing"),
        pytest.param(0.90, [0.1, 0.3, 0.5, 0.7, 0.9], 0.01, False, id="the others differ as much"),
        pytest.param(1080.0, [720.0] * 6, 0.0, True, id="another value where all are equal"),
        pytest.param(721.0, [720.0] * 6, 0.0, False, id="within a hundredth"),
        pytest.param(0.0, [0.0] * 6, 0.0, False, id="all zero"),
        pytest.param(0.2, [0.0] * 6, 0.01, True, id="text where there never was any"),
    ],
)
def test_far_from_the_others(value: float, others: list[float], noise: float, is_far: bool) -> None:
    found = compare(value, others, noise=noise, max_drift=4.0)
    assert found is not None and found.is_far is is_far


def test_of_four_others_nobody_knows_what_is_usual() -> None:
    assert compare(9.0, [1.0] * 4, noise=0.0, max_drift=4.0) is None
    assert compare(9.0, [1.0] * 5, noise=0.0, max_drift=4.0) is not None


def test_noise_shrinks_with_the_root_of_the_number() -> None:
    assert rate_noise(0.5, 100) == pytest.approx(0.05, rel=0.02)
    assert rate_noise(1.0, 10) > rate_noise(1.0, 1000) == 0.01
    assert rate_noise(0.5, 0) == math.inf
    values = [float(n) for n in range(101)]
    # Quartiles 25 and 75: sigma about 37, over the root of 101, times 1.25.
    assert median_noise(values, low=0, high=math.inf) == pytest.approx(4.62, abs=0.05)
    assert median_noise([0.0, 0.0], low=0, high=1) == 0.01
    assert median_noise([0.0], low=0, high=1) == math.inf


def test_a_shard_is_compared_with_at_most_twenty_near_ones_and_never_with_itself() -> None:
    figures = {f"ds-{n:05d}": float(n) for n in range(60)}
    found = dict(neighbours(figures))
    assert list(found) == list(figures)
    assert sorted(found["ds-00030"]) == [float(n) for n in range(20, 41) if n != 30]
    assert sorted(found["ds-00000"]) == [float(n) for n in range(1, MOST_OTHERS + 1)]
