"""video_blur_filter: edges of known width, whatever their contrast, number, size of picture or noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dj_assets.frames import Size
from dj_assets.operators._contract import View
from dj_assets.operators.video_blur_filter import (
    LINES_PER_WIDTH,
    BlurParams,
    between_bars,
    draw,
    edges_of,
    lines_of,
    seen_size,
)
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure
from dj_assets_tests.videos import Picture

NAME = "video_blur_filter"


def shapes(height: int, width: int, *, seed: int = 0, low: int = 40, high: int = 200, count: int = 14) -> Picture:
    """Discs and boxes that are turned: edges of all directions, drawn four times as large and scaled down."""
    rng = np.random.default_rng(seed)
    canvas = np.full((4 * height, 4 * width), low, dtype=np.uint8)
    for index in range(count):
        x, y = int(rng.integers(4 * width)), int(rng.integers(4 * height))
        size = int(rng.integers(height // 3, height))
        level = int(high if index % 2 else (low + high) // 2)
        if index % 3:
            cv2.circle(canvas, (x, y), size // 2, level, -1)
        else:
            corners = cv2.boxPoints(((x, y), (size, size * 2), float(rng.integers(90))))
            cv2.fillPoly(canvas, [corners.astype(np.int32)], level)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.repeat(small[..., None], 3, axis=2)


def blurred(picture: Picture, width_px: float) -> Picture:
    return cv2.GaussianBlur(picture, (0, 0), width_px) if width_px else picture


@pytest.mark.parametrize("width_px", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_edges_of_known_width_resolve_the_lines_that_theory_says(width_px: float) -> None:
    lines = edges_of(blurred(shapes(540, 960), width_px)[..., 0]).lines
    assert lines == pytest.approx(LINES_PER_WIDTH * 540 / width_px, rel=0.17)


def test_what_is_sharp_to_the_pixel_resolves_most_lines_and_never_more_than_there_are() -> None:
    lines = edges_of(shapes(540, 960)[..., 0]).lines
    assert 0.6 * 540 < lines <= 540
    assert lines_of(squared_ratio=100, shorter=540) == pytest.approx(540)
    assert lines_of(squared_ratio=0.5, shorter=540) < 1, "an edge that gets steeper by blurring is none"


def test_the_formula_gives_the_width_back() -> None:
    for width_px2 in (0.5, 1.0, 4.0, 25.0):
        ratio = (width_px2 + 1 / 3 + 1) / (width_px2 + 1 / 3)
        assert lines_of(ratio, 540) == pytest.approx(LINES_PER_WIDTH * 540 / width_px2**0.5)


@pytest.mark.parametrize("relative_width", [0.004, 0.008])
def test_one_scene_has_one_number_at_every_size(tmp_path: Path, relative_width: float) -> None:
    found = {}
    for height in (240, 360, 540, 1080):
        picture = blurred(shapes(height, 16 * height // 9), relative_width * height)
        path = videos.write_video(tmp_path / f"{height}.mp4", [picture] * 2, options={"crf": "12"})
        found[height] = measure(path, NAME).values[0]
    assert found == pytest.approx(dict.fromkeys(found, LINES_PER_WIDTH / relative_width), rel=0.27)


@pytest.mark.parametrize(("low", "high"), [(40, 200), (100, 140), (2, 40), (200, 250)])
@pytest.mark.parametrize("count", [4, 40])
def test_neither_contrast_nor_the_number_of_edges_moves_it(low: int, high: int, count: int) -> None:
    picture = blurred(shapes(540, 960, low=low, high=high, count=count), 1.5)[..., 0]
    assert edges_of(picture).lines == pytest.approx(LINES_PER_WIDTH * 540 / 1.5, rel=0.2)


def test_grain_does_not_make_a_blurred_picture_sharp() -> None:
    rng = np.random.default_rng(0)
    picture = blurred(shapes(540, 960), 2.0)[..., 0]
    noisy = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    assert edges_of(noisy).lines == pytest.approx(edges_of(picture).lines, rel=0.15)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_resolves_nothing(tmp_path: Path, level: int) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [np.full((96, 128, 3), level, np.uint8)] * 3)
    assert measure(path, NAME).values == (0.0,)


def test_fades_do_not_blur_a_video(tmp_path: Path) -> None:
    """Black for less than half of the time: the median frame is one of the others."""
    frames = [np.zeros((270, 480, 3), np.uint8)] * 8 + [shapes(270, 480)] * 12
    path = videos.write_video(tmp_path / "a.mp4", frames)
    measured = measure(path, NAME)
    assert min(measured.window_values) == 0.0 and measured.values[0] > 150


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 600), (900, 16)])
def test_pictures_of_any_shape_and_a_single_frame_have_a_number(tmp_path: Path, height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    path = videos.write_video(tmp_path / "a.mp4", [rng.integers(0, 255, (height, width, 3), dtype=np.uint8)])
    measured = measure(path, NAME)
    assert measured.status == "ok" and 0 <= measured.values[0] <= min(height, width)


def test_a_turned_video_has_the_number_of_the_plain_one(tmp_path: Path) -> None:
    frames = [blurred(shapes(270, 480), 1.0)] * 2
    plain = measure(videos.write_video(tmp_path / "a.mp4", frames), NAME)
    turned = measure(videos.write_video(tmp_path / "b.mp4", frames, rotation_degrees=90), NAME)
    assert turned.values[0] == pytest.approx(plain.values[0], rel=0.02)


@pytest.mark.parametrize("width_px", [0.0, 1.5, 6.0])
@pytest.mark.parametrize(("rows", "columns"), [(40, 0), (0, 60), (90, 0)])
def test_the_edges_of_black_bars_do_not_count(tmp_path: Path, width_px: float, rows: int, columns: int) -> None:
    """They are sharp, and among the strongest, however blurred the picture between them is."""
    picture = blurred(shapes(540, 960), width_px)
    barred = picture.copy()
    barred[:rows], barred[len(barred) - rows :] = 0, 0
    barred[:, :columns], barred[:, barred.shape[1] - columns :] = 0, 0
    plain, found = (
        measure(videos.write_video(tmp_path / name, [one] * 2, options={"crf": "12"}), NAME)
        for name, one in (("a.mp4", picture), ("b.mp4", barred))
    )
    assert found.values[0] == pytest.approx(plain.values[0], rel=0.15)


def test_the_picture_between_bars_ends_before_their_edges() -> None:
    picture = np.full((540, 960), 120, np.uint8)
    assert between_bars(picture) is None
    assert between_bars(np.zeros_like(picture)) is None
    picture[:60] = 16
    found = between_bars(picture)
    assert found is not None and 64 <= found[0] <= 76 and found[1:] == (540, 0, 960)


@pytest.mark.parametrize(
    ("name", "size", "seen"),
    [
        ("down", (1080, 1920), (540, 960)),
        ("never up", (144, 176), (144, 176)),
        ("portrait", (1920, 1080), (960, 540)),
        ("a thread", (4, 8000), (1, 2048)),
    ],
)
def test_pictures_are_seen_at_one_size_or_their_own(name: str, size: tuple[int, int], seen: tuple[int, int]) -> None:
    assert seen_size(Size(*size), BlurParams().short_side) == seen, name


def test_what_is_drawn_has_the_measured_edges_in_green() -> None:
    picture = shapes(270, 480)
    [[frame, marked]] = draw([View(picture[None], picture[None, ..., 0], (0.0,))], BlurParams())
    found = edges_of(picture[..., 0])
    assert (frame.picture == picture).all()
    assert (((marked.picture == (0, 255, 0)).all(axis=2)) == found.mask).all()
    assert marked.caption == f"edges resolve {found.lines:.0f} of 270 lines"
