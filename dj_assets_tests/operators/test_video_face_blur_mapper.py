"""Face blur: the face is blurred, its surroundings are not, and pictures may lie on their side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from pydantic import ValidationError

from dj_assets.operators._haar import Box, CascadeError
from dj_assets.operators.video_face_blur_mapper import FaceBlurParams, blurred, faces_of, load
from dj_assets_tests import videos
from dj_assets_tests.benches import made, off_by, seen

NAME = "video_face_blur_mapper"


@pytest.fixture(scope="module")
def portrait() -> videos.Picture:
    """A woman's head and shoulders, 256x320 (h x w), public domain, from scikit-image."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:256, 60:380])


def contrast(pictures: Any, box: Box) -> float:
    """How much neighbouring pixels of a box differ, in grey levels."""
    part = pictures[..., box.y : box.y + box.height, box.x : box.x + box.width, :].astype(np.float64)
    return float(np.abs(np.diff(part, axis=-2)).mean())


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_the_face_is_blurred_and_nothing_else(rotation: int, portrait: videos.Picture, tmp_path: Path) -> None:
    frames = [np.rot90(np.roll(portrait, 4 * index, axis=1), -rotation // 90) for index in range(3)]
    path = videos.write_video(tmp_path / "v.mp4", frames, rotation_degrees=rotation)
    (product,) = made(NAME, path, tmp_path / "out", radius=8)
    before, after = (np.rot90(seen(file).pictures, rotation // 90, axes=(1, 2)) for file in (path, product.path))
    params = FaceBlurParams()
    (box,) = faces_of(np.ascontiguousarray(before[0]), load(params, "cpu"), params)
    inner = Box(box.x + 15, box.y + 15, box.width - 30, box.height - 30)
    assert contrast(after[:1], inner) < 0.5 * contrast(before[:1], inner)
    outside = np.s_[:, 200:, :]
    assert off_by(after[outside], before[outside]) < 4
    assert seen(product.path).facts["rotation"] == seen(path).facts["rotation"]


@pytest.mark.parametrize(
    ("blur_type", "kernel"),
    [("gaussian", ImageFilter.GaussianBlur(3)), ("box", ImageFilter.BoxBlur(3)), ("mean", ImageFilter.BLUR)],
)
def test_blurs_are_those_of_data_juicer(blur_type: Any, kernel: Any, portrait: videos.Picture) -> None:
    box = Box(100, 60, 80, 90)
    image = Image.fromarray(portrait)
    edges = (box.x, box.y, box.x + box.width, box.y + box.height)
    image.paste(image.crop(edges).filter(kernel), edges)
    before = portrait.copy()
    found = blurred(portrait, [box], FaceBlurParams(blur_type=blur_type, radius=3))
    assert np.array_equal(found, np.asarray(image))
    assert np.array_equal(portrait, before)


def test_pictures_without_faces_are_left_alone(tmp_path: Path) -> None:
    frames = videos.shifting(videos.texture(height=64, width=96), num_frames=4, pixels_per_frame=2)
    path = videos.write_video(tmp_path / "v.mp4", frames, lossless=True)
    (product,) = made(NAME, path, tmp_path / "out")
    assert off_by(seen(product.path).pictures, seen(path).pictures) < 3


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"blur_type": "median"}, "blur_type"),
        ({"radius": -1}, "radius"),
        ({"scaleFactor": 1.0}, "scaleFactor"),
        ({"minSize": [3]}, "minSize"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], option: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        FaceBlurParams(**options)
    assert {fault["loc"][0] for fault in refusal.value.errors()} == {option}


def test_a_cascade_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(CascadeError, match="no cascade"):
        load(FaceBlurParams(cv_classifier=str(tmp_path / "missing.xml")), "cpu")
