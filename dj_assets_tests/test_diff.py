"""Who enters and leaves is what every way of measuring the rest would say; and what hangs on it is said to."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets import operators
from dj_assets.columns import Columns, columns, sample_table
from dj_assets.decide import decide
from dj_assets.diff import Diff, Moved, compare
from dj_assets.diff.changes import changes, margin
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample
from dj_assets.store.rows import Row
from dj_assets.store.store import Store
from dj_assets_tests.plans import Value, a_broken_sample, a_fact, a_plan, a_sample, a_step
from dj_assets_tests.test_columns import measured, with_hashes

LENGTH, MOTION, TEXT = "length_filter", "motion_filter", "text_filter"
STATS = {LENGTH: "length", MOTION: "motion", TEXT: "text"}
INF = float("inf")

Known = Mapping[tuple[str, str], Value]
"""(operator, content hash) → what the store knows; what is not there nobody has measured."""


def a_filter(
    operator: str, low: float, high: float = INF, *, any_or_all: Literal["any", "all"] = "any", key: str = ""
) -> Step:
    step = a_step(operator, StatRange(STATS[operator], low, high, high_is_set=high != INF), any_or_all=any_or_all)
    return replace(step, key=key or operator)


def numbered(*steps: Step, **settings: Any) -> Plan:
    """A plan of these steps in this order; a second one of an operator is named `_2`."""
    made: list[Step] = []
    for number, step in enumerate(steps, 1):
        repeats = sum(other.operator.name == step.operator.name for other in made)
        key = step.operator.name if not repeats else f"{step.operator.name}_{repeats + 1}"
        made.append(replace(step, number=number, key=key))
    return a_plan(*made, **settings)


def both(store: Store, old: Plan, new: Plan, samples: Sequence[Sample], known: Known) -> tuple[Columns, Columns]:
    """Columns of both plans over the same samples and a store that knows this."""
    for (operator, content), value in known.items():
        facts = {(operator, content, STATS[operator]): value}
        measured(store, numbered(a_filter(operator, 0)), samples, facts)
    table = sample_table({"ds-00000": samples}, recipe="r")
    before = columns(old, store, table)
    return before, columns(new, store, table, beside=before)


def diff_of(folder: Path, old: Plan, new: Plan, samples: Sequence[Sample], known: Known, **options: Any) -> Diff:
    return compare(*both(Store(folder), old, new, samples, known), **options)


def clips(count: int, videos: int = 1) -> list[Sample]:
    """Samples ds.jsonl:1 …, whose videos have the contents `0001videos0` …"""
    return [with_hashes(a_sample(n, *(f"{n}-{v}.mp4" for v in range(videos)))) for n in range(1, count + 1)]


def content(number: int, position: int = 0) -> str:
    return f"{number:04d}videos{position}"


def ids(moved: Sequence[Moved]) -> list[int]:
    """Line numbers."""
    return [one.line_number for one in moved]


# --- against every way in which the unmeasured may turn out


def exported(plan: Plan, samples: Sequence[Sample], known: Known) -> list[bool]:
    """Which samples a full run exports, by `decide`. known: everything."""
    tables = {
        step.key: [
            Row(
                s.sample_id,
                v.field,
                v.position,
                v.path,
                a_fact(step, stat.name, known[step.operator.name, v.content_hash]),
            )
            for s in samples
            for v in s.videos
            for stat in step.operator.stats
        ]
        for step in plan.steps
    }
    keeps = plan.recipe.settings.on_undecided == "keep"
    verdicts = decide(plan, samples, tables)
    return [
        verdict.outcome == "kept" or (keeps and verdict.outcome == "undecided" and sample.status == "ok")
        for verdict, sample in zip(verdicts, samples, strict=True)
    ]


OUTCOMES: tuple[Value, ...] = (0.0, 1.0, 2.0, 3.0, "unreadable")

filters = st.builds(
    a_filter,
    st.sampled_from(list(STATS)),
    st.sampled_from([0.5, 1.5, 2.5]),
    any_or_all=st.sampled_from(["any", "all"]),
)
plans = st.builds(
    lambda steps, on_undecided: numbered(*steps, on_undecided=on_undecided),
    st.lists(filters, max_size=3),
    st.sampled_from(["set_aside", "keep"]),
)


@settings(max_examples=150, deadline=None)
@given(plans, plans, st.integers(1, 2), st.data())
def test_what_is_named_holds_however_the_rest_is_measured(
    old: Plan, new: Plan, videos: int, data: st.DataObject
) -> None:
    """One sample, each number known or not. Every way in which the unknown ones may turn out is tried."""
    samples = clips(1, videos)
    places = [(operator, content(1, position)) for operator in STATS for position in range(videos)]
    known = {place: value for place in places if (value := data.draw(st.sampled_from([*OUTCOMES, None]))) is not None}
    with tempfile.TemporaryDirectory() as folder:
        diff = diff_of(Path(folder), old, new, samples, known)
    asked = {step.operator.name for plan in (old, new) for step in plan.steps}
    free = [place for place in places if place not in known and place[0] in asked]
    found = set()
    for values in itertools.product(OUTCOMES, repeat=len(free)) if len(free) <= 4 else ():
        whole = {**dict.fromkeys(places, 0.0), **known, **dict(zip(free, values, strict=True))}
        found.add((*exported(old, samples, whole), *exported(new, samples, whole)))
    if not found:
        return
    if diff.num_entering:
        assert found == {(False, True)}
    elif diff.num_leaving:
        assert found == {(True, False)}
    elif not diff.num_unknown:
        assert all(before == after for before, after in found)
    if not free:
        assert not diff.num_unknown
    for totals in (diff.old, diff.new):
        assert totals.samples == totals.kept + sum(totals.dropped.values()) + sum(totals.undecided.values()) + (
            totals.not_measured
        )
    assert sum(flow.samples for flow in diff.flows) == 1


# --- cases that can be read


def test_a_moved_bound_lets_in_and_out_exactly_those_between(tmp_path: Path) -> None:
    known = {(MOTION, content(n)): float(n) for n in range(1, 6)}
    diff = diff_of(tmp_path, a_plan(a_filter(MOTION, 2, 4)), a_plan(a_filter(MOTION, 3, 5)), clips(5), known)
    assert (ids(diff.entering), ids(diff.leaving), diff.num_unknown) == ([5], [2], 0)
    [enters] = diff.entering
    assert (enters.old.outcome, enters.old.values, enters.old.margin) == ("dropped", (5.0,), -1.0)
    assert (enters.new.outcome, enters.new.bound, enters.new.margin) == ("kept", "motion >= 3 and motion <= 5", 0.0)
    assert [str(change) for change in diff.changes] == [
        "motion_filter: min of motion: 2 → 3",
        "motion_filter: max of motion: 4 → 5",
    ]
    assert (diff.old.kept, diff.new.kept, diff.new.dropped) == (3, 3, {MOTION: 2})
    assert not diff.is_empty


def test_a_sample_that_one_step_drops_is_known_whatever_the_unmeasured_steps_say(tmp_path: Path) -> None:
    """Short circuit leaves dropped samples without a number of later passes. Here a new step was measured nowhere."""
    known = {(LENGTH, content(1)): 0.5, (LENGTH, content(2)): 5.0}
    old, new = numbered(a_filter(LENGTH, 1)), numbered(a_filter(MOTION, 2), a_filter(LENGTH, 1))
    diff = diff_of(tmp_path, old, new, clips(2), known)
    assert (diff.num_entering, diff.num_leaving, ids(diff.unknown)) == (0, 0, [2])
    assert (diff.unknown[0].new.outcome, diff.unknown[0].new.not_measured) == ("not_measured", (MOTION,))
    assert [(gap.side, gap.step, gap.samples, gap.videos) for gap in diff.gaps] == [("new", MOTION, 1, 1)]
    assert (diff.new.dropped, diff.new.not_measured, diff.new.exported) == ({MOTION: 0, LENGTH: 1}, 1, 0)


def test_what_both_recipes_ask_alike_is_no_reason_not_to_know(tmp_path: Path) -> None:
    """Nobody measured motion; but whatever it is, both recipes say the same of it."""
    known = {(LENGTH, content(n)): float(n) for n in (1, 2, 3)}
    old = numbered(a_filter(LENGTH, 2), a_filter(MOTION, 2))
    new = numbered(a_filter(MOTION, 2), a_filter(LENGTH, 2.5))
    diff = diff_of(tmp_path, old, new, clips(3), known)
    assert ids(diff.unknown) == [2], "3 hangs on motion alone, in both alike; 1 is out in both"
    assert (diff.num_entering, diff.num_leaving) == (0, 0)
    assert (diff.old.not_measured, diff.new.not_measured) == (2, 1)


def test_one_of_several_videos_may_be_enough_to_know(tmp_path: Path) -> None:
    known = {(MOTION, content(1, 0)): 3.0, (MOTION, content(2, 0)): 1.0}
    any_of, all_of = (numbered(a_filter(MOTION, 2, any_or_all=kind)) for kind in ("any", "all"))  # type: ignore[arg-type]
    diff = diff_of(tmp_path, numbered(), any_of, clips(2, 2), known)
    assert (ids(diff.leaving), ids(diff.unknown)) == ([], [2])
    diff = diff_of(tmp_path, numbered(), all_of, clips(2, 2), known)
    assert (ids(diff.leaving), ids(diff.unknown)) == ([2], [1])


UNDECIDED = {
    "set_aside → keep": ("set_aside", "keep", [1, 2], []),
    "keep → drop": ("keep", "drop", [], [1, 2]),
    "set_aside → drop": ("set_aside", "drop", [], []),
}


@pytest.mark.parametrize(("before", "after", "entering", "leaving"), UNDECIDED.values(), ids=UNDECIDED)
def test_undecided_samples_go_where_each_recipe_puts_them(
    before: str, after: str, entering: list[int], leaving: list[int], tmp_path: Path
) -> None:
    samples = [*clips(3), a_broken_sample(4)]
    known: dict[tuple[str, str], Value] = {
        (MOTION, content(n)): v for n, v in ((1, "unreadable"), (2, "timed_out"), (3, 3.0))
    }
    old, new = (numbered(a_filter(MOTION, 2), on_undecided=name) for name in (before, after))
    diff = diff_of(tmp_path, old, new, samples, known)
    assert (ids(diff.entering), ids(diff.leaving), diff.num_unknown) == (entering, leaving, 0)
    assert diff.old.undecided == {"unreadable": 1, "timed_out": 1, "malformed": 1}
    assert diff.asked_again == 1
    for one in (*diff.entering, *diff.leaving):
        assert (one.old.outcome, one.new.outcome) == ("undecided", "undecided")
        assert (one.old.is_exported, one.new.is_exported) == (before == "keep", after == "keep")


def test_a_keeping_recipe_cannot_know_a_sample_that_may_turn_out_undecided(tmp_path: Path) -> None:
    old, new = (numbered(a_filter(MOTION, 2), on_undecided=name) for name in ("set_aside", "keep"))
    diff = diff_of(tmp_path, old, new, clips(1), {})
    assert (diff.num_entering, diff.num_unknown) == (0, 1)


def test_dropped_by_another_step_is_told_apart_from_a_step_that_moved(tmp_path: Path) -> None:
    known = {(LENGTH, content(1)): 0.0, (MOTION, content(1)): 0.0, (LENGTH, content(2)): 0.0, (MOTION, content(2)): 9.0}
    length, motion = a_filter(LENGTH, 1), a_filter(MOTION, 1)
    diff = diff_of(tmp_path, numbered(length, motion), numbered(motion, length), clips(2), known)
    assert (ids(diff.changed_cause), diff.num_entering, diff.num_leaving) == ([1], 0, 0)
    [change] = diff.changes
    assert (str(change), change.moves_verdicts) == ("length_filter: moved: step 1 → step 2", False)


def test_the_same_step_under_another_key_is_the_same_step(tmp_path: Path) -> None:
    """A second motion filter put before the first takes its key; the first is `motion_filter_2` from then on."""
    known: Known = {(MOTION, content(1)): 1.0}
    old, new = numbered(a_filter(MOTION, 2)), numbered(a_filter(MOTION, 0.5), a_filter(MOTION, 2))
    diff = diff_of(tmp_path, old, new, clips(1), known)
    assert diff.num_changed_cause == 0
    assert [(change.kind, change.what) for change in diff.changes] == [("step added", MOTION)]
    assert [(flow.old_by, flow.new_by) for flow in diff.flows] == [(MOTION, f"{MOTION}_2")]


def test_lists_are_cut_and_counts_are_not(tmp_path: Path) -> None:
    known: Known = {(MOTION, content(n)): 1.0 for n in range(1, 8)}
    diff = diff_of(tmp_path, numbered(), numbered(a_filter(MOTION, 2)), clips(7), known, most=2)
    assert (ids(diff.leaving), diff.num_leaving) == ([1, 2], 7)


def test_two_readings_of_one_dataset_are_matched_by_sample_id(tmp_path: Path) -> None:
    """The old recipe takes sample 2 for none and reads no 3; the new one reads no 1, and in another order."""
    store, plan = Store(tmp_path), numbered(a_filter(MOTION, 2))
    one, two, three = clips(3)
    for sample in (one, two, three):
        measured(store, plan, [sample], {(MOTION, sample.videos[0].content_hash, "motion"): 3.0})
    broken = replace(a_broken_sample(2), sample_id=two.sample_id)
    before = columns(plan, store, sample_table({"s": [one, broken]}, recipe="r"))
    after = columns(plan, store, sample_table({"s": [three, two]}, recipe="r"))
    diff = compare(before, after)
    assert (ids(diff.entering), ids(diff.leaving), diff.samples) == ([3, 2], [1], 3)
    assert [one.old.outcome for one in diff.entering] == ["absent", "undecided"]
    assert (diff.old.samples, diff.new.samples, diff.old.kept, diff.new.kept) == (2, 2, 1, 2)


def test_names_that_no_utf8_can_hold_come_back_as_they_were(tmp_path: Path) -> None:
    [sample] = clips(1)
    sample = replace(sample, sample_id="d\udcff.jsonl:1", videos=(replace(sample.videos[0], given="\ud800<b>.mp4"),))
    diff = diff_of(tmp_path, numbered(), numbered(a_filter(MOTION, 2)), [sample], {(MOTION, content(1)): 1.0})
    assert (diff.leaving[0].sample_id, diff.leaving[0].videos[0].given) == ("d\udcff.jsonl:1", "\ud800<b>.mp4")


def test_no_samples_and_no_steps_are_no_difference(tmp_path: Path) -> None:
    diff = diff_of(tmp_path, numbered(), numbered(), [], {})
    assert diff.is_empty and diff.samples == 0 and diff.flows == () and diff.changes == ()


MARGINS = {
    "inside": (StatRange("x", 2, 5), 2.5, 0.5),
    "outside": (StatRange("x", 2, 5), 7.0, -2.0),
    "reversed, between": (StatRange("x", 2, 5, is_reversed=True), 3.0, -1.0),
    "reversed, beyond": (StatRange("x", 2, 5, is_reversed=True), 6.0, 1.0),
    "one end": (StatRange("x", 2, INF, high_is_set=False), 9.0, 7.0),
    "no end": (StatRange("x", -INF, INF, low_is_set=False, high_is_set=False), 9.0, None),
}


@pytest.mark.parametrize(("range_", "value", "expected"), MARGINS.values(), ids=MARGINS)
def test_margin_is_the_distance_to_the_nearest_limit(range_: StatRange, value: float, expected: float | None) -> None:
    assert margin(range_, value) == expected


def test_an_option_that_came_later_is_told_by_the_value_that_was_worked_by() -> None:
    """On a GPU null is fp16, so "null → fp16" would name one measure twice."""
    operator = operators.get("video_ocr_area_ratio_filter")

    def plan(precision: str) -> Plan:
        params = operator.params(precision=precision)
        measure_id = operator.measure_id(params, "cuda")
        step = replace(a_step(operator.name), operator=operator, params=params, device="cuda", measure_id=measure_id)
        return a_plan(step)

    [change] = changes(plan("fp32"), plan("fp16"))
    assert (change.option, change.old, change.new) == ("precision", "fp32", "fp16")
