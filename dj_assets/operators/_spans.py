"""Times and frames at which a video is cut -> the frames of each piece. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from dj_assets.frames import SAME_INSTANT_SECONDS, VideoInfo
from dj_assets.operators._mapper import Span


def spans_between(info: VideoInfo, pieces: Sequence[tuple[float, float]]) -> list[Span]:
    """The frames shown from each begin up to, not including, each end; pieces without a frame are left out.

    pieces: (begin, end) in seconds, the first frame being 0.
    """
    times = info.pts_seconds
    edges = [(np.searchsorted(times, np.array(piece) - SAME_INSTANT_SECONDS)).tolist() for piece in pieces]
    return [Span(first, stop) for first, stop in edges if first < stop]


def spans_at(cuts: Iterable[int], num_frames: int) -> list[Span]:
    """Pieces that begin at the first frame and at each cut, and together are the whole. cuts: frame indices."""
    inside = sorted({cut for cut in cuts if 0 < cut < num_frames})
    return [Span(first, stop) for first, stop in pairwise([0, *inside, num_frames]) if first < stop]
