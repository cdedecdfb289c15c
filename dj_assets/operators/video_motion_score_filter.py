"""Keeps samples whose videos move by a mean of `min_score` to `max_score` pixels between sampled frames.

Dense optical flow after Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion" (SCIA 2003), through
OpenCV, over the very frame pairs that Data-Juicer compares. With `accelerator: cuda` the same flow in torch on a GPU,
which is another measure: its digits differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from dj_assets.frames import FramePlan, VideoInfo, Windows
from dj_assets.operators._contract import (
    MAX_FLOAT,
    Bound,
    Device,
    Operator,
    Panel,
    Scores,
    Stat,
    View,
)
from dj_assets.operators._device import require_cuda
from dj_assets.operators._flow_pictures import flow_panels
from dj_assets.operators._motion_pairs import PairParams, sampled_pairs

if TYPE_CHECKING:
    from dj_assets.operators._farneback import Farneback

USE_INITIAL_FLOW, GAUSSIAN = 4, 256
"""OpenCV's OPTFLOW_ flags that its Farnebäck knows."""

MAX_PIXELS_IN_FLIGHT = 3_500_000
"""Pictures in work at one time, together: OpenCV takes 80 bytes a pixel for a flow, so this much is 280 MB. It keeps a
worker at 1080p under 500 MB, with one flow at a time; at 720p there are three."""


class MotionParams(PairParams):
    """Options that change the motion score. Sizes in pixels; Farnebäck's own options under OpenCV's names."""

    pyr_scale: float = Field(0.5, gt=0, lt=1, description="between 0 and 1")
    levels: int = Field(3, ge=1, description="1 or more")
    winsize: int = Field(15, ge=1, description="1 or more")
    iterations: int = Field(3, ge=1, description="1 or more")
    poly_n: int = Field(5, ge=3, description="3 or more; 5 or 7 are usual")
    poly_sigma: float = Field(1.2, gt=0, description="more than 0")
    flags: int = Field(0, ge=0, description="OpenCV's OPTFLOW_ flags: 0, or 256 for a Gaussian window")

    @field_validator("flags")
    @classmethod
    def _starts_from_nothing(cls, flags: int) -> int:
        if flags & USE_INITIAL_FLOW:
            raise ValueError("4 is OPTFLOW_USE_INITIAL_FLOW, and there is no flow to start from")
        return flags


def plan(info: VideoInfo, params: MotionParams) -> FramePlan:
    """Grey pairs, see `sampled_pairs`."""
    return sampled_pairs(info, params, "gray8")


def flow(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], params: MotionParams) -> npt.NDArray[np.float32]:
    """Dense flow in pixels, float32 [H, W, 2] as (dx, dy), of two grey pictures uint8 [H, W]."""
    import cv2

    return cv2.calcOpticalFlowFarneback(
        before,
        after,
        None,  # OpenCV allocates the flow
        pyr_scale=params.pyr_scale,
        levels=params.levels,
        winsize=params.winsize,
        iterations=params.iterations,
        poly_n=params.poly_n,
        poly_sigma=params.poly_sigma,
        flags=params.flags,
    )


def load(params: MotionParams, device: Device) -> Farneback | None:
    """The flow in torch, on a GPU; None on the CPU, where it is OpenCV's. Raises `DeviceError`."""
    if device == "cpu":
        return None
    require_cuda("motion")
    from dj_assets.operators._farneback import Farneback, FlowOptions

    return Farneback(
        FlowOptions(
            pyr_scale=params.pyr_scale,
            levels=params.levels,
            winsize=params.winsize,
            iterations=params.iterations,
            poly_n=params.poly_n,
            poly_sigma=params.poly_sigma,
            is_gaussian=bool(params.flags & GAUSSIAN),
        ),
        device,
    )


def score(windows: Windows, params: MotionParams, model: Farneback | None) -> Scores:
    """Mean flow length of each pair in pixels (or as a share of the diagonal). windows.data: uint8 [N, 2, H, W]."""
    values = _mean_lengths(windows.data, params) if model is None else model.mean_lengths(windows.data)
    if params.relative:
        values /= math.hypot(*windows.data.shape[2:4])
    return Scores(values)


def _mean_lengths(pairs: npt.NDArray[np.uint8], params: MotionParams) -> npt.NDArray[np.float64]:
    """Mean flow length of each pair in pixels by OpenCV, on as many threads as OpenCV may use in this process.

    OpenCV works at one flow on one thread, so each thread has pairs of its own. The numbers do not depend on it.
    """
    import cv2

    at_once = min(cv2.getNumThreads(), len(pairs), MAX_PIXELS_IN_FLIGHT // math.prod(pairs.shape[2:4]))
    if at_once <= 1:
        return np.array([_mean_length(pair, params) for pair in pairs], dtype=np.float64)
    with ThreadPoolExecutor(max_workers=at_once) as threads:
        return np.array(list(threads.map(lambda pair: _mean_length(pair, params), pairs)), dtype=np.float64)


def _mean_length(pair: npt.NDArray[np.uint8], params: MotionParams) -> float:
    """Of the flow from the first to the second picture of uint8 [2, H, W], in pixels, as Data-Juicer computes it."""
    import cv2

    vectors = flow(pair[0], pair[1], params)
    length, _ = cv2.cartToPolar(vectors[..., 0], vectors[..., 1])  # `magnitude` has other last digits
    return float(np.mean(length))


LEAST_SCALE_PX = 1.0
"""Below it there is nothing but noise to be seen."""


def draw(views: Iterable[View], params: MotionParams) -> list[tuple[Panel, ...]]:
    """The first frame of each pair; its flow as colour: hue is direction, brightness length; and its length as heat.

    The flow is OpenCV's, of the same grey pictures under the same params: the very one that was scored, or, of a score
    made on a GPU, one that looks the same. One scale holds for all views.
    """
    found = ((view, flow(view.seen[0], view.seen[1], params)) for view in views)
    return [*flow_panels(found, unit="px", least_scale=LEAST_SCALE_PX)]


OPERATOR = Operator(
    name="video_motion_score_filter",
    version=1,
    summary="mean length of Farnebäck's optical flow in pixels between frames sampled at sampling_fps",
    compute="cpu",
    params=MotionParams,
    stats=(Stat("video_motion_score", unit="px per sampled pair, or share of the diagonal if relative"),),
    bounds=(
        Bound(
            "min_score",
            "video_motion_score",
            "min",
            0.25,
            help="pixels, or a share of the diagonal if relative",
        ),
        Bound("max_score", "video_motion_score", "max", MAX_FLOAT, help="pixels, or a share of the diagonal"),
    ),
    plan=plan,
    load=load,
    also_on=("cuda",),
    score=score,
    draw=draw,
    preview_panels=2,
    ignored={
        "if_output_optical_flow": "raw flow is never written into the dataset",
        "optical_flow_key": "raw flow is never written into the dataset",
        "original_fps": "it belongs to frame_field",
    },
    refused={"frame_field": "frames kept in a manifest field are not read here; list the video file under videos"},
)
