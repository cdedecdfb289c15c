"""The recipes that come with the project: all have a plan, and the analysis has every operator that it can have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dj_assets import operators
from dj_assets.operators import _upstream
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
ANALYSIS = RECIPES / "video_analysis.yaml"

OF_FIELDS = {
    *("specified_numeric_field_filter", "specified_field_filter", "general_field_filter", "suffix_filter"),
    "video_tagging_from_frames_filter",
}
"""Filters on fields that only the user can name: the analysis has them as comments."""


def offline() -> set[str]:
    """The filters and deduplicators that want no weights of a hub."""
    known = {name: _upstream.find(name) for name in operators.names()}
    kinds = {"filter", "deduplicator"}
    return {
        name
        for name, of_upstream in known.items()
        if operators.get(name).kind in kinds and not (of_upstream and of_upstream.weights)
    }


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_has_a_plan(path: Path) -> None:
    assert make_plan(load_recipe(str(path))).steps


def test_the_analysis_asks_for_all_and_drops_nothing() -> None:
    plan = make_plan(load_recipe(str(ANALYSIS)))
    assert plan.warnings == ()
    assert {step.operator.name for step in plan.steps} == offline() - OF_FIELDS
    for step in plan.filters:
        for stat, range_ in zip(step.operator.stats, step.ranges, strict=False):
            high = stat.high if stat.high != float("inf") else 1e15
            assert range_.passes(stat.low) and range_.passes(high), f"{step.key} refuses some {stat.name}"


def test_what_the_analysis_has_as_comments_is_right_once_filled_in(tmp_path: Path) -> None:
    lines = re.findall(r"^  # (- \w+_filter: \{.*\}.*)$", ANALYSIS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    steps = yaml.safe_load("\n".join(lines))
    assert {name for step in steps for name in step} == OF_FIELDS
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump({"dataset_path": "ds.jsonl", "export_path": "res.jsonl", "process": steps}))
    assert len(make_plan(load_recipe(str(recipe))).steps) == len(OF_FIELDS)
