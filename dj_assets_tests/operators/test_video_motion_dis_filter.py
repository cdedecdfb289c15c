"""video_motion_dis_filter: known speeds at every size and rate, stills, noise, repeated frames, odd shapes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dj_assets.frames import Look, Size, VideoInfo, Windows
from dj_assets.operators._contract import View
from dj_assets.operators.video_motion_dis_filter import MIN_SCORE, DisParams, draw, plan, score
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure
from dj_assets_tests.videos import Picture

NAME = "video_motion_dis_filter"


def video_info(times: np.ndarray) -> VideoInfo:
    return VideoInfo(Size(96, 128), 1 / float(np.diff(times).mean()), float(times[-1]), times, np.array([0]))


def gaps(info: VideoInfo, **params: float) -> np.ndarray:
    """Seconds between the two frames of each pair."""
    windows = plan(info, DisParams(**params)).windows
    return np.diff(info.pts_seconds[windows], axis=1)[:, 0]


@pytest.mark.parametrize(
    ("fps", "height", "width", "pixels_per_frame"),
    [
        (24, 96, 128, 1),
        (24, 96, 128, 3),
        (25, 256, 384, 2),
        (30, 360, 640, 4),
        (50, 360, 640, 2),
        (60, 360, 640, 2),
        (12, 360, 640, 8),
        (24, 720, 1280, 9),
        (30, 640, 360, 5),
    ],
)
def test_a_texture_moving_k_pixels_a_frame_has_k_times_fps_over_the_diagonal(
    tmp_path: Path, fps: int, height: int, width: int, pixels_per_frame: int
) -> None:
    picture = videos.texture(height=height, width=width)
    frames = videos.shifting(picture, num_frames=fps, pixels_per_frame=pixels_per_frame)
    path = videos.write_video(tmp_path / "a.mp4", frames, fps=fps, lossless=True)
    measured = measure(path, NAME)
    speed = pixels_per_frame * fps / math.hypot(height, width)
    assert measured.values[0] == pytest.approx(speed, rel=0.04)
    assert measured.window_values == pytest.approx([speed] * 2, rel=0.06)


def test_one_scene_has_one_number_at_every_size_and_rate(tmp_path: Path) -> None:
    """About a quarter of the picture's width a second, told by six encodings."""
    import cv2

    picture = videos.texture(height=360, width=640)
    found = {}
    for height, width in ((720, 1280), (360, 640), (144, 256)):
        for fps in (15, 60):
            pixels_per_frame = 160 // fps
            frames = videos.shifting(picture, num_frames=fps + 1, pixels_per_frame=pixels_per_frame)
            resized = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
            path = videos.write_video(tmp_path / f"{height}-{fps}.mp4", resized, fps=fps, lossless=True)
            found[height, fps] = measure(path, NAME).values[0] / (pixels_per_frame * fps)
    assert found == pytest.approx(dict.fromkeys(found, 1 / math.hypot(360, 640)), rel=0.05)


def test_frames_at_uneven_times_are_divided_by_their_own(tmp_path: Path) -> None:
    """24 fps with every second frame left out of the second half: twice the shift in twice the time."""
    ticks = [*range(24), *range(24, 48, 2)]
    picture = videos.texture(height=96, width=128)
    frames = [np.roll(picture, 2 * tick, axis=1) for tick in ticks]
    path = videos.write_video(tmp_path / "a.mp4", frames, fps=24, pts=ticks, lossless=True)
    measured = measure(path, NAME, sampling_fps=4)
    assert len(measured.window_values) == 8
    assert measured.window_values == pytest.approx([48 / 160] * 8, rel=0.06)


def test_a_still_has_none_and_grain_next_to_none(still: Path, tmp_path: Path) -> None:
    """Nothing moves; what 3 grey levels of noise in each frame add lies below the default bound."""
    assert measure(still, NAME).values[0] == pytest.approx(0, abs=1e-6)
    rng = np.random.default_rng(0)
    picture = videos.texture(height=360, width=640).astype(np.int16)
    frames = [np.clip(picture + rng.normal(0, 3, (360, 640, 1)), 0, 255).astype(np.uint8) for _ in range(24)]
    noisy = measure(videos.write_video(tmp_path / "a.mp4", frames, lossless=True), NAME)
    assert 0 < noisy.values[0] < MIN_SCORE / 2


def test_what_is_drawn_on_threes_is_not_taken_for_still(tmp_path: Path) -> None:
    """Each picture stands for 3 frames, and half a second is 12: every half second finds the same phase of them."""
    picture = videos.texture(height=96, width=128)
    frames = [np.roll(picture, 6 * (index // 3), axis=1) for index in range(24 * 8)]
    path = videos.write_video(tmp_path / "a.mp4", frames, lossless=True)
    measured = measure(path, NAME)
    assert min(measured.window_values) < 0.01, "some pairs are of one picture"
    assert measured.values[0] == pytest.approx(2 * 24 / 160, rel=0.15)


@pytest.mark.parametrize(
    ("fps", "frames_apart"), [(5, 1), (10, 1), (15, 1), (24, 2), (25, 2), (30, 2), (50, 4), (60, 5), (120, 10)]
)
def test_a_pair_is_about_a_twelfth_of_a_second_apart(fps: int, frames_apart: int) -> None:
    info = video_info(np.arange(20 * fps) / fps)
    assert gaps(info) == pytest.approx([frames_apart / fps] * len(gaps(info)))


def test_pairs_are_spread_over_the_video_at_the_rate_asked_for() -> None:
    info = video_info(np.arange(240) / 24)
    starts = info.pts_seconds[plan(info, DisParams()).windows[:, 0]]
    assert starts[0] == 0 and starts[-1] > 9
    in_each_half_second = np.histogram(starts, bins=20, range=(0, 10))[0]
    assert in_each_half_second[:-1].tolist() == [1] * 19, "the last half second may end before its turn"
    assert len(plan(info, DisParams(sampling_fps=4)).windows) in (39, 40)
    assert 190 < len(plan(info, DisParams(sampling_fps=1e12)).windows) < 240, "never more than there are frames"


@pytest.mark.parametrize(
    ("name", "times", "windows"),
    [
        ("two frames", [0.0, 0.5], [[0, 1]]),
        ("shorter than a pair", [0.0, 0.02, 0.04], [[0, 2]]),
        ("one a second", [0.0, 1.0, 2.0, 3.0], [[0, 1], [1, 2], [2, 3]]),
        ("a long pause", [0.0, 0.04, 9.0], [[0, 1], [1, 2]]),
    ],
)
def test_every_video_of_two_frames_has_a_pair(name: str, times: list[float], windows: list[list[int]]) -> None:
    assert plan(video_info(np.array(times)), DisParams()).windows.tolist() == windows, name


def test_one_frame_is_too_short_not_static(tmp_path: Path) -> None:
    measured = measure(videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=1)), NAME)
    assert (measured.status, measured.values) == ("too_short", ())


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 600), (600, 2)])
def test_pictures_of_any_shape_have_a_number(tmp_path: Path, height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    frames: list[Picture] = [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(6)]
    measured = measure(videos.write_video(tmp_path / "a.mp4", frames), NAME)
    assert measured.status == "ok" and math.isfinite(measured.values[0])


def test_a_turned_video_is_compared_as_it_is_shown(tmp_path: Path) -> None:
    frames = videos.shifting(videos.texture(height=96, width=160), num_frames=24, pixels_per_frame=2)
    plain = videos.write_video(tmp_path / "a.mp4", frames, lossless=True)
    turned = videos.write_video(tmp_path / "b.mp4", frames, lossless=True, rotation_degrees=90)
    assert measure(turned, NAME).values[0] == pytest.approx(measure(plain, NAME).values[0], rel=0.03)


def test_the_number_depends_on_neither_threads_nor_earlier_pairs() -> None:
    import cv2

    frames = videos.shifting(videos.texture(height=256, width=455), num_frames=6, pixels_per_frame=5)
    data = np.stack([np.stack([frames[0], frames[k]])[..., 0] for k in range(1, 6)])
    indices = np.array([[0, k] for k in range(1, 6)])
    together = score(Windows(data, indices, indices / 24), DisParams(), None).values
    threads = cv2.getNumThreads()
    cv2.setNumThreads(threads + 1)
    try:
        alone = [
            score(Windows(data[k : k + 1], indices[k : k + 1], indices[k : k + 1] / 24), DisParams(), None).values[0]
            for k in range(5)
        ]
        assert cv2.getNumThreads() == threads + 1, "OpenCV is left as it was"
    finally:
        cv2.setNumThreads(threads)
    assert alone == together.tolist()


def test_the_heat_map_says_the_score() -> None:
    picture = videos.texture(height=96, width=144)
    first, second = picture, np.roll(picture, 6, axis=1)
    seen = np.stack([first[..., 0], second[..., 0]])
    view = View(np.stack([first, second]), seen, (1.0, 1.1))
    [[frame, _, heat]] = draw([view], DisParams())
    windows = Windows(seen[None], np.array([[0, 1]]), np.array([[1.0, 1.1]]))
    value = score(windows, DisParams(), None).values[0]
    assert value == pytest.approx(6 / math.hypot(96, 144) / 0.1, rel=0.05)
    assert heat.caption == f"length of flow, mean {value:.4g} diagonals/s"
    assert heat.scale is not None and heat.scale.unit == "diagonals/s"
    assert (frame.picture == first).all()


def test_times_gone_wrong_do_not_make_noise_a_motion() -> None:
    """Two frames a millionth of a second apart were 240 times faster for each 240th of a second that they lack."""
    texture = videos.texture(height=256, width=256)[..., 0]
    pair = np.stack([texture, np.roll(texture, 1, axis=1)])[None]

    def scored(seconds: float) -> float:
        windows = Windows(pair, np.array([[0, 1]]), np.array([[0.0, seconds]]), Look("gray8"))
        return float(score(windows, DisParams(), None).values[0])

    assert scored(1e-6) == pytest.approx(scored(1 / 240)) == pytest.approx(2 * scored(1 / 120), rel=1e-3)
