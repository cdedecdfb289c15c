"""The asset `<recipe>/analysis`: over every shard that was measured, asked for by people, recorded with its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.jobs import run_analysis, run_recipe
from dj_assets.defs.resources import project_resources
from dj_assets.errors import StoreError
from dj_assets.plan import Plan
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import DURATION, FakeMeasure, make_test_plan, write_manifest
from dj_assets_tests.plans import a_fact
from dj_assets_tests.store.nouns import PROVENANCE


@pytest.fixture
def plan(tmp_path: Path, fake_measure: FakeMeasure) -> Plan:
    """Five samples in three shards."""
    write_manifest(tmp_path, 5)
    return make_test_plan(tmp_path, steps={DURATION: {"min_duration": 2}}, shard_size=2)


def measure(plan: Plan, folder: Path, instance: dg.DagsterInstance, *shards: str) -> None:
    """Samples and stats of these shards: seconds as many as the clip's number. The fake adds no facts, so we do."""
    report = run_recipe(
        plan,
        instance=instance,
        store_root=folder / "store",
        shard_keys=shards or None,
        selection=RecipeGraph(plan).measured,
    )
    assert report.success
    store = Store(folder / "store")
    step = plan.steps[0]
    for shard in report.shards:
        numbers = [sample.line_number for sample in store.read_samples("clips", shard.shard_key)]
        facts = [a_fact(step, "video_duration", float(number)) for number in numbers]
        hashed = [
            replace(fact, content_hash=f"first-clip{number}", cost_seconds=0.5)
            for fact, number in zip(facts, numbers, strict=True)
        ]
        store.append_facts(hashed, PROVENANCE)


def materialized(instance: dg.DagsterInstance, plan: Plan) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(RecipeGraph(plan).analysis)
    assert event is not None and event.asset_materialization is not None
    assert event.asset_materialization.partition is None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_it_is_over_every_shard_and_its_figures_are_numbers(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    measure(plan, tmp_path, instance)
    found = run_analysis(plan, instance=instance, store_root=tmp_path / "store")
    figures = materialized(instance, plan)
    assert (figures["samples"], figures["shards"], figures["shards_missing"]) == (5, 3, 0)
    assert (figures["video_duration_measured"], figures["video_duration_mean"]) == (5, 3.0)
    assert figures[f"{DURATION}_seconds_per_video_minute"] == pytest.approx(2.5 / (15 / 60))
    assert "| mean | 3 |" in figures["overall"]
    assert "data:image/png;base64," in figures["video_duration_hist"] and "stats_corr_pearson" in figures
    assert figures["path_page"] == str(tmp_path / "outputs" / "res_analysis" / "index.html")
    assert found.written.page.is_file()


def test_shards_that_were_never_read_are_counted(plan: Plan, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    measure(plan, tmp_path, instance, "ds-00001")
    found = run_analysis(plan, instance=instance, store_root=tmp_path / "store", folder=tmp_path / "look")
    assert (found.analysis.samples, found.analysis.missing_shards) == (2, ("ds-00000", "ds-00002"))
    assert materialized(instance, plan)["shards_missing"] == 2
    assert found.written.page == tmp_path / "look" / "index.html"


def test_where_the_dataset_is_gone_the_store_is_analysed(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    measure(plan, tmp_path, instance)
    (tmp_path / "ds.jsonl").unlink()
    assert run_analysis(plan, instance=instance, store_root=tmp_path / "store").analysis.samples == 5


def test_a_shard_that_the_dataset_no_longer_has_is_left_out(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    measure(plan, tmp_path, instance)
    write_manifest(tmp_path, 2)
    assert run_analysis(plan, instance=instance, store_root=tmp_path / "store").analysis.samples == 2


def test_with_nothing_measured_it_fails_and_says_what_to_do(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(StoreError, match="no shard of clips was ever measured"):
        run_analysis(plan, instance=instance, store_root=tmp_path / "store")


def test_the_button_in_the_web_interface_needs_no_configuration(
    plan: Plan, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """As the UI does it: a run of this asset alone, of the whole recipe's definitions."""
    measure(plan, tmp_path, instance)
    shared = dg.Definitions(resources=project_resources(tmp_path / "store"))
    defs = dg.Definitions.merge(build_recipe_defs(plan), shared)
    asset = defs.resolve_assets_def(RecipeGraph(plan).analysis)
    assert dg.materialize([asset], instance=instance).success
    record = json.loads((tmp_path / "outputs" / "res_analysis" / "analysis.json").read_text())
    assert record["analysis"]["samples"] == 5 and record["run_id"]
