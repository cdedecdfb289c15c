"""Two plans over the same samples → who enters the export, who leaves it, by which step, and what cannot be known.

    steps' answers with every unmeasured video taken to pass (lo), and taken to fail (hi)
        ─► what each plan exports for certain, or perhaps ─► entering · leaving · cannot be known

What nobody has measured may turn out to pass, to fail, or to be unmeasurable. Answers grow from pass over unknown to
fail, and a plan only takes minima and maxima of them; so they lie between those two ends, wherever the unknown ends up.
A step that both plans ask alike can come between no two ends: its answer is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from dj_assets.columns import FAILS, NOT_MEASURED, OK, PASSES, STATUS_NAMES, UNKNOWN, Codes, Columns, StepColumns
from dj_assets.diff.changes import Change, changes, margin, pair_steps, same_question
from dj_assets.errors import STATUSES, DjAssetsError
from dj_assets.plan import Plan
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample, Video

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Outcome = Literal["kept", "dropped", "undecided", "not_measured", "absent"]

MOST_LISTED = 1000

ASKED_AGAIN = ("timed_out", "crashed", "too_large")
"""Reasons for having no number that a run does not take for an answer: it asks again."""


@dataclass(frozen=True)
class Standing:
    """What one recipe says of one sample.

    outcome: `not_measured` where it hangs on videos that nobody has measured, `absent` where this recipe reads no such
    sample. is_exported: None where that cannot be known. status, reason: why undecided. not_measured: keys of the steps
    that the answer waits for.
    step, field (that lists its videos; empty of a step on records), stat, values (one per subject), bound, margin: of
    the step that decides; of a kept sample, of the step that decides in the other recipe, if it is here, too.
    """

    outcome: Outcome
    step: str = ""
    field: str = ""
    stat: str = ""
    values: tuple[float | None, ...] = ()
    bound: str = ""
    margin: float | None = None
    status: str = ""
    reason: str = ""
    not_measured: tuple[str, ...] = ()
    is_exported: bool | None = None


@dataclass(frozen=True)
class Moved:
    """A sample, and what both recipes say of it."""

    sample_id: str
    drop: str
    line_number: int
    videos: tuple[Video, ...]
    old: Standing
    new: Standing


@dataclass(frozen=True)
class Totals:
    """Samples of one recipe by outcome: samples = kept + all dropped + all undecided + not_measured.

    dropped: by step key, every step. undecided: by status. not_measured: those whose outcome hangs on what nobody has
    measured. exported: those in the export for certain.
    """

    samples: int
    kept: int
    dropped: Mapping[str, int]
    undecided: Mapping[str, int]
    not_measured: int
    exported: int


@dataclass(frozen=True)
class Gap:
    """What a step would have to be asked, so that `samples` of those that cannot be known can. videos: as listed."""

    side: Literal["old", "new"]
    step: str
    samples: int
    videos: int


@dataclass(frozen=True)
class Flow:
    """How many samples went from one outcome to another. *_by: the step that dropped them, or why undecided."""

    old: Outcome
    old_by: str
    new: Outcome
    new_by: str
    samples: int


@dataclass(frozen=True)
class Diff:
    """Two recipes compared. Lists hold the first samples of each kind, in the dataset's order; num_*: all of them.

    changed_cause: dropped by both, by another step. Of the dropped ones the first failing step is named, of those that
    are measured. asked_again: samples that are undecided on one side for a reason that a run would ask again.
    """

    changes: tuple[Change, ...]
    old: Totals
    new: Totals
    samples: int
    num_entering: int
    num_leaving: int
    num_changed_cause: int
    num_unknown: int
    entering: tuple[Moved, ...]
    leaving: tuple[Moved, ...]
    changed_cause: tuple[Moved, ...]
    unknown: tuple[Moved, ...]
    gaps: tuple[Gap, ...]
    flows: tuple[Flow, ...]
    asked_again: int

    @property
    def is_empty(self) -> bool:
        """Nothing enters or leaves, and that is certain."""
        return not (self.num_entering or self.num_leaving or self.num_unknown)


def compare(old: Columns, new: Columns, *, most: int = MOST_LISTED) -> Diff:
    """What becomes of every sample. most: samples to list of each kind.

    old, new: over the same samples; or over two readings of one dataset, whose samples are told by their ids.
    """
    _refuse_wholes(old.plan, new.plan)
    is_shared = old.samples is new.samples
    at_old, at_new = _aligned(old, new, is_shared=is_shared)
    common = _asked_alike(old.plan, new.plan) if is_shared else frozenset()
    before, after = _Side("old", old, at_old, common), _Side("new", new, at_new, common)
    entering = _for_certain(before, after)
    leaving = _for_certain(after, before)
    unknown = (_perhaps(before, after) | _perhaps(after, before)) & ~entering & ~leaving
    partner = _partners(old.plan, new.plan)
    changed = _another_step(before, after, partner)
    teller = _Teller(before, after, partner, most)
    return Diff(
        changes=changes(old.plan, new.plan),
        old=before.totals(),
        new=after.totals(),
        samples=len(at_new),
        num_entering=int(entering.sum()),
        num_leaving=int(leaving.sum()),
        num_changed_cause=int(changed.sum()),
        num_unknown=int(unknown.sum()),
        entering=teller.tell(entering),
        leaving=teller.tell(leaving),
        changed_cause=teller.tell(changed),
        unknown=teller.tell(unknown),
        gaps=(*before.gaps(unknown), *after.gaps(unknown)),
        flows=_flows(before, after),
        asked_again=int((before.asked_again | after.asked_again).sum()),
    )


def _refuse_wholes(old: Plan, new: Plan) -> None:
    for plan in (old, new):
        for step in plan.whole_steps:
            raise DjAssetsError(
                f"{step.key} of {plan.recipe.file} decides over the whole dataset, where each hangs on all others",
                allowed="recipes whose steps look at one sample at a time",
                try_="compare copies of the recipes without it; or process both, with an export_path each, and compare "
                "the exports",
            )


# --- which samples are the same


def _aligned(old: Columns, new: Columns, *, is_shared: bool) -> tuple[Numbers, Numbers]:
    """Of every sample of either, its index in both; -1 where it is not there. In the new order, then the old."""
    import pyarrow.compute as pc

    every_new = np.arange(new.num_samples, dtype=np.int64)
    if is_shared:
        return every_new, every_new
    ids, others = (one.samples.column("sample_id").combine_chunks() for one in (new, old))
    place = np.asarray(pc.index_in(ids, value_set=others).fill_null(-1), dtype=np.int64)
    gone = np.setdiff1d(np.arange(old.num_samples, dtype=np.int64), place)
    return np.concatenate([place, gone]), np.concatenate([every_new, np.full(len(gone), -1, dtype=np.int64)])


def _asked_alike(old: Plan, new: Plan) -> frozenset[object]:
    return frozenset(map(same_question, old.steps)) & frozenset(map(same_question, new.steps))


def _partners(old: Plan, new: Plan) -> Mapping[str, str]:
    """Step key of the old plan → of the new one."""
    return {a.key: b.key for a, b in pair_steps(old, new) if a is not None and b is not None}


# --- what one plan says of them


@dataclass(frozen=True, eq=False)
class _Ends:
    """Between which codes an answer lies: uint8 [N] each."""

    lo: Codes
    hi: Codes

    @property
    def is_open(self) -> Mask:
        return self.lo != self.hi


def _worst(ends: Sequence[_Ends], count: int) -> _Ends:
    lo, hi = np.zeros(count, dtype=np.uint8), np.zeros(count, dtype=np.uint8)
    for one in ends:
        np.maximum(lo, one.lo, out=lo)
        np.maximum(hi, one.hi, out=hi)
    return _Ends(lo, hi)


class _Side:
    """One plan over the samples of both. at: int64 [N], their indices in its columns, -1 where it has none.

    common: `same_question` of the steps that both plans ask about the very same samples.
    """

    def __init__(self, name: Literal["old", "new"], columns: Columns, at: Numbers, common: frozenset[object]) -> None:
        self.name = name
        self.columns = columns
        self.at = at
        self.is_absent: Mask = at < 0
        self.steps = list(columns.steps.values())
        self.ends = [self._placed(_ends(step)) for step in self.steps]
        self.is_malformed: Mask = (
            columns.malformed[at] & ~self.is_absent if columns.num_samples else self.is_absent & False
        )
        self.common = [same_question(step.step) in common for step in self.steps]

    @property
    def count(self) -> int:
        return len(self.at)

    def _placed(self, ends: _Ends) -> _Ends:
        if not self.columns.num_samples:
            passes = np.zeros(self.count, dtype=np.uint8)
            return _Ends(passes, passes)
        return _Ends(ends.lo[self.at], ends.hi[self.at])

    @property
    def worst_exported(self) -> int:
        """The worst code with which a sample is exported still."""
        return UNKNOWN if self.columns.plan.recipe.settings.on_undecided == "keep" else PASSES

    @cached_property
    def shared(self) -> _Ends:
        """What the steps say that both plans ask alike."""
        return _worst([one for one, is_common in zip(self.ends, self.common, strict=True) if is_common], self.count)

    @cached_property
    def own(self) -> _Ends:
        """What the other steps say. No plan exports what is no sample, or not there."""
        found = _worst(
            [one for one, is_common in zip(self.ends, self.common, strict=True) if not is_common], self.count
        )
        never = self.is_malformed | self.is_absent
        found.lo[never] = found.hi[never] = FAILS
        return found

    @cached_property
    def whole(self) -> _Ends:
        """The verdicts. Malformed samples are undecided."""
        found = _worst(self.ends, self.count)
        found.lo[self.is_malformed] = found.hi[self.is_malformed] = UNKNOWN
        return found

    @cached_property
    def is_exported(self) -> Mask:
        """For certain."""
        return np.maximum(self.shared.hi, self.own.hi) <= self.worst_exported

    @cached_property
    def is_dropped(self) -> Mask:
        """For certain."""
        return (self.whole.lo == FAILS) & ~self.is_malformed & ~self.is_absent

    @cached_property
    def is_undecided(self) -> Mask:
        """For certain: measured, or looked at, and without an answer."""
        return (self.whole.lo == UNKNOWN) & (self.whole.hi == UNKNOWN) & ~self.is_absent

    @cached_property
    def is_open(self) -> Mask:
        """Whether the outcome waits for what nobody has measured."""
        return self.whole.is_open & ~self.is_dropped & ~self.is_absent

    @cached_property
    def deciding(self) -> npt.NDArray[np.uint8]:
        """The first step that drops a dropped sample, or is undecided about an undecided one; the number of steps where
        none does."""
        deciding = np.full(self.count, len(self.steps), dtype=np.uint8)
        for number in reversed(range(len(self.steps))):
            deciding[(self.ends[number].lo == self.whole.lo) & (self.is_dropped | self.is_undecided)] = number
        deciding[self.is_malformed] = len(self.steps)
        return deciding

    @cached_property
    def statuses(self) -> npt.NDArray[np.uint8]:
        """Why undecided, as `STATUS_NAMES` codes; OK where it is not undecided."""
        found = np.full(self.count, OK, dtype=np.uint8)
        for number, step in enumerate(self.steps):
            here = np.flatnonzero(self.is_undecided & (self.deciding == number))
            if len(here):
                found[here] = _first_statuses(step)[self.at[here]]
        found[self.is_malformed] = STATUSES.index("malformed")
        return found

    @property
    def asked_again(self) -> Mask:
        return np.isin(self.statuses, [STATUS_NAMES.index(name) for name in ASKED_AGAIN])

    def totals(self) -> Totals:
        kept = (self.whole.hi == PASSES) & ~self.is_absent
        by_step = np.bincount(self.deciding[self.is_dropped], minlength=len(self.steps))
        by_status = np.bincount(self.statuses[self.is_undecided], minlength=len(STATUS_NAMES))
        return Totals(
            samples=self.columns.num_samples,
            kept=int(kept.sum()),
            dropped={one.step.key: int(by_step[number]) for number, one in enumerate(self.steps)},
            undecided={STATUS_NAMES[code]: int(by_status[code]) for code in np.flatnonzero(by_status)},
            not_measured=int(self.is_open.sum()),
            exported=int(self.is_exported.sum()),
        )

    def gaps(self, unknown: Mask) -> Iterator[Gap]:
        """By step, what the unknown samples wait for on this side."""
        waiting = unknown & self.is_open
        for step, ends in zip(self.steps, self.ends, strict=True):
            here = waiting & ends.is_open
            if here.any():
                wanted = np.zeros(self.columns.num_samples, dtype=bool)
                wanted[self.at[here]] = True
                videos = (step.statuses == NOT_MEASURED).any(axis=0) & wanted[step.samples]
                yield Gap(self.name, step.step.key, int(here.sum()), int(videos.sum()))

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Outcome and cause of each sample as one number, to count by; `label` reads it."""
        found = np.zeros(self.count, dtype=np.int64)
        found[self.is_open] = 1
        found[self.is_absent] = 2
        found[self.is_dropped] = 1000 + self.deciding[self.is_dropped].astype(np.int64)
        found[self.is_undecided] = 100 + self.statuses[self.is_undecided].astype(np.int64)
        return found

    def label(self, code: int) -> tuple[Outcome, str]:
        """(outcome, the step that dropped or the status that says why undecided)."""
        if code >= 1000:
            return "dropped", self.steps[code - 1000].step.key
        if code >= 100:
            return "undecided", STATUS_NAMES[code - 100]
        outcomes: tuple[Outcome, ...] = ("kept", "not_measured", "absent")
        return outcomes[code], ""


def _ends(step: StepColumns) -> _Ends:
    if not (step.statuses == NOT_MEASURED).any():
        codes = step.codes()
        return _Ends(codes, codes)
    return _Ends(step.codes(not_measured=PASSES), step.codes(not_measured=FAILS))


def _first_statuses(step: StepColumns) -> npt.NDArray[np.uint8]:
    """Of each sample, why its first video that is unknown to a step is: uint8 [num_samples], OK where none is."""
    of_videos = np.zeros(len(step.samples), dtype=np.uint8)
    why = np.full(len(step.samples), OK, dtype=np.uint8)
    for range_ in reversed(step.step.ranges):
        np.maximum(of_videos, step.range_codes(range_), out=of_videos)
        statuses = step.statuses[step.stat(range_.stat)]
        why = np.where(statuses != OK, statuses, why)
    unknown = np.flatnonzero(of_videos == UNKNOWN)[::-1]  # backwards, so that the first video has the last word
    found = np.full(step.num_samples, OK, dtype=np.uint8)
    found[step.samples[unknown]] = why[unknown]
    return found


# --- what both say


def _for_certain(away: _Side, towards: _Side) -> Mask:
    """Samples that `towards` exports and `away` does not, whatever is measured yet."""
    is_out = (away.shared.lo > away.worst_exported) | (away.own.lo > away.worst_exported)
    return is_out & towards.is_exported


def _perhaps(away: _Side, towards: _Side) -> Mask:
    """Samples that `towards` may turn out to export and `away` not to."""
    may_be_in = np.maximum(towards.shared.lo, towards.own.lo) <= towards.worst_exported
    # What both ask alike tells the two apart only where one takes an undecided sample and the other does not.
    between = (away.shared.hi > away.worst_exported) & (towards.worst_exported > away.worst_exported)
    may_be_out = (away.own.hi > away.worst_exported) | between
    return may_be_in & may_be_out


def _another_step(old: _Side, new: _Side, partner: Mapping[str, str]) -> Mask:
    places = {step.step.key: number for number, step in enumerate(new.steps)}
    becomes = np.full(len(old.steps) + 1, 255, dtype=np.uint8)
    for number, step in enumerate(old.steps):
        if step.step.key in partner:
            becomes[number] = places[partner[step.step.key]]
    return old.is_dropped & new.is_dropped & (becomes[old.deciding] != new.deciding)


def _flows(old: _Side, new: _Side) -> tuple[Flow, ...]:
    """Largest first, those that did not move last."""
    base = 10_000
    codes, counts = np.unique(old.labels * base + new.labels, return_counts=True)
    found = []
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        before, after = old.label(code // base), new.label(code % base)
        found.append(Flow(*before, *after, count))
    return tuple(
        sorted(found, key=lambda f: ((f.old, f.old_by) == (f.new, f.new_by), -f.samples, f.old, f.old_by, f.new_by))
    )


# --- telling of single samples


class _Teller:
    """Makes objects of the samples that are listed."""

    def __init__(self, old: _Side, new: _Side, partner: Mapping[str, str], most: int) -> None:
        self.old = old
        self.new = new
        self.new_of = partner
        self.old_of = {after: before for before, after in partner.items()}
        self.most = most

    def tell(self, which: Mask) -> tuple[Moved, ...]:
        numbers = np.flatnonzero(which)[: self.most]
        olds, news = _samples(self.old, numbers), _samples(self.new, numbers)
        return tuple(self._moved(*one) for one in zip(numbers.tolist(), olds, news, strict=True))

    def _moved(self, number: int, old: Sample | None, new: Sample | None) -> Moved:
        before = replace(_standing(self.old, number, old), is_exported=_whether_exported(self.old, number))
        after = replace(_standing(self.new, number, new), is_exported=_whether_exported(self.new, number))
        # Beside the step that turns a sample away, what it says where it turns it away no more.
        before = _with_number(self.old, number, before, self.old_of.get(after.step, ""), after.stat)
        after = _with_number(self.new, number, after, self.new_of.get(before.step, ""), before.stat)
        sample = new or old
        assert sample is not None, "every sample is one of a side's"
        return Moved(sample.sample_id, sample.drop, sample.line_number, sample.videos, before, after)


def _whether_exported(side: _Side, number: int) -> bool | None:
    best = max(side.shared.lo[number], side.own.lo[number])
    return False if best > side.worst_exported else True if side.is_exported[number] else None


def _samples(side: _Side, numbers: Numbers) -> list[Sample | None]:
    at = side.at[numbers]
    there = iter(side.columns.samples_at(at[at >= 0]))
    return [None if one < 0 else next(there) for one in at.tolist()]


def _standing(side: _Side, number: int, sample: Sample | None) -> Standing:
    if sample is None:
        return Standing("absent")
    outcome, _ = side.label(int(side.labels[number]))
    if outcome == "kept":
        return Standing("kept")
    if outcome == "not_measured":
        steps = zip(side.steps, side.ends, strict=True)
        open_steps = tuple(step.step.key for step, ends in steps if ends.lo[number] != ends.hi[number])
        return Standing(outcome, not_measured=open_steps)
    if sample.status != "ok":
        return Standing(outcome, status=sample.status, reason=sample.reason)
    step = side.steps[int(side.deciding[number])]
    rows = _rows(step, int(side.at[number]))
    if outcome == "dropped":
        return _number(step, rows, _failing(step, rows), Standing(outcome))
    range_, status, place = _unknown_range(step, rows)
    reason = step.reasons.get(rows.start + place, "")
    if not step.step.is_about_samples:
        reason = step.step.videos(sample)[place].reason
    return _number(step, rows, range_, Standing(outcome, status=status, reason=reason))


def _rows(step: StepColumns, index: int) -> slice:
    """A sample's videos among those of a step."""
    first, last = np.searchsorted(step.samples, [index, index + 1])
    return slice(int(first), int(last))


def _failing(step: StepColumns, rows: slice) -> StatRange:
    """The first range that a video fails."""
    return next(
        range_
        for range_ in step.step.ranges
        if any(value is not None and not range_.passes(value) for value in _values(step, rows, range_))
    )


def _unknown_range(step: StepColumns, rows: slice) -> tuple[StatRange, str, int]:
    """(range, status, video) of the first number that is missing where it is wanted. video: its place in `rows`."""
    ranges = step.step.ranges
    values = [_values(step, rows, range_) for range_ in ranges]
    for place, of_video in enumerate(zip(*values, strict=True)):
        pairs = list(zip(ranges, of_video, strict=True))
        if all(value is None or range_.passes(value) for range_, value in pairs):
            for range_, value in pairs:
                if value is None:
                    code = step.statuses[step.stat(range_.stat), rows.start + place]
                    return range_, STATUS_NAMES[code], place
    raise LookupError(f"{step.step.key}: undecided about a sample, and no number is missing; a fault of the engine")


def _values(step: StepColumns, rows: slice, range_: StatRange) -> tuple[float | None, ...]:
    line = step.stat(range_.stat)
    pairs = zip(step.values[line, rows].tolist(), step.statuses[line, rows].tolist(), strict=True)
    return tuple(value if status == OK else None for value, status in pairs)


def _number(step: StepColumns, rows: slice, range_: StatRange, standing: Standing) -> Standing:
    values = _values(step, rows, range_)
    margins = [one for value in values if value is not None and (one := margin(range_, value)) is not None]
    nearest = (max if step.step.any_or_all == "any" else min)(margins) if margins else None
    return replace(
        standing,
        step=step.step.key,
        field=step.step.video_key,
        stat=range_.stat,
        values=values,
        bound=range_.in_words or "everything",
        margin=nearest,
    )


def _with_number(side: _Side, number: int, standing: Standing, key: str, stat: str) -> Standing:
    """A kept sample's number under one step, where the other plan's decision makes it worth showing."""
    step = side.columns.steps.get(key)
    if standing.outcome != "kept" or step is None:
        return standing
    range_ = next((range_ for range_ in step.step.ranges if range_.stat == stat), None)
    return standing if range_ is None else _number(step, _rows(step, int(side.at[number])), range_, standing)
