"""Given rows and bounds, the verdicts; no video in sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import inf, nan
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dj_assets.decide import check_rows, decide, still_in, summarize
from dj_assets.plan import Step
from dj_assets.ranges import StatRange
from dj_assets.store.rows import Row, Verdict
from dj_assets_tests.plans import Value, a_broken_sample, a_fact, a_plan, a_sample, a_step, a_table

MOTION = StatRange("motion", 2.0, inf, high_is_set=False)
OCR = StatRange("ocr", -inf, 0.2, low_is_set=False)


def verdict_of(step: Step, values: Sequence[Value]) -> Verdict:
    """Verdict on one sample with a video per value."""
    sample = a_sample(1, *(f"v{index}.mp4" for index in range(len(values))))
    return decide(a_plan(step), [sample], {step.key: a_table(step, [sample], values)})[0]


@pytest.mark.parametrize(
    ("name", "range_", "value", "outcome"),
    [
        ("inside", StatRange("s", 1, 3), 2, "kept"),
        ("below", StatRange("s", 1, 3), 0.99, "dropped"),
        ("above", StatRange("s", 1, 3), 3.01, "dropped"),
        ("closed at the low end", StatRange("s", 1, 3), 1, "kept"),
        ("closed at the high end", StatRange("s", 1, 3), 3, "kept"),
        ("open at the low end", StatRange("s", 1, 3, low_closed=False), 1, "dropped"),
        ("open at the high end", StatRange("s", 1, 3, high_closed=False), 3, "dropped"),
        ("one point", StatRange("s", 2, 2), 2, "kept"),
        ("one point, open", StatRange("s", 2, 2, low_closed=False), 2, "dropped"),
        ("no bound at all", StatRange("s", -inf, inf), -1e300, "kept"),
        ("infinite value, no bound", StatRange("s", -inf, inf), inf, "kept"),
        ("infinite value, open", StatRange("s", -inf, inf, high_closed=False), inf, "dropped"),
        ("reversed, inside", StatRange("s", 1, 3, is_reversed=True), 2, "dropped"),
        ("reversed, outside", StatRange("s", 1, 3, is_reversed=True), 4, "kept"),
        ("reversed keeps its ends", StatRange("s", 1, 3, is_reversed=True), 3, "kept"),
        ("reversed, open", StatRange("s", 1, 3, high_closed=False, is_reversed=True), 3, "dropped"),
        ("not a number", StatRange("s", -inf, inf), nan, "dropped"),
        ("not a number, reversed", StatRange("s", 1, 3, is_reversed=True), nan, "kept"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bounds(name: str, range_: StatRange, value: float, outcome: str) -> None:
    assert verdict_of(a_step("f", range_), [value]).outcome == outcome


@pytest.mark.parametrize(
    ("any_or_all", "values", "outcome"),
    [
        ("any", [], "kept"),
        ("all", [], "kept"),
        ("any", [1, 3], "kept"),
        ("all", [1, 3], "dropped"),
        ("all", [3, 4], "kept"),
        ("any", [1, 0], "dropped"),
        ("any", [None, 3], "kept"),
        ("all", [None, 1], "dropped"),
        ("any", [None, 1], "undecided"),
        ("all", [3, None], "undecided"),
        ("any", [None, None], "undecided"),
        ("all", ["skipped", 1], "dropped"),
    ],
)
def test_several_videos_need_only_what_turns_the_answer(
    any_or_all: Literal["any", "all"], values: list[Value], outcome: str
) -> None:
    assert verdict_of(a_step("f", MOTION, any_or_all=any_or_all), values).outcome == outcome


def test_a_dropped_sample_says_by_which_number_and_bound() -> None:
    assert verdict_of(a_step("video_motion_score_filter", MOTION), [1.5, None, 1.0][::2]) == Verdict(
        "ds.jsonl:1",
        "dropped",
        step="video_motion_score_filter",
        operator="video_motion_score_filter",
        stat="motion",
        values=(1.5, 1.0),
        bound="motion >= 2",
    )


def test_all_needs_one_failing_video_and_shows_the_unmeasured_ones_as_null() -> None:
    verdict = verdict_of(a_step("f", MOTION, any_or_all="all"), [None, 1.0, 5.0])
    assert (verdict.outcome, verdict.values) == ("dropped", (None, 1.0, 5.0))


def test_an_undecided_sample_says_why() -> None:
    verdict = verdict_of(a_step("f", MOTION), [1.0, "timed_out", "crashed"])
    assert (verdict.outcome, verdict.status, verdict.reason) == ("undecided", "timed_out", "because timed_out")
    assert (verdict.step, verdict.stat, verdict.values) == ("f", "motion", (1.0, None, None))


def test_a_step_of_two_stats_names_the_one_that_fails() -> None:
    step = a_step("video_resolution_filter", StatRange("width", 640, inf), StatRange("height", 480, inf))
    sample = a_sample(1, "v.mp4")

    def verdict(width: Value, height: Value) -> Verdict:
        rows = [
            *a_table(step, [sample], [width], stat="width"),
            *a_table(step, [sample], [height], stat="height"),
        ]
        return decide(a_plan(step), [sample], {step.key: rows})[0]

    assert verdict(640, 480).outcome == "kept"
    assert (verdict(640, 360).stat, verdict(640, 360).values) == ("height", (360.0,))
    assert verdict(320, 240).stat == "width"
    assert verdict(None, 240).stat == "height"  # one failing stat decides, whatever the other is
    assert (verdict(None, 480).outcome, verdict(None, 480).stat) == ("undecided", "width")


def test_the_first_failing_step_is_named_even_after_an_undecided_one() -> None:
    first, second, third = (a_step(key, MOTION, number=n) for n, key in enumerate("abc", 1))
    sample = a_sample(1, "v.mp4")
    tables = {
        "a": a_table(first, [sample], [None]),
        "b": a_table(second, [sample], [1.0]),
        "c": a_table(third, [sample], [0.5]),
    }
    verdict = decide(a_plan(first, second, third), [sample], tables)[0]
    assert (verdict.outcome, verdict.step, verdict.values) == ("dropped", "b", (1.0,))


def test_the_first_undecided_step_is_named() -> None:
    steps = [a_step("a", MOTION), a_step("b", MOTION, number=2), a_step("c", MOTION, number=3)]
    sample = a_sample(1, "v.mp4")
    tables = {
        step.key: a_table(step, [sample], [value])
        for step, value in zip(steps, [3.0, "too_short", "unreadable"], strict=True)
    }
    verdict = decide(a_plan(*steps), [sample], tables)[0]
    assert (verdict.outcome, verdict.step, verdict.status) == ("undecided", "b", "too_short")


def test_a_skipped_number_that_is_wanted_again_says_what_to_materialize() -> None:
    """Bounds of an earlier step were loosened after a run with short_circuit: the later table has gaps now."""
    early, late = a_step("video_duration_filter", MOTION), a_step("video_motion_score_filter", MOTION, number=2)
    sample = a_sample(1, "v.mp4")
    tables = {early.key: a_table(early, [sample], [5.0]), late.key: a_table(late, [sample], ["skipped"])}
    verdict = decide(a_plan(early, late), [sample], tables)[0]
    assert (verdict.outcome, verdict.status, verdict.step) == ("undecided", "skipped", late.key)
    assert "materialize stats/video_motion_score_filter again" in verdict.reason


def test_a_malformed_line_is_undecided_without_a_step() -> None:
    step = a_step("f", MOTION)
    verdict = decide(a_plan(step), [a_broken_sample(7)], {"f": []})[0]
    assert verdict == Verdict("ds.jsonl:7", "undecided", status="malformed", reason="line 7: not JSON")


def test_steps_look_at_their_own_field_only() -> None:
    step = a_step("f", MOTION, video_key="clips")
    by_videos, by_clips = a_sample(1, "a.mp4"), a_sample(2, "b.mp4", field="clips")
    table = a_table(step, [by_videos, by_clips], [1.0])
    verdicts = decide(a_plan(step), [by_videos, by_clips], {"f": table})
    assert [verdict.outcome for verdict in verdicts] == ["kept", "dropped"]


def test_a_repeated_path_is_two_videos() -> None:
    assert verdict_of(a_step("f", MOTION, any_or_all="all"), [3.0, 3.0]).outcome == "kept"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda rows: rows[1:], r"no row for ds.jsonl:1 videos\[0\] motion"),
        (lambda rows: [*rows, rows[0]], r"two rows for ds.jsonl:1 videos\[0\] motion"),
        (lambda rows: [replace(rows[0], fact=replace(rows[0].fact, value=None)), *rows[1:]], "without a value"),
    ],
    ids=["missing", "repeated", "ok without a value"],
)
def test_a_broken_table_is_a_bug_and_never_a_kept_sample(rows, message: str) -> None:  # type: ignore[no-untyped-def]
    step = a_step("f", MOTION)
    sample = a_sample(1, "a.mp4", "b.mp4")
    with pytest.raises(ValueError, match=message):
        decide(a_plan(step), [sample], {"f": rows(a_table(step, [sample], [3.0, 3.0]))})


def test_a_missing_table_is_a_bug() -> None:
    with pytest.raises(ValueError, match="f: no table"):
        decide(a_plan(a_step("f", MOTION)), [], {})


def test_no_steps_keep_everything_but_malformed_lines() -> None:
    verdicts = decide(a_plan(), [a_sample(1, "v.mp4"), a_broken_sample(2)], {})
    assert [verdict.outcome for verdict in verdicts] == ["kept", "undecided"]


answers = st.sampled_from([None, "skipped", 1.0, 3.0])
samples_of_values = st.lists(
    st.integers(0, 3).flatmap(
        lambda count: st.lists(st.lists(answers, min_size=count, max_size=count), min_size=3, max_size=3)
    ),
    min_size=1,
    max_size=5,
)


@given(values=samples_of_values, modes=st.lists(st.sampled_from(["any", "all"]), min_size=3, max_size=3))
def test_what_is_dropped_and_kept_does_not_hang_on_the_order_of_steps(
    values: list[list[list[Value]]], modes: list[Literal["any", "all"]]
) -> None:
    """values: per sample, per step, per video."""
    steps = [a_step(key, MOTION, any_or_all=mode) for key, mode in zip("abc", modes, strict=True)]
    samples = [a_sample(n, *("v.mp4" for _ in of[0])) for n, of in enumerate(values, 1)]
    tables = {
        step.key: a_table(step, samples, [value for of in values for value in of[index]])
        for index, step in enumerate(steps)
    }
    outcomes = {
        tuple(verdict.outcome for verdict in decide(a_plan(*order), samples, tables)) for order in permutations(steps)
    }
    assert len(outcomes) == 1
    dropped = {s.sample_id for s, outcome in zip(samples, outcomes.pop(), strict=True) if outcome == "dropped"}
    assert still_in(steps, samples, tables) == {sample.sample_id for sample in samples} - dropped


@given(values=st.lists(answers, min_size=3, max_size=3))
def test_skipping_what_an_earlier_step_has_dropped_keeps_the_same_samples(values: list[Value]) -> None:
    """short_circuit: numbers of later steps are replaced by `skipped` once a step has dropped the sample."""
    steps = [a_step(key, MOTION) for key in "abc"]
    sample = a_sample(1, "v.mp4")
    full = {step.key: a_table(step, [sample], [value]) for step, value in zip(steps, values, strict=True)}
    cut: dict[str, list[Row]] = {}
    for step in steps:
        skips = not still_in(steps, [sample], cut)
        cut[step.key] = a_table(step, [sample], ["skipped"]) if skips else full[step.key]
    assert [v.outcome == "kept" for v in decide(a_plan(*steps), [sample], full)] == [
        v.outcome == "kept" for v in decide(a_plan(*steps), [sample], cut)
    ]


def test_still_in_ignores_steps_without_a_table_and_keeps_the_undecided() -> None:
    first, second = a_step("a", MOTION), a_step("b", MOTION, number=2)
    samples = [a_sample(1, "a.mp4"), a_sample(2, "b.mp4"), a_sample(3, "c.mp4"), a_broken_sample(4)]
    tables = {"a": a_table(first, samples[:3], [3.0, 1.0, None])}
    assert still_in([first, second], samples, tables) == {"ds.jsonl:1", "ds.jsonl:3", "ds.jsonl:4"}


def test_rows_out_are_videos_in() -> None:
    step = a_step("f", MOTION, OCR)
    samples = [a_sample(1, "a.mp4", "a.mp4"), a_sample(2), a_broken_sample(3)]
    rows = [
        *a_table(step, samples, [1.0, None], stat="motion"),
        *a_table(step, samples, [0.1, "crashed"], stat="ocr"),
    ]
    assert check_rows(step, samples, rows).is_complete
    assert check_rows(step, samples, rows).expected == 4

    stray = Row("ds.jsonl:2", "videos", 0, "/data/x.mp4", a_fact(step, "motion", 1.0))
    check = check_rows(step, samples, [*rows[1:], rows[1], stray])
    assert not check.is_complete
    assert check.missing == ("ds.jsonl:1 videos[0] motion",)
    assert check.extra == ("ds.jsonl:2 videos[0] motion",)
    assert check.repeated == ("ds.jsonl:1 videos[1] motion",)


def test_summary_counts_every_sample_once() -> None:
    first, second = a_step("a", MOTION), a_step("b", MOTION, number=2)
    samples = [a_sample(n, "v.mp4") for n in range(1, 6)] + [a_broken_sample(6)]
    tables = {
        "a": a_table(first, samples, [3.0, 1.0, 1.0, None, 3.0]),
        "b": a_table(second, samples, [3.0, 3.0, "skipped", 3.0, 1.0]),
    }
    plan = a_plan(first, second)
    summary = summarize(plan, decide(plan, samples, tables))
    assert (summary.samples, summary.kept) == (6, 1)
    assert summary.dropped == {"a": 2, "b": 1}
    assert summary.undecided == {"malformed": 1, "unreadable": 1}
