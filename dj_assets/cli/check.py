"""`dj-assets check`: are the recipes right? Reads no video, and needs no dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import CANNOT_BE_RIGHT, EXIT_CODES
from dj_assets.cli.verbosity import verbose_option
from dj_assets.errors import RecipeError, RecipeErrors

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.operators._contract import Operator
    from dj_assets.plan import Plan
    from dj_assets.recipe import Recipe


@click.command(
    name="check",
    epilog=f"""\b
Examples:
  dj-assets check
  dj-assets check recipes/video_time.yaml
  dj-assets check --operators
{EXIT_CODES}""",
)
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option("--operators", "lists_operators", is_flag=True, help="List the operators that a recipe may name.")
@verbose_option
def command(recipes: tuple[str, ...], lists_operators: bool) -> None:
    """Check recipes, by default all of recipes/.

    Nothing is decoded. Every fault is shown with file, line, step and option. A dataset that is not there is a warning.
    """
    out = console()
    if lists_operators:
        _print_operators(out)
        return
    num_broken = _check(out, recipes or _own_recipes())
    if num_broken:
        print_lines(console(stderr=True), [f"{counted(num_broken, 'recipe')} cannot be right"])
        click.get_current_context().exit(CANNOT_BE_RIGHT)


def _own_recipes() -> list[str]:
    from dj_assets.defs.project import project_root, recipe_paths

    paths = [str(_shown(path)) for path in recipe_paths(project_root())]
    if not paths:
        raise RecipeError(
            f"no recipes in {project_root() / 'recipes'}",
            allowed="*.yaml in the folder recipes of the project",
            try_="run it in the project's folder, or name the recipes: dj-assets check a.yaml",
        )
    return paths


def _shown(path: Path) -> Path:
    """Relative to the working directory where it lies below, as people type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _check(out: Console, paths: Sequence[str]) -> int:
    """Print a table of the recipes and then every remark. Returns how many recipes are broken."""
    rows: list[tuple[str, ...]] = []
    remarks: list[str] = []
    num_broken = 0
    for path in paths:
        try:
            plan = _plan(path)
        except RecipeError as error:
            num_broken += 1
            faults = error.errors if isinstance(error, RecipeErrors) else [error]
            rows.append((path, "", counted(len(faults), "error")))
            remarks.extend(str(fault) for fault in faults)
        else:
            found = list(_remarks(path, plan))
            rows.append((path, str(len(plan.steps)), "ok" + (f", {counted(len(found), 'remark')}" if found else "")))
            remarks.extend(found)
    print_table(out, ("recipe", "steps", "result"), rows, numbers=("steps",))
    print_lines(out, [line for remark in remarks for line in (remark, "")])
    return num_broken


def _plan(path: str) -> Plan:
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    return make_plan(load_recipe(path))


def _remarks(path: str, plan: Plan) -> Iterator[str]:
    yield from (f"{path}: note: {note}" for note in plan.notes)
    yield from (f"{path}: warning: {warning}" for warning in plan.warnings)
    missing = missing_dataset(plan.recipe)
    if missing:
        yield f"{path}: warning: {missing}"


def missing_dataset(recipe: Recipe) -> str:
    """Why there is no dataset at `dataset_path`; empty where there is one. Counts nothing, so it is quick."""
    from dj_assets.samples import dataset_root, find_drops

    path = recipe.dataset_path
    root = dataset_root(path)
    if path.exists() or any(True for _ in root.glob(str(path.relative_to(root)))):
        return ""
    try:
        find_drops(recipe.dataset_path, suffixes=recipe.suffixes)
    except RecipeError as error:
        return error.one_line()
    return ""


# --- operators


def _print_operators(out: Console) -> None:
    from dj_assets import operators

    known = [operators.get(name) for name in operators.names()]
    rows = [(operator.name, operator.compute, operator.summary) for operator in known]
    print_table(out, ("operator", "pass", "keeps or drops videos by"), rows)
    for operator in known:
        options = [*_param_rows(operator), *_bound_rows(operator)]
        print_table(out, (operator.name, "default", "moves", "meaning"), options)


def _param_rows(operator: Operator) -> Iterator[tuple[str, ...]]:
    for name, info in operator.params.model_fields.items():
        default = "required" if info.is_required() else _text(info.get_default(call_default_factory=True))
        yield name, default, "the number", info.description or ""


def _bound_rows(operator: Operator) -> Iterator[tuple[str, ...]]:
    units = {stat.name: stat.unit for stat in operator.stats}
    for bound in operator.bounds:
        meaning = f"{bound.stat} at {'least' if bound.side == 'min' else 'most'} this ({units[bound.stat]})"
        yield bound.option, _number(bound.default), "the verdict", f"{meaning}{': ' if bound.help else ''}{bound.help}"


def _text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


def _number(value: float) -> str:
    return "no limit" if abs(value) >= 2**63 - 1 else f"{value:g}"
