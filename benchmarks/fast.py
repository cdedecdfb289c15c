"""The fast tier against the reference operators, on the corpus' clips of 720 lines: `python -m benchmarks.fast`.

`video_motion_dis_filter` and `video_text_area_filter` in place of `video_motion_score_filter` and
`video_ocr_area_ratio_filter`: other numbers under other names, so only the speed is compared here.
"""

from __future__ import annotations

import argparse
import os
import queue
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from benchmarks import contest, corpus, tables, trees, whole
from benchmarks.contest import Answer
from benchmarks.corpus import Made

REFERENCE: whole.Process = [{"video_motion_score_filter": {}}, {"video_ocr_area_ratio_filter": {}}]
FAST: whole.Process = [{"video_motion_dis_filter": {}}, {"video_text_area_filter": {}}]
TIERS = {"reference": REFERENCE, "fast": FAST}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two clips, once")
    parser.add_argument("--repeat", type=int, default=1, help="repetitions of everything (default 1)")
    parser.add_argument("--size", choices=tuple(corpus.SIZES), default="720p", help="of the clips (default 720p)")
    parser.add_argument("--only", choices=("tasks", "busy", "runs"), help="a part of it")
    given = parser.parse_args()
    _check_operators()
    listed = [clip for clip in corpus.listed(corpus.sources()) if clip.size == given.size]
    clips = corpus.made(listed[2::10] if given.quick else listed)
    repeat = 1 if given.quick else given.repeat
    parts = [
        tables.machine(),
        f"{len(clips)} clips of {given.size}, {sum(one.seconds for one in clips):.0f} s of video.",
    ]
    tables_of = {"tasks": task_table, "busy": busy_table, "runs": run_table}
    for name, table in tables_of.items():
        if given.only in (None, name):
            parts += table(clips, repeat)
    tables.publish("fast" if given.only is None else f"fast-{given.only}", parts, quick=given.quick)


def _check_operators() -> None:
    from dj_assets import operators

    if missing := {name for step in FAST for name in step} - set(operators.names()):
        sys.exit(f"this checkout has no {' and no '.join(sorted(missing))}")


def task_table(clips: Sequence[Made], repeat: int) -> list[str]:
    """Each tier in a process that stays up, asked clip by clip in turn; models are loaded before."""
    ours = {"DJ_ASSETS_DEVICE": "cpu"}
    answers: dict[str, dict[str, list[Answer]]] = {tier: {} for tier in TIERS}
    with contest.running("ours", environment=ours) as one, contest.running("ours", environment=ours) as other:
        asked = {"reference": one, "fast": other}
        first = corpus.made([clip for clip in corpus.listed(corpus.sources()) if clip.size == "360p"][:1])[0]
        for tier, process in TIERS.items():
            asked[tier].ask("measure", path=str(first.path), process=process)
        for _ in range(repeat):
            for number, clip in enumerate(clips, start=1):
                for tier, process in TIERS.items():
                    answer = asked[tier].ask("measure", path=str(clip.path), process=process)
                    answers[tier].setdefault(clip.path.name, []).append(answer)
                spent = ", ".join(f"{tier} {answers[tier][clip.path.name][-1].wall_seconds:.1f} s" for tier in TIERS)
                print(f"  {number}/{len(clips)} {clip.path.name}: {spent}", flush=True)
    totals = {tier: contest.total([contest.median(found) for found in of.values()]) for tier, of in answers.items()}
    rows = []
    for tier, total in totals.items():
        cells = tables.cost_cells(
            clips=len(clips),
            video_seconds=sum(one.seconds for one in clips),
            cpu_seconds=total.cpu_seconds,
            wall_seconds=total.wall_seconds,
            peak_process_mb=total.peak_mb,
            peak_tree_mb=None,
        )
        rows.append([f"{tier}: {_names(tier)}", *cells[:-1]])
    slow, quick = totals["reference"], totals["fast"]
    return [
        "### One worker",
        "One clip after the other in one process that stays up, everything that a worker does for a task, both passes "
        "of it; models loaded before; torch and ONNX Runtime with the threads that the operators give them.",
        tables.markdown(["tier", *tables.COST_HEADINGS[:-1]], rows),
        f"The fast tier does {slow.wall_seconds / quick.wall_seconds:.1f} times the reference's clips per minute, with "
        f"{slow.cpu_seconds / quick.cpu_seconds:.1f} times fewer CPU seconds.",
    ]


ONE_THREAD = {"DJ_ASSETS_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}


def busy_table(clips: Sequence[Made], repeat: int) -> list[str]:
    """A worker of one thread for every core, all at work at once: what a machine does in a long run."""
    cores = os.cpu_count() or 1
    warm_up = corpus.made([clip for clip in corpus.listed(corpus.sources()) if clip.size == "360p"][:1])
    waits: dict[str, list[float]] = {tier: [] for tier in TIERS}
    peaks: dict[str, float] = {}
    cpu: dict[str, list[float]] = {tier: [] for tier in TIERS}
    with ExitStack() as stack:
        workers = {
            tier: [stack.enter_context(contest.running("ours", environment=ONE_THREAD)) for _ in range(cores)]
            for tier in TIERS
        }
        for tier, process in TIERS.items():
            for worker in workers[tier]:
                worker.ask("measure", path=str(warm_up[0].path), process=process)
        for _ in range(repeat):
            for tier, process in TIERS.items():
                wall_seconds, answers = _side_by_side(workers[tier], clips, process)
                waits[tier].append(wall_seconds)
                cpu[tier].append(sum(answer.cpu_seconds for answer in answers))
                peaks[tier] = max(answer.peak_mb for answer in answers)
                print(f"  all cores busy, {tier}: {wall_seconds:.1f} s for {len(clips)} clips", flush=True)
    rows = []
    for tier in TIERS:
        cells = tables.cost_cells(
            clips=len(clips),
            video_seconds=sum(one.seconds for one in clips),
            cpu_seconds=statistics.median(cpu[tier]),
            wall_seconds=statistics.median(waits[tier]),
            peak_process_mb=peaks[tier],
            peak_tree_mb=None,
        )
        rows.append([f"{tier}: {_names(tier)}", *cells[:-1]])
    factor = statistics.median(waits["reference"]) / statistics.median(waits["fast"])
    return [
        "### All cores busy",
        f"{cores} workers of one thread each that take clips from one list, models loaded before: what a machine does "
        "once a long run is under way.",
        tables.markdown(["tier", *tables.COST_HEADINGS[:-1]], rows),
        f"The fast tier does {factor:.1f} times the reference's clips per minute.",
    ]


def _side_by_side(
    workers: Sequence[contest.Contestant], clips: Sequence[Made], process: whole.Process
) -> tuple[float, list[Answer]]:
    """(wall seconds from the first question to the last answer, answers), the longest clips first."""
    idle: queue.Queue[contest.Contestant] = queue.Queue()
    for worker in workers:
        idle.put(worker)

    def ask(clip: Made) -> Answer:
        worker = idle.get()
        try:
            return worker.ask("measure", path=str(clip.path), process=process)
        finally:
            idle.put(worker)

    started = time.perf_counter()
    with ThreadPoolExecutor(len(workers)) as threads:
        answers = list(threads.map(ask, sorted(clips, key=lambda one: -one.seconds)))
    return time.perf_counter() - started, answers


def _names(tier: str) -> str:
    return " + ".join(f"`{name}`" for step in TIERS[tier] for name in step)


def run_table(clips: Sequence[Made], repeat: int) -> list[str]:
    """The whole command, cold, start-up and all."""

    def once(party: whole.Party, process: whole.Process, number: int) -> trees.Cost:
        with whole.fresh(party, [one.path for one in clips], process) as job:
            return job.run()

    commands = {tier: partial(once, whole.our_party(tier), process) for tier, process in TIERS.items()}
    costs = {tier: trees.median(found) for tier, found in trees.in_turn(commands, repeat=repeat).items()}
    rows = []
    for tier, cost in costs.items():
        cells = tables.cost_cells(
            clips=len(clips),
            video_seconds=sum(one.seconds for one in clips),
            cpu_seconds=cost.cpu_seconds,
            wall_seconds=cost.wall_seconds,
            peak_process_mb=cost.peak_process_mb,
            peak_tree_mb=cost.peak_tree_mb,
        )
        rows.append([tier, *cells])
    slow, quick = costs["reference"], costs["fast"]
    return [
        "### The whole command, cold",
        tables.markdown(["tier", *tables.COST_HEADINGS], rows),
        f"With the start of Python and Dagster and the loading of models in it: "
        f"{slow.wall_seconds / quick.wall_seconds:.1f} times the reference's clips per minute.",
    ]


if __name__ == "__main__":
    main()
