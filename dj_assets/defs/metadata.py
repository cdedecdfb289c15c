"""What assets say about themselves in the UI: descriptions, columns, and the figures of each materialization.

Every figure is a number under a name that does not change, so that Dagster plots it over the shards.
"""

from __future__ import annotations

import base64
import math
import statistics
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml

from dj_assets import operators
from dj_assets.decide import Summary
from dj_assets.errors import STATUSES
from dj_assets.operators._contract import Operator
from dj_assets.operators._mapper import Mapper
from dj_assets.plan import MapperStep, Plan, Step
from dj_assets.recipe import Recipe, StepSource
from dj_assets.samples import PRODUCED_FOLDER, Sample
from dj_assets.store.rows import Row, Verdict
from dj_assets.store.schemas import SQL_TYPES, Table

if TYPE_CHECKING:
    from dj_assets.analysis import Analysis
    from dj_assets.analysis_report import Written
    from dj_assets.evidence import Drawn
    from dj_assets.export import ExportResult, PartSummary
    from dj_assets.measure import PassResult
    from dj_assets.produce import ProduceResult

SHOWN_UNDECIDED = 10
WHY_NOT = tuple(status for status in STATUSES if status != "ok")

Metadata = dict[str, Any]


def column_schema(table: Table) -> dg.TableSchema:
    """A record file's columns as the UI shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(column.name, SQL_TYPES[column.kind], description=column.doc) for column in table.columns
        ]
    )


def source_of(plan: Plan, step: Step | MapperStep) -> StepSource:
    """The step as the recipe spells it."""
    return next(source for source in plan.recipe.steps if source.number == step.number)


def recipe_metadata(recipe: Recipe, *, line: int | None = None, operator: Operator | Mapper | None = None) -> Metadata:
    """Where an asset comes from: the recipe file, the line in it that a click opens, and the operator's module."""
    file = Path(recipe.file).absolute()
    found: Metadata = {"recipe": dg.MetadataValue.path(str(file)), "recipe_sha256": recipe.sha256}
    places = [(file, line, f"recipe {recipe.name}")] if file.is_file() else []
    if operator is not None and (module := _module_of(operator)) is not None:
        places.append((module, None, f"operator {operator.name}"))
    if places:
        found["dagster/code_references"] = _code_references(places)
    return found


def _module_of(operator: Operator | Mapper) -> Path | None:
    module = sys.modules.get(operators.locations().get(operator.name, ""))
    return Path(module.__file__) if module is not None and module.__file__ else None


def _code_references(places: Iterable[tuple[Path, int | None, str]]) -> dg.CodeReferencesMetadataValue:
    with warnings.catch_warnings():
        # Dagster calls these two classes beta and says so once per asset; the pin on its version covers it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=label)
                for file, line, label in places
            ]
        )


def stats_lineage(samples: dg.AssetKey, step: Step) -> dg.TableColumnLineage:
    """Which columns of `samples` the columns of a step's table follow from."""
    videos = [dg.TableColumnDep(samples, "record" if step.is_about_samples else "videos")]
    measured = ("content_hash", "value", "window_values", "window_details", "status", "reason")
    return dg.TableColumnLineage(
        {
            "sample_id": [dg.TableColumnDep(samples, "sample_id")],
            **dict.fromkeys(("field", "position", "path", *measured), videos),
        }
    )


def verdicts_lineage(samples: dg.AssetKey, stats: Sequence[dg.AssetKey]) -> dg.TableColumnLineage:
    """Which columns of `samples` and of the stats tables the columns of `filtered` follow from."""
    numbers = [dg.TableColumnDep(asset, "value") for asset in stats]
    reasons = [dg.TableColumnDep(asset, "reason") for asset in (samples, *stats)]
    statuses = [dg.TableColumnDep(asset, "status") for asset in (samples, *stats)]
    return dg.TableColumnLineage(
        {
            "sample_id": [dg.TableColumnDep(samples, "sample_id")],
            **{name: [*numbers, *statuses] for name in ("outcome", "step", "stat")},
            "values": numbers,
            "status": statuses,
            "reason": reasons,
        }
    )


def step_description(plan: Plan, step: Step) -> str:
    """The operator's summary, and the step as the recipe spells it."""
    source = source_of(plan, step)
    given = yaml.safe_dump([{source.operator: dict(source.options) or None}], allow_unicode=True, sort_keys=False)
    return f"{step.operator.summary}\n\n```yaml\n{given}```\n\nKeeps: {step.keeps}."


def mapper_description(plan: Plan, step: MapperStep) -> str:
    """What the mapper does, and the step as the recipe spells it."""
    source = source_of(plan, step)
    given = yaml.safe_dump([{source.operator: dict(source.options) or None}], allow_unicode=True, sort_keys=False)
    return (
        f"Samples made of those that the stage before keeps: {step.mapper.summary}\n\n```yaml\n{given}```\n\n"
        f"{_whither(step)}, and nothing is made twice."
    )


def _whither(step: MapperStep) -> str:
    """Where products go, in Markdown, in which a name between underscores would be bold."""
    if step.mapper.role == "words":
        return "Words go into the text"
    if step.folder:
        return f"Files go to `{str(step.folder).replace('`', '')}`"
    return f"Files go to `{PRODUCED_FOLDER}/{step.mapper.name}` beside each video"


def produced_figures(step: MapperStep, kept: Sequence[Sample], result: ProduceResult) -> Metadata:
    """Figures of what a mapper made: how much went in, what came out, what was made and what was there."""
    lost = [(one.sample_id, one.status, one.reason) for one in result.samples if one.status != "ok"]
    made = [made for sample in result.samples for made in sample.made]
    return {
        "dagster/partition_row_count": len(result.samples),
        "rows": len(result.samples),
        "kept_before": len(kept),
        "samples_undecided": len(lost),
        "videos_made": result.made,
        "videos_reused": result.reused,
        "videos_failed": result.failed,
        "products": len(made),
        "files_made": len(result.files),
        "files_changed": len(result.changed),
        "seconds_of_products": round(math.fsum(one.end_seconds - one.begin_seconds for one in made), 3),
        "seconds": round(result.seconds, 3),
        "peak_worker_mb": round(result.peak_worker_mb),
        "measure_id": step.measure_id,
        "first_undecided": _reasons(lost),
    }


def filtered_description(plan: Plan) -> str:
    """The bounds of all steps, in recipe order."""
    lines = [f"{step.number}. `{step.key}`: {step.keeps}" for step in plan.steps]
    return "\n".join(
        [
            "One verdict per sample, *kept*, *dropped* by a named step or *undecided* for a stated reason, "
            "from numbers that are already there. Decodes nothing.",
            "",
            *lines,
        ]
    )


def samples_figures(samples: Sequence[Sample], *, seconds: float) -> Metadata:
    """Figures of a `samples` table: samples, videos, bytes, and what cannot be measured by anybody."""
    videos = [video for sample in samples for video in sample.videos]
    counts: Counter[str] = Counter(video.status for video in videos)
    lost = [(sample.sample_id, sample.status, sample.reason) for sample in samples if sample.status != "ok"] + [
        (sample.sample_id, video.status, video.reason)
        for sample in samples
        for video in sample.videos
        if video.status != "ok"
    ]
    return {
        "dagster/partition_row_count": len(samples),
        "rows": len(samples),
        "videos": len(videos),
        "distinct_videos": len({video.content_hash for video in videos if video.content_hash}),
        "megabytes": round(sum(video.num_bytes for video in videos) / 1e6, 3),
        "malformed_samples": sum(sample.status == "malformed" for sample in samples),
        **{f"videos_{status}": counts[status] for status in WHY_NOT},
        "seconds": round(seconds, 3),
        "first_unmeasurable": _reasons(lost),
    }


def stats_figures(step: Step, rows: Sequence[Row], result: PassResult, *, num_videos: int) -> Metadata:
    """Figures of one stats table: how many videos were measured, found, skipped and not measurable; the numbers.

    num_videos: distinct videos that the pass measured, for all of its tables together.
    """
    by_place = {(row.sample_id, row.field, row.position): row for row in rows}.values()
    counts: Counter[str] = Counter(row.fact.status for row in by_place)
    lost = [
        (row.sample_id, row.fact.status, row.fact.reason)
        for row in by_place
        if row.fact.status not in ("ok", "skipped")
    ]
    fresh = {row.fact.content_hash: row.fact for row in by_place if not row.reused}
    return {
        "dagster/partition_row_count": len(rows),
        "rows": len(rows),
        "videos": len(by_place),
        "videos_ok": counts["ok"],
        **{f"videos_{status}": counts[status] for status in WHY_NOT},
        "videos_measured": sum(bool(fact.measured_at) for fact in fresh.values()),
        "videos_reused": sum(row.reused for row in by_place),
        **_number_figures(step, rows),
        **_cost_figures(fact.cost_seconds for fact in fresh.values() if fact.measured_at),
        **pass_figures(result, num_videos=num_videos),
        "measure_id": step.measure_id,
        "first_undecided": _reasons(lost),
    }


def _cost_figures(costs: Iterable[float]) -> Metadata:
    """Worker seconds of this operator, in all and per video that was measured."""
    seconds = list(costs)
    total = math.fsum(seconds)
    per_video = {"cost_seconds_per_video": round(total / len(seconds), 4)} if seconds else {}
    return {"cost_seconds": round(total, 3), **per_video}


QUANTILES = {"p05": 5, "p25": 25, "p75": 75, "p95": 95}
"""Beside minimum, median, mean and maximum; in hundredths."""


def histograms(step: Step, rows: Sequence[Row]) -> Metadata:
    """A picture per stat that has a number: how its numbers are spread, and where the bounds lie."""
    from dj_assets.spread import histogram_svg

    figures: Metadata = {}
    for stat in step.operator.stats:
        found = [row.fact.value for row in rows if row.fact.stat == stat.name]
        values = [value for value in found if value is not None]
        if values:
            svg = histogram_svg(
                values,
                stat=stat.name,
                unit=stat.unit,
                ranges=[range_ for range_ in step.ranges if range_.stat == stat.name],
                num_missing=len(found) - len(values),
                counted="samples" if step.is_about_samples else "videos",
            )
            encoded = base64.b64encode(svg.encode()).decode()
            image = f"![{stat.name}](data:image/svg+xml;base64,{encoded})"
            figures[f"{stat.name}_histogram"] = dg.MetadataValue.md(image)
    return figures


def _number_figures(step: Step, rows: Sequence[Row]) -> Metadata:
    figures: Metadata = {}
    for stat in step.operator.stats:
        found = [row.fact.value for row in rows if row.fact.stat == stat.name]
        values = [value for value in found if value is not None]
        if values:
            figures[f"{stat.name}_min"] = min(values)
            figures[f"{stat.name}_median"] = statistics.median(values)
            figures[f"{stat.name}_mean"] = statistics.fmean(values)
            figures[f"{stat.name}_max"] = max(values)
        if len(values) > 1:
            cuts = statistics.quantiles(values, n=100, method="inclusive")
            figures |= {f"{stat.name}_{name}": cuts[percent - 1] for name, percent in QUANTILES.items()}
    return figures


def pass_figures(result: PassResult, *, num_videos: int) -> Metadata:
    """Figures that the tables of one pass share, since one decode served them all."""
    per_minute = 60 * num_videos / result.seconds if result.seconds > 0 else 0.0
    return {
        "seconds": round(result.seconds, 3),
        "pass_videos": num_videos,
        "pass_decoded": result.decoded,
        "pass_frames": result.frames,
        "videos_per_minute": round(per_minute, 1),
        "peak_worker_mb": round(result.peak_worker_mb),
    }


def verdict_figures(plan: Plan, verdicts: Sequence[Verdict], summary: Summary, *, seconds: float) -> Metadata:
    """Figures of a `filtered` table: kept, dropped by step, undecided by reason; and the same as a table to read."""
    undecided = [(v.sample_id, v.status, v.reason) for v in verdicts if v.outcome == "undecided"]
    return {
        "dagster/partition_row_count": len(verdicts),
        "rows": len(verdicts),
        "kept": summary.kept,
        "kept_share": round(summary.kept / summary.samples, 4) if summary.samples else 0.0,
        "dropped": sum(summary.dropped.values()),
        **{f"dropped_by_{step.key}": summary.dropped.get(step.key, 0) for step in plan.steps},
        "undecided": sum(summary.undecided.values()),
        **{f"undecided_{status}": summary.undecided.get(status, 0) for status in WHY_NOT},
        "seconds": round(seconds, 3),
        "verdicts": dg.MetadataValue.md(verdict_table(plan, summary)),
        "first_undecided": _reasons(undecided),
    }


def export_figures(part: PartSummary, merged: ExportResult, *, seconds: float) -> Metadata:
    """Figures of an export: what this shard added, what the files hold now, and which shards they lack."""
    return {
        "dagster/partition_row_count": part.samples,
        "rows": part.samples,
        "kept": part.kept,
        "dropped": sum(part.dropped.values()),
        "set_aside": part.set_aside,
        "files_samples": merged.samples,
        "files_kept": merged.kept,
        "files_dropped": sum(merged.dropped.values()),
        "files_set_aside": merged.set_aside,
        "shards_missing": len(merged.missing_shards),
        "shards_stale": len(merged.stale_shards),
        "seconds": round(seconds, 3),
        **path_figures(merged.paths),
    }


MAX_PREVIEW_BYTES = 250_000
"""A picture in metadata is stored twice and sent with every poll of the asset's page."""


def evidence_figures(drawn: Sequence[Drawn], sheet: Drawn | None, folder: Path, *, seconds: float) -> Metadata:
    """Figures of drawn evidence. Shown as pictures: the contact sheet, and the first sheet of each outcome where it is
    small enough. sheet: the contact sheet, where one is wanted."""
    paths = [one.path for one in drawn if one.path is not None and one.path.suffix == ".jpg"]
    figures: Metadata = {
        "sheets": len(paths),
        "not_drawn": sum(one.path is None for one in (*drawn, *([sheet] if sheet else []))),
        "seconds": round(seconds, 3),
        "folder": dg.MetadataValue.path(str(folder)),
    }
    shown = {"contact_sheet": sheet.path if sheet else None}
    shown |= {outcome: next((p for p in paths if p.parent.name == outcome), None) for outcome in ("kept", "dropped")}
    for name, path in shown.items():
        if path is not None and path.stat().st_size <= MAX_PREVIEW_BYTES:
            encoded = base64.b64encode(path.read_bytes()).decode()
            figures[name] = dg.MetadataValue.md(f"![{path.stem}](data:image/jpeg;base64,{encoded})")
    return figures


def analysis_figures(analysis: Analysis, written: Written, table: str, *, seconds: float) -> Metadata:
    """Figures of an analysis, the overall table, and its pictures where they are small enough.

    table: Markdown of the overall table.
    """
    figures: Metadata = {
        "samples": analysis.samples,
        "videos": analysis.videos,
        "malformed_samples": analysis.malformed,
        "unmeasurable_samples": analysis.unmeasurable,
        "shards": len(analysis.shards),
        "shards_missing": len(analysis.missing_shards),
        "overall": dg.MetadataValue.md(table),
    }
    for stat in analysis.stats:
        numbers = {"mean": stat.mean, "median": stat.quantiles.get(0.5)}
        figures |= {f"{stat.name}_{name}": number for name, number in numbers.items() if number is not None}
        figures |= {
            f"{stat.name}_measured": stat.measured,
            f"{stat.name}_undecided": stat.undecided,
            f"{stat.name}_skipped": stat.skipped,
            f"{stat.name}_not_measured": stat.not_measured,
        }
    for cost in analysis.costs:
        if cost.seconds_per_video_minute is not None:
            figures[f"{cost.step}_seconds_per_video_minute"] = cost.seconds_per_video_minute
        if cost.spared_seconds is not None:
            figures[f"{cost.step}_seconds_spared"] = cost.spared_seconds
    for name, png in written.pictures.items():
        if len(png) <= MAX_PREVIEW_BYTES:
            encoded = base64.b64encode(png).decode()
            title = name.removesuffix(".png")
            figures[title.replace("-", "_")] = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{encoded})")
    return {
        **figures,
        "seconds": round(seconds, 3),
        **path_figures({"page": written.page, "folder": written.folder}),
    }


def verdict_table(plan: Plan, summary: Summary) -> str:
    """Markdown: one line per outcome and cause, the causes that never happened left out."""
    lines = ["| outcome | because of | samples |", "|---|---|---:|", f"| kept | | {summary.kept} |"]
    for step in plan.steps:
        if summary.dropped.get(step.key):
            lines.append(f"| dropped | {step.key}: {_cell(step.keeps)} | {summary.dropped[step.key]} |")
    for status, count in summary.undecided.items():
        if count:
            lines.append(f"| undecided | {status} | {count} |")
    return "\n".join(lines)


def _reasons(lost: Iterable[tuple[str, str, str]]) -> dg.MarkdownMetadataValue:
    found = list(lost)
    lines = [f"- `{sample_id}` {status}: {_cell(reason)}" for sample_id, status, reason in found[:SHOWN_UNDECIDED]]
    if len(found) > SHOWN_UNDECIDED:
        lines.append(f"- … and {len(found) - SHOWN_UNDECIDED} more")
    return dg.MetadataValue.md("\n".join(lines) or "none")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def path_figures(paths: Mapping[str, Path]) -> Metadata:
    """Paths of written files, one entry each."""
    return {f"path_{name}": dg.MetadataValue.path(str(path)) for name, path in paths.items()}
