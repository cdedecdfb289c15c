"""Measuring again: exactly what was asked for, with real workers, and what it changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dj_assets import operators, workers
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.defs.rerun import RerunReport, find_unmeasured, rerun_measures, rerun_statuses, verdict_text
from dj_assets.defs.retries import Wish, wish_of
from dj_assets.errors import Status, StoreError
from dj_assets.export_manifest import read_manifest
from dj_assets.plan import Plan, make_plan
from dj_assets.rebuild import rebuild
from dj_assets.recipe import load_recipe
from dj_assets.store.store import Store
from dj_assets_tests import videos

GREY = "video_grey_filter"
SHARDS = ("ds-00000", "ds-00001")

GREY_OPERATOR = '''
"""Mean grey; notes each video that it looks at, and does what a file beside this one says."""
import os, signal
from pathlib import Path
from dj_assets.errors import TooShort
from dj_assets.frames import Look, single
from dj_assets.operators._contract import Bound, NoParams, Operator, Scores, Stat

HERE = Path(__file__).parent
VERSION = int((HERE / "version").read_text())

def plan(info, params):
    width = info.size.width
    with (HERE / "measured").open("a") as log:
        log.write(f"{width} ")
    if (HERE / f"crash{width}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if (HERE / f"short{width}").exists():
        raise TooShort("so it is said", allowed="", try_="")
    return single([0], Look("gray8"))

def score(windows, params, model):
    return Scores(windows.data.mean(axis=(1, 2, 3)) * (10.0 if VERSION == 1 else 1.0))

OPERATOR = Operator(
    name="video_grey_filter", version=VERSION, summary="mean grey level", compute="cpu", params=NoParams,
    stats=(Stat("video_grey", unit="level"),), bounds=(Bound("max_grey", "video_grey", "max", 255.0, help="level"),),
    plan=plan, score=score,
)
'''

RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
process:
  - video_resolution_filter: {min_width: 65}
  - video_grey_filter: {max_grey: 100}
dj_assets: {shard_size: 3}
"""


class Project:
    """Six clips, 64 to 74 px wide, in two shards; clip k has its width's grey level: 0, 20, 40, 60, 80 or 100 of 255.
    The first is dropped for its width, and never scored."""

    def __init__(self, folder: Path, package: Path, instance: dg.DagsterInstance) -> None:
        self.folder = folder
        self.package = package
        self.instance = instance
        self.store = Store(folder / "store")
        self.widths = [64, 66, 68, 70, 72, 74]
        for number, width in enumerate(self.widths):
            frames = videos.numbered(num_frames=2, width=width)
            frames = [(frame * 0 + 20 * number).astype("uint8") for frame in frames]
            videos.write_video(folder / f"w{width}.mp4", frames, lossless=True)
        records = [{"videos": [f"w{width}.mp4"]} for width in self.widths]
        (folder / "ds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (folder / "r.yaml").write_text(RECIPE)
        (package / "video_grey_filter.py").write_text(GREY_OPERATOR)
        self.install(2)

    def install(self, version: int) -> None:
        """Another version of the operator, as after an upgrade and a restart."""
        (self.package / "version").write_text(str(version))
        workers.close_pools()
        sys.modules.pop("scratch_operators.video_grey_filter", None)
        operators.locations.cache_clear()
        operators.get.cache_clear()

    def misbehave(self, **by_width: bool) -> None:
        """crash68=True: the worker that scores the clip of that width dies; short68=True: it is called too short."""
        for name, is_on in by_width.items():
            path = self.package / name
            path.touch() if is_on else path.unlink()

    @property
    def plan(self) -> Plan:
        return make_plan(load_recipe(self.folder / "r.yaml"))

    def process(self) -> RunReport:
        report = run_recipe(self.plan, instance=self.instance, store_root=self.store.root)
        assert report.success, report.failed
        return report

    def measured(self) -> list[int]:
        """Widths of the videos that the operator was asked about since the last call, sorted."""
        log = self.package / "measured"
        found = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return sorted(map(int, found))

    def verdicts(self) -> list[str]:
        shards = ("ds-00000", "ds-00001")
        return [verdict_text(v) for shard in shards for v in self.store.read_verdicts("r", shard)]


@pytest.fixture
def project(
    tmp_path: Path, operator_package: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    (tmp_path / "p").mkdir()
    monkeypatch.chdir(tmp_path / "p")
    yield Project(tmp_path / "p", operator_package, instance)
    workers.close_pools()


def retry(project: Project, *statuses: Status) -> RerunReport:
    plan = project.plan
    found = find_unmeasured(plan, project.store, SHARDS, statuses)
    return rerun_statuses(
        plan,
        statuses=statuses,
        shard_keys=list(found.shards),
        instance=project.instance,
        store_root=project.store.root,
    )


def test_what_crashed_is_measured_again_and_nothing_else(project: Project) -> None:
    project.misbehave(crash68=True, short72=True, crash74=True)
    project.process()
    assert project.verdicts() == [
        "dropped by video_resolution_filter",
        "kept",
        "undecided: crashed",
        "kept",
        "undecided: too_short",
        "undecided: crashed",
    ]
    project.measured()
    found = find_unmeasured(project.plan, project.store, SHARDS, ["crashed"])
    assert found.shards == {"ds-00000": 1, "ds-00001": 1}
    assert found.by_step == {(GREY, "crashed"): 2}

    project.misbehave(crash68=False, short72=False)
    report = retry(project, "crashed")
    assert set(project.measured()) == {68, 74}  # neither what has a number nor what is short
    assert (report.samples, report.num_changes) == (6, 1)
    assert report.transitions == {("undecided: crashed", "kept"): 1}
    [change] = report.changes
    assert (change.shard, change.sample_id) == ("ds-00000", "ds.jsonl:3")
    assert project.verdicts()[2:] == ["kept", "kept", "undecided: too_short", "undecided: crashed"]
    kept = (project.folder / "out" / "res.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["videos"][0]).name for line in kept] == ["w66.mp4", "w68.mp4", "w70.mp4"]


def test_an_answer_that_holds_for_the_bytes_is_asked_for_again_if_told_so(project: Project) -> None:
    """`too_short` follows from the content and is never measured twice, unless somebody insists."""
    project.misbehave(short72=True)
    project.process()
    project.misbehave(short72=False)
    project.measured()
    project.process()
    assert project.measured() == []
    report = retry(project, "too_short", "no_video_stream")
    assert project.measured() == [72]
    assert [shard.shard_key for shard in report.run.shards] == ["ds-00001"]
    assert report.transitions == {("undecided: too_short", "kept"): 1}
    project.process()
    assert project.measured() == []  # the number wins over the earlier failure


def test_a_file_that_was_brought_back_counts_and_a_line_that_was_added_does_not(project: Project) -> None:
    gone, aside = project.folder / "w70.mp4", project.folder / "aside"
    gone.rename(aside)
    project.process()
    assert project.verdicts()[3] == "undecided: missing"
    project.measured()

    aside.rename(gone)
    videos.write_video(project.folder / "new.mp4", videos.numbered(num_frames=3, width=80))
    with (project.folder / "ds.jsonl").open("a") as manifest:
        manifest.write('{"videos": ["new.mp4"]}\n')
    report = retry(project, "missing")
    assert project.measured() == [70]
    assert report.transitions == {("undecided: missing", "kept"): 1}
    assert len(project.verdicts()) == 6


def test_what_was_skipped_stays_skipped_though_the_bounds_have_moved(project: Project) -> None:
    project.misbehave(crash66=True)
    project.process()
    project.misbehave(crash66=False)
    project.measured()
    (project.folder / "r.yaml").write_text(RECIPE.replace("min_width: 65", "min_width: 1"))
    report = retry(project, "crashed")
    assert project.measured() == [66]
    assert project.verdicts()[:2] == ["undecided: skipped", "kept"]
    assert report.moved_bounds == ("ds-00000",)


def test_a_shard_whose_tables_answer_another_question_is_left_out(project: Project) -> None:
    project.misbehave(crash68=True)
    project.process()
    project.install(3)
    found = find_unmeasured(project.plan, project.store, SHARDS, ["crashed"])
    assert found.shards == {} and list(found.outdated) == list(SHARDS)
    assert "video_grey_filter was measured as" in found.outdated["ds-00000"]


def test_a_wrong_version_is_put_right_and_the_verdicts_that_changed_are_named(project: Project) -> None:
    """Version 1 gives ten times the grey. What rests on it is known by the export's manifest."""
    project.install(1)
    project.process()
    wrong = project.folder / "out" / "res_manifest.json"
    [step] = [step for step in read_manifest(wrong).steps if step["operator"] == GREY]
    assert step["version"] == 1
    assert project.verdicts()[1:] == [f"dropped by {GREY}"] * 5
    cited = {path.name: path.read_bytes() for path in wrong.parent.iterdir()}
    kept_manifest = project.folder / "res_manifest.json"
    kept_manifest.write_bytes(wrong.read_bytes())
    assert project.measured() == [66, 68, 70, 72, 74]

    project.install(2)
    report = rerun_measures(
        project.plan,
        measures={GREY: [step["measure_id"]]},
        shard_keys=SHARDS,
        instance=project.instance,
        store_root=project.store.root,
    )
    assert project.measured() == [66, 68, 70, 72, 74]  # not 64: it is dropped before anybody looks
    assert report.transitions == {(f"dropped by {GREY}", "kept"): 5}
    assert [change.sample_id for change in report.changes] == [f"ds.jsonl:{n}" for n in range(2, 7)]
    assert {run.shard_key for run in report.run.shards} == set(SHARDS)
    assert [step["version"] for step in read_manifest(wrong).steps if step["operator"] == GREY] == [2]

    # What was cited under the wrong version can still be shown, as wrong as it was.
    again = project.folder / "again"
    assert rebuild(kept_manifest, store=project.store, folder=again).is_same
    assert {path.name: path.read_bytes() for path in again.iterdir()} == cited


def test_numbers_of_a_measure_that_is_asked_for_still_are_measured_anew(project: Project) -> None:
    """A broken machine, say: the version is right, the numbers are not."""
    project.process()
    project.measured()
    [step] = [step for step in project.plan.steps if step.operator.name == GREY]
    report = rerun_measures(
        project.plan,
        measures={GREY: [step.measure_id]},
        shard_keys=["ds-00001"],
        instance=project.instance,
        store_root=project.store.root,
    )
    assert project.measured() == [70, 72, 74]
    assert (report.samples, report.num_changes) == (3, 0)


def test_an_operator_that_the_recipe_has_no_more_is_said(project: Project) -> None:
    with pytest.raises(StoreError, match="has no step video_motion_score_filter any more"):
        rerun_measures(
            project.plan,
            measures={"video_motion_score_filter": []},
            shard_keys=SHARDS,
            instance=project.instance,
            store_root=project.store.root,
        )


@pytest.mark.parametrize(
    "wish",
    [Wish(), Wish(statuses=frozenset({"crashed", "too_short"})), Wish(measures=frozenset({"0123", "4567"}))],
    ids=["nothing", "statuses", "measures"],
)
def test_a_wish_survives_as_tags(wish: Wish) -> None:
    assert wish_of(wish.tags) == wish
    assert wish_of({**wish.tags, "dagster/partition": "x"}) == wish
