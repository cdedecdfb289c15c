"""Text length: characters of the text as it is written."""

from __future__ import annotations

from typing import Any

import pytest

from dj_assets_tests.operators.captions import CAPTIONS, RECORDS
from dj_assets_tests.operators.on_records import judged, kept


def test_characters_are_counted_as_data_juicer_counts_them() -> None:
    assert [judged("text_length_filter", record) for record in RECORDS] == [
        *(47, 0, 3, 19, 24, 21, 18, 8, 14, 32, 6, 35)
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_len": 3, "max_len": 20}, [2, 3, 6, 7, 8, 10]),
        ({"min_len": 3, "max_len": 20, "reversed_range": True}, [0, 1, 2, 4, 5, 9, 11]),
        ({"min_len": 20, "min_closed_interval": False}, [0, 4, 5, 9, 11]),
        ({}, [n for n, text in enumerate(CAPTIONS) if len(text) >= 10]),
    ],
    ids=str,
)
def test_those_are_kept_that_data_juicer_keeps(options: dict[str, Any], expected: list[int]) -> None:
    assert kept("text_length_filter", RECORDS, **options) == expected


@pytest.mark.parametrize("record", [{}, {"text": None}, {"text": 7}, {"text": ["a"]}, {"caption": "a"}], ids=str)
def test_without_a_text_there_is_no_number(record: dict[str, Any]) -> None:
    assert judged("text_length_filter", record) == "no_value"


def test_the_text_may_be_in_another_field() -> None:
    assert judged("text_length_filter", {"caption": "four", "text": "three"}, text_key="caption") == 4
