"""The meeting point: Recipe + operators → Plan, ordered steps with measure ids, grouped into passes."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dj_assets import operators
from dj_assets.errors import BadOption, DjAssetsError, RecipeError, RecipeErrors, UnknownOperator
from dj_assets.operators._contract import MAX_INT, Bound, Compute, Device, Operator, Params, Stat
from dj_assets.recipe import Recipe, StepSource
from dj_assets.samples import Sample, Texts, Video, dataset_root

PASS_ORDER: tuple[Compute, ...] = ("header", "cpu", "gpu")

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
class Step:
    """One step of a recipe, ready to run.

    key: asset and table name: the operator's name, with `_2`, `_3` … where a recipe lists it again.
    stat_names: export name of each stat (with the same suffix where two steps would share it).
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
    texts: Texts | None = None

    def videos(self, sample: Sample) -> tuple[Video, ...]:
        """The videos that its rows of a sample are about, in order; each with its text where the operator reads it."""
        found = tuple(video for video in sample.videos if video.field == self.video_key)
        return found if self.texts is None else self.texts.give_to(found, sample.record)

    @property
    def compute(self) -> Compute:
        """The pass that it belongs to: its operator's, or `gpu` where a recipe puts a `cpu` operator on a GPU."""
        return "gpu" if self.device == "cuda" else self.operator.compute

    @property
    def lacks(self) -> DjAssetsError | None:
        """What its model needs and this machine has not, with the remedy; None where nothing is missing. Imports
        nothing heavy."""
        for need in self.operator.requires(self.params, self.device):
            if (error := need.missing()) is not None:
                return type(error)(f"{self.key}: {error.given}", allowed=error.allowed, try_=error.try_)
        return None

    @property
    def bounds_text(self) -> str:
        """The ranges in words, as they are stored: in verdicts and in manifests of exports."""
        return " and ".join(str(range_) for range_ in self.ranges)

    @property
    def keeps(self) -> str:
        """The ranges in words, as people are shown them; `everything` where none refuses a value."""
        return in_words(self.ranges)


@dataclass(frozen=True)
class Pass:
    """Steps that share one decode of each video."""

    compute: Compute
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """What a recipe means: its steps in recipe order, its passes in running order, and what to tell the user."""

    recipe: Recipe
    steps: tuple[Step, ...]
    passes: tuple[Pass, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def bounds_id(self) -> str:
        """Digest of everything that moves verdicts but no number."""
        facts: list[Any] = [self.recipe.settings.on_undecided]
        for step in self.steps:
            ranges = [
                [r.stat, repr(r.low), repr(r.high), r.low_closed, r.high_closed, r.is_reversed] for r in step.ranges
            ]
            facts.append([step.key, step.measure_id, step.any_or_all, ranges])
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()

    @property
    def roots(self) -> list[Path]:
        """Folders that videos may lie in: the dataset's own, and those that the recipe adds."""
        return [dataset_root(self.recipe.dataset_path), *map(Path, self.recipe.settings.roots)]

    @property
    def video_keys(self) -> tuple[str, ...]:
        """Every manifest field whose videos some step measures; the recipe's own when there are no steps."""
        return tuple(dict.fromkeys([self.recipe.video_key, *(step.video_key for step in self.steps)]))


def lacking(steps: Sequence[Step]) -> Iterator[tuple[Step, DjAssetsError]]:
    """The steps whose model cannot be had on this machine, each with what to install or set."""
    for step in steps:
        if (error := step.lacks) is not None:
            yield step, error


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
    """Resolve every step of a recipe. Raises `RecipeErrors` with all faults found, before any video is opened."""
    errors: list[RecipeError] = []
    steps: list[Step] = []
    warnings: list[str] = []
    notes: list[str] = list(recipe.notes)
    for source in recipe.steps:
        try:
            step = _make_step(recipe, source, steps, notes)
        except RecipeErrors as several:
            errors.extend(several.errors)
        except RecipeError as error:
            errors.append(error)
        else:
            steps.append(step)
            warnings.extend(f"{step.key}: {line}" for line in step.params.warnings())
    if errors:
        raise RecipeErrors(errors)
    passes = tuple(
        Pass(compute, tuple(step for step in steps if step.compute == compute))
        for compute in PASS_ORDER
        if any(step.compute == compute for step in steps)
    )
    return Plan(recipe, tuple(steps), passes, tuple(dict.fromkeys(warnings)), tuple(dict.fromkeys(notes)))


def _make_step(recipe: Recipe, source: StepSource, earlier: Sequence[Step], notes: list[str]) -> Step:
    try:
        operator = operators.get(source.operator)
    except UnknownOperator as error:
        file, line = source.place()
        raise UnknownOperator(
            error.given,
            allowed=error.allowed,
            try_=error.try_,
            file=file or recipe.file,
            line=line,
            step=str(source.number),
        ) from None
    reader = _OptionReader(recipe, source, operator)
    params = reader.params()
    ranges = reader.ranges()
    any_or_all = reader.choice("any_or_all", ("any", "all"), operator.any_or_all_default)
    video_key = reader.text("video_key", recipe.video_key)
    device = reader.device()
    notes.extend(reader.notes())
    reader.finish()
    params = params.on(device)

    repeats = sum(step.operator.name == operator.name for step in earlier)
    taken = {name for step in earlier for name in step.stat_names}
    names = [stat.name for stat in operator.stats]
    suffix = 1
    while any(name in taken for name in names):
        suffix += 1
        names = [f"{stat.name}_{suffix}" for stat in operator.stats]
    return Step(
        number=source.number,
        key=operator.name if not repeats else f"{operator.name}_{repeats + 1}",
        operator=operator,
        params=params,
        ranges=ranges,
        any_or_all=any_or_all,  # type: ignore[arg-type]  # choice() has checked it
        video_key=video_key,
        device=device,
        measure_id=operator.measure_id(params, device),
        stat_names=tuple(names),
        texts=texts_of(recipe) if operator.reads_text else None,
    )


def texts_of(recipe: Recipe) -> Texts:
    """How a recipe's samples give their text to their videos."""
    return Texts(recipe.text_key, recipe.video_special_token, recipe.eoc_special_token)


class _OptionReader:
    """Takes a step's raw options apart; collects every fault before it raises."""

    def __init__(self, recipe: Recipe, source: StepSource, operator: Operator) -> None:
        self.recipe = recipe
        self.source = source
        self.operator = operator
        self.errors: list[RecipeError] = []
        known = {
            *operator.option_names,
            *VERDICT_OPTIONS,
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
                    ", ".join(operator.option_names) + "; and the options that every filter takes",
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
            if value is not None:
                self.bad(option, f"{option}: {source_text(value)}", "null", remedy)
        if self.errors:
            raise RecipeErrors(self.errors)

    def params(self) -> Params:
        fields = self.operator.params.model_fields
        given = {name: value for name, value in self.source.options.items() if name in fields}
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
            return self.operator.params(**given)
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
            return self.operator.params.model_construct()

    def ranges(self) -> tuple[StatRange, ...]:
        low_closed = self.flag("min_closed_interval", True)
        high_closed = self.flag("max_closed_interval", True)
        is_reversed = self.flag("reversed_range", False)
        ranges = []
        for stat in self.operator.stats:
            ends: dict[str, tuple[float, bool]] = {}
            for bound in self.operator.bounds:
                if bound.stat == stat.name:
                    ends[bound.side] = self.bound(bound)
            low, low_is_set = ends.get("min", (float("-inf"), False))
            high, high_is_set = ends.get("max", (float("inf"), False))
            is_default = not any(name in self.source.options for name in self._mins(stat))
            if is_default and low == stat.low and not is_reversed:
                low_is_set = False  # every value meets it: not worth a word
            range_ = StatRange(stat.name, low, high, low_closed, high_closed, is_reversed, low_is_set, high_is_set)
            problem = impossible(range_, stat)
            if problem:
                options = [bound.option for bound in self.operator.bounds if bound.stat == stat.name]
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

    def _mins(self, stat: Stat) -> list[str]:
        return [bound.option for bound in self.operator.bounds if bound.stat == stat.name and bound.side == "min"]

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

    def device(self) -> Device:
        wanted = self.source.options.get("accelerator")
        if wanted not in (None, "cpu", "cuda"):
            self.bad("accelerator", f"accelerator: {source_text(wanted)}", "cpu or cuda", "leave it out")
        if self.operator.compute == "gpu" and wanted is None:
            return gpu_device()
        return "cuda" if wanted == "cuda" and self._runs_on_gpu() else "cpu"

    def _runs_on_gpu(self) -> bool:
        return self.operator.compute == "gpu" or "cuda" in self.operator.also_on

    def notes(self) -> list[str]:
        reasons = {**BASE_OPTIONS_WITHOUT_EFFECT, **self.operator.ignored}
        if self.source.options.get("accelerator") == "cuda" and not self._runs_on_gpu():
            reasons["accelerator"] = "it runs on the CPU alone"
        return [
            f"{self.operator.name}.{option} has no effect here: {reasons[option]}"
            for option, value in self.source.options.items()
            if option in reasons and value not in (None, False)
        ]


def impossible(range_: StatRange, stat: Stat) -> str:
    """Why no bound of a range can be meant: it splits nothing. Empty where it can."""
    low, high = f"{range_.low:.10g}", f"{range_.high:.10g}"
    outcome = "every video passes" if range_.is_reversed else "no video can pass"
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
    return "leave it out" if field.default is None else f"the default, {source_text(field.default)}"


def _takes_bool(annotation: Any) -> bool:
    """Whether a type is bool, or a union or generic that holds it."""
    return annotation in (bool, Any) or any(_takes_bool(part) for part in get_args(annotation))


_NO_LIMIT = (float("inf"), float("-inf"), float(2**63 - 1), 1.7976931348623157e308)


def source_text(value: Any) -> str:
    """A raw option value as the user might have typed it."""
    return json.dumps(value, ensure_ascii=False, default=str)
