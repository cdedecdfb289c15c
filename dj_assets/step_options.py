"""A step's raw options → params, ranges, fields and device, with every fault told at once and with its line."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dj_assets import operators
from dj_assets.errors import BadOption, RecipeError, RecipeErrors
from dj_assets.operators import _upstream
from dj_assets.operators._contract import MAX_INT, Bound, Device, Operator, Params
from dj_assets.operators._mapper import Mapper
from dj_assets.operators._whole import Whole
from dj_assets.ranges import StatRange, impossible, yes_or_no
from dj_assets.recipe import Recipe, StepSource
from dj_assets.samples import PRODUCED_FOLDER

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


class OptionReader:
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

    def ranges(self, operator: Operator) -> tuple[StatRange, ...]:
        low_closed = self.flag("min_closed_interval", True)
        high_closed = self.flag("max_closed_interval", True)
        is_its_own = "reversed_range" in {*operator.ignored, *operator.params.model_fields}
        is_reversed = not is_its_own and self.flag("reversed_range", False)
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
