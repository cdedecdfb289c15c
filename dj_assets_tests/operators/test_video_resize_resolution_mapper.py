"""Resize by resolution: upstream's sizes, and pictures of that size that show the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from dj_assets.frames import Size
from dj_assets.operators.video_resize_resolution_mapper import ResizeResolutionParams, target_size
from dj_assets_tests import videos
from dj_assets_tests.benches import made, off_by, seen

NAME = "video_resize_resolution_mapper"
VIDEO1, VIDEO2, VIDEO3 = Size(360, 640), Size(640, 480), Size(640, 362)
BOTH: dict[str, Any] = {"min_width": 400, "max_width": 480, "min_height": 480, "max_height": 480}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(640, 360), (480, 640), (362, 640)]),
        ({"min_width": 400, "max_width": 480}, [(480, 270), (480, 640), (400, 708)]),
        ({"min_height": 480, "max_height": 480}, [(854, 480), (360, 480), (272, 480)]),
        (BOTH, [(480, 480), (400, 480), (400, 480)]),
    ],
)
def test_sizes_are_those_of_data_juicer(options: dict[str, int], expected: list[tuple[int, int]]) -> None:
    found = [target_size(size, ResizeResolutionParams(**options)) for size in (VIDEO1, VIDEO2, VIDEO3)]
    assert [(size.width, size.height) for size in found] == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"force_original_aspect_ratio": "decrease"}, (480, 270)),
        ({"force_original_aspect_ratio": "increase"}, (854, 480)),
        ({"force_original_aspect_ratio": "Decrease", "force_divisible_by": 4}, (480, 272)),
    ],
)
def test_sizes_that_keep_the_shape_are_those_of_data_juicer(options: dict[str, Any], expected: tuple[int, int]) -> None:
    found = target_size(VIDEO1, ResizeResolutionParams(**BOTH, **options))
    assert (found.width, found.height) == expected


@pytest.mark.parametrize("size", [Size(1, 1), Size(1, 4000), Size(4000, 1), Size(2160, 3840)])
@pytest.mark.parametrize("options", [{"max_width": 1}, {"max_height": 1, "max_width": 7}, {"min_width": 100}])
def test_there_is_always_a_picture(size: Size, options: dict[str, int]) -> None:
    assert min(target_size(size, ResizeResolutionParams(**options))) >= 1


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"min_width": 9, "max_width": 8}, "max_width"),
        ({"min_height": 0}, "min_height"),
        ({"force_original_aspect_ratio": "keep"}, "force_original_aspect_ratio"),
        ({"force_original_aspect_ratio": "increase", "force_divisible_by": 3}, "force_divisible_by"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], option: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        ResizeResolutionParams(**options)
    assert [fault["loc"][0] for fault in refusal.value.errors()] == [option]


def test_pictures_are_scaled(tmp_path: Path) -> None:
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=6, pixels_per_frame=4)
    path = videos.write_video(tmp_path / "v.mp4", frames)
    (product,) = made(NAME, path, tmp_path / "out", max_width=64)
    expected = np.stack(
        [cv2.resize(picture, (64, 48), interpolation=cv2.INTER_AREA) for picture in seen(path).pictures]
    )
    assert off_by(seen(product.path).pictures, expected) < 6


def test_a_video_in_range_stays_as_it_is(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=3))
    (product,) = made(NAME, path, tmp_path / "out", max_width=64)
    assert product.is_parent
