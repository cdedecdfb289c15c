"""A field's value is among those wanted, or is not. What is kept was asked of Data-Juicer 1.6.1."""

from __future__ import annotations

from typing import Any

import pytest

from dj_assets_tests.operators.on_records import judged, kept, plan_of, verdicts_on

RECORDS = [
    {"meta": {"fps": 30, "lang": "en"}, "license": "cc", "tags": ["a", "b"]},
    {"meta": {"fps": 0, "lang": "de"}, "license": None, "tags": ["a"]},
    {"meta": {"fps": None, "lang": None}, "license": "nc", "tags": []},
    {"meta": None, "license": "cc", "tags": None},
    {"license": "x", "tags": ["c"]},
    {"meta": {"lang": "en"}},
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"field_key": "license", "target_value": ["cc"]}, [0, 3], id="one value"),
        pytest.param(
            {"field_key": "license", "target_value": ["cc"], "reversed_range": True}, [1, 2, 4, 5], id="reversed"
        ),
        pytest.param({"field_key": "license", "target_value": ["cc", None]}, [0, 1, 3, 5], id="null is a value"),
        pytest.param({"field_key": "meta.lang", "target_value": ["en"]}, [0, 5], id="dotted"),
        pytest.param(
            {"field_key": "meta.lang", "target_value": ["en"], "reversed_range": True}, [1, 2], id="dotted, reversed"
        ),
        pytest.param({"field_key": "license", "target_value": []}, [0, 1, 2, 3, 4, 5], id="nothing asked"),
        pytest.param({"field_key": "tags", "target_value": ["a", "b"]}, [0, 1, 2], id="all entries of a list"),
    ],
)
def test_those_are_kept_that_data_juicer_keeps(options: dict[str, Any], expected: list[int]) -> None:
    assert kept("specified_field_filter", RECORDS, **options) == expected


def test_a_way_that_is_no_object_is_undecided_and_says_where_it_ends() -> None:
    verdict = verdicts_on(plan_of(("specified_field_filter", {"field_key": "a.b", "target_value": [1]})), [{"a": 3}])[0]
    assert (verdict.outcome, verdict.status) == ("undecided", "no_value")
    assert verdict.reason.startswith("field 'a' is a number, so there is no 'a.b'; allowed: ")


@pytest.mark.parametrize(
    ("value", "wanted", "found"),
    [(1, [1.0], 1), (True, [1], 1), ("1", [1], 0), ({"a": 1}, ["a"], 0), ([[1]], [1], 0), ([], ["a"], 1)],
    ids=str,
)
def test_values_are_equal_as_in_python(value: Any, wanted: list[Any], found: int) -> None:
    assert judged("specified_field_filter", {"f": value}, field_key="f", target_value=wanted) == found


def test_a_step_that_asks_for_nothing_says_so() -> None:
    [warning] = plan_of(("specified_field_filter", {"field_key": "license"})).warnings
    assert warning == "specified_field_filter: target_value is empty: every sample passes"
    [warning] = plan_of(("specified_field_filter", {"target_value": ["cc"]})).warnings
    assert warning.startswith("specified_field_filter: field_key is empty: ")
    assert kept("specified_field_filter", RECORDS, target_value=["cc"]) == [], "as upstream, whose log says why"
