"""Keeps samples whose videos show between `min_fps` and `max_fps` frames per second, and that evenly enough.

Ours, not Data-Juicer's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import MAX_FLOAT, Bound, NoParams, Operator, Stat

EVEN_SHARE = 0.1
EVEN_SECONDS = 0.0015
"""By so much of the usual time between frames, and by so long, a time may differ and is still even: clocks of phones
tremble, and some containers round to milliseconds. A frame left out or shown twice differs by half or more."""


def read(info: VideoInfo, params: NoParams) -> tuple[float, float]:
    """(frames per second, share of uneven frames). The first is frames / duration, not what the header claims."""
    return info.num_frames_from_scan / info.duration_seconds, uneven_share(info.pts_seconds)


def uneven_share(pts_seconds: npt.NDArray[np.float64]) -> float:
    """Share of frames, the last one aside, that are shown for another time than the median one; 0 for one frame.

    >>> uneven_share(np.array([0.0, 0.1, 0.2, 0.4, 0.5]))
    0.25
    """
    lengths = np.diff(pts_seconds)
    if not len(lengths):
        return 0.0
    usual = float(np.median(lengths))
    return float(np.mean(np.abs(lengths - usual) > max(EVEN_SHARE * usual, EVEN_SECONDS)))


OPERATOR = Operator(
    name="video_fps_filter",
    version=1,
    summary="frames per second, counted from packets, and the share of frames that are shown for another time than "
    "most (variable frame rate); ours, not Data-Juicer's",
    compute="header",
    params=NoParams,
    stats=(
        Stat("video_fps", unit="frames per second"),
        Stat("video_uneven_frames_ratio", unit="share of frames", high=1.0),
    ),
    bounds=(
        Bound("min_fps", "video_fps", "min", 8.0, help="frames per second; fewer do not pass for motion"),
        Bound("max_fps", "video_fps", "max", MAX_FLOAT, help="frames per second"),
        Bound(
            "max_uneven_ratio",
            "video_uneven_frames_ratio",
            "max",
            MAX_FLOAT,
            help="a share of the frames, 0 to 1; 0 keeps constant frame rates alone",
        ),
    ),
    read=read,
)
