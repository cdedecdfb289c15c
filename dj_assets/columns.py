"""A recipe's stored numbers as arrays, and verdicts over all samples at once: a million in some milliseconds.

The same three answers as in `decide`, as codes whose order does the logic:

    PASSES < UNKNOWN < FAILS      ranges of a subject: max     `all` videos: max     `any` of the videos: min

Numbers of videos are looked up by content; those of samples themselves are had anew from the records, for that takes
no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dj_assets.errors import STATUSES
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.records import Judged, OperatorFault, judged_samples
from dj_assets.samples import Sample, SampleItself, Texts, Video, loads_record
from dj_assets.store import bulk
from dj_assets.store.schemas import SAMPLES, sample_of, sample_record
from dj_assets.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

Codes = npt.NDArray[np.uint8]
PASSES, UNKNOWN, FAILS = 0, 1, 2

OK = STATUSES.index("ok")
NOT_MEASURED = len(STATUSES)
STATUS_NAMES: tuple[str, ...] = (*STATUSES, "not_measured")
"""By status code. `not_measured`: nobody has asked this measure about the video yet, so nothing can be said of it."""


@dataclass(frozen=True, eq=False)
class StepColumns:
    """What is known under one step. V: its subjects, the videos of its field by sample and position, or the samples.

    samples: int64 [V], index of each subject's sample, not decreasing. values: float64 [S, V], one line per stat of the
    operator, NaN where there is no number. statuses: uint8 [S, V], codes into `STATUS_NAMES`.
    num_samples: of the whole recipe. rows: int64 [V], each video's line in `Columns.videos`; [0] of samples themselves.
    reasons: subject → why it has no number, of samples themselves; the store tells of videos.
    """

    step: Step
    num_samples: int
    samples: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    statuses: Codes
    reasons: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """First subject of each sample that has one."""
        return np.flatnonzero(np.diff(self.samples, prepend=-1))

    @cached_property
    def is_one_each(self) -> bool:
        """Whether every sample has exactly one subject, so that codes of subjects are codes of samples."""
        return len(self.samples) == self.num_samples and len(self.starts) == self.num_samples

    def stat(self, name: str) -> int:
        """Line of a stat in `values`."""
        return [stat.name for stat in self.step.operator.stats].index(name)

    def range_codes(self, range_: StatRange, *, not_measured: int = UNKNOWN) -> Codes:
        """Whether each subject lies in one range: uint8 [V]. not_measured: the code of those that nobody measured."""
        line = self.stat(range_.stat)
        values = self.values[line]
        low_closed, high_closed = range_.low_closed != range_.is_reversed, range_.high_closed != range_.is_reversed
        inside = values >= range_.low if low_closed else values > range_.low
        inside &= values <= range_.high if high_closed else values < range_.high
        codes = np.where(inside != range_.is_reversed, np.uint8(PASSES), np.uint8(FAILS))
        codes[self.statuses[line] != OK] = UNKNOWN
        if not_measured != UNKNOWN:
            codes[self.statuses[line] == NOT_MEASURED] = not_measured
        return codes

    def codes(
        self,
        ranges: Sequence[StatRange] | None = None,
        any_or_all: Literal["any", "all"] | None = None,
        *,
        not_measured: int = UNKNOWN,
    ) -> Codes:
        """Whether each sample passes the step: uint8 [num_samples]. Default the step's own ranges and `any_or_all`.

        not_measured: the code of videos that nobody measured. With PASSES and with FAILS it gives the two ends between
        which the answer lies once they are measured.
        """
        of_videos = np.zeros(len(self.samples), dtype=np.uint8)
        for range_ in self.step.ranges if ranges is None else ranges:
            np.maximum(of_videos, self.range_codes(range_, not_measured=not_measured), out=of_videos)
        return self.of_samples(of_videos, any_or_all or self.step.any_or_all)

    def of_samples(self, of_videos: Codes, any_or_all: Literal["any", "all"]) -> Codes:
        """Codes of videos [V] → codes of samples [num_samples]; a sample without videos passes."""
        if self.is_one_each:
            return of_videos
        codes = np.full(self.num_samples, PASSES, dtype=np.uint8)
        if len(of_videos):
            worst_or_best = np.maximum if any_or_all == "all" else np.minimum
            codes[self.samples[self.starts]] = worst_or_best.reduceat(of_videos, self.starts)
        return codes

    def undecided_by_status(self, line: int = 0) -> dict[str, int]:
        """Subjects without a number, by status."""
        counts = np.bincount(self.statuses[line], minlength=len(STATUS_NAMES))
        return {name: int(counts[code]) for code, name in enumerate(STATUS_NAMES) if code != OK and counts[code]}


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Verdicts on all samples, by the steps in recipe order.

    worst: uint8 [N], the worst code of any step: PASSES is kept, FAILS dropped, UNKNOWN undecided.
    deciding: uint8 [N], index of the step that a verdict names: the first that fails, else the first that is unknown;
    the number of steps where none does (kept, or malformed).
    """

    worst: Codes
    deciding: Codes

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        return self.worst == PASSES

    def counts(self) -> tuple[int, int, int]:
        """(kept, dropped, undecided)."""
        found = np.bincount(self.worst, minlength=3)
        return int(found[PASSES]), int(found[FAILS]), int(found[UNKNOWN])


def outcomes(codes: Sequence[Codes], malformed: npt.NDArray[np.bool_]) -> Outcomes:
    """Verdicts from the codes of each step. malformed: bool [N], samples of which nothing can be known."""
    worst = np.zeros(len(malformed), dtype=np.uint8)
    for one in codes:
        np.maximum(worst, one, out=worst)
    worst[malformed] = UNKNOWN
    deciding = np.full(len(malformed), len(codes), dtype=np.uint8)
    for number in reversed(range(len(codes))):
        deciding[(codes[number] == worst) & (worst != PASSES)] = number
    deciding[malformed] = len(codes)
    return Outcomes(worst, deciding)


@dataclass(frozen=True, eq=False)
class Columns:
    """Samples of a recipe, and what is known of them and of their videos under each step of a plan.

    samples: Arrow, `bulk.SAMPLE_COLUMNS`, by shard and line, and `record` where a step looks at it. videos: Arrow
    struct [M], every video of every sample in order. steps: those that measure something, by step key, in recipe order.
    """

    plan: Plan
    samples: pa.Table
    videos: pa.StructArray
    video_samples: npt.NDArray[np.int64]
    steps: Mapping[str, StepColumns]

    @property
    def num_samples(self) -> int:
        return int(self.samples.num_rows)

    @cached_property
    def malformed(self) -> npt.NDArray[np.bool_]:
        """bool [N]: samples that are no samples."""
        import pyarrow.compute as pc

        return np.asarray(pc.not_equal(self.samples.column("status"), "ok"), dtype=bool)

    def outcomes(self) -> Outcomes:
        """Verdicts under the plan's own bounds. Raises ValueError where steps decide over the whole dataset: theirs do
        not follow from one sample's numbers."""
        if self.plan.whole_steps:
            raise ValueError(f"{self.plan.whole_steps[0].key} decides over the whole dataset, not sample by sample")
        return outcomes([step.codes() for step in self.steps.values()], self.malformed)

    def first_video(self, number: int) -> int | None:
        """Line in `videos` of the first video of the sample with this index; None where it has none."""
        at = int(np.searchsorted(self.video_samples, number))
        return at if at < len(self.video_samples) and self.video_samples[at] == number else None

    def sample_id(self, number: int) -> str:
        """Of the sample with this index."""
        return str(self.samples.column("sample_id")[number].as_py())

    def sample(self, number: int) -> Sample:
        """The sample with this index, without the user's record."""
        [one] = self.samples_at([number])
        return one

    def samples_at(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> list[Sample]:
        """The samples with these indices, in this order, without the users' records."""
        rows = self.samples.take(np.asarray(numbers, dtype=np.int64))
        return [sample_of(record) for record in SAMPLES.unpack(rows)]


def stored_columns(plan: Plan, store: Store) -> Columns:
    """Columns over every sample of the recipe that was materialized. Of no samples where none was."""
    return columns(plan, store, bulk.samples(store.root, plan.recipe.name, with_records=plan.reads_records))


def columns_of(plan: Plan, store: Store, shards: Mapping[str, Sequence[Sample]]) -> Columns:
    """Columns over these samples, by shard, wherever they come from; their videos identified (`measure.identify`)."""
    return columns(plan, store, sample_table(shards, recipe=plan.recipe.name, with_records=plan.reads_records))


def sample_table(shards: Mapping[str, Sequence[Sample]], *, recipe: str, with_records: bool = False) -> pa.Table:
    """`bulk.SAMPLE_COLUMNS` of these samples, by shard, in order; with_records: and `record`."""
    records = [
        sample_record(sample, {"recipe": recipe, "shard": shard})
        for shard, samples in shards.items()
        for sample in samples
    ]
    return SAMPLES.pack(records).select(bulk.sample_columns(with_records=with_records))


def columns(plan: Plan, store: Store, samples: pa.Table, *, beside: Columns | None = None) -> Columns:
    """Columns over a table of samples. Decodes nothing: what the store does not know of a video is `not_measured`.

    Raises `OperatorFault` where an operator on records is at fault. beside: columns of another plan over the same
    table, whose numbers are taken instead of being read again.
    """
    import pyarrow.compute as pc

    lists = samples.column("videos").combine_chunks()
    videos = pc.list_flatten(lists)
    video_samples = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    steps: dict[str, StepColumns] = {}
    known: dict[tuple[Any, ...], StepColumns] = {}
    if beside is not None:
        known = {_question(one.step): one for one in beside.steps.values()}
    on_records = plan.on_records
    if any(_question(step) not in known for step in on_records):
        known |= {_question(one.step): one for one in _record_columns(on_records, samples)}
    for step in plan.measured_steps:
        same = known.get(_question(step))
        steps[step.key] = (
            _step_columns(step, store, samples, videos, video_samples) if same is None else replace(same, step=step)
        )
        known.setdefault(_question(step), steps[step.key])
    return Columns(plan, samples, videos, video_samples, steps)


def _question(step: Step) -> tuple[Any, ...]:
    """What a step's numbers follow from; two steps of one question have the same."""
    return step.measure_id, step.video_key, step.texts


RECORDS_AT_ONCE = 10_000


def _record_columns(steps: Sequence[Step], samples: pa.Table) -> list[StepColumns]:
    """Columns of all steps on records of a plan."""
    count = samples.num_rows
    values: list[list[tuple[float, ...]]] = [[] for _ in steps]
    unknown: list[dict[int, Judged]] = [{} for _ in steps]
    for number, itself, judged in _judged_records(steps, samples):
        for at, one in enumerate(judged):
            if one.bug:
                raise OperatorFault(f"{steps[at].key}: {itself.given}: {one.bug}")
            values[at].append(one.values or (np.nan,) * len(steps[at].operator.stats))
            if one.status != "ok":
                unknown[at][number] = one
    every, none = np.arange(count, dtype=np.int64), np.zeros(0, dtype=np.int64)
    found = []
    for step, numbers, without in zip(steps, values, unknown, strict=True):
        num_stats = len(step.operator.stats)
        statuses = np.full((num_stats, count), OK, dtype=np.uint8)
        statuses[:, list(without)] = [STATUSES.index(one.status) for one in without.values()]
        by_stat = np.array(numbers, dtype=np.float64).reshape(count, num_stats).T
        reasons = {number: one.reason for number, one in without.items()}
        found.append(StepColumns(step, count, every, none, by_stat, statuses, reasons))
    return found


def _judged_records(steps: Sequence[Step], samples: pa.Table) -> Iterator[tuple[int, SampleItself, list[Judged]]]:
    """(index, sample, what each step finds) of each sample; some thousands are held at once."""
    wanted = samples.select(["sample_id", "drop", "line_number", "record", "status", "reason"])
    for first in range(0, samples.num_rows, RECORDS_AT_ONCE):
        some = [sample_of(record) for record in SAMPLES.unpack(wanted.slice(first, RECORDS_AT_ONCE))]
        for number, (itself, judged) in enumerate(judged_samples(steps, some), first):
            yield number, itself, judged


def _step_columns(
    step: Step, store: Store, samples: pa.Table, videos: pa.StructArray, video_samples: npt.NDArray[np.int64]
) -> StepColumns:
    import pyarrow.compute as pc

    rows = np.flatnonzero(np.asarray(pc.equal(videos.field("field"), step.video_key), dtype=bool))
    wanted = videos if len(rows) == len(videos) else videos.take(rows)
    contents, unopened = wanted.field("content_hash"), _status_codes(wanted.field("status"))
    if step.texts is not None:
        contents, unopened = _with_texts(step.texts, samples.column("record"), wanted, video_samples[rows])
    found = bulk.numbers(store.root, step.operator.name, step.measure_id)
    values, statuses = [], []
    for stat in step.operator.stats:
        of_stat = found.filter(pc.equal(found.column("stat"), stat.name))
        places = pc.index_in(contents, value_set=of_stat.column("content_hash"))
        is_known = np.asarray(places.is_valid())
        at = np.asarray(places.fill_null(0), dtype=np.int64)
        code = np.full(len(rows), NOT_MEASURED, dtype=np.uint8)
        value = np.full(len(rows), np.nan)
        if of_stat.num_rows:
            # A failure has no number, so it stays NaN.
            known_values = np.asarray(of_stat.column("value").cast("float64").fill_null(np.nan), dtype=np.float64)
            value = np.where(is_known, known_values[at], np.nan)
            code = np.where(is_known, _status_codes(of_stat.column("status"))[at], code)
        code = np.where(unopened == OK, code, unopened).astype(np.uint8)
        values.append(np.where(code == OK, value, np.nan))
        statuses.append(code)
    return StepColumns(step, samples.num_rows, video_samples[rows], rows, np.stack(values), np.stack(statuses))


def _with_texts(
    rule: Texts, records: pa.ChunkedArray, videos: pa.StructArray, video_samples: npt.NDArray[np.int64]
) -> tuple[pa.Array, Codes]:
    """(what facts of each video are kept under, its status) for a step that reads text. records: as stored, one per
    sample; without its text a video is `no_value`."""
    import pyarrow as pa

    listed = videos.to_pylist()
    found: list[Video] = []
    for start, end in zip(*_runs(video_samples), strict=True):
        record = loads_record(records[int(video_samples[start])].as_py())
        some = [
            Video(one["field"], one["position"], one["given"], one["path"], one["content_hash"], status=one["status"])
            for one in listed[start:end]
        ]
        found += rule.give_to(some, record)
    statuses = pa.array([video.status for video in found], pa.string())
    return pa.array([video.content_hash for video in found], pa.string()), _status_codes(statuses)


def _runs(numbers: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Where each run of equal numbers begins and ends."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return starts.tolist(), [*starts[1:].tolist(), *([len(numbers)] if len(numbers) else [])]


def _status_codes(names: Any) -> Codes:
    """Text [V] → uint8 [V], codes into `STATUS_NAMES`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.index_in(names, value_set=pa.array(STATUS_NAMES)), dtype=np.uint8)


def not_measured(columns_: Columns, among: Collection[str] = ()) -> dict[str, int]:
    """Step key → videos that nobody has asked its measure about; steps without any left out."""
    counts = {
        key: int((step.statuses == NOT_MEASURED).any(axis=0).sum())
        for key, step in columns_.steps.items()
        if not among or key in among
    }
    return {key: count for key, count in counts.items() if count}
