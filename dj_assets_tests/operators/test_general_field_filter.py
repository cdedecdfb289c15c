"""Conditions over fields: what holds, what is refused before any sample is read, and what cannot be reached."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dj_assets.errors import BadOption, RecipeErrors
from dj_assets.operators._conditions import MOST_CHARACTERS, compiled, names_in
from dj_assets_tests.operators.on_records import judged, kept, plan_of, verdicts_on
from dj_assets_tests.operators.test_specified_field_filter import RECORDS

NAME = "general_field_filter"
STATS = [{**record, "__dj__stats__": {"x": 1.0}} for record in RECORDS]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("license == 'cc' or 'a' in tags", [0, 1, 3]),
        ("license != 'cc'", [2, 4]),
        ("license not in ['cc']", [1, 2, 4, 5]),
        ("not license == 'cc'", [1, 2, 4, 5]),
        ("0 <= meta.fps < 31", [0, 1]),
        ("meta.fps", [0]),
        ("license > 3", []),
        ("license == None", []),
        ("", [0, 1, 2, 3, 4, 5]),
        ("tags == ['a'] and __dj__stats__.x == 1.0", [1]),
    ],
)
def test_those_are_kept_that_data_juicer_1_6_1_keeps(condition: str, expected: list[int]) -> None:
    assert kept(NAME, STATS, filter_condition=condition) == expected


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("10 < num <= 30 and text != 'nothing here' and __dj__meta__.a == 3", True),
        ("-5 <= -num <= +2 or False", False),
        ("num in (19, 20)", True),
        ("num in {19, 21} or text in 'a nothing'", True),
        ("__dj__meta__.b.c == 1", False),
        ("__dj__meta__.b.c not in [1]", True),
        ("'x' in gone", False),
        ("'x' not in gone < 3", True),  # upstream stops at the first null
        ("not (num > 100)", True),
        ("num == 20 == True", False),
        ("text.upper", False),  # only entries of objects, never Python's own attributes
    ],
)
def test_a_condition_holds_or_not(condition: str, holds: bool) -> None:
    record = {"num": 20, "text": "nothing", "__dj__meta__": {"a": 3, "b": None}}
    assert judged(NAME, record, filter_condition=condition) == holds


@pytest.mark.parametrize(
    ("condition", "word"),
    [
        ("num >", "cannot be read"),
        ("len(text) > 3", "calls"),
        ("__import__('os').system('id')", "calls"),
        ("num + 1 > 2", "arithmetic"),
        ("tags[0] == 'a'", "subscripts"),
        ("[x for x in tags]", "not taken"),
        ("f'{num}' == '1'", "f-strings"),
        ("num is None", "'is'"),
        ("(lambda: 1)", "functions"),
        ("a if b else c", "if"),
        ("b'raw' == text", "not taken"),
        ("(" * 250 + "num" + ")" * 250, "nested"),
        ("not " * 100 + "num", "too large"),
        (" or ".join(["n"] * 600), "too large"),
        ("-" * (MOST_CHARACTERS - 1) + "1", "too deep"),
        ("num" + " " * MOST_CHARACTERS, "characters"),
        ("a\0b", "cannot be read"),
    ],
    ids=lambda text: text[:30],
)
def test_any_other_is_refused_before_a_sample_is_read(condition: str, word: str) -> None:
    with pytest.raises(RecipeErrors) as caught:
        plan_of((NAME, {"filter_condition": condition}))
    [error] = caught.value.errors
    assert isinstance(error, BadOption) and error.option == "filter_condition"
    assert word in error.given and error.allowed and error.try_


CHARACTERS = st.sampled_from("ab.()[]{}'\"<>=!-+*/%&|^~@:,; \n\\0123") | st.sampled_from(
    [" and ", " or ", "not ", " in ", "__class__", "__builtins__", "None", "True", "lambda", "await ", "**", "=="]
)


@given(
    st.lists(CHARACTERS, max_size=25).map("".join), st.dictionaries(st.sampled_from("ab"), st.none() | st.integers())
)
def test_whatever_is_typed_is_answered_or_refused(condition: str, record: dict[str, Any]) -> None:
    try:
        evaluate = compiled(condition)
    except ValueError:
        return
    try:
        answer = evaluate({**record, "__builtins__": 1})
    except TypeError:
        return
    assert isinstance(answer, bool | int | float | str | list | tuple | set | None), answer


def test_a_hostile_condition_costs_no_time() -> None:
    started_seconds = time.perf_counter()
    record = {"text": "a" * 100_000, "tags": ["a" * 1000] * 1000}
    condition = " and ".join(["'aab' not in text", "'b' not in tags"] * 40)
    assert judged(NAME, record, filter_condition=condition) == 1
    assert time.perf_counter() - started_seconds < 2


def test_what_cannot_be_compared_is_undecided_and_says_why() -> None:
    [verdict] = verdicts_on(plan_of((NAME, {"filter_condition": "license > 3"})), RECORDS[:1])
    assert (verdict.outcome, verdict.status) == ("undecided", "no_value")
    assert "'license > 3' cannot be answered" in verdict.reason


def test_two_conditions_in_one_recipe_are_two_measures() -> None:
    """Upstream keeps one answer under one key, so that the second condition is never asked."""
    plan = plan_of((NAME, {"filter_condition": "n > 1"}), (NAME, {"filter_condition": "n < 3"}))
    assert [step.key for step in plan.steps] == [NAME, f"{NAME}_2"]
    assert len({step.measure_id for step in plan.steps}) == 2
    assert [verdict.step for verdict in verdicts_on(plan, [{"n": n} for n in (1, 2, 3)])] == [NAME, "", f"{NAME}_2"]


def test_it_has_no_reversed_range_as_upstream() -> None:
    plan = plan_of((NAME, {"filter_condition": "license == 'cc'", "reversed_range": True}))
    assert plan.notes == (f"{NAME}.reversed_range has no effect here: Data-Juicer has none here: write not (…)",)
    assert [verdict.outcome for verdict in verdicts_on(plan, RECORDS[:2])] == ["kept", "dropped"]


def test_the_names_that_it_reads() -> None:
    assert names_in("a.b.c > 1 and (x in [y, 'z'] or not a.b.c)") == ["a.b.c", "x", "y"]


def test_comparing_with_none_warns() -> None:
    [warning] = plan_of((NAME, {"filter_condition": "license != None"})).warnings
    assert "never true" in warning
