"""recipes/video_curation.yaml: of what is cut from four videos, the one clip stays that every step lets pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from dj_assets.cli import command_line
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets_tests import videos
from dj_assets_tests.upstream.project import VIDEO, skip_unless_built

RECIPE = Path(__file__).parents[1] / "recipes" / "video_curation.yaml"
HEIGHT, WIDTH, FPS = 288, 320, 24


def moving(seed: int, *, dark: bool = False) -> list[videos.Picture]:
    """Two seconds of a picture that moves by 4 px from one sampled frame to the next."""
    picture = videos.texture(height=HEIGHT, width=WIDTH, seed=seed) // (4 if dark else 1)
    return [np.roll(picture, index // 3, axis=1) for index in range(2 * FPS)]


def still(seed: int) -> list[videos.Picture]:
    """Two seconds of one bright picture."""
    return [255 - videos.texture(height=HEIGHT, width=WIDTH, seed=seed) // 4] * (2 * FPS)


def with_words(frames: list[videos.Picture]) -> list[videos.Picture]:
    """The same under credits that fill the picture."""
    import cv2

    written = []
    for frame in frames:
        page = frame.copy()
        for line in range(6):
            cv2.putText(
                page, "DIRECTED BY NOBODY", (4, 42 + 44 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.95, (255, 255, 255), 2
            )
        written.append(page)
    return written


def write_films(folder: Path, films: Mapping[str, Sequence[videos.Picture]]) -> None:
    """A lossless video of each, and `ds.jsonl`, which lists them in this order."""
    for name, frames in films.items():
        videos.write_video(folder / f"{name}.mp4", frames, fps=FPS, options={"preset": "ultrafast", "qp": "0"})
    lines = [json.dumps({"text": VIDEO, "videos": [f"{name}.mp4"]}) + "\n" for name in films]
    (folder / "ds.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe, over videos that each have something to drop."""
    skip_unless_built(*(name for step in yaml.safe_load(RECIPE.read_text())["process"] for name in step))
    films = {
        "short": moving(1)[:FPS],
        "two_shots": moving(1, dark=True) + still(2),
        "the_same_shot": moving(1, dark=True) + still(3),
        "credits": with_words(moving(4, dark=True)),
    }
    write_films(tmp_path, films)
    (tmp_path / "recipes").mkdir()
    shutil.copy(RECIPE, tmp_path / "recipes")
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def process(project: Path) -> list[dict]:
    result = CliRunner().invoke(command_line, ["process", "recipes/video_curation.yaml"], prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    exported = project / "outputs" / "video_curation_output" / "res.jsonl"
    return [json.loads(line) for line in exported.read_text(encoding="utf-8").splitlines()]


def test_it_says_what_it_means(project: Path) -> None:
    plan = make_plan(load_recipe("recipes/video_curation.yaml"))
    assert plan.warnings == ()
    assert plan.notes == ()


@pytest.mark.weights
def test_one_clip_of_four_videos_stays_and_a_second_run_makes_nothing(project: Path) -> None:
    [kept] = process(project)
    [clip] = kept["videos"]
    assert Path(clip).name.startswith("two_shots")
    assert kept["__dj__stats__"]["video_duration_2"] == [pytest.approx(2.0)]
    files = {path: path.stat().st_mtime_ns for path in project.rglob("*.mp4")}
    assert process(project) == [kept]
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*.mp4")} == files
