"""One recipe of every kind of step (on records, headers and frames, a mapper, a choice among all) as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dj_assets import feed, produce, workers
from dj_assets.cli import command_line
from dj_assets_tests import videos
from dj_assets_tests.test_curation import FPS, moving, still

RECIPE = """
dataset_path: drops
export_path: out/res.jsonl
keep_stats_in_res_ds: true
process:
  - words_num_filter: {min_num: 2}
  - video_duration_filter: {min_duration: 1.5}
  - video_split_by_scene_mapper: {clip_per_sample: true}
  - video_motion_score_filter: {min_score: 0.5}
  - video_deduplicator:
"""
TOKEN = "<__dj__video>"
DUPLICATE = re.compile(r"a copy of (\S+), which comes first")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`film` of two shots, `again` of its first and of one in which nothing moves, `brief`, and `untold`."""
    folder = tmp_path_factory.mktemp("films")
    made = {
        "film": moving(1) + moving(2, dark=True),
        "again": moving(1) + still(3),
        "brief": moving(4)[:FPS],
        "untold": moving(5),
    }
    for name, frames in made.items():
        videos.write_video(folder / f"{name}.mp4", frames, fps=FPS, options={"preset": "ultrafast", "qp": "0"})
    return folder


@pytest.fixture
def project(tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.yaml").write_text(RECIPE)
    (tmp_path / "drops").mkdir()
    for film in films.iterdir():
        (tmp_path / "drops" / film.name).write_bytes(film.read_bytes())
    land(tmp_path, "a.jsonl", film="a film of two shots", brief="it is brief")
    land(tmp_path, "b.jsonl", untold="", again="the first shot again")
    return tmp_path


def land(project: Path, drop: str, **captions: str) -> None:
    lines = [
        json.dumps({"text": f"{TOKEN} {words}".strip(), "videos": [f"{name}.mp4"]}) for name, words in captions.items()
    ]
    (project / "drops" / drop).write_text("".join(f"{line}\n" for line in lines))


def run(*arguments: str) -> str:
    """What `dj-assets` prints, having succeeded."""
    result = CliRunner().invoke(command_line, list(arguments), prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def records(project: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "out" / name).read_text(encoding="utf-8").splitlines()]


def verdicts(project: Path, name: str) -> dict[str, dict[str, Any]]:
    found = [record["__dj__verdict__"] for record in records(project, name)]
    return {verdict["sample_id"]: verdict for verdict in found}


def test_each_kind_drops_what_it_is_for(project: Path) -> None:
    run("process", "clips.yaml")
    kept = records(project, "res.jsonl")
    assert [Path(record["__dj__source_file__"][0]).stem for record in kept] == ["film", "film"]
    assert [record["text"] for record in kept] == [f"{TOKEN} a film of two shots"] * 2
    assert all(record["__dj__stats__"].keys() == {"video_motion_score"} for record in kept)
    before = verdicts(project, "res_stage1_dropped.jsonl")
    assert {one: verdict["step"] for one, verdict in before.items()} == {
        "a.jsonl:2": "video_duration_filter",
        "b.jsonl:1": "words_num_filter",
    }
    after = verdicts(project, "res_dropped.jsonl")
    assert {one: verdict["step"] for one, verdict in after.items()} == {
        "b.jsonl:2#1": "video_deduplicator",
        "b.jsonl:2#2": "video_motion_score_filter",
    }
    assert after["b.jsonl:2#1"]["in_favour_of"] == "a.jsonl:1#1"


def test_a_second_run_hands_no_video_to_any_worker_and_writes_no_second_copy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("process", "clips.yaml")
    outputs = {path.name: path.read_bytes() for path in (project / "out").iterdir()}
    clips = {path: path.stat().st_mtime_ns for path in project.rglob("*.mp4")}
    assert len(clips) == 4 + 4, "two shots of either film that was cut"

    def no_worker(*task: Any, **rest: Any) -> None:
        raise AssertionError(f"a worker was asked: {task}")

    for module in (workers, produce, feed):
        monkeypatch.setattr(module, "schedule", no_worker)
    printed = run("process", "clips.yaml")
    assert re.search(r"video_motion_score_filter +0 +4 ", printed), printed
    assert {path.name: path.read_bytes() for path in (project / "out").iterdir()} == outputs
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*.mp4")} == clips


def test_a_drop_that_comes_before_the_others_takes_over_and_no_clip_is_cut_again(project: Path) -> None:
    run("process", "clips.yaml")
    clips = {path: path.stat().st_mtime_ns for path in project.rglob("*.mp4")}
    land(project, "0.jsonl", again="the same film, sooner in the dataset")
    run("process", "clips.yaml")
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*.mp4")} == clips
    assert [(r["text"], Path(r["__dj__source_file__"][0]).stem) for r in records(project, "res.jsonl")] == [
        (f"{TOKEN} the same film, sooner in the dataset", "again"),
        (f"{TOKEN} a film of two shots", "film"),
    ]
    after = verdicts(project, "res_dropped.jsonl")
    copies = {one: verdict["reason"] for one, verdict in after.items() if verdict["step"] == "video_deduplicator"}
    assert {one: DUPLICATE.fullmatch(reason)[1] for one, reason in copies.items()} == {  # type: ignore[index]
        "a.jsonl:1#1": "0.jsonl:1#1",
        "b.jsonl:2#1": "0.jsonl:1#1",
    }


def test_why_and_rebuild_know_every_kind(project: Path) -> None:
    run("process", "clips.yaml")
    told = run("why", "b.jsonl:2#1", "--recipe", "clips")
    assert "dropped by video_deduplicator: a copy of a.jsonl:1#1, which comes first" in told
    assert "was made of b.jsonl:2 (clips__1) by video_split_by_scene_mapper" in told
    told = run("why", "b.jsonl:1", "--recipe", "clips")
    assert "dropped by words_num_filter" in told
    (project / "out" / "res.jsonl").unlink()
    run("rebuild", "out/res_manifest.json")
    assert len(records(project, "res.jsonl")) == 2
    (project / "out" / "res_stage1.jsonl").unlink()
    run("rebuild", "out/res_stage1_manifest.json")
    assert [Path(*record["videos"]).stem for record in records(project, "res_stage1.jsonl")] == ["film", "again"]
