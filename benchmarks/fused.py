"""Duration, resolution, motion and text over clips of four sizes, against `op_fusion`: `python -m benchmarks.fused`.

The peer fuses the operators that share an opened container (duration, resolution, text), runs the group after motion,
and runs every operator of it on every sample. As released it cannot: see `mended/sitecustomize.py`, with which it is
run, and with one thread a process, since it hangs otherwise. Without `op_fusion`, which is measured too, it takes the
operators in the order of the recipe, each on what the one before has left. Ours reads the packets first, then measures
motion of what is left, then text of what is left. The samples kept must be the same.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import corpus, tables, trees, whole
from benchmarks.corpus import Made

DURATION, RESOLUTION = "video_duration_filter", "video_resolution_filter"
MOTION, OCR = "video_motion_score_filter", "video_ocr_area_ratio_filter"
FRAMES_PER_CLIP = 3
PROCESS: whole.Process = [
    # The peer's default backend is the program ffprobe, which pip does not bring.
    {DURATION: {"min_duration": 8.8, "video_backend": "av"}},
    {RESOLUTION: {"min_width": 1280, "min_height": 720}},
    {MOTION: {"min_score": 0.5}},
    {OCR: {"max_area_ratio": 0.05, "frame_sample_num": FRAMES_PER_CLIP}},
]
"""Bounds as somebody sets them who trains on windows of 9 s, on nothing below 720 lines, nothing that stands still and
nothing with more than a line of text."""

QUICK = {"480p": 2, "720p": 3}
PEER_KEYS: Mapping[str, Mapping[str, Any]] = {
    "greedy": {"op_fusion": True, "fusion_strategy": "greedy"},
    "probe": {"op_fusion": True, "fusion_strategy": "probe"},
    "plain": {},
}
PEER_WORDS = {"greedy": "op_fusion greedy, mended", "probe": "op_fusion probe, mended", "plain": "no op_fusion"}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""With two processes the fused group hung here. The likely cause: its workers are forked, and EasyOCR's torch waits in
them for threads that only the parent had. With one thread in each process it came to an end."""

MENDED = Path(__file__).resolve().parent / "mended"
OURS, OURS_ALL = "dj_assets", "dj_assets, short_circuit: false"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five clips, once")
    parser.add_argument("--repeat", type=int, default=1, help="repetitions of everything (default 1)")
    parser.add_argument(
        "--peer",
        nargs="*",
        choices=tuple(PEER_KEYS),
        default=("greedy", "plain"),
        help="how the peer runs: op_fusion with a strategy, or plain, without it (default: greedy plain; its own "
        "default strategy, probe, runs everything once before to see how fast it is, which on few clips doubles all)",
    )
    parser.add_argument("--per-size", type=int, default=12, help="clips of each size (default 12, all without AV1)")
    parser.add_argument("--precision", default="", help="of our text operator, for another row (bf16)")
    given = parser.parse_args()
    clips = chosen(QUICK if given.quick else dict.fromkeys(corpus.SIZES, given.per_size))
    runs = run(clips, _parties(given), repeat=1 if given.quick else given.repeat)
    parts = [tables.machine(), _what_it_is(clips), _table(clips, runs), _steps_table(runs)]
    facts = [*as_released(clips[0]), *_facts(clips, runs)] if given.peer else _facts(clips, runs)
    parts.append("\n".join(f"* {line}" for line in facts))
    tables.publish("fused", parts, quick=given.quick)


def chosen(most_of_size: Mapping[str, int]) -> list[Made]:
    """Of each size, spread over codecs and contents. No AV1: the peer's motion operator cannot read it."""
    listed = [clip for clip in corpus.listed(corpus.sources()) if clip.variant != "av1"]
    picked = []
    for size, most in most_of_size.items():
        of_size = [clip for clip in listed if clip.size == size]
        most = min(most, len(of_size))
        picked += [of_size[number * len(of_size) // most] for number in range(most)]
    return corpus.made(picked)


def _what_it_is(clips: Sequence[Made]) -> str:
    counts = [(size, sum(one.clip.size == size for one in clips)) for size in corpus.SIZES]
    sizes = ", ".join(f"{count} of {size}" for size, count in counts if count)
    steps = "; ".join(f"`{name}` {options}" for step in PROCESS for name, options in step.items())
    return f"{len(clips)} clips, {sum(one.seconds for one in clips):.0f} s of video ({sizes}). Recipe: {steps}."


# --- runs -------------------------------------------------------------------------------------------------------------


@dataclass
class Runs:
    """Of one party: costs, what the last run kept, and each step of it: (clips measured, seconds that it tells)."""

    costs: list[trees.Cost] = field(default_factory=list)
    kept: whole.Kept = field(default_factory=lambda: whole.Kept(frozenset(), {}))
    steps: dict[str, tuple[int, float]] = field(default_factory=dict)
    stats: dict[str, dict[str, float]] = field(default_factory=dict)
    """stat -> clip -> value, of everything that was measured. Ours only."""


def _parties(given: argparse.Namespace) -> Iterator[tuple[whole.Party, whole.Process]]:
    for way in given.peer:
        if theirs := whole.peer_party(f"py-data-juicer, {PEER_WORDS[way]}", np=2, **PEER_KEYS[way]):
            yield (replace(theirs, import_first=MENDED, variables=ONE_THREAD) if PEER_KEYS[way] else theirs), PROCESS
    yield whole.our_party(OURS, np=2), PROCESS
    if given.precision:
        lower = [*PROCESS[:-1], {OCR: {**PROCESS[-1][OCR], "precision": given.precision}}]
        yield whole.our_party(f"dj_assets, {given.precision}", np=2), lower
    yield whole.our_party(OURS_ALL, np=2, dj_assets={"short_circuit": False}), PROCESS


def run(clips: Sequence[Made], parties: Iterator[tuple[whole.Party, whole.Process]], *, repeat: int) -> dict[str, Runs]:
    runs: dict[str, Runs] = {}

    def once(party: whole.Party, process: whole.Process, number: int) -> trees.Cost:
        with whole.fresh(party, [one.path for one in clips], process) as job:
            cost, of = job.run(), runs.setdefault(party.name, Runs())
            of.costs.append(cost)
            of.kept = job.kept()
            if party.is_peer:
                of.steps = their_steps(job.said.read_text(encoding="utf-8", errors="replace"), len(clips))
            else:
                of.steps, of.stats = our_steps(job.project.folder / ".dj_assets" / "store")
            return cost

    trees.in_turn({party.name: partial(once, party, process) for party, process in parties}, repeat=repeat)
    return runs


def as_released(clip: Made) -> Iterator[str]:
    """What the peer does with duration and resolution fused when nothing is mended, on one clip: a sentence."""
    theirs = whole.peer_party(np=1, **PEER_KEYS["greedy"])
    if theirs is None:
        yield "py-data-juicer was not run: `python benchmarks/peer.py` builds it."
        return
    with whole.fresh(theirs, [clip.path], [{DURATION: {"video_backend": "av"}}, {RESOLUTION: {}}]) as job:
        try:
            job.run()
            kept = len(job.kept().names)
            yield f"py-data-juicer as released, duration and resolution with `op_fusion: true`: keeps {kept} of 1 clip."
        except trees.CommandFailed as failure:
            reason = str(failure).strip().splitlines()[-1]
            yield f"py-data-juicer as released fails on duration and resolution with `op_fusion: true`: `{reason}`."


def their_steps(said: str, count: int) -> dict[str, tuple[int, float]]:
    """From dj-process's log: step -> (samples that came to it, wall seconds)."""
    steps = {}
    for name, seconds, left in re.findall(r"OP \[(.+?)\] Done in ([\d.]+)s.*?Left (\d+) samples", said):
        steps[name] = (count, float(seconds))
        count = int(left)
    return steps


def our_steps(store: Path) -> tuple[dict[str, tuple[int, float]], dict[str, dict[str, float]]]:
    """From the store: step -> (clips measured, their cost in worker seconds); stat -> clip -> value."""
    import pyarrow.parquet as pq

    steps: dict[str, tuple[int, float]] = {}
    stats: dict[str, dict[str, float]] = {}
    for folder in (store / "tables" / whole.RECIPE / "stats" / name for step in PROCESS for name in step):
        rows = [row for path in folder.glob("*.parquet") for row in pq.read_table(path).to_pylist()]
        found = [row for row in rows if row["status"] == "ok"]
        costs = {row["path"]: row["cost_seconds"] for row in found}
        steps[folder.name] = (len(costs), sum(costs.values()))
        for row in found:
            stats.setdefault(row["stat"], {})[Path(row["path"]).name] = row["value"]
    return steps, stats


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(clips: Sequence[Made], runs: Mapping[str, Runs]) -> str:
    base = trees.median(runs[OURS].costs).cpu_seconds
    rows = []
    for name, of in runs.items():
        cost = trees.median(of.costs)
        cells = tables.cost_cells(
            clips=len(clips),
            video_seconds=sum(one.seconds for one in clips),
            cpu_seconds=cost.cpu_seconds,
            wall_seconds=cost.wall_seconds,
            peak_process_mb=cost.peak_process_mb,
            peak_tree_mb=cost.peak_tree_mb,
        )
        rows.append([name, *cells, f"{cost.cpu_seconds / base:.2f}", str(len(of.kept.names))])
    return tables.markdown(["who", *tables.COST_HEADINGS, "CPU s / ours", "kept"], rows)


def _steps_table(runs: Mapping[str, Runs]) -> str:
    """py-data-juicer's seconds are wall, ours are the workers' own."""
    rows = [
        [name, f"`{step}`", str(count), f"{seconds:.1f}"]
        for name, of in runs.items()
        for step, (count, seconds) in of.steps.items()
    ]
    return tables.markdown(["who", "step", "clips that it measured", "s (theirs: wall, ours: workers')"], rows)


def _facts(clips: Sequence[Made], runs: Mapping[str, Runs]) -> Iterator[str]:
    for name, of in runs.items():
        if name.startswith("py-data-juicer"):
            yield from whole.difference(name, runs[OURS].kept, of.kept)
    if runs[OURS].kept.names == runs[OURS_ALL].kept.names:
        yield "With and without `short_circuit` the same samples are kept."
    if any(step.startswith("OpFusion") for of in runs.values() for step in of.steps):
        yield from _where_it_comes_from(clips, runs)


def _where_it_comes_from(clips: Sequence[Made], runs: Mapping[str, Runs]) -> Iterator[str]:
    """What motion and text were measured on by whom, in megapixels, since the cost of both goes with these."""
    stats = runs[OURS_ALL].stats
    moves = {name for name, value in stats["video_motion_score"].items() if value >= PROCESS[2][MOTION]["min_score"]}
    header = {name for name in stats["video_motion_score"] if _passes_header(name, stats)}
    everything = {one.path.name for one in clips}
    for what, theirs, ours in (("motion", everything, header), ("text", moves, header & moves)):
        yield (
            f"{what}: with op_fusion py-data-juicer measures {len(theirs)} clips, dj_assets {len(ours)}; in pixels of "
            f"a frame {_pixels(clips, theirs):.1f} M against {_pixels(clips, ours):.1f} M, so the short circuit alone "
            f"is a factor of {tables.ratio(_pixels(clips, theirs), _pixels(clips, ours))} there."
        )
    yield "The rest of the factor is reading (`benchmarks.sixty`) and the detector (`benchmarks.tutorial`)."


def _passes_header(name: str, stats: Mapping[str, Mapping[str, float]]) -> bool:
    duration, size = PROCESS[0][DURATION], PROCESS[1][RESOLUTION]
    return (
        stats["video_duration"][name] >= duration["min_duration"]
        and stats["video_width"][name] >= size["min_width"]
        and stats["video_height"][name] >= size["min_height"]
    )


def _pixels(clips: Sequence[Made], names: set[str]) -> float:
    """Millions, summed over clips, one frame of each."""
    sizes: list[tuple[int, int]] = [corpus.SIZES[one.clip.size] for one in clips if one.path.name in names]
    return sum(height * width for height, width in sizes) / 1e6


if __name__ == "__main__":
    main()
