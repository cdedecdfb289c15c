"""Verdicts over the whole dataset without Dagster: upstream's, operator by operator, whatever order shards come in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets.operators._whole import Candidate
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import Recipe, Settings, StepSource
from dj_assets.samples import Sample, Video
from dj_assets.settle import cast, choose, settle, verdicts_on, vote
from dj_assets.store.rows import Fact, Provenance, Row, Verdict
from dj_assets.store.store import Store

DURATION, MOTION = "video_duration_filter", "video_motion_score_filter"
COPIES, NEAR = "video_deduplicator", "video_near_deduplicator"
LARGEST, RANDOM = "topk_specified_field_selector", "random_selector"
BETWEEN, FREQUENT = "range_specified_field_selector", "frequency_specified_field_selector"

POOL: list[tuple[str, dict[str, Any]]] = [
    (DURATION, {"min_duration": 2.0}),
    (MOTION, {"min_score": 2.0}),
    (COPIES, {}),
    (COPIES, {"consider_text": True}),
    (NEAR, {}),
    (NEAR, {"max_distance": 4, "keep": "highest_resolution"}),
    (LARGEST, {"field_key": "score", "topk": 4}),
    (LARGEST, {"field_key": "score", "top_ratio": 0.5, "reverse": False}),
    (RANDOM, {"select_ratio": 0.6}),
    (RANDOM, {"select_num": 3, "seed": 7}),
    (BETWEEN, {"field_key": "score", "lower_rank": 1, "upper_percentile": 0.8}),
    (FREQUENT, {"field_key": "text", "topk": 2}),
]


LOOKS = {"a": (0x0, 360), "b": (0xFF, 720), "c": (0xFFFF_FFFF, 360), "d": (0xF, 360)}
"""Of each content the hash of its frames, and its height. a and b are 8 bits apart, d 4 from either."""


@dataclass(frozen=True)
class Line:
    """One sample: what is in its video, its text, its score; None: that could not be measured."""

    content: str
    text: str
    score: int
    duration: int | None
    motion: int | None


def plan_of(steps: Sequence[tuple[str, dict[str, Any]]]) -> Plan:
    return make_plan(
        Recipe(
            name="r",
            file="r.yaml",
            sha256="0" * 64,
            dataset_path=Path("/data"),
            export_path=Path("/out/res.jsonl"),
            steps=tuple(StepSource(number, *step) for number, step in enumerate(steps, start=1)),
            settings=Settings(),
        )
    )


def samples_of(shard: str, lines: Sequence[Line]) -> list[Sample]:
    made = []
    for number, line in enumerate(lines, start=1):
        video = Video("videos", 0, line.content, f"/data/{line.content}", content_hash=line.content)
        record = {"text": line.text, "score": line.score, "videos": [line.content]}
        made.append(Sample(f"{shard}:{number}", shard, number, record, (video,)))
    return made


def tables_of(plan: Plan, samples: Sequence[Sample], lines: Sequence[Line]) -> dict[str, list[Row]]:
    return {
        step.key: [_row(step, sample, line) for sample, line in zip(samples, lines, strict=True)]
        for step in plan.measured_steps
    }


def _row(step: Any, sample: Sample, line: Line) -> Row:
    name, [stat] = step.operator.name, step.operator.stats
    value = {DURATION: line.duration, MOTION: line.motion}.get(name, 1)
    status = "ok" if value is not None else "timed_out"
    details = {COPIES: (line.content,), NEAR: _frames(line.content)}.get(name, ())
    fact = Fact(line.content, name, step.measure_id, stat.name, value, window_details=details, status=status)  # type: ignore[arg-type]
    return Row(sample.sample_id, "videos", 0, sample.videos[0].path, fact)


def _frames(content: str) -> tuple[str, ...]:
    code, height = LOOKS.get(content, (0, 1))
    frames = ({"phash": f"{code:016x}", "seconds": at, "height": height, "width": 1} for at in (0.0, 1.0))
    return tuple(json.dumps(frame) for frame in frames)


def step_by_step(plan: Plan, dataset: Mapping[str, Sequence[Line]]) -> list[str]:
    """What upstream does: the dataset goes through the operators one after another. What was not measured goes on to
    no later one."""
    rows = [(f"{shard}:{n}", line) for shard, lines in sorted(dataset.items()) for n, line in enumerate(lines, start=1)]
    for step in plan.steps:
        if step.rule is None:
            number = "duration" if step.operator.name == DURATION else "motion"
            rows = [
                (name, line)
                for name, line in rows
                if (value := getattr(line, number)) is not None and step.ranges[0].passes(value)
            ]
            continue
        kept = _upstream(step.operator.name, step.rule.params, rows)
        rows = [row for row in rows if row[0] in kept]
    return [name for name, _ in rows]


def _upstream(name: str, params: Any, rows: Sequence[tuple[str, Line]]) -> set[str]:
    if len(rows) <= 1:
        return {name for name, _ in rows}
    if name == COPIES:
        first: dict[Any, str] = {}
        for sample_id, line in rows:
            first.setdefault((line.content, line.text if params.consider_text else ""), sample_id)
        return set(first.values())
    if name == NEAR:
        heights = {row: -LOOKS[row[1].content][1] if params.keep == "highest_resolution" else 0 for row in rows}
        stay: list[tuple[str, Line]] = []
        for row in sorted(rows, key=lambda row: heights[row]):
            codes = [LOOKS[one.content][0] ^ LOOKS[row[1].content][0] for _, one in stay]
            if all(code.bit_count() > params.max_distance for code in codes):
                stay.append(row)
        return {sample_id for sample_id, _ in stay}
    if name == LARGEST:
        count = int(params.topk or params.top_ratio * len(rows))
        ranked = sorted(rows, key=lambda row: -row[1].score if params.reverse else row[1].score)
        return {sample_id for sample_id, _ in ranked[:count]}
    if name == BETWEEN:
        low, high = params.lower_rank, max(params.lower_rank, int(params.upper_percentile * len(rows)))
        ascending = sorted(rows, key=lambda row: row[1].score)[:high]
        return {sample_id for sample_id, _ in sorted(ascending, key=lambda row: -row[1].score)[: high - low]}
    if name == FREQUENT:
        texts = [line.text for _, line in rows]
        common = sorted(dict.fromkeys(texts), key=lambda text: -texts.count(text))[: params.topk]
        return {sample_id for sample_id, line in rows if line.text in common}
    from dj_assets.operators import random_selector

    lots = [Candidate(sample_id, "null") for sample_id, _ in rows]
    return {sample_id for sample_id, _ in rows} - random_selector.choose(lots, params, {}).dropped.keys()


def in_one_go(plan: Plan, dataset: Mapping[str, Sequence[Line]]) -> dict[str, list[Verdict]]:
    votes = {}
    for shard, lines in sorted(dataset.items()):
        samples = samples_of(shard, lines)
        votes[shard] = vote(plan, samples, tables_of(plan, samples, lines))
    gone = choose(plan, (ballot for one in votes.values() for ballot in one.ballots))
    return {shard: verdicts_on(one.alone, gone) for shard, one in votes.items()}


LINES = st.builds(
    Line,
    content=st.sampled_from("abcd"),
    text=st.sampled_from(["x", "y", "z"]),
    score=st.integers(0, 4),
    duration=st.sampled_from([1, 3, 3, 3, None]),
    motion=st.sampled_from([1, 3, 3, 3, None]),
)
DATASETS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.lists(LINES, min_size=1, max_size=5), min_size=1)


@settings(max_examples=300, deadline=None)
@given(dataset=DATASETS, steps=st.lists(st.sampled_from(POOL), min_size=1, max_size=5))
def test_the_kept_samples_are_those_of_operator_after_operator(
    dataset: dict[str, list[Line]], steps: list[tuple[str, dict[str, Any]]]
) -> None:
    plan = plan_of(steps)
    found = in_one_go(plan, dataset)
    kept = [one.sample_id for _, verdicts in sorted(found.items()) for one in verdicts if one.outcome == "kept"]
    assert kept == step_by_step(plan, dataset)


@settings(max_examples=40, deadline=None)
@given(
    dataset=DATASETS,
    steps=st.lists(st.sampled_from(POOL), min_size=1, max_size=4),
    seed=st.randoms(use_true_random=False),
    earlier=DATASETS,
)
def test_whatever_order_shards_come_in_the_tables_are_those_of_one_go(
    dataset: dict[str, list[Line]],
    steps: list[tuple[str, dict[str, Any]]],
    seed: Any,
    earlier: dict[str, list[Line]],
) -> None:
    """Shards arrive one by one, some of them first with other content, as drops that grow or are mended."""
    plan = plan_of(steps)
    arrivals = [(shard, lines) for shard, lines in earlier.items() if shard in dataset]
    seed.shuffle(arrivals)
    last = list(dataset.items())
    seed.shuffle(last)
    with tempfile.TemporaryDirectory() as folder:
        store, there = Store(Path(folder)), {}
        for shard, lines in [*arrivals, *last]:
            there[shard] = lines
            arrive(plan, store, shard, lines, sorted(there))
            assert stored(store, there) == in_one_go(plan, there)


def arrive(plan: Plan, store: Store, shard: str, lines: Sequence[Line], shards: Sequence[str]) -> dict[str, Any]:
    samples = samples_of(shard, lines)
    found = vote(plan, samples, tables_of(plan, samples, lines))
    origin = Provenance("r/filtered", shard, "r", "0" * 64, plan.bounds_id)
    cast(plan, store, shard, found, inputs=repr(lines), provenance=origin)
    with store.settling("r"):
        return settle(plan, store, shards, anyway=[shard], provenance=lambda key: origin)


def stored(store: Store, shards: Mapping[str, Any]) -> dict[str, list[Verdict]]:
    return {shard: store.read_verdicts("r", shard) for shard in sorted(shards)}


def line(content: str, *, score: int = 0, duration: int | None = 3, text: str = "x") -> Line:
    return Line(content, text, score, duration, 3)


def test_only_tables_that_change_are_written(tmp_path: Path) -> None:
    plan, store = plan_of([(COPIES, {})]), Store(tmp_path)
    assert set(arrive(plan, store, "b", [line("cat")], ["b"])) == {"b"}
    assert set(arrive(plan, store, "c", [line("dog")], ["b", "c"])) == {"c"}
    assert set(arrive(plan, store, "a", [line("dog")], ["a", "b", "c"])) == {"a", "c"}
    assert set(arrive(plan, store, "a", [line("dog")], ["a", "b", "c"])) == {"a"}


def test_shards_of_other_bounds_take_no_part(tmp_path: Path) -> None:
    """Their part is in no export until they are decided again; nor may a copy be lost to one of them."""
    plan, moved, store = plan_of([(COPIES, {})]), plan_of([(COPIES, {"consider_text": True})]), Store(tmp_path)
    arrive(plan, store, "a", [line("cat")], ["a", "b"])
    arrive(moved, store, "b", [line("cat")], ["a", "b"])
    assert [one.outcome for one in store.read_verdicts("r", "b")] == ["kept"]
    arrive(moved, store, "a", [line("cat")], ["a", "b"])
    assert [one.outcome for one in store.read_verdicts("r", "b")] == ["dropped"]


def test_a_malformed_line_is_no_candidate_and_stays_undecided() -> None:
    plan = plan_of([(RANDOM, {"select_num": 1})])
    broken = Sample("a:1", "a", 1, {}, (), "malformed", "line 1: not JSON", "{")
    [good] = samples_of("b", [line("cat")])
    found = vote(plan, [broken, good], {})
    verdicts = verdicts_on(found.alone, choose(plan, found.ballots))
    assert [one.outcome for one in verdicts] == ["undecided", "kept"]


def test_a_selector_sees_the_stats_of_earlier_steps_under_their_export_names() -> None:
    plan = plan_of(
        [
            (DURATION, {}),
            (LARGEST, {"field_key": "__dj__stats__.video_duration", "topk": 1}),
            (MOTION, {}),
            (DURATION, {"min_duration": 2}),
            (LARGEST, {"field_key": "__dj__stats__.video_duration_2", "topk": 1}),
        ]
    )
    lines = [line("a", duration=5), line("b", duration=9)]
    samples = samples_of("s", lines)
    [first, second] = vote(plan, samples, tables_of(plan, samples, lines)).ballots
    assert [json.loads(paper) for paper in first.papers + second.papers] == [5.0, 5.0, 9.0, 9.0]
    verdicts = in_one_go(plan, {"s": lines})["s"]
    assert [one.outcome for one in verdicts] == ["dropped", "kept"]
    assert verdicts[0].reason == "not among the 1 sample with the largest __dj__stats__.video_duration"


def test_a_stat_of_a_later_step_is_the_records_own() -> None:
    plan = plan_of([(LARGEST, {"field_key": "__dj__stats__.video_duration", "topk": 1}), (DURATION, {})])
    lines = [line("a", duration=5)]
    samples = [
        Sample("s:1", "s", 1, {"videos": ["a"], "__dj__stats__": {"video_duration": [77.0]}}, one.videos)
        for one in samples_of("s", lines)
    ]
    [ballot] = vote(plan, samples, tables_of(plan, samples, lines)).ballots
    assert ballot.papers == ("77.0",)


@pytest.mark.parametrize("lost", [True, False])
def test_who_is_undecided_before_a_step_is_no_candidate_and_a_later_step_may_still_drop_it(lost: bool) -> None:
    plan = plan_of([(DURATION, {}), (COPIES, {}), (MOTION, {"min_score": 2.0})])
    lines = [Line("cat", "", 0, None if lost else 3, 1), Line("cat", "", 0, 3, 3)]
    [first, second] = in_one_go(plan, {"s": lines})["s"]
    # The first fails the last step either way; only where it got as far as the deduplicator does it cost the second.
    assert (first.outcome, first.step) == ("dropped", MOTION)
    assert second.outcome == ("kept" if lost else "dropped")
