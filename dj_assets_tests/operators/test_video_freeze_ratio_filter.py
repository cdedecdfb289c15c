"""video_freeze_ratio_filter: known freezes, stutter, variable rates, noise of encoders, small things that move."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dj_assets.frames import Look, Size, VideoInfo, Windows
from dj_assets.operators import video_motion_dis_filter as dis
from dj_assets.operators._contract import View
from dj_assets.operators.video_freeze_ratio_filter import FreezeParams, draw, plan, score
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure
from dj_assets_tests.videos import Picture

NAME = "video_freeze_ratio_filter"


def moving(num_frames: int) -> list[Picture]:
    return videos.shifting(videos.texture(height=216, width=384), num_frames=num_frames, pixels_per_frame=2)


def held(num_frames: int, every: int) -> list[Picture]:
    """Each picture for so many frames."""
    return [frame for frame in moving(-(-num_frames // every)) for _ in range(every)][:num_frames]


def with_frozen_end(num_frames: int, share: float) -> list[Picture]:
    frames = moving(num_frames)
    first = round(num_frames * (1 - share))
    return frames[:first] + [frames[first - 1]] * (num_frames - first)


@pytest.mark.parametrize(
    ("case", "frames", "share"),
    [
        ("moves", moving(192), 0.0),
        ("still", moving(1) * 192, 1.0),
        ("frozen end", with_frozen_end(192, 0.25), 0.25),
        ("frozen for most", with_frozen_end(192, 0.75), 0.75),
        ("each frame twice", held(192, 2), 0.5),
        ("each frame three times", held(192, 3), 2 / 3),
        ("every fifth twice", [moving(160)[k - k // 6] for k in range(190)], 1 / 6),
    ],
)
@pytest.mark.parametrize("crf", ["18", "23"])
def test_known_freezes_are_found_through_the_encoders_noise(
    tmp_path: Path, crf: str, case: str, frames: list[Picture], share: float
) -> None:
    path = videos.write_video(tmp_path / "a.mp4", frames, fps=24, options={"crf": crf, "preset": "veryfast"})
    assert measure(path, NAME, sampling_fps=6).values[0] == pytest.approx(share, abs=0.1), case
    assert measure(path, NAME).values[0] == pytest.approx(share, abs=0.16), case


def test_a_frozen_end_is_found_however_coarse_the_encoding(tmp_path: Path) -> None:
    """Repeats of a frame or two drown in what a coarse encoder changes from frame to frame; longer ones settle."""
    path = videos.write_video(tmp_path / "a.mp4", with_frozen_end(192, 0.5), fps=24, options={"crf": "36"})
    assert measure(path, NAME).values[0] == pytest.approx(0.5, abs=0.1)


def test_a_variable_rate_without_the_repeated_frames_has_the_same_share(tmp_path: Path) -> None:
    """The last picture of each half second stands for 11 frames, or is one that is shown for as long."""
    frames = moving(192)
    kept = [index for index in range(192) if index % 24 <= 12]
    constant = videos.write_video(tmp_path / "a.mp4", [frames[min(k, k // 24 * 24 + 12)] for k in range(192)], fps=24)
    variable = videos.write_video(tmp_path / "b.mp4", [frames[k] for k in kept], fps=24, pts=kept)
    found = [measure(path, NAME, sampling_fps=8).values[0] for path in (constant, variable)]
    assert found == pytest.approx([11 / 24] * 2, abs=0.06)


def test_something_small_that_moves_is_no_freeze(tmp_path: Path) -> None:
    """A ball of a thirtieth of the height in front of a picture that stands still, as by a fixed camera."""
    frames = []
    for index in range(48):
        picture = videos.texture(height=360, width=640)
        picture[100:112, 10 + 5 * index : 22 + 5 * index] = 255
        frames.append(picture)
    path = videos.write_video(tmp_path / "a.mp4", frames, options={"crf": "18"})
    assert measure(path, NAME).values[0] == 0.0


def test_at_one_frame_a_second_the_next_frame_is_what_counts(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=10), fps=1)
    measured = measure(path, NAME)
    assert measured.values == (0.0,)
    assert len(measured.window_values) <= 10, "no pair more than there are"


def test_an_all_black_clip_stands_still(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 24)
    assert measure(path, NAME).values == (1.0,)


def test_one_frame_is_too_short_not_frozen(tmp_path: Path) -> None:
    measured = measure(videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=1)), NAME)
    assert (measured.status, measured.values) == ("too_short", ())


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 600), (600, 2)])
def test_pictures_of_any_shape_have_a_number(tmp_path: Path, height: int, width: int) -> None:
    frames = [np.full((height, width, 3), level, np.uint8) for level in (0, 120, 240)]
    assert measure(videos.write_video(tmp_path / "a.mp4", frames), NAME).values == (0.0,)


def info_of(times: list[float], duration: float) -> VideoInfo:
    return VideoInfo(Size(90, 160), 24.0, duration, np.array(times), np.array([0]))


def test_frames_are_neighbours_and_the_first_ones_those_of_motion() -> None:
    """What one filter decodes and makes small serves the other."""
    info = info_of((np.arange(240) / 24).tolist(), 10.0)
    windows = plan(info, FreezeParams()).windows
    assert np.diff(windows, axis=1).ravel().tolist() == [1] * len(windows)
    theirs = dis.plan(info, dis.DisParams())
    assert len(set(theirs.windows[:, 0]) - set(windows[:, 0])) <= 1
    assert theirs.look == plan(info, FreezeParams()).look


def test_a_last_frame_that_is_held_stands_still() -> None:
    held_on = plan(info_of([0.0, 0.1, 0.2, 0.3, 0.4], 4.0), FreezeParams(sampling_fps=4)).windows
    assert (held_on[:, 0] == held_on[:, 1]).mean() > 0.7
    usual = plan(info_of([0.0, 0.1, 0.2, 0.3, 0.4], 0.5), FreezeParams(sampling_fps=40)).windows
    assert (np.diff(usual, axis=1) == 1).all()


@pytest.mark.parametrize(("noise_level", "change", "still"), [(3.0, 2.0, 0.0), (4.0, 1.0, 1.0), (0.0, 5.0, 0.0)])
def test_the_noise_is_a_param_and_the_detail_says_the_change(noise_level: float, change: float, still: float) -> None:
    before = np.full((64, 64), 100, dtype=np.uint8)
    after = before.copy()
    after[:16, :16] += 5
    windows = Windows(np.stack([before, after])[None], np.array([[0, 1]]), np.array([[0.0, 0.04]]), Look("gray8"))
    scores = score(windows, FreezeParams(noise_level=noise_level), None)
    assert scores.values.tolist() == [still]
    assert json.loads(scores.details[0]) == {"change": change}


def test_without_noise_allowed_only_what_is_equal_stands_still() -> None:
    same = np.full((1, 2, 32, 32), 100, dtype=np.uint8)
    windows = Windows(same, np.array([[0, 1]]), np.array([[0.0, 0.04]]), Look("gray8"))
    assert score(windows, FreezeParams(noise_level=0), None).values.tolist() == [1.0]


def test_what_is_drawn_says_what_was_found() -> None:
    picture = videos.texture(height=96, width=144)
    seen = np.stack([picture[..., 0]] * 2)
    [[frame, difference]] = draw([View(np.stack([picture] * 2), seen, (0.0, 0.04))], FreezeParams())
    assert (frame.picture == picture).all()
    assert difference.caption == "stands still: squares change by 0.00"
    assert difference.scale is not None and difference.scale.unit == "grey levels"
    assert not difference.picture.max() > 10
