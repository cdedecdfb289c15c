"""Keeps samples whose videos have a width-to-height ratio within bounds."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import Bound, NoParams, Operator, Stat, number


def ratio(value: Any) -> float:
    """A bound as upstream writes it, `16:9` or `16/9`, or a plain number. Raises ValueError, ZeroDivisionError.

    Rounded to the nearest float, as the stat itself is: so a 16:9 clip meets `min_ratio: 16/9`, which upstream's
    comparison of a float with an exact fraction refuses.
    """
    if isinstance(value, str):
        return float(Fraction(value.replace(":", "/").replace(" ", "")))
    return number(value)


def read(info: VideoInfo, params: NoParams) -> tuple[float]:
    """Width / height of the coded picture, before rotation and with square pixels assumed, as Data-Juicer has it."""
    return (info.size.width / info.size.height,)


OPERATOR = Operator(
    name="video_aspect_ratio_filter",
    version=1,
    summary="width divided by height of the picture (no unit)",
    compute="header",
    params=NoParams,
    stats=(Stat("video_aspect_ratios", unit="ratio"),),
    bounds=(
        Bound(
            "min_ratio",
            "video_aspect_ratios",
            "min",
            9 / 21,
            read=ratio,
            help="a ratio such as 9/21, 9:21 or 0.43",
        ),
        Bound(
            "max_ratio",
            "video_aspect_ratios",
            "max",
            21 / 9,
            read=ratio,
            help="a ratio such as 21/9, 21:9 or 2.3",
        ),
    ),
    read=read,
)
