"""Times and frames at which a video is cut."""

from __future__ import annotations

import numpy as np

from dj_assets.frames import Size, VideoInfo
from dj_assets.operators._mapper import Span
from dj_assets.operators._spans import spans_at, spans_between

INFO = VideoInfo(Size(4, 4), 10.0, 1.0, np.arange(10) / 10, np.zeros(1, dtype=np.int64))


def test_a_frame_belongs_to_the_piece_in_which_it_begins() -> None:
    assert spans_between(INFO, [(0.0, 0.3), (0.3, 0.55), (0.55, 1.0)]) == [Span(0, 3), Span(3, 6), Span(6, 10)]


def test_pieces_without_a_frame_are_left_out() -> None:
    assert spans_between(INFO, [(0.0, 0.05), (0.05, 0.06), (0.95, 1.0)]) == [Span(0, 1)]


def test_cuts_outside_and_twice_do_nothing() -> None:
    assert spans_at([7, 3, 3, 0, 10, 12, -1], 10) == [Span(0, 3), Span(3, 7), Span(7, 10)]
    assert spans_at([], 10) == [Span(0, 10)]
