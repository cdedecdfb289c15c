"""What the page is told is what `decide` would do with the bounds that it shows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets.decide import decide, summarize
from dj_assets.errors import DjAssetsError
from dj_assets.plan import Plan, Step
from dj_assets.samples import Sample
from dj_assets.store.rows import Row
from dj_assets.studio.bounds import FieldFilter, Filter, State, ranges_under, state_of
from dj_assets.studio.session import Session
from dj_assets_tests.plans import Value, a_fact, a_plan
from dj_assets_tests.store.nouns import PROVENANCE
from dj_assets_tests.studio.stores import a_bounded_step, a_session, samples_of

NUMBERS = st.integers(0, 40).map(lambda number: number / 4)
VALUES = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["unreadable", "skipped"]))
LIMITS = st.one_of(st.none(), NUMBERS)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Step], list[Sample], dict[str, list[Value]], list[tuple[Any, ...]]]:
    steps = [
        a_bounded_step(
            stat,
            number=number,
            any_or_all=draw(st.sampled_from(["any", "all"])),
            is_reversed=draw(st.sampled_from([False, False, True])),
        )
        for number, stat in enumerate(("a", "b")[: draw(st.integers(1, 2))], start=1)
    ]
    counts = draw(st.lists(st.sampled_from([1, 1, 1, 0, 2, 3]), min_size=1, max_size=8))
    if draw(st.booleans()):
        counts = [1] * len(counts)
    numbers: dict[str, list[Value]] = {
        step.ranges[0].stat: draw(st.lists(VALUES, min_size=sum(counts), max_size=sum(counts))) for step in steps
    }
    moved = [(draw(LIMITS), draw(LIMITS), draw(st.booleans()), draw(st.booleans())) for _ in steps]
    return steps, samples_of(counts), numbers, moved


def moved_state(plan: Plan, moved: Sequence[tuple[Any, ...]]) -> State:
    state = state_of(plan)
    steps = {}
    for step, (low, high, low_closed, high_closed) in zip(plan.steps, moved, strict=True):
        stat = step.ranges[0].stat
        steps[step.key] = state.steps[step.key].model_copy(
            update={
                "bounds": {f"min_{stat}": low, f"max_{stat}": high},
                "min_closed_interval": low_closed,
                "max_closed_interval": high_closed,
            }
        )
    return state.model_copy(update={"steps": steps})


def with_bound(state: State, step: Step, option: str, value: float | None) -> State:
    bounds = state.steps[step.key]
    changed = bounds.model_copy(update={"bounds": {**bounds.bounds, option: value}})
    return state.model_copy(update={"steps": {**state.steps, step.key: changed}})


@settings(max_examples=150, deadline=None)
@given(cases())
def test_counts_are_those_of_decide_under_the_moved_bounds(case: Any) -> None:
    steps, samples, numbers, moved = case
    with tempfile.TemporaryDirectory() as folder:
        session = a_session(Path(folder), steps, samples, numbers)
        state = moved_state(session.plan, moved)
        found = session.count(state)
    plan = a_plan(*(replace(step, ranges=ranges_under(step, state.steps[step.key])) for step in steps))
    tables = {}
    for step in plan.steps:
        stat = step.ranges[0].stat
        values = iter(numbers[stat])
        tables[step.key] = [
            Row(s.sample_id, v.field, v.position, v.path, a_fact(step, stat, next(values)))
            for s in samples
            for v in s.videos
        ]
    expected = summarize(plan, decide(plan, samples, tables))
    assert found["kept"] == expected.kept
    assert {key: one["dropped"] for key, one in found["steps"].items()} == expected.dropped
    assert found["dropped"] == sum(expected.dropped.values())
    assert found["undecided"] == sum(expected.undecided.values())


@settings(max_examples=150, deadline=None)
@given(cases(), st.data())
def test_a_curve_says_what_is_kept_with_the_end_there(case: Any, data: st.DataObject) -> None:
    steps, samples, numbers, moved = case
    with tempfile.TemporaryDirectory() as folder:
        session = a_session(Path(folder), steps, samples, numbers)
        state = moved_state(session.plan, moved)
        found = session.count(state)
        for step in session.plan.steps:
            stat = step.ranges[0].stat
            axis = session.axes[step.key, stat]
            edge = data.draw(st.integers(0, axis.bins))
            at = axis.low + edge * (axis.high - axis.low) / axis.bins
            for side, curve in found["panels"][f"{step.key}/{stat}"]["curves"].items():
                there = session.count(with_bound(state, step, f"{side}_{stat}", at))
                if not np.any(np.isclose(session.columns.steps[step.key].values, at, atol=1e-9)):
                    assert curve[edge] == there["kept"], (step.key, side, at)


def test_a_filter_counts_the_chosen_samples_alone(tmp_path: Path) -> None:
    samples = [replace(s, record={"text": f"t{n % 2}", "fps": n}) for n, s in enumerate(samples_of([1] * 6))]
    session = a_session(tmp_path, [a_bounded_step("a", 2.0)], samples, {"a": [0.0, 1.0, 2.0, 3.0, 4.0, "unreadable"]})
    state = state_of(session.plan)

    def counted(**wanted: Any) -> tuple[int, int, int, int]:
        found = session.count(state.model_copy(update={"filter": Filter(**wanted)}))
        return found["samples"], found["kept"], found["dropped"], found["undecided"]

    assert counted() == (6, 3, 2, 1)
    assert counted(field=FieldFilter(name="text", test="equals", value="t1")) == (3, 1, 1, 1)
    assert counted(field=FieldFilter(name="fps", test="at_least", value="3")) == (3, 2, 0, 1)
    assert counted(field=FieldFilter(name="nowhere", test="is_missing")) == (6, 3, 2, 1)
    assert counted(shards=("ds-00000",)) == (6, 3, 2, 1)
    assert counted(shards=("another",))[0] == 0
    with pytest.raises(DjAssetsError, match="no number"):
        counted(field=FieldFilter(name="fps", test="at_most", value="many"))


def test_the_nearest_samples_on_each_side_are_those_that_the_other_steps_let_pass(tmp_path: Path) -> None:
    numbers: dict[str, Sequence[Value]] = {
        "a": [1.0, 1.9, 2.0, 2.3, 5.0, "unreadable"],
        "b": [9.0, 9.0, 9.0, 0.0, 9.0, 9.0],
    }
    steps = [a_bounded_step("a", 2.0), a_bounded_step("b", 5.0, number=2)]
    session = a_session(tmp_path, steps, samples_of([1] * 6), numbers)
    state = state_of(session.plan)
    found = session.near(state, "a_filter", "min_a", most=2, only_survivors=True)
    assert [(card["sample_id"], card["value"]) for card in found["kept"]] == [("ds.jsonl:3", 2.0), ("ds.jsonl:5", 5.0)]
    assert [card["value"] for card in found["dropped"]] == [1.9, 1.0]
    everyone = session.near(state, "a_filter", "min_a", most=2, only_survivors=False)
    assert [card["value"] for card in everyone["kept"]] == [2.0, 2.3]
    unknown = session.undecided(state, "a_filter", most=5)
    assert [(card["sample_id"], card["status"]) for card in unknown] == [("ds.jsonl:6", "unreadable")]


def test_entering_and_leaving_are_against_the_file(tmp_path: Path) -> None:
    session = a_session(
        tmp_path, [a_bounded_step("a", 2.0, 4.0)], samples_of([1] * 5), {"a": [1.0, 2.0, 3.0, 4.0, 5.0]}
    )
    step, state = session.plan.steps[0], state_of(session.plan)
    found = session.count(with_bound(with_bound(state, step, "min_a", 3.0), step, "max_a", None))
    assert (found["kept"], found["entering"], found["leaving"]) == (3, 1, 1)


def test_two_bounds_at_once_give_the_same_as_setting_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    numbers: dict[str, Sequence[Value]] = {"a": rng.random(200).tolist(), "b": rng.random(200).tolist()}
    steps = [a_bounded_step("a"), a_bounded_step("b", number=2)]
    session = a_session(tmp_path, steps, samples_of([1] * 200), numbers)
    state = state_of(session.plan)
    found = session.trade_off(state, ("a_filter", "min_a"), ("b_filter", "max_b"))
    assert sum(map(sum, found["counts"])) == 200
    for column, row in ((5, 40), (20, 20), (48, 3)):
        x = found["x"]["low"] + column * (found["x"]["high"] - found["x"]["low"]) / found["x"]["bins"]
        y = found["y"]["low"] + row * (found["y"]["high"] - found["y"]["low"]) / found["y"]["bins"]
        both = with_bound(with_bound(state, steps[0], "min_a", x), steps[1], "max_b", y)
        assert found["kept"][row][column] == session.count(both)["kept"]
    with pytest.raises(DjAssetsError, match="both of a_filter"):
        session.trade_off(state, ("a_filter", "min_a"), ("a_filter", "max_a"))


def test_marks_are_kept_by_content_and_give_a_bound(tmp_path: Path) -> None:
    session = a_session(
        tmp_path, [a_bounded_step("a", 2.0)], samples_of([1] * 6), {"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    )
    state = state_of(session.plan)
    for video, keep in enumerate([False, False, False, True, True]):
        session.mark(video, keep)
    assert session.mark(5, True) == 6 and session.mark(5, None) == 5
    again = Session(session.plan, session.columns, session.store)
    found = again.fit(state, "a_filter", "min_a")
    assert (found["bound"], found["errors"], found["num_keep"], found["num_drop"]) == (3.5, 0, 2, 3)
    assert found["interval"].low <= 3.0 and found["interval"].high >= 4.0
    cards = again.near(state, "a_filter", "min_a", most=6, only_survivors=True)
    assert [card["label"] for card in cards["kept"]] == ["drop", "drop", "keep", "keep", None]


def test_a_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    session = a_session(tmp_path, [a_bounded_step("a", 2.0)], samples_of([1]), {"a": [1.0]})
    with pytest.raises(DjAssetsError, match="a_filter: nothing is set"):
        session.count(State(steps={}))
    with pytest.raises(DjAssetsError, match=r"a_filter\.nothing is no bound"):
        session.near(state_of(session.plan), "a_filter", "nothing", most=1, only_survivors=True)


def test_a_store_without_samples_can_be_asked(tmp_path: Path) -> None:
    session = a_session(tmp_path, [a_bounded_step("a", 2.0)], [], {"a": []})
    assert session.count(state_of(session.plan))["samples"] == 0
    assert session.near(state_of(session.plan), "a_filter", "max_a", most=3, only_survivors=True)["kept"] == []


def test_outside_of_no_limit_nothing_is_kept(tmp_path: Path) -> None:
    """A reversed range whose minimum was open showed every sample as just kept, while the counts said none."""
    step = a_bounded_step("a", high=5.0, is_reversed=True)
    session = a_session(tmp_path, [step], samples_of([1] * 4), {"a": [1.0, 2.0, 3.0, 4.0]})
    state = state_of(session.plan)
    found = session.near(state, "a_filter", "min_a", most=4, only_survivors=True)
    assert session.count(state)["kept"] == 0
    assert (found["num_kept"], found["num_dropped"]) == (0, 4)


def test_marks_and_cards_are_of_the_video_and_not_of_its_sample(tmp_path: Path) -> None:
    """Of a sample with several videos, each mark was fitted with the number that decides for the sample."""
    numbers: dict[str, Sequence[Value]] = {"a": [1.0, 9.0, 2.0, 8.0, 5.0, "unreadable"]}
    session = a_session(tmp_path, [a_bounded_step("a", 6.0, any_or_all="all")], samples_of([2, 2, 2]), numbers)
    state = state_of(session.plan)
    for video, keep in enumerate([False, True, False, True]):
        session.mark(video, keep)
    found = session.fit(state, "a_filter", "min_a")
    assert (found["bound"], found["errors"]) == (5.0, 0)
    assert [c["name"] for c in session.near(state, "a_filter", "min_a", most=3, only_survivors=True)["dropped"]] == [
        "2-0.mp4",
        "1-0.mp4",
    ]
    lower = with_bound(state, session.plan.steps[0], "min_a", 4.0)
    [unknown] = session.undecided(lower, "a_filter", most=3)
    assert (unknown["name"], unknown["status"], unknown["reason"]) == ("3-1.mp4", "unreadable", "because unreadable")


def test_a_far_tail_is_kept_wherever_on_the_axis_a_minimum_lies(tmp_path: Path) -> None:
    """Numbers beyond the axis were counted into its last bin, so that a curve's last point lost them."""
    values = [*(n / 300 for n in range(300)), 1000.0, 1000.0]
    session = a_session(tmp_path, [a_bounded_step("a"), a_bounded_step("b", number=2)], samples_of([1] * 302),
                        {"a": values, "b": values})  # fmt: skip
    state, axis = state_of(session.plan), session.axes["a_filter", "a"]
    assert axis.high < 10
    curve = session.count(state)["panels"]["a_filter/a"]["curves"]
    at_the_end = session.count(with_bound(state, session.plan.steps[0], "min_a", axis.high))["kept"]
    assert curve["min"][-1] == at_the_end == 2
    assert (
        curve["max"][-1] == session.count(with_bound(state, session.plan.steps[0], "max_a", axis.high))["kept"] == 300
    )
    both = session.trade_off(state, ("a_filter", "min_a"), ("b_filter", "max_b"))
    assert both["kept"][-1][-1] == 0 and both["kept"][-1][0] == 300


def test_a_run_meanwhile_is_said_and_never_shifts_a_filter(tmp_path: Path) -> None:
    session = a_session(tmp_path, [a_bounded_step("a", 2.0)], samples_of([1] * 2), {"a": [1.0, 3.0]})
    session.store.write_samples("r", "ds-00001", samples_of([1] * 4)[2:], PROVENANCE)
    wanted = Filter(field=FieldFilter(name="text", test="contains", value="sample"))
    with pytest.raises(DjAssetsError, match="has been run since"):
        session.count(state_of(session.plan).model_copy(update={"filter": wanted}))
