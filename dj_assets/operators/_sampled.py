"""Small grey pictures, as several operators look at them: one conversion of a frame then serves all of them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import Look, Size, VideoInfo, uniform
from dj_assets.operators._contract import Params

SHORT_SIDE_PX = 256
"""Of every small picture; smaller ones are scaled up to it."""

LONG_SIDE_PX = 2048
"""At most; what is longer than 8:1 is squeezed to that, so that a picture of a few pixels by thousands costs little."""


GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, without their whole part, fill the range from 0 to 1 evenly and never fall into step with frames."""


class SampledParams(Params):
    """For operators that look at evenly spaced frames."""

    frame_sample_num: int = Field(9, ge=1, description="frames looked at, evenly spaced, 1 or more")


def small_size(size: Size) -> Size:
    """Size at which a displayed picture is looked at: short side 256 px, same shape up to 8:1.

    >>> small_size(Size(1080, 1920))
    Size(height=256, width=455)
    """
    long_px = min(max(round(SHORT_SIDE_PX * max(size) / min(size)), SHORT_SIDE_PX), LONG_SIDE_PX)
    return Size(SHORT_SIDE_PX, long_px) if size.width >= size.height else Size(long_px, SHORT_SIDE_PX)


def small_grey(info: VideoInfo) -> Look:
    """Small, grey, turned as players do."""
    return Look("gray8", small_size(info.displayed_size), apply_rotation=True)


def sampled(info: VideoInfo, params: SampledParams) -> npt.NDArray[np.int64]:
    """The evenly spaced frames that params ask for; 9 of them hold the 3 of the text filters.

    int64 [k], 1 <= k <= frame_sample_num, increasing. Raises `TooShort` where there are no frames.
    """
    if info.num_frames_from_scan < 1:
        raise TooShort("the video has no frames", allowed="at least 1 frame", try_="fetch it again")
    return uniform(info, params.frame_sample_num)


def spread_instants(last_seconds: float, rate: float) -> npt.NDArray[np.float64]:
    """Instants from 0 to last_seconds, one in each 1 / rate of a second, increasing; the first is 0.

    Each lies at another share of its stretch of time, so that repeated frames (animation drawn on twos, 24 fps shown at
    30) are met in every phase.
    """
    numbers = np.arange(math.floor(last_seconds * rate) + 1)
    instants = (numbers + numbers * GOLDEN % 1) / rate
    return instants[instants <= last_seconds]
