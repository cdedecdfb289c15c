"""`dj-assets evidence` over a few real videos and their store: what is drawn, said and exited with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from dj_assets import measure as engine
from dj_assets import workers
from dj_assets.decide import decide
from dj_assets.evidence import file_name
from dj_assets.evidence.asked import find_asked, telling
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import load_recipe
from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Provenance
from dj_assets.store.store import Store
from dj_assets_tests import videos
from dj_assets_tests.cli.project_store import dj_assets

RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
process:
  - video_duration_filter:
      min_duration: 0.5
  - video_motion_score_filter:
      min_score: 1.0
"""
MOTION = "video_motion_score_filter"


@dataclass
class Project:
    """A project whose recipe `clips` was run on moving.mp4 (kept), still.mp4 (dropped) and broken.mp4 (undecided)."""

    folder: Path
    plan: Plan
    store: Store

    @property
    def evidence(self) -> Path:
        return self.folder / "out" / "res_evidence"


@pytest.fixture
def project(tmp_path: Path, moving_2px: Path, still: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DJ_ASSETS_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("DJ_ASSETS_ROOT", raising=False)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "clips.yaml").write_text(RECIPE)
    for name, source in (("moving", moving_2px), ("still", still)):
        (tmp_path / f"{name}.mp4").write_bytes(source.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"no media" * 100)
    names = ["moving", "still", "broken"]
    lines = [json.dumps({"videos": [f"{name}.mp4"]}) for name in names]
    (tmp_path / "ds.jsonl").write_text("".join(f"{line}\n" for line in lines))
    plan = make_plan(load_recipe("recipes/clips.yaml"))
    store = Store(tmp_path / "store")
    _process(plan, store, [tmp_path / f"{name}.mp4" for name in names])
    yield Project(tmp_path, plan, store)
    workers.close_pools()


def _process(plan: Plan, store: Store, paths: list[Path]) -> None:
    """What a run does, without Dagster."""
    given = [
        Sample(f"ds.jsonl:{n}", "ds.jsonl", n, {}, (Video("videos", 0, path.name, str(path)),))
        for n, path in enumerate(paths, start=1)
    ]
    limits = plan.recipe.settings.limits
    samples = engine.identify(given, roots=plan.roots, limits=limits)
    origin = Provenance("a", "ds-00000", plan.recipe.name, plan.recipe.sha256, "")
    store.write_samples("clips", "ds-00000", samples, origin)
    tables = {}
    for pass_ in plan.passes:
        found = engine.measure_pass(
            pass_,
            samples=samples,
            store=store,
            limits=limits,
            roots=plan.roots,
            workers=1,
            wanted=[step.key for step in pass_.steps],
            still_in=None,
            provenance=origin,
            progress=lambda _: None,
        )
        tables |= found.tables
    for step in plan.steps:
        store.write_stats(
            "clips", step.key, "ds-00000", tables[step.key], replace(origin, code_version=step.measure_id)
        )
    verdicts = decide(plan, samples, tables)
    store.write_verdicts("clips", "ds-00000", verdicts, replace(origin, code_version=plan.bounds_id))


def drawn(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_video_has_a_sheet_a_preview_and_its_header_in_words(project: Project) -> None:
    before = drawn(project.folder / "store" / "measures")
    result = dj_assets("evidence", "moving.mp4", "--recipe", "clips")
    assert result.exit_code == 0, result.output
    assert "video 128x96, 1 s, 24 frames at 24 per second, h264" in result.stdout
    assert [name.partition("_")[0] for name in drawn(project.evidence)] == ["moving", "moving"]
    assert {Path(name).suffix for name in drawn(project.evidence)} == {".jpg", ".webp"}
    printed = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert any(line.startswith("video_duration_filter 1 video_duration >= 0.5") for line in printed)
    assert any(line.startswith(MOTION) and "passes" in line for line in printed)
    assert drawn(project.folder / "store" / "measures") == before, "nothing was measured"


def test_a_copy_under_another_name_is_known_by_its_bytes_though_no_recipe_lists_it(project: Project) -> None:
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "копия.mp4").write_bytes((project.folder / "still.mp4").read_bytes())
    result = dj_assets("evidence", str(elsewhere / "копия.mp4"), "--recipe", "clips", "-o", "here")
    assert result.exit_code == 0, result.output
    assert len(drawn(project.folder / "here")) == 2


def test_of_several_numbers_the_one_that_fails_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DJ_ASSETS_STORE", str(tmp_path / "store"))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "clips.yaml").write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n"
        "  - video_exposure_filter:\n      max_bright_ratio: 0.5\n"
    )
    (tmp_path / "ds.jsonl").write_text('{"videos": ["white.mp4"]}\n')
    videos.write_video(tmp_path / "white.mp4", [np.full((64, 96, 3), 255, dtype=np.uint8)] * 3)
    _process(make_plan(load_recipe("recipes/clips.yaml")), Store(tmp_path / "store"), [tmp_path / "white.mp4"])
    result = dj_assets("evidence", "white.mp4", "--recipe", "clips")
    workers.close_pools()
    assert result.exit_code == 0, result.output
    assert "fails" in result.stdout and len(drawn(tmp_path / "out" / "res_evidence")) == 1
    step = make_plan(load_recipe("recipes/clips.yaml")).steps[0]
    [asked] = find_asked(Store(tmp_path / "store"), make_plan(load_recipe("recipes/clips.yaml")), "white.mp4")
    assert telling(step, asked.facts[step.key]).stat == "video_bright_ratio"
    assert telling(replace(step, ranges=()), asked.facts[step.key]).stat == "video_dark_ratio"


def test_a_hash_and_a_sample_id_mean_the_video(project: Project) -> None:
    sample = project.store.read_samples("clips", "ds-00000")[1]
    for name in (sample.sample_id, sample.videos[0].content_hash[:8]):
        result = dj_assets("evidence", name, "--recipe", "recipes/clips.yaml", "--operator", MOTION, "-o", name[:2])
        assert result.exit_code == 0, result.output
        assert len(drawn(project.folder / name[:2])) == 2
        assert "video_duration_filter" not in result.stdout


def test_what_was_never_measured_is_said_with_what_to_run(project: Project) -> None:
    videos.write_video(project.folder / "new.mp4", videos.numbered(num_frames=5))
    result = dj_assets("evidence", "new.mp4", "--recipe", "clips")
    assert result.exit_code == 3
    assert "dj-assets process recipes/clips.yaml" in result.stdout
    assert not project.evidence.exists()


def test_a_broken_file_is_a_line(project: Project) -> None:
    result = dj_assets("evidence", "broken.mp4", "--recipe", "clips")
    assert result.exit_code == 3
    assert "none: unreadable" in result.stdout and "Traceback" not in result.output


def test_bytes_that_are_gone_are_a_line(project: Project) -> None:
    content = project.store.read_samples("clips", "ds-00000")[0].videos[0].content_hash
    (project.folder / "moving.mp4").write_bytes((project.folder / "still.mp4").read_bytes())
    result = dj_assets("evidence", content, "--recipe", "clips")
    assert result.exit_code == 1
    assert "other bytes now" in " ".join(result.stdout.split())


def test_samples_of_a_recipe_are_drawn_by_outcome_and_beside_the_bounds(project: Project) -> None:
    result = dj_assets("evidence", "--recipe", "clips", "--kept", "1", "--dropped", "5", "--boundary", "1")
    assert result.exit_code == 0, result.output
    found = drawn(project.evidence)
    names = [file_name(sample_id) for sample_id in ("ds.jsonl:1", "ds.jsonl:2")]
    assert {name for name in found if name.startswith("kept/")} == {
        f"kept/{names[0]}_videos0_{MOTION}.jpg",
        f"kept/{names[0]}_videos0_{MOTION}.webp",
    }
    assert {name for name in found if name.startswith("dropped/")} == {
        f"dropped/{names[1]}_videos0_{MOTION}.jpg",
        f"dropped/{names[1]}_videos0_{MOTION}.webp",
    }
    assert "boundary/contact_sheet.jpg" in found
    assert f"boundary/{names[1]}_videos0_{MOTION}.jpg" in found


def test_one_step_of_several_can_be_asked_for(project: Project) -> None:
    """--operator once took the other steps out of the plan, whose shards then passed for decided under other bounds."""
    counts = ("--kept", "1", "--dropped", "1", "--boundary", "1")
    result = dj_assets("evidence", "--recipe", "clips", "--operator", MOTION, *counts)
    assert result.exit_code == 0, result.output
    found = drawn(project.evidence)
    assert {name.partition("/")[0] for name in found} == {"kept", "dropped", "boundary"}
    assert all(MOTION in name for name in found if name != "boundary/contact_sheet.jpg")


def test_of_a_path_that_a_later_sample_lists_again_the_first_copy_is_shown(project: Project) -> None:
    """A path listed again once took its last place, so another copy came first."""
    (project.folder / "copy.mp4").write_bytes((project.folder / "moving.mp4").read_bytes())
    names = ["moving.mp4", "copy.mp4", "moving.mp4"]
    _process(project.plan, project.store, [project.folder / name for name in names])
    content = project.store.read_samples("clips", "ds-00000")[0].videos[0].content_hash
    for asked in ("ds.jsonl:1", content):
        [found] = find_asked(project.store, project.plan, asked)
        assert Path(found.video.path).name == "moving.mp4", asked


def test_verdicts_of_other_bounds_are_not_explained(project: Project) -> None:
    path = project.folder / "recipes" / "clips.yaml"
    path.write_text(RECIPE.replace("min_score: 1.0", "min_score: 0.5"))
    result = dj_assets("evidence", "--recipe", "clips")
    assert result.exit_code == 1
    assert "decided under other bounds" in result.stderr and "dj-assets process" in result.stderr
    assert not project.evidence.exists()


WRONG = {
    "no such recipe": (("moving.mp4", "--recipe", "clip"), "there is no recipe 'clip'"),
    "no such step": (("moving.mp4", "--recipe", "clips", "--operator", "video_motion"), "is no step of clips"),
    "a video and a number": (("moving.mp4", "--recipe", "clips", "--kept", "1"), "VIDEO, or some of --kept"),
    "no such video": (("moved.mp4", "--recipe", "clips"), "nothing is known of 'moved.mp4'"),
}


@pytest.mark.parametrize(("arguments", "answer"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_right_exits_with_2(project: Project, arguments: tuple[str, ...], answer: str) -> None:
    result = dj_assets("evidence", *arguments)
    assert result.exit_code == 2
    assert answer in result.stderr and "\n  try: " in result.stderr
