"""`dj-assets rebuild` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dj_assets import workers
from dj_assets.cli import command_line
from dj_assets_tests.videos import cut_short, numbered, write_video

RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
keep_stats_in_res_ds: true
process:
  - video_duration_filter: {min_duration: 0.75}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a recipe over a clip that is too short, one that passes, half a file and none."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "length.yaml").write_text(RECIPE)
    (tmp_path / "vids").mkdir()
    write_video(tmp_path / "vids" / "short.mp4", numbered(num_frames=12), fps=24)
    write_video(tmp_path / "vids" / "long.mp4", numbered(num_frames=24), fps=24)
    cut_short(tmp_path / "vids" / "long.mp4", tmp_path / "vids" / "cut.mp4")
    records = [{"videos": [f"vids/{name}.mp4"]} for name in ("short", "long", "cut", "none")]
    (tmp_path / "ds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.chdir(tmp_path)
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def dj_assets(*arguments: str) -> Result:
    result = CliRunner().invoke(command_line, arguments, prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_same_bytes_with_dataset_videos_and_recipe_gone(project: Path) -> None:
    """Nothing is decoded: there is nothing left that could be."""
    assert dj_assets("process", "recipes/length.yaml").exit_code == 3
    workers.close_pools()
    before = {path.name: path.read_bytes() for path in (project / "out").iterdir()}
    for path in [project / "ds.jsonl", project / "recipes" / "length.yaml", *(project / "vids").iterdir()]:
        path.unlink()

    result = dj_assets("rebuild", "out/res_manifest.json", "-o", "again")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("the same bytes") == 3
    assert {path.name: path.read_bytes() for path in (project / "again").iterdir()} == before

    manifest = json.loads((project / "out" / "res_manifest.json").read_text())
    manifest["files"][0]["sha256"] = "0" * 64
    (project / "out" / "res_manifest.json").write_text(json.dumps(manifest))
    result = dj_assets("rebuild", "out/res_manifest.json")
    assert result.exit_code == 1
    assert "other bytes than the manifest promises: kept" in result.stderr and "try: -o DIR" in result.stderr
