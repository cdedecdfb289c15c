"""A project of 2000 shards in daily use: `python -m benchmarks.daily`.

Asked of a real webserver and a real daemon: how long a sensor's tick takes, what a changed bound makes stale, how long
the backfill over hundreds of shards takes, and how long the queries of the pages take. Store and data drops are
synthesised and no video exists, so that a decode would be a failure. `--hold` leaves all of it running to be looked at.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from benchmarks.million import SEED, Shard, timed, write_shards
from dj_assets.defs import versions
from dj_assets.defs.assets import RecipeGraph
from dj_assets.defs.resources import StoreResource
from dj_assets.defs.sensors import drops_sensor
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import load_recipe
from dj_assets.store.store import Store
from dj_assets_tests.live import INSTANCE, LiveProject, live_project

RECIPE = """\
dataset_path: landing
export_path: outputs/{name}/res.jsonl
process:
  - video_duration_filter: {{min_duration: 2}}
  - video_aspect_ratio_filter: {{min_ratio: 1/2}}
  - video_resolution_filter: {{min_width: 640}}
  - video_motion_score_filter: {{min_score: 1.0}}
  - video_ocr_area_ratio_filter: {{max_area_ratio: 0.3}}
dj_assets: {{landing: {{complete: renamed}}}}
"""
BACKFILL = """mutation($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""
STATUS = """query($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status numPartitions runs { status startTime endTime } }
  }
}"""
GRAPH = """{
  assetNodes(group: {groupName: "big", repositoryName: "__repository__", repositoryLocationName: "dj_assets"}) {
    assetKey { path } dependencyKeys { path } groupName kinds computeKind
    assetMaterializations(limit: 1) { timestamp runId }
    partitionStats { numMaterialized numFailed numPartitions numMaterializing }
  }
}"""
HEALTH = """query($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionKeys
    assetPartitionStatuses {
      ... on DefaultPartitionStatuses { materializedPartitions failedPartitions unmaterializedPartitions }
    }
  } }
}"""
STALE = """query($keys: [AssetKeyInput!]!, $partitions: [String!]!) {
  assetNodes(assetKeys: $keys) { assetKey { path } staleStatusByPartition(partitions: $partitions) }
}"""
RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "dj_assets") { __typename } }'


def shards(num_shards: int, size: int) -> Iterator[Shard]:
    """Each shard is a data drop of its own."""
    rng = np.random.default_rng(SEED)
    for number in range(num_shards):
        digits = rng.bytes(16 * size).hex()
        drop = f"drop-{number:05d}.jsonl"
        yield Shard(
            0,
            pa.array([digits[at : at + 32] for at in range(0, 32 * size, 32)]),
            pa.array([f"/data/clips/{number:05d}/clip-{line:05d}.mp4" for line in range(1, size + 1)]),
            pa.array([f"{drop}:{line}" for line in range(1, size + 1)]),
            1,
            drop,
        )


def lay_out(folder: Path, num_shards: int, size: int) -> None:
    """Data drops, and the store as if every shard had been measured."""
    (folder / "landing").mkdir()
    every = list(shards(num_shards, size))
    for shard in every:
        lines = [json.dumps({"text": "a clip", "videos": [path]}) + "\n" for path in shard.paths.to_pylist()]
        (folder / "landing" / shard.drop).write_text("".join(lines), encoding="utf-8")
    plan = plan_of(folder)
    write_shards(plan, Store(folder / ".dj_assets" / "store"), every)


def plan_of(folder: Path) -> Plan:
    """The recipe, its dataset path made absolute, since the project's folder is nobody's working directory here."""
    recipe = folder / "recipes" / "big.yaml"
    text = recipe.read_text().replace("dataset_path: landing", f"dataset_path: {folder}/landing")
    recipe.write_text(text, encoding="utf-8")
    return make_plan(load_recipe(recipe))


def report_samples(live: LiveProject, keys: list[str]) -> None:
    """The samples of every shard as materialized. Not the stats, which would be six times as many events."""
    plan = plan_of(live.folder)
    samples = RecipeGraph(plan).samples
    with live.in_folder(), dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("big_shards", keys)
        for key in keys:
            tags = {"dagster/code_version": versions.samples_code_version(plan), "dagster/data_version": key}
            instance.report_runless_asset_event(dg.AssetMaterialization(samples, partition=key, tags=tags))


def tick(live: LiveProject, cursor: str | None) -> dg.SensorResult:
    plan, store = plan_of(live.folder), live.folder / ".dj_assets" / "store"
    with live.in_folder(), dg.DagsterInstance.get() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"store": StoreResource(root=str(store))}
        )
        result = drops_sensor(plan)(context)
    assert isinstance(result, dg.SensorResult)
    return result


def backfill(live: LiveProject, names: list[str], keys: list[str]) -> str:
    """Launch one, wait for its end. Returns its runs in words. Raises RuntimeError where it fails."""
    selection = [{"path": ["big", name]} for name in names]
    asked = {"assetSelection": selection, "partitionNames": keys}
    answer = live.graphql(BACKFILL, backfill=asked)["launchPartitionBackfill"]
    backfill_id = answer.get("backfillId", "")

    def ended() -> dict[str, Any] | None:
        found = live.graphql(STATUS, id=backfill_id)["partitionBackfillOrError"]
        return found if found["status"] not in ("REQUESTED", "IN_PROGRESS") else None

    found = live.wait_for(ended, 900)
    if found["status"] not in ("COMPLETED", "COMPLETED_SUCCESS"):
        raise RuntimeError(f"backfill {backfill_id} ended as {found['status']}\n{live.log.read_text()[-3000:]}")
    seconds = [run["endTime"] - run["startTime"] for run in found["runs"]]
    return f"{len(seconds)} run of {sum(seconds):.1f} s; the rest is the daemon's intervals"


def stale(live: LiveProject, names: list[list[str]], keys: list[str]) -> dict[str, Counter[str]]:
    found = live.graphql(STALE, keys=[{"path": ["big", *name]} for name in names], partitions=keys)["assetNodes"]
    return {"/".join(one["assetKey"]["path"]): Counter(one["staleStatusByPartition"]) for one in found}


def line(what: str, seconds: float, detail: str = "") -> None:
    print(f"| {what} | {seconds:.2f} | {detail} |", flush=True)


def ask(live: LiveProject, num_shards: int, batch: int) -> None:
    keys = [shard.key for shard in shards(num_shards, 1)]
    print("| what | wall s | |\n|---|---:|---|")
    line("report the samples of all shards as materialized", timed(lambda: report_samples(live, keys))[0])
    ask_ticks(live, num_shards)
    some = keys[:batch]
    line(
        f"backfill of filtered and export, {batch} shards",
        *timed(lambda: backfill(live, ["filtered", "export"], some)),
    )

    recipe = live.folder / "recipes" / "big.yaml"
    recipe.write_text(recipe.read_text().replace("min_score: 1.0", "min_score: 1.5"))
    line("reload definitions after a moved bound", timed(lambda: live.graphql(RELOAD))[0])
    names = [["filtered"], ["export"]]
    seconds, counts = timed(lambda: stale(live, names, some))
    line("what is stale", seconds, "; ".join(f"{name}: {dict(count)}" for name, count in counts.items()))
    for name in ("filtered", "export"):
        seconds, detail = timed(lambda name=name: backfill(live, [name], some))  # type: ignore[misc]
        line(f"backfill of {name} alone under the moved bound, {batch} shards, no decode", seconds, detail)
    seconds, counts = timed(lambda: stale(live, names, some))
    line("what is stale then", seconds, "; ".join(f"{name}: {dict(count)}" for name, count in counts.items()))
    ask_pages(live, num_shards)


def ask_ticks(live: LiveProject, num_shards: int) -> None:
    cursor: str | None = None
    taken, slices, longest = 0, 0, 0.0
    while taken < num_shards:
        began = time.perf_counter()
        result = tick(live, cursor)
        cursor, slices, longest = result.cursor, slices + 1, max(longest, time.perf_counter() - began)
        taken += len(result.run_requests or ())
    line("longest tick of a sensor that finds every drop new", longest, f"{num_shards} drops in {slices} ticks")
    seconds, result = timed(lambda: tick(live, cursor))
    line("tick over drops that are all known", seconds, f"{len(result.run_requests or ())} runs, {num_shards} drops")


def ask_pages(live: LiveProject, num_shards: int) -> None:
    def query(text: str, **variables: Any) -> Callable[[], Any]:
        return lambda: live.graphql(text, **variables)

    line("asset graph of the recipe, with partition counts", timed(query(GRAPH))[0], f"{num_shards} partitions each")
    seconds, _ = timed(query(HEALTH, key={"path": ["big", "filtered"]}))
    line("partition page of one asset", seconds, f"{num_shards} partitions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=50, help="in each shard")
    parser.add_argument("--batch", type=int, default=500, help="shards of one backfill")
    parser.add_argument("--hold", action="store_true", help="leave it running until Ctrl-C")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daily-") as name:
        folder = Path(name) / "p"
        started = time.perf_counter()

        def prepare(folder: Path) -> None:
            lay_out(folder, arguments.shards, arguments.samples)
            print(f"{arguments.shards} shards of {arguments.samples} samples laid out in ", end="")
            print(f"{time.perf_counter() - started:.0f} s\n", flush=True)

        served = live_project(
            folder, recipes={"big": RECIPE}, num_videos=0, prepare=prepare, instance=INSTANCE, is_quick=False
        )
        with served as live:
            ask(live, arguments.shards, min(arguments.batch, arguments.shards))
            if arguments.hold:
                print(f"\n{live.url} is there until Ctrl-C; the project lies in {live.folder}", flush=True)
                try:
                    while True:
                        time.sleep(3600)
                except KeyboardInterrupt:
                    pass


if __name__ == "__main__":
    main()
