"""Extracted frames: which ones, upstream's counts, and that no two videos share a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from dj_assets.frames import Size, VideoInfo
from dj_assets.operators.video_extract_frames_mapper import ExtractFramesParams, wanted
from dj_assets_tests import videos
from dj_assets_tests.benches import bench, made, off_by

NAME = "video_extract_frames_mapper"


def info(num_frames: int, keys: list[int], fps: float = 24.0) -> VideoInfo:
    times = np.arange(num_frames) / fps
    return VideoInfo(Size(4, 4), fps, num_frames / fps, times, np.array(keys, dtype=np.int64))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 24, 30]),
        ({"frame_sampling_method": "uniform"}, [0, 24, 47]),
        ({"frame_sampling_method": "uniform", "frame_num": 1}, [24]),
        ({"frame_sampling_method": "all_frames"}, list(range(48))),
        ({"duration": 0.5}, [0, 12, 24, 30]),
        ({"duration": 0.75}, [0, 18, 24, 30]),
        ({"duration": 2.0}, []),
        ({"duration": 9.0}, []),
        ({"frame_sampling_method": "uniform", "frame_num": 2, "duration": 1.0}, [0, 23]),
        ({"frame_sampling_method": "uniform", "frame_num": 2, "duration": 0.6}, [0, 14, 15, 28, 29, 43]),
    ],
    ids=str,
)
def test_which_frames(options: dict[str, Any], expected: list[int]) -> None:
    assert wanted(info(48, [0, 24, 30]), ExtractFramesParams(**options)).tolist() == expected


def test_a_rest_that_is_not_sampled_is_warned_of() -> None:
    assert "gives no frames" in ExtractFramesParams(duration=2).warnings()[0]
    assert not ExtractFramesParams().warnings()


def test_pictures_are_the_frames(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=25))
    products = made(NAME, path, tmp_path / "out", frame_sampling_method="uniform")
    pictures = [cv2.imread(product.path) for product in products]
    assert [round((picture.mean() - 16) / 8) for picture in pictures] == [0, 13, 24]
    assert [Path(product.path).name for product in products] == ["frame_0.jpg", "frame_1.jpg", "frame_2.jpg"]
    assert [product.begin_seconds for product in products] == pytest.approx([0, 13 / 24, 1.0])


def test_colours_are_right_and_pictures_upright(tmp_path: Path) -> None:
    red_left = np.zeros((40, 60, 3), dtype=np.uint8)
    red_left[:, :30, 0] = 255
    path = videos.write_video(tmp_path / "v.mp4", [red_left], rotation_degrees=90)
    (product,) = made(NAME, path, tmp_path / "out")
    picture = cv2.imread(product.path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1]
    assert off_by(picture, np.rot90(red_left)) < 4


def test_videos_of_one_name_have_pictures_of_their_own(tmp_path: Path) -> None:
    """Data-Juicer gives the second of two clips with the same stem the first one's pictures, and so does it with
    changed options."""
    paths = []
    for number, level in enumerate((40, 200)):
        with bench(
            videos.write_video(tmp_path / f"{number}.mp4", [np.full((16, 16, 3), level, dtype=np.uint8)]),
            tmp_path / "out",
            stem="clip",
            content_hash=f"{number:02}",
        ) as at:
            for windows in at.windows(_first()):
                paths.append(at.picture(windows.data[0, 0], "frame_0", at_seconds=0.0).path)
    assert [round(cv2.imread(path).mean(), -1) for path in paths] == [40, 200]


def _first() -> Any:
    from dj_assets.frames import Look, single

    return single([0], Look("rgb24"))


def test_bytes_in_records_are_refused() -> None:
    with pytest.raises(ValidationError):
        ExtractFramesParams(output_format="bytes")  # type: ignore[arg-type]


@pytest.mark.media
@pytest.mark.parametrize(
    ("clip", "options", "count"),
    [
        ("video1", {"frame_sampling_method": "uniform", "frame_num": 2}, 2),
        ("video2", {"frame_sampling_method": "uniform", "frame_num": 2}, 2),
        ("video1", {"frame_sampling_method": "uniform", "duration": 10}, 3),
        ("video2", {"frame_sampling_method": "uniform", "duration": 10}, 6),
        ("video1", {"duration": 5}, 4),
        ("video2", {"duration": 5}, 5),
    ],
)
def test_counts_are_those_of_data_juicer(
    clip: str, options: dict[str, Any], count: int, media: Path, tmp_path: Path
) -> None:
    assert len(made(NAME, media / f"{clip}.mp4", tmp_path, **options)) == count
