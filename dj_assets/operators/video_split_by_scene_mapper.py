"""Splits a video where its scenes change, as PySceneDetect finds them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from dj_assets.frames import SAME_INSTANT_SECONDS, Look, VideoInfo, single
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product
from dj_assets.operators._spans import spans_at

MICROSECONDS = 1_000_000
"""In a second: the ticks in which PySceneDetect gets times, as its OpenCV reader gives them."""

OPTIONS = {
    "ContentDetector": ("weights", "luma_only", "kernel_size"),
    "AdaptiveDetector": ("window_width", "min_content_val", "weights", "luma_only", "kernel_size"),
    "ThresholdDetector": ("fade_bias", "add_final_scene", "method"),
}
"""Detector -> options of its own, besides the threshold and the least length."""


class SplitBySceneParams(Params):
    """Options that change the cuts. Where one of a detector's own is null, PySceneDetect's default holds."""

    detector: Literal["ContentDetector", "AdaptiveDetector", "ThresholdDetector"] = Field(
        "ContentDetector", description="ContentDetector, AdaptiveDetector or ThresholdDetector, of PySceneDetect"
    )
    threshold: float = Field(27.0, ge=0, description="the detector's threshold, 0 or more")
    min_scene_len: int = Field(15, ge=0, description="frames of the shortest scene, 0 or more")
    weights: tuple[float, float, float, float] | None = Field(
        None, description="weights of hue, saturation, brightness and edges, four numbers that are not all 0"
    )
    luma_only: bool | None = Field(None, description="true: look at brightness alone")
    kernel_size: int | None = Field(None, ge=3, description="pixels of the kernel that widens edges, odd, 3 or more")
    window_width: int | None = Field(None, ge=1, description="AdaptiveDetector: frames on either side to compare with")
    min_content_val: float | None = Field(None, ge=0, description="AdaptiveDetector: least change of a cut")
    fade_bias: float | None = Field(
        None, ge=-1, le=1, description="ThresholdDetector: where in a fade to cut, -1 (its begin) to 1 (its end)"
    )
    add_final_scene: bool | None = Field(None, description="ThresholdDetector: cut at a fade-out that ends the video")
    method: Literal["FLOOR", "CEILING"] | None = Field(
        None, description="ThresholdDetector: FLOOR (fades to dark) or CEILING (fades to bright)"
    )
    output_format: Literal["path"] = Field("path", description="path: the scenes are files")

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int | None) -> int | None:
        if value is not None and value % 2 == 0:
            raise ValueError("must be odd")
        return value

    @field_validator("weights")
    @classmethod
    def _some(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and not any(value):
            raise ValueError("must not all be 0")
        return value

    def warnings(self) -> Sequence[str]:
        """Options of other detectors, which do nothing."""
        own = OPTIONS[self.detector]
        others = {option for options in OPTIONS.values() for option in options} - set(own)
        idle = sorted(option for option in others if getattr(self, option) is not None)
        return [f"{', '.join(idle)}: no option of {self.detector}, so without effect"] if idle else []

    def of_detector(self) -> dict[str, Any]:
        """What the detector's own options are set to, without those left to it."""
        given = {option: getattr(self, option) for option in OPTIONS[self.detector]}
        return {option: value for option, value in given.items() if value is not None}


def make_detector(params: SplitBySceneParams) -> Any:
    """The detector of PySceneDetect."""
    from scenedetect import detectors

    options = params.of_detector()
    if "weights" in options:
        options["weights"] = detectors.ContentDetector.Components(*options["weights"])
    if "method" in options:
        options["method"] = detectors.ThresholdDetector.Method[options["method"]]
    return getattr(detectors, params.detector)(params.threshold, params.min_scene_len, **options)


def find_cuts(bench: Bench, params: SplitBySceneParams) -> list[int]:
    """Indices of the frames at which a new scene begins; those that `scenedetect.detect` finds in the file.

    Pictures are turned as players do and scaled down as PySceneDetect scales them.
    """
    import cv2
    from scenedetect.scene_manager import compute_downscale_factor

    detector = make_detector(params)
    plan = single(np.arange(bench.info.num_frames_from_scan), Look("bgr24", apply_rotation=True))
    factor = compute_downscale_factor(max(bench.info.displayed_size))
    found: list[Any] = []
    for windows in bench.windows(plan):
        for (picture,), (index,) in zip(windows.data, windows.frames.tolist(), strict=True):
            if factor > 1:
                height, width = (max(1, round(side / factor)) for side in picture.shape[:2])
                picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
            found += detector.process_frame(_timecode(bench.info, index), picture)
    found += detector.post_process(_timecode(bench.info, -1))
    seconds = np.array([cut.seconds for cut in found], dtype=np.float64)
    # PySceneDetect's times are whole microseconds.
    return np.searchsorted(bench.info.pts_seconds, seconds - 2 * SAME_INSTANT_SECONDS).tolist()


def _timecode(info: VideoInfo, index: int) -> Any:
    """PySceneDetect's time of a frame."""
    from scenedetect.common import FrameTimecode, Timecode

    ticks = round(float(info.pts_seconds[index]) * MICROSECONDS)
    rate = Fraction(info.fps).limit_denominator(100_000)
    return FrameTimecode(Timecode(pts=ticks, time_base=Fraction(1, MICROSECONDS)), fps=rate)


def make(bench: Bench, params: SplitBySceneParams, model: Any) -> Sequence[Product]:
    """A clip of each scene; the video itself where it has but one."""
    spans = spans_at(find_cuts(bench, params), bench.info.num_frames_from_scan)
    return bench.clips(spans) if len(spans) > 1 else [bench.parent()]


OPERATOR = Mapper(
    name="video_split_by_scene_mapper",
    version=1,
    summary="the scenes that PySceneDetect finds take the video's place",
    compute="cpu",
    role="clips",
    params=SplitBySceneParams,
    make=make,
    ignored={
        "show_progress": "progress is shown by the run",
        "ffmpeg_extra_args": "no ffmpeg program runs here; scenes are encoded at one fixed quality",
        "video_manager": "PySceneDetect has retired it",
        "min_delta_hsv": "PySceneDetect has retired it",
        "block_size": "PySceneDetect has retired it",
    },
    refused={"save_field": "leave it out: the scenes take the video's place in its own field"},
)
