"""Verdicts over arrays are those of `decide`, whatever the store holds; and what nobody measured is said to be so."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets.columns import STATUS_NAMES, columns_of, not_measured, stored_columns
from dj_assets.decide import decide
from dj_assets.errors import StoreError
from dj_assets.plan import Plan
from dj_assets.ranges import StatRange
from dj_assets.records import tables_of
from dj_assets.samples import Sample
from dj_assets.store import bulk
from dj_assets.store.facts import folder_of
from dj_assets.store.rows import Row
from dj_assets.store.store import Store
from dj_assets_tests.plans import Value, a_broken_sample, a_fact, a_plan, a_sample, a_step
from dj_assets_tests.store.nouns import PROVENANCE
from dj_assets_tests.test_decide_sql import VALUES, a_drawn_sample, steps

MOTION = StatRange("motion", 2.0, np.inf)


def with_hashes(sample: Sample) -> Sample:
    """The sample with a content hash of its own for each video."""
    hashed = (
        replace(v, content_hash=f"{sample.line_number:04d}{v.field}{v.position}" if v.status == "ok" else "")
        for v in sample.videos
    )
    return replace(sample, videos=tuple(hashed))


def measured(store: Store, plan: Plan, samples: Sequence[Sample], values: dict[tuple[str, str, str], Value]) -> None:
    """Facts in the store: (step key, content hash, stat) → value; `skipped` is none."""
    facts = []
    for (key, content_hash, stat), value in values.items():
        if value != "skipped":
            step = next(step for step in plan.steps if step.key == key)
            facts.append(replace(a_fact(step, stat, value), content_hash=content_hash))
    store.append_facts(facts, PROVENANCE)


@st.composite
def known(draw: st.DrawFn) -> tuple[Plan, list[Sample], dict[tuple[str, str, str], Value]]:
    plan = a_plan(*(draw(steps(number)) for number in range(draw(st.integers(0, 4)))))
    samples = [with_hashes(draw(a_drawn_sample(line))) for line in range(1, draw(st.integers(2, 6)))]
    judged = [stat.name for step in plan.on_records for stat in step.operator.stats]
    samples = [replace(s, record={name: draw(VALUES) for name in judged} if s.status == "ok" else {}) for s in samples]
    values = {
        (step.key, video.content_hash, stat.name): draw(VALUES)
        for step in plan.steps
        for sample in samples
        for video in step.videos(sample)
        for stat in step.operator.stats
    }
    return plan, samples, values


@settings(max_examples=80, deadline=None)
@given(known())
def test_verdicts_are_those_of_decide(case: tuple[Plan, list[Sample], dict[tuple[str, str, str], Value]]) -> None:
    plan, samples, values = case
    tables = tables_of(plan.on_records, samples) | {
        step.key: [
            Row(s.sample_id, v.field, v.position, v.path, a_fact(step, stat.name, value))
            for s in samples
            for v in step.videos(s)
            for stat in step.operator.stats
            for value in [values[step.key, v.content_hash, stat.name]]
        ]
        for step in plan.steps
        if not step.is_about_samples
    }
    expected = decide(plan, samples, tables)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        measured(store, plan, samples, values)
        columns = columns_of(plan, store, {"ds-00000": samples})
        found = columns.outcomes()
    keys = [*(step.key for step in plan.steps), ""]
    names = ("kept", "undecided", "dropped")
    assert [(names[worst], keys[at]) for worst, at in zip(found.worst, found.deciding, strict=True)] == [
        (verdict.outcome, verdict.step) for verdict in expected
    ]
    assert found.counts() == tuple(
        sum(v.outcome == name for v in expected) for name in ("kept", "dropped", "undecided")
    )


def test_what_nobody_measured_is_said_to_be_so(tmp_path: Path) -> None:
    step = a_step("motion_filter", MOTION)
    plan, store = a_plan(step), Store(tmp_path)
    videos = [with_hashes(a_sample(number, "v.mp4")) for number in (1, 2, 3)]
    gone = replace(videos[2].videos[0], content_hash="", status="missing", reason="no such file")
    samples = [videos[0], videos[1], replace(videos[2], videos=(gone,)), a_broken_sample(4)]
    measured(store, plan, samples, {("motion_filter", "0001videos0", "motion"): 3.0})
    columns = columns_of(plan, store, {"ds-00000": samples})
    one = columns.steps["motion_filter"]
    assert [STATUS_NAMES[code] for code in one.statuses[0]] == ["ok", "not_measured", "missing"]
    assert one.values[0, 0] == 3.0 and np.isnan(one.values[0, 1:]).all()
    assert one.undecided_by_status() == {"missing": 1, "not_measured": 1}
    assert not_measured(columns) == {"motion_filter": 1}
    assert columns.outcomes().counts() == (1, 0, 3)


def test_a_number_goes_before_a_failure_and_the_newer_before_the_older(tmp_path: Path) -> None:
    step = a_step("motion_filter", MOTION)
    plan, store = a_plan(step), Store(tmp_path)
    samples = [with_hashes(a_sample(1, "v.mp4"))]
    for value, at in ((1.0, "2026-01-01"), (5.0, "2026-01-02"), ("timed_out", "2026-01-03")):
        fact = replace(a_fact(step, "motion", value), content_hash="0001videos0", measured_at=at)  # type: ignore[arg-type]
        store.append_facts([fact], PROVENANCE)
    assert columns_of(plan, store, {"s": samples}).steps["motion_filter"].values.tolist() == [[5.0]]


def test_samples_of_the_store_come_by_shard_and_line_with_their_records_fields(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), a_plan(a_step("motion_filter", MOTION))
    records = {
        shard: [a_sample(n, "v.mp4", record={"text": f"t{n}", "fps": n}) for n in lines]
        for shard, lines in {"ds-00001": (11, 12), "ds-00000": (2, 10)}.items()
    }
    for shard, samples in records.items():
        store.write_samples("r", shard, samples, PROVENANCE)
    columns = stored_columns(plan, store)
    assert [columns.sample_id(n) for n in range(4)] == [f"ds.jsonl:{n}" for n in (2, 10, 11, 12)]
    assert replace(columns.sample(3), record={}) == replace(records["ds-00001"][1], record={})
    assert bulk.record_fields(store.root, "r") == ["text", "fps"]
    assert bulk.record_field(store.root, "r", "fps").column("field").to_pylist() == ["2", "10", "11", "12"]
    assert bulk.record_field(store.root, "r", 'no"such').column("field").to_pylist() == [None] * 4


def test_a_recipe_that_was_never_run_has_no_samples(tmp_path: Path) -> None:
    columns = stored_columns(a_plan(a_step("motion_filter", MOTION)), Store(tmp_path))
    assert columns.num_samples == 0 and columns.outcomes().counts() == (0, 0, 0)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    step = a_step("motion_filter", MOTION)
    folder = folder_of(tmp_path, step.operator.name, step.measure_id)
    folder.mkdir(parents=True)
    (folder / "0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match=r"0\.parquet"):
        columns_of(a_plan(step), Store(tmp_path), {"s": [with_hashes(a_sample(1, "v.mp4"))]})
