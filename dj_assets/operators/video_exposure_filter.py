"""Keeps samples whose videos are underexposed and overexposed on no more than some share of the picture.

Ours, not Data-Juicer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from dj_assets.frames import FramePlan, VideoInfo, Windows, single
from dj_assets.operators._contract import MAX_FLOAT, Bound, Operator, Panel, Scores, Stat, View
from dj_assets.operators._sampled import SampledParams, sampled, small_grey

BLUE, RED = (40, 90, 255), (255, 40, 40)


class ExposureParams(SampledParams):
    """Options that change the shares found. Levels are of grey, 0 (black) to 255 (white)."""

    dark_level: int = Field(24, ge=0, le=255, description="grey level up to which a pixel is too dark, 0 to 255")
    bright_level: int = Field(245, ge=0, le=255, description="grey level from which a pixel is too bright, 0 to 255")

    @model_validator(mode="after")
    def _has_levels_between(self) -> ExposureParams:
        if self.dark_level >= self.bright_level:
            raise ValueError(f"dark_level {self.dark_level} is not below bright_level {self.bright_level}")
        return self


def plan(info: VideoInfo, params: ExposureParams) -> FramePlan:
    """The sampled frames one by one, small, grey, turned as players do."""
    return single(sampled(info, params), small_grey(info))


def score(windows: Windows, params: ExposureParams, model: Any) -> Scores:
    """Of each frame the shares of dark and bright pixels, and the mean grey level. windows.data: uint8 [N, 1, H, W]."""
    counts = np.array([np.bincount(frame.ravel(), minlength=256) for frame in windows.data], dtype=np.float64)
    shares = counts.reshape(-1, 256) / max(1, windows.data[0].size if len(windows) else 1)
    dark = shares[:, : params.dark_level + 1].sum(axis=1)
    bright = shares[:, params.bright_level :].sum(axis=1)
    return Scores(np.stack([dark, bright, shares @ np.arange(256)], axis=1))


def draw(views: Iterable[View], params: ExposureParams) -> list[tuple[Panel, ...]]:
    """Each frame as it is, and with what is too dark in blue and what is too bright in red."""
    return [_drawn(view, params) for view in views]


def _drawn(view: View, params: ExposureParams) -> tuple[Panel, Panel]:
    import cv2

    grey = view.seen[0]
    height, width = view.pictures.shape[1:3]
    dark, bright = grey <= params.dark_level, grey >= params.bright_level
    marked = view.pictures[0].copy()
    for which, colour in ((dark, BLUE), (bright, RED)):
        shown = cv2.resize(which.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
        marked[shown] = colour
    said = f"{dark.mean():.1%} too dark (blue), {bright.mean():.1%} too bright (red)"
    return Panel(view.pictures[0], f"mean grey level {grey.mean():.0f}"), Panel(marked, said)


OPERATOR = Operator(
    name="video_exposure_filter",
    version=1,
    summary="shares (ratio) of pixels that are too dark and too bright, and the mean grey level, 0 to 255, over "
    "frame_sample_num frames; ours, not Data-Juicer's",
    compute="cpu",
    params=ExposureParams,
    stats=(
        Stat("video_dark_ratio", unit="ratio", high=1.0),
        Stat("video_bright_ratio", unit="ratio", high=1.0),
        Stat("video_brightness", unit="grey level", high=255.0),
    ),
    bounds=(
        Bound("max_dark_ratio", "video_dark_ratio", "max", 0.95, help="a share of the pixels, 0 to 1"),
        Bound("max_bright_ratio", "video_bright_ratio", "max", 0.95, help="a share of the pixels, 0 to 1"),
        Bound("min_brightness", "video_brightness", "min", 0.0, help="grey level, 0 (black) to 255 (white)"),
        Bound("max_brightness", "video_brightness", "max", MAX_FLOAT, help="grey level, 0 (black) to 255 (white)"),
    ),
    plan=plan,
    score=score,
    draw=draw,
)
