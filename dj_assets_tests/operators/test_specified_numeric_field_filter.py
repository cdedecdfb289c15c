"""A field's number lies in a range. What is kept was asked of Data-Juicer 1.6.1, but where it is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from dj_assets_tests.operators.on_records import judged, kept, plan_of
from dj_assets_tests.operators.test_specified_field_filter import RECORDS

TEXTS = [{"v": text} for text in ("30", "abc", "", "0", "nan", "1e999", " 12 ", "1_000", None)]


@pytest.mark.parametrize(
    ("records", "options", "expected"),
    [
        pytest.param(RECORDS, {"field_key": "meta.fps", "min_value": 0, "max_value": 60}, [0], id="dotted"),
        pytest.param(RECORDS, {"field_key": "license", "min_value": 10}, [], id="texts that are no numbers"),
        pytest.param(
            RECORDS,
            {"field_key": "meta.fps", "min_value": 10, "max_value": 20, "reversed_range": True},
            [0],
            id="reversed",
        ),
        pytest.param(TEXTS, {"field_key": "v", "min_value": -1}, [0, 3, 6, 7], id="texts that are numbers"),
        pytest.param([{"v": True}, {"v": False}], {"field_key": "v", "min_value": -1}, [0], id="true is 1"),
    ],
)
def test_those_are_kept_that_data_juicer_keeps(
    records: list[dict[str, Any]], options: dict[str, Any], expected: list[int]
) -> None:
    assert kept("specified_numeric_field_filter", records, data_juicer_zero=True, **options) == expected


def test_zero_is_a_number_like_any_other() -> None:
    """Upstream asks `if value` first, and drops a clip with 0 faces from those with at most 3."""
    records = [{"faces": 0}, {"faces": 3}, {"faces": 4}, {"faces": 0.0}]
    options = {"field_key": "faces", "max_value": 3}
    assert kept("specified_numeric_field_filter", records, **options) == [0, 1, 3]
    assert kept("specified_numeric_field_filter", records, data_juicer_zero=True, **options) == [1]
    [warning] = plan_of(("specified_numeric_field_filter", options)).warnings
    assert "data_juicer_zero: true" in warning


@pytest.mark.parametrize("value", ["abc", "", None, [1.0], {"a": 1}, "nan", "inf", float("inf"), "1e999"], ids=repr)
@pytest.mark.parametrize("options", [{}, {"reversed_range": True, "min_value": 5, "max_value": 40}], ids=str)
def test_what_is_no_finite_number_is_never_kept(value: Any, options: dict[str, Any]) -> None:
    assert judged("specified_numeric_field_filter", {"v": value}, field_key="v") == "no_value"
    assert kept("specified_numeric_field_filter", [{"v": value}], field_key="v", **options) == []


def test_two_steps_on_one_field_are_two_tables_under_one_measure() -> None:
    plan = plan_of(
        ("specified_numeric_field_filter", {"field_key": "fps", "max_value": 30}),
        ("specified_numeric_field_filter", {"field_key": "fps", "min_value": 10}),
        ("specified_numeric_field_filter", {"field_key": "height"}),
    )
    assert [step.stat_names for step in plan.steps] == [("fps",), ("fps_2",), ("height",)]
    ids = [step.measure_id for step in plan.steps]
    assert ids[0] == ids[1] != ids[2]
