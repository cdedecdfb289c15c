"""video_aspect_ratio_filter: width / height, and how its bounds are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dj_assets.operators.video_aspect_ratio_filter import ratio
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_aspect_ratio_filter"


def test_width_over_height(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=2, height=36, width=64))
    assert measure(path, NAME).values == (64 / 36,)


@pytest.mark.parametrize(
    ("given", "expected"), [("16:9", 16 / 9), ("16/9", 16 / 9), (" 4 / 3", 4 / 3), (1.5, 1.5), ("1.5", 1.5), (2, 2.0)]
)
def test_bounds(given: Any, expected: float) -> None:
    assert ratio(given) == expected


@pytest.mark.parametrize("given", ["wide", "16x9", "", "1/0", True, [1]])
def test_bounds_that_are_none(given: Any) -> None:
    with pytest.raises((ValueError, ZeroDivisionError)):
        ratio(given)


def test_a_16_9_clip_meets_16_9_which_upstream_refuses(media: Path) -> None:
    assert measure(media / "video1.mp4", NAME).values == (ratio("16/9"),)
