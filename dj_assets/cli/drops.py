"""`dj-assets drops`: the data drops of a recipe's dataset, their shards, and which of them Dagster knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dj_assets.cli.arguments import TAKES_OVERRIDES, read_arguments, recipe_arguments
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.verbosity import quiet_libraries

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.plan import Plan


@click.group(
    name="drops",
    epilog="""\b
Examples:
  dj-assets drops list recipes/video_time.yaml
  dj-assets drops add recipes/video_time.yaml""",
)
def command() -> None:
    """Show or register the shards of a dataset."""


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

    `process` and `ui` do this by themselves. Nothing is ever removed.
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


def _plan(configs: tuple[str, ...], tokens: tuple[str, ...]) -> Plan:
    from dj_assets.cli.dataset import find_dataset
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    plan = make_plan(load_recipe(*read_arguments(configs, tokens)))
    find_dataset(plan.recipe)  # raises with the recipe's line where there is none
    return plan


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
    rows = [
        (
            shard.key,
            shard.drop,
            str(min(shard.size, sizes[shard.drop] - shard.start)),
            "new" if shard.key in new else "known",
        )
        for shard in dataset.shards
    ]
    rows += [(key, "", "", "vanished: the dataset no longer has it") for key in changes.vanished]
    print_table(out, ("shard", "data drop", "samples", "state"), rows, numbers=("samples",))
    print_lines(out, [str(dataset)])
    return len(new)
