"""`tune` says what it reads, and what cannot be before it reads. The page has tests of its own."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from dj_assets.cli import tune
from dj_assets.cli.console import console
from dj_assets.columns import STATUS_NAMES
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets.store.store import Store
from dj_assets_tests.cli.project_store import dj_assets
from dj_assets_tests.videos import numbered, write_video

RECIPE = (
    "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n  - video_duration_filter: {min_duration: 0.3}\n"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJ_ASSETS_STORE", raising=False)
    (tmp_path / "r.yaml").write_text(RECIPE)
    for frames in (6, 12):
        write_video(tmp_path / f"{frames}.mp4", numbered(num_frames=frames))
    (tmp_path / "ds.jsonl").write_text("".join(json.dumps({"videos": [f"{n}.mp4"]}) + "\n" for n in (6, 12)))
    return tmp_path


def test_overrides_are_refused_since_bounds_are_written_back(project: Path) -> None:
    result = dj_assets("tune", "r.yaml", "--video_duration_filter.min_duration", "2")
    assert result.exit_code == 2 and "a recipe as its file is" in result.output


def test_a_taken_port_is_said_before_anything_is_read(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = dj_assets("tune", "r.yaml", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 1 and "cannot listen on 127.0.0.1" in result.output and "--port 0" in result.output
    assert "sample" not in result.output


def test_a_recipe_that_was_never_run_shows_its_dataset_with_what_is_known(project: Path) -> None:
    plan, store = make_plan(load_recipe("r.yaml")), Store(project / "store")
    found = tune._columns(plan, store, console())
    [step] = found.steps.values()
    assert found.num_samples == 2
    assert [STATUS_NAMES[code] for code in step.statuses[0]] == ["not_measured", "not_measured"]


def test_without_runs_and_without_a_dataset_it_says_what_is_missing(project: Path) -> None:
    (project / "ds.jsonl").unlink()
    result = dj_assets("tune", "r.yaml", "--port", "0")
    assert result.exit_code == 2 and "does not exist" in result.output and "try:" in result.output


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("127.0.0.1", {"127.0.0.1", "localhost"}),
        ("192.0.2.7", {"192.0.2.7", "127.0.0.1", "localhost"}),
        ("0.0.0.0", {"*"}),
    ],
)
def test_it_answers_under_its_own_names_and_warns_where_others_reach_it(host: str, names: set[str]) -> None:
    assert set(tune._hosts(host)) == names
    assert bool(tune._warnings(host)) == (host != "127.0.0.1")
