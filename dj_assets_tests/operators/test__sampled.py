"""Small pictures of one size, and the frames that several operators share."""

from __future__ import annotations

import numpy as np
import pytest

from dj_assets.errors import TooShort
from dj_assets.frames import Size, VideoInfo, uniform
from dj_assets.operators._sampled import SampledParams, sampled, small_size


@pytest.mark.parametrize(
    ("name", "size", "small"),
    [
        ("down", (1080, 1920), (256, 455)),
        ("up", (144, 176), (256, 313)),
        ("portrait", (1920, 1080), (455, 256)),
        ("square", (512, 512), (256, 256)),
        ("one pixel", (1, 1), (256, 256)),
        ("a thread", (2, 4000), (256, 2048)),
        ("a thread upright", (4000, 2), (2048, 256)),
    ],
)
def test_pictures_are_looked_at_in_one_size(name: str, size: tuple[int, int], small: tuple[int, int]) -> None:
    assert small_size(Size(*size)) == small, name


def test_nine_frames_hold_the_three_that_text_filters_look_at() -> None:
    for num_frames in (30, 281, 282, 283, 5000):
        info = VideoInfo(Size(96, 128), 24.0, num_frames / 24, np.arange(num_frames) / 24, np.array([0]))
        assert set(uniform(info, 3)) <= set(sampled(info, SampledParams()))


def test_no_frames_are_too_few_and_one_is_enough() -> None:
    with pytest.raises(TooShort):
        sampled(VideoInfo(Size(8, 8), 24.0, 1.0, np.zeros(0), np.zeros(0)), SampledParams())
    one = VideoInfo(Size(8, 8), 24.0, 1 / 24, np.zeros(1), np.array([0]))
    assert sampled(one, SampledParams()).tolist() == [0]
