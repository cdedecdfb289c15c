"""Suffixes: what the loader wrote into `__dj__suffix__`. What is kept was asked of Data-Juicer 1.6.1."""

from __future__ import annotations

from typing import Any

import pytest

from dj_assets_tests.operators.on_records import judged, kept

RECORDS = [{"__dj__suffix__": suffix} for suffix in (".txt", "txt", ".pdf")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"suffixes": [".txt", ".pdf"]}, [0, 2]),
        ({"suffixes": ".txt"}, [0]),
        ({"suffixes": "txt", "reversed_range": True}, [0, 2]),
        ({"suffixes": []}, [0, 1, 2]),
        ({"suffixes": None}, [0, 1, 2]),
    ],
    ids=str,
)
def test_those_are_kept_that_data_juicer_keeps(options: dict[str, Any], expected: list[int]) -> None:
    assert kept("suffix_filter", RECORDS, **options) == expected


@pytest.mark.parametrize("record", [{}, {"__dj__suffix__": None}, {"suffix": ".txt"}], ids=str)
def test_a_sample_without_one_is_not_judged(record: dict[str, Any]) -> None:
    assert judged("suffix_filter", record, suffixes=[".txt"]) == "no_value"
    assert judged("suffix_filter", record) == 1, "where nothing is asked, nothing is lacking"
