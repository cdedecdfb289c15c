"""What the commands say of a recipe with mappers and a choice among all samples, before and after it has run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dj_assets.cli import command_line
from dj_assets_tests.videos import numbered, write_video

RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
process:
  - video_duration_filter: {min_duration: 0.3}
  - topk_specified_field_selector: {field_key: rank, topk: 1}
  - video_resize_resolution_mapper: {max_width: 32}
  - video_resolution_filter: {min_width: 8, min_height: 8}
"""
"""Of clips of 6, 12, 13 and 14 frames at 24 fps the first is too short, and the last stays."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME", "DJ_PRODUCED_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    lines = []
    for rank, frames in enumerate((6, 12, 13, 14), start=1):
        write_video(tmp_path / f"v{rank}.mp4", numbered(num_frames=frames))
        lines.append(json.dumps({"rank": rank, "videos": [f"v{rank}.mp4"]}) + "\n")
    (tmp_path / "ds.jsonl").write_text("".join(lines))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "r.yaml").write_text(RECIPE)
    return tmp_path


def dj_assets(*arguments: str) -> Result:
    result = CliRunner().invoke(command_line, arguments, prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def foretold() -> str:
    """The line of the mapper in `plan`, and the one after it."""
    lines = dj_assets("plan", "recipes/r.yaml").stdout.splitlines()
    [at] = [place for place, line in enumerate(lines) if line.startswith("step 3, video_resize_resolution_mapper")]
    return "\n".join(lines[at : at + 2])


def test_plan_knows_whom_the_choice_has_let_go(project: Path) -> None:
    assert "makes 0 videos anew, and 4 only if no step before it drops them, 0 made before" in foretold()
    assert dj_assets("process", "recipes/r.yaml").exit_code == 0
    assert "makes 0 videos anew, 1 made before" in foretold()
    assert "1 sample made so far" in foretold()

    recipe = project / "recipes" / "r.yaml"
    recipe.write_text(RECIPE.replace("topk: 1", "topk: 2"))
    told = foretold()
    assert "makes 0 videos anew, and 2 only if no step before it drops them, 1 made before" in told
    assert "what it makes of 3 samples is known once it has run" in told


def test_evidence_asks_of_a_video_only_what_its_own_stage_looks_at(project: Path) -> None:
    assert dj_assets("process", "recipes/r.yaml").exit_code == 0
    result = dj_assets("evidence", "v4.mp4", "--recipe", "recipes/r.yaml")
    assert result.exit_code == 0, result.output
    assert "not measured" not in result.stdout
    assert "not asked: it looks at what video_resize_resolution_mapper" in " ".join(result.stdout.split())
    [clip] = project.rglob("v4__dj_*.mp4")
    result = dj_assets("evidence", str(clip), "--recipe", "recipes/r.yaml", "--operator", "video_duration_filter")
    assert result.exit_code == 0, result.output
    assert "not asked: it looks at the dataset's own videos" in " ".join(result.stdout.split())
