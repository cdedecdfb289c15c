"""video_ocr_area_ratio_filter: areas by hand, CRAFT with its real weights, upstream's numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dj_assets.operators import video_ocr_area_ratio_filter as ocr
from dj_assets.operators._contract import View
from dj_assets.video_run import measure_task
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure, spec, task

NAME = "video_ocr_area_ratio_filter"


@cache
def load_once() -> Any:
    """The detector, for the tests that call it directly."""
    return ocr.load(ocr.OcrParams(), "cpu")


@pytest.mark.parametrize(
    ("name", "rectangles", "quadrilaterals", "area"),
    [
        ("none", [], [], 0),
        ("one rectangle", [[0, 0, 10, 5]], [], 50),
        ("overlaps count twice, as upstream", [[0, 0, 10, 5], [0, 0, 10, 5]], [], 100),
        ("inverted counts nothing", [[10, 5, 0, 0]], [], 0),
        ("upright quadrilateral", [], [[[0, 0], [4, 0], [4, 2], [0, 2]]], 8),
        ("diamond", [], [[[2, 0], [4, 2], [2, 4], [0, 2]]], 8),
        ("outside the picture counts", [[-5, -5, 5, 5]], [], 100),
    ],
)
def test_text_area(name: str, rectangles: Any, quadrilaterals: Any, area: float) -> None:
    assert ocr.text_area(rectangles, quadrilaterals) == area, name


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ocr.WEIGHTS_FILE).write_bytes(b"not the weights")
    monkeypatch.setenv("DJ_ASSETS_WEIGHTS", str(tmp_path))
    with pytest.raises(ocr.WeightsError, match="SHA-256"):
        ocr.weights_folder()
    monkeypatch.setenv("DJ_ASSETS_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(ocr.WeightsError, match="does not exist"):
        ocr.weights_folder()


def test_boxes_are_drawn_in_red_and_blue_where_the_detector_saw_them() -> None:
    seen = np.zeros((1, 80, 120, 3), dtype=np.uint8)
    shown = np.zeros((1, 40, 60, 3), dtype=np.uint8)  # half the size that was scored
    boxes = {"rectangles": [[10, 10, 60, 40]], "quadrilaterals": [[[80, 20], [110, 24], [108, 60], [78, 56]]]}
    [[panel]] = ocr.draw([View(shown, seen, (0.0,), json.dumps(boxes))], ocr.OcrParams())
    red = np.argwhere((panel.picture == ocr.RED).all(axis=2))
    assert (red.min(axis=0) - [5, 5]).tolist() == [-1, -1] and (red.max(axis=0) - [20, 30]).tolist() == [1, 1]
    blue = np.argwhere(panel.picture[..., 2] > 200)
    assert (np.abs(blue.min(axis=0) - [10, 39]) <= 1).all() and (np.abs(blue.max(axis=0) - [30, 55]) <= 1).all()
    assert panel.caption == "1 rectangle, 1 quadrilateral"
    assert not shown.any()


@pytest.fixture(scope="module")
def text_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 frames of 160x320 (h x w): two black lines of text on white, about 190 x 20 and 250 x 20 pixels."""
    import cv2

    picture = np.full((160, 320, 3), 255, dtype=np.uint8)
    cv2.putText(picture, "HELLO WORLD", (30, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)
    cv2.putText(picture, "text on a slide", (30, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)
    return videos.write_video(tmp_path_factory.mktemp("text") / "text.mp4", [picture] * 4, lossless=True)


@pytest.mark.weights
def test_drawn_text_has_about_the_area_it_was_drawn_on(text_clip: Path) -> None:
    measured = measure(text_clip, NAME, frame_sample_num=1)
    boxes = json.loads(measured.window_details[0])
    assert len(measured.window_values) == len(measured.window_details) == 1
    # Two lines of about 200 x 21 and 230 x 21 pixels, with the detector's margin around them.
    assert 0.15 < measured.values[0] < 0.40
    lines = sorted(boxes["rectangles"], key=lambda box: box[1])
    assert any(y_min < 50 < y_max for _, y_min, _, y_max in lines)
    assert any(y_min < 112 < y_max for _, y_min, _, y_max in lines)
    area = ocr.text_area(boxes["rectangles"], boxes["quadrilaterals"])
    assert measured.values[0] == pytest.approx(area / (160 * 320)), "the kept boxes explain the number"


@pytest.mark.weights
def test_no_text_is_zero(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", [videos.texture(height=96, width=160)] * 3)
    assert measure(path, NAME, frame_sample_num=1).values == (0.0,)


@pytest.mark.weights
def test_upstreams_numbers_and_every_window(media: Path) -> None:
    first = measure(media / "video1.mp4", NAME)
    assert first.values[0] == pytest.approx(0.0672511574074074, rel=1e-6)
    assert first.window_values == pytest.approx((0.1078125, 0.047239583333333335, 0.04670138888888889), rel=1e-6)


@pytest.mark.weights
def test_channels_last_and_our_way_of_loading_leave_easyocrs_own_boxes(text_clip: Path) -> None:
    import av
    import easyocr

    folder = str(ocr.weights_folder())
    theirs = easyocr.Reader(["en"], gpu=False, model_storage_directory=folder, recognizer=False, verbose=False)
    ours = load_once()
    with av.open(str(text_clip)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert ocr.detect(picture, ours) == ocr.detect(picture, theirs)


@pytest.mark.weights
def test_a_gpu_that_is_not_there_is_told_in_three_parts(text_clip: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a usable GPU")
    wanted = replace(spec(NAME), device="cuda")
    [measured] = measure_task(task(text_clip, wanted)).measured
    assert "DJ_ASSETS_DEVICE=cpu" in measured.bug and "Traceback" not in measured.bug


@pytest.mark.weights
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 64), (8, 2000), (1, 4000), (4000, 1)])
def test_pictures_too_small_for_text_have_none(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    assert ocr.detect(picture, load_once()) == ([], [])
