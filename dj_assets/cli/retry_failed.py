"""`dj-assets retry-failed`: make what a backfill left unmade, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dj_assets.cli.backfill import EXIT_CODES
from dj_assets.cli.console import console, counted, print_lines
from dj_assets.cli.exits import OK
from dj_assets.cli.verbosity import verbose_option
from dj_assets.cli.webserver import Webserver, recipe_name, url_option
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.cli.backfills import Backfill


@click.command(
    name="retry-failed",
    epilog=f"""\b
Examples:
  dj-assets retry-failed --wait
  dj-assets retry-failed recipes/video_time.yaml
  dj-assets retry-failed pjlkhmxq
{EXIT_CODES}""",
)
@click.argument("backfill_or_recipe", required=False, metavar="[BACKFILL_ID | RECIPE]")
@click.option("--wait", is_flag=True, help="Stay and show progress; Ctrl-C leaves the backfill running.")
@url_option
@verbose_option
def command(backfill_or_recipe: str | None, wait: bool, url: str) -> None:
    """Launch a backfill again for what failed in it.

    That is the last one that failed and was not retried yet, of the recipe where one is named. What it has made is not
    made again.
    """
    from dj_assets.cli.backfills import RETRY, find_backfill, launch, tell_launched, wait_for

    out, err = console(), console(stderr=True)
    server = Webserver(url)
    failed = _find_failed(server, out, backfill_or_recipe)
    if failed is None:
        click.get_current_context().exit(OK)
    retry = launch(server, RETRY, params={"parentRunId": failed.id, "strategy": "FROM_FAILURE"})
    print_lines(out, [f"retries backfill {failed.id}"])
    tell_launched(server, out, err, retry, find_backfill(server, retry).num_partitions)
    click.get_current_context().exit(wait_for(server, out, err, retry) if wait else OK)


def _find_failed(server: Webserver, out: Console, given: str | None) -> Backfill | None:
    """The backfill to retry; None, and a line that says so, where nothing failed."""
    from dj_assets.cli.backfills import find_backfills

    backfills = find_backfills(server)
    if given is not None and given in {one.id for one in backfills}:
        backfill = next(one for one in backfills if one.id == given)
        if not backfill.has_ended:
            raise RecipeError(
                f"backfill {given} is still at work: {backfill}",
                allowed="a backfill that has ended",
                try_=f"wait for it: {server.backfill_page(given)}",
                file="command line",
            )
        if backfill.has_failed:
            return backfill
        print_lines(out, [f"nothing to retry: backfill {given} made all of its {backfill.num_partitions} partitions"])
        return None
    if given is None:
        what = "backfill"
    else:
        name = recipe_name(given)
        server.assets_of(name)  # raises where it is neither a backfill nor a recipe
        backfills = [one for one in backfills if name in one.recipes]
        what = f"backfill of {name}"
    failed = last_failed(backfills)
    if failed is None:
        print_lines(
            out, [f"nothing to retry: no {what} has failed that was not retried", *_still_failed(server, given)]
        )
    return failed


def last_failed(backfills: Sequence[Backfill]) -> Backfill | None:
    """The newest one that failed and that no other retries. backfills: newest first."""
    retried = {one.parent for one in backfills}
    return next((one for one in backfills if one.has_failed and one.id not in retried), None)


def _still_failed(server: Webserver, recipe: str | None) -> list[str]:
    """Partitions that failed in runs of their own, such as those of a sensor."""
    if recipe is None:
        return []
    assets = [asset for asset in server.assets_of(recipe_name(recipe)) if not asset.is_on_demand]
    partitions = server.partitions_of(assets)
    failed = set().union(*(partitions.having(asset, ["failed"]) for asset in assets))
    if not failed:
        return []
    return [f"{counted(len(failed), 'partition')} failed outside of backfills: dj-assets backfill {recipe} --failed"]
