"""A wrong operator version, found by its lineage and put right, on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dj_assets import operators, workers
from dj_assets.cli import command_line
from dj_assets_tests.videos import numbered, write_video

TALL_OPERATOR = '''
"""Height of the picture in pixels; version 1 takes the width for it."""
from dj_assets.operators._contract import Bound, NoParams, Operator, Stat

def read(info, params):
    return (float(info.size.width if {version} == 1 else info.size.height),)

OPERATOR = Operator(
    name="video_tall_filter", version={version}, summary="height in pixels", compute="header", params=NoParams,
    stats=(Stat("video_tall", unit="px"),), bounds=(Bound("min_tall", "video_tall", "min", 0.0, help="px"),),
    read=read,
)
'''

RECIPE = """\
dataset_path: {dataset}
export_path: out/{name}.jsonl
process:
  - {step}
"""


class Project:
    def __init__(self, folder: Path, package: Path) -> None:
        self.folder = folder
        self.package = package
        (folder / "recipes").mkdir()
        write_video(folder / "wide.mp4", numbered(num_frames=2, width=96, height=64))
        write_video(folder / "tall.mp4", numbered(num_frames=2, width=64, height=96))
        for dataset, names in (("ds", ["wide", "tall"]), ("other", ["wide"])):
            lines = [json.dumps({"videos": [f"{name}.mp4"]}) + "\n" for name in names]
            (folder / f"{dataset}.jsonl").write_text("".join(lines))
        self.write_recipe("tall", "ds", "video_tall_filter: {min_tall: 80}")
        self.write_recipe("any", "other", "video_resolution_filter: {min_width: 1}")

    def write_recipe(self, name: str, dataset: str, step: str) -> None:
        text = RECIPE.format(dataset=f"{dataset}.jsonl", name=name, step=step)
        (self.folder / "recipes" / f"{name}.yaml").write_text(text)

    def install(self, version: int) -> None:
        """A version of the operator, as after an upgrade and a restart."""
        module = self.package / "video_tall_filter.py"
        module.write_text(TALL_OPERATOR.replace("{version}", str(version)) + "#" * version)  # pyc files go by size
        workers.close_pools()
        sys.modules.pop("scratch_operators.video_tall_filter", None)
        operators.locations.cache_clear()
        operators.get.cache_clear()


@pytest.fixture
def project(tmp_path: Path, operator_package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    (tmp_path / "p").mkdir()
    monkeypatch.chdir(tmp_path / "p")
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield Project(tmp_path / "p", operator_package)
    workers.close_pools()


def dj_assets(*arguments: str) -> Result:
    result = CliRunner().invoke(command_line, arguments, prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_lineage_names_the_exports_and_reruns_them_and_says_which_verdicts_changed(project: Project) -> None:
    project.install(1)
    for name in ("tall", "any"):
        assert dj_assets("process", f"recipes/{name}.yaml").exit_code == 0
    kept = project.folder / "out" / "tall.jsonl"
    assert "wide.mp4" in kept.read_text()
    other = {path.name: path.stat().st_mtime_ns for path in kept.parent.glob("any*")}

    project.install(2)
    blamed = ("lineage", "--operator", "video_tall_filter", "--version", "1")
    result = dj_assets(*blamed)
    assert result.exit_code == 0, result.stderr
    assert str(kept) in result.stdout and "any.jsonl" not in result.stdout
    assert "wide.mp4" in kept.read_text()

    result = dj_assets(*blamed, "--rerun")
    assert result.exit_code == 0, result.stderr
    assert "tall: 1 shard measured again" in result.stdout
    assert "tall: 2 of 2 verdicts changed" in result.stdout
    changes = [line.split() for line in result.stdout.splitlines() if line.startswith("ds.jsonl:")]
    assert [line[0] for line in changes[-2:]] == ["ds.jsonl:1", "ds.jsonl:2"]
    assert [line[1] for line in changes[-2:]] == ["kept", "dropped"]
    assert "tall.mp4" in kept.read_text() and "wide.mp4" not in kept.read_text()
    assert {path.name: path.stat().st_mtime_ns for path in kept.parent.glob("any*")} == other

    result = dj_assets(*blamed)
    assert str(kept) not in result.stdout  # nothing rests on it any more


def test_what_one_run_measured_is_measured_again_and_nothing_else(project: Project) -> None:
    """It measured every video of the run's shards again, those of other runs included."""
    project.install(1)
    both = (project.folder / "ds.jsonl").read_text()
    (project.folder / "ds.jsonl").write_text(both.splitlines(keepends=True)[0])
    assert dj_assets("process", "recipes/tall.yaml").exit_code == 0
    first_run = "SELECT DISTINCT run_id FROM facts_log"
    run_id = json.loads(dj_assets("sql", first_run, "--format", "json").stdout)[0]["run_id"]
    (project.folder / "ds.jsonl").write_text(both)
    assert dj_assets("process", "recipes/tall.yaml").exit_code == 0

    result = dj_assets("lineage", "--run", run_id[:8], "--rerun")
    assert result.exit_code == 0, result.stderr
    times = "SELECT count(*) AS times FROM facts_log GROUP BY content_hash ORDER BY min(measured_at)"
    assert [line["times"] for line in json.loads(dj_assets("sql", times, "--format", "json").stdout)] == [2, 1]


def test_a_recipe_that_is_gone_is_said_in_three_parts(project: Project) -> None:
    project.install(1)
    assert dj_assets("process", "recipes/tall.yaml").exit_code == 0
    (project.folder / "recipes" / "tall.yaml").unlink()
    result = dj_assets("lineage", "--operator", "video_tall_filter", "--rerun")
    assert result.exit_code == 1
    assert "recipe tall is not in" in result.stderr and "allowed: any.yaml" in result.stderr


def test_what_cannot_be_rerun_is_refused(project: Project) -> None:
    result = dj_assets("lineage", "--video", "wide.mp4", "--rerun")
    assert result.exit_code == 2
    assert "--rerun beside --measure, --operator or --run" in result.stderr
