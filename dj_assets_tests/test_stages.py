"""A recipe that splits videos and filters the pieces, with the real mapper, in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.reruns import DURATION, MOTION, Counted, Project, ours
from dj_assets.samples import PRODUCED_FOLDER
from dj_assets.store.lineage import explain
from dj_assets.store.store import Store
from dj_assets_tests.videos import shifting, texture, write_video

SPLIT = "video_split_by_duration_mapper"
NUM_VIDEOS = 6
SPLIT_AND_MOTION = [
    {DURATION: {"min_duration": 0.1}},
    {SPLIT: {"split_duration": 0.5, "keep_original_sample": False, "clip_per_sample": True}},
    {MOTION: {"min_score": 0.5}},
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Clips of one second: the first half of each stands still, the second moves."""
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME", "DJ_PRODUCED_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    videos = [half_moving(tmp_path / f"clip{number}.mp4", number) for number in range(NUM_VIDEOS)]
    return Project(tmp_path / "project", videos, {"split": SPLIT_AND_MOTION})


def half_moving(path: Path, seed: int) -> Path:
    picture = texture(height=48, width=64, seed=seed)
    return write_video(path, [picture] * 12 + shifting(picture, num_frames=12, pixels_per_frame=2), fps=24)


def products(project: Project) -> dict[str, int]:
    """Files that the mapper made → time of their change."""
    folder = project.folder / "vids" / PRODUCED_FOLDER
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.*"))}


def lines(project: Project, name: str) -> list[dict]:
    path = project.folder / "outputs" / "split" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_pieces_are_made_once_measured_once_and_known_by_their_parents(project: Project) -> None:
    first = project.run(ours(), "split")
    sources = {str(project.folder / "vids" / f"clip{number}.mp4") for number in range(NUM_VIDEOS)}
    made = products(project)
    assert len(made) == 2 * NUM_VIDEOS
    assert sources < first.decoded and len(first.decoded) == len(sources) + len(made)
    kept = lines(project, "res")
    assert [Path(line["videos"][0]).stem.endswith("_12-24") for line in kept] == [True] * NUM_VIDEOS, "what moves"
    assert [line["__dj__source_file__"][0] for line in kept] == sorted(sources)
    assert len(lines(project, "res_dropped")) == NUM_VIDEOS

    nothing = Counted(frozenset(), frozenset())
    assert project.run(ours(), "split") == nothing, "not even opened"
    assert products(project) == made

    project.set_option("split", MOTION, min_score=0.0)
    project.set_option("split", DURATION, min_duration=0.2)
    assert project.run(ours(), "split") == nothing, "bounds before and after the mapper"
    assert len(lines(project, "res")) == 2 * NUM_VIDEOS
    assert products(project) == made

    project.copy(0, "copied/copy.mp4")
    assert project.run(ours(), "split") == nothing, "known by its bytes, and so are its pieces"
    assert products(project) == made and len(lines(project, "res")) == 2 * NUM_VIDEOS + 2

    story = explain(Store(project.folder / ".dj_assets" / "store").root, lines(project, "res")[1]["videos"][0])
    [hop] = [origin for origin in story.origins if origin.sample_id == "ds.jsonl:1#2"]
    [piece] = hop.products
    assert (piece["begin_seconds"], piece["end_seconds"]) == (0.5, 1.0)
    assert piece["parent_path"] == str(project.folder / "vids" / "clip0.mp4")
    assert (hop.parent_id, hop.parent_recipe, hop.mapper) == ("ds.jsonl:1", "split__1", SPLIT)
    assert json.loads(hop.params or "")["split_duration"] == 0.5


def test_a_product_that_is_gone_is_made_again_and_no_other(project: Project) -> None:
    project.run(ours(), "split")
    made = products(project)
    victim = next(name for name in made if "clip3" in name)
    before = (project.folder / "vids" / PRODUCED_FOLDER / victim).read_bytes()
    (project.folder / "vids" / PRODUCED_FOLDER / victim).unlink()
    again = project.run(ours(), "split")
    assert [Path(path).name for path in again.decoded] == ["clip3.mp4"]
    now = products(project)
    assert now.keys() == made.keys()
    assert [name for name in made if now[name] != made[name]] == [victim]
    assert (project.folder / "vids" / PRODUCED_FOLDER / victim).read_bytes() == before, (
        "the same bytes, the same numbers"
    )


def test_a_half_file_under_the_name_of_a_product_is_no_product(project: Project) -> None:
    """Nothing vouches for it: a copy that broke off, a store that was lost."""
    project.run(ours(), "split")
    folder = project.folder / "vids" / PRODUCED_FOLDER
    victim = sorted(folder.rglob("*.mp4"))[0]
    whole = victim.read_bytes()
    shutil.rmtree(project.folder / ".dj_assets")
    victim.write_bytes(whole[: len(whole) // 2])
    project.run(ours(), "split")
    assert victim.read_bytes() == whole


def test_a_run_killed_in_the_middle_of_its_mapper_is_finished_by_the_next(project: Project, tmp_path: Path) -> None:
    command, environment = project.ready(ours(), "split", counted=False)
    killed = 0
    for most in (1, NUM_VIDEOS):
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while process.poll() is None and len(products(project)) < most and time.monotonic() < end:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed, "at least one kill met the run at work"
    project.run(ours(), "split")
    after = products(project)

    undisturbed = Project(tmp_path / "undisturbed", [], {"split": SPLIT_AND_MOTION})
    for number in range(NUM_VIDEOS):
        undisturbed.append(project.folder / "vids" / f"clip{number}.mp4")
    undisturbed.run(ours(), "split")
    whole = {name for name in after if not Path(name).name.startswith(".")}
    assert whole == products(undisturbed).keys(), "nothing twice, nothing lost"
    ids = [line["__dj__verdict__"]["sample_id"] for line in lines(project, "res_dropped")]
    assert ids == [line["__dj__verdict__"]["sample_id"] for line in lines(undisturbed, "res_dropped")]
    assert len(lines(project, "res")) == len(lines(undisturbed, "res")) == NUM_VIDEOS
