"""video_ocr_area_ratio_filter: areas by hand, CRAFT with its real weights, upstream's numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dj_assets.frames import Look, Windows
from dj_assets.operators import video_ocr_area_ratio_filter as ocr
from dj_assets.operators._contract import Device, View
from dj_assets.video.probe import open_video, probe
from dj_assets.video.safe_open import MediaLimits
from dj_assets.video_run import measure_task
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure, spec, task

NAME = "video_ocr_area_ratio_filter"


@cache
def load_once(precision: ocr.Precision = "fp32") -> ocr.Detector:
    """The detector, for the tests that call it directly."""
    return ocr.load(ocr.OcrParams(precision=precision), "cpu")


@cache
def easyocrs_own() -> Any:
    """EasyOCR's reader as upstream makes it."""
    import easyocr

    folder = str(ocr.weights_folder())
    return easyocr.Reader(["en"], gpu=False, model_storage_directory=folder, recognizer=False, verbose=False)


def as_easyocr_finds_them(picture: npt.NDArray[np.uint8]) -> ocr.Boxes:
    """Text boxes by EasyOCR's one call for it, which upstream makes."""
    lines, slanted = easyocrs_own().detect(np.array(picture))
    rectangles = [[int(x_min), int(y_min), int(x_max), int(y_max)] for x_min, x_max, y_min, y_max in lines[0]]
    return ocr.Boxes(rectangles, [[[float(x), float(y)] for x, y in corners] for corners in slanted[0]])


def a_slide(*lines: str, height: int = 160, width: int = 320) -> npt.NDArray[np.uint8]:
    """Black lines of text on white, uint8 [height, width, 3]."""
    import cv2

    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    for number, line in enumerate(lines, 1):
        cv2.putText(picture, line, (20, 60 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)
    return picture


def windows_of(*pictures: npt.NDArray[np.uint8]) -> Windows:
    """One window per picture."""
    number = np.arange(len(pictures)).reshape(-1, 1)
    return Windows(np.stack(pictures)[:, None], number, number / 25, Look("rgb24"))


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
@pytest.mark.parametrize("video", ["video1.mp4", "video2.mp4"])
def test_the_tutorials_frames_have_easyocrs_own_boxes(media: Path, video: str) -> None:
    measured = measure(media / video, NAME)
    pictures = frames_of(media / video)
    boxes = [as_easyocr_finds_them(picture) for picture in pictures]
    assert [json.loads(detail) for detail in measured.window_details] == [found._asdict() for found in boxes]
    height, width = pictures.shape[1:3]
    ratios = [ocr.text_area(*found) / (height * width) for found in boxes]
    assert measured.window_values == pytest.approx(ratios, abs=1e-9)


def frames_of(path: Path) -> npt.NDArray[np.uint8]:
    """The frames that the operator looks at by default, uint8 [3, H, W, 3]."""
    import av

    with open_video(str(path), roots=[path.parent], limits=MediaLimits()) as video:
        wanted = ocr.plan(probe(video).info, ocr.OcrParams()).frames
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([pictures[index] for index in wanted])


@pytest.mark.weights
@pytest.mark.parametrize(
    "size",
    [
        pytest.param((160, 320), id="fits the network"),
        pytest.param((175, 333), id="is padded"),
        pytest.param((100, 2600), id="is scaled down"),
    ],
)
def test_pictures_of_any_size_have_easyocrs_own_boxes(size: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3), dtype=np.uint8)
    picture[:100, :320] = a_slide("HELLO WORLD", height=100)
    picture.setflags(write=False)
    [boxes] = ocr.detect(picture[None], load_once())
    assert boxes == as_easyocr_finds_them(picture) and boxes.rectangles


@pytest.mark.weights
def test_slanted_text_has_easyocrs_own_boxes() -> None:
    import cv2

    turn = cv2.getRotationMatrix2D((160, 80), 20, 1.0)
    picture = cv2.warpAffine(a_slide("HELLO WORLD"), turn, (320, 160), borderValue=(255, 255, 255))
    [boxes] = ocr.detect(picture[None], load_once())
    assert boxes == as_easyocr_finds_them(picture) and boxes.quadrilaterals


@pytest.mark.weights
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_finds_nearly_the_same_area(precision: ocr.Precision) -> None:
    pictures = np.stack([a_slide("HELLO WORLD", "text on a slide"), a_slide()])
    exact = ocr.score(windows_of(*pictures), ocr.OcrParams(), load_once()).values
    half = ocr.score(windows_of(*pictures), ocr.OcrParams(precision=precision), load_once(precision)).values
    assert half == pytest.approx(exact, abs=0.003)
    assert half[1] == 0


@pytest.mark.weights
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_cpu_scores_do_not_depend_on_how_windows_are_batched(precision: ocr.Precision) -> None:
    pictures = [
        a_slide("HELLO WORLD"),
        a_slide("another", "slide"),
        a_slide("HELLO WORLD"),
        videos.texture(height=160, width=320),
    ]
    params, model = ocr.OcrParams(precision=precision), load_once(precision)
    together = ocr.score(windows_of(*pictures), params, model)
    alone = [ocr.score(windows_of(picture), params, model) for picture in pictures]
    assert together.values.tolist() == [scores.values[0] for scores in alone]
    assert together.details == tuple(scores.details[0] for scores in alone)


def test_pictures_that_come_again_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slide show gives the same pixels for minutes. One grey level of difference is another picture."""
    looked_at: list[int] = []

    def look(pixels: npt.NDArray[np.float32], model: ocr.Detector) -> npt.NDArray[np.float32]:
        looked_at.append(len(pixels))
        return np.zeros((len(pixels), 8, 8, 2), dtype=np.float32)

    monkeypatch.setattr(ocr, "look", look)
    one = np.zeros((64, 64, 3), dtype=np.uint8)
    other = one.copy()
    other[63, 63, 2] = 1
    model = ocr.Detector(network=None, device="cpu", dtype=None)
    scores = ocr.score(windows_of(one, other, one, other, one), ocr.OcrParams(), model)
    assert scores.values.tolist() == [0.0] * 5 and len(scores.details) == 5
    assert looked_at == [1, 1]


def test_each_window_gets_the_boxes_of_its_own_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads finish in any order, and contents are scored once: neither may shuffle the numbers."""

    def look(pixels: npt.NDArray[np.float32], model: ocr.Detector) -> npt.NDArray[np.float32]:
        return pixels[:, ::2, ::2, :2]

    def find_boxes(heat_map: npt.NDArray[np.float32], canvas: ocr.Canvas) -> ocr.Boxes:
        np.testing.assert_array_equal(heat_map, canvas.pixels[::2, ::2, :2])
        grey = int(np.rint((heat_map[0, 0, 0] * 0.229 + 0.485) * 255))
        return ocr.Boxes([[0, 0, grey, 1]], [])

    monkeypatch.setattr(ocr, "look", look)
    monkeypatch.setattr(ocr, "find_boxes", find_boxes)
    greys = [3, 9, 3, 200, 9, 4, 5, 6, 7, 200]
    pictures = [np.full((32, 32, 3), grey, dtype=np.uint8) for grey in greys]
    for device in ("cpu", "cuda"):
        scores = ocr.score(windows_of(*pictures), ocr.OcrParams(), ocr.Detector(None, device, None))
        assert scores.values == pytest.approx(np.array(greys) / 32**2)


@pytest.mark.parametrize(
    ("device", "picture_pixels", "pictures"),
    [
        pytest.param("cpu", 64 * 64, 1, id="one at a time on a CPU"),
        pytest.param("cuda", 1280 * 720, 4, id="four of 720p on a GPU"),
        pytest.param("cuda", 7680 * 4320, 1, id="one that is larger than a batch may be"),
    ],
)
def test_a_batch_is_bounded_in_pixels(device: Device, picture_pixels: int, pictures: int) -> None:
    assert ocr.Detector(None, device, None).batch_size(picture_pixels) == pictures


@pytest.mark.weights
def test_pictures_in_one_batch_have_the_boxes_that_each_has_alone() -> None:
    """What a GPU does, on the CPU: here sums may differ in the last digits, and boxes of clear text do not."""
    pictures = np.stack([a_slide("HELLO WORLD"), a_slide("another", "slide"), a_slide()])
    model = load_once()
    canvases = [ocr.prepare(picture) for picture in pictures]
    heat_maps = ocr.look(np.stack([canvas.pixels for canvas in canvases]), model)
    batched = [ocr.find_boxes(*both) for both in zip(heat_maps, canvases, strict=True)]
    assert batched == ocr.detect(pictures, model)


@pytest.mark.weights
def test_numbers_that_overflow_are_told_and_are_not_no_text() -> None:
    """A heat map of NaN is nowhere above a threshold, so it would have passed for a picture without text."""
    model = load_once("bf16")
    with pytest.raises(ocr.PrecisionError, match="fp32"):
        ocr.look(np.full((1, 32, 32, 3), np.inf, dtype=np.float32), model)


@pytest.mark.parametrize(
    ("options", "device", "measure_id"),
    [
        ({}, "cpu", "02f7a758045ad702"),
        ({"precision": "fp32"}, "cpu", "02f7a758045ad702"),
        ({"precision": None}, "cpu", "02f7a758045ad702"),
        ({"precision": "fp32"}, "cuda", "96c703dc7a0fa1e3"),
        ({"frame_sample_num": 7}, "cpu", "476d20ca8b73c216"),
        ({"frame_sample_num": 7, "precision": "fp32"}, "cuda", "c7b55f50f8299c5c"),
    ],
    ids=str,
)
def test_measures_in_fp32_have_the_ids_of_before_there_was_a_precision(
    options: dict[str, Any], device: Device, measure_id: str
) -> None:
    """Stores hold numbers under these ids, of 0.1; they must be found."""
    assert ocr.OPERATOR.measure_id(ocr.OcrParams(**options), device) == measure_id


def test_each_precision_is_another_measure_and_each_device_has_its_own_default() -> None:
    def measure_id(device: Device, **options: Any) -> str:
        return ocr.OPERATOR.measure_id(ocr.OcrParams(**options), device)

    ids = {measure_id(device, precision=each) for device in ("cpu", "cuda") for each in ("fp32", "bf16", "fp16")}
    assert len(ids) == 6
    assert measure_id("cpu") == measure_id("cpu", precision="fp32")
    assert measure_id("cuda") == measure_id("cuda", precision="fp16")


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
    assert ocr.detect(picture[None], load_once()) == [([], [])]
