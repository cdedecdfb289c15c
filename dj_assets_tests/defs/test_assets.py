"""The asset graph of one recipe, run in-process with a measure that answers from a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.defs.resources import project_resources
from dj_assets.plan import Plan
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import (
    DURATION,
    MOTION,
    OCR,
    FakeMeasure,
    data_version,
    figures,
    make_test_plan,
    write_manifest,
)

SHARD = "ds-00000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_manifest(tmp_path, 4)
    return tmp_path


def run(
    plan: Plan, folder: Path, instance: dg.DagsterInstance, selection: Sequence[dg.AssetKey] | None = None
) -> RunReport:
    return run_recipe(plan, instance=instance, store_root=folder / "store", selection=selection)


def keys(plan: Plan) -> dict[str, dg.AssetKey]:
    """samples, each step's key, filtered and export → asset key."""
    graph = RecipeGraph(plan)
    stats = {step.key: graph.stats(step) for step in plan.steps}
    return {"samples": graph.samples, **stats, "filtered": graph.filtered, "export": graph.export}


def answers(**by_step: dict[int, float]) -> Any:
    """step key → {line number: number}; every other number is one that passes all bounds of the test recipe."""
    passing = {DURATION: 100.0, MOTION: 100.0, OCR: 0.0}

    def value(step_key: str, sample_id: str) -> float:
        return by_step.get(step_key, {}).get(int(sample_id.rsplit(":", 1)[1]), passing[step_key])

    return value


def dependencies(plan: Plan) -> dict[str, set[str]]:
    shared = dg.Definitions(resources=project_resources(Path("store")))
    graph = dg.Definitions.merge(build_recipe_defs(plan), shared).resolve_asset_graph()
    return {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }


def test_the_graph_reads_like_the_recipe(folder: Path) -> None:
    measured = {f"clips/stats/{DURATION}", f"clips/stats/{MOTION}", f"clips/stats/{OCR}"}
    assert dependencies(make_test_plan(folder)) == {
        "clips/samples": set(),
        f"clips/stats/{DURATION}": {"clips/samples"},
        f"clips/stats/{MOTION}": {"clips/samples", f"clips/stats/{DURATION}"},
        f"clips/stats/{OCR}": {"clips/samples", f"clips/stats/{DURATION}", f"clips/stats/{MOTION}"},
        "clips/filtered": {"clips/samples", *measured},
        "clips/export": {"clips/filtered"},
        "clips/evidence": {"clips/filtered"},
        "clips/analysis": {"clips/samples", *measured},
    }


def test_without_short_circuit_the_passes_do_not_wait_for_each_other(folder: Path) -> None:
    found = dependencies(make_test_plan(folder, short_circuit=False))
    for step_key in (DURATION, MOTION, OCR):
        assert found[f"clips/stats/{step_key}"] == {"clips/samples"}


def test_a_recipe_without_steps_keeps_everything(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    report = run(make_test_plan(folder, steps={}), folder, instance)
    assert report.success and report.summary is not None
    assert report.summary.kept == 4
    assert fake_measure.calls == []


def test_one_run_measures_decides_and_exports(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.value = answers(**{DURATION: {1: 3.0}, MOTION: {2: 0.5}, OCR: {3: 0.9}})
    plan = make_test_plan(folder)
    report = run(plan, folder, instance)

    assert report.success, report.failed
    decided = figures(instance, keys(plan)["filtered"], SHARD)
    assert decided["dagster/partition_row_count"] == 4
    assert decided["kept"] == 1
    assert decided["dropped"] == 3
    assert [decided[f"dropped_by_{step}"] for step in (DURATION, MOTION, OCR)] == [1, 1, 1]
    assert decided["undecided"] == decided["undecided_timed_out"] == 0
    assert f"| dropped | {MOTION}: video_motion_score >= 2 | 1 |" in decided["verdicts"]

    assert {name: path.name for name, path in report.paths.items()} == {
        "kept": "res.jsonl",
        "stats": "res_stats.jsonl",
        "dropped": "res_dropped.jsonl",
        "manifest": "res_manifest.json",
    }
    [kept] = report.paths["kept"].read_text(encoding="utf-8").splitlines()
    assert json.loads(kept)["videos"] == [str(folder / "clip4.mp4")]
    assert len(report.paths["dropped"].read_text(encoding="utf-8").splitlines()) == 3


def test_stats_say_what_they_cost_and_what_they_found(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.value = answers(**{DURATION: {1: 3.0}, MOTION: {2: 1.0, 3: 2.0, 4: 6.0}})
    plan = make_test_plan(folder)
    run(plan, folder, instance)
    found = figures(instance, keys(plan)[MOTION], SHARD)
    assert found["rows"] == found["videos"] == 4
    assert (found["videos_ok"], found["videos_skipped"], found["videos_measured"]) == (3, 1, 3)
    assert (found["video_motion_score_min"], found["video_motion_score_max"]) == (1.0, 6.0)
    assert found["video_motion_score_mean"] == 3.0
    assert found["videos_per_minute"] == 240.0  # the fake measured 4 videos in one second
    assert Path(found["path_table"]).is_file()


def test_a_later_pass_skips_what_an_earlier_one_dropped(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.value = answers(**{DURATION: {1: 3.0}, MOTION: {2: 0.5}})
    run(make_test_plan(folder), folder, instance)
    assert [(call.pass_name, call.still_in) for call in fake_measure.calls] == [
        ("header", None),
        ("cpu", {"ds.jsonl:2", "ds.jsonl:3", "ds.jsonl:4"}),
        ("gpu", {"ds.jsonl:3", "ds.jsonl:4"}),
    ]


def test_without_short_circuit_every_pass_measures_every_video(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.value = answers(**{DURATION: {1: 3.0}})
    report = run(make_test_plan(folder, short_circuit=False), folder, instance)
    assert [call.still_in for call in fake_measure.calls] == [None, None, None]
    assert report.summary is not None
    assert report.summary.dropped == {DURATION: 1, MOTION: 0, OCR: 0}


def test_a_subset_computes_only_that(folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure) -> None:
    """Resolution and duration are one op; asking for one must not measure the other."""
    plan = make_test_plan(folder, steps={DURATION: {}, "video_aspect_ratio_filter": {}, MOTION: {}})
    wanted = [keys(plan)["samples"], keys(plan)[DURATION]]
    report = run(plan, folder, instance, wanted)
    assert report.success
    assert fake_measure.wanted() == [[DURATION]]
    assert instance.get_latest_materialization_event(keys(plan)[DURATION]) is not None
    assert instance.get_latest_materialization_event(keys(plan)["video_aspect_ratio_filter"]) is None
    assert report.summary is None and report.paths == {}


def test_a_table_of_other_params_spares_no_work(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    """What was measured with other params says nothing about what this recipe would drop."""
    fake_measure.value = answers(**{MOTION: {1: 0.5}})
    steps = {MOTION: {"min_score": 2.0}, OCR: {}}
    before = make_test_plan(folder, steps=steps)
    run(before, folder, instance, [keys(before)["samples"], keys(before)[MOTION]])

    after = make_test_plan(folder, steps={**steps, MOTION: {"min_score": 2.0, "sampling_fps": 5}})
    run(after, folder, instance, [keys(after)[OCR]])
    assert fake_measure.calls[-1].still_in == {f"ds.jsonl:{n}" for n in (1, 2, 3, 4)}


def test_a_failing_operator_leaves_the_other_tables_behind(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.faults = {DURATION: ZeroDivisionError("no frames per second")}
    plan = make_test_plan(folder, steps={DURATION: {}, "video_aspect_ratio_filter": {}})
    report = run(plan, folder, instance)

    [failed] = report.failed
    assert f"{DURATION}: ZeroDivisionError: no frames per second" in failed.failure
    assert instance.get_latest_materialization_event(keys(plan)["video_aspect_ratio_filter"]) is not None
    assert instance.get_latest_materialization_event(keys(plan)[DURATION]) is None
    assert instance.get_latest_materialization_event(keys(plan)["filtered"]) is None
    store = Store(folder / "store")
    assert len(store.read_stats("clips", "video_aspect_ratio_filter", SHARD)) == 4


def test_making_the_same_thing_again_changes_no_data_version(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    plan = make_test_plan(folder)
    run(plan, folder, instance)
    first = {name: data_version(instance, key, SHARD) for name, key in keys(plan).items()}
    run(plan, folder, instance)
    assert {name: data_version(instance, key, SHARD) for name, key in keys(plan).items()} == first

    fake_measure.value = answers(**{OCR: {1: 0.1}})
    run(plan, folder, instance)
    last = {name: data_version(instance, key, SHARD) for name, key in keys(plan).items()}
    assert {name for name in first if first[name] != last[name]} == {OCR, "filtered", "export"}


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        pytest.param([], "clips/samples", id="nothing yet"),
        pytest.param(["samples", DURATION], f"clips/stats/{MOTION}", id="one table missing"),
    ],
)
def test_filtered_names_what_to_materialize_first(
    folder: Path,
    instance: dg.DagsterInstance,
    fake_measure: FakeMeasure,
    present: list[str],
    missing: str,
) -> None:
    plan = make_test_plan(folder)
    if present:
        assert run(plan, folder, instance, [keys(plan)[name] for name in present]).success
    [failed] = run(plan, folder, instance, [keys(plan)["filtered"]]).failed
    assert missing in failed.failure and SHARD in failed.failure
    assert "allowed: " in failed.failure and f"try: materialize {missing}" in failed.failure
    assert failed.traceback == ""


def test_filtered_refuses_a_table_of_another_measure(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    run(make_test_plan(folder), folder, instance)
    changed = {DURATION: {}, MOTION: {"sampling_fps": 5}, OCR: {}}
    plan = make_test_plan(folder, steps=changed)
    [failed] = run(plan, folder, instance, [keys(plan)["filtered"]]).failed
    assert f"clips/stats/{MOTION}" in failed.failure
    assert plan.steps[1].measure_id in failed.failure


def test_filtered_refuses_a_table_of_videos_that_changed_since(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    plan = make_test_plan(folder)
    run(plan, folder, instance)
    fake_measure.bytes_of_videos = "second"
    run(plan, folder, instance, [keys(plan)["samples"]])
    [failed] = run(plan, folder, instance, [keys(plan)["filtered"]]).failed
    assert "was measured on other videos" in failed.failure


def test_a_moved_bound_is_decided_anew_without_measuring(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.value = answers(**{MOTION: {1: 3.0, 2: 4.0}})
    run(make_test_plan(folder, steps={MOTION: {"min_score": 2.0}}), folder, instance)
    measured = len(fake_measure.calls)

    plan = make_test_plan(folder, steps={MOTION: {"min_score": 3.5}})
    [refused] = run(plan, folder, instance, [keys(plan)["export"]]).failed
    assert "was decided under other bounds" in refused.failure

    report = run(plan, folder, instance, [keys(plan)["filtered"], keys(plan)["export"]])
    assert report.success and report.summary is not None
    assert (report.summary.kept, report.summary.dropped) == (3, {MOTION: 1})
    assert len(fake_measure.calls) == measured


def test_a_loosened_bound_warns_of_samples_that_were_skipped_under_the_old_one(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    """Line 1 was too short, so its motion was skipped; under the new bound it is long enough, but has no motion."""
    fake_measure.value = answers(**{DURATION: {1: 3.0}})
    run(make_test_plan(folder, steps={DURATION: {"min_duration": 10}, MOTION: {}}), folder, instance)
    plan = make_test_plan(folder, steps={DURATION: {"min_duration": 1}, MOTION: {}})
    report = run(plan, folder, instance, [keys(plan)["filtered"]])
    assert report.summary is not None
    assert report.summary.undecided == {"skipped": 1}
    [check] = [c for c in checks_of(instance, report) if c.check_name == "nothing_skipped_in_vain"]
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN

    run(plan, folder, instance)
    assert figures(instance, keys(plan)["filtered"], SHARD)["undecided"] == 0


def test_a_table_that_lost_a_row_blocks_what_follows(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    fake_measure.lost_rows = {MOTION}
    plan = make_test_plan(folder)
    report = run(plan, folder, instance)
    assert not report.success
    assert "rows_equal_videos" in report.failed[0].failure
    failed = [check for check in checks_of(instance, report) if not check.passed]
    assert [(check.asset_key, check.check_name) for check in failed] == [(keys(plan)[MOTION], "rows_equal_videos")]
    assert instance.get_latest_materialization_event(keys(plan)["filtered"]) is None


def test_a_partition_whose_data_drop_was_withdrawn_fails_with_its_name(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    plan = make_test_plan(folder)
    instance.add_dynamic_partitions("clips_shards", ["gone.jsonl-00000"])
    report = run_recipe(plan, instance=instance, store_root=folder / "store", shard_keys=["gone.jsonl-00000"])
    assert "partition gone.jsonl-00000 has no shard" in report.failed[0].failure
    assert f"allowed: {SHARD}" in report.failed[0].failure


def test_pools_keep_cpu_and_gpu_passes_apart(folder: Path) -> None:
    defs = build_recipe_defs(make_test_plan(folder))
    pools = {asset.op.name: asset.op.pool for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition)}
    assert pools == {
        "clips__samples": None,
        "clips__measure_header": "cpu",
        "clips__measure_cpu": "cpu",
        "clips__measure_gpu": "gpu",
        "clips__filtered": None,
        "clips__export": None,
        "clips__evidence": "cpu",
        "clips__analysis": None,
    }


def checks_of(instance: dg.DagsterInstance, report: RunReport) -> list[Any]:
    """Evaluations of every check in the report's runs."""
    events = [
        event.dagster_event
        for shard in report.shards
        for event in instance.all_logs(shard.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    ]
    return [event.asset_check_evaluation_data for event in events if event is not None]
