"""What Dagster loads: every recipe of a project, a broken one among them, and the two files that point to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from dj_assets.defs.recipes import build_project_defs

PROJECT = Path(__file__).parents[1]

GOOD = """\
dataset_path: ds.jsonl
export_path: outputs/res.jsonl
process:
  - video_duration_filter:
      min_duration: 1
  - video_ocr_area_ratio_filter:
      max_area_ratio: 0.2
"""
BROKEN = """\
dataset_path: ds.jsonl
export_path: outputs/res.jsonl
process:
  - video_motion_scor_filter:
      min_score: 2.0
"""


def write_recipes(root: Path, **texts: str) -> None:
    (root / "recipes").mkdir()
    for name, text in texts.items():
        (root / "recipes" / f"{name}.yaml").write_text(text, encoding="utf-8")


def asset_names(defs: dg.Definitions) -> set[str]:
    defs.get_repository_def().load_all_definitions()  # as a code server does: ops and jobs may not share a name
    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DJ_ASSETS_DEVICE", "cpu")
    monkeypatch.delenv("DJ_ASSETS_STORE", raising=False)
    monkeypatch.chdir(tmp_path)


def test_asset_keys(tmp_path: Path) -> None:
    write_recipes(tmp_path, good=GOOD)
    assert asset_names(build_project_defs(tmp_path)) == {
        "good/samples",
        "good/stats/video_duration_filter",
        "good/stats/video_ocr_area_ratio_filter",
        "good/filtered",
        "good/export",
        "good/evidence",
        "good/analysis",
    }


def test_specs(tmp_path: Path) -> None:
    """What the UI shows of each asset. Code versions are digests; only that they are there is shown here."""
    write_recipes(tmp_path, good=GOOD)
    graph = build_project_defs(tmp_path).resolve_asset_graph()
    found: dict[str, Any] = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        found[key.to_user_string()] = {
            "group": node.group_name,
            "parents": sorted(parent.to_user_string() for parent in node.parent_keys),
            "partitions": getattr(node.partitions_def, "name", None),
            "kinds": sorted(tag.removeprefix("dagster/kind/") for tag in node.tags if "kind" in tag),
            "tags": {name: value for name, value in node.tags.items() if name.startswith("dj_assets/")},
            "checks": sorted(check.name for check in node.check_keys),
            "pools": sorted(node.pools or ()),
            "columns": "dagster/column_schema" in node.metadata,
            "code reference": "dagster/code_references" in node.metadata,
        }
        assert node.code_version and node.description
    common = {"group": "good", "partitions": "good_shards", "code reference": True}
    recipe = {"dj_assets/recipe": "good"}
    duration, ocr = "video_duration_filter", "video_ocr_area_ratio_filter"
    assert found == {
        "good/samples": {
            **common,
            "parents": [],
            "kinds": ["parquet", "video"],
            "tags": recipe,
            "checks": ["samples_equal_manifest_lines"],
            "pools": [],
            "columns": True,
        },
        f"good/stats/{duration}": {
            **common,
            "parents": ["good/samples"],
            "kinds": ["header", "parquet"],
            "tags": {**recipe, "dj_assets/operator": duration, "dj_assets/compute": "header"},
            "checks": ["medians_like_other_shards", "numbers_in_stated_range", "rows_equal_videos"],
            "pools": ["cpu"],
            "columns": True,
        },
        f"good/stats/{ocr}": {
            **common,
            "parents": ["good/samples", f"good/stats/{duration}"],
            "kinds": ["gpu", "parquet"],
            "tags": {**recipe, "dj_assets/operator": ocr, "dj_assets/compute": "gpu"},
            "checks": ["medians_like_other_shards", "numbers_in_stated_range", "rows_equal_videos"],
            "pools": ["gpu"],
            "columns": True,
        },
        "good/filtered": {
            **common,
            "parents": ["good/samples", f"good/stats/{duration}", f"good/stats/{ocr}"],
            "kinds": ["parquet"],
            "tags": recipe,
            "checks": [
                "few_undecided",
                "keep_rate_like_other_shards",
                "nothing_skipped_in_vain",
                "something_kept",
                "verdicts_equal_samples",
            ],
            "pools": [],
            "columns": True,
        },
        "good/export": {
            **common,
            "parents": ["good/filtered"],
            "kinds": ["json"],
            "tags": recipe,
            "checks": ["export_lines_equal_samples", "export_lines_equal_verdicts"],
            "pools": [],
            "columns": False,
        },
        "good/evidence": {
            **common,
            "parents": ["good/filtered"],
            "kinds": ["jpeg"],
            "tags": {**recipe, "dj_assets/on_demand": "true"},
            "checks": [],
            "pools": ["cpu"],
            "columns": False,
        },
        "good/analysis": {
            **common,
            "partitions": None,
            "parents": ["good/samples", f"good/stats/{duration}", f"good/stats/{ocr}"],
            "kinds": ["html"],
            "tags": recipe,
            "checks": [],
            "pools": [],
            "columns": False,
        },
    }


def test_owners_and_the_code_behind_each_step(tmp_path: Path) -> None:
    write_recipes(tmp_path, good=GOOD + "dj_assets:\n  owners: [video@example.org, 'team:video']\n")
    graph = build_project_defs(tmp_path).resolve_asset_graph()
    assert {tuple(graph.get(key).owners) for key in graph.get_all_asset_keys()} == {("video@example.org", "team:video")}
    node = graph.get(dg.AssetKey(["good", "stats", "video_duration_filter"]))
    references = node.metadata["dagster/code_references"].code_references
    assert [Path(one.file_path).name for one in references] == ["good.yaml", "video_duration_filter.py"]
    assert [one.line_number for one in references] == [4, None]


def test_descriptions_show_the_step_as_the_recipe_spells_it(tmp_path: Path) -> None:
    write_recipes(tmp_path, good=GOOD)
    graph = build_project_defs(tmp_path).resolve_asset_graph()
    description = graph.get(dg.AssetKey(["good", "stats", "video_ocr_area_ratio_filter"])).description
    assert description is not None
    assert "- video_ocr_area_ratio_filter:\n    max_area_ratio: 0.2\n" in description
    assert "video_ocr_area_ratio <= 0.2" in description


def test_moving_a_bound_changes_the_code_version_of_filtered_and_of_no_stats(tmp_path: Path) -> None:
    versions = []
    for bound in ("0.2", "0.3"):
        root = tmp_path / bound
        root.mkdir()
        write_recipes(root, good=GOOD.replace("max_area_ratio: 0.2", f"max_area_ratio: {bound}"))
        graph = build_project_defs(root).resolve_asset_graph()
        versions.append({k.to_user_string(): graph.get(k).code_version for k in graph.get_all_asset_keys()})
    before, after = versions
    assert {name for name in before if before[name] != after[name]} == {"good/filtered", "good/export", "good/analysis"}


def test_a_broken_recipe_shows_its_error_and_takes_no_other_down(tmp_path: Path) -> None:
    write_recipes(tmp_path, good=GOOD, broken=BROKEN)
    defs = build_project_defs(tmp_path)
    assert {"good/export", "broken/recipe_error"} <= asset_names(defs)
    assert not any(name.startswith("broken/") and "recipe_error" not in name for name in asset_names(defs))

    key = dg.AssetKey(["broken", "recipe_error"])
    node = defs.resolve_asset_graph().get(key)
    assert node.group_name == "broken"
    for text in ("recipes/broken.yaml:4", "video_motion_scor_filter", "did you mean video_motion_score_filter"):
        assert text in str(node.description)
        assert text in node.metadata["error"].value

    result = dg.materialize([defs.resolve_assets_def(key)], raise_on_error=False)
    data = result.get_step_failure_events()[0].step_failure_data
    assert data.user_failure_data is not None
    assert "video_motion_scor_filter" in str(data.user_failure_data.description)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param({"torn": "process: [\n"}, {"torn/recipe_error"}, id="not YAML"),
        pytest.param({"empty": ""}, {"empty/recipe_error"}, id="empty file"),
        pytest.param(
            {"a-b": "process: [", "a_b": "process: ["},
            {"a_b/recipe_error", "a_b_2/recipe_error"},
            id="two broken ones of one name",
        ),
    ],
)
def test_whatever_is_in_the_folder_something_can_be_seen(
    tmp_path: Path, texts: dict[str, str], expected: set[str]
) -> None:
    write_recipes(tmp_path, **texts)
    assert asset_names(build_project_defs(tmp_path)) == expected


def test_two_files_for_one_name_are_told_apart(tmp_path: Path) -> None:
    write_recipes(tmp_path, **{"my-clips": GOOD, "my_clips": GOOD})
    names = asset_names(build_project_defs(tmp_path))
    assert {"my_clips/samples", "my_clips_2/recipe_error"} <= names


def test_without_a_recipes_folder_there_is_nothing_and_no_error(tmp_path: Path) -> None:
    assert asset_names(build_project_defs(tmp_path)) == set()


def run_python(code: str, *, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJ_ASSETS_")}
    environment["PYTHONPATH"] = str(PROJECT)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loading_the_definitions_loads_nothing_heavy(tmp_path: Path) -> None:
    """The daemon reloads them every minute."""
    write_recipes(tmp_path, good=GOOD)
    code = (
        "import sys; from dj_assets.definitions import defs; "
        "assert len(defs.resolve_asset_graph().get_all_asset_keys()) == 7; "
        "heavy = ('torch', 'easyocr', 'cv2', 'av', 'duckdb', 'pyarrow', 'matplotlib', 'PIL'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    assert run_python(code, cwd=tmp_path) == "[]"


def test_an_analysis_is_made_when_somebody_asks_and_never_by_itself(tmp_path: Path) -> None:
    """It is over all shards: made after each, it would read a thousand shards a thousand times."""
    write_recipes(tmp_path, good=GOOD)
    defs = build_project_defs(tmp_path)
    key = dg.AssetKey(["good", "analysis"])
    assert defs.resolve_asset_graph().get(key).automation_condition is None
    assert key not in defs.resolve_job_def("good").asset_layer.executable_asset_keys


def test_a_data_drop_may_be_overdue(tmp_path: Path) -> None:
    write_recipes(tmp_path, good=GOOD, daily=GOOD + "dj_assets: {landing: {expect_every_hours: 36}}\n")
    graph = build_project_defs(tmp_path).resolve_asset_graph()
    policies = {name: graph.get(dg.AssetKey([name, "samples"])).freshness_policy for name in ("good", "daily")}
    assert policies["good"] is None
    assert policies["daily"] == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36))


def test_a_code_server_takes_the_definitions(tmp_path: Path) -> None:
    """It refused all of them, because of a job and its op of the same name; reading the asset graph checks no names."""
    write_recipes(tmp_path, good=GOOD, other=GOOD)
    build_project_defs(tmp_path).get_repository_def().load_all_definitions()


def test_dagster_dev_and_the_deployment_load_the_same_module_under_the_same_name() -> None:
    """Sensors and schedules are remembered under the location's name; with two names they would be forgotten."""
    tool = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]["project"]
    [location] = yaml.safe_load((PROJECT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    deployed = location["python_module"]
    assert deployed["module_name"] == f"{tool['root_module']}.definitions"
    assert deployed["location_name"] == tool["code_location_name"] == "dj_assets"


def test_this_version_of_dagster_understands_every_line_of_dagster_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 30
        assert instance.run_retries_enabled and not instance.run_retries_retry_on_asset_or_op_failure
        concurrency = instance.get_concurrency_config()
        assert concurrency.pool_config.default_pool_limit == 1
        assert concurrency.run_queue_config is not None
        assert concurrency.run_queue_config.max_concurrent_runs == 4
        assert instance.get_runs() == []
    assert (tmp_path / ".dagster_home" / "history").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"dagster.yaml", ".dagster_home"}
