"""What a run would do, found out without decoding: per pass and step what is reused, measured, skipped, impossible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dj_assets.cli.expectation import Amounts, Expectation, Picture, amounts_of, picture_of
from dj_assets.decide import decide, still_in
from dj_assets.measure import info_of
from dj_assets.records import tables_of
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.rows import Fact, Row

if TYPE_CHECKING:
    from dj_assets.plan import MapperStep, Pass, Plan, Step
    from dj_assets.samples import Sample, Video
    from dj_assets.store.products import ProductKey
    from dj_assets.store.store import Store

FindFacts = Callable[[str, str, Collection[str]], Mapping[str, tuple[Fact, ...]]]
"""`Store.find_facts`: (operator, measure id, content hashes) -> facts by content hash."""

RecentCosts = Callable[[str, str], Mapping[str, float]]
"""`Store.recent_costs`: (operator, measure id) -> worker seconds of some videos lately, by content hash."""

FindProbes = Callable[[Collection[str]], Mapping[str, Mapping[str, Any]]]
"""What is known of what videos are: content hashes -> values by column of `store.probes`, by content hash."""

Measures = Callable[[str], Sequence[MeasureInfo]]
"""`Store.measures`: operator -> every measure of it that was ever taken."""

MOST_EXAMPLES = 3


@dataclass
class StepForecast:
    """What one step asks about: content hashes -> bytes, each in one of three; nothing of a step on records.

    reuse: the store knows the number, or that there can be none. measure: to be measured, unless a pass before it
    drops the sample (`certain`: for which that cannot be). skip: listed only in samples that known numbers drop.
    costs: worker seconds that reused ones took when they were measured. pictures: of contents that somebody has opened,
    one dictionary for all steps. elsewhere: (worker seconds, amounts) of other videos lately, under this measure or,
    where it has none, another of the operator. cannot_open: by status, the videos that nobody can measure, as often as
    they are listed. otherwise_known: what makes another measure of the operator differ from this one
    ("sampling_fps 2.0 → 4.0") -> contents to measure that it has a number of.
    """

    step: Step
    reuse: dict[str, int] = field(default_factory=dict)
    measure: dict[str, int] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    skip: dict[str, int] = field(default_factory=dict)
    cannot_open: Counter[str] = field(default_factory=Counter)
    costs: dict[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    elsewhere: Sequence[tuple[float, Amounts]] = ()
    otherwise_known: dict[str, set[str]] = field(default_factory=dict)

    @property
    def num_maybe(self) -> int:
        """How many of `measure` a pass before it may yet spare."""
        return len(self.measure) - len(self.certain)

    @property
    def worker_seconds(self) -> float | None:
        """Worker time to expect, by what known videos have cost; None where the store holds no cost to go by."""
        seen = [(seconds, self._amounts(content_hash)) for content_hash, seconds in self.costs.items() if seconds > 0]
        return Expectation([*seen, *self.elsewhere]).total_seconds(map(self._amounts, self.measure))

    def _amounts(self, content_hash: str) -> Amounts:
        num_bytes = self.measure.get(content_hash) or self.reuse.get(content_hash)
        return amounts_of(num_bytes, self.pictures.get(content_hash))

    def put(self, content_hash: str, num_bytes: int, *, known: Sequence[Fact], wanted: bool, certain: bool) -> None:
        """Sort one content in; the same one may come again with another shard."""
        if known:
            if content_hash not in self.reuse:
                # The facts of one measure share its cost: an operator with two stats is not twice as dear.
                self.costs[content_hash] = max(fact.cost_seconds for fact in known)
            self.reuse[content_hash] = num_bytes
        elif wanted:
            self.measure[content_hash] = num_bytes
            self.skip.pop(content_hash, None)
            if certain:
                self.certain.add(content_hash)
        elif content_hash not in self.measure:
            self.skip[content_hash] = num_bytes


@dataclass
class PassForecast:
    """One pass, which decodes each video once for all of its steps."""

    pass_: Pass
    steps: list[StepForecast]

    @property
    def num_decodes(self) -> int:
        """Distinct contents to decode, at most. None in a pass on records, or on packets."""
        return 0 if self.pass_.compute in ("record", "header") else self.num_videos

    @property
    def num_videos(self) -> int:
        """Distinct contents to measure, at most."""
        return len({content_hash for step in self.steps for content_hash in step.measure})

    @property
    def worker_seconds(self) -> float | None:
        """Sum over the steps, each with its share of the decode; None where one is unknown."""
        seconds = [step.worker_seconds for step in self.steps]
        known = [one for one in seconds if one is not None]
        return sum(known) if len(known) == len(seconds) else None


@dataclass
class Forecast:
    """samples, malformed: of samples. videos: as samples list them. contents: distinct ones that can be opened.
    cannot_open: videos by status. examples: status -> path -> reason, the first few of each status."""

    passes: list[PassForecast]
    samples: int = 0
    malformed: int = 0
    videos: int = 0
    contents: set[str] = field(default_factory=set)
    cannot_open: Counter[str] = field(default_factory=Counter)
    examples: dict[str, dict[str, str]] = field(default_factory=dict)


class Forecaster:
    """Takes identified samples shard by shard: memory for one shard, and contents counted once for all of them."""

    def __init__(
        self,
        plan: Plan,
        find_facts: FindFacts,
        measures: Measures = lambda operator: (),
        recent_costs: RecentCosts = lambda operator, measure_id: {},
        find_probes: FindProbes = lambda hashes: {},
    ) -> None:
        self._plan = plan
        self._find_facts = find_facts
        self._measures = measures
        self._recent_costs = recent_costs
        self._find_probes = find_probes
        self._pictures: dict[str, Picture] = {}
        self.forecast = Forecast([PassForecast(one, [self._begun(step) for step in one.steps]) for one in plan.passes])

    def add(self, samples: Sequence[Sample]) -> dict[str, list[Row]]:
        """One shard's samples, each video with its content hash or its status. Returns the rows as far as they are
        known, by step key; `skipped` stands for what is not known yet."""
        self._count_videos(samples)
        contents = {video.content_hash for sample in samples for video in sample.videos if video.content_hash}
        self._pictures.update(self._find_pictures(contents))
        tables: dict[str, list[Row]] = tables_of(self._plan.on_records, samples)
        for one in self.forecast.passes:
            if one.pass_.compute == "record":
                continue
            in_play, settled = self._in_play(one.pass_, samples, tables)
            for forecast in one.steps:
                listed = [(sample, video) for sample in samples for video in forecast.step.videos(sample)]
                forecast.cannot_open.update(video.status for _, video in listed if video.status != "ok")
                known = self._known(forecast.step, listed)
                hashes = {video.content_hash for _, video in listed if video.content_hash}
                self._look_elsewhere(forecast, hashes - set(known))
                wanted = {video.content_hash for sample, video in listed if sample.sample_id in in_play}
                certain = {video.content_hash for sample, video in listed if sample.sample_id in in_play & settled}
                sizes = {v.content_hash: v.num_bytes for _, v in listed if v.content_hash}
                for content_hash, num_bytes in sizes.items():
                    forecast.put(
                        content_hash,
                        num_bytes,
                        known=known.get(content_hash, ()),
                        wanted=content_hash in wanted,
                        certain=content_hash in certain,
                    )
                tables[forecast.step.key] = [row for pair in listed for row in _rows(forecast.step, *pair, known)]
        return tables

    def _begun(self, step: Step) -> StepForecast:
        return StepForecast(step, pictures=self._pictures, elsewhere=self._elsewhere(step))

    def _elsewhere(self, step: Step) -> list[tuple[float, Amounts]]:
        operator = step.operator.name
        measure_ids = [step.measure_id, *(other.measure_id for other in self._measures(operator))]
        found = (self._recent_costs(operator, measure_id) for measure_id in measure_ids)
        costs = next((costs for costs in found if costs), {})
        pictures = self._find_pictures(list(costs))
        return [(seconds, amounts_of(None, pictures.get(content))) for content, seconds in costs.items() if seconds > 0]

    def _find_pictures(self, hashes: Collection[str]) -> dict[str, Picture]:
        return {content_hash: picture_of(probe) for content_hash, probe in self._find_probes(hashes).items()}

    def _known(self, step: Step, listed: Iterable[tuple[Sample, Video]]) -> Mapping[str, tuple[Fact, ...]]:
        hashes = {video.content_hash for _, video in listed if video.content_hash}
        return self._find_facts(step.operator.name, step.measure_id, hashes)

    def _look_elsewhere(self, forecast: StepForecast, unknown: Collection[str]) -> None:
        """Whether other measures of the operator know these contents: then a param or version has changed."""
        step = forecast.step
        mine = info_of(step)
        for other in self._measures(step.operator.name) if unknown else ():
            if other.measure_id != step.measure_id:
                change = ", ".join(mine.differs_from(other, step.operator.params.added))
                found = self._find_facts(step.operator.name, other.measure_id, unknown)
                forecast.otherwise_known.setdefault(change, set()).update(found)

    def _count_videos(self, samples: Iterable[Sample]) -> None:
        forecast = self.forecast
        for sample in samples:
            forecast.samples += 1
            forecast.malformed += sample.status != "ok"
            forecast.videos += len(sample.videos)
            for video in sample.videos:
                if video.status == "ok":
                    forecast.contents.add(video.content_hash)
                    continue
                forecast.cannot_open[video.status] += 1
                examples = forecast.examples.setdefault(video.status, {})
                if len(examples) < MOST_EXAMPLES:
                    examples[video.given] = video.reason

    def _in_play(
        self, pass_: Pass, samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]]
    ) -> tuple[set[str], set[str]]:
        """Ids of the samples that known numbers of earlier passes do not drop; and of those whose fate in the earlier
        passes is known already, whichever it is."""
        every = {sample.sample_id for sample in samples}
        if not self._plan.recipe.settings.short_circuit:
            return every, every
        earlier = self._plan.sparing_steps(pass_)
        pending = {row.sample_id for step in earlier for row in tables[step.key] if row.fact.status == "skipped"}
        return still_in(earlier, samples, tables), every - pending


def _rows(step: Step, sample: Sample, video: Video, known: Mapping[str, tuple[Fact, ...]]) -> Iterator[Row]:
    """Rows as a run would have them; `skipped` stands for what is not known yet."""
    for fact in known.get(video.content_hash) or _unknown(step, video):
        yield Row(sample.sample_id, video.field, video.position, video.path, fact)


def _unknown(step: Step, video: Video) -> Iterator[Fact]:
    for stat in step.operator.stats:
        yield Fact(
            content_hash=video.content_hash,
            operator=step.operator.name,
            measure_id=step.measure_id,
            stat=stat.name,
            value=None,
            status="skipped" if video.status == "ok" else video.status,
            reason=video.reason,
        )


# --- stages


@dataclass
class MapperForecast:
    """What a mapper asks about: distinct contents (and texts, where it reads them).

    reuse: its products are there. make: to be made. maybe: only if no step before it drops the sample, one whose
    numbers are not known, or one that chooses among all. waiting: samples of which nothing can be said yet, since their
    products are not there. costs: worker seconds lately.
    """

    step: MapperStep
    reuse: set[ProductKey] = field(default_factory=set)
    make: set[ProductKey] = field(default_factory=set)
    maybe: set[ProductKey] = field(default_factory=set)
    waiting: int = 0
    costs: Sequence[float] = ()

    @property
    def worker_seconds(self) -> float | None:
        """Worker time to expect, by what others have cost; None where the store holds no cost to go by."""
        num = len(self.make) + len(self.maybe)
        return 0.0 if not num else num * sum(self.costs) / len(self.costs) if self.costs else None


@dataclass
class StageForecast:
    """One stage of a recipe. made: of the mapper before it; None for the first."""

    plan: Plan
    forecaster: Forecaster
    made: MapperForecast | None = None

    @property
    def forecast(self) -> Forecast:
        return self.forecaster.forecast


def forecast_stages(plan: Plan, store: Store) -> list[StageForecast]:
    """A forecast for each stage of a plan, that knows no sample yet; see `add_shard`."""
    found = []
    for stage in plan.stages:
        forecaster = Forecaster(stage, store.find_facts, store.measures, store.recent_costs, store.find_probes)
        step = stage.made_by
        made = None
        if step is not None:
            costs = store.recent_costs(step.mapper.name, step.measure_id)
            made = MapperForecast(step, costs=list(costs.values()))
        found.append(StageForecast(stage, forecaster, made))
    return found


def add_shard(stages: Sequence[StageForecast], shard: str, samples: Sequence[Sample], store: Store) -> None:
    """Take in one shard of the dataset, and follow it through the stages as far as products are there."""
    for stage, later in zip(stages, (*stages[1:], None), strict=True):
        tables = stage.forecaster.add(samples)
        if later is not None and later.made is not None:
            kept, maybe = _kept_so_far(stage.plan, shard, samples, tables, store)
            samples = _made_so_far(stage.plan, later, kept, maybe, store)


def _made_so_far(
    plan: Plan, later: StageForecast, kept: Sequence[Sample], maybe: Sequence[Sample], store: Store
) -> list[Sample]:
    """The samples of the next stage that are known already."""
    from dj_assets.produce import composed, key_of, known_products, videos_of

    made = later.made
    assert made is not None
    step, recipe = made.step, plan.recipe
    known = known_products(step, recipe, [*kept, *maybe], store, later.plan.roots)
    ready = []
    for sample, is_kept in (*((one, True) for one in kept), *((one, False) for one in maybe)):
        keys = {key_of(step, recipe, sample, video) for video in videos_of(step, sample) if video.content_hash}
        made.reuse |= keys & known.keys()
        (made.make if is_kept and not plan.whole_steps else made.maybe).update(keys - known.keys())
        if is_kept and keys <= known.keys():
            ready.append(sample)
        else:
            made.waiting += 1
    made.maybe -= made.make
    return list(composed(step, recipe, ready, known, {}, recipe.name))


def _kept_so_far(
    plan: Plan, shard: str, samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]], store: Store
) -> tuple[list[Sample], list[Sample]]:
    """(samples that go on, samples of which that is not known before the run)."""
    from dj_assets.export import leaves_export

    chosen = _chosen_last(plan, shard, store)
    kept, maybe = [], []
    for sample, verdict in zip(samples, decide(plan, samples, tables), strict=True):
        if verdict.outcome == "undecided" and verdict.status == "skipped":
            maybe.append(sample)
        elif not leaves_export(plan, sample, verdict):
            stays = chosen.get(sample.sample_id) if plan.whole_steps else True
            if stays is None:
                maybe.append(sample)
            elif stays:
                kept.append(sample)
    return kept, maybe


def _chosen_last(plan: Plan, shard: str, store: Store) -> dict[str, bool]:
    """Sample id → whether the steps over the whole dataset let it stay when they last chose under these bounds; nothing
    of samples that had no say."""
    name = plan.recipe.name
    origin = store.verdicts_provenance(name, shard) if plan.whole_steps else None
    if origin is None or origin.code_version != plan.bounds_id:
        return {}
    choosing = {step.key for step in plan.whole_steps}
    told = store.read_verdicts(name, shard)
    return {one.sample_id: one.outcome == "kept" for one in told if one.outcome == "kept" or one.step in choosing}
