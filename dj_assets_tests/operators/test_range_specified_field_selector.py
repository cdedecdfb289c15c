"""Between two ranks of a field: which samples upstream takes."""

from __future__ import annotations

from typing import Any

import pytest

from dj_assets_tests.operators.candidates import kept, of_values, whole

NAME = "range_specified_field_selector"
META = "meta.count"


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        # Each was run by upstream's code, 1.6.1. Of ten: the lower bound is not taken, the upper is.
        (range(10), {"lower_percentile": 0.2, "upper_percentile": 0.5}, [3, 4, 5]),
        (range(10), {"lower_rank": 2, "upper_rank": 5}, [3, 4, 5]),
        (range(10), {"lower_percentile": 0.2, "lower_rank": 4, "upper_percentile": 0.9, "upper_rank": 6}, [5, 6]),
        (range(10), {"lower_percentile": 0.5, "upper_percentile": 0.2}, []),
        (range(10), {"lower_rank": 8, "upper_rank": 99}, [9, 10]),
        (range(10), {"lower_percentile": 0, "upper_percentile": 1}, list(range(1, 11))),
        # One side alone selects nothing.
        (range(10), {"lower_percentile": 0.5}, list(range(1, 11))),
        (range(10), {"upper_rank": 2}, list(range(1, 11))),
        # Of equal values: the first `upper` are taken, and of these the first `upper - lower`.
        ([1, 1, 1, 1], {"lower_rank": 1, "upper_rank": 3}, [1, 2]),
        # No number is the smallest; a list is its mean.
        ([None, [3.0], [1.0, 2.0], "0.5"], {"lower_rank": 1, "upper_rank": 3}, [3, 4]),
    ],
    ids=str,
)
def test_the_samples_stay_that_stay_upstream(values: Any, options: dict, expected: list[int]) -> None:
    assert kept(NAME, of_values(META, list(values)), field_key=META, **options) == expected


def test_a_range_that_is_open_on_one_side_is_warned_of() -> None:
    params = whole(NAME).params
    assert "an upper" in params(field_key=META, lower_rank=1).warnings()[0]
    assert not params(field_key=META, lower_rank=1, upper_rank=2).warnings()
    assert whole(NAME).keeps(params(field_key=META, lower_rank=1)) == "everything"
