"""Fifty recipes over a thousand shards each: what loading them and one more run cost (`python -m benchmarks.scale`).

Data drops, store and clips are synthesised; a clip is a few bytes of text, so that a decode would be a failure. Every
line is asked in processes of its own, and the median is told. The table goes to the terminal and into
`.bench/results/scale.md`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import dagster as dg

    from benchmarks.million import Shard
    from dj_assets.plan import Plan

Result = TypeVar("Result")

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / ".bench" / "results" / "scale.md"

STEPS = (
    "video_duration_filter: {{min_duration: {bound}}}",
    "video_motion_score_filter: {{min_score: 0.{bound}}}",
    "video_resolution_filter: {{min_width: {bound}00}}",
    "video_aspect_ratio_filter: {{min_ratio: 1/{bound}}}",
    "video_ocr_area_ratio_filter: {{max_area_ratio: 0.{bound}}}",
)
ASKED = "r03"
"""The recipe whose shards are run: one of five steps."""

ONE = "one"
"""A recipe of the same steps over the first shard of that one, for the command line."""


@dataclass(frozen=True)
class Size:
    """Of the project. samples: in each shard. runs: runs of one shard each. batch: shards of a run over many."""

    recipes: int
    shards: int
    samples: int
    runs: int
    batch: int


# --- synthesis --------------------------------------------------------------------------------------------------------


def lay_out(folder: Path, size: Size) -> None:
    """Recipes, data drops, the clips of the shards that are read, what a run over all shards would have left in the
    store, and the partitions of every recipe in the Dagster instance."""
    (folder / "recipes").mkdir(parents=True)
    for number in range(size.recipes):
        name = f"r{number:02d}"
        write_recipe(folder / "recipes" / f"{name}.yaml", folder / "landing" / name, folder / "clips", number)
        write_drops(folder, folder / "landing" / name, size)
    write_recipe(folder / f"{ONE}.yaml", folder / f"{ONE}.jsonl", folder / "clips", int(ASKED[1:]))
    shutil.copy(folder / "landing" / ASKED / drop_name(0), folder / f"{ONE}.jsonl")
    (folder / "clips").mkdir()
    for shard in range(size.runs + 1):
        for line in range(size.samples):
            clip_path(folder, shard, line).write_bytes(clip_bytes(shard, line))
    write_store(folder, size)
    register(folder)


def write_recipe(path: Path, dataset: Path, clips: Path, number: int) -> None:
    """Two to five steps, under bounds that differ from recipe to recipe."""
    steps = "\n".join(f"  - {step.format(bound=1 + number % 9)}" for step in STEPS[: 2 + number % 4])
    path.write_text(
        f"dataset_path: {dataset}\nexport_path: outputs/{path.stem}/res.jsonl\nprocess:\n{steps}\n"
        f"dj_assets: {{roots: [{clips}], landing: {{complete: renamed}}}}\n",
        encoding="utf-8",
    )


def drop_name(shard: int) -> str:
    return f"drop-{shard:05d}.jsonl"


def clip_path(folder: Path, shard: int, line: int) -> Path:
    return folder / "clips" / f"clip-{shard:05d}-{line:05d}.mp4"


def clip_bytes(shard: int, line: int) -> bytes:
    return f"no video: clip {line} of shard {shard}".encode()


def write_drops(folder: Path, landing: Path, size: Size) -> None:
    landing.mkdir(parents=True)
    for shard in range(size.shards):
        videos = [[str(clip_path(folder, shard, line))] for line in range(size.samples)]
        lines = [json.dumps({"text": "a clip", "videos": one}) + "\n" for one in videos]
        (landing / drop_name(shard)).write_text("".join(lines), encoding="utf-8")


def write_store(folder: Path, size: Size) -> None:
    from benchmarks.million import write_shards
    from dj_assets.store.store import Store

    write_shards(plan_of(folder), Store(folder / ".dj_assets" / "store"), shards(folder, size))


def shards(folder: Path, size: Size) -> Iterator[Shard]:
    import pyarrow as pa

    from benchmarks.million import Shard

    for shard in range(size.shards):
        lines = range(size.samples)
        hashes = [hashlib.blake2b(clip_bytes(shard, line), digest_size=16).hexdigest() for line in lines]
        paths = [str(clip_path(folder, shard, line)) for line in lines]
        ids = [f"{drop_name(shard)}:{line + 1}" for line in lines]
        yield Shard(0, pa.array(hashes), pa.array(paths), pa.array(ids), 1, drop_name(shard))


def plan_of(folder: Path) -> Plan:
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    return make_plan(load_recipe(folder / "recipes" / f"{ASKED}.yaml"))


def register(folder: Path) -> None:
    from dj_assets.defs.partitions import register_shards
    from dj_assets.defs.project import recipe_paths
    from dj_assets.defs.resources import project_instance
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    with project_instance() as instance:
        for path in recipe_paths(folder):
            register_shards(instance, make_plan(load_recipe(path)))


# --- questions, each in a process of its own --------------------------------------------------------------------------

Answer = tuple[float, str]
"""(seconds, what was seen)"""


def timed(do: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = do()
    return time.perf_counter() - started, result


def ask_dagster(folder: Path, size: Size) -> Answer:
    import importlib

    return timed(lambda: importlib.import_module("dagster"))[0], "the floor: nothing of ours"


def ask_definitions(folder: Path, size: Size) -> Answer:
    import importlib

    seconds, module = timed(lambda: importlib.import_module("dj_assets.definitions"))
    heavy = [name for name in ("torch", "easyocr", "cv2", "av", "duckdb", "pyarrow") if name in sys.modules]
    return seconds, f"{len(list(module.defs.assets))} asset definitions; heavy imports: {', '.join(heavy) or 'none'}"


def ask_cold_definitions(folder: Path, size: Size) -> Answer:
    """Python and its files out of the system's cache first, as after a boot."""
    forget_files(Path(sys.prefix))
    forget_files(CHECKOUT / "dj_assets")
    return ask_definitions(folder, size)


def forget_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.suffix in (".py", ".pyc", ".so") and path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def ask_repository(folder: Path, size: Size) -> Answer:
    """What a code server does once the module is there, before it answers."""
    from dagster._core.remote_representation.external_data import RepositorySnap

    from dj_assets.definitions import defs

    def resolved() -> int:
        return len(RepositorySnap.from_def(defs.get_repository_def()).asset_nodes)

    seconds, count = timed(resolved)
    return seconds, f"{count} assets"


def ask_partitions(folder: Path, size: Size) -> Answer:
    from dj_assets.defs.partitions import partitions_name
    from dj_assets.defs.project import recipe_paths
    from dj_assets.defs.resources import project_instance

    with project_instance() as instance:
        names = [partitions_name(path.stem) for path in recipe_paths(folder)]
        seconds, counts = timed(lambda: [len(instance.get_dynamic_partitions(name)) for name in names])
    return seconds, f"{sum(counts)} partitions of {len(counts)} recipes"


def ask_tick(folder: Path, size: Size) -> Answer:
    """A sensor's tick when it knows every drop. It takes several to know them."""
    import dagster as dg

    from dj_assets.defs.resources import StoreResource, project_instance
    from dj_assets.defs.sensors import drops_sensor

    plan, cursor = plan_of(folder), None
    with project_instance() as instance:

        def tick() -> dg.SensorResult:
            store = StoreResource(root=str(folder / ".dj_assets" / "store"))
            return drops_sensor(plan)(
                dg.build_sensor_context(instance=instance, cursor=cursor, resources={"store": store})
            )

        while True:
            seconds, result = timed(tick)
            if not result.run_requests:
                return seconds, f"{size.shards} drops, all known"
            cursor = result.cursor


def ask_shards(folder: Path, size: Size) -> Answer:
    """What `dj-assets process` does for each of many shards, in one process; the first pays for imports."""
    from dj_assets.defs.jobs import run_recipe
    from dj_assets.defs.resources import project_instance

    plan = plan_of(folder)
    keys = [f"drop-{shard:05d}-00000" for shard in range(size.runs + 1)]
    with project_instance() as instance:
        store_root = folder / ".dj_assets" / "store"
        report = run_recipe(plan, instance=instance, store_root=store_root, shard_keys=keys)
    if not report.success:
        raise RuntimeError(report.failed[0].failure)
    first, *others = [shard.seconds for shard in report.shards]
    return statistics.median(others), f"{len(others)} runs of five steps, most {max(others):.2f} s; first {first:.2f} s"


def ask_materialize(folder: Path, size: Size) -> Answer:
    """`filtered` and `export` of one shard after the other, each a run of its own."""
    import dagster as dg

    seconds = []
    with opened(folder) as (job, instance):
        for shard in range(size.runs + 1):
            one, _ = timed(lambda shard=shard: run(job, instance, f"drop-{shard:05d}-00000", {}))  # type: ignore[misc]
            seconds.append(one)
    del dg
    return statistics.median(seconds[1:]), f"{size.runs} runs"


def ask_batch(folder: Path, size: Size) -> Answer:
    """A backfill's run over many shards of what decodes nothing: seconds per shard."""
    with opened(folder) as (job, instance):
        run(job, instance, "drop-00000-00000", {})  # imports
        first, last = "drop-00001-00000", f"drop-{size.batch:05d}-00000"
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        seconds, _ = timed(lambda: run(job, instance, None, tags))
    return seconds / size.batch, f"one run of {size.batch} shards, {seconds:.1f} s"


def opened(folder: Path) -> Any:
    """A context that gives (the job of the recipe asked, the instance)."""
    from contextlib import contextmanager

    import dagster as dg

    from dj_assets.defs.assets import build_recipe_defs
    from dj_assets.defs.resources import project_instance, project_resources

    @contextmanager
    def inside() -> Iterator[tuple[dg.JobDefinition, dg.DagsterInstance]]:
        resources = dg.Definitions(resources=project_resources(folder / ".dj_assets" / "store"))
        with project_instance() as instance:
            yield dg.Definitions.merge(build_recipe_defs(plan_of(folder)), resources).resolve_job_def(ASKED), instance

    return inside()


def run(job: dg.JobDefinition, instance: dg.DagsterInstance, key: str | None, tags: dict[str, str]) -> None:
    import dagster as dg

    job.execute_in_process(
        instance=instance,
        partition_key=key,
        asset_selection=[dg.AssetKey([ASKED, name]) for name in ("filtered", "export")],
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags=tags,
    )


def ask_process(folder: Path, size: Size) -> Answer:
    """The whole command, start and end of Python included. Its first run says that it knows the clips by content."""

    def process() -> None:
        command = [sys.executable, "-c", "from dj_assets.cli import main; main()", "process", f"{ONE}.yaml"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode not in (0, 3):  # a hundredth of the clips is unreadable, as the store has it
            raise RuntimeError(done.stdout + done.stderr)

    process()
    return timed(process)[0], f"one shard of {size.samples} samples, five steps, a run of Dagster"


QUESTIONS: dict[str, tuple[str, Callable[[Path, Size], Answer]]] = {
    "dagster": ("import dagster", ask_dagster),
    "definitions": ("import dj_assets.definitions", ask_definitions),
    "cold": ("the same, files not in the system's cache", ask_cold_definitions),
    "repository": ("resolve them and describe them to Dagster, once imported", ask_repository),
    "partitions": ("list all partitions", ask_partitions),
    "tick": ("a sensor's tick over drops that are all known", ask_tick),
    "process": ("`dj-assets process` with every number known, whole process", ask_process),
    "shards": ("one more shard in a process, every number known", ask_shards),
    "materialize": ("a run of `filtered` and `export`, one shard", ask_materialize),
    "batch": ("one run of `filtered` and `export` over many shards, each", ask_batch),
}


def peak_mb() -> float:
    """Most memory that this process held. Not `ru_maxrss`, which a child inherits from its parent on Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def answer(name: str, folder: Path, size: Size) -> dict[str, Any]:
    """One answer of this process."""
    seconds, detail = QUESTIONS[name][1](folder, size)
    return {"seconds": seconds, "cpu_seconds": time.process_time(), "peak_mb": peak_mb(), "detail": detail}


# --- the table --------------------------------------------------------------------------------------------------------

HEAD = ("what", "median s", "least", "most", "CPU s of the process", "peak memory, MB", "")


def ask(name: str, folder: Path, size: Size, rounds: int) -> tuple[str, ...]:
    """Cells of one line: the question asked in so many new processes."""
    given = [f"--{key}={value}" for key, value in vars(size).items()]
    command = [sys.executable, "-m", "benchmarks.scale", "--folder", str(folder), "--question", name, *given]
    environment = {**os.environ, "DJ_ASSETS_ROOT": str(folder), "PYTHONPATH": str(CHECKOUT), "DJ_ASSETS_DEVICE": "cpu"}
    found = []
    for _ in range(rounds):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            return (QUESTIONS[name][0], "failed", "", "", "", "", done.stderr.strip().splitlines()[-1])
        found.append(json.loads(done.stdout.splitlines()[-1]))
    seconds = [one["seconds"] for one in found]
    return (
        QUESTIONS[name][0],
        f"{statistics.median(seconds):.3f}",
        f"{min(seconds):.3f}",
        f"{max(seconds):.3f}",
        f"{statistics.median(one['cpu_seconds'] for one in found):.2f}",
        f"{max(one['peak_mb'] for one in found):.0f}",
        found[-1]["detail"],
    )


def table_line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=int, default=50)
    parser.add_argument("--shards", type=int, default=1000, help="of each recipe")
    parser.add_argument("--samples", type=int, default=20, help="in each shard")
    parser.add_argument("--runs", type=int, default=5, help="runs of one shard each")
    parser.add_argument("--batch", type=int, default=100, help="shards of the run over many")
    parser.add_argument("--rounds", type=int, default=3, help="processes that each question is put to")
    parser.add_argument("--only", choices=QUESTIONS, nargs="*", help="of the questions")
    parser.add_argument("--folder", type=Path, help="of the project; laid out there, and kept, where it is not there")
    parser.add_argument("--question", choices=QUESTIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    size = Size(given.recipes, given.shards, given.samples, given.runs, given.batch)
    if given.question:
        print(json.dumps(answer(given.question, given.folder, size)))
        return
    with tempfile.TemporaryDirectory(prefix="dj-assets-scale-") as scratch:
        show((given.folder or Path(scratch) / "p").absolute(), size, given.only or list(QUESTIONS), given.rounds)


def show(folder: Path, size: Size, names: list[str], rounds: int) -> None:
    if not folder.exists():
        os.environ |= {"DJ_ASSETS_ROOT": str(folder), "DJ_ASSETS_DEVICE": "cpu"}
        folder.mkdir(parents=True)
        os.chdir(folder)
        print(f"laid out in {timed(lambda: lay_out(folder, size))[0]:.0f} s", flush=True)
    lines = [
        f"{size.recipes} recipes of 2 to 5 steps, each over {size.shards} shards of {size.samples} samples; "
        f"{rounds} processes a line.",
        "",
        table_line(HEAD),
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in names:
        lines.append(table_line(ask(name, folder, size, rounds)))
        print(lines[-1], flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
