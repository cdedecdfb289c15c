"""video_resolution_filter: width and height in pixels."""

from __future__ import annotations

from pathlib import Path

from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_resolution_filter"


def test_width_then_height(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=2, height=48, width=80))
    assert measure(path, NAME).values == (80.0, 48.0)


def test_rotation_does_not_count_as_upstream(tmp_path: Path) -> None:
    frames = videos.numbered(num_frames=2, height=48, width=80)
    path = videos.write_video(tmp_path / "a.mp4", frames, rotation_degrees=90)
    assert measure(path, NAME).values == (80.0, 48.0)


def test_tutorial(media: Path) -> None:
    assert measure(media / "video2.mp4", NAME).values == (480.0, 640.0)
