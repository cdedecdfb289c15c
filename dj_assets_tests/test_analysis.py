"""An analysis of numbers that the tests state: every figure here can be checked by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dj_assets.analysis import Analysis, analyse, columns_of_shards, correlation, spread
from dj_assets.columns import columns_of
from dj_assets.operators._contract import Operator
from dj_assets.plan import Pass, Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample
from dj_assets.store import probes
from dj_assets.store.rows import Fact
from dj_assets.store.store import Store
from dj_assets_tests.plans import Value, a_broken_sample, a_fact, a_plan, a_sample, a_step
from dj_assets_tests.store.nouns import PROVENANCE
from dj_assets_tests.test_columns import with_hashes

INF = float("inf")


def two_passes(*, short_circuit: bool = True, percentiles: tuple[float, ...] = (), bound: float = 2.0) -> Plan:
    """`length_filter` of the header keeps >= bound; then `motion_filter` on frames keeps everything."""
    length = a_step("length_filter", StatRange("length", bound, INF))
    motion = a_step("motion_filter", StatRange("motion", -INF, INF), number=2)
    motion = replace(motion, operator=on_frames(motion.operator))
    plan = a_plan(length, motion, short_circuit=short_circuit, percentiles=percentiles)
    return replace(plan, passes=(Pass("header", (length,)), Pass("cpu", (motion,))))


def on_frames(operator: Operator) -> Operator:
    return replace(operator, compute="cpu", read=None, plan=lambda info, params: None, score=lambda *_: None)  # type: ignore[arg-type, return-value]


def clips(count: int) -> list[Sample]:
    """Samples of one video each, contents `0001videos0` …"""
    return [with_hashes(a_sample(number, f"v{number}.mp4")) for number in range(1, count + 1)]


def put(store: Store, step: Step, values: Sequence[Value | None], *, costs: Sequence[float] = ()) -> None:
    """Facts of the samples of `clips`, in order; None for none."""
    facts: list[Fact] = []
    for number, value in enumerate(values, start=1):
        if value is not None:
            fact = a_fact(step, step.operator.stats[0].name, value)
            cost = costs[number - 1] if costs else 0.0
            facts.append(replace(fact, content_hash=f"{number:04d}videos0", cost_seconds=cost))
    store.append_facts(facts, PROVENANCE)


def look(plan: Plan, store: Store, samples: Sequence[Sample]) -> Analysis:
    return analyse(columns_of(plan, store, {"ds-00000": samples}), store)


# --- spread


def test_a_stat_is_spread_over_its_measured_videos_alone(tmp_path: Path) -> None:
    plan, store = two_passes(percentiles=(0.1,)), Store(tmp_path)
    put(store, plan.steps[0], [1.0, 2.0, 3.0, 4.0, "unreadable", "timed_out"])
    stat = look(plan, store, clips(7)).stats[0]
    assert (stat.name, stat.unit, stat.videos, stat.measured) == ("length", "unit", 7, 4)
    assert (stat.mean, stat.low, stat.high) == (2.5, 1.0, 4.0)
    assert stat.std == pytest.approx(np.sqrt(5 / 3))  # squares 2.25 + 0.25 + 0.25 + 2.25, by n - 1 = 3
    assert stat.quantiles == pytest.approx({0.05: 1.15, 0.1: 1.3, 0.25: 1.75, 0.5: 2.5, 0.75: 3.25, 0.95: 3.85})
    assert {name: count for name, count in stat.without.items() if count} == {
        "unreadable": 1,
        "timed_out": 1,
        "not_measured": 1,
    }
    assert (stat.undecided, stat.not_measured, stat.skipped) == (2, 1, 0)
    assert stat.share(stat.undecided) == 2 / 7


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], {"quantiles": {}}, id="none"),
        pytest.param([3.0], {"mean": 3.0, "std": None, "low": 3.0, "high": 3.0}, id="one has no std"),
        pytest.param([1e308, -1e308], {"mean": 0.0, "std": None, "low": -1e308, "high": 1e308}, id="overflow"),
    ],
)
def test_few_or_huge_values(values: list[float], expected: dict[str, float | None]) -> None:
    found = spread(np.array(values))
    assert {name: found[name] for name in expected} == expected


def test_numbers_are_counted_as_often_as_samples_list_them_and_costs_once(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    [first, second] = clips(2)
    twin = replace(second, videos=first.videos)
    put(store, plan.steps[0], [4.0], costs=[6.0])
    found = look(plan, store, [first, twin])
    assert (found.samples, found.videos, found.contents) == (2, 2, 1)
    assert (found.stats[0].videos, found.stats[0].measured) == (2, 2)
    assert (found.costs[0].contents, found.costs[0].measured, found.costs[0].seconds) == (1, 1, 6.0)


# --- what is not there


def test_what_short_circuit_spares_is_told_from_what_nobody_asked_and_from_what_failed(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    put(store, plan.steps[0], [1.0, 1.0, 5.0, 5.0, 5.0, "unreadable"])
    put(store, plan.steps[1], [None, 7.0, None, 8.0, "too_short", "unreadable"])
    samples = [*clips(6), a_sample(7), a_broken_sample(8)]
    found = look(plan, store, samples)
    motion = found.stats[1]
    assert {name: count for name, count in motion.without.items() if count} == {
        "skipped": 1,
        "not_measured": 1,
        "too_short": 1,
        "unreadable": 1,
    }
    assert motion.measured == 2
    assert sum(motion.without.values()) + motion.measured == motion.videos == 6
    assert (found.samples, found.malformed, found.without_videos) == (8, 1, 1)
    assert found.unmeasurable == 3  # too short, unreadable, malformed; what nobody asked is no fault of a sample

    reasons = {(one.status, one.path): one.reason for one in motion.examples}
    assert reasons["too_short", "v5.mp4"] == "because too_short"
    assert "short_circuit" in reasons["skipped", "v1.mp4"]
    assert "nobody" in reasons["not_measured", "v3.mp4"]


def test_without_short_circuit_nothing_is_skipped(tmp_path: Path) -> None:
    plan, store = two_passes(short_circuit=False), Store(tmp_path)
    put(store, plan.steps[0], [1.0, 5.0])
    motion = look(plan, store, clips(2)).stats[1]
    assert (motion.skipped, motion.not_measured) == (0, 2)


def test_a_video_that_cannot_be_opened_says_its_own_reason(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    [sample] = clips(1)
    gone = replace(sample.videos[0], content_hash="", status="missing", reason="no such file", given="\udc80.mp4")
    found = look(plan, store, [replace(sample, videos=(gone,))])
    assert [(one.status, one.path, one.reason) for one in found.stats[0].examples] == [
        ("missing", "\udc80.mp4", "no such file")
    ]
    assert (found.contents, found.costs[0].contents, found.costs[0].seconds_per_video) == (0, 0, None)


def test_shards_that_were_never_read_are_named_and_others_left_out(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    for shard, samples in (("ds-00000", clips(2)), ("old-00000", clips(3))):
        store.write_samples("r", shard, samples, replace(PROVENANCE, recipe="r", shard=shard))
    shards = ["ds-00000", "ds-00001"]
    found = analyse(columns_of_shards(plan, store, shards), store, shards=shards)
    assert (found.samples, found.shards, found.missing_shards) == (2, ("ds-00000",), ("ds-00001",))
    everything = analyse(columns_of_shards(plan, store), store)
    assert (everything.samples, everything.missing_shards) == (5, ())


def test_nothing_at_all(tmp_path: Path) -> None:
    found = look(two_passes(), Store(tmp_path), [])
    assert (found.samples, found.videos, found.seconds, found.spared_seconds) == (0, 0, 0.0, 0.0)
    assert [stat.mean for stat in found.stats] == [None, None]
    assert found.stats[0].share(0) is None


# --- correlation


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param([1, 2, 3], [10, 20, 30], 1.0, id="straight"),
        pytest.param([1, 2, 3], [3, 2, 1], -1.0, id="against"),
        pytest.param([1, 2, 3, 4], [1, 3, 2, 4], 0.8, id="by hand"),
        pytest.param([1, 2, 3], [0.1, 0.1, 0.1], None, id="constant"),
        pytest.param([1, 2], [1, 5], None, id="two points lie on every line"),
        pytest.param([], [], None, id="none"),
        pytest.param([1e308, 0, -1e308], [1, 2, 3], -1.0, id="huge"),
    ],
)
def test_correlation(first: list[float], second: list[float], expected: float | None) -> None:
    found = correlation(np.array(first, dtype=float), np.array(second, dtype=float))
    assert found is None if expected is None else found == pytest.approx(expected)


def test_pairs_are_of_videos_that_have_both_and_nothing_is_filled_in(tmp_path: Path) -> None:
    """Filled up with zeros, as upstream does, the fourth and fifth would make this -0.42 instead of 0.99."""
    plan, store = two_passes(bound=-INF), Store(tmp_path)
    put(store, plan.steps[0], [1.0, 2.0, 3.0, 9.0, "unreadable"])
    put(store, plan.steps[1], [1.0, 4.0, 9.0, "too_short", 5.0])
    [pair] = look(plan, store, clips(5)).pairs
    assert (pair.first, pair.second, pair.videos) == ("length", "motion", 3)
    assert pair.pearson == pytest.approx(8 / np.sqrt(2 * 98 / 3))
    assert pair.spearman == pytest.approx(1.0)


def test_equal_values_share_their_rank(tmp_path: Path) -> None:
    plan, store = two_passes(bound=-INF), Store(tmp_path)
    put(store, plan.steps[0], [1.0, 1.0, 2.0, 3.0])
    put(store, plan.steps[1], [10.0, 20.0, 30.0, 40.0])
    [pair] = look(plan, store, clips(4)).pairs
    assert pair.spearman == pytest.approx(4.5 / np.sqrt(4.5 * 5))  # ranks 1.5 1.5 3 4 against 1 2 3 4


def test_stats_of_different_fields_have_no_video_in_common(tmp_path: Path) -> None:
    first = a_step("a_filter", StatRange("a", -INF, INF))
    second = a_step("b_filter", StatRange("b", -INF, INF), video_key="others", number=2)
    [pair] = look(a_plan(first, second), Store(tmp_path), clips(4)).pairs
    assert (pair.videos, pair.pearson, pair.spearman) == (0, None, None)


# --- costs


def test_costs_are_seconds_per_video_and_per_minute_of_those_whose_duration_is_known(tmp_path: Path) -> None:
    plan, store = two_passes(bound=-INF), Store(tmp_path)
    put(store, plan.steps[1], [1.0, 2.0, 3.0, "unreadable"], costs=[2.0, 4.0, 6.0, 1.0])
    known = {f"{number:04d}videos0": {"duration_seconds": 30.0} for number in (1, 2, 4)}
    probes.append(store.root, known, "2026-01-01", PROVENANCE)
    _, cost = look(plan, store, clips(5)).costs
    assert (cost.contents, cost.measured, cost.failed) == (5, 3, 1)
    assert (cost.seconds, cost.seconds_per_video) == (13.0, 4.0)
    assert (cost.timed, cost.video_minutes, cost.seconds_per_video_minute) == (2, 1.0, 6.0)
    assert (cost.spared, cost.spared_seconds) == (0, 0.0)


def test_durations_are_those_of_the_recipe_where_no_pass_has_kept_a_probe(tmp_path: Path) -> None:
    plan, store = a_plan(a_step("video_duration_filter", StatRange("video_duration", 0, INF))), Store(tmp_path)
    put(store, plan.steps[0], [60.0, 180.0], costs=[1.0, 1.0])
    [cost] = look(plan, store, clips(2)).costs
    assert (cost.timed, cost.video_minutes, cost.seconds_per_video_minute) == (2, 4.0, 0.5)


def test_what_short_circuit_saves(tmp_path: Path) -> None:
    """1 and 2 are too short and dropped by the header pass. 1 was measured all the same, for 5 s; 2 was not and counts
    as the mean of 5, 2 and 2 s. 3 fails nothing. 4 is undecided in the header, and so not spared."""
    plan, store = two_passes(), Store(tmp_path)
    put(store, plan.steps[0], [1.0, 1.0, 5.0, "timed_out"])
    put(store, plan.steps[1], [9.0, None, 9.0, 9.0], costs=[5.0, 0.0, 2.0, 2.0])
    found = look(plan, store, clips(4))
    header, motion = found.costs
    assert (header.spared, motion.spared, motion.spared_measured) == (0, 2, 1)
    assert motion.spared_seconds == 5.0 + 3.0
    assert (found.seconds, found.spared_seconds) == (9.0, 8.0)


def test_a_content_that_a_kept_sample_lists_too_is_not_spared(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    short, long = clips(2)
    both = replace(long, videos=(*short.videos, replace(long.videos[0], position=1)))
    put(store, plan.steps[0], [1.0, 5.0])
    put(store, plan.steps[1], [9.0, 9.0], costs=[3.0, 3.0])
    assert look(plan, store, [short, long]).costs[1].spared == 1
    assert look(plan, store, [short, both]).costs[1].spared == 0


def test_no_cost_is_known_where_nothing_was_measured(tmp_path: Path) -> None:
    plan, store = two_passes(), Store(tmp_path)
    put(store, plan.steps[0], [1.0, 5.0])
    motion = look(plan, store, clips(2)).costs[1]
    assert (motion.spared, motion.spared_seconds, motion.seconds_per_video) == (1, None, None)


def test_two_stats_of_one_operator_cost_it_once(tmp_path: Path) -> None:
    step = a_step("size_filter", StatRange("w", 0, INF), StatRange("h", 0, INF))
    store = Store(tmp_path)
    facts = [replace(a_fact(step, stat, 4.0), content_hash="0001videos0", cost_seconds=3.0) for stat in ("w", "h")]
    store.append_facts(facts, PROVENANCE)
    [cost] = look(a_plan(step), store, clips(1)).costs
    assert (cost.measured, cost.seconds) == (1, 3.0)
    assert json.dumps(cost.seconds)
