"""A recipe's stored numbers before any verdict: how each stat is spread, what was not measured and why, how stats go
together, what each operator cost and what short circuit saves. Arrays in, numbers out; a million videos take seconds.

    Columns ─► StatSummary   per stat     of the videos that samples list: measured + one count per reason = all
               Pair          per two stats, over the videos that have both
               Cost          per step     of the distinct contents: a file that two samples list was measured once
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from dj_assets.columns import FAILS, NOT_MEASURED, OK, STATUS_NAMES, Codes, Columns, StepColumns, columns
from dj_assets.errors import STATUSES
from dj_assets.plan import Plan
from dj_assets.store import bulk
from dj_assets.store.schemas import restored
from dj_assets.store.store import Store

USUAL_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Given of every stat, whatever `percentiles` the recipe adds."""

SKIPPED = STATUSES.index("skipped")
WITHOUT = tuple(name for name in STATUS_NAMES if name != "ok")
"""Every reason why a video has no number."""

UNASKED = ("skipped", "not_measured")
"""Those under which nobody has looked: nothing is wrong with the video as far as is known."""

MOST_EXAMPLES = 3
"""Videos named per stat and reason."""

FEWEST_PAIRS = 3
"""Two points always lie on a line: of fewer than these no correlation is given."""

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A video without a number, or a sample. path: as the manifest spells it; of a sample, its id."""

    status: str
    path: str
    reason: str


@dataclass(frozen=True)
class StatSummary:
    """One stat of a step, over the videos that samples list: videos = measured + the counts of `without`. Of a step on
    records the samples themselves are counted.

    name: in exports, and here. std: of the sample (n - 1). quantiles: share → value, linear between neighbours.
    Numbers are None, and quantiles empty, where too few were measured to have any. without: every reason of `WITHOUT`
    → videos. examples: some videos of each.
    """

    step: str
    stat: str
    name: str
    unit: str
    videos: int
    measured: int
    without: Mapping[str, int]
    is_about_samples: bool = False
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    quantiles: Mapping[float, float] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()

    @property
    def undecided(self) -> int:
        """Videos that somebody tried to measure in vain, or could not even open."""
        return sum(count for status, count in self.without.items() if status not in UNASKED)

    @property
    def skipped(self) -> int:
        """Videos that were spared, since an earlier pass drops their samples."""
        return self.without["skipped"]

    @property
    def not_measured(self) -> int:
        """Videos that nobody has asked the measure about, and that nothing spares."""
        return self.without["not_measured"]

    def share(self, count: int) -> float | None:
        """Of its videos; None of none."""
        return count / self.videos if self.videos else None


@dataclass(frozen=True)
class Pair:
    """How two stats go together. videos: those with both numbers, of the same field and place in the sample.

    pearson, spearman: -1 to 1; None where a stat is constant or there are fewer than `FEWEST_PAIRS`.
    """

    first: str
    second: str
    videos: int
    pearson: float | None
    spearman: float | None


@dataclass(frozen=True)
class Cost:
    """What one step's numbers cost: worker seconds, their share of the decodes included, whoever measured them.

    contents: distinct files that can be read. measured: those with a number. failed: those that a worker took time
    for, without one. seconds: of both. seconds_per_video: of the measured. timed, video_minutes: the measured ones
    whose duration is known, and how long they play; seconds_per_video_minute: their seconds by that. spared: contents
    that short circuit does not measure, since an earlier pass drops every sample that lists them. spared_measured:
    those that were measured all the same, so that their own cost counts; the others count as the mean.
    spared_seconds: None where no cost is known.
    """

    step: str
    compute: str
    contents: int
    measured: int
    failed: int
    seconds: float
    seconds_per_video: float | None
    timed: int
    video_minutes: float
    seconds_per_video_minute: float | None
    spared: int
    spared_measured: int
    spared_seconds: float | None


@dataclass(frozen=True)
class Analysis:
    """All of it. shards: looked at. missing_shards: of the dataset, but never read, so that nothing of them is in here.

    unmeasurable: samples that are malformed, or list a video that could not be measured. malformed ones list no videos,
    so these are in no stat's counts.
    """

    samples: int
    malformed: int
    without_videos: int
    unmeasurable: int
    videos: int
    contents: int
    stats: tuple[StatSummary, ...]
    pairs: tuple[Pair, ...]
    costs: tuple[Cost, ...]
    shards: tuple[str, ...] = ()
    missing_shards: tuple[str, ...] = ()

    @property
    def spared_seconds(self) -> float:
        """What short circuit saves over all steps, as far as costs are known."""
        return sum(cost.spared_seconds or 0.0 for cost in self.costs)

    @property
    def seconds(self) -> float:
        """What all numbers have cost."""
        return sum(cost.seconds for cost in self.costs)


def columns_of_shards(plan: Plan, store: Store, shards: Collection[str] | None = None) -> Columns:
    """Columns over the samples of these shards, as the store has them; default all that it has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    samples = bulk.samples(store.root, plan.recipe.name, with_records=plan.reads_records)
    if shards is not None:
        samples = samples.filter(pc.is_in(samples.column("shard"), value_set=pa.array(sorted(shards), pa.string())))
    return columns(plan, store, samples)


def analyse(columns_: Columns, store: Store, *, shards: Sequence[str] | None = None) -> Analysis:
    """Look at stored numbers. Decodes nothing.

    shards: of the dataset, to say which of them the store has never seen.
    """
    return _Analyser(columns_, store).analysis(shards)


def told_apart(columns_: Columns) -> dict[str, Codes]:
    """By step key: codes of `StepColumns.statuses`, in which `skipped` is what short circuit spares: nobody asked, and
    what is known of an earlier pass drops the sample."""
    if not columns_.plan.recipe.settings.short_circuit:
        return {key: step.statuses for key, step in columns_.steps.items()}
    dropped = _dropped_before(columns_)
    return {
        key: np.where(
            (step.statuses == NOT_MEASURED) & dropped[step.step.compute][step.samples],
            np.uint8(SKIPPED),
            step.statuses,
        )
        for key, step in columns_.steps.items()
    }


def _dropped_before(columns_: Columns) -> dict[str, Flags]:
    """By the name of a pass: bool [N], samples that some earlier pass drops by what is known."""
    nobody = np.zeros(columns_.num_samples, dtype=bool)
    found: dict[str, Flags] = {}
    for one in columns_.plan.passes:
        codes = [columns_.steps[step.key].codes() for step in columns_.plan.sparing_steps(one)]
        found[one.compute] = np.any([nobody, *(code == FAILS for code in codes)], axis=0)
    return found


class _Analyser:
    """Arrays that several of the questions need."""

    def __init__(self, columns_: Columns, store: Store) -> None:
        self.columns = columns_
        self.store = store
        self.recipe = columns_.plan.recipe

    def analysis(self, shards: Sequence[str] | None) -> Analysis:
        seen = sorted(self.columns.samples.column("shard").unique().to_pylist())
        return Analysis(
            samples=self.columns.num_samples,
            malformed=int(self.columns.malformed.sum()),
            without_videos=int(((self._num_videos == 0) & ~self.columns.malformed).sum()),
            unmeasurable=int(self._unmeasurable.sum()),
            videos=len(self.columns.videos),
            contents=self._contents.count,
            stats=tuple(self._stats()),
            pairs=tuple(self._pairs()),
            costs=tuple(self._cost(step) for step in self.columns.steps.values() if not step.step.is_about_samples),
            shards=tuple(seen),
            missing_shards=tuple(key for key in shards or () if key not in set(seen)),
        )

    @cached_property
    def _num_videos(self) -> npt.NDArray[np.int64]:
        return np.bincount(self.columns.video_samples, minlength=self.columns.num_samples)

    @cached_property
    def _statuses(self) -> dict[str, Codes]:
        return told_apart(self.columns)

    @cached_property
    def _dropped(self) -> dict[str, Flags]:
        return _dropped_before(self.columns)

    @cached_property
    def _unmeasurable(self) -> Flags:
        """bool [N]."""
        found = self.columns.malformed.copy()
        asked_in_vain = np.array([name not in ("ok", *UNASKED) for name in STATUS_NAMES])
        for key, step in self.columns.steps.items():
            found[step.samples[asked_in_vain[self._statuses[key]].any(axis=0)]] = True
        return found

    # --- stats

    def _stats(self) -> Iterator[StatSummary]:
        for key, step in self.columns.steps.items():
            reasons = _Reasons(self.columns, step, self.store)
            for line, stat in enumerate(step.step.operator.stats):
                codes = self._statuses[key][line]
                counts = np.bincount(codes, minlength=len(STATUS_NAMES))
                without = {name: int(counts[code]) for code, name in enumerate(STATUS_NAMES) if name != "ok"}
                yield StatSummary(
                    step=key,
                    stat=stat.name,
                    name=step.step.stat_names[line],
                    unit=stat.unit,
                    videos=len(codes),
                    measured=int(counts[OK]),
                    without=without,
                    is_about_samples=step.step.is_about_samples,
                    **spread(step.values[line][codes == OK], self.recipe.percentiles),
                    examples=tuple(reasons.examples(stat.name, codes)),
                )

    def _pairs(self) -> Iterator[Pair]:
        lines = [
            _Line(step.step.stat_names[line], step.step.video_key, step.values[line], step.statuses[line] == OK)
            for step in self.columns.steps.values()
            for line in range(len(step.step.operator.stats))
        ]
        for first, second in combinations(lines, 2):
            yield first.pair(second)

    # --- costs

    @cached_property
    def _contents(self) -> _Contents:
        return _Contents(self.columns)

    @cached_property
    def _durations_seconds(self) -> Floats:
        """float64 [K]: how long each content plays, NaN where that is not known."""
        found = self._contents.lookup(bulk.durations(self.store.root), "duration_seconds")
        for step in self.columns.steps.values():
            is_about_videos = not step.step.is_about_samples
            if is_about_videos and any(stat.name == "video_duration" for stat in step.step.operator.stats):
                numbers = step.values[step.stat("video_duration")]
                of_videos = self._contents.of_videos[step.rows]
                is_known = (of_videos >= 0) & np.isfinite(numbers)
                measured = np.full(self._contents.count, np.nan)
                measured[of_videos[is_known]] = numbers[is_known]
                found = np.where(np.isnan(found), measured, found)
        return found

    def _cost(self, step: StepColumns) -> Cost:
        operator = step.step.operator
        of_videos = self._contents.of_videos[step.rows]
        listed = of_videos >= 0
        asked = np.zeros(self._contents.count, dtype=bool)
        asked[of_videos[listed]] = True
        spared = asked.copy()
        spared[of_videos[listed & ~self._dropped[step.step.compute][step.samples]]] = False

        table = bulk.costs(self.store.root, operator.name, step.step.measure_id)
        seconds = np.where(asked, self._contents.lookup(table, "cost_seconds"), np.nan)
        is_measured = asked & (self._contents.lookup(table, "is_measured") == 1)
        has_cost = ~np.isnan(seconds)
        minutes = self._durations_seconds / 60
        timed = is_measured & (minutes > 0)
        mean = _mean(seconds[is_measured])
        spared_known = spared & has_cost
        guessed = 0.0 if mean is None else mean * int((spared & ~has_cost).sum())
        return Cost(
            step=step.step.key,
            compute=step.step.compute,
            contents=int(asked.sum()),
            measured=int(is_measured.sum()),
            failed=int((has_cost & ~is_measured).sum()),
            seconds=float(seconds[has_cost].sum()),
            seconds_per_video=mean,
            timed=int(timed.sum()),
            video_minutes=float(minutes[timed].sum()),
            seconds_per_video_minute=float(seconds[timed].sum() / minutes[timed].sum()) if timed.any() else None,
            spared=int(spared.sum()),
            spared_measured=int(spared_known.sum()),
            spared_seconds=None if not has_cost.any() else float(seconds[spared_known].sum() + guessed),
        )


class _Contents:
    """Distinct contents among the videos of all samples, numbered.

    of_videos: int64 [M], the content of each video of `Columns.videos`, -1 where the file could not be read.
    """

    def __init__(self, columns_: Columns) -> None:
        import pyarrow.compute as pc

        hashes = columns_.videos.field("content_hash")
        readable = np.asarray(pc.not_equal(hashes, ""), dtype=bool)
        self.hashes = hashes.filter(readable).unique()
        places = pc.index_in(hashes, value_set=self.hashes).fill_null(-1)
        self.of_videos = np.asarray(places, dtype=np.int64)

    @property
    def count(self) -> int:
        return len(self.hashes)

    def lookup(self, table: Any, column: str) -> Floats:
        """float64 [K]: a column of an Arrow table with a `content_hash`, NaN where a content is not in it."""
        import pyarrow.compute as pc

        places = pc.index_in(self.hashes, value_set=table.column("content_hash"))
        found = table.column(column).cast("float64").fill_null(np.nan)
        if not len(found):
            return np.full(self.count, np.nan)
        values = np.asarray(found, dtype=np.float64)[np.asarray(places.fill_null(0), dtype=np.int64)]
        return np.where(np.asarray(places.is_valid()), values, np.nan)


class _Reasons:
    """Why the first videos of each status have no number, in words; asks the store for those few."""

    def __init__(self, columns_: Columns, step: StepColumns, store: Store) -> None:
        self._columns = columns_
        self._step = step
        self._store = store

    def examples(self, stat: str, codes: Codes) -> Iterator[Example]:
        """codes: uint8 [V]."""
        for code, status in enumerate(STATUS_NAMES):
            if code == OK:
                continue
            found = _first(codes == code, MOST_EXAMPLES)
            if self._step.step.is_about_samples:
                for at in found.tolist():
                    sample_id = self._columns.sample_id(int(self._step.samples[at]))
                    yield Example(status, restored(sample_id), self._step.reasons.get(at, ""))
                continue
            for video in self._columns.videos.take(self._step.rows[found]).to_pylist():
                yield Example(status, restored(video["given"]), self._why(stat, status, video))

    def _why(self, stat: str, status: str, video: Mapping[str, str]) -> str:
        if status == "skipped":
            return "an earlier pass drops the sample (short_circuit)"
        if status == "not_measured":
            return "nobody has asked this measure about the video yet"
        if video["status"] != "ok":
            return restored(video["reason"])
        step = self._step.step
        return restored(bulk.reason(self._store.root, step.operator.name, step.measure_id, video["content_hash"], stat))


def _first(flags: Flags, count: int) -> npt.NDArray[np.int64]:
    """Indices of the first few that are set."""
    return np.flatnonzero(flags)[:count]


def spread(values: Floats, percentiles: Sequence[float] = ()) -> dict[str, Any]:
    """Mean, std, ends and quantiles of float64 [n], as fields of `StatSummary`; nothing of no values."""
    if not len(values):
        return {"quantiles": {}}
    shares = sorted({*USUAL_QUANTILES, *percentiles})
    with np.errstate(over="ignore", invalid="ignore"):
        cuts = np.quantile(values, shares)
        return {
            "mean": _finite(values.mean()),
            "std": _finite(values.std(ddof=1)) if len(values) > 1 else None,
            "low": float(values.min()),
            "high": float(values.max()),
            "quantiles": dict(zip(shares, cuts.tolist(), strict=True)),
        }


@dataclass(frozen=True, eq=False)
class _Line:
    """A stat to be correlated. values: float64 [V]. is_known: bool [V]."""

    name: str
    video_key: str
    values: Floats
    is_known: Flags

    @cached_property
    def _dense(self) -> npt.NDArray[np.int64]:
        """int64 [V]: place of each known value among the distinct ones, 0 elsewhere."""
        places = np.zeros(len(self.values), dtype=np.int64)
        places[self.is_known] = np.unique(self.values[self.is_known], return_inverse=True)[1].reshape(-1)
        return places

    def ranks(self, chosen: Flags) -> Floats:
        """Ranks among the chosen videos, all of them known; equal values share the mean of theirs."""
        places = self._dense[chosen]
        counts = np.bincount(places)
        return (np.cumsum(counts) - (counts - 1) / 2)[places]

    def pair(self, other: _Line) -> Pair:
        """Stats of different fields have no video in common."""
        if self.video_key != other.video_key:
            return Pair(self.name, other.name, 0, None, None)
        both = self.is_known & other.is_known
        pearson = correlation(self.values[both], other.values[both])
        spearman = None if pearson is None else correlation(self.ranks(both), other.ranks(both))
        return Pair(self.name, other.name, int(both.sum()), pearson, spearman)


def correlation(first: Floats, second: Floats) -> float | None:
    """Pearson's r of two float64 [n]; None where one is constant, or n is below `FEWEST_PAIRS`."""
    if len(first) < FEWEST_PAIRS or first.min() == first.max() or second.min() == second.max():
        return None
    centred = []
    for values in (first, second):
        scaled = values / np.abs(values).max()  # squares of what is near the end of the floats would overflow
        centred.append(scaled - scaled.mean())
    norm = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    if norm == 0:
        return None
    return float(np.clip((centred[0] * centred[1]).sum() / norm, -1, 1))


def _finite(number: np.floating) -> float | None:
    """None for what overflowed."""
    return float(number) if np.isfinite(number) else None


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
