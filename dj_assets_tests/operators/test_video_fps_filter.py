"""video_fps_filter: known rates in every container, and times that are uneven by known shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dj_assets.operators.video_fps_filter import uneven_share
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_fps_filter"


@pytest.mark.parametrize("fps", [1, 10, 24, 60])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_constant_rate_is_itself_and_even(tmp_path: Path, fps: int, suffix: str) -> None:
    path = videos.write_video(tmp_path / f"a{suffix}", videos.numbered(num_frames=20), fps=fps)
    assert measure(path, NAME).values == (pytest.approx(fps), 0.0)


def test_one_frame_has_the_rate_that_its_header_names(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=1), fps=25)
    assert measure(path, NAME).values == (pytest.approx(25), 0.0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_of_a_variable_rate_it_is_frames_by_duration(tmp_path: Path, suffix: str) -> None:
    """24 fps with every fourth frame left out: 3 of 4 are left, and every third of these is shown twice as long."""
    ticks = [tick for tick in range(96) if tick % 4 != 3]
    frames = videos.numbered(num_frames=24) * 3
    path = videos.write_video(tmp_path / f"a{suffix}", frames, fps=24, pts=ticks)
    fps, uneven = measure(path, NAME).values
    assert fps == pytest.approx(18, rel=0.02)  # the last frame's length is lost in some containers
    assert uneven == pytest.approx(23 / 71)


@pytest.mark.parametrize(
    ("case", "times", "share"),
    [
        ("none", [], 0.0),
        ("one", [0.0], 0.0),
        ("even", [0.0, 0.1, 0.2, 0.3], 0.0),
        ("one held", [0.0, 0.1, 0.2, 0.4, 0.5], 0.25),
        ("a pause", [0.0, 0.04, 0.08, 7.0, 7.04], 0.25),
        ("two rates", [*np.arange(9) / 25, *(8 / 25 + np.arange(1, 5) / 30)], 4 / 12),
    ],
)
def test_uneven_frames_are_those_shown_for_another_time_than_most(case: str, times: list[float], share: float) -> None:
    assert uneven_share(np.array(times)) == pytest.approx(share), case


@pytest.mark.parametrize("fps", [24, 30, 50, 60, 120])
def test_times_rounded_to_milliseconds_are_even(fps: int) -> None:
    assert uneven_share(np.round(np.arange(500) / fps, 3)) == 0.0


def test_a_phones_trembling_clock_is_even() -> None:
    times = np.arange(500) / 30 + np.random.default_rng(0).normal(0, 0.0005, 500)
    assert uneven_share(times) < 0.01
