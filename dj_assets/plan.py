"""The meeting point: Recipe + operators → Plan, ordered steps with measure ids, grouped into passes.

A recipe with mappers is a chain of stages, each a plan of its own over the samples that the mapper before it made:

    filters ─ mapper ─ filters ─ mapper ─ filters        `r__1` ─made_by─► `r__2` ─made_by─► `r`
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dj_assets import operators
from dj_assets.errors import BadOption, DjAssetsError, RecipeError, RecipeErrors, UnknownOperator, UnsupportedOperator
from dj_assets.operators import _upstream
from dj_assets.operators._contract import MAX_INT, Bound, Compute, Device, Operator, Params, Requirement, Stat
from dj_assets.operators._mapper import Mapper
from dj_assets.operators._whole import Whole
from dj_assets.recipe import Recipe, StepSource
from dj_assets.samples import PRODUCED_FOLDER, SAMPLE_FIELD, STATS_FIELD, Sample, Subject, Texts, Video, dataset_root

PASS_ORDER: tuple[Compute, ...] = ("record", "header", "cpu", "gpu")

VERDICT_OPTIONS: Mapping[str, str] = {
    "any_or_all": "'any' or 'all'",
    "min_closed_interval": "true or false",
    "max_closed_interval": "true or false",
    "reversed_range": "true or false",
}

_SCHEDULING = "worker processes are sized by `np` and `dj_assets: workers`"
_RAY = "this engine does not run on Ray"
_OTHER_FIELD = "only video fields are read by video operators"
BASE_OPTIONS_WITHOUT_EFFECT: Mapping[str, str] = {
    **dict.fromkeys(
        [
            "text_key",
            "image_key",
            "audio_key",
            "image_bytes_key",
            "system_key",
            "instruction_key",
            "prompt_key",
            "query_key",
            "response_key",
            "history_key",
        ],
        _OTHER_FIELD,
    ),
    **dict.fromkeys(
        [
            "num_proc",
            "cpu_required",
            "gpu_required",
            "mem_required",
            "num_cpus",
            "num_gpus",
            "memory",
            "auto_op_parallelism",
        ],
        _SCHEDULING,
    ),
    **dict.fromkeys(("runtime_env", "ray_execution_mode"), _RAY),
    "batch_size": "batches are sized by memory",
    "batch_mode": "batches are sized by memory",
    "adaptive_batching": "batches are sized by memory",
    "turbo": "every sample is always processed on its own",
    "skip_op_error": "a video that fails is always a row with its reason, never a lost sample",
    "index_key": "samples carry an id of their own",
    "work_dir": "tables are kept in the store",
    "stats_export_path": "every stat is kept in the store and in the export's stats file",
    "input_columns": "operators read the video field only",
    "output_columns": "operators write their stat only",
}


@dataclass(frozen=True)
class StatRange:
    """The values of one stat that pass: between low and high, each end closed or open, or all others if reversed."""

    stat: str
    low: float
    high: float
    low_closed: bool = True
    high_closed: bool = True
    is_reversed: bool = False
    low_is_set: bool = True
    high_is_set: bool = True

    def passes(self, value: float) -> bool:
        """Data-Juicer's keep test. `reversed_range` negates, with both closed flags flipped, as upstream does:
        by default the ends themselves are kept on both sides."""
        low_closed = self.low_closed != self.is_reversed
        high_closed = self.high_closed != self.is_reversed
        above = value >= self.low if low_closed else value > self.low
        below = value <= self.high if high_closed else value < self.high
        return (above and below) != self.is_reversed

    def __str__(self) -> str:
        low = f"{self.stat} {'>=' if self.low_closed else '>'} {self.low:.10g}"
        high = f"{self.stat} {'<=' if self.high_closed else '<'} {self.high:.10g}"
        if self.is_reversed:
            low = f"{self.stat} {'<=' if self.low_closed else '<'} {self.low:.10g}"
            high = f"{self.stat} {'>=' if self.high_closed else '>'} {self.high:.10g}"
        shown = [text for text, is_set in ((low, self.low_is_set), (high, self.high_is_set)) if is_set]
        return (" or " if self.is_reversed else " and ").join(shown or [low, high])

    @property
    def limits(self) -> tuple[float, ...]:
        """The ends that refuse something: without those that are not set, or are Data-Juicer's words for no limit."""
        ends = ((self.low, self._low_limits), (self.high, self._high_limits))
        return tuple(end for end, limits in ends if limits)

    @property
    def in_words(self) -> str:
        """As `str`, for people: of the ends only the `limits`. Empty where every value passes."""
        if self.limits:
            return str(replace(self, low_is_set=self._low_limits, high_is_set=self._high_limits))
        return f"no {self.stat}" if self.is_reversed else ""

    @property
    def _low_limits(self) -> bool:
        return self.low_is_set and self.low > -MAX_INT

    @property
    def _high_limits(self) -> bool:
        return self.high_is_set and self.high < MAX_INT


def in_words(ranges: Sequence[StatRange]) -> str:
    """What passes all of these ranges, for people: `everything` where none refuses a value."""
    return " and ".join(words for range_ in ranges if (words := range_.in_words)) or "everything"


@dataclass(frozen=True)
class Rule:
    """How a step over the whole dataset chooses. params: of the choice; those of its measure are the step's own.

    text_key: manifest field of the text.
    """

    whole: Whole
    params: Params
    text_key: str

    @property
    def keeps(self) -> str:
        """Which samples stay, in words."""
        return self.whole.keeps(self.params)


@dataclass(frozen=True)
class Step:
    """One step of a recipe, ready to run.

    key: asset and table name: the operator's name, with `_2`, `_3` … where a recipe lists it again.
    video_key: manifest field of the videos that it is about; empty where it is about the sample itself.
    operator: what it measures; without stats where that is nothing, and no pass runs it.
    stat_names: export name of each stat (with the same suffix where two steps would share it).
    rule: of a deduplicator or selector. Its one range lets every number pass, so that a sample fails only by the choice
    among all, and is undecided where one of its videos could not be measured. Its numbers are not exported.
    texts: how the sample's text is given to its videos; None where the operator reads none.
    """

    number: int
    key: str
    operator: Operator
    params: Params
    ranges: tuple[StatRange, ...]
    any_or_all: Literal["any", "all"]
    video_key: str
    device: Device
    measure_id: str
    stat_names: tuple[str, ...]
    rule: Rule | None = None
    texts: Texts | None = None

    @property
    def is_about_samples(self) -> bool:
        """Whether its subject is the sample itself instead of each video of its field."""
        return self.operator.is_about_samples

    def subjects(self, sample: Sample) -> tuple[Subject, ...]:
        """What the step's rows of a sample are about, in order: the videos of its field, or the sample itself."""
        return (sample.itself,) if self.is_about_samples else self.videos(sample)

    def videos(self, sample: Sample) -> tuple[Video, ...]:
        """The videos among its subjects, in order; each with its text where the operator reads it."""
        found = tuple(video for video in sample.videos if video.field == self.video_key)
        return found if self.texts is None else self.texts.give_to(found, sample.record)

    @property
    def operator_name(self) -> str:
        """As recipes name it."""
        return self.operator.name

    @property
    def compute(self) -> Compute:
        """The pass that it belongs to: its operator's, or `gpu` where a recipe puts a `cpu` operator on a GPU."""
        return "gpu" if self.device == "cuda" else self.operator.compute

    @property
    def lacks(self) -> DjAssetsError | None:
        """What its model needs and this machine has not, with the remedy; None where nothing is missing. Imports
        nothing heavy."""
        return _lacks(self.key, self.operator.requires(self.params, self.device))

    @property
    def bounds_text(self) -> str:
        """The ranges in words, as they are stored: in verdicts and in manifests of exports."""
        return self.rule.keeps if self.rule else " and ".join(str(range_) for range_ in self.ranges)

    @property
    def keeps(self) -> str:
        """The ranges in words, as people are shown them; `everything` where none refuses a value."""
        return self.rule.keeps if self.rule else in_words(self.ranges)


@dataclass(frozen=True)
class MapperStep:
    """A mapper of a recipe, ready to run.

    key: as a `Step` has it. folder: of its products, where the recipe or `DJ_PRODUCED_DATA_DIR` names one; None: beside
    each video. keeps_original: whether the sample itself stays, in front of what is made of it. clip_per_sample:
    whether each clip is a sample of its own. frames_field: manifest field of pictures; empty where it makes none.
    text_field: manifest field that products hang on; empty for none.
    """

    number: int
    key: str
    mapper: Mapper
    params: Params
    video_key: str
    device: Device
    measure_id: str
    folder: Path | None = None
    keeps_original: bool = False
    clip_per_sample: bool = False
    frames_field: str = ""
    text_field: str = ""

    @property
    def operator_name(self) -> str:
        """As recipes name it."""
        return self.mapper.name

    @property
    def compute(self) -> Compute:
        """As a `Step` has it."""
        return "gpu" if self.device == "cuda" else self.mapper.compute

    @property
    def lacks(self) -> DjAssetsError | None:
        """As a `Step` has it."""
        return _lacks(self.key, self.mapper.requires(self.params, self.device))

    def folder_beside(self, path: str) -> Path:
        """Where products of one video go. Upstream's rule: those of a product lie beside its own folder, not in it."""
        if self.folder is not None:
            return self.folder
        beside, _, _ = str(Path(path).parent).partition(f"/{PRODUCED_FOLDER}/")
        return Path(beside) / PRODUCED_FOLDER / self.mapper.name


@dataclass(frozen=True)
class Pass:
    """Steps that share one decode of each video."""

    compute: Compute
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """What a recipe means: its steps in recipe order, its passes in running order, and what to tell the user.

    Of a recipe with mappers it is the last stage: the steps after the last mapper. before: the stage before it, whose
    recipe is the same but for its name and export_path. made_by: the mapper that makes this stage's samples of that
    one's. other_video_keys: manifest fields that other stages look at, since samples are read once, in the first.
    warnings, notes: of all stages, in the last.
    """

    recipe: Recipe
    steps: tuple[Step, ...]
    passes: tuple[Pass, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    before: Plan | None = None
    made_by: MapperStep | None = None
    other_video_keys: tuple[str, ...] = ()

    @property
    def stages(self) -> tuple[Plan, ...]:
        """The chain up to this stage, the first stage first; this plan alone where there is no mapper."""
        return (*(self.before.stages if self.before else ()), self)

    @property
    def all_steps(self) -> tuple[Step | MapperStep, ...]:
        """Filters and mappers of all stages, in the order of the recipe."""
        found: list[Step | MapperStep] = []
        for stage in self.stages:
            found += [*([stage.made_by] if stage.made_by else []), *stage.steps]
        return tuple(found)

    @property
    def reads_records(self) -> bool:
        """Whether what a step asks of a sample hangs on its record, too, not on its videos' bytes alone."""
        return any(step.is_about_samples or step.texts is not None for step in self.steps)

    @property
    def every_step(self) -> tuple[Step, ...]:
        """What measures or chooses in all stages, in the order of the recipe: `all_steps` without mappers."""
        return tuple(step for stage in self.stages for step in stage.steps)

    @cached_property
    def bounds_id(self) -> str:
        """Digest of everything that moves verdicts but no number."""
        facts: list[Any] = [self.recipe.settings.on_undecided]
        for step in self.steps:
            ranges = [
                [r.stat, repr(r.low), repr(r.high), r.low_closed, r.high_closed, r.is_reversed] for r in step.ranges
            ]
            facts.append([step.key, step.measure_id, step.any_or_all, ranges])
            if step.rule is not None:
                facts.append([step.rule.whole.rule_id(step.rule.params), step.rule.text_key, step.video_key])
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()

    @property
    def measured_steps(self) -> tuple[Step, ...]:
        """The steps that have a stats table, in recipe order."""
        return tuple(step for step in self.steps if step.operator.stats)

    @property
    def filters(self) -> tuple[Step, ...]:
        """The steps that look at one sample at a time, in recipe order: those whose stats are exported."""
        return tuple(step for step in self.steps if step.rule is None)

    @property
    def whole_steps(self) -> tuple[Step, ...]:
        """Deduplicators and selectors, in recipe order."""
        return tuple(step for step in self.steps if step.rule is not None)

    @cached_property
    def alone(self) -> Plan:
        """The plan of the steps that look at one sample at a time; itself where it has no others."""
        if not self.whole_steps:
            return self
        passes = (Pass(one.compute, tuple(s for s in one.steps if s.rule is None)) for one in self.passes)
        return replace(
            self,
            steps=self.filters,
            passes=tuple(one for one in passes if one.steps),
        )

    def sparing_steps(self, pass_: Pass) -> tuple[Step, ...]:
        """Steps of earlier passes whose drops spare this pass work.

        A step over the whole dataset asks what every step before it says of a sample, and its own measure. So nothing
        that comes after such a step may keep a video from being measured for it.
        """
        of_pass = {step.key for step in pass_.steps}
        first = next(place for place, step in enumerate(self.steps) if step.key in of_pass)
        later_wholes = (place for place, step in enumerate(self.steps) if step.rule is not None and place >= first)
        stop = next(later_wholes, len(self.steps))
        earlier = {step.key for one in self.passes[: self.passes.index(pass_)] for step in one.steps}
        return tuple(step for step in self.steps[:stop] if step.key in earlier)

    @property
    def roots(self) -> list[Path]:
        """Folders that videos may lie in: the dataset's own, those that the recipe adds, and those of products."""
        if self.before is not None and self.made_by is not None:
            own = self.made_by.folder
            return list(dict.fromkeys([*self.before.roots, *([own] if own is not None else [])]))
        return [dataset_root(self.recipe.dataset_path), *map(Path, self.recipe.settings.roots)]

    @property
    def video_keys(self) -> tuple[str, ...]:
        """Every manifest field whose videos some step measures, and the recipe's own."""
        of_steps = (step.video_key for step in self.steps if not step.is_about_samples)
        return tuple(dict.fromkeys([self.recipe.video_key, *of_steps, *self.other_video_keys]))

    @property
    def on_records(self) -> tuple[Step, ...]:
        """The steps that look at records, in recipe order."""
        return tuple(step for step in self.steps if step.is_about_samples)


AnyStep = TypeVar("AnyStep", Step, MapperStep, Step | MapperStep)


def lacking(steps: Sequence[AnyStep]) -> Iterator[tuple[AnyStep, DjAssetsError]]:
    """The steps whose model cannot be had on this machine, each with what to install or set."""
    for step in steps:
        if (error := step.lacks) is not None:
            yield step, error


def _lacks(key: str, needs: Sequence[Requirement]) -> DjAssetsError | None:
    for need in needs:
        if (error := need.missing()) is not None:
            return type(error)(f"{key}: {error.given}", allowed=error.allowed, try_=error.try_)
    return None


def gpu_device() -> Device:
    """`cuda` where this machine shows an NVIDIA GPU, else `cpu`; `DJ_ASSETS_DEVICE` overrides. Imports no torch."""
    wanted = os.environ.get("DJ_ASSETS_DEVICE", "auto")
    if wanted not in ("auto", "cpu", "cuda"):
        raise RecipeError(
            f"DJ_ASSETS_DEVICE is {wanted!r}",
            allowed="auto, cpu, cuda",
            try_="unset it to choose by the machine",
        )
    if wanted != "auto":
        return "cuda" if wanted == "cuda" else "cpu"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "none")
    return "cuda" if Path("/dev/nvidiactl").exists() and not hidden else "cpu"


def make_plan(recipe: Recipe) -> Plan:
    """Resolve every step of a recipe. Raises `RecipeErrors` with all faults found, before any video is opened.

    Of a recipe with mappers the last stage is returned; `Plan.stages` has them all.
    """
    errors: list[RecipeError] = []
    stages: list[list[Step]] = [[]]
    steps: list[Step] = []
    mappers: list[MapperStep] = []
    warnings: list[str] = []
    notes: list[str] = list(recipe.notes)
    for source in recipe.steps:
        try:
            operator = _operator(recipe, source)
            if isinstance(operator, Mapper):
                mappers.append(_make_mapper_step(recipe, source, operator, mappers, notes))
                stages.append([])
                warnings.extend(f"{mappers[-1].key}: {line}" for line in mappers[-1].params.warnings())
                continue
            make = _make_whole_step if isinstance(operator, Whole) else _make_step
            step = make(recipe, source, operator, steps, notes)
        except RecipeErrors as several:
            errors.extend(several.errors)
        except RecipeError as error:
            errors.append(error)
        else:
            steps.append(step)
            stages[-1].append(step)
            warnings.extend(f"{step.key}: {line}" for line in step.params.warnings())
            warnings.extend(f"{step.key}: {line}" for line in (step.rule.params.warnings() if step.rule else ()))
    if errors:
        raise RecipeErrors(errors)
    plan = _chained(recipe, stages, mappers)
    return replace(plan, warnings=tuple(dict.fromkeys(warnings)), notes=tuple(dict.fromkeys(notes)))


def _chained(recipe: Recipe, stages: Sequence[Sequence[Step]], mappers: Sequence[MapperStep]) -> Plan:
    """The last of the stages, each linked to the one before it."""
    keys = [mapper.video_key for mapper in mappers]
    if mappers:
        keys += [step.video_key for steps in stages for step in steps if not step.is_about_samples]
    plan: Plan | None = None
    for number, (steps, made_by) in enumerate(zip(stages, (None, *mappers), strict=True), start=1):
        stage = recipe if number == len(stages) else _stage_recipe(recipe, number)
        plan = Plan(
            stage,
            tuple(steps),
            _passes(steps),
            before=plan,
            made_by=made_by,
            other_video_keys=tuple(dict.fromkeys(keys)),
        )
    assert plan is not None  # there is always a stage
    return plan


def refuse_mappers(plan: Plan, tool: str, *, try_: str) -> None:
    """Raise `RecipeError` where a tool that looks at one stage alone is given a recipe with mappers."""
    if plan.made_by is not None:
        mappers = ", ".join(step.key for step in plan.all_steps if isinstance(step, MapperStep))
        raise RecipeError(
            f"{tool} was given {plan.recipe.file}, which has mappers: {mappers}",
            allowed="a recipe of filters alone, whose samples are those of its dataset",
            try_=try_,
            file=plan.recipe.file,
        )


def stage_name(recipe_name: str, number: int) -> str:
    """The name of an earlier stage, counted from 1; the last one has the recipe's own."""
    return f"{recipe_name}__{number}"


def _stage_recipe(recipe: Recipe, number: int) -> Recipe:
    main = recipe.export_path
    return replace(
        recipe,
        name=stage_name(recipe.name, number),
        stage_of=recipe.name,
        export_path=main.with_name(f"{main.stem}_stage{number}{main.suffix}"),
    )


def _passes(steps: Sequence[Step]) -> tuple[Pass, ...]:
    return tuple(
        Pass(compute, tuple(step for step in steps if step.operator.stats and step.compute == compute))
        for compute in PASS_ORDER
        if any(step.operator.stats and step.compute == compute for step in steps)
    )


def _operator(recipe: Recipe, source: StepSource) -> Any:
    """The operator that a step names, of whatever kind. Raises `UnknownOperator`."""
    try:
        return operators.get(source.operator)
    except (UnknownOperator, UnsupportedOperator) as error:
        file, line = source.place()
        raise type(error)(
            error.given,
            allowed=error.allowed,
            try_=error.try_,
            file=file or recipe.file,
            line=line,
            step=str(source.number),
        ) from None


def _make_mapper_step(
    recipe: Recipe, source: StepSource, mapper: Mapper, earlier: Sequence[MapperStep], notes: list[str]
) -> MapperStep:
    reader = _OptionReader(recipe, _todays_names(source, mapper.aliases), mapper)
    params = reader.params(mapper.params)
    video_key = reader.text("video_key", recipe.video_key)
    device = reader.device()
    keeps_original = bool(mapper.keeps_original) and reader.flag(mapper.keeps_original, True)
    clip_per_sample = mapper.role == "clips" and reader.flag("clip_per_sample", False)
    frames_field = reader.text(mapper.frames_option, "video_frames") if mapper.frames_option else ""
    folder = reader.folder()
    notes.extend(reader.notes())
    if recipe.open_tracer and (not recipe.op_list_to_trace or mapper.name in recipe.op_list_to_trace):
        notes.append(
            f"open_tracer: {mapper.name} has no trace; dj-assets why tells of each product what it was made of"
        )
    reader.finish()
    params = params.on(device)
    repeats = sum(step.mapper.name == mapper.name for step in earlier)
    return MapperStep(
        number=source.number,
        key=mapper.name if not repeats else f"{mapper.name}_{repeats + 1}",
        mapper=mapper,
        params=params,
        video_key=video_key,
        device=device,
        measure_id=mapper.measure_id(params, device),
        folder=folder,
        keeps_original=keeps_original,
        clip_per_sample=clip_per_sample,
        frames_field=frames_field,
        text_field=str(getattr(params, mapper.field_option, None) or "") if mapper.field_option else "",
    )


def _todays_names(source: StepSource, aliases: Mapping[str, str]) -> StepSource:
    """The step with options under the names that they have today; one that is set under both keeps today's."""
    options, lines = dict(source.options), dict(source.option_lines)
    for old, new in aliases.items():
        value, line = options.pop(old, None), lines.pop(old, None)
        if value is not None and options.get(new) is None:
            options[new], lines[new] = value, line
    return replace(source, options=options, option_lines=lines)


def _make_step(
    recipe: Recipe, source: StepSource, operator: Operator, earlier: Sequence[Step], notes: list[str]
) -> Step:
    reader = _OptionReader(recipe, source, operator)
    params = reader.params(operator.params)
    ranges = reader.ranges(operator)
    any_or_all = reader.choice("any_or_all", ("any", "all"), operator.any_or_all_default)
    video_key = reader.text("video_key", recipe.video_key)
    if operator.is_about_samples:
        any_or_all, video_key = "any", SAMPLE_FIELD
    read = reader.measured_before(operator, params, earlier)
    device = reader.device()
    notes.extend(reader.notes())
    reader.finish()
    params = params.on(device)

    return Step(
        number=source.number,
        key=_key(operator.name, earlier),
        operator=operator,
        params=params,
        ranges=ranges,
        any_or_all=any_or_all,  # type: ignore[arg-type]  # choice() has checked it
        video_key=video_key,
        device=device,
        measure_id=_measure_id(operator.measure_id(params, device), read),
        stat_names=_stat_names(operator, params, earlier),
        texts=texts_of(recipe) if operator.reads_text else None,
    )


def _make_whole_step(
    recipe: Recipe, source: StepSource, whole: Whole, earlier: Sequence[Step], notes: list[str]
) -> Step:
    operator = whole.operator
    reader = _OptionReader(recipe, source, whole)
    params, choice = reader.params(operator.params), reader.params(whole.params)
    video_key, text_key = reader.text("video_key", recipe.video_key), reader.text("text_key", recipe.text_key)
    device = reader.device()
    stats = {name: not step.is_about_samples for step in earlier if step.rule is None for name in step.stat_names}
    if not reader.errors and (fault := whole.fault(choice, stats)) is not None:
        reader.bad(*fault)
    notes.extend(reader.notes())
    reader.finish()
    params = params.on(device)
    return Step(
        number=source.number,
        key=_key(whole.name, earlier),
        operator=operator,
        params=params,
        ranges=tuple(StatRange(stat.name, stat.low, float("inf"), high_is_set=False) for stat in operator.stats),
        any_or_all="all",
        video_key=video_key,
        device=device,
        measure_id=operator.measure_id(params, device),
        stat_names=_stat_names(operator, params, earlier),
        rule=Rule(whole, choice, text_key),
    )


def _key(name: str, earlier: Sequence[Step]) -> str:
    """The name, with `_2`, `_3` … where earlier steps are of the same operator."""
    repeats = sum(step.operator.name == name for step in earlier)
    return name if not repeats else f"{name}_{repeats + 1}"


def _stat_names(operator: Operator, params: Params, earlier: Sequence[Step]) -> tuple[str, ...]:
    """The export names of an operator's stats, with a suffix where earlier steps have taken one of them."""
    taken = {name for step in earlier for name in step.stat_names}
    plain = [operator.named(params)] if operator.named(params) else [stat.name for stat in operator.stats]
    names, suffix = plain, 1
    while any(name in taken for name in names):
        suffix += 1
        names = [f"{name}_{suffix}" for name in plain]
    return tuple(names)


def _measure_id(own: str, read: Sequence[Step]) -> str:
    """A measure's id; another one where it reads what other steps measured."""
    if not read:
        return own
    return hashlib.blake2b(json.dumps([own, *(step.measure_id for step in read)]).encode(), digest_size=8).hexdigest()


def texts_of(recipe: Recipe) -> Texts:
    """How a recipe's samples give their text to their videos."""
    return Texts(recipe.text_key, recipe.video_special_token, recipe.eoc_special_token)


class _OptionReader:
    """Takes a step's raw options apart; collects every fault before it raises."""

    def __init__(self, recipe: Recipe, source: StepSource, operator: operators.AnyOperator) -> None:
        self.recipe = recipe
        self.source = source
        self.operator: Any = operator
        self.errors: list[RecipeError] = []
        self._measured: Operator | Mapper = operator.operator if isinstance(operator, Whole) else operator
        known = {
            *operator.option_names,
            *(VERDICT_OPTIONS if isinstance(operator, Operator) else ()),
            *BASE_OPTIONS_WITHOUT_EFFECT,
            "video_key",
            "accelerator",
        }
        for name in source.options:
            if name not in known:
                near = difflib.get_close_matches(str(name), sorted(known), n=2, cutoff=0.6)
                self.bad(
                    str(name),
                    f"option {name!r} is not known to {operator.name}",
                    ", ".join([*operator.option_names, f"and the options that every {operator.kind} takes"]),
                    f"did you mean {' or '.join(near)}?" if near else "remove it",
                )

    def bad(self, option: str, given: str, allowed: str, try_: str) -> None:
        file, line = self.source.place(option)
        self.errors.append(
            BadOption(
                given,
                allowed=allowed,
                try_=try_,
                file=file or self.recipe.file,
                line=line,
                step=f"{self.source.number} {self.operator.name}",
                option=option,
            )
        )

    def finish(self) -> None:
        for option, remedy in self.operator.refused.items():
            value = self.source.options.get(option)
            default = _upstream.default(self.operator.name, option)
            if value is not None and value != default:
                allowed = "null" if default is None else f"null, or {source_text(default)} as upstream has it"
                self.bad(option, f"{option}: {source_text(value)}", allowed, remedy)
        if self.errors:
            raise RecipeErrors(self.errors)

    def params(self, model: type[Params]) -> Params:
        fields = model.model_fields
        given = {name: value for name, value in self.source.options.items() if name in fields}
        if "text_key" in fields and given.get("text_key") is None:
            given["text_key"] = self.recipe.text_key
        # Pydantic would take true for 1.
        for option in [name for name, value in given.items() if isinstance(value, bool)]:
            if not _takes_bool(fields[option].annotation):
                self.bad(
                    option,
                    f"{option}: {source_text(given.pop(option))}",
                    fields[option].description or "a value that is neither true nor false",
                    _remedy(fields[option]),
                )
        try:
            return model(**given)
        except ValidationError as error:
            for fault in error.errors():
                option = str(fault["loc"][0]) if fault["loc"] else next(iter(given), "")
                allowed = (
                    fields[option].description if option in fields and fields[option].description else fault["msg"]
                )
                is_missing = option in fields and option not in given
                self.bad(
                    option,
                    f"{option} is missing"
                    if is_missing
                    else f"{option}: {source_text(given.get(option))} ({fault['msg']})",
                    str(allowed),
                    _remedy(fields[option]) if option in fields else "see the operator's options",
                )
            return model.model_construct()

    def measured_before(self, operator: Operator, params: Params, earlier: Sequence[Step]) -> list[Step]:
        """Earlier steps whose stats the operator reads. Those on records are seen; a video's numbers come later."""
        read = []
        for name in () if self.errors else operator.fields(params):
            stat = name.removeprefix(f"{STATS_FIELD}.") if name.startswith(f"{STATS_FIELD}.") else ""
            found = next((step for step in earlier if step.rule is None and stat in step.stat_names), None)
            if found is None:
                continue
            read.append(found)
            if not found.is_about_samples:
                option = next((o for o in self.source.options if name in str(self.source.options[o])), "")
                self.bad(
                    option,
                    f"{option}: {name} is measured on videos, by step {found.number} {found.operator.name}",
                    "fields of the manifest, stats that came with it, stats of earlier steps on records",
                    f"the bounds of {found.operator.name}; or export with keep_stats_in_res_ds, and filter the export",
                )
        return read

    def ranges(self, operator: Operator) -> tuple[StatRange, ...]:
        low_closed = self.flag("min_closed_interval", True)
        high_closed = self.flag("max_closed_interval", True)
        is_reversed = "reversed_range" not in operator.ignored and self.flag("reversed_range", False)
        ranges = []
        for stat in operator.stats:
            if stat.is_flag:
                ranges.append(yes_or_no(stat, passes=not is_reversed))
                continue
            ends: dict[str, tuple[float, bool]] = {}
            for bound in operator.bounds:
                if bound.stat == stat.name:
                    ends[bound.side] = self.bound(bound)
            low, low_is_set = ends.get("min", (float("-inf"), False))
            high, high_is_set = ends.get("max", (float("inf"), False))
            mins = [bound.option for bound in operator.bounds if bound.stat == stat.name and bound.side == "min"]
            is_default = not any(name in self.source.options for name in mins)
            if is_default and low == stat.low and not is_reversed:
                low_is_set = False  # every value meets it: not worth a word
            range_ = StatRange(stat.name, low, high, low_closed, high_closed, is_reversed, low_is_set, high_is_set)
            problem = impossible(range_, stat, of="sample" if operator.is_about_samples else "video")
            if problem:
                options = [bound.option for bound in operator.bounds if bound.stat == stat.name]
                written = [name for name in options if name in self.source.options]
                unwritten = [name for name in options if name not in written]
                self.bad(
                    (written or options)[0],
                    f"{' and '.join(options)}: {problem}",
                    f"a minimum not above the maximum, and {stat.name} is at least {stat.low:g}",
                    f"set {unwritten[0]}, too, or null for none" if unwritten else "swap them, or open one end by null",
                )
            ranges.append(range_)
        return tuple(ranges)

    def bound(self, bound: Bound) -> tuple[float, bool]:
        if bound.option not in self.source.options:
            return bound.default, bound.default not in _NO_LIMIT
        value = self.source.options[bound.option]
        if value is None:  # no bound on this side, as in Data-Juicer; not the default, which may be one
            return (float("-inf") if bound.side == "min" else float("inf")), False
        try:
            return bound.read(value), True
        except (ValueError, TypeError, ZeroDivisionError) as error:
            self.bad(
                bound.option,
                f"{bound.option}: {source_text(value)} ({error})",
                bound.help or "a number",
                f"the default, {bound.default:g}",
            )
            return bound.default, True

    def option(self, option: str, default: Any) -> Any:
        """A raw value; null is as good as leaving the option out."""
        value = self.source.options.get(option)
        return default if value is None else value

    def flag(self, option: str, default: bool) -> bool:
        value = self.option(option, default)
        if not isinstance(value, bool):
            self.bad(
                option,
                f"{option}: {source_text(value)}",
                "true or false",
                f"the default, {str(default).lower()}",
            )
            return default
        return value

    def choice(self, option: str, allowed: Sequence[str], default: str) -> str:
        value = self.option(option, default)
        if value not in allowed:
            self.bad(option, f"{option}: {source_text(value)}", " or ".join(allowed), f"the default, {default}")
            return default
        return str(value)

    def text(self, option: str, default: str) -> str:
        value = self.option(option, default)
        if not isinstance(value, str) or not value:
            self.bad(
                option,
                f"{option}: {source_text(value)}",
                "the name of a manifest field",
                f"the default, {default}",
            )
            return default
        return value

    def folder(self) -> Path | None:
        """Of a mapper's products: what the recipe says, or else `DJ_PRODUCED_DATA_DIR`; None: beside each video."""
        option = self.operator.folder_option
        given = self.option(option, None)
        if given is not None and (not isinstance(given, str) or not given.strip() or "\0" in given):
            self.bad(option, f"{option}: {source_text(given)}", "a folder's path", "leave it out: beside each video")
            return None
        everywhere = os.environ.get("DJ_PRODUCED_DATA_DIR", "").strip()
        if given is None and not everywhere:
            return None
        folder = Path(given).expanduser() if given is not None else Path(everywhere).expanduser() / self.operator.name
        folder = Path(os.path.abspath(folder))  # noqa: PTH100  # `..` goes, links stay
        dataset = self.recipe.dataset_path
        is_inside = folder.is_relative_to(dataset) and PRODUCED_FOLDER not in folder.relative_to(dataset).parts
        if is_inside and dataset.is_dir():
            self.bad(
                option,
                f"{folder} lies in the dataset's folder {dataset}, so that products would be new samples",
                f"a folder outside of it, or one called {PRODUCED_FOLDER}",
                f"{dataset.parent / 'produced'}, or leave it out",
            )
        return folder

    def device(self) -> Device:
        wanted = self.source.options.get("accelerator")
        if wanted not in (None, "cpu", "cuda"):
            self.bad("accelerator", f"accelerator: {source_text(wanted)}", "cpu or cuda", "leave it out")
        if self._measured.compute == "gpu" and wanted is None:
            return gpu_device()
        return "cuda" if wanted == "cuda" and self._runs_on_gpu() else "cpu"

    def _runs_on_gpu(self) -> bool:
        return self._measured.compute == "gpu" or "cuda" in getattr(self._measured, "also_on", ())

    def notes(self) -> list[str]:
        reasons = {**BASE_OPTIONS_WITHOUT_EFFECT, **self.operator.ignored}
        if isinstance(self._measured, Operator) and self._measured.is_about_samples:
            reasons |= dict.fromkeys(("video_key", "any_or_all"), "it looks at the sample, not at its videos")
        own = {*self.operator.params.model_fields, *self._measured.params.model_fields}
        own |= {"text_key"} if isinstance(self.operator, Whole) else set()
        reasons = {name: why for name, why in reasons.items() if name not in own}
        if self.source.options.get("accelerator") == "cuda" and not self._runs_on_gpu():
            reasons["accelerator"] = "it runs on the CPU alone"
        return [
            f"{self.operator.name}.{option} has no effect here: {reasons[option]}"
            for option, value in self.source.options.items()
            if option in reasons and value not in (None, False, _upstream.default(self.operator.name, option))
        ]


def yes_or_no(stat: Stat, *, passes: bool) -> StatRange:
    """The range of a stat that is yes or no. passes: which of them does."""
    if passes:
        return StatRange(stat.name, 1.0, float("inf"), high_is_set=False)
    return StatRange(stat.name, float("-inf"), 0.0, low_is_set=False)


def impossible(range_: StatRange, stat: Stat, *, of: str = "video") -> str:
    """Why no bound of a range can be meant: it splits nothing. Empty where it can. of: what the stat is of."""
    low, high = f"{range_.low:.10g}", f"{range_.high:.10g}"
    outcome = f"every {of} passes" if range_.is_reversed else f"no {of} can pass"
    if range_.low > range_.high:
        return f"{low} is above {high}, so {outcome}"
    if range_.low == range_.high and not (range_.low_closed and range_.high_closed):
        return f"both are {low} and an end is open, so {outcome}"
    if range_.high < stat.low:
        return f"{high} is below {stat.low:g}, which every value reaches, so {outcome}"
    if range_.low > stat.high:
        return f"{low} is above {stat.high:g}, which no value passes, so {outcome}"
    return ""


def _remedy(field: FieldInfo) -> str:
    """What to try instead of a value that an operator's option does not take."""
    if field.is_required():
        return "set it; it has no default"
    default = field.default
    is_endless = isinstance(default, int | float) and float(default) in _NO_LIMIT
    return "leave it out" if default in (None, "") or is_endless else f"the default, {source_text(default)}"


def _takes_bool(annotation: Any) -> bool:
    """Whether a type is bool, or a union or generic that holds it."""
    return annotation in (bool, Any) or any(_takes_bool(part) for part in get_args(annotation))


_NO_LIMIT = (float("inf"), float("-inf"), -MAX_INT, MAX_INT, 1.7976931348623157e308)


def source_text(value: Any) -> str:
    """A raw option value as the user might have typed it."""
    return json.dumps(value, ensure_ascii=False, default=str)
