"""Keeps samples whose videos stand still for `min_ratio` to `max_ratio` of their time.

Ours, not Data-Juicer's. At instants spread over the video the frame shown is compared with the next one: repeated
frames, stutter and frozen ends are equal but for what the encoder did to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import SAME_INSTANT_SECONDS, FramePlan, VideoInfo, Windows
from dj_assets.operators._contract import Bound, Operator, Panel, Params, Scale, Scores, Stat, View
from dj_assets.operators._flow_pictures import as_bytes, heat
from dj_assets.operators._sampled import small_grey, spread_instants

SQUARE_PX = 16
"""Side of the squares in which small pictures are compared: somebody far off who moves fills one, noise does not."""

MOST_STILL = 0.5
"""Of the noise level, by which a square may change on average beyond it and stands still.

Together with the level of 3: of real clips whose every frame was doubled and encoded at crf 23, the squares that change
most do so by up to 1.6 between doubles (at 95 %), and by 1.7 and more between others, but where next to nothing moves.
"""

LONG_SHOWN = 1.5
"""A frame that is shown for so many times the usual one stands still after the usual time: where a frame was left out
of a variable rate, a constant one repeats the frame before."""

HEAT_LEVELS = 10.0
"""Grey levels that end the scale of drawn differences."""

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class FreezeParams(Params):
    """Options that change the share found."""

    sampling_fps: float = Field(2.0, gt=0, description="pairs of frames to compare per second, more than 0")
    noise_level: float = Field(
        3.0,
        ge=0,
        le=255,
        description="grey levels, 0 to 255, by which pixels of a picture that stands still may differ; 0: not at all",
    )


def plan(info: VideoInfo, params: FreezeParams) -> FramePlan:
    """At each instant the frame shown and the next one, or itself where it is shown for longer than frames usually are.

    Small, grey, turned as players do. Windows may repeat: their share is a share of time.
    """
    times = info.pts_seconds
    if len(times) < 2:
        raise TooShort(
            f"the video has {len(times)} frame",
            allowed="at least 2 frames, for standing still is found between frames",
            try_="drop stills with video_duration_filter, or leave them undecided",
        )
    usual = float(np.median(np.diff(times)))
    lengths = np.diff(np.append(times, info.duration_seconds))
    ends_still = lengths[-1] > LONG_SHOWN * usual
    end = info.duration_seconds - usual if ends_still else times[-1]
    instants = spread_instants(end, min(params.sampling_fps, len(times) / end))
    before = np.searchsorted(times, instants + SAME_INSTANT_SECONDS, side="right") - 1
    before = before if ends_still else np.minimum(before, len(times) - 2)
    usual_after = np.searchsorted(times, instants + usual + SAME_INSTANT_SECONDS, side="right") - 1
    after = np.where(lengths[before] > LONG_SHOWN * usual, usual_after, before + 1)
    return FramePlan(np.stack([before, np.clip(after, before, before + 1)], axis=1), small_grey(info))


def score(windows: Windows, params: FreezeParams, model: Any) -> Scores:
    """1 where the picture stands still between the two frames of a pair, else 0. windows.data: uint8 [N, 2, H, W].

    A window's detail is JSON: {"change": that of the square that changes most, in grey levels beyond noise}.
    """
    changes = np.array(
        [changes_of(before, after, params.noise_level).max() for before, after in windows.data], dtype=np.float64
    )
    details = tuple(json.dumps({"change": round(float(change), 3)}) for change in changes)
    return Scores((changes <= MOST_STILL * params.noise_level).astype(np.float64), details)


def changes_of(before: Grey, after: Grey, noise_level: float) -> Floats:
    """By how much each square changes from one picture, uint8 [H, W], to another: the mean of what its pixels differ
    beyond noise_level, in grey levels. float32 [about H / 16, about W / 16]."""
    import cv2

    height, width = before.shape
    beyond = np.maximum(cv2.absdiff(before, after).astype(np.float32) - np.float32(noise_level), 0)
    size = (max(1, round(width / SQUARE_PX)), max(1, round(height / SQUARE_PX)))  # OpenCV takes (width, height)
    return cv2.resize(beyond, size, interpolation=cv2.INTER_AREA)


def draw(views: Iterable[View], params: FreezeParams) -> list[tuple[Panel, ...]]:
    """The first frame of each pair, and where the second one differs. One scale holds for all views."""
    return [_drawn(view, params) for view in views]


def _drawn(view: View, params: FreezeParams) -> tuple[Panel, Panel]:
    import cv2

    height, width = view.pictures.shape[1:3]
    before, after = view.seen
    differences = cv2.absdiff(before, after).astype(np.float32)
    shown = cv2.resize(differences, (width, height), interpolation=cv2.INTER_AREA) / np.float32(HEAT_LEVELS)
    change = float(changes_of(before, after, params.noise_level).max())
    said = f"{'stands still' if change <= MOST_STILL * params.noise_level else 'moves'}: squares change by {change:.2f}"
    scale = Scale(heat(np.arange(256, dtype=np.uint8)[None])[0], HEAT_LEVELS, "grey levels")
    return Panel(view.pictures[0], "first frame of the pair"), Panel(heat(as_bytes(shown)), said, scale)


OPERATOR = Operator(
    name="video_freeze_ratio_filter",
    version=1,
    summary="share (ratio) of the time in which the picture stands still, but for the encoder's noise, over pairs of "
    "neighbouring frames; ours, not Data-Juicer's",
    compute="cpu",
    params=FreezeParams,
    stats=(Stat("video_freeze_ratio", unit="ratio", high=1.0),),
    bounds=(
        Bound("min_ratio", "video_freeze_ratio", "min", 0.0, help="a share of the video's time, 0 to 1"),
        Bound("max_ratio", "video_freeze_ratio", "max", 0.75, help="a share of the video's time, 0 to 1"),
    ),
    plan=plan,
    score=score,
    draw=draw,
    preview_panels=2,
)
