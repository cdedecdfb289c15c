"""Selectors and plans, on numbers alone."""

from __future__ import annotations

import numpy as np
import pytest

from dj_assets.frames import (
    FramePlan,
    Look,
    Size,
    VideoInfo,
    at_seconds,
    every_fps,
    keyframes,
    pairs,
    single,
    uniform,
)


def info(num_frames: int, fps: float = 24.0, keys: list[int] | None = None) -> VideoInfo:
    return VideoInfo(
        size=Size(36, 64),
        fps=fps,
        duration_seconds=num_frames / fps,
        pts_seconds=np.arange(num_frames) / fps,
        keyframes=np.array(keys or [], dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("name", "num_frames", "fps", "sampling_fps", "expected"),
    [
        ("two a second of 24", 40, 24, 2, [0, 1, 12, 24, 36]),
        ("tutorial's first clip has 25 frames in its sequence", 282, 24, 2, [0, 1, *range(12, 282, 12)]),
        ("half rounds to even: 25 / 2 = 12.5", 30, 25, 2, [0, 1, 12, 24]),
        ("step 1 compares frame 1 with itself", 4, 2, 2, [0, 1, 1, 2, 3]),
        ("more wanted than there are", 4, 24, 60, [0, 1, 1, 2, 3]),
        ("step capped at the last frame", 5, 24, 0.1, [0, 1, 4]),
        ("two frames", 2, 24, 2, [0, 1, 1]),
        ("one frame", 1, 24, 2, [0]),
        ("none", 0, 24, 2, []),
    ],
)
def test_every_fps(name: str, num_frames: int, fps: float, sampling_fps: float, expected: list[int]) -> None:
    assert every_fps(info(num_frames, fps), sampling_fps).tolist() == expected, name


@pytest.mark.parametrize(
    ("name", "num_frames", "count", "expected"),
    [
        ("first, middle, last", 282, 3, [0, 141, 281]),
        ("tutorial's second clip", 556, 3, [0, 278, 555]),
        ("five, by upstream's own table", 282, 5, [0, 71, 141, 212, 281]),
        ("one is the middle", 282, 1, [141]),
        ("two are the ends", 282, 2, [0, 281]),
        ("capped at the frame count", 2, 5, [0, 1]),
        ("a one-frame video", 1, 3, [0]),
        ("no frames", 0, 3, []),
    ],
)
def test_uniform(name: str, num_frames: int, count: int, expected: list[int]) -> None:
    assert uniform(info(num_frames), count).tolist() == expected, name


def test_uniform_of_variable_rate_goes_by_time_not_by_index() -> None:
    seconds = np.array([0.0, 0.1, 0.2, 0.3, 5.0, 9.0])
    video = VideoInfo(Size(8, 8), 10.0, 10.0, seconds, np.array([0]))
    assert uniform(video, 3).tolist() == [0, 4, 5]


def test_at_seconds_gives_each_frame_once_and_the_last_once() -> None:
    assert at_seconds(info(24), [0.0, 0.01, 0.02, 0.99, 2.0, 3.0]).tolist() == [0, 1, 2, 23]


def test_keyframes_fall_back_to_the_first_frame() -> None:
    assert keyframes(info(24, keys=[0, 12])).tolist() == [0, 12]
    assert keyframes(info(24)).tolist() == [0]
    assert keyframes(info(0)).tolist() == []


def test_pairs_and_single_are_windows_of_two_and_one() -> None:
    look = Look("gray8")
    assert pairs([0, 1, 1, 2], look).windows.tolist() == [[0, 1], [1, 1], [1, 2]]
    assert single([3, 7], look).frames.tolist() == [3, 7]
    assert pairs([0], look).windows.shape == (0, 2)


def test_plans_are_values() -> None:
    assert pairs([0, 1, 2], Look("gray8")) == pairs([0, 1, 2], Look("gray8"))
    assert len({single([1], Look("rgb24")), single([1], Look("rgb24")), single([1], Look("bgr24"))}) == 2


@pytest.mark.parametrize(
    ("name", "windows"), [("backwards in a row", [[2, 1]]), ("backwards between rows", [[1], [0]])]
)
def test_plans_that_one_pass_cannot_fill_are_refused(name: str, windows: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="do not decrease"):
        FramePlan(np.array(windows), Look("rgb24"))


def test_video_info_is_frozen_and_checked() -> None:
    video = info(3)
    with pytest.raises(ValueError, match="read-only"):
        video.pts_seconds[0] = 1
    with pytest.raises(ValueError, match="strictly increasing"):
        VideoInfo(Size(8, 8), 24.0, 1.0, np.array([0.0, 0.0]), np.array([0]))
    with pytest.raises(ValueError, match="rotation_degrees"):
        VideoInfo(Size(8, 8), 24.0, 1.0, np.array([0.0]), np.array([0]), rotation_degrees=45)
