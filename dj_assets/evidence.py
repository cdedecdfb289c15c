"""Rows → annotated pictures: what an operator saw, drawn from what is stored; only shown frames are decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dj_assets.errors import MediaError
from dj_assets.frames import FramePlan, Look
from dj_assets.measure import media_limits, spec_of
from dj_assets.plan import Plan, Step
from dj_assets.recipe import Recipe
from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Row, Verdict
from dj_assets.workers import PoolSpec, Task, call, resolve

MAX_WINDOWS = 6
"""Windows on one sheet, evenly spaced over those that were scored."""

TILE_WIDTH = 480
CAPTION_HEIGHT = 28


@dataclass(frozen=True)
class Exhibit:
    """One picture to draw: a video of a sample, and the row of a step that decided about it."""

    outcome: str
    sample: Sample
    video: Video
    step: Step
    row: Row


def choose(
    plan: Plan, samples: Sequence[Sample], verdicts: Sequence[Verdict], tables: dict[str, list[Row]]
) -> list[Exhibit]:
    """The first `evidence.kept` kept samples under every step that draws, the first `evidence.dropped` dropped ones
    under the step that dropped them. Only measured videos have something to show."""
    wanted = plan.recipe.settings.evidence
    left = {"kept": wanted.kept, "dropped": wanted.dropped}
    steps = {step.key: step for step in plan.steps if step.operator.draw is not None}
    rows = {
        (row.sample_id, row.field, row.position, key): row
        for key in steps
        for row in tables[key]
        if row.fact.status == "ok"
    }
    exhibits: list[Exhibit] = []
    for sample, verdict in zip(samples, verdicts, strict=True):
        if left.get(verdict.outcome, 0) < 1:
            continue
        keys = steps if verdict.outcome == "kept" else [verdict.step]
        found = []
        for key in keys:
            for video in sample.videos:
                row = rows.get((sample.sample_id, video.field, video.position, key))
                if row is not None:
                    found.append(Exhibit(verdict.outcome, sample, video, steps[key], row))
        left[verdict.outcome] -= bool(found)
        exhibits.extend(found)
    return exhibits


def evidence_folder(recipe: Recipe) -> Path:
    """Where a recipe's pictures go: `<export>_evidence` beside the export."""
    return recipe.export_path.with_name(f"{recipe.export_path.stem}_evidence")


def write_evidence(exhibits: Sequence[Exhibit], plan: Plan, *, roots: Sequence[Path], folder: Path) -> list[Path]:
    """Draw each exhibit as a JPEG sheet in `folder`, in a worker process. A sheet that cannot be drawn is logged."""
    settings = plan.recipe.settings
    pool = PoolSpec(workers=1, memory_mb=settings.limits.memory_mb, threads=1)
    paths = []
    for exhibit in exhibits:
        video, step = exhibit.video, exhibit.step
        task = Task(
            path=video.path,
            content_hash=video.content_hash,
            num_bytes=video.num_bytes,
            modified_ns=video.modified_ns,
            roots=tuple(roots),
            specs=(spec_of(step),),
            limits=media_limits(settings.limits),
        )
        fact = exhibit.row.fact
        title = f"{step.stat_names[0]} = {fact.value:.6g}   bound: {step.bounds_text}   {exhibit.outcome}"
        try:
            jpeg = call(
                draw_sheet,
                task,
                title,
                fact.window_values,
                fact.window_details,
                pool=pool,
                timeout_seconds=settings.limits.timeout_seconds,
            )
        except MediaError as error:
            logging.getLogger(__name__).warning("no evidence for %s: %s", video.path, error.one_line())
            continue
        name = f"{exhibit.sample.sample_id}_{video.field}{video.position}_{step.key}.jpg".replace(":", "-")
        paths.append(_write(folder / exhibit.outcome / name, jpeg))
    return paths


def draw_sheet(task: Task, title: str, values: Sequence[float], details: Sequence[str]) -> bytes:
    """JPEG of up to `MAX_WINDOWS` windows of one measure with their values. Runs in a worker process.

    values: one per scored window. details: the same, or empty. Raises `MediaError`.
    """
    import cv2

    operator, params = resolve(task.specs[0])
    tiles = []
    for number, window, seconds in _shown_windows(task, operator, params):
        drawn = operator.draw(window, details[number] if details else "")  # type: ignore[misc]  # choose() looked
        tiles.append(_tile(drawn, f"{seconds:.2f} s: {values[number]:.4g}"))
    sheet = _grid(tiles)
    titled = np.concatenate([_caption(title, sheet.shape[1]), sheet])
    ok, encoded = cv2.imencode(".jpg", cv2.cvtColor(titled, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not ok:
        raise RuntimeError("OpenCV cannot encode JPEG")
    return encoded.tobytes()


def _shown_windows(task: Task, operator: Any, params: Any) -> Iterator[tuple[int, npt.NDArray[np.uint8], float]]:
    """(window number, RGB pictures uint8 [window, H, W, 3], seconds of its last frame) of the windows on the sheet."""
    from dj_assets.video.decode import decode_windows
    from dj_assets.video.probe import open_video, probe

    with open_video(task.path, roots=task.roots, limits=task.limits) as video:
        scan = probe(video)
    plan = operator.plan(scan.info, params)
    numbers = np.unique(np.linspace(0, len(plan.windows) - 1, min(MAX_WINDOWS, len(plan.windows))).astype(int))
    shown = FramePlan(plan.windows[numbers], Look("rgb24"))
    with open_video(task.path, roots=task.roots, limits=task.limits) as video:
        number = iter(numbers.tolist())
        for _, windows in decode_windows(video, scan, [shown]):
            for window, pts_seconds in zip(windows.data, windows.pts_seconds, strict=True):
                yield next(number), window, float(pts_seconds[-1])


def _tile(picture: npt.NDArray[np.uint8], caption: str) -> npt.NDArray[np.uint8]:
    import cv2

    height = max(1, round(picture.shape[0] * TILE_WIDTH / picture.shape[1]))
    # OpenCV takes (width, height).
    scaled = cv2.resize(picture, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([_caption(caption, TILE_WIDTH), scaled])


def _caption(text: str, width: int) -> npt.NDArray[np.uint8]:
    import cv2

    strip = np.full((CAPTION_HEIGHT, width, 3), 255, dtype=np.uint8)
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(strip, plain, (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    return strip


def _grid(tiles: Sequence[npt.NDArray[np.uint8]], columns: int = 3) -> npt.NDArray[np.uint8]:
    """Tiles in rows, white where there is none."""
    columns = min(columns, len(tiles))
    blank = np.full_like(tiles[0], 255)
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.concatenate(padded[start : start + columns], axis=1) for start in range(0, len(padded), columns)]
    return np.concatenate(rows)


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    return temporary.replace(path)
