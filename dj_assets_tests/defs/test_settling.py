"""Steps over the whole dataset, through Dagster: whatever order shards come in, the kept set and every file is that of
one go; and verdict tables, exports and events agree at any time."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.defs.partitions import register_shards
from dj_assets.defs.resources import project_resources
from dj_assets.errors import StoreError
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import Recipe, Settings, StepSource
from dj_assets.store.rows import Verdict
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import FakeMeasure, data_version, figures

DURATION, MOTION, COPIES = "video_duration_filter", "video_motion_score_filter", "video_deduplicator"
STEPS: list[tuple[str, dict[str, Any]]] = [
    (DURATION, {"min_duration": 10.0}),
    (COPIES, {}),
    (MOTION, {"min_score": 2.0}),
]
# Of each content its length and motion are told from its name: `short…` fails the step before, `still…` the one after.
DROPS = {
    "a.jsonl": ["cat", "short_dog", "still_owl"],
    "b.jsonl": ["dog", "cat", "cat", "still_owl"],
    "c.jsonl": ["short_dog", "dog", "elk", "elk"],
}


def value(contents: dict[str, str]) -> Any:
    def of(step_key: str, sample_id: str) -> float:
        content = contents[sample_id]
        if step_key == DURATION:
            return 5.0 if content.startswith("short") else 20.0
        return 1.0 if step_key == MOTION and content.startswith("still") else 3.0

    return of


@dataclass
class Project:
    """A dataset whose drops come one by one, an instance and a store."""

    folder: Path
    instance: dg.DagsterInstance
    fake: FakeMeasure
    steps: Sequence[tuple[str, dict[str, Any]]] = tuple(STEPS)
    shard_size: int = 1000

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
                settings=Settings(shard_size=self.shard_size),
                keep_stats_in_res_ds=True,
            )
        )

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def land(self, drop: str, contents: Sequence[str]) -> None:
        folder = self.folder / "drops"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            {"id": f"{drop}:{number}", "text": content, "videos": [f"{drop}/{content}.mp4"]}
            for number, content in enumerate(contents, start=1)
        ]
        (folder / drop).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        known = getattr(self, "_contents", {})
        known |= {f"{drop}:{number}": content for number, content in enumerate(contents, start=1)}
        self._contents = known
        self.fake.value = value(known)

    def run(self, *shards: str, only: Sequence[str] = ()) -> RunReport:
        selection = [getattr(RecipeGraph(self.plan), name) for name in only] or None
        return run_recipe(
            self.plan,
            instance=self.instance,
            store_root=self.folder / "store",
            shard_keys=shards or None,
            selection=selection,
        )

    def outputs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "out").iterdir()) if path.is_file()}

    def verdicts(self) -> dict[str, Verdict]:
        store = self.store
        return {
            verdict.sample_id: verdict
            for shard in store.decided_shards("clips")
            for verdict in store.read_verdicts("clips", shard)
        }

    def kept(self) -> list[str]:
        return [sample_id for sample_id, verdict in sorted(self.verdicts().items()) if verdict.outcome == "kept"]

    def exported(self) -> list[str]:
        """Ids of the exported samples."""
        lines = (self.folder / "out" / "res.jsonl").read_text().splitlines()
        return [json.loads(line)["id"] for line in lines]

    def start_over(self) -> None:
        for name in ("store", "out"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


@pytest.fixture
def project(tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure) -> Project:
    return Project(tmp_path, instance, fake_measure)


@pytest.fixture
def in_one_go(project: Project) -> Iterator[dict[str, bytes]]:
    """What all drops at once give; the project is then as new."""
    for drop, contents in DROPS.items():
        project.land(drop, contents)
    assert project.run().success
    outputs = project.outputs()
    assert project.kept() == ["a.jsonl:1", "b.jsonl:1", "c.jsonl:3"]
    project.start_over()
    shutil.rmtree(project.folder / "drops")
    yield outputs


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_shards_that_arrive_in_any_order_give_the_files_of_one_go(
    order: tuple[str, ...], project: Project, in_one_go: dict[str, bytes]
) -> None:
    for name in order:
        project.land(f"{name}.jsonl", DROPS[f"{name}.jsonl"])
        assert project.run(f"{name}-00000").success
        assert sorted(project.exported()) == project.kept(), "files and tables agree after each arrival"
    assert project.outputs() == in_one_go


def test_a_copy_says_which_sample_stays_and_the_first_failing_step_is_named(project: Project) -> None:
    for drop, contents in DROPS.items():
        project.land(drop, contents)
    report = project.run()
    found = project.verdicts()
    assert found["b.jsonl:2"] == Verdict(
        "b.jsonl:2",
        "dropped",
        step=COPIES,
        operator=COPIES,
        bound="the first sample of those with equal videos",
        reason="a copy of a.jsonl:1, which comes first",
        in_favour_of="a.jsonl:1",
    )
    # Too short comes before the deduplicator, too still after it: the first copy of a still one is dropped for that.
    assert [found[one].step for one in ("c.jsonl:1", "a.jsonl:3", "b.jsonl:4")] == [DURATION, MOTION, COPIES]
    assert found["b.jsonl:4"].in_favour_of == "a.jsonl:3"
    assert report.summary is not None
    assert (report.summary.kept, report.summary.dropped) == (3, {DURATION: 2, COPIES: 5, MOTION: 1})
    lines = [json.loads(line) for line in (project.folder / "out" / "res_dropped.jsonl").read_text().splitlines()]
    by_id = {line["__dj__verdict__"]["sample_id"]: line["__dj__verdict__"] for line in lines}
    assert by_id["b.jsonl:2"]["reason"] == "a copy of a.jsonl:1, which comes first"
    assert by_id["b.jsonl:2"]["in_favour_of"] == "a.jsonl:1" and "in_favour_of" not in by_id["a.jsonl:3"]
    stats = json.loads((project.folder / "out" / "res.jsonl").read_text().splitlines()[0])["__dj__stats__"]
    assert set(stats) == {"video_duration", "video_motion_score"}, (
        "what a deduplicator measures is no stat of upstream's"
    )


def test_content_that_is_delivered_again_changes_nothing_and_decodes_nothing(project: Project) -> None:
    for drop, contents in DROPS.items():
        project.land(drop, contents)
    project.run()
    before = (project.folder / "out" / "res.jsonl").read_bytes()
    project.land("d.jsonl", DROPS["b.jsonl"])
    project.run("d-00000")
    assert (project.folder / "out" / "res.jsonl").read_bytes() == before
    assert {v.in_favour_of for k, v in project.verdicts().items() if k.startswith("d.")} == {
        "a.jsonl:1",
        "a.jsonl:3",
        "b.jsonl:1",
    }
    # Under a name that comes first in the dataset it takes over: as if it had been there from the start.
    project.land("0.jsonl", DROPS["b.jsonl"])
    calls = len(project.fake.calls)
    assert project.run("0-00000").success
    assert {call.pass_name for call in project.fake.calls[calls:]} == {"header", "cpu"}
    assert len(project.fake.calls) == calls + 2, "the passes of the new shard, and of no other"
    late = project.outputs()
    assert project.kept() == ["0.jsonl:1", "0.jsonl:2", "c.jsonl:3"]
    project.start_over()
    project.run()
    assert project.outputs() == late


def test_a_drop_that_has_grown_gives_what_one_go_gives(project: Project) -> None:
    project.land("b.jsonl", DROPS["b.jsonl"])
    project.land("a.jsonl", ["owl"])
    project.run()
    assert project.kept() == ["a.jsonl:1", "b.jsonl:1", "b.jsonl:2"]
    project.land("a.jsonl", ["owl", "cat", "dog"])
    project.run("a-00000")
    grown = project.outputs()
    assert project.kept() == sorted(project.exported()) == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    project.start_over()
    project.run()
    assert project.outputs() == grown


def test_a_shard_whose_verdicts_change_has_events_that_tell_it_and_is_not_stale(project: Project) -> None:
    project.land("b.jsonl", DROPS["b.jsonl"])
    project.run()
    graph = RecipeGraph(project.plan)
    before = data_version(project.instance, graph.filtered, "b-00000")
    assert figures(project.instance, graph.filtered, "b-00000")["kept"] == 2
    project.land("a.jsonl", DROPS["a.jsonl"])
    report = project.run("a-00000")
    assert figures(project.instance, graph.filtered, "b-00000")["kept"] == 1
    assert figures(project.instance, graph.export, "b-00000")["kept"] == 1
    assert data_version(project.instance, graph.filtered, "b-00000") != before
    wanted = dg.AssetRecordsFilter(asset_key=graph.filtered, asset_partitions=["b-00000"])
    assert project.instance.fetch_materializations(wanted, limit=1).records[0].run_id == report.shards[0].run_id
    assert stale(project, project.plan) == {}
    moved = replace(project, steps=[(DURATION, {"min_duration": 11.0}), *STEPS[1:]])
    assert set(stale(project, moved.plan)) == {"a-00000", "b-00000"}, "an edited bound shows for each of them"


def stale(project: Project, plan: Plan) -> dict[str, list[str]]:
    """shard → why its verdicts or its export are stale."""
    resources = dg.Definitions(resources=project_resources(project.folder / "store"))
    graph = dg.Definitions.merge(build_recipe_defs(plan), resources).resolve_asset_graph()
    found: dict[str, list[str]] = {}
    for shard in ("a-00000", "b-00000"):
        for key in (RecipeGraph(plan).filtered, RecipeGraph(plan).export):
            resolver = CachingStaleStatusResolver(project.instance, graph, LoadingContextForTest(project.instance))
            causes = resolver.get_stale_causes(key, shard)
            if causes:
                found.setdefault(shard, []).extend(cause.reason for cause in causes)
    return found


def test_a_run_that_dies_between_verdicts_and_export_is_mended_by_the_next(project: Project) -> None:
    project.land("b.jsonl", DROPS["b.jsonl"])
    project.run()
    project.land("a.jsonl", DROPS["a.jsonl"])
    graph = RecipeGraph(project.plan)
    run_recipe(
        project.plan,
        instance=project.instance,
        store_root=project.folder / "store",
        shard_keys=["a-00000"],
        selection=[*graph.measured, graph.filtered],
    )
    assert project.kept() == ["a.jsonl:1", "b.jsonl:1"]
    assert project.exported() == ["b.jsonl:1", "b.jsonl:2"], "the export is still that of before"
    project.land("c.jsonl", DROPS["c.jsonl"])
    assert project.run("c-00000").success
    assert project.exported() == project.kept() == ["a.jsonl:1", "b.jsonl:1", "c.jsonl:3"]


def test_a_run_that_dies_while_it_rewrites_verdicts_is_mended_by_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for drop in ("b.jsonl", "c.jsonl"):
        project.land(drop, DROPS[drop])
    project.run()
    project.land("a.jsonl", DROPS["a.jsonl"] + ["elk"])
    write, written = Store.write_verdicts, []

    def dies(self: Store, recipe: str, shard: str, *rest: Any) -> Path:
        if len(written) == 2:
            raise StoreError("killed")
        written.append(shard)
        return write(self, recipe, shard, *rest)

    monkeypatch.setattr(Store, "write_verdicts", dies)
    assert not project.run("a-00000").success
    assert written == ["a-00000", "b-00000"]
    assert {"a.jsonl:4", "c.jsonl:3"} <= set(project.kept()), "one table is new, another old"
    monkeypatch.setattr(Store, "write_verdicts", write)
    assert project.run("b-00000").success
    late = project.outputs()
    assert project.exported() == project.kept() == ["a.jsonl:1", "a.jsonl:4", "b.jsonl:1"]
    project.start_over()
    project.run()
    assert project.outputs() == late


@pytest.mark.parametrize("lost", ["settled.json", "b-00000.parquet"])
def test_what_was_settled_can_be_deleted(project: Project, lost: str, in_one_go: dict[str, bytes]) -> None:
    for drop, contents in DROPS.items():
        project.land(drop, contents)
    project.run()
    (project.folder / "store" / "tables" / "clips" / "ballots" / lost).unlink()
    assert project.run("b-00000").success
    assert project.outputs() == in_one_go


def test_a_backfill_in_one_run_gives_the_files_of_shard_after_shard(
    project: Project, in_one_go: dict[str, bytes]
) -> None:
    for drop, contents in DROPS.items():
        project.land(drop, contents)
    project.run(only=["samples"])
    graph = RecipeGraph(project.plan)
    run_recipe(project.plan, instance=project.instance, store_root=project.folder / "store", selection=graph.measured)
    shards = register_shards(project.instance, project.plan)
    resources = dg.Definitions(resources=project_resources(project.folder / "store"))
    job = dg.Definitions.merge(build_recipe_defs(project.plan), resources).resolve_job_def("clips")
    result = job.execute_in_process(
        instance=project.instance,
        asset_selection=[graph.filtered, graph.export],
        tags={"dagster/asset_partition_range_start": shards[0], "dagster/asset_partition_range_end": shards[-1]},
    )
    assert result.success
    assert project.outputs() == in_one_go
    assert [figures(project.instance, graph.filtered, shard)["kept"] for shard in shards] == [1, 1, 1]


def test_a_withdrawn_drop_stands_in_nobodys_way(project: Project) -> None:
    """Its samples are in no export any more: a copy that was dropped in favour of one of them would be lost."""
    for drop, contents in DROPS.items():
        project.land(drop, contents)
    project.run()
    (project.folder / "drops" / "a.jsonl").unlink()
    assert project.run("b-00000", "c-00000").success
    kept = [sample_id for sample_id in project.kept() if not sample_id.startswith("a.")]
    assert kept == project.exported() == ["b.jsonl:1", "b.jsonl:2", "c.jsonl:3"]
    failed = project.run("a-00000", only=["filtered"])
    assert not failed.success and "looks at the whole dataset" in failed.shards[0].failure


def test_undecided_samples_stand_in_nobodys_way_and_stay_undecided(project: Project) -> None:
    project.land("a.jsonl", ["cat", "cat"])
    project.fake.lost_rows = set()
    rows = project.fake._rows

    def unreadable(step: Any, samples: Any, still_in: Any) -> Iterator[Any]:
        for row in rows(step, samples, still_in):
            broken = step.key == COPIES and row.sample_id == "a.jsonl:1"
            fact = replace(row.fact, value=None, window_details=(), status="unreadable", reason="no video")
            yield replace(row, fact=fact) if broken else row

    project.fake._rows = unreadable  # type: ignore[method-assign]
    project.run()
    found = project.verdicts()
    assert [found[one].outcome for one in ("a.jsonl:1", "a.jsonl:2")] == ["undecided", "kept"]
    assert (found["a.jsonl:1"].step, found["a.jsonl:1"].status) == (COPIES, "unreadable")


def test_short_circuit_spares_nothing_that_a_step_over_the_whole_dataset_looks_at(project: Project) -> None:
    """A later filter must not keep a first copy's measure from being taken: upstream's deduplicator has not seen it."""
    project.steps = [(MOTION, {"min_score": 2.0}), ("video_near_deduplicator", {}), (DURATION, {"min_duration": 10.0})]
    project.land("a.jsonl", ["short_cat", "cat"])
    plan = project.plan
    assert [(one.compute, [step.key for step in plan.sparing_steps(one)]) for one in plan.passes] == [
        ("header", []),
        ("cpu", []),
    ]
    first = replace(project, steps=[project.steps[2], *project.steps[:2]]).plan
    assert [step.key for step in first.sparing_steps(first.passes[1])] == [DURATION]
    after = replace(project, steps=[project.steps[1], *project.steps[::2]]).plan
    assert [step.key for step in after.sparing_steps(after.passes[1])] == [], "its own measure is in that pass"


def test_recipes_without_such_steps_write_nothing_new(project: Project) -> None:
    project.steps = [STEPS[0], STEPS[2]]
    project.land("a.jsonl", ["cat"])
    project.run()
    assert not (project.folder / "store" / "tables" / "clips" / "ballots").exists()
    assert project.plan.alone is project.plan or project.plan.alone == project.plan


def test_a_selector_rewrites_only_what_it_changes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.steps = [("topk_specified_field_selector", {"field_key": "text", "topk": 2})]
    for drop, contents in {"a.jsonl": ["1"], "b.jsonl": ["5"], "c.jsonl": ["3"], "d.jsonl": ["4"]}.items():
        project.land(drop, contents)
    shards = register_shards(project.instance, project.plan)
    written: list[str] = []
    write = Store.write_verdicts
    monkeypatch.setattr(
        Store,
        "write_verdicts",
        lambda self, recipe, shard, *rest: (written.append(shard), write(self, recipe, shard, *rest))[1],
    )
    kept = []
    for shard in shards:
        written.clear()
        project.run(shard)
        kept.append((project.kept(), list(written)))
    assert kept == [
        (["a.jsonl:1"], ["a-00000"]),
        (["a.jsonl:1", "b.jsonl:1"], ["b-00000"]),
        (["b.jsonl:1", "c.jsonl:1"], ["a-00000", "c-00000"]),
        (["b.jsonl:1", "d.jsonl:1"], ["c-00000", "d-00000"]),
    ]
    assert project.exported() == ["b.jsonl:1", "d.jsonl:1"]


def test_a_field_that_no_sample_has_fails_with_what_to_do(project: Project) -> None:
    project.steps = [("topk_specified_field_selector", {"field_key": "scor", "topk": 1})]
    project.land("a.jsonl", ["cat", "dog"])
    report = project.run()
    assert "topk_specified_field_selector: field 'scor' has no value in any of 2 samples" in report.shards[0].failure
