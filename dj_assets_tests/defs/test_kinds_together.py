"""Steps on records, steps over the whole dataset and mappers in one recipe, through Dagster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dj_assets.cli.forecast import add_shard, forecast_stages
from dj_assets.defs.assets import RecipeGraph
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.export_manifest import read_manifest
from dj_assets.plan import Plan, make_plan
from dj_assets.rebuild import rebuild
from dj_assets.recipe import Recipe, Settings, StepSource
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import DURATION, MOTION, FakeMeasure
from dj_assets_tests.defs.test_stages import CUT
from dj_assets_tests.mappers import OPERATOR_FILE, Cutter

LENGTH, COPIES, TOP = "text_length_filter", "video_deduplicator", "topk_specified_field_selector"
Steps = Sequence[tuple[str, dict[str, Any]]]
TWO_BEST: Steps = [
    (LENGTH, {"min_len": 4}),
    (TOP, {"field_key": "score", "topk": 2}),
    (CUT, {"keep_original_sample": False, "clip_per_sample": True}),
    (MOTION, {"min_score": 2.0}),
]


@dataclass
class Project:
    """Drops of (video, score), which may come one by one."""

    folder: Path
    instance: dg.DagsterInstance
    steps: Steps = tuple(TWO_BEST)

    @property
    def plan(self) -> Plan:
        return make_plan(
            Recipe(
                name="clips",
                file=str(self.folder / "clips.yaml"),
                sha256="0" * 64,
                dataset_path=self.folder / "drops",
                export_path=self.folder / "out" / "res.jsonl",
                steps=tuple(StepSource(number, *step) for number, step in enumerate(self.steps, start=1)),
                settings=Settings(),
            )
        )

    def land(self, drop: str, samples: Sequence[tuple[str, int]], text: str = "a clip") -> None:
        folder = self.folder / "drops"
        folder.mkdir(exist_ok=True)
        lines = [{"text": text, "score": score, "videos": [f"{stem}.mp4"]} for stem, score in samples]
        for stem, _ in samples:
            (folder / f"{stem}.mp4").write_text(stem)
        (folder / drop).write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def run(self, *shards: str) -> RunReport:
        report = run_recipe(
            self.plan, instance=self.instance, store_root=self.folder / "store", shard_keys=shards or None
        )
        assert report.success, report.failed
        return report

    def exported(self) -> list[str]:
        """What each exported clip was cut from, in order."""
        lines = (self.folder / "out" / "res.jsonl").read_text().splitlines()
        return [Path(path).stem for line in lines for path in json.loads(line)["__dj__source_file__"]]

    def outputs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "out").iterdir())}


@pytest.fixture
def cutter(monkeypatch: pytest.MonkeyPatch) -> Cutter:
    return Cutter(monkeypatch)


@pytest.fixture
def project(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, operator_package: Path, cutter: Cutter
) -> Project:
    (operator_package / f"{CUT}.py").write_text(OPERATOR_FILE)
    return Project(tmp_path, instance)


def test_a_mapper_is_given_only_what_is_chosen_among_all_shards(project: Project, cutter: Cutter) -> None:
    """Shard by shard through all stages, it would cut the best of the first drop before it knew of better ones."""
    project.land("a.jsonl", [("a1", 1), ("a2", 2)])
    project.land("b.jsonl", [("b5", 5), ("b1", 1)])
    project.land("c.jsonl", [("c4", 4)])
    report = project.run()
    assert cutter.calls == ["b5", "c4"]
    assert project.exported() == ["b5", "b5", "c4", "c4"]
    first, last = (report.summary_of(stage) for stage in project.plan.stages)
    assert first is not None and last is not None
    assert (first.samples, first.kept, first.dropped) == (5, 2, {LENGTH: 0, TOP: 3})
    assert (last.samples, last.kept) == (4, 4)
    assert {"kept", "dropped", "dropped_stage1"} <= report.paths.keys()
    assert [shard.shard_key for shard in report.shards] == ["a-00000", "b-00000", "c-00000"]


def test_a_late_drop_that_takes_a_place_takes_the_clips_out_of_the_export(project: Project, cutter: Cutter) -> None:
    project.land("b.jsonl", [("b3", 3), ("b2", 2)])
    project.run()
    assert project.exported() == ["b3", "b3", "b2", "b2"]
    project.land("c.jsonl", [("c5", 5)])
    report = project.run("c-00000")
    assert project.exported() == ["b3", "b3", "c5", "c5"], "b2 has lost its place, and b was not asked for"
    assert cutter.calls == ["b3", "b2", "c5"]
    assert {shard.shard_key for shard in report.shards} == {"b-00000", "c-00000"}
    late = project.outputs()
    for name in ("store", "out"):
        shutil.rmtree(project.folder / name)
    project.run()
    assert project.outputs() == late


def test_a_second_run_makes_and_measures_nothing(project: Project, cutter: Cutter, fake_measure: FakeMeasure) -> None:
    project.land("a.jsonl", [("a1", 1), ("a2", 2)])
    project.land("b.jsonl", [("b5", 5)])
    project.run()
    before, calls = project.outputs(), list(cutter.calls)
    project.run()
    assert project.outputs() == before and cutter.calls == calls


def test_a_forecast_goes_by_the_last_choice_under_the_same_bounds(project: Project) -> None:
    project.land("a.jsonl", [("a1", 1), ("a2", 2)])
    project.land("b.jsonl", [("b5", 5)])
    project.run()
    store = Store(project.folder / "store")
    stages = forecast_stages(project.plan, store)
    for shard in ("a-00000", "b-00000"):
        add_shard(stages, shard, store.read_samples("clips__1", shard), store)
    made = stages[1].made
    assert made is not None
    assert [len(one) for one in (made.reuse, made.make, made.maybe)] == [2, 0, 0], "a1 was not chosen"


def test_a_failed_shard_has_no_later_stage_and_stands_in_nobodys_way(project: Project, cutter: Cutter) -> None:
    project.land("a.jsonl", [("a9", 9)])
    project.land("b.jsonl", [("b5", 5)])
    project.run()
    (project.folder / "drops" / "a.jsonl").unlink()
    report = run_recipe(
        project.plan,
        instance=project.instance,
        store_root=project.folder / "store",
        shard_keys=["a-00000", "b-00000"],
    )
    assert [shard.shard_key for shard in report.failed] == ["a-00000"]
    assert project.exported() == ["b5", "b5"]


@pytest.mark.parametrize("is_there", [True, False])
def test_another_shard_whose_run_died_on_the_way_stops_nobody(project: Project, is_there: bool) -> None:
    """Its samples are newer than its verdicts, or their table is lost: it is as far behind as it was."""
    project.land("a.jsonl", [("a1", 1)])
    project.land("b.jsonl", [("b5", 5)])
    project.run()
    project.land("b.jsonl", [("b5", 5), ("b7", 7)])
    [first, _] = project.plan.stages
    store = project.folder / "store"
    if is_there:
        only_samples = [RecipeGraph(first).samples]
        run_recipe(
            project.plan,
            instance=project.instance,
            store_root=store,
            shard_keys=["b-00000"],
            selection=only_samples,
        )
    else:
        Store(store).samples_path(first.recipe.name, "b-00000").unlink()
    project.run("a-00000")
    project.run()
    assert project.exported() == ["b5", "b5", "b7", "b7"]


def test_copies_are_looked_for_among_clips_of_all_shards(project: Project) -> None:
    """The cutter's files say what they were cut from, so the clips of two equal videos are equal."""
    project.steps = [
        (LENGTH, {"min_len": 4}),
        (DURATION, {"min_duration": 1.0}),
        (CUT, {"keep_original_sample": False, "clip_per_sample": True}),
        (COPIES, {}),
    ]
    project.land("a.jsonl", [("x", 1)])
    project.land("b.jsonl", [("y", 1)], text="no")
    project.land("c.jsonl", [("x", 1), ("z", 1)])
    report = project.run()
    assert project.exported() == ["x", "x", "z", "z"]
    assert report.summary is not None and report.summary.dropped == {COPIES: 2}
    verdicts = Store(project.folder / "store").read_verdicts("clips", "c-00000")
    assert [one.in_favour_of for one in verdicts] == ["a.jsonl:1#1", "a.jsonl:1#2", "", ""]


def test_an_export_of_samples_chosen_by_a_stat_of_records_is_made_again_from_its_manifest(project: Project) -> None:
    project.steps = [(LENGTH, {"min_len": 4}), (TOP, {"field_key": "__dj__stats__.text_len", "topk": 2})]
    project.land("a.jsonl", [("a1", 1)], text="quite short")
    project.land("b.jsonl", [("b1", 1), ("b2", 2)], text="not so very short")
    report = project.run()
    assert report.summary is not None
    assert (report.summary.kept, report.summary.dropped) == (2, {LENGTH: 0, TOP: 1})
    path = report.paths["manifest"]
    assert [step.get("rule", {}).get("version") for step in read_manifest(path).steps] == [None, 1]
    before = project.outputs()
    (project.folder / "out" / "res.jsonl").unlink()
    assert rebuild(path, store=Store(project.folder / "store")).is_same
    assert project.outputs() == before
