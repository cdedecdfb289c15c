"""Extracts pictures of a video as JPEG files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.frames import SAME_INSTANT_SECONDS, Look, VideoInfo, keyframes, single, uniform
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product, Span
from dj_assets.operators._spans import spans_between


class ExtractFramesParams(Params):
    """Options that change the pictures."""

    frame_sampling_method: Literal["all_keyframes", "all_frames", "uniform"] = Field(
        "all_keyframes", description="all_keyframes, all_frames, or uniform: frame_num of them, evenly spaced"
    )
    output_format: Literal["path"] = Field("path", description="path: pictures are files; a record holds no bytes")
    frame_num: int = Field(3, ge=1, description="pictures of each piece where they are uniform, 1 or more")
    duration: float = Field(0.0, ge=0, description="seconds of a piece that is sampled by itself; 0: the whole video")

    def warnings(self) -> Sequence[str]:
        """Of the rest that is not sampled."""
        if self.duration and self.frame_sampling_method != "all_frames":
            return [
                f"duration: as in Data-Juicer, what comes after the last whole multiple of {self.duration:g} s before "
                "the video's end gives no frames; a video not longer than that gives none at all"
            ]
        return []


def wanted(info: VideoInfo, params: ExtractFramesParams) -> npt.NDArray[np.int64]:
    """int64 [k], increasing: the frames that are extracted."""
    if params.frame_sampling_method == "all_frames":
        return np.arange(info.num_frames_from_scan)
    if not params.duration:
        return _of_piece(info, params)
    count = math.ceil(info.duration_seconds / params.duration - SAME_INSTANT_SECONDS) - 1
    edges = [(index * params.duration, (index + 1) * params.duration) for index in range(count)]
    found = [span.first + _of_piece(piece_of(info, span), params) for span in spans_between(info, edges)]
    return np.concatenate([*found, np.zeros(0, dtype=np.int64)])


def _of_piece(info: VideoInfo, params: ExtractFramesParams) -> npt.NDArray[np.int64]:
    return uniform(info, params.frame_num) if params.frame_sampling_method == "uniform" else keyframes(info)


def piece_of(info: VideoInfo, span: Span) -> VideoInfo:
    """What a video of these frames alone would be. Its first frame decodes alone, as in a file of its own."""
    times = info.pts_seconds[span.first : span.stop] - info.pts_seconds[span.first]
    inside = info.keyframes[(info.keyframes >= span.first) & (info.keyframes < span.stop)] - span.first
    is_last = span.stop == info.num_frames_from_scan
    end = info.duration_seconds if is_last else float(info.pts_seconds[span.stop])
    return replace(
        info,
        duration_seconds=end - float(info.pts_seconds[span.first]),
        pts_seconds=times,
        keyframes=np.union1d([0], inside).astype(np.int64),
    )


def make(bench: Bench, params: ExtractFramesParams, model: Any) -> Sequence[Product]:
    """The pictures in order, turned as players do."""
    plan = single(wanted(bench.info, params), Look("rgb24", apply_rotation=True))
    products: list[Product] = []
    for windows in bench.windows(plan):
        for (picture,), (seconds,) in zip(windows.data, windows.pts_seconds.tolist(), strict=True):
            products.append(bench.picture(picture, f"frame_{len(products)}", at_seconds=seconds))
    return products


OPERATOR = Mapper(
    name="video_extract_frames_mapper",
    version=1,
    summary="frames become JPEG files, listed in a field of their own",
    compute="cpu",
    role="frames",
    params=ExtractFramesParams,
    make=make,
    frames_option="frame_field",
    folder_option="frame_dir",
    aliases={"frame_key": "frame_field"},
    ignored={
        "video_backend": "videos are read by one reader",
        "legacy_split_by_text_token": "frames of every video of a sample are extracted, whatever its text says",
    },
)
