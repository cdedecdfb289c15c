"""Keeps samples whose videos move by `min_score` to `max_score` picture diagonals per second.

Ours, not Data-Juicer's: the fast tier beside `video_motion_score_filter`. Dense inverse search flow (Kroeger et al.,
"Fast Optical Flow using Dense Inverse Search", ECCV 2016) through OpenCV, over pairs that lie close in time, on
pictures of one size; so one scene has one number at every resolution and frame rate.

Why pairs 1/12 s apart: over half a second 35 % of real clips' pixels have no flow that leads there and back, and the
number halves; over 1/12 s 13 %. A single frame is another time at each rate, and none where frames are repeated.
docs/agreement/motion.md has the measurements.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import SAME_INSTANT_SECONDS, FramePlan, VideoInfo, Windows
from dj_assets.operators._contract import MAX_FLOAT, Bound, Operator, Panel, Params, Scores, Stat, View
from dj_assets.operators._flow_pictures import flow_panels
from dj_assets.operators._sampled import small_grey, spread_instants

PAIR_SECONDS = 1 / 12
"""Wanted time between the two frames of a pair: 2 frames at 24, 25 and 30 fps, 4 at 50, 5 at 60, 1 up to 15."""

LEAST_SECONDS = 1 / 240
"""Between two frames; nearer ones are counted as that far apart, since no camera is faster and times gone wrong are
often a millisecond apart, by which noise would be divided."""

LEAST_SCALE = 0.05
"""Diagonals per second that end the colour scale of still scenes; below it there is nothing but noise to be seen."""

MIN_SCORE = 0.001
"""Default bound: above a slide with a running counter (0.0002) and a still under grain of 8 grey levels (0.0008), below
people who walk far off in a fixed camera's picture (0.0016)."""

Grey = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]


class DisParams(Params):
    """Options that change the motion found."""

    sampling_fps: float = Field(2.0, gt=0, description="pairs of frames to compare per second, more than 0")


def plan(info: VideoInfo, params: DisParams) -> FramePlan:
    """Pairs of the frame shown at an instant and the one nearest to 1/12 s after that, one for each 1 / sampling_fps.

    Repeated frames are met in every phase. Small, grey, turned as players do: flow finds up to 40 % less of the motion
    in a picture of 72 lines than in one of 256, to which it is scaled up.
    """
    times = info.pts_seconds
    if len(times) < 2:
        raise TooShort(
            f"the video has {len(times)} frame",
            allowed="at least 2 frames, for motion is measured between frames",
            try_="drop stills with video_duration_filter, or leave them undecided",
        )
    rate = min(params.sampling_fps, 2 * len(times) / times[-1])  # more would find the same frames again
    last = max(times[-1] - PAIR_SECONDS, 0.0)
    shown = np.searchsorted(times, spread_instants(last, rate) + SAME_INSTANT_SECONDS, side="right") - 1
    before = np.unique(np.minimum(shown, len(times) - 2))
    after = np.maximum(_nearest(times, times[before] + PAIR_SECONDS), before + 1)
    return FramePlan(np.stack([before, after], axis=1), small_grey(info))


def _nearest(times: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Index of the time that is nearest to each wanted one; of two as near the earlier."""
    later = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    longer_by = (times[later] - wanted) - (wanted - times[later - 1])
    return np.where(longer_by >= -SAME_INSTANT_SECONDS, later - 1, later)  # at 30 fps, 1/12 s is midway between frames


@contextlib.contextmanager
def _flow() -> Iterator[Any]:
    """OpenCV's DIS flow, preset fast, on one thread: pictures are small, and workers many."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    finally:
        cv2.setNumThreads(threads)


def flow(before: Grey, after: Grey, seconds: float, dis: Any) -> Flow:
    """Flow in diagonals per second, float32 [H, W, 2] as (dx, dy), of two grey pictures uint8 [H, W] that far apart."""
    pixels = dis.calc(np.ascontiguousarray(before), np.ascontiguousarray(after), None)  # OpenCV allocates the flow
    return pixels / np.float32(math.hypot(*before.shape) * max(seconds, LEAST_SECONDS))


def score(windows: Windows, params: DisParams, model: Any) -> Scores:
    """Mean flow length of each pair in diagonals per second. windows.data: uint8 [N, 2, H, W]."""
    values = np.empty(len(windows), dtype=np.float64)
    seconds = np.diff(windows.pts_seconds, axis=1)[:, 0]
    with _flow() as dis:
        for index, (before, after) in enumerate(windows.data):
            vectors = flow(before, after, seconds[index], dis)
            values[index] = np.hypot(vectors[..., 0], vectors[..., 1]).mean(dtype=np.float64)
    return Scores(values)


def draw(views: Iterable[View], params: DisParams) -> list[tuple[Panel, ...]]:
    """The first frame of each pair; its flow as colour: hue is direction, brightness length; and its length as heat.

    The flow is that which was scored, of the same grey pictures. One scale holds for all views.
    """
    with _flow() as dis:
        found = (
            (view, flow(view.seen[0], view.seen[1], view.pts_seconds[1] - view.pts_seconds[0], dis)) for view in views
        )
        return [*flow_panels(found, unit="diagonals/s", least_scale=LEAST_SCALE)]


OPERATOR = Operator(
    name="video_motion_dis_filter",
    version=1,
    summary="mean length of DIS optical flow in picture diagonals per second, at any resolution and frame rate; "
    "ours, not Data-Juicer's",
    compute="cpu",
    params=DisParams,
    stats=(Stat("video_motion_dis", unit="diagonals per second"),),
    bounds=(
        Bound("min_score", "video_motion_dis", "min", MIN_SCORE, help="diagonals per second"),
        Bound("max_score", "video_motion_dis", "max", MAX_FLOAT, help="diagonals per second"),
    ),
    plan=plan,
    score=score,
    draw=draw,
    preview_panels=2,
)
