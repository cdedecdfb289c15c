"""Splits a video into pieces of a given duration, one after another or overlapping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product, Span
from dj_assets.operators._spans import spans_between


class SplitByDurationParams(Params):
    """Options that change the pieces."""

    split_duration: float = Field(10.0, gt=0, description="seconds of a piece, more than 0")
    overlap_duration: float = Field(
        0.0, ge=0, description="seconds that neighbouring pieces share, 0 or more, less than split_duration"
    )
    min_last_split_duration: float = Field(
        0.0, ge=0, description="seconds; a shorter last piece is left out, 0 keeps it whatever its length"
    )

    output_format: Literal["path"] = Field("path", description="path: the pieces are files")

    @field_validator("overlap_duration")
    @classmethod
    def _steps_forward(cls, value: float, info: ValidationInfo) -> float:
        piece = info.data.get("split_duration")
        if piece is not None and value >= piece:
            raise ValueError(f"must be less than split_duration {piece:g}")
        return value


def pieces(duration_seconds: float, params: SplitByDurationParams) -> list[tuple[float, float]]:
    """Begin and end of each piece in seconds. The first to reach the video's end is the last one.

    A piece begins every `split_duration - overlap_duration` seconds.
    """
    step = params.split_duration - params.overlap_duration
    found: list[tuple[float, float]] = []
    while (begin := len(found) * step) < duration_seconds:
        end = begin + params.split_duration
        if end >= duration_seconds:
            if duration_seconds - begin >= params.min_last_split_duration:
                found.append((begin, duration_seconds))
            break
        found.append((begin, end))
    return found


def spans(info: VideoInfo, params: SplitByDurationParams) -> list[Span]:
    """The frames of each piece."""
    return spans_between(info, pieces(info.duration_seconds, params))


def make(bench: Bench, params: SplitByDurationParams, model: Any) -> Sequence[Product]:
    """The pieces; the video itself where it is not longer than one."""
    if bench.info.duration_seconds <= params.split_duration:
        return [bench.parent()]
    return bench.clips(spans(bench.info, params))


OPERATOR = Mapper(
    name="video_split_by_duration_mapper",
    version=1,
    summary="pieces of split_duration seconds take the video's place",
    compute="cpu",
    role="clips",
    params=SplitByDurationParams,
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
