"""The recipes that come with the project: all have a plan, and the analysis has every filter that needs no weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from dj_assets import operators
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
NOT_ANALYSED = {"video_ocr_area_ratio_filter"}
"""Filters on videos that want weights of their own, or packages that are not always there."""


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_has_a_plan(path: Path) -> None:
    assert make_plan(load_recipe(str(path))).steps


def test_the_analysis_asks_for_all_and_drops_nothing() -> None:
    plan = make_plan(load_recipe(str(RECIPES / "video_analysis.yaml")))
    of_videos = {
        name
        for name in operators.names()
        if name.startswith("video_") and operators.get(name).kind == "filter" and operators.get(name).compute != "gpu"
    }
    assert {step.operator.name for step in plan.steps} == of_videos - NOT_ANALYSED
    for step in plan.steps:
        for stat, range_ in zip(step.operator.stats, step.ranges, strict=False):
            high = stat.high if stat.high != float("inf") else 1e15
            assert range_.passes(stat.low) and range_.passes(high), f"{step.key} refuses some {stat.name}"
