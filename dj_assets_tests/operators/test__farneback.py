"""Farnebäck's flow in torch: OpenCV's flow of the same pictures, known motions, and no number that batches move."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dj_assets import operators
from dj_assets.errors import TooLarge
from dj_assets.frames import Size
from dj_assets.operators import _farneback, video_motion_score_filter
from dj_assets.operators._farneback import Farneback, FlowOptions, distinct, edge_weights, num_levels
from dj_assets.operators.video_motion_score_filter import MotionParams
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

Grey = np.ndarray

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")),
]


def texture(height: int, width: int, seed: int = 0) -> Grey:
    return np.ascontiguousarray(videos.texture(height=height, width=width, seed=seed)[..., 0])


def noise(height: int, width: int, seed: int = 0) -> Grey:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def warped(picture: Grey, *, degrees: float = 0.0, zoom: float = 1.0) -> Grey:
    height, width = picture.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    return cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REFLECT)


def opencv_flow(before: Grey, after: Grey, options: FlowOptions) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(
        before,
        after,
        None,
        options.pyr_scale,
        options.levels,
        options.winsize,
        options.iterations,
        options.poly_n,
        options.poly_sigma,
        cv2.OPTFLOW_FARNEBACK_GAUSSIAN if options.is_gaussian else 0,
    )


def lengths(flow: np.ndarray) -> np.ndarray:
    return np.hypot(flow[..., 0], flow[..., 1]).astype(np.float64)


ROUNDING_PX = 1e-5
"""What a score may be off besides, as those of still pictures are: there a rounding error decides whether a pixel on
the edge flows out of the picture, and what is outside has no slope."""


def assert_is_opencvs(before: Grey, after: Grey, options: FlowOptions, device: str, *, rel: float = 1e-5) -> None:
    expected = opencv_flow(before, after, options)
    flow = Farneback(options, device)
    pair = np.stack([before, after])[None]
    assert flow.mean_lengths(pair)[0] == pytest.approx(lengths(expected).mean(), rel=rel, abs=ROUNDING_PX)
    apart = np.abs(flow.flows(pair)[0] - expected).max(axis=2)
    assert np.quantile(apart, 0.99) < 1e-3, "pixel by pixel, not in the mean alone"


TEXTURE = texture(130, 178)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(TEXTURE, np.roll(TEXTURE, 2, axis=1), id="two pixels to the right"),
        pytest.param(TEXTURE, np.roll(TEXTURE, (-3, 7), axis=(0, 1)), id="up and right"),
        pytest.param(TEXTURE, warped(TEXTURE, degrees=4), id="turned"),
        pytest.param(TEXTURE, warped(TEXTURE, zoom=1.05), id="zoomed"),
        pytest.param(TEXTURE, TEXTURE, id="still"),
        pytest.param(TEXTURE, texture(130, 178, seed=5), id="a cut"),
        pytest.param(TEXTURE, np.zeros_like(TEXTURE), id="to black"),
        pytest.param(TEXTURE * 0 + 9, TEXTURE * 0 + 250, id="flat and flat"),
        pytest.param(noise(130, 178), noise(130, 178, seed=1), id="noise"),
        pytest.param(texture(131, 77), np.roll(texture(131, 77), 3, axis=0), id="odd sides"),
        pytest.param(texture(128, 256), np.roll(texture(128, 256), 3, axis=0), id="sides that halve evenly"),
    ],
)
def test_it_is_opencvs_flow(before: Grey, after: Grey, device: str) -> None:
    assert_is_opencvs(before, after, FlowOptions(), device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "options",
    [
        {"is_gaussian": True},
        {"is_gaussian": True, "winsize": 8},
        {"poly_n": 7, "poly_sigma": 1.5},
        {"poly_n": 4, "poly_sigma": 0.9},
        {"poly_sigma": 1e-9},
        {"winsize": 16},
        {"winsize": 31},
        {"winsize": 5},
        {"levels": 1},
        {"levels": 12},
        {"pyr_scale": 0.8, "levels": 6},
        {"pyr_scale": 0.37, "levels": 5},
        {"pyr_scale": 0.9, "levels": 2},
        {"iterations": 1},
        {"iterations": 6},
    ],
    ids=str,
)
def test_every_option_does_what_it_does_in_opencv(options: dict[str, Any], device: str) -> None:
    assert_is_opencvs(TEXTURE, warped(TEXTURE, degrees=2, zoom=1.02), FlowOptions(**options), device)


@pytest.mark.parametrize("is_gaussian", [False, True])
def test_a_window_of_one_pixel_is_opencvs_too(is_gaussian: bool) -> None:
    """There its plain mean counts the first row and column everywhere. One iteration, since one pixel's two equations
    hardly settle two unknowns, and what follows a rounding error is chaos."""
    options = FlowOptions(winsize=1, levels=1, iterations=1, is_gaussian=is_gaussian)
    expected = opencv_flow(TEXTURE, np.roll(TEXTURE, 1, axis=1), options)
    found = Farneback(options, "cpu").flows(np.stack([TEXTURE, np.roll(TEXTURE, 1, axis=1)])[None])[0]
    assert np.quantile(np.abs(found - expected), 0.9) < 1e-3
    assert np.median(lengths(found)) == pytest.approx(np.median(lengths(expected)), rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "size",
    [
        (1, 1),
        (1, 2),
        (1, 40),
        (40, 1),
        (2, 2),
        (3, 50),
        (5, 6),
        (7, 9),
        (9, 11),
        (8, 30),
        (12, 13),
        (31, 31),
        (33, 200),
    ],
    ids=str,
)
def test_small_pictures(size: tuple[int, int], device: str) -> None:
    """Under 10 pixels OpenCV weighs the edges in a way of its own, and its windows reach past both of them."""
    picture = noise(*size)
    assert_is_opencvs(picture, np.roll(picture, 1, axis=1), FlowOptions(), device)
    assert_is_opencvs(picture, np.roll(picture, 1, axis=0), FlowOptions(is_gaussian=True, winsize=9), device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("down", "right"), [(0, 1), (0, -4), (3, 0), (-2, 5), (0, 0)])
def test_a_texture_moved_by_so_many_pixels_flows_by_as_many(down: int, right: int, device: str) -> None:
    pair = np.stack([TEXTURE, np.roll(TEXTURE, (down, right), axis=(0, 1))])[None]
    inner = Farneback(FlowOptions(), device).flows(pair)[0, 30:-30, 30:-30]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), (right, down), atol=0.02)


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((360, 640), {}, 4),
        ((64, 64), {}, 2),
        ((63, 1000), {}, 1),
        ((1, 1), {}, 1),
        ((4000, 4000), {"levels": 2}, 3),
        ((4000, 4000), {"levels": 20}, 7),
        ((100, 100), {"pyr_scale": 0.9, "levels": 20}, 11),
    ],
)
def test_levels_end_before_a_side_is_under_32_pixels(
    size: tuple[int, int], options: dict[str, Any], expected: int
) -> None:
    assert num_levels(Size(*size), FlowOptions(**options)) == expected


def test_edges_count_less() -> None:
    weights = edge_weights(Size(20, 30))
    assert weights[10, :7].tolist() == pytest.approx([0.14, 0.14, 0.4472, 0.4472, 0.4472, 1, 1])
    assert weights[19, 29] == pytest.approx(0.14 * 0.14) and weights[10, 15] == 1
    assert np.array_equal(weights, weights[::-1, ::-1])


def moving_pairs(count: int) -> np.ndarray:
    """Pairs (0, 1), (1, 2), (2, 3) … of a texture that turns, uint8 [N, 2, 70, 90]."""
    frames = [warped(texture(70, 90), degrees=2 * index) for index in range(count + 1)]
    return np.stack([np.stack(pair) for pair in pairwise(frames)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
def test_no_number_depends_on_how_pairs_are_batched(monkeypatch: pytest.MonkeyPatch, at_once: int, device: str) -> None:
    pairs = moving_pairs(7)
    flow = Farneback(FlowOptions(), device)
    alone = [flow.mean_lengths(pair[None])[0] for pair in pairs]
    monkeypatch.setattr(_farneback, "PIXELS_AT_ONCE", at_once * 70 * 90)
    assert flow.mean_lengths(pairs).tolist() == alone


def test_pictures_of_another_size_may_follow() -> None:
    flow = Farneback(FlowOptions(), "cpu")
    first = flow.mean_lengths(moving_pairs(1))
    small = texture(40, 50)
    flow.mean_lengths(np.stack([small, np.roll(small, 1, axis=1)])[None])
    assert flow.mean_lengths(moving_pairs(1)).tolist() == first.tolist()


def test_no_pairs_have_no_lengths() -> None:
    assert Farneback(FlowOptions(), "cpu").mean_lengths(np.zeros((0, 2, 40, 40), np.uint8)).shape == (0,)


def test_pictures_are_left_alone() -> None:
    pairs = moving_pairs(2)
    before = pairs.copy()
    pairs.setflags(write=False)
    Farneback(FlowOptions(), "cpu").mean_lengths(pairs)
    np.testing.assert_array_equal(pairs, before)


def test_a_picture_that_comes_again_at_once_is_expanded_once() -> None:
    """Frames 0 1 1 2 2 3, as Data-Juicer's pairs have them, with frame 1 compared with itself; then others."""
    a, b, c, d = (noise(4, 6, seed) for seed in range(4))
    pairs = np.stack([np.stack(pair) for pair in ((a, b), (b, b), (b, c), (d, a))])
    pictures, first, second = distinct(pairs)
    assert len(pictures) == 5
    assert [(first[index], second[index]) for index in range(4)] == [(0, 1), (1, 1), (1, 2), (3, 4)]
    np.testing.assert_array_equal(np.stack([pictures[first], pictures[second]], axis=1), pairs)


def test_where_memory_is_short_pairs_go_by_fewer_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = moving_pairs(7)
    expected = Farneback(FlowOptions(), "cpu").mean_lengths(pairs)
    tried = []

    class Cramped(Farneback):
        def _flows(self, pairs: np.ndarray) -> torch.Tensor:
            tried.append(len(pairs))
            if len(pairs) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._flows(pairs)

    assert Cramped(FlowOptions(), "cpu").mean_lengths(pairs).tolist() == expected.tolist()
    assert tried == [7, 4, 2, 2, 2, 1]


def test_a_pair_that_does_not_fit_at_all_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Farneback, pairs: np.ndarray) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Farneback, "_flows", full)
    with pytest.raises(TooLarge) as caught:
        Farneback(FlowOptions(), "cpu").mean_lengths(moving_pairs(2))
    assert "90x70" in caught.value.given and caught.value.allowed and "accelerator: cpu" in caught.value.try_


def test_it_is_no_operator() -> None:
    assert "_farneback" not in operators.names()


@pytest.mark.media
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("clip", ["video1", "video2"])
def test_real_clips_have_opencvs_scores(media: Path, monkeypatch: pytest.MonkeyPatch, clip: str, device: str) -> None:
    seen = []

    def keeping(before: Grey, after: Grey, params: MotionParams) -> np.ndarray:
        seen.append(np.stack([before, after]))
        return opencv_flow(before, after, FlowOptions())

    monkeypatch.setattr(video_motion_score_filter, "flow", keeping)
    monkeypatch.setattr(cv2, "getNumThreads", lambda: 1)  # so that they come in order
    measured = measure(media / f"{clip}.mp4", "video_motion_score_filter", sampling_fps=0.5)
    found = Farneback(FlowOptions(), device).mean_lengths(np.stack(seen))
    assert found.tolist() == pytest.approx(list(measured.window_values), rel=1e-4, abs=5e-5)
    assert found.mean() == pytest.approx(measured.values[0], rel=1e-5)
