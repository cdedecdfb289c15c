"""The manifest of an export: what it was made from, and the digest of every file, so that it can be cited and rebuilt.

    res_manifest.json
      recipe   its whole content, as loaded, and its digest
      steps    operator, version, params, device, measure id, bounds
      input    dataset and shards; per shard the digest of its samples, of each table, and where numbers are lacking
      counts   kept, dropped by step, undecided by status
      files    records, bytes and SHA-256 of each file
      software versions of dj_assets and of the libraries behind the numbers and the files

No time, run id or place in the store is in it: the same export again is the same manifest, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from dj_assets import operators
from dj_assets.errors import Status, StoreError, UnknownOperator
from dj_assets.operators._contract import Operator, Params, Stat
from dj_assets.plan import Plan, Rule, Step, texts_of
from dj_assets.ranges import StatRange
from dj_assets.recipe import Recipe, Settings, StepSource
from dj_assets.samples import SAMPLE_FIELD, Sample, Subject, Video, dumps_record
from dj_assets.store.files import write_atomically
from dj_assets.store.rows import Fact, Row

FORMAT = 1
"""Raised when the fields below change their meaning."""


@dataclass(frozen=True)
class Gap:
    """Rows of one table that have no number, for one reason. at: their places, `0-3 7`, see `in_order`."""

    status: Status
    reason: str
    at: str


@dataclass(frozen=True)
class ShardInput:
    """What one shard put into an export.

    samples: how many. samples_digest: of their records and of their videos' contents (`samples_digest`).
    tables: step key → digest of the values, statuses and reasons. gaps: step key → what was not measured; what the
    samples themselves say (a missing file) is left out. arrow_schema: of a Parquet drop, where the export is
    Parquet, too; base64.
    """

    shard: str
    drop: str
    samples: int
    samples_digest: str
    tables: dict[str, str]
    gaps: dict[str, tuple[Gap, ...]]
    arrow_schema: str = ""


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export. name: `kept`, `stats`, `dropped` or `kept-00-of-02`. file: its name in the folder.

    records: lines, or rows of a Parquet file.
    """

    name: str
    file: str
    records: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class ExportManifest:
    """See the module. recipe, steps and counts are as the file holds them."""

    recipe: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    dataset_path: str
    shards: tuple[ShardInput, ...]
    missing_shards: tuple[str, ...]
    stale_shards: tuple[str, ...]
    counts: dict[str, Any]
    files: tuple[ExportedFile, ...]
    software: str
    export_path: str
    format: int = FORMAT

    def dumps(self) -> str:
        """The manifest as text, UTF-8, one shard a line, ending in a newline."""
        shards = [json.dumps(asdict(shard), ensure_ascii=True) for shard in self.shards]
        head = {
            "format": self.format,
            "export_path": self.export_path,
            "recipe": self.recipe,
            "steps": list(self.steps),
            "counts": self.counts,
            "files": [asdict(file) for file in self.files],
            "software": self.software,
            "input": {
                "dataset_path": self.dataset_path,
                "missing_shards": list(self.missing_shards),
                "stale_shards": list(self.stale_shards),
                "shards": [],
            },
        }
        text = json.dumps(head, indent=2, ensure_ascii=True, allow_nan=False)
        # Indented to the last number, a thousand shards would be a hundred thousand lines.
        opening = '"shards": ['
        place = text.rindex(opening) + len(opening)
        inside = "\n      " + ",\n      ".join(shards) + "\n    " if shards else ""
        return f"{text[:place]}{inside}{text[place:]}\n"

    def write(self, path: Path) -> None:
        """Replace a file by this manifest. Raises `StoreError` where the disk refuses."""
        text = self.dumps()

        def write(temporary: Path) -> None:
            temporary.write_text(text, encoding="utf-8")

        write_atomically(path, write)


def read_manifest(path: Path) -> ExportManifest:
    """Read a manifest. Raises `StoreError` where it is none, or of a format that this version does not know."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, expected {FORMAT}")
        return ExportManifest(
            recipe=found["recipe"],
            steps=tuple(found["steps"]),
            dataset_path=found["input"]["dataset_path"],
            shards=tuple(load_shard_input(shard) for shard in found["input"]["shards"]),
            missing_shards=tuple(found["input"]["missing_shards"]),
            stale_shards=tuple(found["input"]["stale_shards"]),
            counts=found["counts"],
            files=tuple(ExportedFile(**file) for file in found["files"]),
            software=found["software"],
            export_path=found["export_path"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_manifest(path, f"{type(error).__name__}: {error}") from error


def _no_manifest(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{str(path)!r} is no manifest of an export that can be read: {why}",
        allowed="the file that an export writes beside its others, such as outputs/NAME/res_manifest.json",
        try_="name that file; an export of an older version gets one when its shards are materialized again",
    )


def load_shard_input(found: Mapping[str, Any]) -> ShardInput:
    """A shard's input, from its JSON form."""
    gaps = {step: tuple(Gap(**gap) for gap in group) for step, group in found["gaps"].items()}
    return ShardInput(**{**found, "gaps": gaps})


# --- from an export to its manifest


def recipe_record(recipe: Recipe) -> dict[str, Any]:
    """A recipe with everything that holds. `content`, saved as a YAML file, is that recipe again."""
    content = {
        "project_name": recipe.project_name,
        "dataset_path": str(recipe.dataset_path),
        "suffixes": list(recipe.suffixes),
        "text_keys": recipe.text_key,
        "video_key": recipe.video_key,
        "video_special_token": recipe.video_special_token,
        "eoc_special_token": recipe.eoc_special_token,
        "export_path": str(recipe.export_path),
        "export_type": recipe.export_type,
        "export_shard_size": recipe.export_shard_size,
        "keep_stats_in_res_ds": recipe.keep_stats_in_res_ds,
        "keep_hashes_in_res_ds": recipe.keep_hashes_in_res_ds,
        "np": recipe.np,
        "open_tracer": recipe.open_tracer,
        "op_list_to_trace": list(recipe.op_list_to_trace),
        "trace_num": recipe.trace_num,
        "dj_assets": recipe.settings.model_dump(mode="json"),
        "process": [{source.operator: dict(source.options)} for source in recipe.steps],
    }
    return {"name": recipe.name, "sha256": recipe.sha256, "content": _finite(content)}


def _finite(value: Any) -> Any:
    """The value with infinite numbers as text (`inf`, which options take as well): JSON has no other way."""
    if isinstance(value, dict):
        return {name: _finite(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def step_record(step: Step) -> dict[str, Any]:
    """A step: what was measured, how, and which values pass. An end of a range that is open is null."""
    names = zip(step.stat_names, step.operator.stats, strict=True)
    return {
        "number": step.number,
        "key": step.key,
        "operator": step.operator.name,
        "version": step.operator.version,
        "params": step.params.canonical(),
        "device": step.device,
        "measure_id": step.measure_id,
        "video_key": step.video_key,
        "any_or_all": step.any_or_all,
        **({} if step.texts is None else {"reads_text": True}),
        "keeps": step.bounds_text,
        "stats": [
            {
                **{"name": stat.name, "export_name": name, "unit": stat.unit, "is_integer": stat.is_integer},
                **({"is_flag": True} if stat.is_flag else {}),
            }
            for name, stat in names
        ],
        "bounds": [_range_record(range_) for range_ in step.ranges],
        **({"rule": _rule_record(step.rule)} if step.rule is not None else {}),
    }


def _rule_record(rule: Rule) -> dict[str, Any]:
    """How a step over the whole dataset chooses."""
    return {"version": rule.whole.version, "params": rule.params.canonical(), "text_key": rule.text_key}


def _range_record(range_: StatRange) -> dict[str, Any]:
    ends = {
        name: value if math.isfinite(value) else None for name, value in (("low", range_.low), ("high", range_.high))
    }
    return {**asdict(range_), **ends}


def shard_input(
    plan: Plan, shard: str, samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]], schema: Any = None
) -> ShardInput:
    """What a shard puts into an export. tables: rows by step key. schema: Arrow schema of its drop, if that counts."""
    found = {step.key: in_order(step, samples, tables[step.key]) for step in plan.measured_steps}
    return ShardInput(
        shard=shard,
        drop=samples[0].drop if samples else "",
        samples=len(samples),
        samples_digest=samples_digest(samples),
        tables={
            key: _digest([fact.value, fact.status, fact.reason] for _, fact in facts) for key, facts in found.items()
        },
        gaps={
            step.key: gaps
            for step in plan.measured_steps
            # What a record lacks it says itself.
            if not step.is_about_samples and (gaps := _gaps(found[step.key]))
        },
        arrow_schema="" if schema is None else base64.b64encode(schema.serialize().to_pybytes()).decode(),
    )


def in_order(step: Step, samples: Sequence[Sample], rows: Iterable[Row]) -> list[tuple[Subject, Fact]]:
    """A step's facts by sample, then subject, then stat: the order in which `Gap.at` counts, from 0.

    Raises ValueError where a row is missing.
    """
    facts = {(row.sample_id, row.field, row.position, row.fact.stat): row.fact for row in rows}
    try:
        return [(subject, facts[key]) for key, subject in places(step, samples)]
    except KeyError as error:
        raise ValueError(f"{step.key}: no row for {error}, expected one per subject and stat") from None


def places(step: Step, samples: Sequence[Sample]) -> Iterator[tuple[tuple[str, str, int, str], Subject]]:
    """((sample id, field, position, stat), subject) of each row that a step's table must have, in order."""
    for sample in samples:
        for subject in step.subjects(sample):
            for stat in step.operator.stats:
                yield (sample.sample_id, subject.field, subject.position, stat.name), subject


def _gaps(facts: Sequence[tuple[Subject, Fact]]) -> tuple[Gap, ...]:
    found: dict[tuple[Status, str], list[int]] = {}
    for place, (subject, fact) in enumerate(facts):
        if fact.status != "ok" and (fact.status, fact.reason) != (subject.status, subject.reason):
            found.setdefault((fact.status, fact.reason), []).append(place)
    return tuple(Gap(status, reason, dump_places(at)) for (status, reason), at in found.items())


def dump_places(numbers: Sequence[int]) -> str:
    """Growing numbers as text: [0, 1, 2, 3, 7] is `0-3 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def load_places(text: str) -> Iterator[int]:
    """The numbers that `dump_places` wrote."""
    for run in text.split():
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)


def samples_digest(samples: Iterable[Sample]) -> str:
    """Digest of the records and of their videos' bytes. Times of modification do not count."""
    return _digest(
        [
            sample.sample_id,
            dumps_record(sample.record),
            [sample.status, sample.reason, sample.raw],
            [_video_record(video) for video in sample.videos],
        ]
        for sample in samples
    )


def _video_record(video: Video) -> list[Any]:
    where = [video.field, video.position, video.given, video.path]
    return [*where, video.content_hash, video.status, video.reason]


def _digest(facts: Iterable[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(json.dumps(fact, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def exported_file(name: str, path: Path, records: int) -> ExportedFile:
    """Describe a file as it stands on the disk."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedFile(name, path.name, records, path.stat().st_size, sha256)


# --- from a manifest to a plan


class RememberedParams(Params):
    """Params as an operator had them once, whatever it takes today."""

    model_config = ConfigDict(frozen=True, extra="allow")


def remembered_plan(manifest: ExportManifest, *, file: str) -> Plan:
    """The plan of an export, from its manifest alone: enough to decide and to write, not to measure videos.

    Operators may have changed since or be gone: their stats, versions, measure ids and bounds are the manifest's. A
    step on records has its operator of today where that is of the same version, since nothing else remembers its
    numbers; else one that `can_judge` tells. What chooses among the whole dataset is code, so such a step is today's
    operator, under the options of then.
    file: the manifest's path, for messages. Raises `StoreError` where the manifest is incomplete.
    """
    try:
        recipe = _remembered_recipe(manifest.recipe, file)
        return Plan(recipe, tuple(_remembered_step(step, recipe) for step in manifest.steps), passes=())
    except (KeyError, TypeError, ValueError, UnknownOperator) as error:
        raise _no_manifest(Path(file), f"{type(error).__name__}: {error}") from error


def _remembered_recipe(record: Mapping[str, Any], file: str) -> Recipe:
    content = record["content"]
    as_they_are = ("export_type", "export_shard_size", "keep_stats_in_res_ds", "keep_hashes_in_res_ds", "np")
    sources = [next(iter(step.items())) for step in content["process"]]
    return Recipe(
        name=record["name"],
        file=file,
        sha256=record["sha256"],
        dataset_path=Path(content["dataset_path"]),
        export_path=Path(content["export_path"]),
        steps=tuple(StepSource(number, *source) for number, source in enumerate(sources, start=1)),
        settings=Settings.model_validate(content["dj_assets"]),
        text_key=content["text_keys"],
        video_key=content["video_key"],
        video_special_token=content["video_special_token"],
        eoc_special_token=content.get("eoc_special_token", "<|__dj__eoc|>"),
        suffixes=tuple(content["suffixes"]),
        project_name=content["project_name"],
        # An export from before there were traces has none.
        open_tracer=content.get("open_tracer", False),
        op_list_to_trace=tuple(content.get("op_list_to_trace", ())),
        trace_num=content.get("trace_num", 10),
        **{name: content[name] for name in as_they_are},
    )


def _remembered_step(record: Mapping[str, Any], recipe: Recipe) -> Step:
    operator = _remembered_operator(record)
    return Step(
        number=record["number"],
        key=record["key"],
        operator=operator,
        params=operator.params(**record["params"]),
        ranges=tuple(_remembered_range(range_) for range_ in record["bounds"]),
        any_or_all=record["any_or_all"],
        video_key=record["video_key"],
        device=record["device"],
        measure_id=record["measure_id"],
        stat_names=tuple(stat["export_name"] for stat in record["stats"]),
        rule=_remembered_rule(record["operator"], record["rule"]) if "rule" in record else None,
        texts=texts_of(recipe) if record.get("reads_text") else None,
    )


def _remembered_rule(operator: str, record: Mapping[str, Any]) -> Rule:
    whole = operators.get(operator)
    if not isinstance(whole, operators.Whole):
        raise ValueError(f"{operator} is no operator over the whole dataset any more")
    return Rule(whole, whole.params(**record["params"]), record["text_key"])


def _remembered_operator(record: Mapping[str, Any]) -> Operator:
    looks_at_records = record["video_key"] == SAMPLE_FIELD
    if looks_at_records and record["operator"] in operators.names():
        today = operators.get(record["operator"])
        if isinstance(today, Operator) and today.version == record["version"] and today.is_about_samples:
            return today
    remembered = Operator(
        name=record["operator"],
        version=record["version"],
        summary="as a manifest remembers it",
        compute="header",
        params=RememberedParams,
        stats=tuple(
            Stat(stat["name"], stat["unit"], is_integer=stat["is_integer"], is_flag=stat.get("is_flag", False))
            for stat in record["stats"]
        ),
        bounds=(),
        read=_refuse_to_measure,
    )
    return (
        replace(remembered, compute="record", read=None, judge=_refuse_to_measure) if looks_at_records else remembered
    )


def _refuse_to_measure(looked_at: Any, params: Any) -> Sequence[float]:
    raise TypeError("a step that was read from a manifest measures nothing")


def can_judge(step: Step) -> bool:
    """Whether a remembered step on records has its operator still."""
    return step.operator.judge is not _refuse_to_measure


def _remembered_range(record: Mapping[str, Any]) -> StatRange:
    low, high = record["low"], record["high"]
    ends = {"low": -math.inf if low is None else low, "high": math.inf if high is None else high}
    return StatRange(**{**record, **ends})


def remembered_schema(shard: ShardInput) -> Callable[[Path, str], Any]:
    """Stands in for `samples.manifest_schema`: the schema that the shard's drop had then."""

    def schema_of(dataset_path: Path, drop: str) -> Any:
        if not shard.arrow_schema:
            return None
        import pyarrow as pa

        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(shard.arrow_schema)))

    return schema_of
