"""`dj-assets rerun` as a user meets it; what it measures is tested in defs/test_rerun.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dj_assets import workers
from dj_assets.cli import command_line
from dj_assets.cli.rerun import read_statuses
from dj_assets.errors import RecipeError
from dj_assets_tests.videos import numbered, write_video

RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
process:
  - video_duration_filter: {min_duration: 0.75}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory: a recipe over a clip of 1 s, and one that is not there."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "length.yaml").write_text(RECIPE)
    write_video(tmp_path / "here.mp4", numbered(num_frames=24), fps=24)
    records = [{"videos": ["here.mp4"]}, {"videos": ["late.mp4"]}]
    (tmp_path / "ds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.chdir(tmp_path)
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    workers.close_pools()


def dj_assets(*arguments: str) -> Result:
    result = CliRunner().invoke(command_line, arguments, prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_it_says_what_it_would_retry_retries_it_and_says_what_changed(project: Path) -> None:
    result = dj_assets("rerun", "--status", "missing")
    assert result.exit_code == 0
    assert "length: 0 videos to retry in 0 shards" in result.stdout
    assert "shard ds-00000 is left out: video_duration_filter was never measured" in result.stdout

    assert dj_assets("process", "recipes/length.yaml").exit_code == 3
    result = dj_assets("rerun", "--status", "missing,crashed", "--dry-run")
    assert result.exit_code == 0
    assert "length: 1 video to retry in 1 shard" in result.stdout
    assert len((project / "out" / "res.jsonl").read_text().splitlines()) == 1

    result = dj_assets("rerun", "--status", "missing")
    assert result.exit_code == 3
    assert "length: 2 verdicts compared, none changed" in result.stdout

    write_video(project / "late.mp4", numbered(num_frames=20), fps=24)
    result = dj_assets("rerun", "--status", "missing", "--recipe", "recipes/length.yaml")
    assert result.exit_code == 0, result.stderr
    assert "undecided: missing" in result.stdout and "ds.jsonl:2" in result.stdout
    assert "length: 1 of 2 verdicts changed" in result.stdout
    assert len((project / "out" / "res.jsonl").read_text().splitlines()) == 2


def test_a_recipe_that_cannot_be_right_stops_no_other(project: Path) -> None:
    (project / "recipes" / "broken.yaml").write_text(RECIPE.replace("video_duration_filter", "video_length_filter"))
    result = dj_assets("rerun", "--status", "crashed", "--dry-run")
    assert result.exit_code == 2
    assert "video_length_filter" in result.stderr and "length: 0 videos" in result.stdout


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("slow", "rerun --status crashed,timed_out"),
        ("crashed,malformed", "mend the line"),
        ("skipped", "loosen the bounds"),
        ("ok", "it is a number"),
        (" , ", "rerun --status crashed,timed_out"),
    ],
    ids=["no status", "malformed", "skipped", "ok", "none"],
)
def test_statuses_that_cannot_be_retried_are_refused(text: str, remedy: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_statuses(text)
    assert "timed_out" in caught.value.allowed and remedy in caught.value.try_


def test_statuses_may_be_written_with_hyphens() -> None:
    assert read_statuses("timed-out, crashed,timed_out") == ("timed_out", "crashed")
