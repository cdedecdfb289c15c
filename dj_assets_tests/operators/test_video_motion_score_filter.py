"""video_motion_score_filter: known motions, upstream's frames, upstream's numbers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from dj_assets.frames import Look, Size, Windows
from dj_assets.operators import _device, video_motion_score_filter
from dj_assets.operators._contract import Panel, View
from dj_assets.operators._farneback import Farneback, FlowOptions
from dj_assets.operators._motion_pairs import resized
from dj_assets.operators.video_motion_score_filter import MotionParams, draw, load, score
from dj_assets_tests import videos
from dj_assets_tests.operators import tasks
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


def some_windows(count: int = 5) -> Windows:
    """Pairs of a texture that is shifted by 1, 2, 3 … pixels."""
    grey = videos.texture(height=96, width=144)[..., 0]
    data = np.stack([np.stack([grey, np.roll(grey, shift, axis=1)]) for shift in range(1, count + 1)])
    frames = np.arange(2 * count).reshape(count, 2)
    return Windows(data, frames, frames / 10, Look("gray8"))


@pytest.fixture
def opencv_threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads OpenCV may use, as a worker's task does."""
    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


def test_threads_share_the_pairs_and_move_no_bit(
    opencv_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, names = some_windows(), set()
    whole_flow = video_motion_score_filter.flow

    def flow(*args: Any) -> np.ndarray:
        names.add(threading.current_thread().name)
        return whole_flow(*args)

    monkeypatch.setattr(video_motion_score_filter, "flow", flow)
    opencv_threads(1)
    alone = score(windows, MotionParams(), None).values
    assert names == {threading.current_thread().name}
    opencv_threads(3)
    shared = score(windows, MotionParams(), None).values
    assert len(names) > 2
    assert shared.tobytes() == alone.tobytes()


@pytest.mark.parametrize(("pixels_in_flight", "expected"), [(96 * 144 * 9, 3), (96 * 144 * 2, 2), (96 * 144 - 1, 1)])
def test_threads_are_fewer_where_their_pictures_would_fill_the_memory(
    opencv_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, pixels_in_flight: int, expected: int
) -> None:
    lock, at_work, most = threading.Lock(), 0, 0
    all_there = threading.Barrier(expected, timeout=20)

    def flow(before: np.ndarray, *_: Any) -> np.ndarray:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        all_there.wait()
        with lock:
            at_work -= 1
        return np.zeros((*before.shape, 2), dtype=np.float32)

    monkeypatch.setattr(video_motion_score_filter, "flow", flow)
    monkeypatch.setattr(video_motion_score_filter, "MAX_PIXELS_IN_FLIGHT", pixels_in_flight)
    opencv_threads(3)
    score(some_windows(6), MotionParams(), None)
    assert most == expected


@pytest.mark.parametrize("params", [{}, {"relative": True}, {"flags": 256, "winsize": 9, "poly_n": 7, "levels": 1}])
def test_the_flow_of_a_gpu_gives_the_score_of_the_cpu(monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]) -> None:
    chosen = MotionParams(**params)
    monkeypatch.setattr(video_motion_score_filter, "require_cuda", lambda work: None)
    on_gpu = load(chosen, "cuda")
    assert on_gpu is not None and on_gpu.device == "cuda" and load(chosen, "cpu") is None
    same_on_cpu = Farneback(on_gpu.options, "cpu")
    expected = score(some_windows(), chosen, None).values
    assert score(some_windows(), chosen, same_on_cpu).values == pytest.approx(expected, rel=1e-5)


def test_every_option_of_farneback_reaches_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_motion_score_filter, "require_cuda", lambda work: None)
    default = load(MotionParams(), "cuda")
    assert default is not None and default.options == FlowOptions()
    chosen = {"pyr_scale": 0.7, "levels": 2, "winsize": 9, "iterations": 4, "poly_n": 7, "poly_sigma": 1.5}
    other = load(MotionParams(**chosen, flags=256), "cuda")
    assert other is not None and other.options == FlowOptions(**chosen, is_gaussian=True)


def test_without_a_gpu_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(_device.DeviceError) as caught:
        load(MotionParams(), "cuda")
    assert "motion is to run on an NVIDIA GPU" in caught.value.given
    assert caught.value.allowed and "accelerator: cpu" in caught.value.try_


def test_in_a_worker_that_is_a_fault_without_a_traceback(moving_2px: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    on_gpu = replace(tasks.spec(NAME, sampling_fps=7), device="cuda")
    [measured] = tasks.measure_task(tasks.task(moving_2px, on_gpu)).measured
    assert measured.bug.startswith("motion is to run on an NVIDIA GPU") and "Traceback" not in measured.bug
    assert measured.values == (), "and no number of the CPU in its place"


@pytest.mark.parametrize("flags", [4, 260])
def test_a_flow_to_start_from_is_refused(flags: int) -> None:
    """OpenCV fails on it, with a line of C++ for an answer, since there is none."""
    with pytest.raises(ValidationError, match="no flow to start from"):
        MotionParams(flags=flags)


def a_view(*pictures: np.ndarray, shown: Size | None = None) -> View:
    """A window of grey pictures, shown at their size or another."""
    height, width = shown or pictures[0].shape[:2]
    rgb = np.stack([cv2.resize(picture, (width, height)) for picture in pictures])
    return View(rgb, np.stack([picture[..., 0] for picture in pictures]), (0.0, 0.5))


def lengths(panel: Panel) -> np.ndarray:
    """A heat map read back: pixels of motion, by the panel's own scale."""
    assert panel.scale is not None
    colours = panel.scale.colours.astype(int)
    found = np.abs(panel.picture.reshape(-1, 1, 3).astype(int) - colours[None]).sum(axis=2).argmin(axis=1)
    return found.reshape(panel.picture.shape[:2]) / 255 * panel.scale.high


@pytest.mark.parametrize("shown", [None, Size(48, 72)])
def test_the_map_of_lengths_says_how_many_pixels_each_pair_moved(shown: Size | None) -> None:
    picture = videos.texture(height=96, width=144)
    first, *others = videos.shifting(picture, num_frames=4, pixels_per_frame=1)
    views = [a_view(first, other, shown=shown) for other in others]
    drawn = draw(views, MotionParams())
    for k, (_, _, heat) in enumerate(drawn, start=1):
        assert lengths(heat).mean() == pytest.approx(k, rel=0.1), "in the pixels that were scored, however it is shown"
        assert heat.caption.startswith("length of flow, mean ")
        assert float(heat.caption.split()[4]) == pytest.approx(k, rel=0.1)
    assert {panels[2].scale.high for panels in drawn if panels[2].scale} == {4.0}, "one scale, of the fastest pair"


def test_direction_is_hue_and_stillness_is_black() -> None:
    picture = videos.texture(height=96, width=144)
    right, left = (np.roll(picture, by, axis=1) for by in (3, -3))
    [_, to_right, _], [_, to_left, _], [_, still, _] = draw(
        [a_view(picture, other) for other in (right, left, picture)], MotionParams()
    )
    assert to_right.picture.mean(axis=(0, 1)).argmax() == 0, "red is right"
    cyan = to_left.picture.mean(axis=(0, 1))
    assert cyan[0] < cyan[1] and cyan[0] < cyan[2], "left is its opposite"
    assert still.picture.mean() < 15 < to_right.picture.mean()


def test_the_picture_is_that_of_the_params_that_made_the_number(tmp_path: Path) -> None:
    picture = videos.texture(height=96, width=144)
    view = a_view(picture, np.roll(picture, 6, axis=1))
    one, small = draw([view], MotionParams())[0][2], draw([view], MotionParams(winsize=3, levels=1, iterations=1))[0][2]
    assert one.caption != small.caption


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
