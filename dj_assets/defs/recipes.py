"""A project's recipe files → one set of definitions; a broken file stays visible and takes no other down."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import dagster as dg

from dj_assets.defs.assets import broken_recipe_defs, build_recipe_defs
from dj_assets.defs.project import recipe_paths, store_root
from dj_assets.defs.resources import project_executor, project_resources
from dj_assets.defs.sensors import abandoned_runs_sensor, automation_sensor, drops_sensor
from dj_assets.defs.upkeep import retry_schedule, upkeep_defs
from dj_assets.errors import RecipeError
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import load_recipe


def build_project_defs(root: Path) -> dg.Definitions:
    """The assets of every recipe under `root/recipes`, with the resources and the executor that they share."""
    taken: dict[str, Path] = {}
    plans: list[Plan] = []
    parts = [_recipe_defs(path, taken, plans) for path in recipe_paths(root)]
    is_watching = any(plan.recipe.settings.landing.watch for plan in plans)
    shared = dg.Definitions(
        resources=project_resources(store_root()),
        executor=project_executor(),
        sensors=[abandoned_runs_sensor(), *([automation_sensor(is_running=is_watching)] if plans else [])],
    )
    return dg.Definitions.merge(shared, upkeep_defs(plans), *parts)


def _recipe_defs(path: Path, taken: dict[str, Path], plans: list[Plan]) -> dg.Definitions:
    """One file's assets and what runs them by itself, or the asset that shows its error.

    taken: names so far and the file that has each. plans: grows by the plan, where there is one.
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", path.stem)
    try:
        plan = make_plan(load_recipe(path))
        name = plan.recipe.name
        names = [stage.recipe.name for stage in plan.stages]
        if both := next((one for one in names if one in taken), ""):
            raise RecipeError(
                f"{path.name} and {taken[both].name} would both be recipe {both!r}",
                allowed="file names that differ in letters, digits or _, and from the stages of others (NAME__1)",
                try_="rename one of them",
                file=str(path),
            )
        taken.update(dict.fromkeys(names, path))
        defs = build_recipe_defs(plan)
        plans.append(plan)
        return dg.Definitions.merge(
            defs, dg.Definitions(sensors=[drops_sensor(plan)], schedules=[retry_schedule(plan)])
        )
    except RecipeError as error:
        text = str(error)
    except Exception:
        # A fault in one operator's module is no reason to hide every other recipe; it is shown in full instead.
        text = traceback.format_exc()
    free = next(free for free in [name, *(f"{name}_{n}" for n in range(2, 1000))] if free not in taken)
    taken[free] = path
    return broken_recipe_defs(free, path, text)
