"""Black bars of a picture: what is black in all frames, from an edge of the picture to a straight line.

brightest of all frames     share of lit columns, row by row
......................      0 %
......LOGO............      6 %
......................      0 %        the last black row before a line from which on 40 % are lit: the bar ends
abcdefghijklmnopqrstuv    100 %
abcdefg  jklmn  pqrstu     85 %
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NOISE_LEVELS = 8
"""Grey levels by which a bar's pixels may be brighter than its outermost line, in the brightest of all frames."""

MOST_LIT_SHARE = 0.02
"""Of a black row's pixels; noise, or a line of the picture that bleeds into the bar, lights some."""

LEAST_LIT_SHARE = 0.4
"""Of the picture's first row: more than a logo or a skyline lights at once, less than all frames of a dark scene do."""

SOFT_ROWS = 3
"""Within so many rows of the last black one the picture begins; scaling and encoding make edges soft."""

MOST_OF_HEIGHT = 0.5
"""That one bar may take; beyond it the other one begins."""

LEAST_SIDE_SHARE = 0.2
"""Of the picture's height, and of its width, that bars leave; where it is less, it is a thing on black, a title say."""

Grey = npt.NDArray[np.uint8]


class Bars(NamedTuple):
    """Depths of the bars in pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


def bars_of(brightest: Grey, black_level: int) -> Bars:
    """Black bars of a picture, uint8 [H, W], that is the brightest of all frames. One that is black throughout is a bar
    at the top, as high as the picture."""
    height, width = brightest.shape
    top, bottom = _opposite(brightest, black_level)
    if top == height:
        return Bars(top=height)
    left, right = _opposite(brightest[top : height - bottom].T, black_level)
    is_picture = height - top - bottom >= LEAST_SIDE_SHARE * height and width - left - right >= LEAST_SIDE_SHARE * width
    return Bars(top, bottom, left, right) if is_picture else Bars()


def _opposite(brightest: Grey, black_level: int) -> tuple[int, int]:
    """Depths of the bars at the top and at the bottom; none where they leave nothing, unless all is black."""
    first = bar_depth(brightest, black_level)
    last = bar_depth(brightest[::-1], black_level)
    if first == len(brightest):
        return first, 0
    return (first, last) if first + last < len(brightest) else (0, 0)


def bar_depth(brightest: Grey, black_level: int) -> int:
    """Rows of the bar at the top of a picture, uint8 [H, W]: 0 without one, H where all is black.

    Of several lines that could end a bar the deepest does: a line of subtitles on the bar is one of the others.
    """
    height = len(brightest)
    level = float(np.median(brightest[0]))
    if level > black_level:
        return 0
    lit = brightest > level + NOISE_LEVELS
    lit = lit[:, lit.any(axis=0)]  # not those in which a bar at the side goes on
    if not lit.size:
        return height
    shares = lit.mean(axis=1)
    black = shares <= MOST_LIT_SHARE
    if not black[0]:
        return 0
    for last in np.flatnonzero(black[: int(MOST_OF_HEIGHT * height)])[::-1]:
        begins = np.flatnonzero(shares[last + 1 : last + 1 + SOFT_ROWS] >= LEAST_LIT_SHARE)
        if len(begins):
            return int(last + 1 + begins[0])
    return 0
