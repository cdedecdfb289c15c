"""Upstream's own lines of every operator that runs here pass unchanged.

A line of an operator that is not in the registry yet is skipped, and bites on the day that it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dj_assets import operators
from dj_assets.operators import _upstream
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets.step_options import VERDICT_OPTIONS
from dj_assets_tests.upstream import facts

LINES: dict[str, dict[str, Any]] = yaml.safe_load(facts.CONFIG_ALL.read_text(encoding="utf-8"))
WANTED = sorted(name for name, known in _upstream.KNOWN.items() if not known.reason)


def plan_of(folder: Path, name: str, options: dict[str, Any]) -> Any:
    """What `check` makes of a recipe with this one step, through YAML as a user has it."""
    if name not in operators.names():
        pytest.skip(f"{name} is not built yet")
    recipe = {"dataset_path": "ds.jsonl", "export_path": "out/res.jsonl", "process": [{name: options}]}
    path = folder / "line.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return make_plan(load_recipe(str(path)))


@pytest.mark.parametrize("name", LINES)
def test_the_line_of_config_all_passes_check_unchanged(tmp_path: Path, name: str) -> None:
    assert plan_of(tmp_path, name, LINES[name]).recipe.steps[0].operator == name


@pytest.mark.parametrize("name", WANTED)
def test_every_option_at_upstreams_default_passes_check(tmp_path: Path, name: str) -> None:
    options = _upstream.options()[name]
    given = {option: value for option, value in options.items() if value is not None}
    assert plan_of(tmp_path, name, dict(options)).recipe.steps[0].options.keys() == options.keys()
    plan_of(tmp_path, name, given)


@pytest.mark.parametrize("name", [name for name in WANTED if "any_or_all" in _upstream.options()[name]])
def test_any_or_all_is_upstreams_by_default(name: str) -> None:
    if name not in operators.names():
        pytest.skip(f"{name} is not built yet")
    assert operators.get(name).any_or_all_default == _upstream.options()[name]["any_or_all"]
    assert "any_or_all" in VERDICT_OPTIONS


def test_the_facts_cover_what_is_built() -> None:
    built = {name for name in operators.names() if name in _upstream.KNOWN}
    assert built <= set(_upstream.options()) == set(WANTED)
    assert set(LINES) == set(WANTED) - {"video_captioning_from_vlm_mapper"}, "upstream's file leaves that one out"
