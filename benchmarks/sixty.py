"""Motion on sixty clips of many kinds, against the peer and the floor: `python -m benchmarks.sixty`.

operator: the peer's operator, our engine on a task, and the bare calls of `benchmarks.floor`, each in a process that
stays up, asked clip by clip in turn; the same for decoding alone; scores compared, and the pixels of every wanted frame
by their hash against a decode of everything. runs: the whole commands over all clips, first, then with the bound moved.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import contest, corpus, peer, tables, trees, whole
from benchmarks.contest import Answer, Contestant
from benchmarks.corpus import Made

MOTION = "video_motion_score_filter"
PROCESS: whole.Process = [{MOTION: {}}]
FIRST_BOUND, MOVED_BOUND = 0.25, 1.0
SCORE_FAILED = -1.0
"""What the peer gives a video that it cannot read."""


@dataclass
class Measured:
    """All answers about one clip. Lists have one entry per repetition."""

    clip: Made
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    score: float | None = None
    peer_score: float | None = None
    pixels_as_sequential: bool = False
    pixels_as_peer: bool | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def peer_reads(self) -> bool:
        return self.peer_score is not None and self.peer_score != SCORE_FAILED

    def cpu_seconds(self, what: str) -> float:
        return statistics.median(answer.cpu_seconds for answer in self.answers[what])

    def wall_seconds(self, what: str) -> float:
        return statistics.median(answer.wall_seconds for answer in self.answers[what])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five small clips, once")
    parser.add_argument("--repeat", type=int, default=1, help="repetitions of everything (default 1)")
    parser.add_argument("--only", choices=("operator", "runs"), help="half of it")
    parser.add_argument("--no-peer", action="store_true", help="do not run py-data-juicer even if it is built")
    given = parser.parse_args()
    clips = corpus.clips(quick=given.quick)
    found = None if given.no_peer else peer.find()
    parts = [tables.machine(), _what_it_is(clips), *([] if found else [NO_PEER])]
    floor_seconds = None
    if given.only != "runs":
        measured = measure(clips, found, given.repeat)
        keep_raw(measured, quick=given.quick)
        parts += operator_tables(measured, with_peer=found is not None)
        floor_seconds = sum(one.cpu_seconds("floor") for one in measured)
    if given.only != "operator":
        parts += run_tables(clips, with_peer=found is not None, repeat=given.repeat, floor_seconds=floor_seconds)
    name = "sixty" if given.only is None else f"sixty-{given.only}"
    tables.publish(name, parts, quick=given.quick)


NO_PEER = "py-data-juicer was not run: `python benchmarks/peer.py` builds it."


def _what_it_is(clips: Sequence[Made]) -> str:
    seconds = sum(one.seconds for one in clips)
    real = sum(bool(one.clip.source) for one in clips)
    return f"{len(clips)} clips, {seconds:.0f} s of video, {real} of them real, the others rendered."


# --- clip by clip -----------------------------------------------------------------------------------------------------


def measure(clips: Sequence[Made], found: peer.Peer | None, repeat: int) -> list[Measured]:
    """Ask everybody about every clip."""
    with contextlib.ExitStack() as stack:
        asked = {
            "ours": stack.enter_context(contest.running("ours", environment={"DJ_ASSETS_DEVICE": "cpu"})),
            "floor": stack.enter_context(contest.running("floor", environment=contest.KEEPS_MEMORY)),
        }
        if found:
            asked["peer"] = stack.enter_context(
                contest.running("theirs", python=str(found.python), environment=found.environment())
            )
        _warm_up(asked, clips[0])
        measured = []
        for number, clip in enumerate(clips, start=1):
            one = _about(clip, asked, repeat)
            measured.append(one)
            spent = ", ".join(f"{what} {one.cpu_seconds(what):.2f}" for what in one.answers)
            print(f"  {number}/{len(clips)} {clip.clip.name}: {spent} CPU s", *one.problems, flush=True)
    return measured


def _warm_up(asked: Mapping[str, Contestant], clip: Made) -> None:
    """Imports and first calls, which no clip pays for."""
    path = str(clip.path)
    asked["ours"].ask("decode", path=path, process=PROCESS)
    asked["floor"].ask("motion", path=path, sequence=[0, 1])
    if "peer" in asked:
        asked["peer"].ask("decode", path=path)


def _about(clip: Made, asked: Mapping[str, Contestant], repeat: int) -> Measured:
    path, one = str(clip.path), Measured(clip)
    sequence = _sequence(asked["ours"].ask("windows", path=path, process=PROCESS).value)
    for _ in range(repeat):
        for what, answer in _once(path, sequence, asked):
            one.answers.setdefault(what, []).append(answer)
    found = one.answers["ours"][0].value
    one.score = found["values"][MOTION]
    one.problems += found["reasons"]
    ours = asked["ours"].ask("hashes", path=path, process=PROCESS).value
    distinct = sorted(set(sequence))
    one.pixels_as_sequential = ours == asked["floor"].ask("hashes", path=path, sequence=distinct).value
    if "peer" in asked:
        one.peer_score = one.answers["peer"][0].value
        seen = asked["peer"].ask("hashes", path=path).value
        one.pixels_as_peer = seen == [ours[str(index)] for index in sequence[1:]]
    return one


def _sequence(windows: Sequence[Sequence[int]]) -> list[int]:
    """Pairs (0, 1), (1, s) ... as the sequence 0, 1, s ... that they walk along."""
    if any(before[1] != after[0] for before, after in itertools.pairwise(windows)):
        raise ValueError(f"the pairs do not follow on each other: {windows}")
    return [windows[0][0], *(window[1] for window in windows)]


def _once(path: str, sequence: Sequence[int], asked: Mapping[str, Contestant]) -> Iterator[tuple[str, Answer]]:
    if "peer" in asked:
        yield "peer", asked["peer"].ask("motion", path=path)
    yield "ours", asked["ours"].ask("measure", path=path, process=PROCESS)
    yield "floor", asked["floor"].ask("motion", path=path, sequence=sequence)
    if "peer" in asked:
        yield "peer decode", asked["peer"].ask("decode", path=path)
    yield "our decode", asked["ours"].ask("decode", path=path, process=PROCESS)
    yield "bare decode", asked["floor"].ask("decode", path=path, sequence=sorted(set(sequence)))


def keep_raw(measured: Sequence[Measured], *, quick: bool) -> None:
    """Every number of every clip, for questions that the tables do not answer."""
    tables.RESULTS.mkdir(parents=True, exist_ok=True)
    path = tables.RESULTS / f"sixty{'-quick' if quick else ''}.json"
    rows = [{**asdict(one), "clip": one.clip.clip.name} for one in measured]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


# --- tables of it -----------------------------------------------------------------------------------------------------


def operator_tables(measured: Sequence[Measured], *, with_peer: bool) -> list[str]:
    readable = [one for one in measured if one.peer_reads] if with_peer else list(measured)
    parts = [
        "### Motion, clip by clip",
        OPERATOR_WORDS,
        _party_table(measured, readable, {"py-data-juicer's operator": "peer", "dj_assets": "ours", "floor": "floor"}),
        _ratio_table(measured, readable, "peer", "ours", "floor"),
        "### Decoding alone",
        DECODE_WORDS,
        _party_table(
            measured,
            readable,
            {"py-data-juicer's reading": "peer decode", "dj_assets": "our decode", "bare sequential": "bare decode"},
        ),
        _ratio_table(measured, readable, "peer decode", "our decode", "bare decode"),
        "### The same numbers, the same pixels",
        "\n".join(f"* {line}" for line in _proofs(measured, with_peer=with_peer)),
    ]
    return parts


OPERATOR_WORDS = """\
CPU seconds of one clip after the other in a process that stays up (`time.process_time` around the call), summed over
the clips; medians over repetitions. py-data-juicer's operator is `VideoMotionScoreFilter.compute_stats_single`, with
the threads that dj-process leaves it; dj_assets is `identify` and `measure_task`, what a worker does for a task; the
floor is PyAV's sequential decode up to the last wanted frame, bgr24, grey, and Farneback's flow, nothing else, in one
thread that keeps its memory. Memory is the process's peak over all clips, libraries included."""
DECODE_WORDS = """\
The same three without the flow: py-data-juicer's operator with a constant in place of the flow, so reading, seeking and
grey; dj_assets with an operator that looks at nothing, so hashing, opening, probing, decoding and grey; the floor
without Farneback. Every frame that is wanted is converted to bgr24 and grey in all three."""


def _party_table(measured: Sequence[Measured], readable: Sequence[Measured], parties: Mapping[str, str]) -> str:
    rows = []
    for words, what in parties.items():
        if not all(what in one.answers for one in measured):
            continue
        for label, some in (("", readable), (", all clips", measured)):
            if not some or (label and len(readable) == len(measured)):
                continue
            cells = tables.cost_cells(
                clips=len(some),
                video_seconds=sum(one.clip.seconds for one in some),
                cpu_seconds=sum(one.cpu_seconds(what) for one in some),
                wall_seconds=sum(one.wall_seconds(what) for one in some),
                peak_process_mb=max(answer.peak_mb for one in some for answer in one.answers[what]),
                peak_tree_mb=None,
            )
            rows.append([f"{words}{label}", str(len(some)), *cells[:-1]])
    return tables.markdown(["who", "clips", *tables.COST_HEADINGS[:-1]], rows)


def _ratio_table(measured: Sequence[Measured], readable: Sequence[Measured], peer_: str, ours: str, floor: str) -> str:
    """CPU seconds per clip and ratios, by kind of clip; of clips that the peer reads, and once of all."""
    rows = []
    by_path = {one.clip.path: one for one in readable}
    for label, clips in corpus.groups([one.clip for one in readable]):
        rows.append(_ratio_row(label, [by_path[clip.path] for clip in clips], peer_, ours, floor))
    if len(readable) < len(measured):
        rows.append(_ratio_row("all, also those that the peer cannot read", measured, peer_, ours, floor))
    headings = ["clips", "n", "peer, CPU s / clip", "ours", "floor", "peer / ours", "median of peer / ours"]
    return tables.markdown([*headings, "ours over floor", "most of a clip"], rows)


def _ratio_row(label: str, some: Sequence[Measured], peer_: str, ours: str, floor: str) -> list[str]:
    def total(what: str) -> float | None:
        if any(what not in one.answers for one in some):
            return None
        return sum(one.cpu_seconds(what) for one in some) / len(some)

    sums = [total(what) for what in (peer_, ours, floor)]
    assert sums[1] is not None and sums[2] is not None
    per_clip = [one.cpu_seconds(peer_) / one.cpu_seconds(ours) for one in some] if sums[0] is not None else []
    over = [one.cpu_seconds(ours) / one.cpu_seconds(floor) - 1 for one in some]
    return [
        label,
        str(len(some)),
        *("-" if value is None else tables.number(value) for value in sums),
        tables.ratio(sums[0], sums[1]),
        tables.number(statistics.median(per_clip)) if per_clip else "-",
        f"{100 * (sums[1] / sums[2] - 1):+.1f} %",
        f"{100 * max(over):+.1f} %",
    ]


def _proofs(measured: Sequence[Measured], *, with_peer: bool) -> Iterator[str]:
    count = len(measured)
    same = sum(one.pixels_as_sequential for one in measured)
    yield f"Every wanted frame has the pixels that a sequential decode of everything gives: {same} of {count} clips."
    yield from _named("pixels differ from a sequential decode's", [o for o in measured if not o.pixels_as_sequential])
    yield from _named("no score of ours", [one for one in measured if one.score is None])
    if not with_peer:
        return
    readable = [one for one in measured if one.peer_reads]
    yield f"py-data-juicer reads {len(readable)} of {count}; those that it does not are left out of ratios."
    yield from _named("py-data-juicer gives -1", [one for one in measured if not one.peer_reads])
    same = sum(bool(one.pixels_as_peer) for one in readable)
    yield f"py-data-juicer looks at the same pixels in the same order: {same} of {len(readable)}."
    yield from _named("py-data-juicer looks at others", [one for one in readable if not one.pixels_as_peer])
    ours = {one.clip.clip.name: one.score for one in readable if one.score is not None}
    theirs = {one.clip.clip.name: one.peer_score for one in readable if one.peer_score is not None}
    agreeing, compared, most = tables.agreement(ours, theirs)
    yield f"Scores within 1e-6 of py-data-juicer's: {agreeing} of {compared}; the largest difference is {most:.2g}."
    apart = [name for name in ours if tables.agreement({name: ours[name]}, theirs)[0] == 0]
    if apart:
        yield "scores apart: " + "; ".join(f"`{name}` {ours[name]:.9g}, theirs {theirs[name]:.9g}" for name in apart)


def _named(what: str, some: Sequence[Measured]) -> Iterator[str]:
    if some:
        yield f"{what}: " + ", ".join(f"`{one.clip.clip.name}`" for one in some)


# --- whole runs -------------------------------------------------------------------------------------------------------

STAGES = {"first": "first run", "moved": "bound moved"}


@dataclass
class Runs:
    """Of one party over some clips: what each repetition cost by stage, and what the last of them kept and decoded."""

    clips: Sequence[Made]
    costs: dict[str, list[trees.Cost]] = field(default_factory=dict)
    kept: dict[str, whole.Kept] = field(default_factory=dict)
    decoded: dict[str, frozenset[str]] = field(default_factory=dict)
    """File names."""

    def median(self, stage: str) -> trees.Cost:
        return trees.median(self.costs[stage])


def run_tables(clips: Sequence[Made], *, with_peer: bool, repeat: int, floor_seconds: float | None) -> list[str]:
    print("whole runs, first and with the bound moved:", flush=True)
    runs: dict[str, Runs] = {}
    for _ in range(repeat):
        theirs = whole.peer_party() if with_peer else None
        if theirs:
            _run_twice(theirs, runs.setdefault(theirs.name, Runs(clips)))
        _run_twice(whole.our_party(), runs.setdefault(OURS, Runs(clips)))
        if theirs:
            read = [one for one in clips if one.path.name in runs[theirs.name].decoded["first"]]
            if len(read) < len(clips):
                _run_twice(whole.our_party(), runs.setdefault(OURS_OF_THEIRS, Runs(read)))
    return [
        "### Whole runs over the same clips",
        RUNS_WORDS,
        _runs_table(runs),
        "\n".join(f"* {line}" for line in _run_facts(runs, floor_seconds)),
    ]


OURS = "dj_assets"
OURS_OF_THEIRS = "dj_assets, clips that py-data-juicer reads"
RUNS_WORDS = f"""\
`dj-assets process` and `dj-process`, each as a tree of processes from start to exit, both with `np: 2`, each in a new
project with an empty store and empty caches; then once more with `min_score` moved from {FIRST_BOUND:g} to
{MOVED_BOUND:g}. Decoded videos are counted from outside in both (`benchmarks/decode_counter`); the peak of the tree is
sampled proportional set size. Ratios are of medians."""


def _run_twice(party: whole.Party, runs: Runs) -> None:
    with whole.fresh(party, [one.path for one in runs.clips], [{MOTION: {"min_score": FIRST_BOUND}}]) as job:
        for stage in STAGES:
            if stage == "moved":
                job.project.set_option(whole.RECIPE, MOTION, min_score=MOVED_BOUND)
            cost = job.run(counted=True)
            runs.costs.setdefault(stage, []).append(cost)
            runs.kept[stage] = job.kept()
            runs.decoded[stage] = frozenset(Path(path).name for path in job.decoded.decoded)
            print(
                f"  {party.name}, {len(runs.clips)} clips, {stage}: {cost.wall_seconds:.1f} s, "
                f"{cost.cpu_seconds:.1f} CPU s",
                flush=True,
            )


def _runs_table(runs: Mapping[str, Runs]) -> str:
    rows = []
    for stage, words in STAGES.items():
        for name, of in runs.items():
            cost = of.median(stage)
            cells = tables.cost_cells(
                clips=len(of.clips),
                video_seconds=sum(one.seconds for one in of.clips),
                cpu_seconds=cost.cpu_seconds,
                wall_seconds=cost.wall_seconds,
                peak_process_mb=cost.peak_process_mb,
                peak_tree_mb=cost.peak_tree_mb,
            )
            counts = [str(len(found)) for found in (of.clips, of.decoded[stage], of.kept[stage].names)]
            rows.append([f"{words}, {name}", *counts, *cells])
    return tables.markdown(["run", "clips", "decoded", "kept", *tables.COST_HEADINGS], rows)


def _run_facts(runs: Mapping[str, Runs], floor_seconds: float | None) -> Iterator[str]:
    theirs, ours = runs.get("py-data-juicer"), runs[OURS]
    for stage, words in STAGES.items():
        for name in (OURS_OF_THEIRS, OURS):
            if theirs and name in runs:
                one, other = theirs.median(stage), runs[name].median(stage)
                yield (
                    f"{words}: py-data-juicer, over all {len(theirs.clips)} clips, takes "
                    f"{one.wall_seconds / other.wall_seconds:.2f} times the wall time and "
                    f"{one.cpu_seconds / other.cpu_seconds:.2f} times the CPU seconds of {name}."
                )
        if theirs:
            yield from whole.difference(words, ours.kept[stage], theirs.kept[stage])
    if floor_seconds is not None:
        over = 100 * (ours.median("first").cpu_seconds / floor_seconds - 1)
        yield (
            f"Our whole first run, from the start of Python over Dagster to the export, is {over:+.1f} % CPU over the "
            f"floor of the same clips ({floor_seconds:.1f} s)."
        )


if __name__ == "__main__":
    main()
