"""The tutorial's two recipes on its two clips, cold, as whole processes: `python -m benchmarks.tutorial`.

`dj-assets process` against `dj-process` in turn, each time with an empty store, a new project and empty caches; then
seconds per frame of text detection, our operator's against EasyOCR's own call on the same six frames, a process each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import contest, tables, trees, whole
from benchmarks.contest import Answer
from benchmarks.detectors import EASYOCR, OCR
from benchmarks.reruns import MEDIA

MOTION = "video_motion_score_filter"
TUTORIAL = ("video1.mp4", "video2.mp4")
FRAMES_PER_CLIP = 3
MOTION_RECIPE: whole.Process = [{MOTION: {"min_score": 2.0}}]
OCR_OPTIONS = {"max_area_ratio": 0.2, "frame_sample_num": FRAMES_PER_CLIP}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once, and the peer with one process only")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of everything (default 3)")
    parser.add_argument("--clips", type=Path, nargs="+", help="other clips than the tutorial's in ../shared/media")
    parser.add_argument("--only", choices=("runs", "frames"), help="half of it")
    parser.add_argument("--no-peer", action="store_true", help="do not run py-data-juicer even if it is built")
    given = parser.parse_args()
    clips = given.clips or [MEDIA / name for name in TUTORIAL]
    if missing := [str(clip) for clip in clips if not clip.is_file()]:
        sys.exit(f"not there: {', '.join(missing)}; try: --clips")
    repeat = 1 if given.quick else given.repeat
    parts = [tables.machine(), f"{len(clips)} clips, {sum(map(_seconds, clips)):.1f} s of video; {repeat} repetitions."]
    if given.only != "frames":
        floors = floor(clips, repeat)
        for case in cases():
            parts += run_case(case, clips, floors, repeat=repeat, quick=given.quick, with_peer=not given.no_peer)
    if given.only != "runs":
        parts += frame_table(clips, repeat)
    name = "tutorial" if given.only is None else f"tutorial-{given.only}"
    tables.publish(name, parts, quick=given.quick)


# --- whole processes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A recipe: what each side runs, and which floor it is held against. extra: options that are ours alone."""

    title: str
    process: whole.Process
    floor: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def our_process(self) -> whole.Process:
        return [{name: {**options, **self.extra} for name, options in step.items()} for step in self.process]


def cases() -> list[Case]:
    every = [Case("motion", MOTION_RECIPE, "motion"), Case("text, fp32", [{OCR: OCR_OPTIONS}], "text fp32")]
    if "bf16" in precisions():
        every.append(Case("text, precision: bf16", [{OCR: OCR_OPTIONS}], "text bf16", {"precision": "bf16"}))
    return every


def precisions() -> tuple[str, ...]:
    """Of our text operator on the CPU."""
    from dj_assets import operators

    return ("fp32", "bf16") if "precision" in operators.get(OCR).params.model_fields else ("fp32",)


def floor(clips: Sequence[Path], repeat: int) -> dict[str, Answer]:
    """Kind -> cost of the bare calls over all clips, medians over repetitions."""
    ours = {"DJ_ASSETS_DEVICE": "cpu"}
    with (
        contest.running("ours", environment=ours) as engine,
        contest.running("floor", environment=contest.KEEPS_MEMORY) as bare,
    ):
        spent: dict[str, list[list[Answer]]] = {"motion": [], "text fp32": [], "text bf16": []}
        asked = [(str(clip), *_wanted(engine, clip)) for clip in clips]
        bare.ask("text", path=asked[0][0], frames=asked[0][2][:1])
        for _ in range(repeat):
            spent["motion"].append([bare.ask("motion", path=path, sequence=pairs) for path, pairs, _ in asked])
            for kind, bf16 in (("text fp32", False), ("text bf16", True)):
                spent[kind].append([bare.ask("text", path=path, frames=frames, bf16=bf16) for path, _, frames in asked])
    return {kind: contest.median([contest.total(answers) for answers in passes]) for kind, passes in spent.items()}


def _wanted(engine: contest.Contestant, clip: Path) -> tuple[list[int], list[int]]:
    """(sequence of frames that motion compares, frames that text detection looks at)."""
    pairs = engine.ask("windows", path=str(clip), process=MOTION_RECIPE).value
    frames = engine.ask("windows", path=str(clip), process=[{OCR: OCR_OPTIONS}]).value
    return [pairs[0][0], *(pair[1] for pair in pairs)], [frame[0] for frame in frames]


def run_case(
    case: Case, clips: Sequence[Path], floors: Mapping[str, Answer], *, repeat: int, quick: bool, with_peer: bool
) -> list[str]:
    print(f"{case.title}:", flush=True)
    kept: dict[str, whole.Kept] = {}

    def once(party: whole.Party, process: whole.Process, number: int) -> trees.Cost:
        with whole.fresh(party, clips, process) as job:
            cost = job.run()
            kept[party.name] = job.kept()
            return cost

    commands = {}
    for np in (2,) if quick else (1, 2):
        if with_peer and (theirs := whole.peer_party(f"py-data-juicer, np {np}", np=np)):
            commands[theirs.name] = partial(once, theirs, case.process)
        ours = whole.our_party(f"dj_assets, np {np}", np=np)
        commands[ours.name] = partial(once, ours, case.our_process)
    costs = {name: trees.median(found) for name, found in trees.in_turn(commands, repeat=repeat).items()}
    return [f"### {case.title}", _run_table(case, clips, costs, floors[case.floor]), _facts(case, costs, kept)]


def _run_table(case: Case, clips: Sequence[Path], costs: Mapping[str, trees.Cost], bare: Answer) -> str:
    seconds = sum(map(_seconds, clips))
    rows = []
    for name, cost in costs.items():
        cells = tables.cost_cells(
            clips=len(clips),
            video_seconds=seconds,
            cpu_seconds=cost.cpu_seconds,
            wall_seconds=cost.wall_seconds,
            peak_process_mb=cost.peak_process_mb,
            peak_tree_mb=cost.peak_tree_mb,
        )
        rows.append([name, *cells, tables.ratio(cost.cpu_seconds, bare.cpu_seconds)])
    cells = tables.cost_cells(
        clips=len(clips),
        video_seconds=seconds,
        cpu_seconds=bare.cpu_seconds,
        wall_seconds=bare.wall_seconds,
        peak_process_mb=bare.peak_mb,
        peak_tree_mb=None,
    )
    rows.append([f"floor: {FLOORS[case.floor]}", *cells, "1.00"])
    return tables.markdown(["who", *tables.COST_HEADINGS, "CPU s / floor's"], rows)


FLOORS = {
    "motion": "decode, grey and Farneback alone",
    "text fp32": "decode and CRAFT's forward passes alone",
    "text bf16": "decode and CRAFT's forward passes in bf16 alone",
}


def _facts(case: Case, costs: Mapping[str, trees.Cost], kept: Mapping[str, whole.Kept]) -> str:
    ours = _quickest(costs, "dj_assets")
    theirs = _quickest(costs, "py-data-juicer")
    if ours is None or theirs is None:
        return "py-data-juicer was not run: `python benchmarks/peer.py` builds it."
    wall = costs[theirs].wall_seconds / costs[ours].wall_seconds
    cpu = costs[theirs].cpu_seconds / costs[ours].cpu_seconds
    times = f"{wall:.2f} times the wall time and {cpu:.2f} times the CPU seconds"
    lines = [f"{theirs} takes {times} of {ours}; of each, the quicker number of processes."]
    lines += whole.difference(case.title, kept[ours], kept[theirs])
    return "\n".join(f"* {line}" for line in lines)


def _quickest(costs: Mapping[str, trees.Cost], whose: str) -> str | None:
    names = [name for name in costs if name.startswith(whose)]
    return min(names, key=lambda name: costs[name].wall_seconds, default=None)


# --- frame by frame ---------------------------------------------------------------------------------------------------


def frame_table(clips: Sequence[Path], repeat: int) -> list[str]:
    """Seconds per frame and the numbers, EasyOCR and our precisions in turn over the frames."""
    parties = (EASYOCR, *precisions())
    with ExitStack() as stack:
        running = partial(contest.running, "detectors", environment={"DJ_ASSETS_DEVICE": "cpu"})
        each = {what: stack.enter_context(running()) for what in parties}
        for one in each.values():
            names = [name for clip in clips for name in one.ask("read", path=str(clip), count=FRAMES_PER_CLIP).value]
        loads = {what: one.ask("load", detector=what) for what, one in each.items()}
        for what, one in each.items():
            one.ask("ratio", detector=what, frame=names[0])
        answers: dict[tuple[str, str], list[Answer]] = {}
        for _ in range(repeat):
            for name in names:
                for what, one in each.items():
                    answers.setdefault((what, name), []).append(one.ask("ratio", detector=what, frame=name))
            print(f"  {len(names)} frames by {', '.join(parties)}", flush=True)
    return [
        "### Text detection, frame by frame",
        FRAME_WORDS,
        _speed_table(parties, names, answers, loads),
        _number_table(parties, names, answers),
        "\n".join(f"* {line}" for line in _frame_facts(parties, names, answers)),
    ]


FRAME_WORDS = """\
A process each, asked in turn, all threads that torch takes by itself, one frame at a time: EasyOCR is
`Reader(["en"]).detect` without its recogniser, as py-data-juicer calls it, in a process as it is; fp32 and bf16 are our
operator's `score` in a process that keeps freed memory, as workers do. Models are loaded and have seen a frame before;
medians over repetitions, summed over the frames. Loading includes importing torch and EasyOCR."""


def _label(what: str) -> str:
    return what if what == EASYOCR else f"dj_assets, {what}"


def _speed_table(
    parties: Sequence[str],
    names: Sequence[str],
    answers: Mapping[tuple[str, str], list[Answer]],
    loads: Mapping[str, Answer],
) -> str:
    totals = {what: contest.total([contest.median(answers[what, name]) for name in names]) for what in parties}
    base = totals[EASYOCR]
    rows = []
    for what, total in totals.items():
        per_frame = (total.wall_seconds / len(names), total.cpu_seconds / len(names), loads[what].wall_seconds)
        ratios = (base.wall_seconds / total.wall_seconds, base.cpu_seconds / total.cpu_seconds)
        rows.append([_label(what), *map(tables.number, per_frame), *(f"{ratio:.2f}" for ratio in ratios)])
    headings = ["who", "wall s / frame", "CPU s / frame", "s to load", "EasyOCR's wall / this", "EasyOCR's CPU / this"]
    return tables.markdown(headings, rows)


def _number_table(parties: Sequence[str], names: Sequence[str], answers: Mapping[tuple[str, str], list[Answer]]) -> str:
    rows = [[name, *(f"{answers[what, name][0].value:.9f}" for what in parties)] for name in names]
    return tables.markdown(["text area ratio", *map(_label, parties)], rows)


def _frame_facts(
    parties: Sequence[str], names: Sequence[str], answers: Mapping[tuple[str, str], list[Answer]]
) -> Iterator[str]:
    def values(what: str) -> dict[str, float]:
        return {name: statistics.median(answer.value for answer in answers[what, name]) for name in names}

    for what in parties[1:]:
        agreeing, compared, most = tables.agreement(values(what), values(EASYOCR))
        apart = max(abs(values(what)[name] - values(EASYOCR)[name]) for name in names)
        yield f"{what}: {agreeing} of {compared} ratios within 1e-6; at most {apart:.2g} apart ({most:.2g} relative)."


def _seconds(clip: Path) -> float:
    import av

    with av.open(str(clip)) as container:
        return float((container.duration or 0) / av.time_base)


if __name__ == "__main__":
    main()
