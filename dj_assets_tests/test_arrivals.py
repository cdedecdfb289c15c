"""Data drops of real videos that arrive one by one, out of order and twice: copies are told across all of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from dj_assets.cli import command_line
from dj_assets_tests.videos import numbered, write_video

RECIPE = """\
dataset_path: drops
export_path: out/res.jsonl
keep_stats_in_res_ds: true
process:
  - video_duration_filter: {min_duration: 0.2}
  - video_deduplicator: {}
  - video_resolution_filter: {min_width: 8, min_height: 8}
"""
FRAMES = {"cat": 6, "dog": 7, "elk": 8, "fly": 4}
"""At 24 frames a second: the fly is too short, and in nobody's way."""

DROPS = {"a": ["cat", "fly"], "b": ["dog", "cat", "elk"], "c": ["elk", "dog", "cat"]}
KEPT = ["a/cat", "b/dog", "b/elk"]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "recipes").mkdir(parents=True)
        (folder / "recipes" / "copies.yaml").write_text(RECIPE)

    def land(self, drop: str) -> None:
        """Deliver a drop: its videos, then its manifest. Again, too: files are written anew."""
        videos = self.folder / "drops" / drop
        shutil.rmtree(videos, ignore_errors=True)
        videos.mkdir(parents=True)
        lines = []
        for name in DROPS[drop]:
            write_video(videos / f"{name}.mp4", numbered(num_frames=FRAMES[name]))
            lines.append(json.dumps({"name": f"{drop}/{name}", "videos": [f"{drop}/{name}.mp4"]}) + "\n")
        (self.folder / "drops" / f"{drop}.jsonl").write_text("".join(lines))

    def process(self) -> None:
        with self._current():
            result = CliRunner().invoke(command_line, ["process", "recipes/copies.yaml"], prog_name="dj-assets")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output

    @contextmanager
    def _current(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
                patch.delenv(name, raising=False)
            patch.chdir(self.folder)
            yield

    def kept(self) -> list[str]:
        lines = (self.folder / "out" / "res.jsonl").read_text().splitlines()
        return [json.loads(line)["name"] for line in lines]

    def outputs(self) -> dict[str, str]:
        """Text of what was exported, with the project's own folder left out of paths."""
        files = sorted((self.folder / "out").glob("res*.jsonl"))
        return {path.name: path.read_text().replace(str(self.folder), "") for path in files}


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = Project(tmp_path_factory.mktemp("whole") / "p")
    for drop in DROPS:
        project.land(drop)
    project.process()
    assert project.kept() == KEPT
    return project.outputs()


@pytest.mark.parametrize("arrivals", ["cbaa", "bcba"])
def test_the_kept_set_is_that_of_one_go(tmp_path: Path, in_one_go: dict[str, str], arrivals: Sequence[str]) -> None:
    project = Project(tmp_path / "p")
    there: set[str] = set()
    for drop in arrivals:
        project.land(drop)
        there.add(drop)
        project.process()
        seen: dict[str, str] = {}
        for one in sorted(there):
            for name in DROPS[one]:
                if name != "fly":
                    seen.setdefault(name, f"{one}/{name}")
        assert project.kept() == sorted(seen.values(), key=_place)
    assert project.outputs() == in_one_go


def _place(name: str) -> tuple[str, int]:
    drop, _, animal = name.partition("/")
    return drop, DROPS[drop].index(animal)
