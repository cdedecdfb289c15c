"""Resize by aspect ratio: upstream's sizes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dj_assets.frames import Size
from dj_assets.operators.video_resize_aspect_ratio_mapper import ResizeAspectRatioParams, target_size
from dj_assets_tests import videos
from dj_assets_tests.benches import made, seen

NAME = "video_resize_aspect_ratio_mapper"
VIDEO1, VIDEO2, VIDEO3 = Size(360, 640), Size(640, 480), Size(640, 362)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(640, 360), (480, 640), (362, 640)]),
        ({"min_ratio": "3/4"}, [(640, 360), (480, 640), (480, 640)]),
        ({"min_ratio": "3:4", "strategy": "decrease"}, [(640, 360), (480, 640), (362, 482)]),
        ({"max_ratio": "4/3"}, [(640, 480), (480, 640), (362, 640)]),
        ({"max_ratio": "4:3", "strategy": "Decrease"}, [(480, 360), (480, 640), (362, 640)]),
    ],
)
def test_sizes_are_those_of_data_juicer(options: dict[str, Any], expected: list[tuple[int, int]]) -> None:
    found = [target_size(size, ResizeAspectRatioParams(**options)) for size in (VIDEO1, VIDEO2, VIDEO3)]
    assert [(size.width, size.height) for size in found] == expected


@pytest.mark.parametrize("strategy", ["increase", "decrease"])
@pytest.mark.parametrize("size", [Size(1, 1000), Size(1000, 1), Size(241, 997), Size(1080, 1920)])
def test_one_side_changes_and_reaches_the_range(size: Size, strategy: str) -> None:
    params = ResizeAspectRatioParams(min_ratio="3/4", max_ratio="4/3", strategy=strategy)  # type: ignore[arg-type]
    found = target_size(size, params)
    assert (found.width == size.width) + (found.height == size.height) >= 1 or min(found) == 2
    if min(size) > 2:
        assert Fraction(3, 4) <= Fraction(found.width, found.height) <= Fraction(4, 3)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"min_ratio": "3"}, "max_ratio"),
        ({"min_ratio": "wide"}, "min_ratio"),
        ({"max_ratio": "1/0"}, "max_ratio"),
        ({"min_ratio": "-1/2"}, "min_ratio"),
        ({"strategy": "pad"}, "strategy"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], option: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        ResizeAspectRatioParams(**options)
    assert option in [fault["loc"][0] for fault in refusal.value.errors()]


def test_a_video_is_squeezed_to_its_new_size(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=3, height=36, width=64))
    (product,) = made(NAME, path, tmp_path / "out", max_ratio="1/1", strategy="decrease")
    assert seen(product.path).pictures.shape == (3, 36, 36, 3)
