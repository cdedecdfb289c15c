"""Verdicts → which of them to show: the first of each outcome, those nearest a bound, the undecided, some at random.

Tables in, choices out; no file and no video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dj_assets.decide import Facts, facts_by_key, step_passes
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Fact, Row, Verdict

NO_LIMIT = 9.2e18
"""Data-Juicer's defaults for "no limit" are sys.maxsize and the largest double."""

Tables = Mapping[str, Sequence[Row]]

Measured = Mapping[tuple[str, str, str, int], Sequence[Fact]]
"""(step, sample, field, position) → the numbers that there are, in the order of the step's stats."""


@dataclass(frozen=True)
class Exhibit:
    """One sheet to draw: a video of a sample, and what a step found in it. folder: of the sheet, by why it is drawn.

    verdict: the sample's outcome.
    """

    folder: str
    sample: Sample
    video: Video
    step: Step
    fact: Fact
    verdict: str


@dataclass(frozen=True)
class Near:
    """A sample beside a bound. video, fact: those that decide whether it passes the step, of several.

    bound: one end of a range, as text. distance: of the number from it, 0 or more. order: of steps and bounds.
    """

    order: tuple[int, int]
    step: Step
    bound: str
    passes: bool
    distance: float
    sample: Sample
    verdict: Verdict
    video: Video
    fact: Fact


@dataclass(frozen=True)
class Cell:
    """One sample on a contact sheet. step, video, fact: what is shown of it, as far as there is something."""

    sample: Sample
    verdict: Verdict
    video: Video | None = None
    step: Step | None = None
    fact: Fact | None = None


@dataclass(frozen=True)
class Section:
    """Some cells under a heading."""

    heading: str
    cells: tuple[Cell, ...]


def choose(
    plan: Plan, samples: Sequence[Sample], verdicts: Sequence[Verdict], tables: Tables, *, kept: int, dropped: int
) -> list[Exhibit]:
    """The first `kept` kept samples under every step that looks at frames, the first `dropped` dropped ones under the
    step that dropped them. Only measured videos have something to show."""
    left = {"kept": kept, "dropped": dropped}
    on_frames = [step for step in plan.steps if step.operator.plan is not None and step.rule is None]
    rows = _measured(plan.measured_steps, tables)
    exhibits: list[Exhibit] = []
    for sample, verdict in zip(samples, verdicts, strict=True):
        if left.get(verdict.outcome, 0) < 1:
            continue
        steps = on_frames if verdict.outcome == "kept" else [one for one in plan.steps if one.key == verdict.step]
        found = [
            Exhibit(verdict.outcome, sample, video, step, fact, verdict.outcome)
            for step in steps
            for video in sample.videos
            if (fact := _shown_fact(rows, step, sample, video, verdict)) is not None
        ]
        left[verdict.outcome] -= bool(found)
        exhibits.extend(found)
    return exhibits


def _measured(steps: Sequence[Step], tables: Tables) -> Measured:
    found: dict[tuple[str, str, str, int], list[Fact]] = {}
    for step in steps:
        for row in tables[step.key]:
            if row.fact.status == "ok":
                found.setdefault((step.key, row.sample_id, row.field, row.position), []).append(row.fact)
    return found


def _shown_fact(rows: Measured, step: Step, sample: Sample, video: Video, verdict: Verdict) -> Fact | None:
    """A step's number for a video: of several stats the one that the verdict names, else the first."""
    facts = rows.get((step.key, sample.sample_id, video.field, video.position), ())
    named = (fact for fact in facts if verdict.step == step.key and verdict.stat == fact.stat)
    return next(named, next(iter(facts), None))


# --- beside the bounds


def near_bounds(
    plan: Plan, samples: Sequence[Sample], verdicts: Sequence[Verdict], tables: Tables, *, count: int
) -> list[Near]:
    """For each bound that is set, the `count` samples nearest to it that pass and those that do not, furthest below
    first. A sample is beside the bound that its deciding number is nearest to."""
    if count < 1:
        return []
    found: list[Near] = []
    for place, step in enumerate(plan.steps):
        if step.rule is not None:  # it has no bounds
            continue
        facts = facts_by_key(tables[step.key])
        for sample, verdict in zip(samples, verdicts, strict=True):
            if sample.status == "ok" and (near := _deciding(place, step, sample, verdict, facts)) is not None:
                found.append(near)
    return nearest(found, count)


def nearest(found: Sequence[Near], count: int) -> list[Near]:
    """Of several shards' samples beside bounds the `count` nearest on each side of each bound, bound by bound."""
    sides: dict[tuple[tuple[int, int], bool], list[Near]] = {}
    for near in found:
        sides.setdefault((near.order, near.passes), []).append(near)
    chosen = [
        near for side in sides.values() for near in sorted(side, key=lambda one: (one.distance, _id(one)))[:count]
    ]
    return sorted(chosen, key=lambda one: (one.order, one.fact.value or 0.0, _id(one)))


def _id(near: Near) -> str:
    return near.sample.sample_id


def _deciding(place: int, step: Step, sample: Sample, verdict: Verdict, facts: Facts) -> Near | None:
    """The number of a video that decides whether a sample passes a step, and the end of a range it is nearest to.

    Of a video, that of the range it passes least or fails most; of several videos, the best for `any`, the worst for
    `all`. None where nothing is decided, no bound is set, or no video decides: of a record there is nothing to see.
    """
    passes = None if step.is_about_samples else step_passes(step, sample, facts)
    if passes is None:
        return None
    ends = [_worst_end(step, sample, video, facts) for video in step.videos(sample)]
    known = [end for end in ends if end is not None]
    if not known:
        return None
    best = max if step.any_or_all == "any" else min
    end = best(known, key=lambda one: one.margin)
    return Near((place, end.number), step, end.text, passes, abs(end.margin), sample, verdict, end.video, end.fact)


@dataclass(frozen=True)
class _End:
    """One end of one range. number: among the step's. margin: of a number from it, negative where the number fails."""

    number: int
    text: str
    margin: float
    video: Video
    fact: Fact


def _worst_end(step: Step, sample: Sample, video: Video, facts: Facts) -> _End | None:
    found: list[_End] = []
    for number, range_ in enumerate(step.ranges):
        fact = facts.get((sample.sample_id, video.field, video.position, range_.stat))
        if fact is None or fact.value is None or fact.status != "ok":
            continue
        ends = list(_ends(range_))
        if ends:
            which, limit, text = min(ends, key=lambda one: abs((fact.value or 0.0) - one[1]))
            distance = abs(fact.value - limit)
            margin = distance if range_.passes(fact.value) else -distance
            found.append(_End(2 * number + which, text, margin, video, fact))
    # At distance 0 the sign is lost: what fails comes first.
    return min(
        found, key=lambda one: (one.margin, step.ranges[one.number // 2].passes(one.fact.value or 0.0)), default=None
    )


def _ends(range_: StatRange) -> Iterator[tuple[int, float, str]]:
    """(0 or 1, limit, text) of the ends that are set."""
    if range_.low_is_set and abs(range_.low) < NO_LIMIT:
        yield 0, range_.low, str(replace(range_, high_is_set=False))
    if range_.high_is_set and abs(range_.high) < NO_LIMIT:
        yield 1, range_.high, str(replace(range_, low_is_set=False))


# --- a contact sheet


def choose_sheet(
    plan: Plan,
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    tables: Tables,
    *,
    boundary: int,
    undecided: int,
    random: int,
    seed: int = 0,
) -> list[Section]:
    """What a contact sheet of a shard shows: the samples nearest each bound on either side, undecided ones of as many
    reasons as possible, and some of the other decided ones at random, the same for the same seed and samples."""
    sections = near_sections(near_bounds(plan, samples, verdicts, tables, count=boundary))
    shown = {cell.sample.sample_id for section in sections for cell in section.cells}
    pairs = list(zip(samples, verdicts, strict=True))
    if undecided > 0:
        chosen = _of_every_reason([pair for pair in pairs if pair[1].outcome == "undecided"], undecided)
        sections.append(Section("undecided", tuple(_undecided_cell(plan, *pair, tables) for pair in chosen)))
    if random > 0:
        decided = [pair for pair in pairs if pair[1].outcome != "undecided" and pair[0].sample_id not in shown]
        lots = sorted(decided, key=lambda pair: _lot(seed, pair[0].sample_id))[:random]
        cells = _decided_cells(plan, lots, tables)
        sections.append(Section("at random, of the others", tuple(cells)))
    return sections


def near_sections(found: Sequence[Near]) -> list[Section]:
    """A section per bound."""
    bounds: dict[tuple[tuple[int, int], str], list[Cell]] = {}
    for near in found:
        cell = Cell(near.sample, near.verdict, near.video, near.step, near.fact)
        bounds.setdefault((near.order, f"{near.step.key}: nearest {near.bound}, on either side"), []).append(cell)
    return [Section(heading, tuple(cells)) for (_, heading), cells in bounds.items()]


def _of_every_reason(pairs: Sequence[tuple[Sample, Verdict]], count: int) -> list[tuple[Sample, Verdict]]:
    """The first of each status, then the second of each, and so on."""
    seen: dict[str, int] = {}
    ranked = []
    for place, (sample, verdict) in enumerate(pairs):
        seen[verdict.status] = seen.get(verdict.status, 0) + 1
        ranked.append((seen[verdict.status], place, sample, verdict))
    return [(sample, verdict) for _, _, sample, verdict in sorted(ranked, key=lambda one: one[:2])[:count]]


def _lot(seed: int, sample_id: str) -> bytes:
    return hashlib.blake2b(f"{seed} {sample_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _undecided_cell(plan: Plan, sample: Sample, verdict: Verdict, tables: Tables) -> Cell:
    """The first video that has no number for the verdict's reason, and the step that asked for it."""
    step = next((step for step in plan.steps if step.key == verdict.step), None)
    if step is None or step.is_about_samples:
        broken = next((video for video in sample.videos if video.status != "ok"), None)
        return Cell(sample, verdict, broken or next(iter(sample.videos), None))
    at_fault = {
        row.position
        for row in tables[step.key]
        if (row.sample_id, row.field, row.fact.status) == (sample.sample_id, step.video_key, verdict.status)
        and verdict.stat in ("", row.fact.stat)
    }
    videos = step.videos(sample)
    found = next((video for video in videos if video.position in at_fault), None)
    return Cell(sample, verdict, found or next(iter(videos), None), step)


def _decided_cells(plan: Plan, pairs: Sequence[tuple[Sample, Verdict]], tables: Tables) -> Iterator[Cell]:
    """Those dropped with what dropped them, those kept under the last step that has a number, which looks closest."""
    rows = _measured(plan.measured_steps, tables)
    steps = {step.key: step for step in plan.measured_steps}
    dropping = {verdict.step for _, verdict in pairs if verdict.outcome == "dropped"}
    facts = {key: facts_by_key(tables[key]) for key in dropping & steps.keys()}
    for sample, verdict in pairs:
        if verdict.step in facts:
            step = steps[verdict.step]
            cause = _cause(step, sample, verdict, facts[step.key])
            yield Cell(sample, verdict, cause[0], step, cause[1]) if cause else _bare_cell(sample, verdict)
        else:
            yield _kept_cell(plan, sample, verdict, rows)


def _cause(step: Step, sample: Sample, verdict: Verdict, facts: Facts) -> tuple[Video, Fact] | None:
    """The video that dropped a sample, and its number outside the range that the verdict names.

    Of several such videos the one that decides, as beside the bounds; else the first.
    """
    outside = [
        (video, fact)
        for video in step.videos(sample)
        for range_ in step.ranges
        if verdict.stat in ("", range_.stat)
        and (fact := facts.get((sample.sample_id, video.field, video.position, range_.stat))) is not None
        and fact.status == "ok"
        and fact.value is not None
        and not range_.passes(fact.value)
    ]
    near = _deciding(0, step, sample, verdict, facts)
    deciding = (one for one in outside if near is not None and one[0] == near.video)
    return next(deciding, next(iter(outside), None))


def _kept_cell(plan: Plan, sample: Sample, verdict: Verdict, rows: Measured) -> Cell:
    for step in reversed(plan.alone.steps):
        for video in sample.videos:
            if (fact := _shown_fact(rows, step, sample, video, verdict)) is not None:
                return Cell(sample, verdict, video, step, fact)
    return _bare_cell(sample, verdict)


def _bare_cell(sample: Sample, verdict: Verdict) -> Cell:
    return Cell(sample, verdict, next(iter(sample.videos), None))
