"""`dj-assets check`: are the recipes right? Reads no video, and needs no dataset."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import CANNOT_BE_RIGHT, EXIT_CODES, FAILED
from dj_assets.cli.verbosity import is_verbose, verbose_option
from dj_assets.errors import RecipeError, RecipeErrors

if TYPE_CHECKING:
    from rich.console import Console

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

    Nothing is decoded. Every fault is shown with file, line, step and option. A dataset that is not there is a
    warning, and so are weights or a package that this machine lacks.
    """
    out = console()
    if lists_operators:
        from dj_assets.cli.operator_list import print_operators

        print_operators(out)
        return
    findings = refuse_same_names([find(path) for path in recipes or own_recipes()])
    _print(out, findings)
    broken = [finding for finding in findings if finding.is_broken]
    if broken:
        print_lines(console(stderr=True), [f"{counted(len(broken), 'recipe')} cannot be right"])
        click.get_current_context().exit(FAILED if any(one.is_bug for one in broken) else CANNOT_BE_RIGHT)


@dataclass(frozen=True)
class Finding:
    """One recipe checked. errors: whole texts, none where it is right. is_bug: whether an operator's own code failed.
    name, num_steps: None where it could not be read so far. stages: names of those before its mappers."""

    path: str
    name: str | None = None
    num_steps: int | None = None
    stages: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    is_bug: bool = False

    @property
    def is_broken(self) -> bool:
        return bool(self.errors)

    @property
    def result(self) -> str:
        """For the table: `ok`, or counts."""
        if self.errors:
            return counted(len(self.errors), "error")
        return f"ok, {counted(len(self.remarks), 'remark')}" if self.remarks else "ok"


def find(path: str) -> Finding:
    """Check one recipe."""
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    try:
        plan = make_plan(load_recipe(path))
    except RecipeError as error:
        faults = error.errors if isinstance(error, RecipeErrors) else [error]
        return Finding(path, errors=tuple(str(fault) for fault in faults))
    except Exception as error:  # in an operator's module: it must not hide what is to be said of the other recipes
        shown = traceback.format_exc() if is_verbose() else "  (--verbose shows the traceback)"
        return Finding(path, errors=(f"{path}: {type(error).__name__}: {error}\n{shown}",), is_bug=True)
    return Finding(
        path,
        plan.recipe.name,
        len(plan.all_steps),
        tuple(one.recipe.name for one in plan.stages[:-1]),
        remarks=tuple(_remarks(path, plan)),
    )


def _remarks(path: str, plan: Plan) -> Iterator[str]:
    from dj_assets.plan import lacking

    yield from (f"{path}: note: {note}" for note in plan.notes)
    yield from (f"{path}: warning: {warning}" for warning in plan.warnings)
    yield from (f"{path}: warning: {error.one_line()}" for _, error in lacking(plan.all_steps))
    missing = missing_dataset(plan.recipe)
    if missing:
        yield f"{path}: warning: {missing}"


def missing_dataset(recipe: Recipe) -> str:
    """Why there is no dataset at `dataset_path`; empty where there is one. Counts no samples, so it is quick."""
    from dj_assets.samples import dataset_root, find_drops

    path = recipe.dataset_path
    root = dataset_root(path)
    if path.exists() or any(True for _ in root.glob(str(path.relative_to(root)))):
        return ""
    try:
        find_drops(path, suffixes=recipe.suffixes, by_folder=recipe.drops_are_folders)
    except RecipeError as error:
        return error.one_line()
    return ""


def refuse_same_names(findings: Sequence[Finding]) -> list[Finding]:
    """Add an error to each recipe whose name another of the same folder has: `a-b.yaml` and `a_b.yaml`."""
    taken: dict[tuple[Path, str], str] = {}
    checked = []
    for finding in findings:
        for name in (finding.name, *finding.stages) if finding.name is not None else ():
            key = (Path(finding.path).absolute().parent, str(name))
            first = taken.setdefault(key, finding.path)
            if Path(first).absolute() != Path(finding.path).absolute():
                clash = RecipeError(
                    f"{first} is recipe {name!r} as well",
                    allowed="file names that differ in letters, digits or _, and from the stages of others (NAME__1)",
                    try_="rename one of them",
                    file=finding.path,
                )
                finding = replace(finding, errors=(*finding.errors, str(clash)))
        checked.append(finding)
    return checked


def own_recipes() -> list[str]:
    """The project's recipe files, as a user would type them. Raises `RecipeError` where there are none."""
    from dj_assets.defs.project import project_root, recipe_paths

    paths = [str(_as_typed(path)) for path in recipe_paths(project_root())]
    if not paths:
        raise RecipeError(
            f"there are no recipes in {project_root() / 'recipes'}",
            allowed="*.yaml in the folder recipes of the project",
            try_="run it in the project's folder, or name the recipes: dj-assets check a.yaml",
        )
    return paths


def named_recipe(given: str) -> str:
    """The file of a recipe that was named by its file, or by its name among the project's. Raises `RecipeError`."""
    from dj_assets.defs.project import project_root, recipe_paths
    from dj_assets.recipe import recipe_name

    named = {recipe_name(path): path for path in recipe_paths(project_root())}
    if given in named and not Path(given).exists():
        return str(_as_typed(named[given]))
    if Path(given).suffix or Path(given).exists():
        return given  # load_recipe says what is wrong with it
    raise RecipeError(
        f"there is no recipe {given!r}",
        allowed=", ".join(named) or "a recipe's file",
        try_="name it as its file in recipes/ is named, or by that file's path",
        file="command line",
    )


def _as_typed(path: Path) -> Path:
    """Relative to the working directory where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _print(out: Console, findings: Sequence[Finding]) -> None:
    """A table of the recipes, then every error and remark in full."""
    rows = [(one.path, "" if one.num_steps is None else str(one.num_steps), one.result) for one in findings]
    print_table(out, ("recipe", "steps", "result"), rows, numbers=("steps",))
    for finding in findings:
        for text in (*finding.errors, *finding.remarks):
            print_lines(out, [text, ""])
