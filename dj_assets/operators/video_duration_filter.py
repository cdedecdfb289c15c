"""Keeps samples whose videos last between `min_duration` and `max_duration` seconds."""

from __future__ import annotations

from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import MAX_INT, Bound, NoParams, Operator, Stat


def read(info: VideoInfo, params: NoParams) -> tuple[float]:
    """Seconds from the first frame's start to the last frame's end, unrounded (as Data-Juicer 1.6)."""
    return (info.duration_seconds,)


OPERATOR = Operator(
    name="video_duration_filter",
    version=1,
    summary="length of the video in seconds, counted from its packets",
    compute="header",
    params=NoParams,
    stats=(Stat("video_duration", unit="s"),),
    bounds=(
        Bound("min_duration", "video_duration", "min", 0.0, help="seconds"),
        Bound("max_duration", "video_duration", "max", MAX_INT, help="seconds"),
    ),
    read=read,
    ignored={"video_backend": "packets are always read through PyAV"},
)
