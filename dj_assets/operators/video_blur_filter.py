"""Keeps samples whose videos are at least `min_sharpness` sharp: how many lines of detail their edges resolve.

Ours, not Data-Juicer's. The width of edges is found as in Zhuo and Sim, "Defocus map estimation from a single image"
(Pattern Recognition 44, 2011): an edge that is blurred once more, by a known Gaussian, loses the more of its slope the
sharper it was. So neither contrast nor the number of edges moves the result, as both do the variance of the Laplacian.

    slope of an edge of width s:     1 / s          s² = s0² / (R² - 1)   with R the ratio of the slopes
    blurred once more by s0:         1 / √(s² + s0²)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.frames import FramePlan, Look, Size, VideoInfo, Windows, single
from dj_assets.operators._bars import bars_of
from dj_assets.operators._contract import MAX_FLOAT, Bound, Operator, Panel, Scores, Stat, View, median
from dj_assets.operators._sampled import LONG_SIDE_PX, SampledParams, sampled, small_size

AGAIN_PX = 1.0
"""Width of the Gaussian by which pictures are blurred once more."""

SLOPE_PX2 = 1 / 3
"""Squared width that taking a slope over two pixels adds to an edge by itself."""

LINES_PER_WIDTH = 2 * math.sqrt(math.log(2) / 2) / math.pi
"""Line widths per pixel at half contrast (MTF50) of a Gaussian edge that is one pixel wide."""

LEAST_SLOPE = 4.0
"""Grey levels per pixel, once blurred: what rises less is no edge but noise."""

LEAST_SLOPE_SHARE = 0.35
"""Of the slope that 1 % of the pixels pass, to be an edge among the picture's strongest ones."""

WEAK_SHARE = 0.5
"""Of an edge's least slope, that its fainter ends may have."""

LEAST_EDGE_SHARE = 0.2
"""Pixels of edges, as a share of the shorter side; with fewer a picture has nothing sharp in it."""

STRIDE = 4
"""Of the pixels whose slopes tell which are the strongest, each so many'th row and column."""

SOBEL = 8.0
"""By which Sobel's sums are more than the slope."""

BLACK_LEVEL = 24
"""Grey level up to which an edge may be a black bar, as `video_black_border_filter` has it by default."""

LEAST_MARGIN_PX, MARGIN_SHARE = 4, 0.01
"""Of the shorter side: by so much a bar's edge, blurred once more, may reach into the picture beside it."""

GREEN = (0, 255, 0)

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

Inside = tuple[int, int, int, int]
"""First row, end of rows, first column, end of columns."""


class BlurParams(SampledParams):
    """Options that change the sharpness found."""

    short_side: int = Field(
        540,
        ge=64,
        le=2160,
        description="pixels that the shorter side of larger pictures is scaled down to, 64 to 2160; no more lines "
        "than that are told apart",
    )


class Edges(NamedTuple):
    """Where a picture has edges, bool [H, W], and the lines that they resolve over its shorter side; 0 without any."""

    mask: npt.NDArray[np.bool_]
    lines: float


def seen_size(size: Size, short_side: int) -> Size:
    """Size at which a displayed picture is looked at: scaled down to the short side, never up.

    >>> seen_size(Size(1080, 1920), 540)
    Size(height=540, width=960)
    """
    scale = min(1.0, short_side / min(size), LONG_SIDE_PX / max(size))
    return Size(*(max(1, round(side * scale)) for side in size))


def plan(info: VideoInfo, params: BlurParams) -> FramePlan:
    """The sampled frames one by one, grey, turned as players do."""
    look = Look("gray8", seen_size(info.displayed_size, params.short_side), apply_rotation=True)
    return single(sampled(info, params), look)


def score(windows: Windows, params: BlurParams, model: Any) -> Scores:
    """Lines that each frame resolves over its shorter side. windows.data: uint8 [N, 1, H, W].

    Where there are black bars, a window's detail is JSON: `inside`, the rows and columns of the picture between them.
    """
    inside = between_bars(windows.data.max(axis=(0, 1)))
    lines = [edges_of(frame, inside).lines for (frame,) in windows.data]
    detail = json.dumps({"inside": inside}) if inside else ""
    return Scores(np.array(lines, dtype=np.float64), (detail,) * len(windows) if inside else ())


def between_bars(brightest: Grey) -> Inside | None:
    """The picture between black bars, without their edges, which are sharp however blurred it is; None without bars.

    brightest: uint8 [H, W], of all frames.
    """
    import cv2

    height, width = brightest.shape
    small = small_size(Size(height, width))
    bars = bars_of(cv2.resize(brightest, (small.width, small.height), interpolation=cv2.INTER_AREA), BLACK_LEVEL)
    if not any(bars) or bars.top == small.height:
        return None
    margin_px = LEAST_MARGIN_PX + math.ceil(MARGIN_SHARE * min(height, width))
    rows = [math.ceil(depth * height / small.height) + margin_px if depth else 0 for depth in bars[:2]]
    columns = [math.ceil(depth * width / small.width) + margin_px if depth else 0 for depth in bars[2:]]
    inside = rows[0], height - rows[1], columns[0], width - columns[1]
    return inside if inside[0] < inside[1] and inside[2] < inside[3] else None


def edges_of(picture: Grey, inside: Inside | None = None) -> Edges:
    """The strong edges of a grey picture, uint8 [H, W], and how wide they are, together. inside: the part looked at."""
    if inside is None:
        return _edges(picture, min(picture.shape))
    top, bottom, left, right = inside
    found = _edges(np.ascontiguousarray(picture[top:bottom, left:right]), min(picture.shape))
    mask = np.zeros(picture.shape, dtype=np.bool_)
    mask[top:bottom, left:right] = found.mask
    return Edges(mask, found.lines)


def _edges(picture: Grey, shorter: int) -> Edges:
    """shorter: pixels of the side over which lines count."""
    import cv2

    once = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), AGAIN_PX)
    across, down = _slopes(once)
    strong = float(np.quantile(np.hypot(across[::STRIDE, ::STRIDE], down[::STRIDE, ::STRIDE]), 0.99))
    least = SOBEL * max(LEAST_SLOPE, LEAST_SLOPE_SHARE * strong / SOBEL)
    mask = cv2.Canny(across.astype(np.int16), down.astype(np.int16), WEAK_SHARE * least, least, L2gradient=True) > 0
    places = np.flatnonzero(mask)
    if len(places) < max(1.0, LEAST_EDGE_SHARE * shorter):
        return Edges(np.zeros_like(mask), 0.0)
    first, second = (
        sum(float(np.square(slopes.ravel()[places]).sum()) for slopes in pair)
        for pair in (_slopes(picture.astype(np.float32)), (across, down))
    )
    return Edges(mask, lines_of(first / second, shorter))


def _slopes(picture: Floats) -> tuple[Floats, Floats]:
    """Sobel's sums along rows and along columns: eight times the slope in grey levels per pixel."""
    import cv2

    return cv2.Sobel(picture, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(picture, cv2.CV_32F, 0, 1, ksize=3)


def lines_of(squared_ratio: float, shorter: int) -> float:
    """Line widths over a side of so many pixels, of edges whose slopes have that squared ratio; at most the pixels."""
    least_px2 = LINES_PER_WIDTH**2  # of an edge that resolves every line
    width_px2 = AGAIN_PX**2 / max(squared_ratio - 1, 1e-6) - SLOPE_PX2
    return LINES_PER_WIDTH * shorter / math.sqrt(max(width_px2, least_px2))


def draw(views: Iterable[View], params: BlurParams) -> list[tuple[Panel, ...]]:
    """Each frame, and the grey picture that was looked at with the edges that were measured in green."""
    return [_drawn(view) for view in views]


def _drawn(view: View) -> tuple[Panel, Panel]:
    import cv2

    found = edges_of(view.seen[0], json.loads(view.detail)["inside"] if view.detail else None)
    height, width = view.pictures.shape[1:3]
    grey = cv2.resize(view.seen[0], (width, height), interpolation=cv2.INTER_AREA)
    marked = cv2.cvtColor(grey // 2, cv2.COLOR_GRAY2RGB)
    covered = cv2.resize(found.mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    marked[covered > 0] = GREEN
    said = f"edges resolve {found.lines:.0f} of {min(view.seen.shape[1:3])} lines" if found.lines else "no edges"
    return Panel(view.pictures[0]), Panel(marked, said)


OPERATOR = Operator(
    name="video_blur_filter",
    version=1,
    summary="sharpness: lines over the shorter side that the strongest edges resolve (MTF50), median of "
    "frame_sample_num frames; ours, not Data-Juicer's",
    compute="cpu",
    params=BlurParams,
    stats=(Stat("video_sharpness", unit="lines over the shorter side"),),
    bounds=(
        Bound("min_sharpness", "video_sharpness", "min", 80.0, help="lines over the shorter side"),
        Bound("max_sharpness", "video_sharpness", "max", MAX_FLOAT, help="lines over the shorter side"),
    ),
    plan=plan,
    score=score,
    reduce=median,  # fades and cuts to black have no edges, and do not blur a video
    draw=draw,
)
