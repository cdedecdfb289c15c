"""The fast tier against the reference operators, on the corpus' clips of 720 lines: `python -m benchmarks.fast`.

`video_motion_dis_filter` and `video_text_area_filter` in place of `video_motion_score_filter` and
`video_ocr_area_ratio_filter`: other numbers under other names, so only the speed is compared here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
    parser.add_argument("--only", choices=("tasks", "runs"), help="half of it")
    given = parser.parse_args()
    _check_operators()
    listed = [clip for clip in corpus.listed(corpus.sources()) if clip.size == given.size]
    clips = corpus.made(listed[2::10] if given.quick else listed)
    repeat = 1 if given.quick else given.repeat
    parts = [
        tables.machine(),
        f"{len(clips)} clips of {given.size}, {sum(one.seconds for one in clips):.0f} s of video.",
    ]
    if given.only != "runs":
        parts += task_table(clips, repeat)
    if given.only != "tasks":
        parts += run_table(clips, repeat)
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
