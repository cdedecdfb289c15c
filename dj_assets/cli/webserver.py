"""The webserver's GraphQL, for what must go through queue, launcher and pools. Knows no Dagster, only its answers."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dj_assets.cli.console import print_lines
from dj_assets.errors import DjAssetsError, RecipeError

if TYPE_CHECKING:
    from rich.console import Console

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

URL_VARIABLE = "DJ_ASSETS_URL"
DEFAULT_URL = "http://127.0.0.1:3000"
LOCATION = "dj_assets"
"""The code location's name in workspace.yaml and [tool.dg]."""

ON_DEMAND_TAG, RECIPE_TAG = "dj_assets/on_demand", "dj_assets/recipe"
"""As `dj_assets.defs.assets` has them, which would import Dagster."""

TIMEOUT_SECONDS = 120.0
SHOWN = 5


def url_option(command: Decorated) -> Decorated:
    """Add --url; the command gets `url`, for `Webserver`."""
    return click.option(
        "--url", metavar="URL", default="", help=f"Of the web interface. Default: {URL_VARIABLE}, else {DEFAULT_URL}."
    )(command)


class Webserver:
    """One webserver. Every method raises `DjAssetsError` where it cannot be asked or answers with an error."""

    def __init__(self, url: str = "") -> None:
        self.url = (url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise RecipeError(
                f"the web interface's address is {self.url!r}",
                allowed="http://HOST:PORT or https://…",
                try_=f"--url {DEFAULT_URL}",
                file="command line",
            )
        # A proxy knows nothing of this machine's ports.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """What a query or mutation answers, field by field.

        A field whose answer is one of Dagster's errors raises, so that a query must ask for the `message` of `Error`.
        """
        answer = self._post({"query": query, "variables": variables})
        if answer.get("errors"):
            messages = "; ".join(str(error.get("message")) for error in answer["errors"])
            raise DjAssetsError(
                f"{self.url} does not take the question: {messages}",
                allowed="a webserver of Dagster 1.13",
                try_="compare `dagster --version` of the webserver with the one here",
            )
        data: dict[str, Any] = answer.get("data") or {}
        for found in data.values():
            if isinstance(found, dict) and isinstance(found.get("message"), str):
                raise self._error(str(found.get("__typename")), found["message"])
        return data

    def _post(self, question: Mapping[str, Any]) -> dict[str, Any]:
        try:
            request = urllib.request.Request(
                f"{self.url}/graphql", json.dumps(question).encode(), {"Content-Type": "application/json"}
            )
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                text = response.read()
        except urllib.error.HTTPError as error:  # a refused query answers 400, with its errors
            text = error.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DjAssetsError(
                f"nobody answers at {self.url}: {getattr(error, 'reason', error)}",
                allowed="the address of a Dagster webserver that is running",
                try_=f"dj-assets ui, in another terminal; or --url, or {URL_VARIABLE}, where it listens elsewhere",
            ) from None
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise DjAssetsError(
                f"what answers at {self.url} is not a Dagster webserver: {text[:80].decode(errors='replace')!r}",
                allowed="the address that `dj-assets ui` prints",
                try_=f"--url, or {URL_VARIABLE}",
            )
        return answer

    def _error(self, kind: str, message: str) -> DjAssetsError:
        if kind == "RepositoryLocationNotFound":
            return self._not_served(self.locations())
        said = message.strip().splitlines()[0] if kind != "PythonError" else message.strip()
        return DjAssetsError(
            f"Dagster at {self.url} says {kind}: {said}",
            allowed="what its web interface would do as well",
            try_="read what the webserver has printed, then dj-assets reload",
        )

    def _not_served(self, locations: Iterable[str]) -> DjAssetsError:
        return DjAssetsError(
            f"{self.url} serves no location {LOCATION}",
            allowed=f"a workspace with location_name: {LOCATION}; it serves: {', '.join(locations) or 'none'}",
            try_="start it with dj-assets ui in the project's folder",
        )

    def locations(self) -> dict[str, str]:
        """Each code location and why it could not be loaded; empty where it could."""
        [found] = self.ask(LOCATIONS).values()
        return {entry["name"]: _root(entry["locationOrLoadError"] or {}) for entry in found["locationEntries"]}

    def raise_for_broken_location(self) -> None:
        """Raise where our location is not served or not loaded: then no asset is, and every name would seem unknown."""
        locations = self.locations()
        if LOCATION not in locations:
            raise self._not_served(locations)
        message = locations[LOCATION]
        if message:
            raise DjAssetsError(
                f"location {LOCATION} failed to load: {message.strip()}",
                allowed="definitions that load",
                try_="dj-assets check; mend it, then dj-assets reload",
            )

    def warn_of_edits(self, err: Console) -> None:
        """Say which recipes of this project were edited after they were loaded: nobody but `reload` looks at files."""
        from dj_assets.defs.project import project_root, recipe_paths

        [found] = self.ask(LOADED_AT).values()
        loaded_at = {entry["name"]: entry["updatedTimestamp"] for entry in found["locationEntries"]}.get(LOCATION)
        if loaded_at is None:
            return
        edited = [path.name for path in recipe_paths(project_root()) if path.stat().st_mtime > loaded_at]
        if edited:
            print_lines(err, [f"warning: edited since it was loaded: {some(edited)}; dj-assets reload comes first"])

    def broken_recipes(self) -> dict[str, str]:
        """Each recipe that could not be loaded, and its error."""
        [nodes] = self.ask(ERRORS).values()
        return {
            node["assetKey"]["path"][0]: next(
                (entry["text"] for entry in node["metadataEntries"] if entry.get("label") == "error"), ""
            )
            for node in nodes
            if node["assetKey"]["path"][1:] == ["recipe_error"]
        }

    def recipes(self) -> dict[str, list[Asset]]:
        """The partitioned assets of each recipe that is loaded, inputs first."""
        [nodes] = self.ask(GRAPH).values()
        found: dict[str, list[Asset]] = {}
        for node in nodes:
            if node["isPartitioned"] and node["isMaterializable"]:
                path = tuple(node["assetKey"]["path"])
                inputs = frozenset(tuple(key["path"]) for key in node["dependencyKeys"])
                tags = {tag["key"]: tag.get("value", "") for tag in node["tags"]}
                recipe = tags.get(RECIPE_TAG) or path[0]  # of a stage before a mapper it is not the key's first part
                asset = Asset(path, inputs, ON_DEMAND_TAG in tags, stage=path[0] if path[0] != recipe else "")
                found.setdefault(recipe, []).append(asset)
        return {name: inputs_first(assets) for name, assets in sorted(found.items())}

    def assets_of(self, recipe: str) -> list[Asset]:
        """The partitioned assets of one recipe, inputs first. recipe: its name. Raises where it is not loaded."""
        loaded = self.recipes()
        if recipe in loaded:
            return loaded[recipe]
        self.raise_for_broken_location()
        error = self.broken_recipes().get(recipe)
        if error is not None:
            raise RecipeError(f"recipe {recipe} is broken, as it was last loaded:\n{error}")
        raise RecipeError(
            f"the web interface at {self.url} knows no recipe {recipe}",
            allowed=", ".join(loaded) or "none is loaded",
            try_="dj-assets reload, if it is new",
            file="command line",
        )

    def partitions_of(self, assets: Sequence[Asset]) -> Partitions:
        """What was made of each shard so far."""
        [nodes] = self.ask(PARTITIONS, assets=[asset.key for asset in assets]).values()
        keys: list[str] = []
        states: dict[tuple[str, ...], dict[str, Sequence[str]]] = {}
        for node in nodes:
            keys = node["partitionKeys"]
            found = node["assetPartitionStatuses"]
            at_work = set(found["materializingPartitions"])
            states[tuple(node["assetKey"]["path"])] = {
                "missing": [key for key in found["unmaterializedPartitions"] if key not in at_work],
                "failed": found["failedPartitions"],
                "stale": [
                    key
                    for key, state in zip(keys, node["staleStatusByPartition"], strict=True)
                    if state == "STALE" and key not in at_work
                ],
            }
        return Partitions(tuple(keys), states)

    def backfill_page(self, backfill_id: str) -> str:
        """The page of a backfill in the web interface."""
        return f"{self.url}/runs/b/{backfill_id}"

    def daemon_is_alive(self) -> bool:
        """Whether somebody would start a backfill."""
        [found] = self.ask(DAEMON).values()
        return any(
            one["healthy"] for one in found["daemonHealth"]["allDaemonStatuses"] if one["daemonType"] == "BACKFILL"
        )


@dataclass(frozen=True)
class Asset:
    """path: its key, the recipe's name first. inputs: the keys of what it is made from.

    is_on_demand: made by hand only, like the pictures of a recipe that asks for none: nobody misses it. stage: of a
    recipe with mappers, the stage that it is of; empty for the last, and for recipes that have only one.
    """

    path: tuple[str, ...]
    inputs: frozenset[tuple[str, ...]] = frozenset()
    is_on_demand: bool = False
    stage: str = ""

    @property
    def key(self) -> dict[str, list[str]]:
        """As GraphQL takes it."""
        return {"path": list(self.path)}

    @property
    def name(self) -> str:
        """Without the recipe: `samples`, `stats/video_duration_filter`; of an earlier stage `clips__1/samples`."""
        return "/".join(self.path[0 if self.stage else 1 :])

    @cached_property
    def words(self) -> frozenset[str]:
        """What people may call it: its name, `stats` for each table of numbers, a step's key, its stage."""
        return frozenset({self.name, self.path[1], self.path[-1], *filter(None, [self.stage])})


@dataclass(frozen=True)
class Partitions:
    """keys: of all shards, in the order of their registration. states: asset → `missing`, `failed`, `stale` → keys."""

    keys: tuple[str, ...]
    states: Mapping[tuple[str, ...], Mapping[str, Sequence[str]]]

    def having(self, asset: Asset, wanted: Sequence[str]) -> set[str]:
        """The shards that are in one of these states."""
        return {key for state in wanted for key in self.states[asset.path][state]}


def _root(error: Mapping[str, Any]) -> str:
    """The message of what it all began with; Dagster's own only says that something failed."""
    causes = error.get("causes") or []
    return str((causes[-1] if causes else error).get("message") or "")


def recipe_name(given: str) -> str:
    """`recipes/video_time.yaml` or `video_time` → the name that its assets have."""
    from dj_assets import recipe

    return recipe.recipe_name(Path(given))


def inputs_first(assets: Sequence[Asset]) -> list[Asset]:
    """In an order in which they could be made."""
    left = sorted(assets, key=lambda asset: asset.path)
    paths = {asset.path for asset in left}
    done: dict[tuple[str, ...], Asset] = {}
    while left:
        ready = [asset for asset in left if asset.inputs & paths <= done.keys()]
        done.update((asset.path, asset) for asset in ready)
        left = [asset for asset in left if asset.path not in done]
    return list(done.values())


def some(keys: Sequence[str]) -> str:
    """The first few keys, and how many more there are."""
    return ", ".join(keys[:SHOWN]) + (f", … ({len(keys)})" if len(keys) > SHOWN else "")


LOCATIONS = """{ workspaceOrError { __typename
  ... on Workspace { locationEntries { name locationOrLoadError { __typename
    ... on PythonError { message causes { message } } } } }
  ... on Error { message } } }"""

LOADED_AT = """{ workspaceOrError { __typename
  ... on Workspace { locationEntries { name updatedTimestamp } } ... on Error { message } } }"""

GRAPH = "{ assetNodes { assetKey { path } isPartitioned isMaterializable dependencyKeys { path } tags { key value } } }"

ERRORS = "{ assetNodes { assetKey { path } metadataEntries { label ... on TextMetadataEntry { text } } } }"

PARTITIONS = """query ($assets: [AssetKeyInput!]) { assetNodes(assetKeys: $assets) {
  assetKey { path } partitionKeys staleStatusByPartition
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    failedPartitions unmaterializedPartitions materializingPartitions } } } }"""

DAEMON = "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"
