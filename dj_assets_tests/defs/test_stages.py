"""A recipe with a mapper through Dagster, with a mapper that writes small files: assets, staleness, what is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dj_assets.defs import rerun
from dj_assets.defs.assets import RecipeGraph
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.plan import Plan
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import DURATION, MOTION, FakeMeasure, data_version, figures, make_test_plan
from dj_assets_tests.defs.test_assets import dependencies
from dj_assets_tests.mappers import OPERATOR_FILE, Cutter, Unlucky

SHARD = "ds-00000"
CUT = "scratch_cut_mapper"
APART = {"keep_original_sample": False, "clip_per_sample": True}


@pytest.fixture
def folder(tmp_path: Path, operator_package: Path) -> Path:
    """Four samples of one file each."""
    (operator_package / f"{CUT}.py").write_text(OPERATOR_FILE)
    lines = [json.dumps({"text": "a clip", "videos": [f"clip{number}.mp4"]}) for number in range(1, 5)]
    (tmp_path / "ds.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for number in range(1, 5):
        (tmp_path / f"clip{number}.mp4").write_text(f"clip {number}")
    return tmp_path


@pytest.fixture
def cutter(monkeypatch: pytest.MonkeyPatch) -> Cutter:
    return Cutter(monkeypatch)


def a_staged_plan(
    folder: Path, *, min_duration: float = 10.0, cut: dict[str, Any] | None = None, **settings: Any
) -> Plan:
    steps = {DURATION: {"min_duration": min_duration}, CUT: APART if cut is None else cut, MOTION: {"min_score": 2.0}}
    return make_test_plan(folder, steps=steps, **settings)


def lines_of(sample_id: str) -> tuple[int, int]:
    """`ds.jsonl:3#2` → (3, 2); of a sample of the dataset the second is 0."""
    line, _, product = sample_id.removeprefix("ds.jsonl:").partition("#")
    return int(line), int(product or 0)


def measured(*, short: set[int] = frozenset(), still: set[tuple[int, int]] = frozenset()) -> Any:  # type: ignore[assignment]
    """Numbers by step and sample: lines that are too short, products that are too still; all others pass."""

    def value(step_key: str, sample_id: str) -> float:
        line, product = lines_of(sample_id)
        return (
            1.0
            if (step_key == DURATION and line in short) or (step_key == MOTION and (line, product) in still)
            else 99.0
        )

    return value


def run(plan: Plan, folder: Path, instance: dg.DagsterInstance, **options: Any) -> RunReport:
    return run_recipe(plan, instance=instance, store_root=folder / "store", **options)


def exported(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "outputs" / f"{name}.jsonl").read_text().splitlines()]


def test_the_graph_is_a_chain_of_stages(folder: Path) -> None:
    found = dependencies(a_staged_plan(folder))
    assert found["clips__1/filtered"] == {"clips__1/samples", f"clips__1/stats/{DURATION}"}
    assert found["clips/samples"] == {"clips__1/filtered"}
    assert found[f"clips/stats/{MOTION}"] == {"clips/samples"}
    assert found["clips/export"] == {"clips/filtered"}
    assert {"clips__1/export", "clips__1/evidence", "clips__1/analysis"} <= found.keys()


def test_one_run_goes_through_all_stages(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    fake_measure.value = measured(short={2}, still={(1, 2), (4, 1), (4, 2)})
    cutter.fails["clip3"] = Unlucky("clip3.mp4 is broken", allowed="a video", try_="fetch it again")
    plan = a_staged_plan(folder)
    report = run(plan, folder, instance)
    assert report.success, report.failed

    first, last = (report.summary_of(stage) for stage in plan.stages)
    assert first is not None and last is not None
    assert (first.samples, first.kept, first.dropped) == (4, 3, {DURATION: 1})
    assert (last.samples, last.kept, last.dropped, last.undecided) == (5, 1, {MOTION: 3}, {"unreadable": 1})

    [kept] = exported(folder, "res")
    assert Path(kept["videos"][0]).name.startswith("clip1_")
    assert kept["__dj__source_file__"] == [str(folder / "clip1.mp4")]
    left = {line["__dj__verdict__"]["sample_id"]: line["__dj__verdict__"] for line in exported(folder, "res_dropped")}
    assert left.keys() == {"ds.jsonl:1#2", "ds.jsonl:3#1", "ds.jsonl:4#1", "ds.jsonl:4#2"}
    lost = left["ds.jsonl:3#1"]
    assert (lost["outcome"], lost["step"], lost["status"]) == ("undecided", CUT, "unreadable")
    assert "fetch it again" in lost["reason"]
    assert [line["__dj__verdict__"]["sample_id"] for line in exported(folder, "res_stage1_dropped")] == ["ds.jsonl:2"]
    assert report.paths["dropped_stage1"] == folder / "outputs" / "res_stage1_dropped.jsonl"

    made = figures(instance, RecipeGraph(plan).samples, SHARD)
    assert (made["kept_before"], made["videos_made"], made["videos_failed"], made["products"]) == (3, 2, 1, 4)
    assert "clip3.mp4 is broken" in made["first_undecided"]


def test_a_second_run_makes_nothing_and_changes_nothing(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    plan = a_staged_plan(folder)
    run(plan, folder, instance)
    keys = RecipeGraph(plan).samples, RecipeGraph(plan).filtered
    before = [data_version(instance, key, SHARD) for key in keys]
    files = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("__dj__produced_data__/**/*.mp4"))
    calls = list(cutter.calls)
    run(plan, folder, instance)
    assert cutter.calls == calls
    assert [data_version(instance, key, SHARD) for key in keys] == before
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("__dj__produced_data__/**/*.mp4")) == files
    assert len(files) == 8


def test_a_moved_bound_makes_only_what_is_new(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    fake_measure.value = measured(short={2})
    run(a_staged_plan(folder), folder, instance)
    assert sorted(cutter.calls) == ["clip1", "clip3", "clip4"]
    report = run(a_staged_plan(folder, min_duration=0.5), folder, instance)
    assert cutter.calls[3:] == ["clip2"]
    assert report.summary is not None and report.summary.samples == 8


def test_what_another_mapper_made_is_no_sample(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    """A run of `filtered` alone would else judge the products of other params, and say nothing."""
    run(a_staged_plan(folder), folder, instance)
    other = a_staged_plan(folder, cut={**APART, "pieces": 3})
    report = run(other, folder, instance, selection=[RecipeGraph(other).filtered])
    assert not report.success
    assert f"was made by another {CUT}" in report.failed[0].failure
    assert run(other, folder, instance).success


def test_the_original_stays_in_front_with_its_numbers(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    plan = a_staged_plan(folder, cut={})
    run(plan, folder, instance)
    samples = Store(folder / "store").read_samples("clips", SHARD)
    assert [sample.sample_id for sample in samples][:2] == ["ds.jsonl:1#0", "ds.jsonl:1#1"]
    stats = exported(folder, "res_stats")
    assert stats[0]["__dj__stats__"] == {"video_duration": [100.0], "video_motion_score": [100.0]}
    assert stats[1]["__dj__stats__"] == {"video_motion_score": [100.0, 100.0]}, "two clips, and no number of the whole"


def test_undecided_samples_go_on_where_the_recipe_keeps_them(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    (folder / "ds.jsonl").write_text('{"videos": ["clip1.mp4"]}\nnot json\n{"videos": ["clip2.mp4"]}\n')
    cutter.fails["clip2"] = Unlucky("broken")
    run(a_staged_plan(folder, on_undecided="keep"), folder, instance)
    assert len(exported(folder, "res_stage1")) == 2
    assert len(exported(folder, "res")) == 2, "both clips of clip1; of clip2 there is nothing that could be kept"
    assert len(exported(folder, "res_dropped")) == 1
    assert len(exported(folder, "res_stage1_dropped")) == 1


def test_a_retry_asks_the_mapper_again(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    plan = a_staged_plan(folder)
    cutter.fails["clip3"] = Unlucky("broken")
    cutter.dies.add("clip4")
    run(plan, folder, instance)
    store = Store(folder / "store")
    found = rerun.find_unmeasured(plan, store, [SHARD], ["unreadable", "timed_out"])
    assert found.by_step == {(CUT, "unreadable"): 1, (CUT, "timed_out"): 1}
    assert found.shards == {SHARD: 2}
    assert store.undecided_shards("clips", ["timed_out"]) == {SHARD: 1}

    cutter.fails.clear()
    cutter.dies.clear()
    calls = len(cutter.calls)
    again = rerun.rerun_statuses(
        plan, statuses=["unreadable", "timed_out"], shard_keys=[SHARD], instance=instance, store_root=store.root
    )
    assert again.run.success
    assert sorted(cutter.calls[calls:]) == ["clip3", "clip4"]
    assert again.transitions[("undecided: unreadable", "kept")] == 1
    assert rerun.find_unmeasured(plan, store, [SHARD], ["unreadable", "timed_out"]).shards == {}


def test_a_distrusted_mapper_works_again_and_so_does_what_follows(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    plan = a_staged_plan(folder)
    run(plan, folder, instance)
    assert plan.made_by is not None
    calls = len(cutter.calls)
    report = rerun.rerun_measures(
        plan,
        measures={CUT: [plan.made_by.measure_id]},
        shard_keys=[SHARD],
        instance=instance,
        store_root=folder / "store",
    )
    assert report.run.success, report.run.failed
    assert len(cutter.calls) == 2 * calls


def test_a_mapper_without_filters_around_it_is_a_recipe(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    plan = make_test_plan(folder, steps={CUT: APART})
    report = run(plan, folder, instance)
    assert report.success, report.failed
    assert len(exported(folder, "res")) == 8
    assert fake_measure.calls == []


def test_a_fault_of_the_mapper_stops_the_run_and_keeps_the_last_samples(
    folder: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, cutter: Cutter
) -> None:
    cutter.fails["clip3"] = ZeroDivisionError("oops")
    plan = a_staged_plan(folder)
    report = run(plan, folder, instance)
    assert not report.success
    assert "ZeroDivisionError" in report.failed[0].failure
    assert Store(folder / "store").samples_provenance("clips", SHARD) is None, "no half of a table"
    cutter.fails.clear()
    assert run(plan, folder, instance).success
    assert sorted(cutter.calls) == ["clip1", "clip2", "clip3", "clip3", "clip4"]
