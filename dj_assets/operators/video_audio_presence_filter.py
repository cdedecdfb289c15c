"""Keeps samples whose videos have sound for at least `min_ratio` of their time: packets, not a mere claim of a stream.

Ours, not Data-Juicer's. Packets are not decoded, so a track of silence is sound as well.
"""

from __future__ import annotations

from dj_assets.errors import Unreadable
from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import Bound, NoParams, Operator, Stat


def read(info: VideoInfo, params: NoParams) -> tuple[float]:
    """Share of the time of the pictures in which the fullest audio stream has packets; 0 without one.

    Raises `Unreadable` where the packets were not read.
    """
    if info.audio_seconds is None:
        raise Unreadable("the times of the video's audio packets are not known", try_="measure the file again")
    return (min(1.0, info.audio_seconds / info.duration_seconds),)


OPERATOR = Operator(
    name="video_audio_presence_filter",
    version=1,
    summary="share (ratio) of the video's time that audio packets cover, silence included; ours, not Data-Juicer's",
    compute="header",
    params=NoParams,
    stats=(Stat("video_audio_ratio", unit="ratio", high=1.0),),
    bounds=(
        Bound("min_ratio", "video_audio_ratio", "min", 0.5, help="a share of the video's time, 0 to 1"),
        Bound("max_ratio", "video_audio_ratio", "max", 1.0, help="a share of the video's time; 0 keeps silent files"),
    ),
    read=read,
)
