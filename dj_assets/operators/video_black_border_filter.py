"""Keeps samples whose videos have black bars on `min_ratio` to `max_ratio` of the displayed picture.

Ours, not Data-Juicer's. A bar is what is black in all sampled frames, from an edge of the picture to a straight line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.frames import FramePlan, Size, VideoInfo, Windows
from dj_assets.operators._bars import Bars, bars_of
from dj_assets.operators._contract import MAX_FLOAT, Bound, Operator, Panel, Scores, Stat, View
from dj_assets.operators._sampled import SampledParams, sampled, small_grey

RED = (255, 0, 0)


class BorderParams(SampledParams):
    """Options that change the bars found."""

    black_level: int = Field(
        24, ge=0, le=255, description="grey level up to which an edge may be a black bar, 0 (black) to 255"
    )


def plan(info: VideoInfo, params: BorderParams) -> FramePlan:
    """One window of all sampled frames, small, grey, turned as players do."""
    return FramePlan(sampled(info, params)[None], small_grey(info))


def score(windows: Windows, params: BorderParams, model: Any) -> Scores:
    """Shares of the picture, its height and its width in bars. windows.data: uint8 [N, k, H, W].

    A window's detail is JSON: the bars' depths {"top", "bottom", "left", "right"} as shares of height and width.
    """
    values = np.empty((len(windows), 3), dtype=np.float64)
    details = []
    for index, frames in enumerate(windows.data):
        height, width = frames.shape[1:]
        bars = bars_of(frames.max(axis=0), params.black_level)
        high, wide = (bars.top + bars.bottom) / height, (bars.left + bars.right) / width
        values[index] = 1 - (1 - high) * (1 - wide), high, wide
        shares = np.array(bars) / [height, height, width, width]
        details.append(json.dumps(dict(zip(Bars._fields, shares.round(4).tolist(), strict=True))))
    return Scores(values, tuple(details))


def draw(views: Iterable[View], params: BorderParams) -> list[tuple[Panel, ...]]:
    """The frame with most light, its bars tinted red, and the brightest of all frames, in which they were found."""
    return [_drawn(view, params) for view in views]


def _drawn(view: View, params: BorderParams) -> tuple[Panel, Panel]:
    import cv2

    brightest = view.seen.max(axis=0)
    bars = bars_of(brightest, params.black_level)
    height, width = view.pictures.shape[1:3]
    found = cv2.resize(cv2.cvtColor(brightest, cv2.COLOR_GRAY2RGB), (width, height), interpolation=cv2.INTER_AREA)
    frame = view.pictures[int(view.seen.mean(axis=(1, 2)).argmax())].copy()
    _tint(frame, bars, Size(*brightest.shape))
    said = ", ".join(f"{name} {depth} px" for name, depth in zip(Bars._fields, bars, strict=True) if depth)
    return (
        Panel(frame, f"the brightest of {len(view.seen)} frames, bars in red"),
        Panel(found, f"brightest of all, {brightest.shape[0]} px high: {said or 'no bars'}"),
    )


def _tint(picture: npt.NDArray[np.uint8], bars: Bars, seen: Size) -> None:
    """Colour the bars, whose depths are those of a picture of size `seen`, red in place."""
    height, width = picture.shape[:2]
    rows = [round(depth * height / seen.height) for depth in (bars.top, bars.bottom)]
    columns = [round(depth * width / seen.width) for depth in (bars.left, bars.right)]
    inside = np.zeros((height, width), dtype=bool)
    inside[rows[0] : height - rows[1], columns[0] : width - columns[1]] = True
    picture[~inside] = picture[~inside] // 2 + np.array(RED, dtype=np.uint8) // 2


OPERATOR = Operator(
    name="video_black_border_filter",
    version=1,
    summary="share (ratio) of the displayed picture in black bars, of its height (letterbox) and of its width "
    "(pillarbox), over frame_sample_num frames; ours, not Data-Juicer's",
    compute="cpu",
    params=BorderParams,
    stats=(
        Stat("video_black_border_ratio", unit="ratio", high=1.0),
        Stat("video_letterbox_ratio", unit="ratio", high=1.0),
        Stat("video_pillarbox_ratio", unit="ratio", high=1.0),
    ),
    bounds=(
        Bound("min_ratio", "video_black_border_ratio", "min", 0.0, help="a share of the picture, 0 to 1"),
        Bound("max_ratio", "video_black_border_ratio", "max", 0.1, help="a share of the picture, 0 to 1"),
        Bound("max_letterbox_ratio", "video_letterbox_ratio", "max", MAX_FLOAT, help="a share of the height, 0 to 1"),
        Bound("max_pillarbox_ratio", "video_pillarbox_ratio", "max", MAX_FLOAT, help="a share of the width, 0 to 1"),
    ),
    plan=plan,
    score=score,
    draw=draw,
)
