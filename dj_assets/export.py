"""Kept samples → JSONL, JSON or Parquet as Data-Juicer writes them; the others → a file that says why.

    res.jsonl           the kept samples                                one record per kept sample
    res_stats.jsonl     their stats, as upstream writes them            one line per kept sample, same order
    res_dropped.jsonl   every other sample, its stats and its verdict   one line each
    res_manifest.json   what they were made from, and their digests     see `export_manifest`
    res_trace/          the first samples that each step rejected       see `trace`; where the recipe asks for it

Each shard is written as a part first: one file with a header line and three sections, so that a rename
replaces it as a whole. Merging streams the parts into the files above; it never reads a record apart.

    header {plan, summary, input, sections}⏎ | kept: JSON lines or an Arrow stream | stats: lines | dropped: lines
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from dj_assets import arrow_records
from dj_assets.errors import RecipeError, StoreError
from dj_assets.export_manifest import (
    ExportManifest,
    ShardInput,
    exported_file,
    load_shard_input,
    recipe_record,
    shard_input,
    step_record,
)
from dj_assets.operators._contract import Stat
from dj_assets.plan import Plan, Step
from dj_assets.recipe import Recipe
from dj_assets.records import exported, with_stats
from dj_assets.samples import META_FIELD, STATS_FIELD, VERDICT_FIELD, Sample, manifest_schema, to_json
from dj_assets.store.files import part as file_name
from dj_assets.store.files import write_atomically
from dj_assets.store.rows import Row, Verdict
from dj_assets.trace import DroppedLines, trace_folder, write_traces

RAW_FIELD = "__dj__raw__"
HASH_FIELDS = tuple(f"__dj__{kind}" for kind in ("hash", "minhash", "simhash", "imagehash", "videohash"))

PART_FORMAT = 2
"""Raised when parts are laid out or rendered differently: older ones are then stale."""

Stats = dict[str, Any]
"""Export name of a stat → a list with one number per video; of a step on records, what Data-Juicer has there."""


@dataclass(frozen=True)
class PartSummary:
    """Counts of one shard. samples = kept + all dropped + set_aside.

    kept: lines of the main file. dropped: by step key. undecided: by status, wherever they went.
    set_aside: undecided samples in the dropped file.
    """

    shard: str
    samples: int
    kept: int
    set_aside: int
    dropped: dict[str, int]
    undecided: dict[str, int]


@dataclass(frozen=True)
class ExportResult:
    """What was exported, summed over the parts found.

    paths: `kept` (or `kept-00-of-02` …), `stats`, `dropped`, `manifest`; and the folder `trace`, if asked for.
    missing_shards: not materialized yet. stale_shards: materialized under other bounds or export options. Neither is
    in the files. recorded_manifest: the manifest's copy among the parts, which stays when the user moves the files.
    """

    paths: dict[str, Path]
    samples: int
    kept: int
    set_aside: int
    dropped: dict[str, int]
    undecided: dict[str, int]
    recorded_manifest: Path
    missing_shards: tuple[str, ...] = ()
    stale_shards: tuple[str, ...] = ()


def output_paths(recipe: Recipe) -> dict[str, Path]:
    """Files of an export that is not cut by size. Raises `RecipeError` where one would replace the dataset."""
    main = recipe.export_path
    paths = {
        "kept": main,
        "stats": main.with_name(f"{main.stem}_stats.jsonl"),
        "dropped": main.with_name(f"{main.stem}_dropped.jsonl"),
        "manifest": main.with_name(f"{main.stem}_manifest.json"),
    }
    # A trace is good input for another run, but not for one that would replace it while it reads.
    if recipe.dataset_path in paths.values() or trace_folder(recipe) in (
        recipe.dataset_path,
        *recipe.dataset_path.parents,
    ):
        error = RecipeError(
            f"export_path {str(main)!r} would overwrite the dataset {str(recipe.dataset_path)!r}",
            allowed="a path of its own",
            try_="another folder, such as outputs/",
            option="export_path",
        )
        raise recipe.located(error)
    return paths


# --- parts


def write_part(
    plan: Plan,
    shard_key: str,
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    tables: Mapping[str, Sequence[Row]],
    folder: Path,
    *,
    schema_of: Callable[[Path, str], Any] = manifest_schema,
    version: str = "",
) -> PartSummary:
    """Render one shard into `folder/<shard_key>.part`, atomically: a kill leaves the old part or the new one.

    verdicts: one per sample, in the same order. tables: rows by step key. schema_of: (dataset path, drop) → Arrow
    schema of a Parquet drop, whose column types a Parquet export keeps. version: of what it is rendered from, for
    `part_version`.
    Raises ValueError where these do not belong together, `StoreError` where the part cannot be written.
    """
    if [verdict.sample_id for verdict in verdicts] != [sample.sample_id for sample in samples]:
        raise ValueError(f"{shard_key}: verdicts and samples differ, expected one verdict per sample in order")
    stats = stats_by_sample(plan.filters, samples, tables)
    leaving = [leaves_export(plan, sample, verdict) for sample, verdict in zip(samples, verdicts, strict=True)]
    kept = [sample for sample, leaves in zip(samples, leaving, strict=True) if not leaves]
    is_parquet = plan.recipe.export_type == "parquet"
    schema = schema_of(plan.recipe.dataset_path, samples[0].drop if samples else "") if is_parquet else None
    sections = {
        "kept": _kept_section(plan, kept, stats, schema),
        "stats": _lines(_stats_record(sample, stats[sample.sample_id]) for sample in kept),
        "dropped": _lines(
            _dropped_record(plan, sample, verdict, stats[sample.sample_id])
            for sample, verdict, leaves in zip(samples, verdicts, leaving, strict=True)
            if leaves
        ),
    }
    summary = _summary(plan, shard_key, verdicts, leaving)
    if len(kept) + sections["dropped"].count(b"\n") != summary.samples:
        raise StoreError(f"{shard_key}: {summary.samples} samples went in, other numbers came out")
    header = {
        "plan": _plan_id(plan),
        "summary": asdict(summary),
        "input": asdict(shard_input(plan, shard_key, samples, tables, schema)),
        **({"version": version} if version else {}),
        "sections": {name: len(data) for name, data in sections.items()},
    }
    content = b"".join([json.dumps(header).encode(), b"\n", *sections.values()])

    def write(path: Path) -> None:
        path.write_bytes(content)

    with _locked(folder, ".lock"):
        write_atomically(_part_path(folder, shard_key), write)
    return summary


def _part_path(folder: Path, shard_key: str) -> Path:
    return folder / f"{file_name(shard_key, what='shard key')}.part"


def leaves_export(plan: Plan, sample: Sample, verdict: Verdict) -> bool:
    """Whether a sample goes to the dropped file. A malformed line has no record that could be kept, and where a mapper
    could make nothing there is nothing either."""
    if verdict.outcome == "undecided":
        return plan.recipe.settings.on_undecided != "keep" or sample.status != "ok"
    return verdict.outcome == "dropped"


def _summary(plan: Plan, shard_key: str, verdicts: Sequence[Verdict], leaving: Sequence[bool]) -> PartSummary:
    dropped = Counter(verdict.step for verdict in verdicts if verdict.outcome == "dropped")
    undecided = Counter(verdict.status for verdict in verdicts if verdict.outcome == "undecided")
    return PartSummary(
        shard=shard_key,
        samples=len(verdicts),
        kept=len(verdicts) - sum(leaving),
        set_aside=sum(leaving) - dropped.total(),
        dropped={step.key: dropped[step.key] for step in plan.steps},
        undecided=dict(sorted(undecided.items())),
    )


def _plan_id(plan: Plan) -> str:
    """Digest of everything that a part's content depends on besides samples and numbers."""
    recipe = plan.recipe
    facts = [
        PART_FORMAT,
        plan.bounds_id,
        [[step.key, step.stat_names, step.video_key] for step in plan.steps],
        [recipe.export_type, recipe.keep_stats_in_res_ds, recipe.keep_hashes_in_res_ds],
        recipe.settings.export_paths,
    ]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()


# --- records


def stats_by_sample(
    steps: Iterable[Step], samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]]
) -> dict[str, Stats]:
    """{sample id: what these steps put under `__dj__stats__`}. tables: rows by step key.

    Raises ValueError where a row is missing.
    """
    stats: dict[str, Stats] = {sample.sample_id: {} for sample in samples}
    for step in steps:
        rows = {(r.sample_id, r.field, r.position, r.fact.stat): r.fact.value for r in tables[step.key]}
        for sample in samples:
            values = [_values(step, stat, sample, rows) for stat in step.operator.stats]
            if step.is_about_samples:
                seen = with_stats(sample.record, stats[sample.sample_id])
                values = exported(step, seen, [value for [value] in values])
            stats[sample.sample_id] |= zip(step.stat_names, values, strict=True)
    return stats


def _values(step: Step, stat: Stat, sample: Sample, rows: Mapping[Any, float | None]) -> list[Any]:
    """A number per subject of the step, in order; of samples themselves as stored, for `records.exported`."""
    keys = [(sample.sample_id, subject.field, subject.position, stat.name) for subject in step.subjects(sample)]
    if missing := [key for key in keys if key not in rows]:
        raise ValueError(f"{step.key}: no row for {missing[0]}, expected one per subject and stat")
    return [rows[key] if step.is_about_samples else stat.plain(rows[key]) for key in keys]


def _record(plan: Plan, sample: Sample) -> dict[str, Any]:
    """The user's record. Only the paths in its video fields change, and those only where asked."""
    record = dict(sample.record)
    if plan.recipe.settings.export_paths == "as_given":
        return record
    for name in {video.field for video in sample.videos}:
        paths = [video.path for video in sample.videos if video.field == name]
        given = [record[name]] if isinstance(record[name], str) else record[name]
        paths = [path or original for path, original in zip(paths, given, strict=True)]
        record[name] = paths[0] if isinstance(record[name], str) else paths
    return record


def _main_record(plan: Plan, sample: Sample, stats: Stats) -> dict[str, Any]:
    record = _with_stats(_record(plan, sample), stats)
    for name in _removed_fields(plan):
        record.pop(name, None)
    return record


def _removed_fields(plan: Plan) -> tuple[str, ...]:
    """Fields that upstream takes out of the main file."""
    stats = () if plan.recipe.keep_stats_in_res_ds else (STATS_FIELD, META_FIELD)
    return (*stats, *(() if plan.recipe.keep_hashes_in_res_ds else HASH_FIELDS))


def _with_stats(record: dict[str, Any], stats: Stats) -> dict[str, Any]:
    """The record with its stats; those that it came with stay, unless they were measured anew."""
    earlier = record.get(STATS_FIELD)
    merged = {**(earlier if isinstance(earlier, dict) else {}), **stats}
    return {**record, STATS_FIELD: merged} if merged or STATS_FIELD in record else record


def _stats_record(sample: Sample, stats: Stats) -> dict[str, Any]:
    record = {STATS_FIELD: {}, **_with_stats(sample.record, stats)}
    return {name: record[name] for name in (STATS_FIELD, META_FIELD) if name in record}


def _dropped_record(plan: Plan, sample: Sample, verdict: Verdict, stats: Stats) -> dict[str, Any]:
    record = _with_stats(_record(plan, sample), stats if sample.status == "ok" else {})
    record[VERDICT_FIELD] = _verdict_record(plan, verdict)
    if sample.status == "malformed":
        record[RAW_FIELD] = sample.raw
    return record


def _verdict_record(plan: Plan, verdict: Verdict) -> dict[str, Any]:
    stats = {(step.key, stat.name): stat for step in plan.steps for stat in step.operator.stats}
    values = [stats[verdict.step, verdict.stat].plain(value) for value in verdict.values]
    record = {**asdict(verdict), "values": values}
    if not verdict.in_favour_of:
        del record["in_favour_of"]
    return record


def _lines(records: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(to_json(record).encode() + b"\n" for record in records)


def _kept_section(plan: Plan, kept: Sequence[Sample], stats: Mapping[str, Stats], schema: Any) -> bytes:
    records = [_main_record(plan, sample, stats[sample.sample_id]) for sample in kept]
    if plan.recipe.export_type != "parquet":
        return _lines(records)
    return arrow_records.dumps(
        records,
        schema=schema,
        without=_removed_fields(plan),
        stats=(STATS_FIELD, _stat_kinds(plan)),
    )


def _stat_kinds(plan: Plan) -> dict[str, arrow_records.StatKind]:
    """By export name, what a stat holds; without those that are a field of the record, whatever that holds."""
    return {
        name: _kind(stat, of_videos=not step.is_about_samples)
        for step in plan.filters
        if step.operator.shown is None
        for name, stat in zip(step.stat_names, step.operator.stats, strict=True)
    }


def _kind(stat: Stat, *, of_videos: bool) -> arrow_records.StatKind:
    if stat.is_flag:
        return "flags" if of_videos else "flag"
    if stat.is_integer:
        return "wholes" if of_videos else "whole"
    return "numbers" if of_videos else "number"


# --- merging


@dataclass(frozen=True)
class _Part:
    """A part's header. sections: name -> (offset, size) in bytes."""

    path: Path
    summary: PartSummary
    input: ShardInput
    sections: dict[str, tuple[int, int]]

    def lines(self, section: str) -> Iterator[bytes]:
        offset, size = self.sections[section]
        with self.path.open("rb") as file:
            file.seek(offset)
            while size > 0 and (line := file.readline(size)):
                size -= len(line)
                yield line

    def table(self) -> Any:
        offset, size = self.sections["kept"]
        with self.path.open("rb") as file:
            file.seek(offset)
            return arrow_records.loads(file.read(size))

    def schema(self) -> Any:
        with self.path.open("rb") as file:
            file.seek(self.sections["kept"][0])
            return arrow_records.read_schema(file)


def merge_parts(plan: Plan, shard_keys: Sequence[str], folder: Path, *, software: str = "") -> ExportResult:
    """Stream the parts in `folder`, in the order of `shard_keys`, into the export's files, each replaced whole.

    A shard without a part, or with one of other bounds or options, is left out and named in the result.
    software: names and versions, for the manifest, which is written last.
    Raises `StoreError` where no part is there at all (an earlier export is then left alone), where a part is
    damaged, or where a file cannot be written.
    """
    recipe, plan_id = plan.recipe, _plan_id(plan)
    paths = output_paths(recipe)
    with _locked(recipe.export_path.parent), _locked(folder, ".lock"):
        read = {key: _read_part(_part_path(folder, key), plan_id) for key in dict.fromkeys(shard_keys)}
        parts = [found for found in read.values() if isinstance(found, _Part)]
        if read and not parts:
            raise _nothing_to_export(recipe, len(read))
        _remove_leftovers(recipe)
        main_files = _main_files(recipe, parts)
        counts = _replace_main(recipe, main_files, parts)
        for name in ("stats", "dropped"):
            counts[name] = _replace_lines(paths[name], (line for found in parts for line in found.lines(name)))
        _remove_stale(recipe, {file.path for file in main_files})
        total = _total([found.summary for found in parts])
        _refuse_loss(total, counts, recipe, folder)
        written = {**{file.name: file.path for file in main_files}, **{n: paths[n] for n in ("stats", "dropped")}}
        traces = write_traces(plan, [_dropped_lines(found) for found in parts])
        missing = tuple(key for key, found in read.items() if found is None)
        stale = tuple(key for key, found in read.items() if found is STALE)
        manifest = ExportManifest(
            export_path=str(recipe.export_path),
            recipe=recipe_record(recipe),
            steps=tuple(step_record(step) for step in plan.steps),
            dataset_path=str(recipe.dataset_path),
            shards=tuple(found.input for found in parts),
            missing_shards=missing,
            stale_shards=stale,
            counts={name: count for name, count in asdict(total).items() if name != "shard"},
            files=tuple(exported_file(name, path, counts[name]) for name, path in written.items()),
            software=software,
        )
        recorded = _manifest_record(folder, recipe)
        for path in (paths["manifest"], recorded):
            manifest.write(path)
    return ExportResult(
        paths={**written, "manifest": paths["manifest"], **({"trace": traces} if traces else {})},
        samples=total.samples,
        kept=total.kept,
        set_aside=total.set_aside,
        dropped=total.dropped,
        undecided=total.undecided,
        recorded_manifest=recorded,
        missing_shards=missing,
        stale_shards=stale,
    )


def _dropped_lines(found: _Part) -> DroppedLines:
    def read() -> Iterator[tuple[str, bytes]]:
        for line in found.lines("dropped"):
            verdict = json.loads(line)[VERDICT_FIELD]
            if verdict["outcome"] == "dropped":
                yield verdict["step"], line

    return DroppedLines(found.summary.dropped, read)


def _refuse_loss(total: PartSummary, counts: Mapping[str, int], recipe: Recipe, folder: Path) -> None:
    """Raise `StoreError` where what was written is not what went in."""
    kept = sum(count for name, count in counts.items() if name not in ("stats", "dropped"))
    if (kept, counts["stats"], counts["dropped"]) != (total.kept, total.kept, total.samples - total.kept):
        raise StoreError(
            f"{total.samples} samples went into {recipe.export_path}, {kept} + {counts['dropped']} came out",
            allowed="every sample once, in the main file or in the dropped file",
            try_=f"remove {folder} and materialize the export again",
        )


def _manifest_record(folder: Path, recipe: Recipe) -> Path:
    """Where a recipe's export to one path is remembered: the last one only, as on the disk."""
    digest = hashlib.blake2b(str(recipe.export_path).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return folder / f"{digest}.manifest.json"


def _nothing_to_export(recipe: Recipe, num_shards: int) -> StoreError:
    return StoreError(
        f"nothing to export to {str(recipe.export_path)!r}: none of {num_shards} shards has a part of this recipe",
        allowed="one materialized shard at least",
        try_="materialize the recipe's shards first",
    )


STALE: Literal["stale"] = "stale"


def _read_part(path: Path, plan_id: str) -> _Part | Literal["stale"] | None:
    """A part's header; `STALE` where another plan's, None where there is no part.

    Raises `StoreError` where it is damaged.
    """
    try:
        with path.open("rb") as file:
            line = file.readline()
            num_bytes = os.fstat(file.fileno()).st_size
        header = json.loads(line)
        if header["plan"] != plan_id:
            return STALE
        summary = PartSummary(**header["summary"])
        origin = load_shard_input(header["input"])
        offset, sections = len(line), {}
        for name, size in header["sections"].items():
            sections[name] = (offset, size)
            offset += size
        if offset != num_bytes:
            raise ValueError(f"{num_bytes} bytes, expected {offset}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"export part {str(path)!r} cannot be read: {error}",
            allowed="a part that write_part has written",
            try_="remove it and materialize the export of its shard again",
        ) from error
    return _Part(path, summary, origin, sections)


def lines_of_part(plan: Plan, shard_key: str, folder: Path) -> dict[str, int]:
    """Lines of a shard's part as they stand in the file: `kept`, and each outcome in the dropped section.

    `kept` holds undecided samples too, where the recipe keeps those. Raises `StoreError` where there is no such part.
    """
    found = _read_part(_part_path(folder, shard_key), _plan_id(plan))
    if not isinstance(found, _Part):
        raise StoreError(
            f"shard {shard_key} has no part of this export in {folder}",
            allowed="a part that write_part has written",
            try_="materialize the export of this shard",
        )
    is_parquet = plan.recipe.export_type == "parquet"
    kept = found.table().num_rows if is_parquet else sum(1 for _ in found.lines("kept"))
    left = Counter(json.loads(line)[VERDICT_FIELD]["outcome"] for line in found.lines("dropped"))
    return {"kept": kept, **left}


def part_version(plan: Plan, shard_key: str, folder: Path) -> str | None:
    """The version that a shard's part was written with; None where there is none of this export that can be read."""
    path = _part_path(folder, shard_key)
    try:
        if not isinstance(_read_part(path, _plan_id(plan)), _Part):
            return None
        with path.open("rb") as file:
            return str(json.loads(file.readline()).get("version", ""))
    except (OSError, StoreError):
        return None


def withdraw_part(shard_key: str, folder: Path) -> None:
    """Take a shard's part away, so that the next merge lacks its samples and names it as missing."""
    with _locked(folder, ".lock"):
        _part_path(folder, shard_key).unlink(missing_ok=True)


def _total(summaries: Sequence[PartSummary]) -> PartSummary:
    dropped: Counter[str] = Counter()
    undecided: Counter[str] = Counter()
    for summary in summaries:
        dropped.update(summary.dropped)
        undecided.update(summary.undecided)
    return PartSummary(
        shard="",
        samples=sum(summary.samples for summary in summaries),
        kept=sum(summary.kept for summary in summaries),
        set_aside=sum(summary.set_aside for summary in summaries),
        dropped=dict(dropped),
        undecided=dict(sorted(undecided.items())),
    )


@dataclass(frozen=True)
class _MainFile:
    """One file of kept samples: those from `begin` to `end`, counted over all parts."""

    name: str
    path: Path
    begin: int
    end: int


def _main_files(recipe: Recipe, parts: Sequence[_Part]) -> list[_MainFile]:
    """One file; or, with `export_shard_size`, as many and as named as upstream would write: equal numbers of
    samples, the first ones taking what is left over."""
    num_rows = sum(found.summary.kept for found in parts)
    if recipe.export_shard_size <= 0:
        return [_MainFile("kept", recipe.export_path, 0, num_rows)]
    num_bytes = sum(found.sections["kept"][1] for found in parts)
    count = max(min(num_bytes // recipe.export_shard_size + 1, num_rows), 1)
    digits = len(str(count)) + 1
    share, left_over = divmod(num_rows, count)
    files = []
    for index in range(count):
        begin = index * share + min(index, left_over)
        end = begin + share + (index < left_over)
        number = f"{index:0{digits}d}-of-{count:0{digits}d}"
        # The whole stem; upstream cuts it at its first dot, and v1.2.jsonl would overwrite v1.3.jsonl.
        path = recipe.export_path.with_name(f"{recipe.export_path.stem}-{number}.{recipe.export_type}")
        files.append(_MainFile(f"kept-{number}", path, begin, end))
    return files


def _replace_main(recipe: Recipe, files: Sequence[_MainFile], parts: Sequence[_Part]) -> dict[str, int]:
    """Write the main files. Returns the number of samples in each, by its name."""
    is_parquet = recipe.export_type == "parquet"
    schema = arrow_records.unify(found.schema() for found in parts) if is_parquet else None
    counts = {}
    for file in files:
        pieces = list(_pieces(parts, file.begin, file.end))
        if is_parquet:
            counts[file.name] = _replace_parquet(file.path, pieces, schema)
        else:
            lines = (line for found, begin, end in pieces for line in islice(found.lines("kept"), begin, end))
            counts[file.name] = _replace_lines(file.path, lines, is_array=recipe.export_type == "json")
    return counts


def _pieces(parts: Sequence[_Part], begin: int, end: int) -> Iterator[tuple[_Part, int, int]]:
    """The parts that hold kept samples `begin` to `end`, each with its own first and last of them."""
    first = 0
    for found in parts:
        last = first + found.summary.kept
        if first < end and begin < last:
            yield found, max(begin - first, 0), min(end, last) - first
        first = last


def _replace_lines(path: Path, lines: Iterable[bytes], *, is_array: bool = False) -> int:
    """Write lines, as they are or as one JSON array. Returns how many."""
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        with temporary.open("wb") as file:
            for line in lines:
                file.write(line if not is_array else (b",\n" if count else b"[\n") + line.rstrip(b"\n"))
                count += 1
            if is_array:
                file.write(b"\n]\n" if count else b"[]\n")

    write_atomically(path, write)
    return count


def _replace_parquet(path: Path, pieces: Iterable[tuple[_Part, int, int]], schema: Any) -> int:
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        tables = (found.table().slice(begin, end - begin) for found, begin, end in pieces)
        count = arrow_records.write_parquet(temporary, tables, schema)

    write_atomically(path, write)
    return count


def _remove_stale(recipe: Recipe, written: Collection[Path]) -> None:
    """Remove main files of an earlier export that was cut differently, lest a reader of `res*` take both."""
    for path in recipe.export_path.parent.iterdir():
        is_ours = path == recipe.export_path or _is_numbered(recipe, path.name)
        if is_ours and path not in written and path.is_file():
            path.unlink()


def _is_numbered(recipe: Recipe, name: str) -> bool:
    """Whether `_main_files` may have given a name: `res-003-of-012.jsonl`, but not `res-03-of-12.jsonl`."""
    stem, suffix = re.escape(recipe.export_path.stem), re.escape(recipe.export_type)
    match = re.fullmatch(rf"{stem}-([0-9]+)-of-([0-9]+)\.{suffix}", name)
    if match is None:
        return False
    index, count = match.groups()
    return len(index) == len(count) == len(str(int(count))) + 1 and int(index) < int(count)


def _remove_leftovers(recipe: Recipe) -> None:
    """Remove temporary files of merges that were killed. Under the folder's lock nobody is writing one."""
    names = {path.name for path in output_paths(recipe).values()}
    for path in recipe.export_path.parent.glob(".*.tmp"):
        match = re.fullmatch(r"\.(.+)\.[0-9a-f]{32}\.tmp", path.name)
        if match and (match[1] in names or _is_numbered(recipe, match[1])):
            path.unlink()


@contextmanager
def _locked(folder: Path, name: str = "") -> Iterator[None]:
    """Hold the lock of a folder, or of a lock file in it, against other processes. Raises `StoreError`."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT if name else os.O_RDONLY
            descriptor = os.open(folder / name, flags, 0o666)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise StoreError(
                f"cannot write into {str(folder)!r}: {error}",
                allowed="a folder that this user may write to, on a file system that has locks",
                try_="another export_path, or mend the folder's rights",
            ) from error
        yield
