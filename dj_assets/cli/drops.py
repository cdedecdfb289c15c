"""`dj-assets drops`: the data drops of a recipe's dataset, their shards, and which of them Dagster knows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dj_assets.cli.arguments import TAKES_OVERRIDES, read_arguments, recipe_arguments
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.verbosity import quiet_libraries, verbose_option
from dj_assets.cli.webserver import some
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.plan import Plan

WHAT_STAYS = "their tables stay in the store until dj-assets gc --unused --apply"


@click.group(
    name="drops",
    epilog="""\b
Examples:
  dj-assets drops list recipes/video_time.yaml
  dj-assets drops add recipes/video_time.yaml
  dj-assets drops rm recipes/video_time.yaml ds-00007""",
)
def command() -> None:
    """Show, register or forget the shards of a dataset."""


@command.command(
    name="list",
    context_settings=TAKES_OVERRIDES,
    epilog="""\b
Example:
  dj-assets drops list recipes/video_time.yaml""",
)
@recipe_arguments
def list_shards(configs: tuple[str, ...], tokens: tuple[str, ...]) -> None:
    """Compare the shards of a recipe's dataset with the partitions that Dagster knows. Changes nothing."""
    plan = _plan(configs, tokens)
    out = console()
    with quiet_libraries(lambda line: print_lines(console(stderr=True), [line])):
        num_new = _print_shards(out, plan)
    if num_new:
        print_lines(out, [f"{counted(num_new, 'shard')} new: dj-assets drops add {plan.recipe.file}"])


@command.command(
    name="add",
    context_settings=TAKES_OVERRIDES,
    epilog="""\b
Example:
  dj-assets drops add recipes/video_time.yaml""",
)
@recipe_arguments
def add_shards(configs: tuple[str, ...], tokens: tuple[str, ...]) -> None:
    """Make every shard of a recipe's dataset a partition, so that the UI and backfills can run it.

    `process` and `ui` do this by themselves. It removes nothing.
    """
    from dj_assets.defs.partitions import find_shard_changes, register_shards
    from dj_assets.defs.resources import project_instance

    plan = _plan(configs, tokens)
    out = console()
    with quiet_libraries(lambda line: print_lines(console(stderr=True), [line])), project_instance() as instance:
        new = find_shard_changes(instance, plan).new
        register_shards(instance, plan)
    print_table(out, ("added",), [(key,) for key in new])
    print_lines(out, [f"{counted(len(new), 'shard')} added" if new else "every shard was known"])


@command.command(
    name="rm",
    epilog="""\b
Example:
  dj-assets drops rm recipes/video_time.yaml ds-00007 ds-00008""",
)
@click.argument("recipe")
@click.argument("shards", nargs=-1, required=True, metavar="SHARD...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also shards that the dataset still has.")
@verbose_option
def remove_shards(recipe: str, shards: tuple[str, ...], yes: bool, force: bool) -> None:
    """Let Dagster forget partitions whose shard is gone, so that nobody asks for them any more.

    No number is lost: facts and tables stay in the store. A shard that comes back is added like a new one.
    """
    from dj_assets.defs.partitions import forget_shards, registered_shards
    from dj_assets.defs.resources import project_instance
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    plan = make_plan(load_recipe(recipe))
    out, wanted = console(), list(dict.fromkeys(shards))
    with quiet_libraries(lambda line: print_lines(console(stderr=True), [line])), project_instance() as instance:
        _refuse_unknown(recipe, wanted, registered_shards(instance, plan))
        if not force:
            _refuse_present(recipe, plan, wanted)
        if not yes:
            click.confirm(f"Forget {counted(len(wanted), 'partition')} of {plan.recipe.name}?", abort=True)
        forget_shards(instance, plan, wanted)
    print_table(out, ("forgotten",), [(key,) for key in wanted])
    print_lines(out, [f"{counted(len(wanted), 'partition')} forgotten; {WHAT_STAYS}"])


def _refuse_unknown(recipe: str, wanted: Sequence[str], registered: Sequence[str]) -> None:
    if unknown := [key for key in wanted if key not in set(registered)]:
        raise RecipeError(
            f"Dagster knows no partition {', '.join(unknown)}",
            allowed=some(registered) or "none is registered",
            try_=f"dj-assets drops list {recipe}",
            file="command line",
        )


def _refuse_present(recipe: str, plan: Plan, wanted: Sequence[str]) -> None:
    from dj_assets.cli.dataset import find_dataset

    there = {shard.key for shard in find_dataset(plan.recipe).shards}
    if present := [key for key in wanted if key in there]:
        raise RecipeError(
            f"{plan.recipe.dataset_path} still has shard {', '.join(present)}",
            allowed="shards that the dataset no longer has, which drops list calls vanished",
            try_=f"dj-assets drops list {recipe}; --force forgets it until drops add or a run brings it back",
            file="command line",
        )


def _plan(configs: tuple[str, ...], tokens: tuple[str, ...]) -> Plan:
    from dj_assets.cli.dataset import find_dataset
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    plan = make_plan(load_recipe(*read_arguments(configs, tokens)))
    find_dataset(plan.recipe)  # raises with the recipe's line where there is none
    return plan


def _waiting(plan: Plan) -> dict[str, str]:
    """Why the sensor of a recipe that watches its landing place does not take a data drop yet."""
    from dj_assets.landing import look, why_wait

    landing = plan.recipe.settings.landing
    if not landing.watch:
        return {}
    found = {source.name: why_wait(one, landing, time.time_ns()) for one in look(plan.recipe) for source in one.sources}
    return {name: f"not complete: {reason}" for name, reason in found.items() if reason}


def _print_shards(out: Console, plan: Plan) -> int:
    """Print every shard with its state, vanished ones last. Returns how many are new."""
    from dj_assets.cli.dataset import find_dataset
    from dj_assets.defs.partitions import find_shard_changes
    from dj_assets.defs.resources import project_instance

    dataset = find_dataset(plan.recipe)
    sizes = {drop.name: drop.num_samples for drop in dataset.drops}
    with project_instance() as instance:
        changes = find_shard_changes(instance, plan)
    new = set(changes.new)
    waiting = _waiting(plan)
    rows = [
        (
            shard.key,
            shard.drop,
            str(min(shard.size, sizes[shard.drop] - shard.start)),
            waiting.get(shard.drop) or ("new" if shard.key in new else "known"),
        )
        for shard in dataset.shards
    ]
    rows += [(key, "", "", "vanished: the dataset no longer has it") for key in changes.vanished]
    print_table(out, ("shard", "data drop", "samples", "state"), rows, numbers=("samples",))
    print_lines(out, [str(dataset)])
    return len(new)
