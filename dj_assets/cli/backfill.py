"""`dj-assets backfill`: make a recipe's partitions through the daemon, as the web interface does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import OK
from dj_assets.cli.verbosity import verbose_option
from dj_assets.cli.webserver import Asset, Partitions, Webserver, inputs_first, recipe_name, some, url_option
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

Wanted = Mapping[Asset, Sequence[str]]
"""Asset → shards to make, both in order; assets with nothing to do are left out."""

STATES = {"missing": "never made", "failed": "failed at last", "stale": "stale: code, options or inputs have changed"}
EXIT_CODES = """
\b
Exit codes:
  0    launched, or nothing to do; with --wait: everything was made
  1    nobody answers, or with --wait: some of it failed
  2    no such recipe, shard or asset; nothing was launched
  130  --wait was ended by Ctrl-C; the backfill goes on
"""


@click.command(
    name="backfill",
    epilog=f"""\b
Examples:
  dj-assets backfill recipes/video_time.yaml --wait
  dj-assets backfill video_time --stale --dry-run
  dj-assets backfill video_time --shards ds-00000,ds-00004 --only stats
{EXIT_CODES}""",
)
@click.argument("recipe")
@click.option("--shards", metavar="KEY[,KEY]...", help="These shards.")
@click.option("--all", "all_shards", is_flag=True, help="Every shard.")
@click.option("--missing", is_flag=True, help="What was never made, and what comes after it.")
@click.option("--failed", is_flag=True, help="What failed at last, and what comes after it.")
@click.option("--stale", is_flag=True, help="What is stale, as `dj-assets stale` shows it.")
@click.option(
    "--only", metavar="ASSET[,ASSET]...", help="Of samples, stats, filtered, export, evidence, or the keys of steps."
)
@click.option("--wait", is_flag=True, help="Stay and show progress; Ctrl-C leaves the backfill running.")
@click.option("--title", metavar="TEXT", default="", help="What the web interface calls it.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and launch nothing.")
@url_option
@verbose_option
def command(
    recipe: str,
    shards: str | None,
    all_shards: bool,
    missing: bool,
    failed: bool,
    stale: bool,
    only: str | None,
    wait: bool,
    title: str,
    dry_run: bool,
    url: str,
) -> None:
    """Make the shards of a recipe through the running web interface and daemon.

    RECIPE is a file or a recipe's name. By default what is missing or has failed is made, and what comes after it,
    shard by shard; --missing, --failed and --stale may be combined. Queue, pools and retries apply as in the web
    interface. What is being made already is left alone.
    """
    out, err = console(), console(stderr=True)
    server, name = Webserver(url), recipe_name(recipe)
    states = [state for state, is_wanted in (("missing", missing), ("failed", failed), ("stale", stale)) if is_wanted]
    if sum((shards is not None, all_shards, bool(states))) > 1:
        raise RecipeError(
            "two ways to choose shards were given",
            allowed="one of --shards, --all, or some of --missing --failed --stale",
            try_=f"dj-assets backfill {recipe} --stale",
            file="command line",
        )
    assets = choose_assets(server.assets_of(name), only)
    server.warn_of_edits(err)
    partitions = server.partitions_of(assets)
    if not partitions.keys:
        raise RecipeError(
            f"Dagster knows no partition of {name}",
            allowed="a recipe whose shards are registered",
            try_=f"dj-assets drops add {recipe}",
            file="command line",
        )
    states = states or ["missing", "failed"]
    if shards is not None or all_shards:
        keys = partitions.keys if shards is None else _choose_shards(recipe, partitions, shards)
        wanted: Wanted = dict.fromkeys(assets, keys) if keys else {}
    else:
        wanted = find_wanted(assets, partitions, states)
    if not wanted:
        print_lines(out, [f"nothing to do: of {counted(len(partitions.keys), 'shard')}, none is {' or '.join(states)}"])
        click.get_current_context().exit(OK)
    _print_wanted(out, wanted)
    if not dry_run:
        params = launch_params(name, partitions.keys, wanted, title=title)
        click.get_current_context().exit(_launch(server, out, err, params, wanted, wait=wait))


def _launch(
    server: Webserver, out: Console, err: Console, params: Mapping[str, Any], wanted: Wanted, *, wait: bool
) -> int:
    from dj_assets.cli.backfills import LAUNCH, launch, tell_launched, wait_for

    backfill_id = launch(server, LAUNCH, params=params)
    tell_launched(server, out, err, backfill_id, len(set().union(*wanted.values())))
    return wait_for(server, out, err, backfill_id) if wait else OK


def choose_assets(assets: Sequence[Asset], only: str | None) -> list[Asset]:
    """Those that --only names; by default all but what is made on demand. Raises `RecipeError` for a word that names
    none."""
    if only is None:
        return [asset for asset in assets if not asset.is_on_demand]
    words = [word.strip() for word in only.split(",") if word.strip()]
    for word in words or [only]:
        if not any(word in asset.words for asset in assets):
            raise RecipeError(
                f"--only {word!r} names no asset of {assets[0].path[0]}",
                allowed=", ".join(dict.fromkeys(word for asset in assets for word in sorted(asset.words))),
                try_="--only filtered,export",
                file="command line",
            )
    return [asset for asset in assets if asset.words.intersection(words)]


def _choose_shards(recipe: str, partitions: Partitions, text: str) -> list[str]:
    given = {key.strip() for key in text.split(",") if key.strip()}
    if unknown := sorted(given.difference(partitions.keys)):
        raise RecipeError(
            f"--shards {', '.join(unknown)}: Dagster knows no such partition",
            allowed=some(partitions.keys) or "none is registered",
            try_=f"dj-assets drops list {recipe}; dj-assets drops add {recipe} registers what is new",
            file="command line",
        )
    return [key for key in partitions.keys if key in given]


def find_wanted(assets: Sequence[Asset], partitions: Partitions, states: Sequence[str]) -> Wanted:
    """What is in one of these states, and per shard what is made from it."""
    chosen: dict[tuple[str, ...], set[str]] = {}
    for asset in inputs_first(assets):
        before = (chosen.get(path, set()) for path in asset.inputs)
        chosen[asset.path] = partitions.having(asset, states).union(*before)
    found = {asset: [key for key in partitions.keys if key in chosen[asset.path]] for asset in inputs_first(assets)}
    return {asset: keys for asset, keys in found.items() if keys}


def launch_params(name: str, keys: Sequence[str], wanted: Wanted, *, title: str = "") -> dict[str, Any]:
    """What `launchPartitionBackfill` takes. keys: all registered ones: ranges go by their order."""
    common = {
        "title": title or f"dj-assets backfill {name}"[:100],
        "tags": [{"key": "dj_assets/recipe", "value": name}],
    }
    shards = list(wanted.values())
    if all(some_keys == shards[0] for some_keys in shards):
        return {**common, "assetSelection": [asset.key for asset in wanted], "partitionNames": list(shards[0])}
    return {
        **common,
        "partitionsByAssets": [
            {
                "assetKey": asset.key,
                "partitions": {"ranges": [{"start": start, "end": end} for start, end in ranges_of(keys, chosen)]},
            }
            for asset, chosen in wanted.items()
        ],
    }


def ranges_of(keys: Sequence[str], chosen: Sequence[str]) -> list[tuple[str, str]]:
    """The chosen keys as (first, last) of stretches of all keys."""
    found: list[tuple[str, str]] = []
    wanted, follows = set(chosen), False
    for key in keys:
        if key in wanted:
            found = [*found[:-1], (found[-1][0], key)] if follows else [*found, (key, key)]
        follows = key in wanted
    return found


def _print_wanted(out: Console, wanted: Wanted) -> None:
    rows = [(asset.name, str(len(keys)), some(keys)) for asset, keys in wanted.items()]
    print_table(out, ("asset", "shards", "which"), rows, numbers=("shards",))
