"""Splits a video at its key frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product
from dj_assets.operators._spans import spans_at


class SplitByKeyFrameParams(Params):
    """Nothing changes the pieces."""

    output_format: Literal["path"] = Field("path", description="path: the pieces are files")


def make(bench: Bench, params: SplitByKeyFrameParams, model: Any) -> Sequence[Product]:
    """A piece from each key frame to the next; the video itself where it has but one."""
    spans = spans_at(bench.info.keyframes.tolist(), bench.info.num_frames_from_scan)
    return bench.clips(spans) if len(spans) > 1 else [bench.parent()]


OPERATOR = Mapper(
    name="video_split_by_key_frame_mapper",
    version=1,
    summary="the pieces between key frames take the video's place",
    compute="cpu",
    role="clips",
    params=SplitByKeyFrameParams,
    make=make,
    keeps_original="keep_original_sample",
    closes_chunks=True,
    ignored={
        "video_backend": "videos are read and written by one reader and writer",
        "legacy_split_by_text_token": "every video of a sample is split, whether the text has a token for it or not",
        "ffmpeg_extra_args": "no ffmpeg program runs here; pieces are encoded at one fixed quality",
    },
    refused={"save_field": "leave it out: the pieces take the video's place in its own field"},
)
