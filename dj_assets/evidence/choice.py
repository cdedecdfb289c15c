"""Verdicts → which of them to show: the first of each outcome, those nearest a bound, the undecided, some at random.

Tables in, choices out; no file and no video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dj_assets.decide import Facts, facts_by_key, step_passes
from dj_assets.plan import Plan, StatRange, Step
from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Fact, Row, Verdict

NO_LIMIT = 9.2e18
"""Data-Juicer's defaults for "no limit" are sys.maxsize and the largest double."""

Tables = Mapping[str, Sequence[Row]]


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
    on_frames = [step for step in plan.steps if step.operator.plan is not None]
    rows = _measured(plan.steps, tables)
    exhibits: list[Exhibit] = []
    for sample, verdict in zip(samples, verdicts, strict=True):
        if left.get(verdict.outcome, 0) < 1:
            continue
        steps = on_frames if verdict.outcome == "kept" else [one for one in plan.steps if one.key == verdict.step]
        found = [
            Exhibit(verdict.outcome, sample, video, step, fact, verdict.outcome)
            for step in steps
            for video in sample.videos
            if (fact := rows.get((step.key, sample.sample_id, video.field, video.position))) is not None
        ]
        left[verdict.outcome] -= bool(found)
        exhibits.extend(found)
    return exhibits


def _measured(steps: Sequence[Step], tables: Tables) -> dict[tuple[str, str, str, int], Fact]:
    """(step, sample, field, position) → the number, of a step with several stats that of the first."""
    return {
        (step.key, row.sample_id, row.field, row.position): row.fact
        for step in steps
        for row in reversed(tables[step.key])
        if row.fact.status == "ok"
    }


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
    """The number that decides whether a sample passes a step, and the end of a range it is nearest to.

    Of a video, that of the range it passes least or fails most; of several videos, the best for `any`, the worst for
    `all`. None where nothing is decided, or no bound is set.
    """
    passes = step_passes(step, sample, facts)
    if passes is None:
        return None
    ends = [_worst_end(step, sample, video, facts) for video in sample.videos if video.field == step.video_key]
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
        sections.append(Section("undecided", tuple(Cell(*pair, *_place_of(plan, *pair)) for pair in chosen)))
    if random > 0:
        decided = [pair for pair in pairs if pair[1].outcome != "undecided" and pair[0].sample_id not in shown]
        lots = sorted(decided, key=lambda pair: _lot(seed, pair[0].sample_id))[:random]
        rows = _measured(plan.steps, tables)
        sections.append(Section("at random, of the others", tuple(_decided_cell(plan, *pair, rows) for pair in lots)))
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


def _place_of(plan: Plan, sample: Sample, verdict: Verdict) -> tuple[Video | None, Step | None]:
    """The first video that is at fault, as far as the verdict tells, and the step."""
    step = next((step for step in plan.steps if step.key == verdict.step), None)
    videos = [video for video in sample.videos if step is None or video.field == step.video_key]
    broken = next((video for video in videos if video.status != "ok"), None)
    return broken or next(iter(videos), None), step


def _decided_cell(plan: Plan, sample: Sample, verdict: Verdict, rows: Mapping[tuple[str, str, str, int], Fact]) -> Cell:
    """Under the step that dropped it; of a kept one under the last step that has a number, which looks closest."""
    steps = [step for step in plan.steps if verdict.outcome == "kept" or step.key == verdict.step]
    for step in reversed(steps):
        for video in sample.videos:
            fact = rows.get((step.key, sample.sample_id, video.field, video.position))
            if fact is not None:
                return Cell(sample, verdict, video, step, fact)
    return Cell(sample, verdict, next(iter(sample.videos), None))
