"""Verdicts and exports of many shards in one run: each shard's own figures; one shard's fault is not the others'."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from dj_assets.defs import batches
from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.jobs import run_recipe
from dj_assets.defs.resources import project_resources
from dj_assets.plan import Plan
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import FakeMeasure, figures, make_test_plan, write_manifest

SHARDS = [f"ds-{number:05d}" for number in range(3)]


@pytest.fixture
def plan(tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure) -> Plan:
    """Five samples in three shards, everything materialized once."""
    write_manifest(tmp_path, 5)
    plan = make_test_plan(tmp_path, shard_size=2)
    assert run_recipe(plan, instance=instance, store_root=tmp_path / "store").success
    return plan


def run_range(plan: Plan, folder: Path, instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    """One run of some assets over all shards, as a backfill with this policy starts it."""
    graph = RecipeGraph(plan)
    resources = dg.Definitions(resources=project_resources(folder / "store"))
    job = dg.Definitions.merge(build_recipe_defs(plan), resources).resolve_job_def(plan.recipe.name)
    return job.execute_in_process(
        instance=instance,
        asset_selection=[getattr(graph, name) for name in names],
        tags={"dagster/asset_partition_range_start": SHARDS[0], "dagster/asset_partition_range_end": SHARDS[-1]},
        raise_on_error=False,
    )


def runs_that_made(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, str]:
    """shard → run of its newest materialization."""
    return {
        shard: instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key, asset_partitions=[shard]), limit=1)
        .records[0]
        .run_id
        for shard in SHARDS
    }


def test_one_run_decides_and_exports_every_shard_with_figures_of_its_own(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    calls = len(fake_measure.calls)
    result = run_range(plan, tmp_path, instance, "filtered", "export")
    assert result.success
    assert len(fake_measure.calls) == calls
    graph = RecipeGraph(plan)
    for key in (graph.filtered, graph.export):
        assert set(runs_that_made(instance, key).values()) == {result.run_id}
        rows = [figures(instance, key, shard)["dagster/partition_row_count"] for shard in SHARDS]
        assert rows == [2, 2, 1]
    assert figures(instance, graph.export, SHARDS[2])["files_samples"] == 5
    [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == "verdicts_equal_samples"]
    assert check.passed and check.metadata["shards"].value == 3


def test_a_shard_that_cannot_be_decided_fails_the_run_and_leaves_the_others_done(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    store = Store(tmp_path / "store")
    store.stats_path("clips", plan.steps[0].key, SHARDS[1]).unlink()
    before = runs_that_made(instance, RecipeGraph(plan).filtered)
    result = run_range(plan, tmp_path, instance, "filtered")
    assert not result.success
    [failure] = result.get_step_failure_events()
    assert failure.step_failure_data.user_failure_data is not None
    text = failure.step_failure_data.user_failure_data.description or ""
    assert "1 shards failed, 2 are done" in text and f"{SHARDS[1]}: there is no table" in text
    after = runs_that_made(instance, RecipeGraph(plan).filtered)
    assert {shard for shard in SHARDS if after[shard] != before[shard]} == {SHARDS[0], SHARDS[2]}


def test_progress_is_told_with_the_recipe_the_shard_and_the_run(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LOG_EVERY_SECONDS", 0.0)
    result = run_range(plan, tmp_path, instance, "filtered")
    said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert f"recipe=clips shard={SHARDS[1]} run={result.run_id[:8]} 2 of 3 shards, 0 failed" in said


def test_a_check_of_many_shards_names_those_that_fail(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    """Samples of one shard are skipped under a bound that is loosened afterwards."""
    write_manifest(tmp_path, 5)
    fake_measure.value = lambda step, sample: 3.0 if sample == "ds.jsonl:3" else 100.0 if "ocr" not in step else 0.0
    strict = make_test_plan(tmp_path, shard_size=2)
    assert run_recipe(strict, instance=instance, store_root=tmp_path / "store").success
    steps = {**{step.operator.name: {} for step in strict.steps}, "video_duration_filter": {"min_duration": 1.0}}
    result = run_range(make_test_plan(tmp_path, shard_size=2, steps=steps), tmp_path, instance, "filtered")
    [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == "nothing_skipped_in_vain"]
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["failed_shards"].value == [SHARDS[1]]
