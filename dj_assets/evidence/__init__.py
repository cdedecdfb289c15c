"""Rows → annotated pictures: what an operator saw, drawn from what is stored; only what is shown is decoded.

    asked.py    what the store has of a video, or of a recipe's shards
    choice.py   which samples are worth a picture
    worker.py   one picture, made in a worker process, where every decoding and drawing happens
    canvas.py   words and tiles → one picture
    listing.py  the pictures that a folder had → those that it has now

Here is what others call: a sheet, a preview, a thumbnail, a contact sheet, each with the recipe's limits of time and
memory. The workers stay alive between calls, so the first costs a second and the next ones what they decode.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dj_assets.errors import MediaError, Unreadable
from dj_assets.evidence import worker
from dj_assets.evidence.canvas import FAINT, OUTCOMES, Line
from dj_assets.evidence.choice import (
    Cell,
    Exhibit,
    Near,
    Section,
    choose,
    choose_sheet,
    near_bounds,
    near_sections,
    nearest,
)
from dj_assets.evidence.listing import replace_listed
from dj_assets.evidence.worker import DrawnCell, Shown
from dj_assets.measure import media_limits, spec_of
from dj_assets.plan import Plan, Step
from dj_assets.recipe import Limits, Recipe
from dj_assets.samples import Video
from dj_assets.store.files import write_atomically
from dj_assets.store.rows import Fact
from dj_assets.video_run import Task
from dj_assets.workers import PoolSpec, call

__all__ = [
    "Cell",
    "Drawn",
    "Exhibit",
    "Near",
    "Section",
    "choose",
    "choose_sheet",
    "contact_sheet",
    "evidence_folder",
    "file_name",
    "near_bounds",
    "near_sections",
    "nearest",
    "preview",
    "replace_listed",
    "sheet",
    "thumbnail",
    "title_of",
    "write_evidence",
    "write_one",
    "write_picture",
    "write_pictures",
]

MOST_PART_LETTERS = 56
"""Three parts with their digests, and what the file is called while it is written, stay below 255 bytes."""

WORKERS = 2
"""So that one slow video does not hold up every other picture that a page asks for."""


def sheet(
    step: Step,
    video: Video,
    fact: Fact,
    *,
    title: str,
    roots: Sequence[Path],
    limits: Limits,
    outcome: str = "",
) -> bytes:
    """JPEG of what a step saw in a video: its windows drawn with their values, and their curve.

    fact: of that video and the step's measure. outcome: of the sample, which colours the title. Raises `MediaError`
    where there is no number, or the file is not what it was.
    """
    if fact.value is None:
        raise MediaError(
            f"{video.path} has no {fact.stat}: {fact.status}, {fact.reason}",
            allowed="a video that was measured",
            try_="look at the reason; there is nothing to draw",
        )
    shown = Shown(
        title=title,
        value=fact.value,
        window_values=fact.window_values,
        window_details=fact.window_details,
        unit=step.operator.stats[_place(step, fact)].unit,
        ranges=tuple(range_ for range_ in step.ranges if range_.stat == fact.stat),
        outcome=outcome,
        stat=_place(step, fact),
    )
    return _call(worker.draw_sheet, _task(video, [step], roots, limits), shown, limits=limits)


def preview(step: Step, video: Video, *, roots: Sequence[Path], limits: Limits) -> bytes:
    """Animated WebP, in a loop, of the windows that a step looks at: of motion the frame and its flow side by side.

    Raises `MediaError`.
    """
    if step.operator.plan is None:
        raise MediaError(
            f"{step.key} looks at no frames", allowed="a step on frames", try_="thumbnail() shows a frame of the video"
        )
    return _call(worker.draw_preview, _task(video, [step], roots, limits), limits=limits)


def thumbnail(video: Video, *, roots: Sequence[Path], limits: Limits, width: int = 240) -> bytes:
    """JPEG of the key frame about a third into the video, `width` pixels wide. Raises `MediaError`."""
    return _call(worker.draw_thumbnail, _task(video, [], roots, limits), width, limits=limits)


def contact_sheet(
    sections: Sequence[Section],
    *,
    title: str,
    roots: Sequence[Path],
    limits: Limits,
    max_bytes: int | None = None,
) -> bytes:
    """JPEG with one cell per sample: a picture, the number, the bound, the outcome and the name.

    A cell of which no picture can be had says why instead. max_bytes: what it must fit into, at the cost of quality and
    size. Raises `MediaError` where the sheet as a whole takes too long or too much memory.
    """

    def drawn(cell: Cell) -> DrawnCell:
        return _drawn_cell(cell, roots, limits)

    with ThreadPoolExecutor(max_workers=WORKERS) as threads:
        done = [(section.heading, list(threads.map(drawn, section.cells))) for section in sections]
    return _call(worker.lay_out, title, done, max_bytes, limits=limits, about=title)


def _drawn_cell(cell: Cell, roots: Sequence[Path], limits: Limits) -> DrawnCell:
    verdict, video, fact = cell.verdict, cell.video, cell.fact
    lines = (
        Line(_outcome_text(cell), 14, OUTCOMES[verdict.outcome], is_bold=True),
        Line(_number_text(cell), 13),
        Line(_name(video, cell.sample.sample_id), 12, FAINT, keep_end=True),
    )
    if verdict.outcome == "undecided":
        return DrawnCell(lines, None, f"{verdict.status}: {verdict.reason}")
    if video is None:
        return DrawnCell(lines, None, "the sample has no video")
    if video.status != "ok":
        return DrawnCell(lines, None, f"{video.status}: {video.reason}")
    shown, steps = Shown(""), []
    if cell.step is not None and fact is not None:
        place = _place(cell.step, fact)
        shown = Shown("", window_values=fact.window_values, window_details=fact.window_details, stat=place)
        steps = [cell.step]
    try:
        return DrawnCell(lines, _call(worker.draw_cell, _task(video, steps, roots, limits), shown, limits=limits))
    except MediaError as error:
        return DrawnCell(lines, None, f"no picture, {error.status}: {error.one_line()}")


def _place(step: Step, fact: Fact) -> int:
    """Of a fact's stat among those of its operator."""
    return [stat.name for stat in step.operator.stats].index(fact.stat)


def _outcome_text(cell: Cell) -> str:
    verdict = cell.verdict
    by = f" by {verdict.step}" if verdict.step and (cell.step is None or verdict.step != cell.step.key) else ""
    return f"{verdict.outcome}{by if verdict.outcome == 'dropped' else ''}"


def _number_text(cell: Cell) -> str:
    """`1.869, keeps video_motion_score >= 2`."""
    if cell.step is None:
        return ""
    number = f"{cell.fact.value:.5g}" if cell.fact is not None and cell.fact.value is not None else "no number"
    return f"{number}, keeps {cell.step.keeps}"


def _name(video: Video | None, sample_id: str) -> str:
    return f"{sample_id}  {video.given}" if video is not None else sample_id


# --- files


@dataclass(frozen=True)
class Drawn:
    """What became of one picture. path: None where there is none; then problem says why, in one line."""

    name: str
    path: Path | None
    problem: str = ""


def evidence_folder(recipe: Recipe) -> Path:
    """Where a recipe's pictures go: `<export>_evidence` beside the export."""
    return recipe.export_path.with_name(f"{recipe.export_path.stem}_evidence")


def title_of(step: Step, fact: Fact, outcome: str) -> str:
    """`video_motion_score = 1.8693   keeps video_motion_score >= 2   dropped`."""
    names = dict(zip((stat.name for stat in step.operator.stats), step.stat_names, strict=True))
    value = f"{fact.value:.6g}" if fact.value is not None else f"none: {fact.status}"
    return f"{names.get(fact.stat, fact.stat)} = {value}   keeps {step.keeps}   {outcome}"


def write_evidence(exhibits: Sequence[Exhibit], plan: Plan, *, roots: Sequence[Path], folder: Path) -> list[Drawn]:
    """A sheet of each exhibit, `<folder>/<sample>_<field><position>_<step>.jpg`, and a preview beside it where motion
    explains more. What cannot be drawn is told, not raised. Raises `StoreError` where nothing can be written."""
    limits = plan.recipe.settings.limits
    found: list[Drawn] = []
    for exhibit in exhibits:
        step, video = exhibit.step, exhibit.video
        name = file_name(exhibit.sample.sample_id, f"{video.field}{video.position}", step.key)
        found += write_pictures(
            step,
            video,
            exhibit.fact,
            title=f"{title_of(step, exhibit.fact, exhibit.verdict)}   {video.given}",
            outcome=exhibit.verdict,
            path=folder / exhibit.folder / f"{name}.jpg",
            roots=roots,
            limits=limits,
        )
    return found


def write_pictures(
    step: Step,
    video: Video,
    fact: Fact,
    *,
    title: str,
    outcome: str,
    path: Path,
    roots: Sequence[Path],
    limits: Limits,
) -> list[Drawn]:
    """A sheet at `path`, and a looping preview beside it where the operator asks for one."""
    found = [
        write_one(
            path,
            lambda: sheet(
                step,
                video,
                fact,
                title=title,
                roots=roots,
                limits=limits,
                outcome=outcome,
            ),
        )
    ]
    if step.operator.preview_panels and found[0].path is not None:
        found.append(write_one(path.with_suffix(".webp"), lambda: preview(step, video, roots=roots, limits=limits)))
    return found


def write_one(path: Path, draw: Callable[[], bytes]) -> Drawn:
    """A picture at `path`, or why there is none. Raises `StoreError` where it cannot be written."""
    try:
        data = draw()
    except MediaError as error:
        return Drawn(path.name, None, f"{error.status}: {error.one_line()}")
    return Drawn(path.name, write_picture(path, data))


def write_picture(path: Path, data: bytes) -> Path:
    """Put a picture in place whole. Raises `StoreError`."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)
    return path


def file_name(*parts: str) -> str:
    """A file name without suffix, of names that may hold anything: other names, another file name."""
    return "_".join(_name_part(part) for part in parts)


def _name_part(given: str) -> str:
    """As given where that is plain; else what is plain of it, and a digest of the whole."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", given)[:MOST_PART_LETTERS].strip(".-")
    if plain == given and plain:
        return plain
    digest = hashlib.blake2b(given.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{plain}-{digest}" if plain else digest


# --- workers


def _task(video: Video, steps: Sequence[Step], roots: Sequence[Path], limits: Limits) -> Task:
    if video.status != "ok" or not video.content_hash:
        raise Unreadable(f"{video.path or video.given} is {video.status}: {video.reason}", try_="mend the file")
    return Task(
        path=video.path,
        content_hash=video.content_hash,
        num_bytes=video.num_bytes,
        modified_ns=video.modified_ns,
        roots=tuple(roots),
        specs=tuple(spec_of(step) for step in steps),
        limits=media_limits(limits),
    )


def _call(work: Callable[..., Any], *args: Any, limits: Limits, about: str | None = None) -> Any:
    pool = PoolSpec(workers=WORKERS, memory_mb=limits.memory_mb, threads=1)
    return call(work, *args, pool=pool, timeout_seconds=limits.timeout_seconds, about=about)
