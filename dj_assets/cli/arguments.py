"""A recipe and its overrides on the command line, in both spellings: `R --key v` and `--config R --key v`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from dj_assets.cli.verbosity import verbose_option
from dj_assets.errors import RecipeError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

TAKES_OVERRIDES = {"ignore_unknown_options": True}
"""Click leaves options that it does not know to us: `--export_path X`, `--operator.option V`."""


class RecipeArguments(NamedTuple):
    """path: of the recipe as typed. overrides: the other tokens, in order, as `load_recipe` takes them."""

    path: str
    overrides: tuple[str, ...]


def recipe_arguments(command: Decorated) -> Decorated:
    """Add RECIPE, --config RECIPE and overrides; the command gets `configs` and `tokens` for `read_arguments`."""
    for decorate in (
        click.argument("tokens", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPE] [--KEY VALUE]..."),
        click.option(
            "--config", "configs", multiple=True, metavar="RECIPE", help="The recipe, as dj-process spells it."
        ),
        verbose_option,
    ):
        command = decorate(command)
    return command


def read_arguments(configs: Sequence[str], tokens: Sequence[str]) -> RecipeArguments:
    """Which recipe, and which overrides. Raises `RecipeError` where it is not exactly one recipe.

    A recipe without --config comes first: after an override it could not be told from that one's value.
    """
    named = list(configs)
    if tokens and not tokens[0].startswith("--"):
        named.append(tokens[0])
        tokens = tokens[1:]
    if len(named) != 1:
        raise RecipeError(
            f"{len(named)} recipes were named: {', '.join(named)}" if named else "no recipe was named",
            allowed="one recipe, first or after --config; then overrides",
            try_=f"dj-assets {click.get_current_context().info_name} {_example()} --np 2",
            file="command line",
        )
    return RecipeArguments(named[0], tuple(tokens))


def _example() -> str:
    found = sorted(Path("recipes").glob("*.yaml"))
    return str(found[0]) if found else "recipes/NAME.yaml"
