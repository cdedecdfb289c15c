"""Keeps samples whose videos spend between `min_bitrate` and `max_bitrate` kbit on a second of pictures.

Ours, not Data-Juicer's.
"""

from __future__ import annotations

import math

from dj_assets.errors import Unreadable
from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import MAX_FLOAT, Bound, NoParams, Operator, Stat


def read(info: VideoInfo, params: NoParams) -> tuple[float, float]:
    """(kbit/s, bits per pixel) of the packets of the video stream alone, without sound or container.

    Raises `Unreadable` where the packets were not read.
    """
    if info.packet_bytes is None:
        raise Unreadable("the bytes of the video's packets are not known", try_="measure the file again")
    bits = 8 * info.packet_bytes
    return bits / 1000 / info.duration_seconds, bits / (info.num_frames_from_scan * math.prod(info.size))


OPERATOR = Operator(
    name="video_bitrate_filter",
    version=1,
    summary="kbit/s of the video's packets, and their bits per pixel and frame, which sizes and rates do not move; "
    "ours, not Data-Juicer's",
    compute="header",
    params=NoParams,
    stats=(
        Stat("video_bitrate", unit="kbit/s"),
        Stat("video_bits_per_pixel", unit="bit"),
    ),
    bounds=(
        Bound("min_bitrate", "video_bitrate", "min", 0.0, help="kbit/s"),
        Bound("max_bitrate", "video_bitrate", "max", MAX_FLOAT, help="kbit/s"),
        Bound("min_bits_per_pixel", "video_bits_per_pixel", "min", 0.0, help="bits per pixel of each frame"),
        Bound("max_bits_per_pixel", "video_bits_per_pixel", "max", MAX_FLOAT, help="bits per pixel of each frame"),
    ),
    read=read,
)
