"""The most frequent values of a field: the samples that upstream's code takes, 1.6.1, which was run on these."""

from __future__ import annotations

from typing import Any

import pytest

from dj_assets.errors import DjAssetsError
from dj_assets_tests.operators.candidates import kept, of_values, whole

NAME = "frequency_specified_field_selector"
META = "meta.suffix"


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([".pdf", ".docx", ".pdf", ".xlsx", ".docx", ".pdf"], {"topk": 1}, [1, 3, 6]),
        ([".pdf", ".docx", ".pdf", ".xlsx", ".docx", ".pdf"], {"top_ratio": 0.7}, [1, 2, 3, 5, 6]),
        ([".pdf", ".docx", ".pdf", ".xlsx", ".docx", ".pdf"], {"topk": 1, "top_ratio": 0.7}, [1, 3, 6]),
        ([".pdf", ".docx", ".pdf", ".xlsx", ".docx", ".pdf"], {"topk": 1, "reverse": False}, [4]),
        ([".pdf", ".docx", ".pdf", ".xlsx", ".docx", ".pdf"], {"top_ratio": 0.1}, []),
        (["a", "b", "c"], {}, [1, 2, 3]),
        # Of equally frequent values those that come first in the dataset.
        (["b", "a", "b", "a", "c"], {"topk": 1}, [1, 3]),
        # Nothing is a value, and so is a number; 1 and 1.0 are one.
        ([None, 1, 1.0, None, None], {"topk": 1}, [1, 4, 5]),
        ([None, 1, 1.0, "1"], {"topk": 1}, [2, 3]),
    ],
    ids=str,
)
def test_the_samples_stay_that_stay_upstream(values: list[Any], options: dict, expected: list[int]) -> None:
    assert kept(NAME, of_values(META, values), field_key=META, **options) == expected


def test_a_list_is_refused_as_upstream() -> None:
    with pytest.raises(DjAssetsError, match="of s2 is list"):
        kept(NAME, of_values(META, ["a", ["a"]]), field_key=META, topk=1)


def test_a_stat_with_a_number_per_video_is_refused_before_anything_is_measured() -> None:
    operator = whole(NAME)
    params = operator.params(field_key="__dj__stats__.video_duration")
    fault = operator.fault(params, {"video_duration": True})
    assert fault is not None and "one number per video" in fault.given
    assert operator.fault(params, {"video_duration": False}) is None, "a stat of the record is one number"
