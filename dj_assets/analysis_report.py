"""An analysis → a folder of files: the tables and pictures of dj-analyze, and one page that opens offline.

<export stem>_analysis/
    index.html                  everything, pictures and all
    overall.csv, overall.md     a column per stat, a line per figure, as dj-analyze has them
    <stat>-hist.png, <stat>-box.png, stats-corr-pearson.png, stats-corr-spearman.png
    <export stem>_stats.jsonl   a line per sample: every number, and the reason for each that is not there
    analysis.json               the same figures for programs, and the names of these files
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dj_assets.analysis import UNASKED, WITHOUT, Analysis, StatSummary, told_apart
from dj_assets.columns import OK, STATUS_NAMES, Columns
from dj_assets.plan import Plan, Step
from dj_assets.plots import box, heat_map, histogram
from dj_assets.recipe import Recipe
from dj_assets.report import picture_uri, render
from dj_assets.samples import STATS_FIELD, to_json
from dj_assets.store.files import part as file_name
from dj_assets.store.files import write_atomically
from dj_assets.store.schemas import restored

STATUS_FIELD = "__dj__status__"
RECORD = "analysis.json"
SHOWN_MISSING_SHARDS = 5
NONE = "-"
LINES_AT_ONCE = 10_000

MEANINGS: Mapping[str, str] = {
    "missing": "no file at the path",
    "unreadable": "not a video that can be decoded: empty, cut short, no media",
    "no_video_stream": "media without moving pictures",
    "too_short": "fewer frames than the operator needs",
    "too_large": "picture, file or memory above the recipe's limits",
    "timed_out": "the time for one video ran out; asked again by the next run",
    "crashed": "the worker process died; asked again by the next run",
    "refused": "not opened: outside the roots, a URL, a playlist, no regular file",
    "malformed": "the manifest line is no sample",
    "no_value": "the record lacks the field, or has it in another type than the step needs",
    "skipped": "not measured on purpose: an earlier pass drops the sample (short_circuit)",
    "not_measured": "nobody has asked yet, so nothing is known",
}
"""Status → what it says of a video."""


@dataclass(frozen=True)
class About:
    """Where an analysis comes from. made_at: UTC, ISO 8601."""

    made_at: str
    software: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Written:
    """paths: file name → path. pictures: file name → PNG."""

    folder: Path
    paths: Mapping[str, Path]
    pictures: Mapping[str, bytes]

    @property
    def page(self) -> Path:
        return self.paths["index.html"]


def analysis_folder(recipe: Recipe) -> Path:
    """Where a recipe's analysis goes: `<export>_analysis` beside the export."""
    return recipe.export_path.with_name(f"{recipe.export_path.stem}_analysis")


def write_analysis(analysis: Analysis, columns: Columns, folder: Path, about: About) -> Written:
    """Write every file, each replaced whole, the page last. Pictures of stats that the recipe had before go.

    Raises `StoreError` where the disk refuses.
    """
    plan = columns.plan
    pictures = dict(_pictures(analysis, columns))
    texts = {
        "overall.csv": overall_csv(analysis),
        "overall.md": overall_markdown(analysis) + "\n",
        "index.html": page(analysis, plan, pictures, about),
    }
    stats_name = f"{plan.recipe.export_path.stem}_stats.jsonl"
    names = ["overall.csv", "overall.md", *pictures, stats_name, RECORD, "index.html"]
    paths = {name: folder / name for name in names}
    before = _pictures_before(folder)
    for name, data in pictures.items():
        _write(paths[name], data)
    write_atomically(paths[stats_name], lambda path: _write_lines(path, stats_lines(columns)))
    for name in ("overall.csv", "overall.md"):
        _write(paths[name], _encoded(texts[name]))
    _write(paths[RECORD], _encoded(record(analysis, plan, names, about)))
    _write(paths["index.html"], _encoded(texts["index.html"]))
    for name in before.difference(names):
        (folder / name).unlink(missing_ok=True)
    return Written(folder, paths, pictures)


def _write(path: Path, data: bytes) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        while some := list(islice(lines, LINES_AT_ONCE)):
            file.writelines(some)


def _pictures_before(folder: Path) -> set[str]:
    """Pictures in a folder that an analysis put there; a user's own are none of them."""
    try:
        names = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return {name for name in names if name == Path(name).name and name.endswith(".png")}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


# --- tables


Rows = list[tuple[str, list[float | int | None]]]


def quantile_name(share: float) -> str:
    """`25%`, as dj-analyze has it."""
    return f"{100 * share:.10g}%"


def overall(analysis: Analysis, *, every_reason: bool = True) -> Rows:
    """(figure, its value for each stat): those of dj-analyze first, then how many videos there are and why some have
    no number. every_reason: also those that no video has."""
    stats = analysis.stats
    shares = sorted({share for stat in stats for share in stat.quantiles})
    rows: Rows = [
        ("count", [stat.measured for stat in stats]),
        ("mean", [stat.mean for stat in stats]),
        ("std", [stat.std for stat in stats]),
        ("min", [stat.low for stat in stats]),
        *((quantile_name(share), [stat.quantiles.get(share) for stat in stats]) for share in shares),
        ("max", [stat.high for stat in stats]),
        ("videos", [stat.videos for stat in stats]),
        ("measured_share", [stat.share(stat.measured) for stat in stats]),
        ("undecided_share", [stat.share(stat.undecided) for stat in stats]),
    ]
    for status in WITHOUT:
        counts = [stat.without[status] for stat in stats]
        if every_reason or any(counts):
            rows.append((status, list(counts)))
            rows.append((f"{status}_share", [stat.share(stat.without[status]) for stat in stats]))
    return rows


def overall_csv(analysis: Analysis) -> str:
    """A line per figure, a column per stat; empty where there is none."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["", *(stat.name for stat in analysis.stats)])
    for name, values in overall(analysis):
        writer.writerow([name, *("" if value is None else repr(value) for value in values)])
    return stream.getvalue()


def overall_markdown(analysis: Analysis) -> str:
    """The same to read, without the reasons that no video has."""
    lines = [
        f"| | {' | '.join(_cell(stat.name) for stat in analysis.stats)} |",
        f"|---|{'---:|' * len(analysis.stats)}",
    ]
    for name, values in overall(analysis, every_reason=False):
        lines.append(f"| {name} | {' | '.join(shown(value) for value in values)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def shown(value: float | int | None, *, digits: int = 4) -> str:
    """A figure for people: `1 234`, `0.1235`; `-` for none. ASCII, for terminals."""
    if value is None:
        return NONE
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e9):
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.{digits}g}" if abs(value) < 1000 or abs(value) >= 1e9 else f"{value:.1f}"


def _typeset(show: Callable[[Any], str]) -> Callable[[Any], str]:
    """The same for a page: it breaks no line within a figure."""

    def typeset(value: Any) -> str:
        text = show(value)
        return "–" if text == NONE else text.replace(" ", "\u00a0")

    return typeset


def shown_share(value: float | None) -> str:
    """`12.3 %`; never 0 or 100 for what is not quite that."""
    if value is None:
        return NONE
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %".replace(".0 %", " %")


def shown_seconds(value: float | None) -> str:
    """`0.15 ms`, `12 s`, `3.4 min`, `2.1 h`."""
    if value is None:
        return NONE
    if 0 < value < 0.1:
        return f"{1000 * value:.3g} ms"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.3g} s"


def record(analysis: Analysis, plan: Plan, names: Sequence[str], about: About) -> str:
    """JSON: every figure, where it comes from, and the files."""
    return json.dumps(
        {
            "recipe": plan.recipe.name,
            "recipe_sha256": plan.recipe.sha256,
            "measures": {step.key: step.measure_id for step in plan.measured_steps},
            **asdict(about),
            "analysis": asdict(analysis),
            "files": list(names),
        },
        indent=1,
    )


def stats_lines(columns: Columns) -> Iterator[str]:
    """JSON, a line per sample in order: its id, one number per video for every stat (of a step on records one, not in a
    list), and the reason for each that is null; of a line that is no sample, that."""
    statuses = told_apart(columns)
    takers = [
        _of_samples(
            step.samples,
            columns.num_samples,
            [stat.plain(value) for value in step.values[line].tolist()],
            statuses[key][line],
        )
        for key, step in columns.steps.items()
        for line, stat in enumerate(step.step.operator.stats)
    ]
    names = [(name, step.is_about_samples) for step in columns.plan.measured_steps for name in step.stat_names]
    ids = columns.samples.column("sample_id").to_pylist()
    malformed = columns.malformed.tolist()
    for number, sample_id in enumerate(ids):
        line: dict[str, Any] = {"sample_id": restored(sample_id), STATS_FIELD: {}}
        reasons = {}
        for (name, is_about_samples), take in zip(names, takers, strict=True):
            values, codes = take(number)
            line[STATS_FIELD][name] = values[0] if is_about_samples else values
            if any(code != OK for code in codes):
                reasons[name] = [STATUS_NAMES[code] for code in codes]
        if reasons:
            line[STATUS_FIELD] = reasons
        if malformed[number]:
            line = {"sample_id": restored(sample_id), STATUS_FIELD: "malformed"}
        yield to_json(line) + "\n"


def _of_samples(
    samples: Any, num_samples: int, values: list[Any], statuses: Any
) -> Callable[[int], tuple[list[Any], list[int]]]:
    import numpy as np

    starts = np.searchsorted(samples, np.arange(num_samples + 1)).tolist()
    codes = statuses.tolist()

    def take(number: int) -> tuple[list[Any], list[int]]:
        first, end = starts[number], starts[number + 1]
        return values[first:end], codes[first:end]

    return take


# --- pictures


def _pictures(analysis: Analysis, columns: Columns) -> Iterator[tuple[str, bytes]]:
    by_name = {stat.name: stat for stat in analysis.stats}
    for step in columns.steps.values():
        for line, name in enumerate(step.step.stat_names):
            summary = by_name[name]
            for kind, draw in (("hist", histogram), ("box", box)):
                png = draw(
                    step.values[line][step.statuses[line] == OK],
                    stat=summary.stat,
                    unit=summary.unit,
                    ranges=[range_ for range_ in step.step.ranges if range_.stat == summary.stat],
                    num_missing=summary.videos - summary.measured,
                    counted="samples" if summary.is_about_samples else "videos",
                )
                yield picture_name(name, kind), png
    names = [stat.name for stat in analysis.stats]
    for kind, title in (("pearson", "Pearson"), ("spearman", "Spearman, of ranks")):
        yield f"stats-corr-{kind}.png", heat_map(names, _square(analysis, kind), title=title)


def picture_name(stat: str, kind: str) -> str:
    """`<stat>-hist.png`; of a name that no file can have, as a field may have any, what can be kept, and a digest."""
    plain = re.sub(r"\.{2,}|[^A-Za-z0-9._-]+", "-", stat)[:100].strip(".-")
    if plain != stat or not plain:
        digest = hashlib.blake2b(stat.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        plain = f"{plain}-{digest}" if plain else digest
    return f"{file_name(plain, what='stat')}-{kind}.png"


def _square(analysis: Analysis, kind: str) -> list[list[tuple[float | None, int]]]:
    known: dict[tuple[str, str], tuple[float | None, int]] = {}
    for pair in analysis.pairs:
        known[pair.first, pair.second] = known[pair.second, pair.first] = (getattr(pair, kind), pair.videos)
    for stat in analysis.stats:
        known[stat.name, stat.name] = (1.0 if stat.low != stat.high else None, stat.measured)
    names = [stat.name for stat in analysis.stats]
    return [[known[row, column] for column in names] for row in names]


# --- page


def page(analysis: Analysis, plan: Plan, pictures: Mapping[str, bytes], about: About) -> str:
    """One HTML text that asks nobody for anything."""
    return render(
        "analysis.html",
        analysis=analysis,
        recipe=plan.recipe,
        steps={step.key: _step(step) for step in plan.measured_steps},
        cards=[_card(stat, pictures) for stat in analysis.stats],
        shares=sorted({share for stat in analysis.stats for share in stat.quantiles}),
        reasons=[status for status in WITHOUT if any(stat.without[status] for stat in analysis.stats)],
        meanings=MEANINGS,
        unasked=UNASKED,
        numbers=sum(stat.videos for stat in analysis.stats),
        correlations=[
            (title, picture_uri(pictures[name], "image/png"))
            for title, name in (("Pearson", "stats-corr-pearson.png"), ("Spearman", "stats-corr-spearman.png"))
        ],
        missing_shards=", ".join(analysis.missing_shards[:SHOWN_MISSING_SHARDS])
        + (" …" if len(analysis.missing_shards) > SHOWN_MISSING_SHARDS else ""),
        about=about,
        quantile_name=quantile_name,
        shown=_typeset(shown),
        share=_typeset(shown_share),
        seconds=_typeset(shown_seconds),
    )


def _step(step: Step) -> dict[str, Any]:
    return {
        "summary": step.operator.summary,
        "keeps": step.keeps,
        "params": json.dumps(step.params.canonical(), ensure_ascii=False),
        "measure_id": step.measure_id,
        "device": step.device if step.compute == "gpu" else "",
        "version": step.operator.version,
        "video_key": step.video_key,
    }


def _card(stat: StatSummary, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    examples: dict[str, list[Any]] = {}
    for example in stat.examples:
        examples.setdefault(example.status, []).append(example)
    return {
        "stat": stat,
        "histogram": picture_uri(pictures[picture_name(stat.name, "hist")], "image/png"),
        "box": picture_uri(pictures[picture_name(stat.name, "box")], "image/png"),
        "examples": examples,
    }
