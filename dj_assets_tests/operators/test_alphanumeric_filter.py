"""Letters and digits: their share of a text's characters."""

from __future__ import annotations

import pytest

from dj_assets_tests.operators.captions import RECORDS
from dj_assets_tests.operators.on_records import judged, kept


def test_shares_are_data_juicers() -> None:
    assert [judged("alphanumeric_filter", record) for record in RECORDS] == pytest.approx(
        [27 / 47, 0, 0, 15 / 19, 0.625, 10 / 21, 15 / 18, 0.625, 11 / 14, 13 / 32, 0.5, 22 / 35]
    )


def test_those_are_kept_that_data_juicer_keeps() -> None:
    assert kept("alphanumeric_filter", RECORDS, min_ratio=0.5) == [0, 3, 4, 6, 7, 8, 10, 11]


def test_without_a_text_there_is_no_number() -> None:
    assert judged("alphanumeric_filter", {"text": None}) == "no_value"
