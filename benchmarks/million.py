"""A million videos × 5 measures in a store of their own: how long people wait for it (`python benchmarks/million.py`).

The store is synthesised (tables written with Arrow, no video is decoded) as 1000 runs of 1000 samples would have left
it, asked in processes of their own so that each shows its peak memory, and removed at the end. It needs about 1 GB of
disk for a million videos; `--videos 20000` shows the same in half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dj_assets.decide import decide
from dj_assets.decide_sql import write_kept, write_verdicts
from dj_assets.plan import Plan, Step, make_plan
from dj_assets.recipe import load_recipe
from dj_assets.samples import Video
from dj_assets.store import facts as facts_log
from dj_assets.store import files, gc, ledger
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.rows import Provenance
from dj_assets.store.schemas import FACTS, SAMPLES, STATS, Table
from dj_assets.store.store import Store

Result = TypeVar("Result")

SHARD_SIZE = 1000
SEED = 1
MEASURED_AT = "2026-11-22T10:00:00+00:00"
RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
process:
  - video_duration_filter: {min_duration: 2}
  - video_aspect_ratio_filter: {min_ratio: 1/2}
  - video_resolution_filter: {min_width: 640}
  - video_motion_score_filter: {min_score: 1.0}
  - video_ocr_area_ratio_filter: {max_area_ratio: 0.3}
"""


# --- synthesis --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shard:
    """One shard's videos. first_line: of the manifest, which is `drop`."""

    number: int
    hashes: pa.Array
    paths: pa.Array
    sample_ids: pa.Array
    first_line: int
    drop: str = "ds.jsonl"

    @property
    def key(self) -> str:
        return f"{self.drop.removesuffix('.jsonl')}-{self.number:05d}"

    def __len__(self) -> int:
        return len(self.hashes)


def shards(num_videos: int) -> Iterator[Shard]:
    rng = np.random.default_rng(SEED)
    for number, first in enumerate(range(0, num_videos, SHARD_SIZE)):
        count = min(SHARD_SIZE, num_videos - first)
        digits = rng.bytes(16 * count).hex()
        lines = range(first + 1, first + count + 1)
        yield Shard(
            number,
            pa.array([digits[at : at + 32] for at in range(0, 32 * count, 32)]),
            pa.array([f"/data/clips/{line // 1000:04d}/clip-{line:07d}.mp4" for line in lines]),
            pa.array([f"ds.jsonl:{line}" for line in lines]),
            first + 1,
        )


@dataclass(frozen=True)
class Numbers:
    """One stat of a shard's videos. windows: [video, window], one column for operators of one number."""

    stat: str
    values: np.ndarray
    windows: np.ndarray
    cost_seconds: float


def measured(step: Step, count: int, rng: np.random.Generator) -> list[Numbers]:
    """Numbers as real data has them: most pass each bound, some do not."""
    none = np.zeros((count, 0))
    match step.operator.name:
        case "video_duration_filter":
            return [Numbers("video_duration", rng.lognormal(2.0, 1.0, count).round(2), none, 0.004)]
        case "video_aspect_ratio_filter":
            return [Numbers("video_aspect_ratios", rng.choice([16 / 9, 4 / 3, 1.0, 9 / 16], count), none, 0.004)]
        case "video_resolution_filter":
            widths = rng.choice([480.0, 640.0, 1280.0, 1920.0], count, p=[0.1, 0.2, 0.4, 0.3])
            return [
                Numbers("video_width", widths, none, 0.004),
                Numbers("video_height", widths * 9 / 16, none, 0.004),
            ]
        case "video_motion_score_filter":
            windows = rng.gamma(2.0, 1.5, (count, 8))
            return [Numbers("video_motion_score", windows.mean(axis=1), windows, 0.9)]
        case "video_ocr_area_ratio_filter":
            windows = rng.beta(1.0, 8.0, (count, 3))
            return [Numbers("video_ocr_area_ratio", windows.mean(axis=1), windows, 2.5)]
    raise ValueError(f"{step.operator.name}: no numbers are stated for it here")


def lists(windows: np.ndarray) -> pa.Array:
    count, width = windows.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * width), pa.array(windows.ravel()))


def details(step: Step, windows: np.ndarray) -> pa.Array:
    """What OCR keeps of each window: a box."""
    if step.operator.name != "video_ocr_area_ratio_filter":
        return pa.array([[]] * len(windows), pa.list_(pa.string()))
    texts = [f'{{"boxes": [[{int(v * 1e3)}, {int(v * 7e2)}, {int(v * 3e3)}, 40]]}}' for v in windows.ravel()]
    offsets = np.arange(len(windows) + 1, dtype=np.int32) * windows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(texts))


def facts_of(step: Step, shard: Shard, numbers: Numbers, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Columns of a fact. One video in a hundred is unreadable."""
    count = len(shard)
    broken = rng.random(count) < 0.01
    return {
        "content_hash": shard.hashes,
        "operator": repeated(step.operator.name, count),
        "measure_id": repeated(step.measure_id, count),
        "stat": repeated(numbers.stat, count),
        "value": pa.array(numbers.values, mask=broken),
        "window_values": lists(numbers.windows),
        "window_details": details(step, numbers.windows),
        "status": pa.array(np.where(broken, "unreadable", "ok")),
        "reason": pa.array(np.where(broken, "the file ends before its first frame", "")),
        "cost_seconds": pa.array((rng.random(count) + 0.5) * numbers.cost_seconds),
        "device": repeated(step.device, count),
        "measured_at": repeated(MEASURED_AT, count),
    }


def repeated(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)


def table(kind: Table, pieces: list[dict[str, pa.Array]]) -> pa.Table:
    return pa.concat_tables(kind.conform(pa.table(piece)) for piece in pieces)


def samples_of(plan: Plan, shard: Shard) -> pa.Table:
    count = len(shard)
    video = {
        "field": repeated("videos", count),
        "position": pa.array(np.zeros(count, dtype=np.int64)),
        "given": pc.utf8_slice_codeunits(shard.paths, 6),
        "path": shard.paths,
        "content_hash": shard.hashes,
        "num_bytes": pa.array(np.full(count, 4_000_000)),
        "modified_ns": pa.array(np.full(count, 1_700_000_000_000_000_000)),
        "status": repeated("ok", count),
        "reason": repeated("", count),
    }
    structs = pa.StructArray.from_arrays([video[name] for name in Video.__dataclass_fields__], list(video))
    records = [
        json.dumps({"text": "<__dj__video> a clip of a million", "videos": [given]})
        for given in video["given"].to_pylist()
    ]
    columns = {
        "recipe": repeated(plan.recipe.name, count),
        "shard": repeated(shard.key, count),
        "sample_id": shard.sample_ids,
        "drop": repeated(shard.drop, count),
        "line_number": pa.array(np.arange(shard.first_line, shard.first_line + count)),
        "record": pa.array(records),
        "videos": pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), structs),
        "status": repeated("ok", count),
        "reason": repeated("", count),
        "raw": repeated("", count),
    }
    return SAMPLES.conform(pa.table(columns))


def synthesise(plan: Plan, store: Store, num_videos: int) -> None:
    """The files that runs over every shard would have left: samples, facts, stats, ledger."""
    write_shards(plan, store, shards(num_videos))


def write_shards(plan: Plan, store: Store, every: Iterable[Shard]) -> None:
    rng = np.random.default_rng(SEED + 1)
    for step in plan.steps:
        params = json.loads(step.params.model_dump_json())
        info = MeasureInfo(step.operator.name, step.measure_id, step.operator.version, params, step.device)
        store.describe_measure(info)
    for shard in every:
        origin = Provenance(
            asset="samples",
            shard=shard.key,
            recipe=plan.recipe.name,
            recipe_sha256=plan.recipe.sha256,
            code_version="",
            run_id=f"{shard.number:08d}-0000-4000-8000-000000000000",
            created_at=MEASURED_AT,
            rows=len(shard),
            versions="dj-assets, synthesised",
        )
        write(store, SAMPLES, store.samples_path(plan.recipe.name, shard.key), samples_of(plan, shard), origin)
        for step in plan.steps:
            write_measured(plan, store, step, shard, origin, rng)


def write_measured(
    plan: Plan, store: Store, step: Step, shard: Shard, origin: Provenance, rng: np.random.Generator
) -> None:
    """One step's facts and stats of one shard."""
    count = len(shard)
    facts = [facts_of(step, shard, numbers, rng) for numbers in measured(step, count, rng)]
    origin = replace(origin, code_version=step.measure_id, rows=len(facts) * count, asset=f"stats/{step.key}")
    run = {"run_id": repeated(origin.run_id, count), "versions": repeated(origin.versions, count)}
    folder = facts_log.folder_of(store.root, step.operator.name, step.measure_id)
    path = folder / f"{uuid.uuid4().hex}.parquet"
    files.write_table(path, FACTS, table(FACTS, [{**fact, **run} for fact in facts]), origin)
    place = {
        "recipe": repeated(plan.recipe.name, count),
        "shard": repeated(shard.key, count),
        "step": repeated(step.key, count),
        "sample_id": shard.sample_ids,
        "field": repeated("videos", count),
        "position": pa.array(np.zeros(count, dtype=np.int64)),
        "path": shard.paths,
        "reused": pa.array(np.zeros(count, dtype=bool)),
    }
    rows = table(STATS, [{**place, **fact} for fact in facts])
    write(store, STATS, store.stats_path(plan.recipe.name, step.key, shard.key), rows, origin)


def write(store: Store, kind: Table, path: Path, rows: pa.Table, origin: Provenance) -> None:
    files.write_table(path, kind, rows, origin)
    ledger.append(store.root, kind=kind.name, path=path, provenance=origin)


# --- questions, each in a process of its own --------------------------------------------------------------------------


@dataclass(frozen=True)
class Lookup:
    """Hashes to look up: a shard's (a rerun), as many from everywhere, one, or none that is known."""

    plan: Plan
    store: Store
    num_videos: int

    def wanted(self, which: str) -> list[str]:
        every = [shard.hashes for shard in shards(self.num_videos)]
        if which == "shard":
            return every[len(every) // 2].to_pylist()
        if which == "unknown":
            return [f"{number:032x}" for number in range(1000)]
        known = pa.chunked_array(every)
        count = 1 if which == "one" else min(1000, len(known))
        return known.take(np.random.default_rng(SEED).choice(len(known), count, replace=False)).to_pylist()


def ask_lookup(asked: Lookup, which: str) -> tuple[float, str]:
    wanted = asked.wanted(which)
    step = next(step for step in asked.plan.steps if step.operator.name == "video_motion_score_filter")
    asked.store.find_facts(step.operator.name, step.measure_id, ["0" * 32])  # what Python imports is not the question
    seconds, found = timed(lambda: asked.store.find_facts(step.operator.name, step.measure_id, wanted))
    return seconds, f"{len(found)} of {len(wanted)} found"


def ask_index(asked: Lookup) -> tuple[float, str]:
    import duckdb

    (asked.store.index_path).unlink(missing_ok=True)
    built, warning = timed(asked.store.refresh_index)
    if warning:
        raise RuntimeError(warning)

    def look() -> int:
        connection = duckdb.connect(f"duckdb:{asked.store.index_path}", read_only=True)
        try:
            return len(connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall())
        finally:
            connection.close()

    seconds, views = timed(look)
    return seconds, f"{views} views; built anew in {built:.2f} s"


def ask_sql(asked: Lookup) -> tuple[float, str]:
    import duckdb

    connection = duckdb.connect(f"duckdb:{asked.store.index_path}", read_only=True)
    try:
        sql = "SELECT stat, count(value), avg(value) FROM stats GROUP BY stat"
        seconds, rows = timed(lambda: connection.execute(sql).fetchall())
    finally:
        connection.close()
    return seconds, f"{len(rows)} stats"


def ask_verdicts(asked: Lookup) -> tuple[float, str]:
    path = asked.store.root / "verdicts.parquet"
    seconds, summary = timed(lambda: write_verdicts(asked.plan, asked.store, path))
    return seconds, f"{summary.samples} samples, {summary.kept} kept, {sum(summary.undecided.values())} undecided"


def ask_kept(asked: Lookup) -> tuple[float, str]:
    verdicts, path = asked.store.root / "verdicts.parquet", asked.store.root / "kept.jsonl"
    seconds, count = timed(lambda: write_kept(asked.plan, asked.store, verdicts, path))
    return seconds, f"{count} lines"


def ask_shard(asked: Lookup) -> tuple[float, str]:
    """The way that a shard's run takes: rows as Python objects."""
    key = f"ds-{0:05d}"

    def one() -> int:
        samples = asked.store.read_samples(asked.plan.recipe.name, key)
        rows = {step.key: asked.store.read_stats(asked.plan.recipe.name, step.key, key) for step in asked.plan.steps}
        return sum(verdict.outcome == "kept" for verdict in decide(asked.plan, samples, rows))

    one()
    seconds, kept = timed(one)
    return seconds, f"{kept} kept; one shard, row by row"


def ask_chores(asked: Lookup) -> tuple[float, str]:
    seconds, chores = timed(lambda: gc.find_chores(asked.store.root))
    return seconds, f"{sum(len(merge.paths) for merge in chores.merges)} files to merge"


def ask_gc(asked: Lookup) -> tuple[float, str]:
    chores = gc.find_chores(asked.store.root)
    seconds, done = timed(lambda: gc.do(asked.store.root, chores))
    facts_log.GRACE_SECONDS = 0.0  # nobody else reads this store
    gc.do(asked.store.root, gc.find_chores(asked.store.root))
    left = len(list((asked.store.root / "measures").glob("*/*/*.parquet")))
    return seconds, f"{done.merged} files became {left}"


def ask_why(asked: Lookup) -> tuple[float, str]:
    """The whole command, imports included, as people wait for it."""
    (content_hash,) = asked.wanted("one")
    command = [str(Path(sys.executable).with_name("dj-assets")), "why", content_hash]
    environment = {**os.environ, "DJ_ASSETS_STORE": str(asked.store.root)}
    seconds, result = timed(
        lambda: subprocess.run(command, env=environment, cwd=asked.plan.recipe.dataset_path.parent, capture_output=True)
    )
    return seconds, f"exit code {result.returncode}"


QUESTIONS: dict[str, tuple[str, Callable[[Lookup], tuple[float, str]]]] = {
    "index": ("open the index", ask_index),
    "sql": ("mean of every stat, in SQL", ask_sql),
    "verdicts": ("verdicts under 5 bounds", ask_verdicts),
    "kept": ("export list", ask_kept),
    "shard": ("verdicts of one shard in Python", ask_shard),
    "why": ("dj-assets why, one video", ask_why),
    **{
        f"find-{which}": (f"find_facts, {words}", lambda asked, which=which: ask_lookup(asked, which))
        for which, words in (
            ("shard", "1000 of one shard"),
            ("random", "1000 from everywhere"),
            ("one", "1 hash"),
            ("unknown", "1000 unknown"),
        )
    },
    "chores": ("gc: find what to do", ask_chores),
    "gc": ("gc: merge the facts", ask_gc),
}
FINDS = ("find-shard", "find-random", "find-one", "find-unknown")
BEFORE_GC = ("index", "sql", "verdicts", "kept", "shard", "why", *FINDS, "chores", "gc")
AFTER_GC = (*FINDS, "why")


def timed(do: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = do()
    return time.perf_counter() - started, result


def peak_mb() -> float:
    """Most memory that this process held. Not `ru_maxrss`, which a child inherits from its parent on Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


# --- the table --------------------------------------------------------------------------------------------------------


def a_plan(folder: Path) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ds.jsonl").write_text('{"text": "", "videos": []}\n', encoding="utf-8")
    recipe = folder / "million.yaml"
    recipe.write_text(RECIPE.replace(": ds", f": {folder}/ds").replace(": out", f": {folder}/out"), encoding="utf-8")
    return make_plan(load_recipe(recipe))


def ask(name: str, folder: Path, num_videos: int) -> None:
    """Ask in a new process, and print its line."""
    command = [sys.executable, __file__, "--folder", str(folder), "--videos", str(num_videos), "--question", name]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        print(f"| {QUESTIONS[name][0]} | failed: {result.stderr.strip().splitlines()[-1]} | | | |", flush=True)
        return
    answer = json.loads(result.stdout.splitlines()[-1])
    print(
        f"| {QUESTIONS[name][0]} | {answer['seconds']:.2f} | {answer['cpu_seconds']:.1f} "
        f"| {answer['peak_mb']:.0f} | {answer['detail']} |",
        flush=True,
    )


def print_sizes(plan: Plan, store: Store, num_videos: int) -> None:
    num_rows = num_videos * sum(len(step.operator.stats) for step in plan.steps)
    for kind, pattern, rows in (
        ("samples", "tables/*/samples/*.parquet", num_videos),
        ("stats", "tables/*/stats/*/*.parquet", num_rows),
        ("facts", "measures/*/*/*.parquet", num_rows),
        ("ledger", "ledger/*/*.json", 0),
    ):
        sizes = [path.stat().st_size for path in store.root.glob(pattern)]
        each = f"{sum(sizes) / rows:.0f} bytes a row" if rows else ""
        print(f"| size of {kind} | | | | {sum(sizes) / 1e6:.0f} MB in {len(sizes)} files, {each} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to put the store; default a new temporary folder")
    parser.add_argument("--question", choices=QUESTIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.question:
        asked = Lookup(a_plan(arguments.folder), Store(arguments.folder / "store"), arguments.videos)
        seconds, detail = QUESTIONS[arguments.question][1](asked)
        answer = {"seconds": seconds, "cpu_seconds": time.process_time(), "peak_mb": peak_mb(), "detail": detail}
        print(json.dumps(answer))
        return
    folder = Path(tempfile.mkdtemp(prefix="dj-assets-million-", dir=arguments.folder)).absolute()
    try:
        plan, store = a_plan(folder), Store(folder / "store")
        seconds, _ = timed(lambda: synthesise(plan, store, arguments.videos))
        print(f"{arguments.videos} videos × {len(plan.steps)} measures, synthesised in {seconds:.0f} s\n")
        print("| question | seconds | CPU seconds, with start | peak memory, MB | |\n|---|---:|---:|---:|---|")
        print_sizes(plan, store, arguments.videos)
        for name in BEFORE_GC:
            ask(name, folder, arguments.videos)
        print("| after gc | | | | |")
        print_sizes(plan, store, arguments.videos)
        for name in AFTER_GC:
            ask(name, folder, arguments.videos)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
