"""A bound from marks: few errors, the middle of the gap, and honest about how little a few marks say."""

from __future__ import annotations

import numpy as np
import pytest

from dj_assets.errors import DjAssetsError
from dj_assets.studio.fit import fit_bound, wilson


def fit(values: list[float], keep: list[int], side: str = "min") -> object:
    return fit_bound(np.array(values, dtype=float), np.array(keep, dtype=bool), side=side)  # type: ignore[arg-type]


def test_separable_marks_give_the_middle_of_their_gap() -> None:
    found = fit([1, 2, 5, 6], [0, 0, 1, 1])
    assert (found.bound, found.errors, found.precision, found.recall) == (3.5, 0, 1.0, 1.0)
    assert found.interval.low <= 2 and found.interval.high >= 5
    assert found.precision_interval.low < 0.5  # two marks prove little


def test_a_maximum_is_a_minimum_turned_round() -> None:
    found = fit([1, 2, 5, 6], [1, 1, 0, 0], side="max")
    assert (found.bound, found.errors) == (3.5, 0) and found.interval.low <= 2 and found.interval.high >= 5


def test_of_overlapping_marks_as_few_as_can_be_are_wrong() -> None:
    values, keep = [1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 1, 0, 0, 1, 1, 1]
    found = fit(values, keep)
    errors = [sum((v >= cut) != k for v, k in zip(values, keep, strict=True)) for cut in np.arange(0.5, 9.5)]
    assert found.errors == min(errors) == 1
    assert found.bound == 5.5 and (found.precision, found.recall) == (1.0, 0.75)
    assert found.interval.low < 5.5 < found.interval.high


def test_marks_against_the_bound_may_keep_nothing() -> None:
    found = fit([1, 2, 3, 4, 5], [1, 0, 0, 0, 0])
    assert found.precision in (None, pytest.approx(0.2))
    assert found.errors == 1


def test_equal_numbers_are_never_split() -> None:
    found = fit([1, 3, 3, 3, 5], [0, 0, 1, 1, 1])
    assert found.bound == 2.0 and found.errors == 1


@pytest.mark.parametrize(
    ("values", "keep", "said"),
    [([1, 2], [1, 1], "2 clips are marked keep and 0 drop"), ([3, 3], [0, 1], "the same number"), ([], [], "0 clips")],
)
def test_marks_that_say_nothing_are_refused(values: list[float], keep: list[int], said: str) -> None:
    with pytest.raises(DjAssetsError, match=said):
        fit(values, keep)


def test_wilson_by_hand() -> None:
    # 8 of 10: centre (0.8 + 0.19207) / 1.38415, half 1.95996 * sqrt(0.016 + 0.0096037) / 1.38415
    assert wilson(8, 10) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(5, 5).high == pytest.approx(1.0)
