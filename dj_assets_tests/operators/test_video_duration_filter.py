"""video_duration_filter: seconds, by packets."""

from __future__ import annotations

from pathlib import Path

import pytest

from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_duration_filter"


@pytest.mark.parametrize(("num_frames", "fps", "seconds"), [(24, 24, 1.0), (10, 25, 0.4), (1, 10, 0.1), (9, 2, 4.5)])
def test_frames_over_rate(tmp_path: Path, num_frames: int, fps: int, seconds: float) -> None:
    path = videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=num_frames), fps=fps)
    assert measure(path, NAME).values == (pytest.approx(seconds),)


def test_unrounded_as_upstream_1_6(media: Path) -> None:
    assert measure(media / "video1.mp4", NAME).values == (pytest.approx(11.75, rel=1e-6),)
    assert measure(media / "video2.mp4", NAME).values == (pytest.approx(23.166666666666668, rel=1e-6),)
