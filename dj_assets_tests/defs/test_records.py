"""Recipes that look at records beside videos, as assets: a pass of their own, first, without a pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.checks import ROWS_ARE_VIDEOS
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.plan import Plan
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import DURATION, FakeMeasure, data_version, figures, make_test_plan

SHARD = "ds-00000"
LENGTH, GENERAL = "text_length_filter", "general_field_filter"
STEPS: dict[str, dict[str, Any]] = {
    DURATION: {"min_duration": 10.0},
    LENGTH: {"min_len": 4},
    GENERAL: {"filter_condition": "fps >= 24"},
}
RECORDS: list[dict[str, Any]] = [
    {"text": "a good one", "fps": 30},
    {"text": "bad", "fps": 30},
    {"text": "slow one", "fps": 12},
    {"text": "fast one", "fps": "many"},
    {"text": "brief one", "fps": 30},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, RECORDS)
    return tmp_path


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    lines = [json.dumps({**record, "videos": [f"clip{number}.mp4"]}) for number, record in enumerate(records, 1)]
    (folder / "ds.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def run(plan: Plan, folder: Path, instance: dg.DagsterInstance, **options: Any) -> RunReport:
    return run_recipe(plan, instance=instance, store_root=folder / "store", **options)


def exported(report: RunReport) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.paths["kept"].read_text(encoding="utf-8").splitlines()]


def test_the_pass_on_records_is_an_op_of_its_own_that_waits_for_no_pool(folder: Path) -> None:
    plan = make_test_plan(folder, steps=STEPS)
    assets = {
        asset.op.name: asset for asset in build_recipe_defs(plan).assets or () if isinstance(asset, dg.AssetsDefinition)
    }
    records, header = assets["clips__measure_record"], assets["clips__measure_header"]
    assert records.op.pool is None and header.op.pool is not None
    assert records.required_resource_keys & {"store", "cpu", "gpu"} == {"store"}
    graph = RecipeGraph(plan)
    assert records.keys == {graph.stats(plan.steps[1]), graph.stats(plan.steps[2])}
    [spec] = header.specs
    assert {dep.asset_key for dep in spec.deps} == {graph.samples, *records.keys}, "what records drop is not measured"


def test_one_run_judges_records_first_and_decides_on_both(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.value = lambda step_key, sample_id: 1.0 if sample_id == "ds.jsonl:5" else 100.0
    plan = make_test_plan(folder, steps=STEPS)
    report = run(plan, folder, instance)
    assert report.success, report.failed
    [call] = fake_measure.calls
    assert call.still_in == {"ds.jsonl:1", "ds.jsonl:4", "ds.jsonl:5"}, "the header pass measures what records let pass"
    assert report.summary is not None
    assert (report.summary.kept, report.summary.dropped) == (1, {DURATION: 1, LENGTH: 1, GENERAL: 1})
    assert report.summary.undecided == {"no_value": 1}
    [kept] = exported(report)
    assert kept["text"] == "a good one"
    found = figures(instance, RecipeGraph(plan).stats(plan.steps[1]), SHARD)
    assert (found["rows"], found["videos_ok"], found["text_len_max"]) == (5, 5, 10)
    undecided = figures(instance, RecipeGraph(plan).stats(plan.steps[2]), SHARD)
    assert undecided["videos_no_value"] == 1 and "'fps >= 24' cannot be answered" in undecided["first_undecided"]


def test_rows_are_checked_against_samples(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    plan = make_test_plan(folder, steps=STEPS)
    run(plan, folder, instance)
    asset = RecipeGraph(plan).stats(plan.steps[1])
    [record] = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(asset, ROWS_ARE_VIDEOS), limit=1
    )
    assert record.event is not None and record.event.dagster_event is not None
    check = record.event.dagster_event.asset_check_evaluation_data
    assert check.passed
    assert {name: value.value for name, value in check.metadata.items()} == {"rows": 5, "expected": 5}


def test_another_condition_makes_its_own_table_stale_and_measures_no_video(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    before = make_test_plan(folder, steps=STEPS)
    run(before, folder, instance)
    versions = {step.key: data_version(instance, RecipeGraph(before).stats(step), SHARD) for step in before.steps}
    fake_measure.calls.clear()
    after = make_test_plan(folder, steps={**STEPS, GENERAL: {"filter_condition": "fps <= 12"}})
    graph = RecipeGraph(after)
    wanted = [graph.stats(after.steps[2]), graph.filtered, graph.export]
    report = run(after, folder, instance, selection=wanted)
    assert report.success and fake_measure.calls == []
    assert [kept["text"] for kept in exported(report)] == []
    assert report.summary is not None and report.summary.undecided["skipped"] == 1, "its video was spared before"
    assert data_version(instance, graph.stats(after.steps[2]), SHARD) != versions[GENERAL]
    assert after.steps[1].measure_id == before.steps[1].measure_id


def test_a_table_of_records_as_they_were_is_not_decided_on(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    """Same lines, same videos, another caption: a table of the old one would keep what is too short by now."""
    plan = make_test_plan(folder, steps=STEPS)
    run(plan, folder, instance)
    write(folder, [{**RECORDS[0], "text": "oh"}, *RECORDS[1:]])
    graph = RecipeGraph(plan)
    report = run(plan, folder, instance, selection=[graph.samples, graph.filtered])
    [failed] = report.failed
    assert f"stats/{GENERAL}" in failed.failure or f"stats/{LENGTH}" in failed.failure
    assert "was measured on other records" in failed.failure
    report = run(plan, folder, instance)
    assert report.success and exported(report)[0]["text"] == "brief one"
    assert Store(folder / "store").read_stats("clips", LENGTH, SHARD)[0].fact.value == 2


def test_a_recipe_of_records_alone_needs_no_engine(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    report = run(make_test_plan(folder, steps={LENGTH: {"min_len": 4}}), folder, instance)
    assert report.success and fake_measure.calls == []
    assert [kept["text"] for kept in exported(report)] == ["a good one", "slow one", "fast one", "brief one"]
