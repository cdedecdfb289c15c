"""The largest values of a field: which samples upstream takes, ties, lists and what has no value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from dj_assets.errors import DjAssetsError
from dj_assets_tests.operators.candidates import chosen, kept, of_values

NAME = "topk_specified_field_selector"
META = "meta.count"
NAN = float("nan")
STAT = "__dj__stats__.video_motion_score"


@pytest.mark.parametrize(
    ("field", "values", "options", "expected"),
    [
        # Each of these was run by upstream's code, 1.6.1, which keeps the same samples.
        (META, [5, 4, 250, 100, 3], {"top_ratio": 0.2}, [3]),
        (META, [5, 4, 250, 100, 3], {"topk": 2}, [3, 4]),
        (META, [5, 4, 250, 100, 3], {"topk": 3, "top_ratio": 0.4}, [3, 4]),
        (META, [5, 4, 250, 100, 3], {"top_ratio": 0.4, "reverse": False}, [2, 5]),
        (META, [5, 4, 250, 100, 3], {}, [1, 2, 3, 4, 5]),
        (META, [5, 4, 250, 100, 3], {"top_ratio": 0}, [1, 2, 3, 4, 5]),
        (META, [5, 4, 250, 100, 3], {"top_ratio": 0.1}, []),
        # Of equal values the first in the dataset stays, at either end.
        (META, [1, 2, 2, 2, 0], {"topk": 2}, [2, 3]),
        (META, [1, 2, 0, 0, 0], {"topk": 2, "reverse": False}, [3, 4]),
        # What a video operator measures is a list, whose mean counts; no number comes last at either end.
        (STAT, [[1.0], [2.0, 4.0], [2.5], None, []], {"topk": 2}, [2, 3]),
        (STAT, [[1.0], [2.0, 4.0], [2.5], None, []], {"topk": 4, "reverse": False}, [1, 2, 3, 4]),
        (STAT, [[1.0], [9.0, None], ["x"]], {"topk": 1}, [1]),
        (META, ["12", "7.5", "no number"], {"topk": 1}, [1]),
        # A plain field is compared as it is: texts by their characters.
        ("name", ["b", "c", "a"], {"topk": 2}, [1, 2]),
        ("name", [3, 1, 2], {"topk": 1, "reverse": False}, [2]),
        # What pandas writes for a missing number comes last as well, at either end.
        ("name", [1, NAN, 3, NAN, 2], {"topk": 2}, [3, 5]),
        ("name", [NAN, 3, 1], {"topk": 1, "reverse": False}, [3]),
        # Decimals of Parquet are numbers, not texts.
        ("name", [Decimal("9.50"), Decimal("10.00"), Decimal("2.00")], {"topk": 1}, [2]),
        (META, [Decimal("9.50"), Decimal("10.00"), Decimal("2.00")], {"topk": 1}, [2]),
    ],
    ids=str,
)
def test_the_samples_stay_that_stay_upstream(field: str, values: list[Any], options: dict, expected: list[int]) -> None:
    assert kept(NAME, of_values(field, values), field_key=field, **options) == expected


def test_without_a_field_or_with_one_sample_everything_stays() -> None:
    assert kept(NAME, of_values(META, [1, 2]), topk=1) == [1, 2]
    assert kept(NAME, of_values(META, [1]), field_key=META, top_ratio=0.01) == [1]


def test_the_reason_is_the_rule() -> None:
    found = chosen(NAME, of_values(STAT, [[1.0], [2.0]]), field_key=STAT, topk=1)
    assert found.dropped == {"s1": f"not among the 1 sample with the largest {STAT}"} and not found.of


@pytest.mark.parametrize(
    ("field", "values", "says"),
    [
        ("nam", [None, None], "no value in any of 2 samples"),
        ("name", ["a", 1], "texts in some samples and numbers in others"),
        ("name", [["a"], ["b"]], "is list"),
    ],
)
def test_what_cannot_be_put_in_order_is_refused(field: str, values: list[Any], says: str) -> None:
    with pytest.raises(DjAssetsError, match=says):
        kept(NAME, of_values(field, values), field_key=field, topk=1)
