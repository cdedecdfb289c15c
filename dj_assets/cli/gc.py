"""`dj-assets gc`: tells what of the store can be removed or merged, and does it when asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import FAILED
from dj_assets.cli.verbosity import verbose_option

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.store.gc import Chores, Done, InUse


@click.command(
    name="gc",
    epilog="""\b
Examples:
  dj-assets gc
  dj-assets gc --apply
  dj-assets gc --unused --keep-days 90
  dj-assets gc --products
  dj-assets gc --facts-of video_motion_score_filter/0123456789abcdef --apply""",
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without, the store is only looked at.")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Let ledger records older than N days go, where the table was replaced since. Default: keep all.",
)
@click.option("--unused", is_flag=True, help="Let tables go that no recipe in recipes/ uses. Facts stay.")
@click.option(
    "--facts-of",
    "facts_of",
    multiple=True,
    metavar="MEASURE",
    help="Let every number of this measure go, by id or operator/id. Having it again costs measuring.",
)
@click.option(
    "--products",
    is_flag=True,
    help="Let files go that mappers made a day ago or more and that no sample holds. Having one again costs making.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@verbose_option
def command(
    is_applied: bool,
    keep_days: float | None,
    unused: bool,
    facts_of: tuple[str, ...],
    products: bool,
    as_json: bool,
) -> None:
    """Tell what the store would be rid of, or what small files become one; with --apply, do it.

    Safe beside running runs, and to be killed. No fact is lost unless --facts-of names its measure.
    """
    from dj_assets.defs.project import store_root
    from dj_assets.store import gc
    from dj_assets.store.store import Store

    out, root = console(), store_root()
    in_use = _in_use() if unused else None
    chores = gc.find_chores(root, keep_days=keep_days, in_use=in_use, facts_of=facts_of, products=products)
    if not as_json:
        _print_chores(out, chores)
    done = gc.do(root, chores) if is_applied else None
    warning = Store(root).refresh_index() if done else None
    if as_json:
        click.echo(json.dumps(_as_json(chores, done)))
    else:
        print_lines(out, [_closing(chores, done)])
    problems = [*(done.kept if done else ()), *([warning] if warning else [])]
    print_lines(console(stderr=True), problems)
    if done and done.kept:
        click.get_current_context().exit(FAILED)


def _in_use() -> dict[str, InUse]:
    """What the project's recipes use.

    Raises `RecipeError` where one of them cannot be read: nobody knows then what it would have used. A dataset that
    cannot be seen (a disk that is not mounted) keeps its shards.
    """
    from dj_assets.cli.dataset import find_dataset
    from dj_assets.defs.project import project_root, recipe_paths
    from dj_assets.errors import RecipeError
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe
    from dj_assets.store.gc import InUse

    used: dict[str, InUse] = {}
    for path in recipe_paths(project_root()):
        plan = make_plan(load_recipe(path))
        try:
            shards = frozenset(shard.key for shard in find_dataset(plan.recipe).shards) or None
        except (RecipeError, OSError):
            shards = None
        for stage in plan.stages:
            used[stage.recipe.name] = InUse(frozenset(step.key for step in stage.steps), shards)
    if not used:
        raise RecipeError(
            "--unused without any recipe: every table would be unused",
            allowed=f"a project with recipes in {project_root() / 'recipes'}",
            try_="run it in the project's folder",
            file="command line",
        )
    return used


def _print_chores(out: Console, chores: Chores) -> None:
    rows = [(kind, reason, str(len(sizes)), megabytes(sum(sizes))) for kind, reason, sizes in _grouped_removals(chores)]
    print_table(out, ("remove", "because", "files", "size"), rows, numbers=("files", "size"))
    merges = [
        (merge.operator, merge.measure_id, str(len(merge.paths)), megabytes(merge.num_bytes)) for merge in chores.merges
    ]
    print_table(out, ("merge facts of", "measure", "files", "size"), merges, numbers=("files", "size"))


def _grouped_removals(chores: Chores) -> Iterator[tuple[str, str, list[int]]]:
    def group(removal: Any) -> tuple[str, str]:
        # Superseded files name the one that took them over: true, but one line each would hide the rest.
        reason = "their facts are in larger files" if removal.kind == "superseded" else removal.reason
        return removal.kind, reason

    for (kind, reason), removals in groupby(sorted(chores.removals, key=group), key=group):
        yield kind, reason, [removal.num_bytes for removal in removals]


def _closing(chores: Chores, done: Done | None) -> str:
    if not chores.removals and not chores.merges:
        return "Nothing to remove, nothing to merge."
    if done is None:
        return "Nothing was changed; with --apply it is done."
    merged = f"{counted(done.merged, 'file')} merged; the old ones go ten minutes after, with the next gc or run"
    return f"{counted(done.removed, 'file')} removed, {megabytes(done.freed_bytes)} freed. " + (
        merged if done.merged else "Nothing was merged."
    )


def _as_json(chores: Chores, done: Done | None) -> dict[str, Any]:
    return {
        "applied": done is not None,
        "removals": [
            {"kind": r.kind, "path": str(r.path), "num_bytes": r.num_bytes, "reason": r.reason} for r in chores.removals
        ],
        "merges": [
            {
                "operator": merge.operator,
                "measure_id": merge.measure_id,
                "paths": [str(path) for path in merge.paths],
                "num_bytes": merge.num_bytes,
            }
            for merge in chores.merges
        ],
        **({"removed": done.removed, "merged": done.merged, "kept": list(done.kept)} if done else {}),
    }


def megabytes(num_bytes: int) -> str:
    """`0.1 MB`, in steps of a tenth."""
    return f"{num_bytes / 1e6:.1f} MB"
