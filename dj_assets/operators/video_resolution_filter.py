"""Keeps samples whose videos have a width and a height within bounds."""

from __future__ import annotations

from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import MAX_INT, Bound, NoParams, Operator, Stat


def read(info: VideoInfo, params: NoParams) -> tuple[float, float]:
    """(width, height) of the coded picture in pixels, before rotation, as Data-Juicer reads them."""
    return (float(info.size.width), float(info.size.height))


OPERATOR = Operator(
    name="video_resolution_filter",
    version=1,
    summary="width and height of the picture in pixels; a video passes when both do",
    compute="header",
    params=NoParams,
    stats=(
        Stat("video_width", unit="px", low=1, is_integer=True),
        Stat("video_height", unit="px", low=1, is_integer=True),
    ),
    bounds=(
        Bound("min_width", "video_width", "min", 1.0, help="pixels"),
        Bound("max_width", "video_width", "max", MAX_INT, help="pixels"),
        Bound("min_height", "video_height", "min", 1.0, help="pixels"),
        Bound("max_height", "video_height", "max", MAX_INT, help="pixels"),
    ),
    read=read,
)
