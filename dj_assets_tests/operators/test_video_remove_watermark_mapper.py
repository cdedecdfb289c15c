"""Watermarks: found where they are, painted over, and nothing else touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from dj_assets.errors import Malformed
from dj_assets.frames import Size
from dj_assets.operators import video_remove_watermark_mapper as remove
from dj_assets.operators.video_remove_watermark_mapper import RemoveWatermarkParams, boxes_of, region_of
from dj_assets_tests import videos
from dj_assets_tests.benches import bench, made, off_by, seen

NAME = "video_remove_watermark_mapper"
HEIGHT, WIDTH = 96, 128
MARK = (slice(12, 20), slice(10, 40))
"""Rows and columns of the white bar in `marked`."""


@pytest.fixture(scope="module")
def clean() -> list[videos.Picture]:
    still = videos.texture(height=HEIGHT, width=WIDTH) // 2
    return [np.roll(still, 5 * index, axis=1) for index in range(24)]


@pytest.fixture(scope="module")
def marked(clean: list[videos.Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dark texture that moves, with a white bar that stands."""
    frames = [frame.copy() for frame in clean]
    for frame in frames:
        frame[MARK] = 250
    return videos.write_video(tmp_path_factory.mktemp("marked") / "marked.mp4", frames, with_audio=True)


@pytest.mark.parametrize("method", ["pixel_value", "pixel_diversity"])
@pytest.mark.parametrize(
    ("roi_type", "region"), [("ratio", "0, 0, 0.5, 0.4"), ("pixel", "[0, 0, 64, 38]"), ("ratio", "(0,0,0.5,0.4)")]
)
def test_the_mark_goes(
    method: str, roi_type: str, region: str, marked: Path, clean: list[videos.Picture], tmp_path: Path
) -> None:
    (product,) = made(NAME, marked, tmp_path, roi_strings=[region], roi_type=roi_type, detection_method=method)
    before, after = seen(marked).pictures, seen(product.path).pictures
    assert before[(slice(None), *MARK)].min() > 210
    assert after[(slice(None), *MARK)].max() < 160
    outside = np.s_[:, 45:, 70:]
    assert off_by(after[outside], before[outside]) < 4


def test_a_mark_outside_of_the_regions_stays(marked: Path, tmp_path: Path) -> None:
    """A region of flat sky holds nothing that stands out."""
    with bench(marked, tmp_path) as at:
        mask = remove.find_mask(at, RemoveWatermarkParams(roi_strings=("0.5,0.5,1,1",), min_frame_threshold=10))
    assert not mask[:40].any()


def test_the_mask_is_the_mark_with_a_rim(marked: Path, tmp_path: Path) -> None:
    with bench(marked, tmp_path) as at:
        mask = remove.find_mask(at, RemoveWatermarkParams(roi_strings=("0,0,0.5,0.4",)))
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[MARK] = 255
    expected = cv2.dilate(expected, np.ones((5, 5), np.uint8))
    assert np.mean(mask != expected) < 0.005


def test_too_few_frames_of_it_and_nothing_is_a_mark(marked: Path, tmp_path: Path) -> None:
    (product,) = made(NAME, marked, tmp_path, roi_strings=["0,0,0.5,0.4"], frame_num=3, min_frame_threshold=4)
    assert product.is_parent


def test_regions_of_the_sample_are_used_with_ratios_too(marked: Path, tmp_path: Path) -> None:
    """Data-Juicer reads them and then takes the step's list, which is empty in that case."""
    options: dict[str, Any] = {"roi_key": "marks", "roi_type": "ratio"}
    (product,) = made(NAME, marked, tmp_path, text='["0,0,0.5,0.4"]', **options)
    assert seen(product.path).pictures[(slice(None), *MARK)].max() < 160
    assert "Data-Juicer ignores it" in RemoveWatermarkParams(**options).warnings()[0]
    assert not RemoveWatermarkParams(roi_key="marks", roi_type="pixel").warnings()


@pytest.mark.parametrize("text", ["null", "[]", '"left"', "[1, 2]", '{"a": 1}', '["0,0,1,1", "x"]', ""])
def test_a_record_without_regions_is_malformed(text: str, marked: Path, tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="holds no regions"):
        made(NAME, marked, tmp_path, text=text, roi_key="marks")


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("0,0,0.1,0.1", (0, 0, 0.1, 0.1)),
        (" ( 1 , 2 , 3 , 4 ) ", (1, 2, 3, 4)),
        ("[1,2,3.5,4]", (1, 2, 3.5, 4)),
        ("1,2,3", None),
        ("-1,0,1,1", None),
        ("3,0,1,1", None),
        ("1,1,1,1", None),
        ("a,b,c,d", None),
        ("1,2,3,4,5", None),
    ],
)
def test_regions_are_read(text: str, region: tuple[float, ...] | None) -> None:
    assert region_of(text) == region


def test_boxes_stay_inside_the_picture() -> None:
    regions = [(0.5, 0.5, 4.0, 2.0), (0.0, 0.0, 0.001, 0.5)]
    assert boxes_of(regions, Size(100, 200), "ratio") == [(slice(50, 100), slice(100, 200))]
    assert boxes_of([(10, 20, 500, 30)], Size(100, 200), "pixel") == [(slice(20, 30), slice(10, 200))]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"roi_strings": ["0,0,1"]}, "roi_strings"),
        ({"roi_type": "percent"}, "roi_type"),
        ({"detection_method": "pixel_diversity", "frame_num": 1}, "detection_method"),
        ({"frame_num": 0}, "frame_num"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], option: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        RemoveWatermarkParams(**options)
    assert option in {fault["loc"][0] for fault in refusal.value.errors()}
