"""video_exposure_filter: pictures of known dark, bright and mean levels; which of several stats a bound is on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dj_assets.frames import Look, Windows
from dj_assets.operators._contract import View
from dj_assets.operators.video_exposure_filter import BLUE, OPERATOR, RED, ExposureParams, draw, score
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_exposure_filter"


def three_bands(height: int = 90, width: int = 160) -> videos.Picture:
    """A fifth of the width black, three tenths white, the rest of grey level 100."""
    picture = np.full((height, width, 3), 100, dtype=np.uint8)
    picture[:, : width // 5] = 0
    picture[:, -3 * width // 10 :] = 255
    return picture


def test_known_bands_have_their_shares(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [three_bands()] * 12, lossless=True)
    dark, bright, mean = measure(path, NAME).values
    assert (dark, bright) == (pytest.approx(0.2, abs=0.01), pytest.approx(0.3, abs=0.01))
    assert mean == pytest.approx(0.3 * 255 + 0.5 * 100, abs=2)


def test_it_is_the_mean_over_frames_and_each_stat_has_its_own_windows(tmp_path: Path) -> None:
    """Half of the frames black, half white: of 9 evenly spaced ones 4 or 5."""
    frames = [np.full((64, 96, 3), level, dtype=np.uint8) for level in [0] * 45 + [255] * 45]
    measured = measure(videos.write_video(tmp_path / "a.mp4", frames, lossless=True), NAME)
    dark, bright, mean = (measured.of_stat(index) for index in range(3))
    assert len(dark) == len(bright) == len(mean) == 9
    assert [d + b for d, b in zip(dark, bright, strict=True)] == [1.0] * 9
    assert measured.values[0] == pytest.approx(np.mean(dark)) == pytest.approx(0.5, abs=0.06)
    assert measured.values[2] == pytest.approx(np.mean(mean))


@pytest.mark.parametrize(("level", "dark", "bright"), [(24, 1, 0), (25, 0, 0), (244, 0, 0), (245, 0, 1)])
def test_the_levels_themselves_count(level: int, dark: int, bright: int) -> None:
    data = np.full((1, 1, 5, 7), level, dtype=np.uint8)
    windows = Windows(data, np.array([[0]]), np.array([[0.0]]), Look("gray8"))
    assert score(windows, ExposureParams(), None).values.tolist() == [[dark, bright, pytest.approx(level)]]


def test_levels_that_leave_nothing_between_are_refused() -> None:
    with pytest.raises(ValueError, match="not below"):
        ExposureParams(dark_level=200, bright_level=200)


def test_an_all_black_clip_is_dark_all_over(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    assert measure(path, NAME).values == (1.0, 0.0, pytest.approx(0, abs=1))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 600), (1080, 16)])
def test_pictures_of_any_shape_and_a_single_frame_have_numbers(tmp_path: Path, height: int, width: int) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [np.full((height, width, 3), 255, np.uint8)])
    assert measure(path, NAME).values == (0.0, pytest.approx(1.0), pytest.approx(255, abs=2))


def test_dark_and_bright_are_bounded_apart() -> None:
    assert {bound.option: bound.stat for bound in OPERATOR.bounds if bound.side == "max"} == {
        "max_dark_ratio": "video_dark_ratio",
        "max_bright_ratio": "video_bright_ratio",
        "max_brightness": "video_brightness",
    }


def test_what_is_drawn_marks_what_is_counted() -> None:
    picture = three_bands()
    seen = picture[None, ..., 0]
    [[plain, marked]] = draw([View(picture[None], seen, (0.0,))], ExposureParams())
    assert (plain.picture == picture).all()
    assert (marked.picture == BLUE).all(axis=2).mean() == pytest.approx(0.2)
    assert (marked.picture == RED).all(axis=2).mean() == pytest.approx(0.3)
    assert marked.caption == "20.0% too dark (blue), 30.0% too bright (red)"
