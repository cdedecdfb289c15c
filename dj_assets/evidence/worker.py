"""What a worker process does for a picture: decode the frames that are shown, have the operator draw, lay them out."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dj_assets.errors import MediaError, Unreadable
from dj_assets.evidence import canvas
from dj_assets.evidence.canvas import FAINT, GAP, INK, OUTCOMES, SHADE, Line, Picture
from dj_assets.frames import FramePlan, Look, Size, VideoInfo, Windows
from dj_assets.operators._contract import Operator, Panel, Params, View, mean, median
from dj_assets.plots import curve
from dj_assets.ranges import StatRange
from dj_assets.store.probes import stream_line
from dj_assets.video_run import Task, by_stat_of, check_unchanged, probe_record, resolve

MAX_WINDOWS = 6
"""Windows on one sheet, evenly spaced over those that were scored."""

SHEET_COLUMNS = 3
TILE = Size(360, 480)
"""The most that one panel of a sheet takes; less in height where the video is wider than high."""

LEAST_TILE_HEIGHT = 60

FEW_WINDOWS = 4
"""From so many on, a curve tells more than the tiles' captions."""

MAX_PREVIEW_FRAMES = 24
PREVIEW_TILE = Size(240, 320)
PREVIEW_MILLISECONDS = 250
MAX_PREVIEW_BYTES = 1_000_000

SCORE_ROUNDING = 1e-3
"""Relative difference from the stored score up to which a window is taken for the one that was scored, on a GPU too."""

LEAST_SCORE = {"cpu": 1e-6, "cuda": 1e-4}
"""By the device that scored: scores that differ by less, of still pictures, are the same."""

CELL = Size(180, 320)
"""The picture of one cell of a contact sheet."""

CELL_COLUMNS = 4
CELL_REASON_LINES = 7


@dataclass(frozen=True)
class Shown:
    """What a sheet says of one number. value: the stat. window_values, window_details: as stored, maybe empty.

    stat: its place among the operator's stats. unit: of the stat. outcome: colours the title; empty where there is no
    verdict.
    """

    title: str
    value: float | None = None
    window_values: tuple[float, ...] = ()
    window_details: tuple[str, ...] = ()
    unit: str = ""
    ranges: tuple[StatRange, ...] = ()
    outcome: str = ""
    stat: int = 0


# --- a sheet


def draw_sheet(task: Task, shown: Shown) -> bytes:
    """JPEG: title, what the video is, the curve of its windows, and up to `MAX_WINDOWS` of them drawn.

    Of an operator that reads the header alone: title, what the video is, and a frame. Raises `MediaError`.
    """
    opened = _Opened(task)
    head = [Line(shown.title, 19, OUTCOMES.get(shown.outcome, INK), is_bold=True)]
    facts = Line(stream_line(probe_record(opened.info)), 14, FAINT)
    width = SHEET_COLUMNS * TILE.width + (SHEET_COLUMNS - 1) * GAP
    if opened.operator.plan is None:
        frame = _thumbnail(task, Size(2 * TILE.height, 2 * TILE.width))
        return canvas.jpeg(canvas.framed(canvas.below([canvas.strip([*head, facts], width), frame], gap=GAP)))
    box = _tile(opened.shape(opened.plan(shown)))
    plan, numbers, drawn = opened.drawn(shown, lambda count: evenly(count, MAX_WINDOWS), box)
    cards = [
        _card(panels, _caption(plan, opened.info, number, shown), box)
        for number, panels in zip(numbers, drawn, strict=True)
    ]
    head += [facts, Line(_counted(opened, len(numbers), len(plan.windows)), 14, FAINT)]
    parts = [canvas.strip(head, width)]
    if len(shown.window_values) >= FEW_WINDOWS and shown.value is not None:
        parts.append(canvas.from_png(_curve(plan, opened, numbers, shown, width)))
    parts.append(canvas.grid(cards, max(1, SHEET_COLUMNS // max(map(len, drawn)))))
    return canvas.jpeg(canvas.framed(canvas.below(parts, gap=GAP)))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to count - 1, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def _counted(opened: _Opened, shown: int, count: int) -> str:
    """`the mean of 24 windows, 6 of them shown, evenly spaced`."""
    how = f"the {_reducer(opened)} of" if _reducer(opened) else "from"
    which = "all shown" if shown == count else f"{shown} of them shown, evenly spaced"
    return f"{how} {count} windows, {which}" if count > 1 else "of one window"


def _reducer(opened: _Opened) -> str:
    """`mean` or `median`; empty for another one."""
    reduce = opened.operator.reducer(opened.params)
    return reduce.__name__ if reduce in (mean, median) else ""


def _caption(plan: FramePlan, info: VideoInfo, number: int, shown: Shown) -> str:
    seconds = info.pts_seconds[plan.windows[number]]
    when = " → ".join(f"{second:.2f} s" for second in dict.fromkeys((float(seconds[0]), float(seconds[-1]))))
    return f"{shown.window_values[number]:.4g}   at {when}" if shown.window_values else f"at {when}"


def _curve(plan: FramePlan, opened: _Opened, numbers: Sequence[int], shown: Shown, width: int) -> bytes:
    return curve(
        opened.info.pts_seconds[plan.windows[:, -1]].tolist(),
        shown.window_values,
        unit=shown.unit,
        stat=shown.value or 0.0,
        stat_label=_reducer(opened) or "the video's",
        ranges=shown.ranges,
        shown=numbers,
        width_px=width,
    )


def _card(panels: Sequence[Panel], caption: str, box: Size) -> Picture:
    """The panels of one window side by side, under its caption."""
    columns = []
    for panel in panels:
        parts = [canvas.centred(canvas.resized(panel.picture, canvas.fitted(_size(panel.picture), box)), box)]
        parts.append(canvas.strip([Line(panel.caption, 13, FAINT)], box.width, padding=2))
        if panel.scale is not None:
            parts.append(canvas.legend(panel.scale, box.width))
        columns.append(canvas.below(parts))
    body = canvas.beside(columns, gap=GAP)
    return canvas.below([canvas.strip([Line(caption, 15, is_bold=True)], body.shape[1], paper=SHADE), body])


def _tile(shape: Size) -> Size:
    """The box for pictures of that shape, all of a sheet's width."""
    height = round(TILE.width * shape.height / shape.width)
    return Size(min(max(height, LEAST_TILE_HEIGHT), TILE.height), TILE.width)


def _size(picture: npt.NDArray[np.uint8]) -> Size:
    return Size(*picture.shape[:2])


# --- a preview


def draw_preview(task: Task) -> bytes:
    """Animated WebP that loops: up to `MAX_PREVIEW_FRAMES` windows, the panels of each that its operator says.

    Raises `MediaError`.
    """
    opened = _Opened(task)
    plan, numbers, drawn = opened.drawn(Shown(""), lambda count: evenly(count, MAX_PREVIEW_FRAMES), PREVIEW_TILE)
    count = opened.operator.preview_panels or 1
    frames = [canvas.beside([panel.picture for panel in panels[:count]], gap=2) for panels in drawn]
    seconds = [float(opened.info.pts_seconds[plan.windows[number, 0]]) for number in numbers]
    width = frames[0].shape[1]
    told = [
        canvas.below([frame, canvas.strip([Line(f"{second:.2f} s", 12)], width, padding=2)])
        for frame, second in zip(frames, seconds, strict=True)
    ]
    return canvas.looping_webp(told, milliseconds=PREVIEW_MILLISECONDS, max_bytes=MAX_PREVIEW_BYTES)


# --- a thumbnail


THUMBNAIL_AT = 1 / 3
"""Of the duration: past titles and fades from black."""


def draw_thumbnail(task: Task, width: int) -> bytes:
    """JPEG of one frame, `width` pixels wide. Raises `MediaError`."""
    picture = _thumbnail(task, Size(4 * width, width))
    return canvas.jpeg(picture, quality=80)


def _thumbnail(task: Task, box: Size) -> Picture:
    """A frame about a third into the video, as players show it, in a box."""
    from dj_assets.video.decode import frame_near
    from dj_assets.video.probe import open_video

    with open_video(task.path, roots=task.roots, limits=task.limits) as video:
        check_unchanged(task)
        picture = frame_near(video, THUMBNAIL_AT)
    return canvas.resized(picture, canvas.fitted(_size(picture), box))


# --- cells of a contact sheet


def draw_cell(task: Task, shown: Shown) -> Picture:
    """The picture of one cell, of size `CELL`: the window with the highest value, drawn; else a frame.

    Raises `MediaError`.
    """
    if not task.specs or not shown.window_values:
        return canvas.centred(_thumbnail(task, CELL), CELL)
    opened = _Opened(task)
    if opened.operator.plan is None:
        return canvas.centred(_thumbnail(task, CELL), CELL)
    number = int(np.argmax(shown.window_values))
    count = max(1, opened.operator.preview_panels)
    half = Size(CELL.height, (CELL.width - 2 * (count - 1)) // count)
    [panels] = opened.drawn(shown, lambda count: [number], half).panels
    return canvas.centred(canvas.beside([panel.picture for panel in panels[:count]], gap=2), CELL)


@dataclass(frozen=True)
class DrawnCell:
    """One cell of a contact sheet. lines: below the picture. why_not: shown in its place where there is none."""

    lines: tuple[Line, ...]
    picture: Picture | None
    why_not: str = ""


def lay_out(title: str, sections: Sequence[tuple[str, Sequence[DrawnCell]]], max_bytes: int | None) -> bytes:
    """JPEG of a contact sheet: a heading per section, and its cells in rows. Opens no video."""
    width = CELL_COLUMNS * CELL.width + (CELL_COLUMNS - 1) * GAP
    parts = [canvas.strip([Line(title, 20, is_bold=True)], width)]
    for heading, cells in sections:
        parts.append(canvas.strip([Line(heading, 16, is_bold=True)], width, paper=SHADE))
        if cells:
            parts.append(canvas.grid([_cell(cell) for cell in cells], CELL_COLUMNS))
        else:
            parts.append(canvas.strip([Line("none", 14, FAINT)], width))
    sheet = canvas.framed(canvas.below(parts, gap=GAP))
    return canvas.jpeg(sheet) if max_bytes is None else canvas.jpeg_within(sheet, max_bytes)


def _cell(cell: DrawnCell) -> Picture:
    picture = cell.picture
    if picture is None:
        lines = canvas.wrapped(cell.why_not, CELL.width - 24, size=13, most_lines=CELL_REASON_LINES)
        told = canvas.strip([Line(line, 13, FAINT) for line in lines], CELL.width, paper=SHADE, padding=12)
        picture = canvas.centred(told[: CELL.height], CELL)
    return canvas.below([picture, canvas.strip(cell.lines, CELL.width, padding=3)])


# --- decoding


class _DrawnWindows(NamedTuple):
    """numbers: of the plan's windows that were drawn. panels: of each."""

    plan: FramePlan
    numbers: Sequence[int]
    panels: list[tuple[Panel, ...]]


class _Opened:
    """A video with its one measure: what it is, which frames that wants, and what its operator draws of them."""

    def __init__(self, task: Task) -> None:
        from dj_assets.video.decode import with_rotation
        from dj_assets.video.probe import open_video, probe

        self.task = task
        self.operator: Operator
        self.params: Params
        self.operator, self.params = resolve(task.specs[0])
        with open_video(task.path, roots=task.roots, limits=task.limits) as video:
            check_unchanged(task)
            self.scan = with_rotation(video, probe(video, hold=True))

    @property
    def info(self) -> VideoInfo:
        return self.scan.info

    def plan(self, shown: Shown) -> FramePlan:
        """The windows that were scored. Raises `MediaError`, also where they are not those of the stored row."""
        plan = self._plan()
        if shown.window_values and len(shown.window_values) != len(plan.windows):
            self._count_frames()
            plan = self._plan()
            if len(shown.window_values) != len(plan.windows):
                raise Unreadable(
                    f"{self.task.path} has {len(plan.windows)} windows, the stored number {len(shown.window_values)}",
                    allowed="the video that was measured",
                    try_="measure it again: its bytes or the operator's plan have changed",
                )
        return plan

    def _plan(self) -> FramePlan:
        return self.operator.plan(self.info, self.params)  # type: ignore[misc]  # the caller has looked

    def _count_frames(self) -> None:
        """Take the frames that decode for those that are there, as measuring does where packets show nothing."""
        from dj_assets.video.probe import Scan, open_video, rescan_by_decoding

        with open_video(self.task.path, roots=self.task.roots, limits=self.task.limits) as video:
            scan = rescan_by_decoding(video)
        self.scan = Scan(replace(scan.info, rotation_degrees=self.info.rotation_degrees), scan.ticks)

    def drawn(self, shown: Shown, choose: Callable[[int], Sequence[int]], box: Size) -> _DrawnWindows:
        """The windows that `choose` picks by their count, drawn. Raises `MediaError`.

        Where frames do not decode, measuring counts those that do and plans anew for all measures of its pass. So does
        this: where a shown frame is missing, and where the last shown window does not score as stored.
        """
        from dj_assets.video.decode import FramesMissing

        try:
            found, is_as_stored = self._drawn(shown, choose, box)
        except FramesMissing:
            self._count_frames()
            return self._drawn(shown, choose, box)[0]
        if is_as_stored:
            return found
        scan = self.scan
        with contextlib.suppress(MediaError):
            self._count_frames()
            counted, is_as_stored = self._drawn(shown, choose, box)
            if is_as_stored:
                return counted
        self.scan = scan  # it is not the frames; another build of OpenCV, say
        return found

    def _drawn(self, shown: Shown, choose: Callable[[int], Sequence[int]], box: Size) -> tuple[_DrawnWindows, bool]:
        """What is drawn by the present count of frames, and whether the last of it scores as stored."""
        from dj_assets.video.decode import FramesMissing

        plan = self.plan(shown)
        numbers = choose(len(plan.windows))
        draw = self.operator.draw or _plain
        details = shown.window_details
        seen = _Last()
        try:
            panels = draw(seen.of(self._views(plan, numbers, details, box, linear=False)), self.params)
        except FramesMissing:  # its key frames are not what they seem
            panels = draw(seen.of(self._views(plan, numbers, details, box, linear=True)), self.params)
        return _DrawnWindows(plan, numbers, panels), self._scores_as_stored(plan, numbers[-1], seen.view, shown)

    def _scores_as_stored(self, plan: FramePlan, number: int, view: View | None, shown: Shown) -> bool:
        """Whether a window's score is the stored one. Of operators with a model it is taken for that: they are slow."""
        if self.operator.compute != "cpu" or not shown.window_values or view is None:
            return True
        frames = plan.windows[[number]]
        windows = Windows(view.seen[None], frames, self.info.pts_seconds[frames], plan.look)
        model = self.operator.load(self.params, "cpu")
        least = LEAST_SCORE[self.task.specs[0].device]
        scores = self.operator.score(windows, self.params, model)  # type: ignore[misc]  # it has a plan
        score = by_stat_of([scores], len(self.operator.stats))[shown.stat, 0]
        return math.isclose(score, shown.window_values[number], rel_tol=SCORE_ROUNDING, abs_tol=least)

    def shape(self, plan: FramePlan) -> Size:
        """Size of its pictures as the plan turns them."""
        return self.info.displayed_size if plan.look.apply_rotation else self.info.size

    def _views(
        self, plan: FramePlan, numbers: Sequence[int], details: Sequence[str], box: Size, *, linear: bool
    ) -> Iterator[View]:
        from dj_assets.video.decode import decode_windows
        from dj_assets.video.probe import open_video

        chosen = plan.windows[list(numbers)]
        seen = FramePlan(chosen, plan.look)
        shown = FramePlan(chosen, Look("rgb24", canvas.fitted(self.shape(plan), box), plan.look.apply_rotation))
        waiting: tuple[deque[Any], deque[Any]] = (deque(), deque())
        number = iter(numbers)
        with open_video(self.task.path, roots=self.task.roots, limits=self.task.limits) as video:
            # Batches of one window: no more than one view lies in memory.
            for which, windows in decode_windows(video, self.scan, [seen, shown], batch_bytes=1, linear=linear):
                waiting[which].append(windows)
                while waiting[0] and waiting[1]:
                    scored, pictures = waiting[0].popleft(), waiting[1].popleft()
                    yield View(
                        pictures.data[0],
                        scored.data[0],
                        tuple(scored.pts_seconds[0].tolist()),
                        details[next(number)] if details else "",
                    )


class _Last:
    """Lets views pass and keeps the last one."""

    def __init__(self) -> None:
        self.view: View | None = None

    def of(self, views: Iterable[View]) -> Iterator[View]:
        for self.view in views:
            yield self.view


def _plain(views: Any, params: Params) -> list[tuple[Panel, ...]]:
    """What is shown for an operator that does not draw: the frames as they are."""
    return [tuple(Panel(picture) for picture in view.pictures[:SHEET_COLUMNS]) for view in views]
