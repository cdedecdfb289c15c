"""video_motion_score_filter: known motions, upstream's frames, upstream's numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from dj_assets.frames import Size
from dj_assets.operators.video_motion_score_filter import MotionParams, resized
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_motion_score_filter"


@pytest.mark.parametrize("pixels_per_frame", [1, 2, 3])
def test_a_texture_shifted_k_pixels_has_motion_k(tmp_path: Path, pixels_per_frame: int) -> None:
    frames = videos.shifting(videos.texture(height=128, width=192), num_frames=10, pixels_per_frame=pixels_per_frame)
    path = videos.write_video(tmp_path / "a.mp4", frames, fps=10, lossless=True)
    measured = measure(path, NAME, sampling_fps=10)
    each_frame = [value for index, value in enumerate(measured.window_values) if index != 1]
    assert each_frame == pytest.approx([pixels_per_frame] * 9, rel=0.15)
    assert measured.window_values[1] == pytest.approx(0, abs=0.01), "frame 1 is compared with itself, as upstream"


def test_a_still_has_none(still: Path) -> None:
    assert measure(still, NAME).values[0] == pytest.approx(0, abs=0.01)


def test_relative_divides_by_the_diagonal(moving_2px: Path) -> None:
    plain, relative = measure(moving_2px, NAME), measure(moving_2px, NAME, relative=True)
    assert relative.values[0] == pytest.approx(plain.values[0] / math.hypot(96, 128))


def test_one_frame_is_too_short_not_static(tmp_path: Path) -> None:
    measured = measure(videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=1)), NAME)
    assert (measured.status, measured.values) == ("too_short", ())


@pytest.mark.parametrize(
    ("name", "size", "params", "expected"),
    [
        ("as it is", (360, 640), {}, None),
        ("short side", (360, 640), {"size": 120}, (120, 213)),
        ("short side of a portrait", (640, 480), {"size": 120}, (160, 120)),
        ("one in a list", (360, 640), {"size": [120]}, (120, 213)),
        ("short and long, in any order", (360, 640), {"size": [160, 120]}, (120, 160)),
        ("capped", (360, 640), {"size": 120, "max_size": 160}, (90, 160)),
        ("cap alone", (360, 640), {"max_size": 320}, (180, 320)),
        ("multiples", (360, 640), {"divisible": 16}, (352, 640)),
        ("already so", (352, 640), {"divisible": 16}, None),
        ("upstream's swap", (360, 640), {"size": 120, "data_juicer_resize": True}, (213, 120)),
        ("square: nothing to swap", (90, 90), {"size": 30, "data_juicer_resize": True}, (30, 30)),
        ("never empty", (3, 4), {"divisible": 16}, (1, 1)),
    ],
)
def test_resize(name: str, size: tuple[int, int], params: dict[str, Any], expected: tuple[int, int] | None) -> None:
    assert resized(Size(*size), MotionParams(**params)) == expected, name


def test_a_resize_warns_once_at_load_which_way_round_it_is() -> None:
    assert MotionParams().warnings() == ()
    [right] = MotionParams(size=120).warnings()
    [swapped] = MotionParams(size=120, data_juicer_resize=True).warnings()
    assert "data_juicer_resize: true" in right and "swapped" in swapped


@pytest.mark.parametrize(
    ("clip", "params", "expected", "rel"),
    [
        ("video1", {}, 1.869316979078576, 1e-6),
        ("video2", {}, 3.521110291176654, 1e-6),
        ("video1", {"sampling_fps": 1}, 2.491705894470215, 5e-3),
        ("video1", {"relative": True}, 0.0025457045728504244, 5e-3),
        ("video1", {"size": 120}, 1.20456, 5e-3),
        ("video1", {"size": 120, "data_juicer_resize": True}, 1.463631272315979, 5e-3),
        ("video2", {"size": 120, "max_size": 160}, 1.82616, 5e-3),
    ],
)
def test_upstreams_numbers(media: Path, clip: str, params: dict[str, Any], expected: float, rel: float) -> None:
    assert measure(media / f"{clip}.mp4", NAME, **params).values[0] == pytest.approx(expected, rel=rel)
