"""`dj-assets stale`: what is stale, shard by shard, and why. The web interface shows it one partition at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import FAILED, OK
from dj_assets.cli.verbosity import verbose_option
from dj_assets.cli.webserver import Asset, Webserver, recipe_name, some, url_option

MOST_REASONS = 3

CAUSES = """query ($assets: [AssetKeyInput!], $partitions: [String!]) { assetNodes(assetKeys: $assets) {
  staleCausesByPartition(partitions: $partitions) { key { path } category reason dependency { path } } } }"""


@dataclass(frozen=True)
class Staleness:
    """Of one asset. stale: shard → why, each reason once. missing: shards never made. num_shards: of all."""

    asset: Asset
    num_shards: int
    stale: Mapping[str, tuple[str, ...]]
    missing: tuple[str, ...]

    @property
    def by_reason(self) -> dict[tuple[str, ...], list[str]]:
        """Why → the shards of which that is true."""
        found: dict[tuple[str, ...], list[str]] = {}
        for key, reasons in self.stale.items():
            found.setdefault(reasons, []).append(key)
        return found


@click.command(
    name="stale",
    epilog="""\b
Examples:
  dj-assets stale
  dj-assets stale recipes/video_time.yaml --exit-code
  dj-assets stale video_time --json

\b
Exit codes:
  0    told; with --exit-code: nothing is stale
  1    nobody answers; with --exit-code: something is stale
  2    no such recipe
""",
)
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every shard.")
@click.option("--exit-code", "tells_by_code", is_flag=True, help="Exit with 1 where something is stale.")
@url_option
@verbose_option
def command(recipes: tuple[str, ...], as_json: bool, tells_by_code: bool, url: str) -> None:
    """Say what is stale in these recipes, by default all, and why.

    Stale is what was made by other code, under other options or bounds, or from inputs that have changed. After a
    recipe was edited, dj-assets reload comes first. What was never made is counted beside it.
    """
    out = console()
    server = Webserver(url)
    if not recipes:
        server.raise_for_broken_location()
    loaded = {name: server.assets_of(name) for name in map(recipe_name, recipes)} if recipes else server.recipes()
    server.warn_of_edits(console(stderr=True))
    found = {name: find_stale(server, assets) for name, assets in loaded.items()}
    if as_json:
        click.echo(json.dumps({name: _as_json(all_of_it) for name, all_of_it in found.items()}, ensure_ascii=False))
    else:
        for name, all_of_it in found.items():
            _print(out, name, all_of_it)
    is_stale = any(one.stale for all_of_it in found.values() for one in all_of_it)
    click.get_current_context().exit(FAILED if tells_by_code and is_stale else OK)


def find_stale(server: Webserver, assets: Sequence[Asset]) -> list[Staleness]:
    """Of each of these assets, but for what is made on demand: nobody waits for it."""
    assets = [asset for asset in assets if not asset.is_on_demand]
    partitions = server.partitions_of(assets)
    found = []
    for asset in assets:
        states = partitions.states[asset.path]
        stale = {key: _reasons(asset, causes) for key, causes in _causes(server, asset, states["stale"]).items()}
        found.append(Staleness(asset, len(partitions.keys), stale, tuple(states["missing"])))
    return found


def _causes(server: Webserver, asset: Asset, keys: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    if not keys:
        return {}
    [[node]] = server.ask(CAUSES, assets=[asset.key], partitions=list(keys)).values()
    return dict(zip(keys, node["staleCausesByPartition"], strict=True))


def _reasons(asset: Asset, causes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """`has a new code version`, or `filtered has a new code version` where the cause lies further up."""
    texts = []
    for cause in causes:
        of = "" if tuple(cause["key"]["path"]) == asset.path else _short(asset, cause["key"]["path"]) + " "
        what = f": {_short(asset, cause['dependency']['path'])}" if cause["dependency"] else ""
        texts.append(f"{of}{cause['reason']}{what}")
    return tuple(dict.fromkeys(texts))


def _short(asset: Asset, path: Sequence[str]) -> str:
    """Another asset without the recipe; with the stage where that is another one."""
    return "/".join(path[1 if path[0] == asset.path[0] else 0 :])


def _as_json(found: Sequence[Staleness]) -> dict[str, Any]:
    return {
        one.asset.name: {"shards": one.num_shards, "stale": dict(one.stale), "missing": list(one.missing)}
        for one in found
    }


def _print(out: Any, name: str, found: Sequence[Staleness]) -> None:
    rows = []
    for one in found:
        for reasons, keys in one.by_reason.items():
            why = "; ".join(reasons[:MOST_REASONS]) + ("; …" if len(reasons) > MOST_REASONS else "")
            rows.append((one.asset.name, "stale", str(len(keys)), why, some(keys)))
        if one.missing:
            rows.append((one.asset.name, "missing", str(len(one.missing)), "never made", some(one.missing)))
    num_shards = max((one.num_shards for one in found), default=0)
    is_stale = any(one.stale for one in found)
    print_lines(out, [f"{name}: {counted(num_shards, 'shard')}, {'stale in part' if is_stale else 'nothing is stale'}"])
    print_table(out, ("asset", "state", "shards", "why", "which"), rows, numbers=("shards",))
    if is_stale:
        print_lines(out, [f"dj-assets backfill {name} --stale makes it anew", ""])
