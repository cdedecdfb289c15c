"""`dj-assets lineage … --rerun`: what rests on a measure that is not believed any more, measured again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from dj_assets.cli.changes import print_changes
from dj_assets.cli.console import console, counted, print_lines
from dj_assets.cli.exits import FAILED, OK
from dj_assets.cli.interrupts import stopping_cleanly
from dj_assets.cli.progress import showing_progress
from dj_assets.cli.verbosity import is_verbose, quiet_libraries
from dj_assets.errors import DjAssetsError, StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.defs.rerun import RerunReport
    from dj_assets.plan import Plan
    from dj_assets.store.lineage import Affected


def remeasure(affected: Sequence[Affected], measures: Mapping[str, Collection[str]], *, of_run: str = "") -> int:
    """Measure some shards' videos again and print which verdicts changed. Returns the exit code.

    affected: shards whose tables rest on these measures. measures: operator → measure ids. of_run: only
    what this run measured. A recipe that is gone, or
    fails, stops no other.
    """
    out, err = console(), console(stderr=True)
    by_recipe: dict[str, list[str]] = {}
    for one in affected:
        shards = by_recipe.setdefault(_family(one.recipe), [])
        if one.shard not in shards:  # several stages of a recipe may rest on it
            shards.append(one.shard)
    codes = [OK]
    with stopping_cleanly(), quiet_libraries(lambda line: print_lines(err, [line])):
        for name, shard_keys in by_recipe.items():
            try:
                report = _run(_plan_named(name), measures, of_run, shard_keys, err)
            except DjAssetsError as error:
                print_lines(err, ["", str(error)])
                codes.append(FAILED)
                continue
            _print_report(out, err, report)
            codes.append(OK if report.run.success else FAILED)
    return max(codes)


def _family(stage: str) -> str:
    """The recipe that a stage is of, among the project's; the name itself where it is no stage of any."""
    from dj_assets.defs.project import project_root, recipe_paths
    from dj_assets.recipe import recipe_name

    names = {recipe_name(path) for path in recipe_paths(project_root())}
    family, _, number = stage.rpartition("__")
    return family if stage not in names and family in names and number.isdecimal() else stage


def _plan_named(name: str) -> Plan:
    """The plan of the project's recipe of that name. Raises `StoreError` where there is none."""
    from dj_assets.defs.project import project_root, recipe_paths
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe, recipe_name

    paths = recipe_paths(project_root())
    for path in paths:
        if recipe_name(path) == name:
            return make_plan(load_recipe(path))
    raise StoreError(
        f"recipe {name} is not in {project_root() / 'recipes'} any more, so its shards stay as they are",
        allowed=", ".join(path.name for path in paths) or "none: the folder holds no recipe",
        try_="bring it back from the content of its export's manifest, or remove its export",
    )


def _run(
    plan: Plan, measures: Mapping[str, Collection[str]], of_run: str, shard_keys: Sequence[str], err: Console
) -> RerunReport:
    from dj_assets.defs.project import store_root
    from dj_assets.defs.rerun import rerun_measures
    from dj_assets.defs.resources import project_instance

    with project_instance() as instance, showing_progress(err, num_shards=len(shard_keys)) as view:
        return rerun_measures(
            plan,
            measures=measures,
            of_run=of_run,
            shard_keys=shard_keys,
            instance=instance,
            store_root=store_root(),
            on_shard=view.begin_shard,
            on_progress=view,
            verbose=is_verbose(),
        )


def _print_report(out: Console, err: Console, report: RerunReport) -> None:
    run = report.run
    print_lines(out, ["", f"{run.recipe}: {counted(len(run.shards), 'shard')} measured again in {run.seconds:.1f} s"])
    print_changes(out, report)
    print_lines(out, [f"export: {path}" for name, path in run.paths.items() if name.startswith("kept")])
    for shard in run.failed:
        print_lines(err, ["", f"shard {shard.shard_key} failed:", shard.failure])
