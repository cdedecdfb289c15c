"""What the store survives: many writers at once, many runs at once, writers killed: `python -m benchmarks.chaos`.

Each trial returns what it saw; here they run at full length and print it, in dj_assets_tests/test_chaos.py they are
short and what they saw is asserted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dj_assets.store import index
from dj_assets.store.rows import Fact, Provenance
from dj_assets.store.store import Store

ROOT = Path(__file__).resolve().parent.parent
MEASURE = ("video_motion_score_filter", "0123456789abcdef")
PROVENANCE = Provenance("chaos/stats", "shard", "chaos", "0" * 64, MEASURE[1], run_id="chaos")

WAITING_RUN = """\
import sys
import dj_assets.defs.jobs, dj_assets.store.store
from dj_assets.cli import main
print("ready", flush=True)
sys.stdin.readline()
main()
"""
"""`dj-assets` that has done its imports and waits for a line, so that several start at the same moment."""


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Query an index as a user's tool would."""
    import duckdb

    connection = duckdb.connect(f"duckdb:{path}", read_only=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every line of every view of the index, sorted."""
    views = [name for (name,) in ask(store.index_path, "SELECT view_name FROM duckdb_views() WHERE NOT internal")]
    return {view: ask(store.index_path, f'SELECT * FROM "{view}" ORDER BY ALL') for view in views}


# --- writers in a loop ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writes:
    """What came of processes that each append a fact, refresh the index and note that they did, again and again.

    lost: noted, but not found by the store; unseen: noted, but not in the index. same_when_rebuilt: whether the index,
    deleted and made again, shows the same lines.
    """

    acknowledged: int
    lost: int
    unseen: int
    warnings: tuple[str, ...]
    crashed_writers: int
    same_when_rebuilt: bool
    seconds: float


def write_in_a_loop(root: Path, *, processes: int, seconds: float) -> Writes:
    """Let `processes` write for so long, all into one measure of one store, each rebuilding the index each time."""
    started = time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    logs = [root.parent / f"acknowledged-{number}.log" for number in range(processes)]
    writers = [spawn.Process(target=_write_for, args=(root, log, seconds, n)) for n, log in enumerate(logs)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = Store(root)
    warnings = [line for log in logs for line in _lines(log.with_suffix(".warnings"))]
    warnings.extend(filter(None, [store.refresh_index()]))  # with views of its own: the loop's were marked
    hashes = [line for log in logs for line in _lines(log)]
    before = everything(store)
    seen = {content_hash for (content_hash,) in ask(store.index_path, "SELECT content_hash FROM facts")}
    store.index_path.unlink()
    warnings.extend(filter(None, [store.refresh_index()]))
    return Writes(
        acknowledged=len(hashes),
        lost=len(set(hashes) - set(store.find_facts(*MEASURE, hashes))),
        unseen=len(set(hashes) - seen),
        warnings=tuple(warnings),
        crashed_writers=sum(writer.exitcode != 0 for writer in writers),
        same_when_rebuilt=before == everything(store),
        seconds=time.perf_counter() - started,
    )


def _write_for(root: Path, log: Path, seconds: float, number: int) -> None:
    until = time.monotonic() + seconds
    views = index.VIEWS
    store = Store(root)
    unpacked: list[Path] = []
    for turn in range(sys.maxsize):
        if time.monotonic() > until:
            return
        # Views that differ each time, so that each refresh opens, writes and closes a DuckDB file.
        index.VIEWS = tuple(replace(view, sql=f"{view.sql} /* {number} {turn} */") for view in views)
        content_hash = uuid.uuid4().hex
        fact = Fact(content_hash, *MEASURE, "video_motion_score", float(turn), measured_at=f"{turn:09d}")
        unpacked += store.append_facts([fact], PROVENANCE)
        if warning := store.refresh_index():
            _append(log.with_suffix(".warnings"), warning)
        _append(log, content_hash)
        if len(unpacked) == 50:
            store.compact_facts(*MEASURE, unpacked)
            unpacked = []


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


# --- runs at the same moment ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Runs:
    """What came of several `dj-assets process` started at the same moment in one project.

    exit_codes: of the processes. dagster_runs: status -> how many. tables: table -> how many of its (recipe, sample,
    step) appear how often. fact_lines: how many (content, measure, stat) appear how often. reads, read_errors: by a
    client that asked the index all the while. complaints: lines of the processes' output that speak of locks.
    """

    exit_codes: tuple[int, ...]
    dagster_runs: dict[str, int]
    tables: dict[str, Counter[int]]
    fact_lines: Counter[int]
    reads: int
    read_errors: tuple[str, ...]
    complaints: tuple[str, ...]
    seconds: float


def run_at_once(project: Path, *, recipes: int, shards: int) -> Runs:
    """Start `recipes` runs over as many datasets of `shards` shards each, and read the index until all have ended."""
    names = [f"recipe{number}" for number in range(recipes)]
    _lay_out_datasets(project, names, shards)
    started = time.perf_counter()
    runs = [waiting_run(project, name, project / f"{name}.log") for name in names]
    for run in runs:
        _await_ready(run)
    for run in runs:
        _release(run)
    reads, read_errors = _read_while(project, lambda: any(run.poll() is None for run in runs))
    store = Store(project / ".dj_assets" / "store")
    tables = {
        table: _appearances(store, table, keys)
        for table, keys in {
            "samples": "recipe, sample_id",
            "stats": "recipe, step, sample_id, field, position, stat",
            "verdicts": "recipe, sample_id",
        }.items()
    }
    return Runs(
        exit_codes=tuple(run.wait() for run in runs),
        dagster_runs=dagster_statuses(project),
        tables=tables,
        fact_lines=_appearances(store, "facts", "content_hash, measure_id, stat"),
        reads=reads,
        read_errors=tuple(read_errors),
        complaints=tuple(line for name in names for line in _lines(project / f"{name}.log") if "lock" in line.lower()),
        seconds=time.perf_counter() - started,
    )


def _appearances(store: Store, table: str, keys: str) -> Counter[int]:
    """How many keys of a table appear how often."""
    return Counter(count for (count,) in ask(store.index_path, f"SELECT count(*) FROM {table} GROUP BY {keys}"))


def _lay_out_datasets(project: Path, names: Sequence[str], shards: int) -> None:
    """Per recipe a manifest of one video a shard; the first half of the videos is shared, the other its own."""
    for number, name in enumerate(names):
        own = [f"{name}-{shard}" if shard >= shards // 2 else f"shared-{shard}" for shard in range(shards)]
        for shard, video in enumerate(own):
            _clip(
                project / "vids" / f"{video}.mp4",
                seed=shard if video.startswith("shared") else 100 + 50 * number + shard,
            )
        write_recipe(project, name, videos=[f"vids/{video}.mp4" for video in own], process=HEADERS, shard_size=1)


HEADERS = [
    {"video_duration_filter": {"min_duration": 0.1}},
    {"video_resolution_filter": {"min_width": 8, "min_height": 8}},
]


def write_recipe(
    project: Path, name: str, *, videos: Sequence[str], process: Sequence[Mapping[str, Any]], shard_size: int
) -> None:
    """A recipe and its manifest of one video a line."""
    (project / "recipes").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": "<__dj__video>", "videos": [video]}) + "\n" for video in videos]
    (project / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    recipe = {
        "dataset_path": f"{name}.jsonl",
        "export_path": f"outputs/{name}/res.jsonl",
        "keep_stats_in_res_ds": True,
        "np": 1,
        "process": list(process),
        "dj_assets": {"shard_size": shard_size},
    }
    (project / "recipes" / f"{name}.yaml").write_text(json.dumps(recipe, indent=1), encoding="utf-8")  # JSON is YAML


def _clip(path: Path, *, seed: int) -> None:
    """A quarter of a second of 64x48, moving by a pixel a frame; other bytes for another seed."""
    from dj_assets_tests.videos import shifting, texture, write_video

    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_video(path, shifting(texture(height=48, width=64, seed=seed), num_frames=6, pixels_per_frame=1), fps=24)


def waiting_run(project: Path, recipe: str, log: Path) -> subprocess.Popen[str]:
    """`dj-assets process RECIPE`, its imports under way; it waits for `_release`. Its output goes to `log`."""
    drop = ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in drop}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    with log.open("a") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", WAITING_RUN, "process", f"recipes/{recipe}.yaml"],
            cwd=project,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def _await_ready(run: subprocess.Popen[str]) -> None:
    assert run.stdout is not None
    if run.stdout.readline() != "ready\n":
        raise RuntimeError(f"a run ended before it began, exit code {run.wait()}")


def _release(run: subprocess.Popen[str]) -> None:
    assert run.stdin is not None
    run.stdin.write("\n")
    run.stdin.flush()


def _read_while(project: Path, going_on: Callable[[], bool]) -> tuple[int, list[str]]:
    """(reads, errors) of a client that opens, asks and closes the index again and again, once there is one."""
    import duckdb

    path = project / ".dj_assets" / "store" / index.FILE_NAME
    reads, errors = 0, []
    while going_on():
        if path.exists():
            try:
                for view in ("samples", "stats", "verdicts", "facts", "videos"):
                    if ask(path, f"SELECT 1 FROM duckdb_views() WHERE view_name = '{view}'"):
                        ask(path, f"SELECT count(*) FROM {view}")
                reads += 1
            except duckdb.Error as error:
                errors.append(str(error))
        time.sleep(0.1)
    return reads, errors


def dagster_statuses(project: Path) -> dict[str, int]:
    """status -> how many of the project's Dagster runs have it."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(project / ".dj_assets" / "dagster_home")) as instance:
        return dict(Counter(run.status.value for run in instance.get_runs()))


# --- writers that are killed ------------------------------------------------------------------------------------------


@dataclass
class Kills:
    """What came of a run that was killed again and again, and started again each time.

    in_time: kills that met the run alive. faults: what was wrong in the store after a kill. differences: tables or
    exports that in the end were not those of the undisturbed run. left: processes that outlived their run.
    """

    kills: int = 0
    in_time: int = 0
    completed: int = 0
    faults: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    left: int = 0
    seconds: float = 0.0


def kill_writers(
    folder: Path,
    *,
    kills: int,
    kills_a_round: int = 5,
    shards: int = 4,
    seed: int = 0,
    on_round: Callable[[Kills], None] | None = None,
) -> Kills:
    """Kill a run so many times, looking into the store after each; every few kills let it finish, and compare.

    A round begins with an empty store, so that there is always something left to write.
    """
    started = time.perf_counter()
    rng = random.Random(seed)
    seen = Kills()
    truth = _project_to_kill(folder / "undisturbed", shards)
    whole_seconds = _run_to_the_end(truth)
    expected = contents(truth)
    rounds = -(-kills // kills_a_round)
    for number in range(rounds):
        project = _project_to_kill(folder / f"round{number}", shards, clips_of=truth)
        for _ in range(min(kills_a_round, kills - seen.kills)):
            seen.in_time += _run_and_kill(project, after_seconds=rng.uniform(0, whole_seconds), seen=seen)
            seen.kills += 1
            seen.faults += [f"round {number}: {fault}" for fault in faults(project)]
        _run_to_the_end(project)
        seen.completed += 1
        seen.faults += [f"round {number}, in the end: {fault}" for fault in faults(project)]
        found = contents(project)
        different = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
        seen.differences += [f"round {number}: {name}" for name in different]
        seen.seconds = time.perf_counter() - started
        if on_round is not None:
            on_round(seen)
    return seen


TO_KILL = [
    {"video_duration_filter": {"min_duration": 0.1}},
    {"video_motion_score_filter": {"min_score": 0.9}},
]
VIDEOS_A_SHARD = 3


def _project_to_kill(project: Path, shards: int, *, clips_of: Path | None = None) -> Path:
    """clips_of: project to copy the clips from, since on a busy machine the encoder may write other bytes."""
    videos = [f"vids/{number}.mp4" for number in range(shards * VIDEOS_A_SHARD)]
    if clips_of is not None:
        shutil.copytree(clips_of / "vids", project / "vids")
    for number, video in enumerate(videos):
        _clip(project / video, seed=number)
    write_recipe(project, "killed", videos=videos, process=TO_KILL, shard_size=VIDEOS_A_SHARD)
    return project


def _run_to_the_end(project: Path) -> float:
    """Seconds that the run took, imports not counted. Raises RuntimeError where it fails."""
    log = project.parent / f"{project.name}.log"
    run = waiting_run(project, "killed", log)
    _await_ready(run)
    started = time.perf_counter()
    _release(run)
    output, _ = run.communicate()
    if run.returncode:
        raise RuntimeError(f"exit code {run.returncode}\n{output[-2000:]}\n{log.read_text()[-2000:]}")
    return time.perf_counter() - started


def _run_and_kill(project: Path, *, after_seconds: float, seen: Kills) -> bool:
    """Start a run, kill its process; whether it was still going on. Its workers must end by themselves."""
    run = waiting_run(project, "killed", project.parent / f"{project.name}.log")
    _await_ready(run)
    _release(run)
    time.sleep(after_seconds)
    workers = _children(run.pid)
    alive = run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.communicate()
    seen.left += sum(not _ends(worker) for worker in workers)
    return alive


def _children(pid: int) -> list[int]:
    """Process ids of a process's children; none where the system does not tell."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []


def _ends(pid: int, *, within_seconds: float = 10.0) -> bool:
    for _ in range(int(within_seconds / 0.05)):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def faults(project: Path) -> list[str]:
    """What is wrong in a store: files that cannot be read, tables that lack rows, an index that does not open."""
    store = Store(project / ".dj_assets" / "store")
    found = [*_unreadable(store.root), *_incomplete(store)]
    if warning := store.refresh_index():
        found.append(warning)
    if store.index_path.exists():
        try:
            everything(store)
        except Exception as error:
            found.append(f"the index does not answer: {error}")
    return found


def _unreadable(root: Path) -> Iterator[str]:
    import pyarrow.parquet as pq

    for path in root.rglob("*.parquet"):
        try:
            pq.ParquetFile(path).read()
        except Exception as error:
            yield f"{path} cannot be read: {error}"
    for path in (*root.glob("ledger/*/*.json"), *root.glob("measures/*/*/*.json"), *root.glob("identities/*/*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{path} cannot be read: {error}"


def _incomplete(store: Store) -> Iterator[str]:
    """Tables that hold another number of rows than their shard has videos or samples."""
    for path in store.root.glob("tables/*/samples/*.parquet"):
        recipe, shard = path.parent.parent.name, path.stem
        samples = store.read_samples(recipe, shard)
        videos = sum(len(sample.videos) for sample in samples)
        tables = {
            step.name: len(store.read_stats(recipe, step.name, shard)) for step in _steps_of(store, recipe, shard)
        }
        yield from (f"{shard}, {step}: {rows} rows of {videos}" for step, rows in tables.items() if rows != videos)
        if store.verdicts_path(recipe, shard).exists():
            verdicts = len(store.read_verdicts(recipe, shard))
            if verdicts != len(samples):
                yield f"{shard}: {verdicts} verdicts of {len(samples)}"


def _steps_of(store: Store, recipe: str, shard: str) -> list[Path]:
    steps = store.root.glob(f"tables/{recipe}/stats/*")
    return [step for step in steps if store.stats_path(recipe, step.name, shard).exists()]


def contents(project: Path) -> dict[str, Any]:
    """What a finished run has to leave, by name: rows, facts and the export, without times, costs and run ids."""
    store = Store(project / ".dj_assets" / "store")
    prefix = f"{project}{os.sep}"
    found: dict[str, Any] = {}
    for path in sorted(store.root.glob("tables/*/samples/*.parquet")):
        recipe, shard = path.parent.parent.name, path.stem
        samples = store.read_samples(recipe, shard)
        found[f"{recipe}/samples/{shard}"] = [
            (s.sample_id, s.record, [v.content_hash for v in s.videos]) for s in samples
        ]
        found[f"{recipe}/verdicts/{shard}"] = store.read_verdicts(recipe, shard)
        for step in _steps_of(store, recipe, shard):
            found[f"{recipe}/{step.name}/{shard}"] = [
                (row.sample_id, row.position, row.path.removeprefix(prefix), *_lasting(row.fact))
                for row in store.read_stats(recipe, step.name, shard)
            ]
    columns = "content_hash, operator, measure_id, stat, value, window_values, status, reason"
    found["facts"] = ask(store.index_path, f"SELECT {columns} FROM facts ORDER BY ALL")
    for path in sorted((project / "outputs").rglob("res*.jsonl")):
        found[f"export {path.name}"] = path.read_text(encoding="utf-8").replace(prefix, "")
    return found


def _lasting(fact: Fact) -> tuple[Any, ...]:
    return (
        fact.content_hash,
        fact.measure_id,
        fact.stat,
        fact.value,
        fact.window_values,
        fact.window_details,
        fact.status,
        fact.reason,
    )


# --- at full length ---------------------------------------------------------------------------------------------------


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("trials", nargs="*", help="writes, runs, kills; default: all three")
    parser.add_argument("--seconds", type=float, default=60, help="how long six processes write")
    parser.add_argument("--kills", type=int, default=100, help="how many times a run is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    given = parser.parse_args()
    trials: dict[str, Callable[[Path], Writes | Runs | Kills]] = {
        "writes": lambda folder: write_in_a_loop(folder / "store", processes=6, seconds=given.seconds),
        "runs": lambda folder: run_at_once(folder / "project", recipes=8, shards=8),
        "kills": lambda folder: kill_writers(folder, kills=given.kills, seed=given.seed, on_round=_print_round),
    }
    if unknown := [name for name in given.trials if name not in trials]:
        parser.error(f"no trial is called {', '.join(unknown)}")
    for name in given.trials or trials:
        with _scratch() as folder:
            _print(name, trials[name](folder))


def _print_round(seen: Kills) -> None:
    """So that a trial of an hour says something on the way."""
    print(f"  {seen.kills} kills so far, {len(seen.faults)} faults, {len(seen.differences)} differences", flush=True)


def _print(trial: str, seen: Any) -> None:
    """A line per thing that was seen."""
    print(f"{trial}:", flush=True)
    for item in fields(seen):
        value = getattr(seen, item.name)
        print(f"  {item.name}: {dict(value) if isinstance(value, Counter) else value}", flush=True)


if __name__ == "__main__":
    main()
