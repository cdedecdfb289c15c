"""A recipe's stored numbers as arrays, and verdicts over all samples at once: a million in some milliseconds.

The same three answers as in `decide`, as codes whose order does the logic:

    PASSES < UNKNOWN < FAILS      ranges of a video: max     `all` videos: max     `any` of the videos: min
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dj_assets.errors import STATUSES
from dj_assets.plan import Plan, StatRange, Step
from dj_assets.samples import Sample, Texts, Video
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
    """What the store knows under one step. Videos are those of the step's field, by sample and position.

    samples: int64 [V], index of each video's sample, not decreasing. values: float64 [S, V], one line per stat of the
    operator, NaN where there is no number. statuses: uint8 [S, V], codes into `STATUS_NAMES`.
    num_samples: of the whole recipe. rows: int64 [V], each video's line in `Columns.videos`.
    """

    step: Step
    num_samples: int
    samples: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    statuses: Codes

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """First video of each sample that has one."""
        return np.flatnonzero(np.diff(self.samples, prepend=-1))

    @cached_property
    def is_one_each(self) -> bool:
        """Whether every sample has exactly one video, so that codes of videos are codes of samples."""
        return len(self.samples) == self.num_samples and len(self.starts) == self.num_samples

    def stat(self, name: str) -> int:
        """Line of a stat in `values`."""
        return [stat.name for stat in self.step.operator.stats].index(name)

    def range_codes(self, range_: StatRange, *, not_measured: int = UNKNOWN) -> Codes:
        """Whether each video lies in one range: uint8 [V]. not_measured: the code of those that nobody measured."""
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
        """Videos without a number, by status."""
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
    """Samples of a recipe, and what the store knows of their videos under each step of a plan.

    samples: Arrow, `bulk.SAMPLE_COLUMNS`, by shard and line. videos: Arrow struct [M], every video of every sample in
    order. steps: by step key, in recipe order.
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
        """Verdicts under the plan's own bounds."""
        return outcomes([step.codes() for step in self.steps.values()], self.malformed)

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
    return columns(plan, store, bulk.samples(store.root, plan.recipe.name))


def columns_of(plan: Plan, store: Store, shards: Mapping[str, Sequence[Sample]]) -> Columns:
    """Columns over these samples, by shard, wherever they come from; their videos identified (`measure.identify`)."""
    return columns(plan, store, sample_table(shards, recipe=plan.recipe.name))


def sample_table(shards: Mapping[str, Sequence[Sample]], *, recipe: str) -> pa.Table:
    """`bulk.SAMPLE_COLUMNS` of these samples, by shard, in order."""
    records = [
        sample_record(sample, {"recipe": recipe, "shard": shard})
        for shard, samples in shards.items()
        for sample in samples
    ]
    return SAMPLES.pack(records).select(list(bulk.SAMPLE_COLUMNS))


def columns(plan: Plan, store: Store, samples: pa.Table, *, beside: Columns | None = None) -> Columns:
    """Columns over a table of samples. Decodes nothing: what the store does not know is `not_measured`.

    beside: columns of another plan over the same table, whose numbers are taken instead of being read again.
    """
    import pyarrow.compute as pc

    lists = samples.column("videos").combine_chunks()
    videos = pc.list_flatten(lists)
    video_samples = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    steps: dict[str, StepColumns] = {}
    known: dict[tuple[str, str], StepColumns] = {}
    if beside is not None:
        known = {(one.step.measure_id, one.step.video_key): one for one in beside.steps.values()}
    for step in plan.steps:
        same = known.get((step.measure_id, step.video_key))
        steps[step.key] = (
            _step_columns(step, plan.recipe.name, store, samples, videos, video_samples)
            if same is None
            else StepColumns(step, same.num_samples, same.samples, same.rows, same.values, same.statuses)
        )
        known.setdefault((step.measure_id, step.video_key), steps[step.key])
    return Columns(plan, samples, videos, video_samples, steps)


def _step_columns(
    step: Step,
    recipe: str,
    store: Store,
    samples: pa.Table,
    videos: pa.StructArray,
    video_samples: npt.NDArray[np.int64],
) -> StepColumns:
    import pyarrow.compute as pc

    num_samples = samples.num_rows

    rows = np.flatnonzero(np.asarray(pc.equal(videos.field("field"), step.video_key), dtype=bool))
    wanted = videos if len(rows) == len(videos) else videos.take(rows)
    contents, unopened = wanted.field("content_hash"), _status_codes(wanted.field("status"))
    if step.texts is not None:
        texts = _texts(store, recipe, step.texts.text_key)
        contents, unopened = _with_texts(step.texts, texts, samples, wanted, video_samples[rows])
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
    return StepColumns(step, num_samples, video_samples[rows], rows, np.stack(values), np.stack(statuses))


def _texts(store: Store, recipe: str, text_key: str) -> dict[str, Any]:
    """Sample id → text, of every stored sample of a recipe."""
    found = bulk.record_field(store.root, recipe, text_key)
    pairs = zip(found.column("sample_id").to_pylist(), found.column("field").to_pylist(), strict=True)
    return {sample_id: json.loads(text) for sample_id, text in pairs if text is not None}


def _with_texts(
    rule: Texts,
    texts: Mapping[str, Any],
    samples: pa.Table,
    videos: pa.StructArray,
    video_samples: npt.NDArray[np.int64],
) -> tuple[pa.Array, Codes]:
    """(what facts of each video are kept under, its status) for a step that reads text. texts: by sample id; without
    its text a video is `no_value`."""
    import pyarrow as pa

    listed = videos.to_pylist()
    found: list[Video] = []
    for start, end in zip(*_runs(video_samples), strict=True):
        sample_id = samples.column("sample_id")[int(video_samples[start])].as_py()
        some = [
            Video(one["field"], one["position"], one["given"], one["path"], one["content_hash"], status=one["status"])
            for one in listed[start:end]
        ]
        found += rule.give_to(some, {rule.text_key: texts.get(sample_id)})
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
