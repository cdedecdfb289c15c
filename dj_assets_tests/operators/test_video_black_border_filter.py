"""video_black_border_filter: bars of known widths, against noise, logos, dark scenes, titles and odd shapes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dj_assets.operators._bars import Bars, bar_depth, bars_of
from dj_assets.operators._contract import View
from dj_assets.operators.video_black_border_filter import BorderParams, draw
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure
from dj_assets_tests.videos import Picture

NAME = "video_black_border_filter"
LEVEL = BorderParams().black_level


def boxed(frames: list[Picture], *, rows: tuple[int, int] = (0, 0), columns: tuple[int, int] = (0, 0)) -> list[Picture]:
    """The frames with black bars put around them: pixels (above, below) and (left, right)."""
    return [np.pad(frame, (rows, columns, (0, 0))) for frame in frames]


def scene(height: int = 180, width: int = 320, *, num_frames: int = 12, light: float = 1.0) -> list[Picture]:
    frames = videos.shifting(videos.texture(height=height, width=width), num_frames=num_frames, pixels_per_frame=3)
    return [(frame * light).astype(np.uint8) for frame in frames]


@pytest.mark.parametrize(
    ("case", "rows", "columns", "expected"),
    [
        ("none", (0, 0), (0, 0), (0.0, 0.0, 0.0)),
        ("letterbox", (30, 30), (0, 0), (0.25, 0.25, 0.0)),
        ("pillarbox", (0, 0), (80, 80), (1 / 3, 0.0, 1 / 3)),
        ("one below", (0, 60), (0, 0), (0.25, 0.25, 0.0)),
        ("both", (60, 60), (80, 80), (0.6, 0.4, 1 / 3)),
    ],
)
def test_known_bars_have_their_shares(
    tmp_path: Path, case: str, rows: tuple[int, int], columns: tuple[int, int], expected: tuple[float, ...]
) -> None:
    path = videos.write_video(tmp_path / "a.mp4", boxed(scene(), rows=rows, columns=columns))
    assert measure(path, NAME).values == pytest.approx(expected, abs=0.01), case


def test_the_detail_says_each_bar(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", boxed(scene(), rows=(20, 40)))
    [detail] = measure(path, NAME).window_details
    assert json.loads(detail) == pytest.approx({"top": 20 / 240, "bottom": 40 / 240, "left": 0, "right": 0}, abs=0.006)


@pytest.mark.parametrize("light", [1.0, 0.3, 0.12])
def test_bars_beside_dark_scenes_under_noise_and_coarse_encoding(tmp_path: Path, light: float) -> None:
    rng = np.random.default_rng(0)
    frames = boxed(scene(light=light), rows=(30, 30))
    noisy = [np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    path = videos.write_video(tmp_path / "a.mp4", noisy, options={"crf": "34"})
    assert measure(path, NAME).values[1] == pytest.approx(0.25, abs=0.01)


def test_bars_that_are_not_quite_black_are_bars(tmp_path: Path) -> None:
    """Grey level 16: what black is where a full-range picture was taken for one of limited range."""
    frames = [np.where(frame == 0, 16, frame).astype(np.uint8) for frame in boxed(scene(), rows=(30, 30))]
    path = videos.write_video(tmp_path / "a.mp4", frames)
    assert measure(path, NAME).values[1] == pytest.approx(0.25, abs=0.01)
    assert measure(path, NAME, black_level=8).values[1] == 0.0


def test_logos_and_subtitles_on_bars_leave_them_bars(tmp_path: Path) -> None:
    frames = boxed(scene(), rows=(40, 40))
    for index, frame in enumerate(frames):
        frame[10:28, 10:60] = 220  # a logo
        if index > 4:
            said = "I can hear them coming over the hill"  # over most of the width
            cv2.putText(frame, said, (10, 246), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    path = videos.write_video(tmp_path / "a.mp4", frames)
    assert measure(path, NAME).values[1] == pytest.approx(80 / 260, abs=0.01)


def test_a_fade_from_black_is_no_border_and_a_black_clip_all_border(tmp_path: Path) -> None:
    faded = [(frame * min(1.0, index / 40)).astype(np.uint8) for index, frame in enumerate(scene(num_frames=48))]
    assert measure(videos.write_video(tmp_path / "a.mp4", faded), NAME).values == (0.0, 0.0, 0.0)
    black = [np.zeros((90, 160, 3), np.uint8)] * 5
    assert measure(videos.write_video(tmp_path / "b.mp4", black), NAME).values == (1.0, 1.0, 0.0)


def test_a_night_skyline_and_a_dark_corner_are_no_bars() -> None:
    """Black above an uneven line, and black above half of the width."""
    rng = np.random.default_rng(0)
    skyline = np.full((256, 400), 90, dtype=np.uint8)
    for column, height in enumerate(np.repeat(rng.integers(20, 120, 50), 8)):
        skyline[:height, column] = 0
    assert bars_of(skyline, LEVEL) == Bars()
    corner = np.full((256, 400), 90, dtype=np.uint8)
    corner[:80, :200] = 0
    assert bars_of(corner, LEVEL) == Bars()


def test_a_title_on_black_is_no_picture_between_bars() -> None:
    title = np.zeros((256, 455), dtype=np.uint8)
    title[120:140, 150:300] = 255
    assert bars_of(title, LEVEL) == Bars()


@pytest.mark.parametrize(
    ("case", "rows", "depth"),
    [
        ("lit to the edge", [200, 200, 200, 200], 0),
        ("one row", [0, 200, 200, 200], 1),
        ("noise", [2, 9, 200, 200], 2),
        ("grey edge", [60, 60, 200, 200], 0),
        ("all black", [0, 3, 0, 5], 4),
    ],
)
def test_a_bar_ends_where_the_picture_begins_at_once(case: str, rows: list[int], depth: int) -> None:
    assert bar_depth(np.repeat(np.array(rows, dtype=np.uint8)[:, None], 6, axis=1), LEVEL) == depth, case


def test_a_turned_video_has_the_bars_that_are_shown(tmp_path: Path) -> None:
    """Bars left and right of the coded picture are above and below where a player turns it."""
    frames = boxed(scene(180, 240), columns=(40, 40))
    path = videos.write_video(tmp_path / "a.mp4", frames, rotation_degrees=90)
    assert measure(path, NAME).values == pytest.approx((0.25, 0.25, 0.0), abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 600), (1200, 16)])
def test_pictures_of_any_shape_and_a_single_frame_have_numbers(tmp_path: Path, height: int, width: int) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [np.full((height, width, 3), 180, np.uint8)])
    assert measure(path, NAME).values == (0.0, 0.0, 0.0)


def test_what_is_drawn_has_the_bars_in_red() -> None:
    picture = boxed([np.full((90, 160, 3), 200, np.uint8)], rows=(15, 15))[0]
    view = View(picture[None], picture[None, ..., 0], (0.0,))
    [[frame, found]] = draw([view], BorderParams())
    red = (frame.picture == (127, 0, 0)).all(axis=2)
    assert red[:15].all() and red[-15:].all() and not red[15:-15].any()
    assert "top 15 px, bottom 15 px" in found.caption
