"""A step whose weights this machine lacks: told before anything is decoded, by every door, where it matters."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dj_assets.cli import command_line
from dj_assets.defs.assets import RecipeGraph
from dj_assets.defs.jobs import run_recipe
from dj_assets.operators import _weights
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import load_recipe
from dj_assets.store.store import Store
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip

SHARD = "ds-00000"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one video, and a recipe of a header filter, one on frames and one with a model."""
    for variable in (*_weights.FOLDER_VARIABLES, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DJ_ASSETS_STORE", str(tmp_path / "store"))
    clip(tmp_path / "a.mp4")
    (tmp_path / "ds.jsonl").write_text(json.dumps({"text": "<__dj__video>", "videos": ["a.mp4"]}) + "\n")
    (tmp_path / "recipes").mkdir()
    write_recipe(tmp_path)
    return tmp_path


def write_recipe(folder: Path, **options: str) -> None:
    given = "".join(f"      {name}: {value}\n" for name, value in options.items())
    (folder / "recipes" / "r.yaml").write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n  - video_duration_filter:\n"
        f"  - video_motion_score_filter: {{min_score: 0}}\n  - video_nsfw_filter:\n      max_score: 1\n{given}"
    )


def plan() -> Plan:
    return make_plan(load_recipe("recipes/r.yaml"))


def dj_assets(*arguments: str) -> Result:
    return CliRunner().invoke(command_line, arguments, prog_name="dj-assets")


def measured(folder: Path) -> list[str]:
    """Operators that the store holds numbers of; the probe is what any pass writes down of a video."""
    return sorted({path.parent.parent.name for path in (folder / "store" / "measures").glob("*/*/*.parquet")})


def test_check_calls_it_a_warning(project: Path) -> None:
    result = dj_assets("check", "recipes/r.yaml")
    assert result.exit_code == 0
    assert "warning: video_nsfw_filter: the weights of Falconsai/nsfw_image_detection are not" in result.output
    assert "weights_folder" in result.output


def test_process_stops_before_anything_is_opened(project: Path) -> None:
    result = dj_assets("process", "recipes/r.yaml")
    assert result.exit_code == 1
    assert "video_nsfw_filter: the weights of" in result.output and "  try: set weights_folder" in result.output
    assert not (project / "store" / "measures").exists()


def test_a_run_in_dagster_stops_at_its_first_pass_and_says_what_to_set(project: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        report = run_recipe(plan(), instance=instance, store_root=project / "store")
    [failed] = report.failed
    assert "video_nsfw_filter: the weights of" in failed.failure and "try: set weights_folder" in failed.failure
    assert measured(project) == [], "nothing was decoded, the filter on frames included"


def test_a_run_that_does_not_ask_for_the_step_goes_on(project: Path) -> None:
    made = plan()
    graph = RecipeGraph(made)
    wanted = [graph.samples, *(graph.stats(step) for step in made.steps[:2])]
    with dg.DagsterInstance.ephemeral() as instance:
        report = run_recipe(made, instance=instance, store_root=project / "store", selection=wanted)
    assert report.success
    assert measured(project) == ["probe", "video_duration_filter", "video_motion_score_filter"]


def test_known_numbers_need_no_weights(project: Path) -> None:
    commit = "7" * 40
    repository = project / "hub" / "models--Falconsai--nsfw_image_detection"
    tiny_models.vit(repository / "snapshots" / commit)
    write_recipe(project, revision=f'"{commit}"', weights_folder="hub")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_recipe(plan(), instance=instance, store_root=project / "store").success
    repository.rename(project / "gone")
    made = plan()
    [_, _, step] = made.steps
    assert step.lacks is not None
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_recipe(made, instance=instance, store_root=project / "store").success
    [row] = Store(project / "store").read_stats("r", step.key, SHARD)
    assert row.reused and row.fact.value is not None
    clip(project / "b.mp4", seed=1)
    (project / "ds.jsonl").write_text(json.dumps({"text": "", "videos": ["b.mp4"]}) + "\n")
    with dg.DagsterInstance.ephemeral() as instance:
        report = run_recipe(made, instance=instance, store_root=project / "store")
    assert report.failed and "not on this machine" in report.failed[0].failure


def test_a_mapper_without_its_weights_stops_the_stage_before_it(project: Path) -> None:
    (project / "recipes" / "r.yaml").write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n  - video_motion_score_filter: {min_score: 0}\n"
        "  - video_captioning_from_frames_mapper: {keep_original_sample: false}\n"
    )
    with dg.DagsterInstance.ephemeral() as instance:
        report = run_recipe(plan(), instance=instance, store_root=project / "store")
    assert "video_captioning_from_frames_mapper: the weights of" in report.failed[0].failure
    assert measured(project) == []


def test_a_mapper_with_its_weights_gives_words(project: Path) -> None:
    tiny_models.blip2(project / "blip2")
    (project / "recipes" / "r.yaml").write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n  - video_captioning_from_frames_mapper:\n"
        "      {keep_original_sample: false, hf_img2seq: ./blip2, max_new_tokens: 4}\n"
    )
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_recipe(plan(), instance=instance, store_root=project / "store").success
    [line] = (project / "out" / "res.jsonl").read_text().splitlines()
    text = json.loads(line)["text"]
    assert text.startswith("<__dj__video> ") and ". " in text
