"""YAML → Recipe: names, raw options and where each stands in the file. Knows no operator."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from dj_assets.errors import RecipeError, RecipeErrors
from dj_assets.recipe.draft import Draft, StepDraft, did_you_mean, lay_over, read_file, unknown_key
from dj_assets.recipe.keys import KEYS, Key, Kind, as_typed
from dj_assets.recipe.yaml_lines import COMMAND_LINE

ExportType = Literal["jsonl", "json", "parquet"]
EXPORT_TYPES: tuple[ExportType, ...] = get_args(ExportType)


class Limits(BaseModel):
    """What one video may cost before its row says `timed_out` or `too_large` instead of a number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_seconds: float = Field(
        default=300.0, gt=0, allow_inf_nan=False, description="wall clock of one video in one pass"
    )
    memory_mb: int = Field(default=4096, ge=256, description="resident memory of one worker process")
    max_pixels: int = Field(default=35_389_440, ge=1, description="pixels of one picture (8192 x 4320)")
    max_frames: int = Field(default=2_000_000, ge=1, description="frames of one video")
    max_file_mb: int = Field(default=65_536, ge=1, description="size of one file")


class Evidence(BaseModel):
    """How many pictures that explain verdicts to draw of each shard, beside the export. 0 draws none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept: int = Field(default=0, ge=0, description="samples that stayed")
    dropped: int = Field(default=0, ge=0, description="samples that left")
    boundary: int = Field(default=0, ge=0, description="samples nearest each bound, on either side, on a contact sheet")
    undecided: int = Field(default=0, ge=0, description="samples without a verdict, on a contact sheet")
    random: int = Field(default=0, ge=0, description="samples drawn by lot, on a contact sheet")

    @property
    def has_sheet(self) -> bool:
        """Whether there is anything on a contact sheet."""
        return self.boundary + self.undecided + self.random > 0

    @property
    def is_wanted(self) -> bool:
        """Whether any picture is asked for."""
        return self.has_sheet or self.kept + self.dropped > 0


class Landing(BaseModel):
    """How new data drops are noticed under the dataset's folder, and when one is complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    watch: bool = Field(default=False, description="run each shard of a drop that is new or changed, by itself")
    drops: Literal["manifests", "folders"] = Field(
        default="manifests",
        description="what a data drop is: a manifest, or a folder in dataset_path with manifests or videos in it",
    )
    complete: Literal["quiet", "marker", "renamed"] = Field(
        default="quiet",
        description="when a drop is complete: unchanged for quiet_seconds; its marker is there; as soon as it is there",
    )
    quiet_seconds: float = Field(
        default=60.0, ge=0, allow_inf_nan=False, description="how long nothing of a drop may have changed"
    )
    marker: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = Field(
        default="DONE", description="file in a folder, or after a manifest's name and a dot, that says it is complete"
    )
    every_seconds: int = Field(default=30, ge=5, description="how often to look")
    expect_every_hours: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a drop is overdue after so long; none: never"
    )


class Checks(BaseModel):
    """When a check of a shard fails that is about the data rather than about the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_undecided_share: float = Field(
        default=0.05, ge=0, le=1, allow_inf_nan=False, description="share of a shard's samples that may be undecided"
    )
    max_drift: float = Field(
        default=4.0,
        gt=0,
        allow_inf_nan=False,
        description="how many times the usual spread a shard may lie away from the other shards",
    )


_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")


def _owner(text: str) -> str:
    if not _EMAIL.fullmatch(text) and not (text.startswith("team:") and text.removeprefix("team:").strip()):
        raise ValueError(f"an email address or team:name, and {text!r} is neither")
    return text


class Settings(BaseModel):
    """The recipe's `dj_assets:` key: everything that is ours and not Data-Juicer's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_size: int = Field(default=1000, ge=1, le=1_000_000, description="samples per partition")
    short_circuit: bool = Field(default=True, description="do not measure samples that a cheaper pass has dropped")
    on_undecided: Literal["set_aside", "drop", "keep"] = Field(
        default="set_aside",
        description="samples that could not be measured: set_aside (left out, exit code 3), "
        "drop (left out, exit code 0), keep (exported, exit code 0)",
    )
    roots: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="folders besides the manifest's own that videos may lie in"
    )
    trust_mtime: bool = Field(
        default=True,
        description="take a file whose path, size and modification time are as before for unchanged; false reads all",
    )
    workers: int | None = Field(
        default=None, ge=1, description="worker processes, capped at the cores; default np, else as many as fit"
    )
    export_paths: Literal["absolute", "as_given"] = Field(default="absolute", description="video paths in the export")
    limits: Limits = Limits()
    evidence: Evidence = Evidence()
    landing: Landing = Landing()
    checks: Checks = Checks()
    owners: tuple[Annotated[str, AfterValidator(_owner)], ...] = Field(
        default=(), description="whom the assets belong to: email addresses, or team:name"
    )


@dataclass(frozen=True)
class StepSource:
    """One entry of `process` as written: operator name, raw options, and their lines in the file (1-based).

    file: of the entry itself. overridden: options that the command line set.
    """

    number: int
    operator: str
    options: Mapping[str, Any]
    line: int | None = None
    option_lines: Mapping[str, int | None] = field(default_factory=dict)
    file: str = ""
    overridden: frozenset[str] = frozenset()

    def place(self, option: str | None = None) -> tuple[str, int | None]:
        """File and line of an option, or of the step where the option was not written. File may be empty."""
        if option in self.overridden:
            return COMMAND_LINE, None
        return self.file, self.option_lines.get(option or "", self.line)


@dataclass(frozen=True)
class Recipe:
    """A recipe after reading, before any operator is known.

    name: from the file's stem, safe in asset keys ([A-Za-z0-9_]). file: as the user named it, for messages.
    sha256: of the canonical content after overrides. notes: one line per accepted key that has no effect here.
    dataset_path, export_path: absolute, relative ones resolved against the working directory as upstream does.
    np: Data-Juicer's process count. export_shard_size: bytes, 0 for one file. open_tracer: write the first trace_num
    samples that each operator of op_list_to_trace rejected; of every operator where that is empty.
    percentiles: shares from 0 to 1 whose quantiles an analysis gives besides the usual ones.
    resolved: what holds, flat, for people: each honoured key, setting (`dj_assets.shard_size`) and step
    (`process.1.video_duration_filter`) with its value. places: file and line of each key that was set.
    """

    name: str
    file: str
    sha256: str
    dataset_path: Path
    export_path: Path
    steps: tuple[StepSource, ...]
    settings: Settings
    export_type: ExportType = "jsonl"
    export_shard_size: int = 0
    keep_stats_in_res_ds: bool = False
    keep_hashes_in_res_ds: bool = False
    np: int = 4
    text_key: str = "text"
    video_key: str = "videos"
    video_special_token: str = "<__dj__video>"
    eoc_special_token: str = "<|__dj__eoc|>"
    suffixes: tuple[str, ...] = ()
    open_tracer: bool = False
    op_list_to_trace: tuple[str, ...] = ()
    trace_num: int = 10
    percentiles: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    resolved: Mapping[str, Any] = field(default_factory=dict)
    project_name: str = "hello_world"
    places: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)

    @property
    def wanted_workers(self) -> int | None:
        """Worker processes that the recipe asks for, by `workers` or else `np`; None where it says nothing of them."""
        return self.settings.workers or (self.np if "np" in self.places else None)

    @property
    def drops_are_folders(self) -> bool:
        """Whether each folder in the dataset's is a data drop."""
        return self.settings.landing.drops == "folders"

    def located(self, error: RecipeError) -> RecipeError:
        """The error with the file and line where its option was set, for faults that are found after reading."""
        if error.file is None:
            error.file, error.line = self.places.get(error.option or "", (self.file, None))
        return error


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), *, content: bytes | None = None, shown_as: str = ""
) -> Recipe:
    """Read a recipe file and lay command-line overrides over it.

    content: what the file holds, where that is not what lies there now (an earlier revision of it). shown_as: how
    messages name it then.

    overrides: tokens as `dj-process` takes them: `--export_path X`, `--np=2`, `--operator.option VALUE`,
    `--dj_assets.limits.timeout_seconds 5`; hyphens may stand for underscores. Values are YAML, where the key is not
    a text. An operator's option applies to every step of that name; an operator that `process` does not list
    becomes its last step.

    Raises `RecipeError`, or `RecipeErrors` with every fault found. Whether the dataset exists is not asked here.
    """
    draft = Draft(shown_as or str(path), kinds=_KINDS)
    read_file(draft, Path(path), content=content)
    lay_over(draft, overrides)
    recipe = _resolve(draft, recipe_name(Path(path)))
    if draft.faults:
        raise _all_of(draft.faults)
    return recipe


def recipe_name(path: Path) -> str:
    """The name of the recipe in a file, as assets and tables have it: its stem over [A-Za-z0-9_]."""
    return re.sub(r"[^A-Za-z0-9_]", "_", path.stem) or "recipe"


def _fields_of(model: type[BaseModel], prefix: str) -> dict[str, FieldInfo]:
    """Dotted name → field of a settings model, its nested models opened."""
    found: dict[str, FieldInfo] = {}
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found |= _fields_of(info.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = info
    return found


_SETTINGS: Mapping[str, FieldInfo] = _fields_of(Settings, "dj_assets.")

_KINDS: Mapping[str, Kind] = {
    **{name: key.kind for name, key in KEYS.items()},
    **{
        name: Kind(str(info.description), lambda value: value, is_flag=info.annotation is bool)
        for name, info in _SETTINGS.items()
    },
}


def _resolve(draft: Draft, name: str) -> Recipe:
    """The recipe that a draft means. Faults go to the draft, with the default in the bad value's place."""
    _refuse_unknown(draft)
    values = {key.name: _value(draft, key) for key in KEYS.values()}
    settings = _settings(draft)
    dataset_path = _dataset_path(draft, values)
    export_path, export_type = _export(draft, values, dataset_path)
    steps = tuple(_step(number, step) for number, step in enumerate(draft.steps, start=1))
    facts: dict[str, Any] = {
        "project_name": values["project_name"],
        "dataset_path": dataset_path,
        "suffixes": _suffixes(values["suffixes"]),
        "text_key": values["text_keys"][0],
        "video_key": values["video_key"],
        "video_special_token": values["video_special_token"],
        "eoc_special_token": values["eoc_special_token"],
        "export_path": export_path,
        "export_type": export_type,
        "export_shard_size": values["export_shard_size"],
        "keep_stats_in_res_ds": values["keep_stats_in_res_ds"],
        "percentiles": tuple(values["percentiles"]),
        "np": values["np"],
        "open_tracer": values["open_tracer"],
        "op_list_to_trace": _traced(draft, values, steps),
        "trace_num": values["trace_num"],
    }
    resolved = _for_people(facts, settings, steps)
    return Recipe(
        name=name,
        file=draft.file,
        sha256=hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest(),
        steps=steps,
        settings=settings,
        keep_hashes_in_res_ds=values["keep_hashes_in_res_ds"],
        notes=(*_notes_without_effect(draft, values), *_notes_of_meaning(facts, values, steps), *draft.notes),
        resolved=resolved,
        places={name: draft.place(name) for name in draft.keys},
        **facts,
    )


def _for_people(facts: Mapping[str, Any], settings: Settings, steps: Iterable[StepSource]) -> dict[str, Any]:
    """`Recipe.resolved`: flat, plain JSON values, under the names that a recipe would use."""
    renamed = {"text_key": "text_keys"}
    shown: dict[str, Any] = {renamed.get(name, name): fact for name, fact in facts.items()}
    shown |= {name: str(shown[name]) for name in ("dataset_path", "export_path")}
    shown |= {name: list(shown[name]) for name in ("suffixes", "op_list_to_trace", "percentiles")}
    nested = settings.model_dump(mode="json")
    for name in _SETTINGS:
        value: Any = nested
        for part in name.split(".")[1:]:
            value = value[part]
        shown[name] = value
    return shown | {f"process.{step.number}.{step.operator}": dict(step.options) for step in steps}


def _notes_of_meaning(facts: Mapping[str, Any], values: Mapping[str, Any], steps: Sequence[StepSource]) -> list[str]:
    notes = []
    if values["dataset"] and values["dataset_path"].strip():
        notes.append("dataset has no effect here: dataset_path is set and comes first, as in Data-Juicer")
    if len(values["text_keys"]) > 1:
        notes.append(f"text_keys: only the first is read, {facts['text_key']!r}, as in Data-Juicer")
    idle = [name for name in ("op_list_to_trace", "trace_num") if values[name] != KEYS[name].default]
    if idle and not values["open_tracer"]:
        verb = "has" if len(idle) == 1 else "have"
        notes.append(f"{' and '.join(idle)} {verb} no effect: open_tracer is false, as in Data-Juicer")
    if facts["dataset_path"] in facts["export_path"].parents:
        notes.append("export_path lies inside dataset_path: the next run may read this export as data")
    if not steps:
        notes.append("process lists no operator: every sample is kept")
    return notes


def _value(draft: Draft, key: Key) -> Any:
    given = draft.keys.get(key.name)
    if given is None or given.value is None:
        return key.default
    try:
        value = key.kind.read(given.value)
    except (ValueError, OverflowError):
        is_unquoted = key.kind.is_text and not isinstance(given.value, str | list | dict)
        draft.fault(
            key.name,
            f"{key.name} is {as_typed(given.value)}",
            allowed=key.kind.allowed,
            try_=f'put quotes around it: {key.name}: "{given.value}"' if is_unquoted else _default_of(key.default),
        )
        return key.default
    if key.refusal and not key.asks_for_nothing(value):
        draft.fault(
            key.name,
            f"{key.name} is {as_typed(given.value)}, which cannot be honoured here",
            allowed=f"leaving {key.name} out",
            try_=key.refusal,
        )
    return value


def _default_of(default: Any) -> str:
    return "leave it out" if default in (None, "", [], {}, ()) else f"the default, {as_typed(default)}"


def _notes_without_effect(draft: Draft, values: Mapping[str, Any]) -> list[str]:
    """One line per reason, naming every key that was set to something else than Data-Juicer's default."""
    by_reason: dict[str, list[str]] = {}
    for key in KEYS.values():
        if key.reason and key.name in draft.keys and not key.asks_for_nothing(values[key.name]):
            by_reason.setdefault(key.reason, []).append(key.name)
    return [
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect here: {reason}"
        for reason, names in by_reason.items()
    ]


def _refuse_unknown(draft: Draft) -> None:
    for name in [name for name in draft.keys if name not in draft.kinds]:
        if name in draft.groups:
            value, inside = as_typed(draft.keys[name].value), ", ".join(draft.inside(name))
            draft.fault(name, f"{name} is {value}", allowed=f"a mapping with any of {inside}", try_="leave it out")
        else:
            allowed, try_ = unknown_key(draft, name)
            draft.fault(name, f"key {name!r} is not known", allowed=allowed, try_=try_)


def _settings(draft: Draft) -> Settings:
    nested: dict[str, Any] = {}
    for name in _SETTINGS:
        given = draft.keys.get(name)
        if given is not None and given.value is not None:
            *parents, leaf = name.split(".")[1:]
            inside = nested
            for parent in parents:
                inside = inside.setdefault(parent, {})
            inside[leaf] = given.value
    try:
        # Strict, so that `shard_size: true` is not 1; read as JSON, so that a list is good for a tuple all the same.
        settings = Settings.model_validate_json(json.dumps(nested, default=str), strict=True)
    except ValidationError as error:
        for fault in error.errors():
            _settings_fault(draft, fault["loc"], fault["msg"])
        return Settings()
    roots = tuple(str(_absolute(root)) for root in settings.roots)
    return settings.model_copy(update={"roots": roots})


def _settings_fault(draft: Draft, loc: tuple[int | str, ...], message: str) -> None:
    """Pydantic's words, in the place and the shape of ours. loc: path of field names, list indices last."""
    name = ".".join(["dj_assets", *(part for part in loc if isinstance(part, str))])
    info = _SETTINGS[name]
    draft.fault(
        name,
        f"{name} is {as_typed(draft.keys[name].value)}",
        allowed=f"{message.removeprefix('Input should be ').removeprefix('Value error, ')} ({info.description})",
        try_=_default_of(info.get_default()),
    )


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LOCAL_DATASETS = "one local manifest, a folder or glob of manifests, or a folder of videos"


def _dataset_path(draft: Draft, values: Mapping[str, Any]) -> Path:
    """Absolute path, wildcards kept. Weighted, mixed and remote datasets are faults: the data would be other data."""
    text: str = values["dataset_path"].strip()
    key = "dataset_path"
    if not text and values["dataset"]:
        key, text = "dataset", _only_local_path(values["dataset"])
        if not text:
            draft.fault(
                key,
                "dataset asks for a mixture, a sample or a remote source",
                allowed=f"{_LOCAL_DATASETS}: `configs: [{{type: local, path: X}}]`",
                try_="name it in dataset_path; put several manifests into one folder or under one glob",
            )
    elif not text:
        draft.fault(
            key,
            "dataset_path is missing",
            allowed=_LOCAL_DATASETS,
            try_="add `dataset_path: PATH` or --dataset_path PATH",
        )
    if _URL.match(text):
        draft.fault(
            key, f"{key} is the URL {text!r}", allowed=_LOCAL_DATASETS, try_="download the manifest and its videos"
        )
    elif _has_weights(text):
        draft.fault(
            key,
            f"{key} mixes datasets by weight: {text!r}",
            allowed=_LOCAL_DATASETS,
            try_="put the manifests into one folder; Data-Juicer reads such weights and ignores them",
        )
    return _absolute(text)


def _absolute(text: str) -> Path:
    """Absolute, `~` expanded, `..` folded, and symlinks left alone, as upstream does."""
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111  (resolve() follows symlinks)


def _only_local_path(dataset: Any) -> str:
    """The path of a `dataset` that is one whole local source, else an empty text."""
    if not isinstance(dataset, dict) or dataset.keys() - {"configs"} or not isinstance(dataset.get("configs"), list):
        return ""
    configs = dataset["configs"]
    if len(configs) != 1 or not isinstance(configs[0], dict) or configs[0].keys() - {"type", "path", "weight"}:
        return ""
    path = configs[0].get("path")
    return path.strip() if configs[0].get("type") == "local" and isinstance(path, str) else ""


_WEIGHTED = re.compile(r"(?:^|\S*\.\S*\s+)[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s+\S")


def _has_weights(text: str) -> bool:
    """Whether a text is Data-Juicer's `0.5 a.jsonl 0.5 b.jsonl`, and not a path that happens to hold spaces."""
    return bool(_WEIGHTED.search(text)) and not _absolute(text).exists()


def _export(draft: Draft, values: Mapping[str, Any], dataset_path: Path) -> tuple[Path, ExportType]:
    """Absolute path, and the type: as told, else by the suffix."""
    text: str = values["export_path"]
    path = _absolute(text)
    wanted = values["export_type"] or path.suffix.lower().removeprefix(".")
    type_ = next((known for known in EXPORT_TYPES if known == wanted), None)
    if _URL.match(text):
        given, allowed, try_ = f"is the URL {text!r}", "a local file", "export to a local file and upload that"
    elif type_ is None:
        given = f"is {text!r}, {f'which ends in {path.suffix}' if path.suffix else 'which has no suffix'}"
        allowed, try_ = ", ".join(f".{known}" for known in EXPORT_TYPES), "add .jsonl, or set export_type"
    elif path == dataset_path:
        given, allowed = "is the dataset itself, which the export would replace", "another file than dataset_path"
        try_ = "outputs/NAME/res.jsonl"
    else:
        return path, type_
    draft.fault("export_path", f"export_path {given}", allowed=allowed, try_=try_)
    return path, type_ or "jsonl"


def _traced(draft: Draft, values: Mapping[str, Any], steps: Sequence[StepSource]) -> tuple[str, ...]:
    """Operators to trace. One that the recipe does not have would be a trace that silently never comes."""
    names = tuple(dict.fromkeys(values["op_list_to_trace"]))
    operators = list(dict.fromkeys(step.operator for step in steps))
    for name in names if values["open_tracer"] else ():
        if name not in operators:
            draft.fault(
                "op_list_to_trace",
                f"op_list_to_trace names {name!r}, which process does not list",
                allowed=", ".join(operators) or "operators that process lists",
                try_=did_you_mean(name, operators) or "remove it, or leave op_list_to_trace out to trace every step",
            )
    return names


def _suffixes(given: Iterable[str]) -> tuple[str, ...]:
    """Lower case, with a leading dot: `jsonl` and `.JSONL` are both `.jsonl`."""
    return tuple(f".{suffix.strip().lower().removeprefix('.')}" for suffix in given if suffix.strip(". "))


def _step(number: int, draft: StepDraft) -> StepSource:
    return StepSource(
        number=number,
        operator=draft.operator,
        options={name: given.value for name, given in draft.options.items()},
        line=draft.line,
        option_lines={name: given.line for name, given in draft.options.items()},
        file=draft.file,
        overridden=frozenset(name for name, given in draft.options.items() if given.file == COMMAND_LINE),
    )


def _all_of(faults: Sequence[RecipeError]) -> RecipeError:
    """Each fault once, in the order of the file's lines, those of the command line last."""
    once = list({str(fault): fault for fault in faults}.values())
    once.sort(key=lambda fault: (fault.file == COMMAND_LINE, fault.line is not None, fault.line or 0))
    return once[0] if len(once) == 1 else RecipeErrors(once)
