"""video_text_area_filter: areas by hand, drawn text with the real network, no text, odd shapes, the weights."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dj_assets.frames import Size, VideoInfo
from dj_assets.operators import video_text_area_filter as text
from dj_assets.operators._contract import View
from dj_assets.workers import measure_task
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure, spec, task
from dj_assets_tests.videos import Picture

NAME = "video_text_area_filter"


@cache
def load_once() -> Any:
    """The network, for the tests that call it directly."""
    return text.load(text.TextAreaParams(), "cpu")


def detect(picture: Picture, **params: Any) -> np.ndarray:
    return text.detect(picture, text.TextAreaParams(**params), load_once())


def written(*lines: tuple[str, int, int], height: int = 360, width: int = 640, size: float = 1.0) -> Picture:
    """White letters on a picture of no text, each line with its left end and base line at (x, y)."""
    import cv2

    picture = (videos.texture(height=height, width=width) // 4).astype(np.uint8)
    for words, x, y in lines:
        cv2.putText(picture, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 2, cv2.LINE_AA)
    return picture


def letters_share(words: str, *, size: float, height: int = 360, width: int = 640) -> float:
    """Share of the picture that the rectangle around drawn letters takes."""
    import cv2

    (wide, high), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 2)
    return wide * high / (height * width)


@pytest.mark.parametrize(
    ("name", "boxes", "share"),
    [
        ("none", [], 0.0),
        ("one", [[[0, 0], [10, 0], [10, 5], [0, 5]]], 0.25),
        ("the same twice counts once", [[[0, 0], [10, 0], [10, 5], [0, 5]]] * 2, 0.25),
        ("overlap counts once", [[[0, 0], [6, 0], [6, 5], [0, 5]], [[4, 0], [8, 0], [8, 5], [4, 5]]], 0.2),
        ("turned", [[[2, 0], [4, 2], [2, 4], [0, 2]]], 0.04),
        ("what is outside counts nothing", [[[-5, -5], [5, -5], [5, 5], [-5, 5]]], 0.125),
        ("all", [[[-9, -9], [99, -9], [99, 99], [-9, 99]]], 1.0),
    ],
)
def test_covered_share_of_a_picture_of_20_by_10(name: str, boxes: list[Any], share: float) -> None:
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4, 2)
    assert text.covered_share(corners, Size(10, 20)) == pytest.approx(share), name


@pytest.mark.parametrize("size", [0.6, 1.0, 2.0])
def test_a_drawn_line_is_one_box_around_its_letters(size: float) -> None:
    """The box has a margin: for letters 13 to 43 pixels high it is 1.2 to 1.4 times what they take."""
    picture = written(("Hello World 2026", 40, 200), size=size)
    boxes = detect(picture)
    assert len(boxes) == 1
    share = text.covered_share(boxes, Size(360, 640))
    assert 1.1 < share / letters_share("Hello World 2026", size=size) < 1.5
    (left, top), (right, bottom) = boxes[0].min(axis=0), boxes[0].max(axis=0)
    assert left < 44 and right > 40 + 230 * size and top < 205 - 18 * size and bottom > 198


def test_a_line_that_leans_has_a_box_that_leans() -> None:
    import cv2

    turn = cv2.getRotationMatrix2D((320, 180), 20, 1)
    upright = written(("A line that leans", 150, 190))
    [box] = detect(cv2.warpAffine(upright, turn, (640, 360)))
    edges = np.roll(box, -1, axis=0) - box
    along = edges[np.linalg.norm(edges, axis=1).argmax()]
    assert np.degrees(np.arctan2(abs(along[1]), abs(along[0]))) == pytest.approx(20, abs=4)


def test_the_number_is_the_mean_over_frames_and_the_kept_boxes_explain_it(tmp_path: Path) -> None:
    both, one = written(("first", 30, 60), ("second line", 30, 300)), written(("first", 30, 60))
    frames = [written()] * 3 + [both, one]
    measured = measure(videos.write_video(tmp_path / "a.mp4", frames, lossless=True), NAME)
    assert measured.window_values[0] == 0
    assert measured.window_values[1] > 2 * measured.window_values[2] > 0
    assert measured.values[0] == pytest.approx(np.mean(measured.window_values))
    for value, detail in zip(measured.window_values, measured.window_details, strict=True):
        boxes = np.array(json.loads(detail)["boxes"]).reshape(-1, 4, 2)
        assert value == pytest.approx(text.covered_share(boxes, Size(352, 640)))


def test_a_video_has_the_same_share_at_every_size(tmp_path: Path) -> None:
    import cv2

    picture = written(("One scene at three sizes", 60, 200), height=720, width=1280, size=2)
    shares = {}
    for height, width in ((1080, 1920), (720, 1280), (360, 640)):
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        path = videos.write_video(tmp_path / f"{height}.mp4", [resized] * 2, lossless=True)
        shares[height] = measure(path, NAME, frame_sample_num=1).values[0]
    assert shares == pytest.approx(dict.fromkeys(shares, shares[720]), rel=0.05)


def test_text_is_found_as_the_video_is_shown(tmp_path: Path) -> None:
    upright = written(("Filmed with a telephone", 60, 200))
    coded = np.ascontiguousarray(np.rot90(upright, -1))
    turned = videos.write_video(tmp_path / "a.mp4", [coded] * 2, lossless=True, rotation_degrees=90)
    plain = videos.write_video(tmp_path / "b.mp4", [upright] * 2, lossless=True)
    assert measure(turned, NAME).values[0] == pytest.approx(measure(plain, NAME).values[0], rel=0.05)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("black", np.zeros((360, 640, 3), np.uint8)),
        ("white", np.full((360, 640, 3), 255, np.uint8)),
        ("texture", videos.texture(height=360, width=640)),
        ("noise", np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)),
        ("one pixel", np.zeros((1, 1, 3), np.uint8)),
        ("tiny", videos.texture(height=16, width=24)),
    ],
)
def test_no_text_is_zero(name: str, picture: Picture) -> None:
    assert detect(picture).tolist() == [], name


def test_a_large_thing_on_a_plain_ground_is_no_line_of_text() -> None:
    """A globe in space was text on 39 % of the picture, a cup on 80 %: the network takes them for one huge letter."""
    import cv2

    picture = np.full((270, 480, 3), 255, np.uint8)
    cv2.ellipse(picture, (240, 150), (180, 75), 0, 0, 360, (200, 120, 40), 40, cv2.LINE_AA)
    cv2.putText(picture, "ring", (380, 35), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2, cv2.LINE_AA)
    [line] = detect(picture)
    assert line.max(axis=0)[1] < 60
    assert len(detect(picture, max_line_height=1)) == 2


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 64), (8, 2000), (2000, 8), (2, 4000), (40, 4000)])
def test_pictures_of_any_shape_have_a_number(tmp_path: Path, height: int, width: int) -> None:
    frames: list[Picture] = [videos.texture(height=height, width=width)] * 2
    measured = measure(videos.write_video(tmp_path / "a.mp4", frames), NAME)
    assert (measured.status, measured.values) == ("ok", (0.0,))


@pytest.mark.parametrize(
    ("name", "size", "looked_at"),
    [
        ("down", (1080, 1920), (352, 640)),
        ("never up", (144, 176), (160, 192)),
        ("portrait", (1920, 1080), (640, 352)),
        ("small", (20, 20), (32, 32)),
        ("too thin for text", (8, 2000), (3, 640)),
        ("one pixel", (1, 1), (1, 1)),
    ],
)
def test_pictures_are_looked_at_in_multiples_of_32(name: str, size: Any, looked_at: Any) -> None:
    assert text.looked_at_size(Size(*size), 640) == looked_at, name


def test_the_frames_are_those_of_the_ocr_filter() -> None:
    from dj_assets.operators import video_ocr_area_ratio_filter as ocr

    info = VideoInfo(Size(360, 640), 24, 10, np.arange(240) / 24, np.array([0]))
    ours, theirs = text.plan(info, text.TextAreaParams()), ocr.plan(info, ocr.OcrParams())
    assert ours.windows.tolist() == theirs.windows.tolist()


def test_boxes_are_those_of_rapidocr_itself() -> None:
    """The same map of probabilities, given to rapidocr's own last stage; it rounds boxes to whole pixels."""
    from rapidocr.ch_ppocr_det.utils import DBPostProcess

    picture = written(("Two lines", 40, 80), ("of different length", 100, 250), ("x", 500, 100))
    [probabilities] = run(picture)
    ours = text.boxes_of(probabilities[0])
    theirs, _ = DBPostProcess(0.3, 0.5, 1000, 1.6, "fast", True)(probabilities[None], probabilities.shape[1:])
    assert len(ours) == len(theirs) >= 2
    for box, other in zip(sorted(map(corners, ours)), sorted(map(corners, theirs)), strict=True):
        assert box == pytest.approx(other, abs=1.6)


def run(picture: Picture) -> np.ndarray:
    """The network's map of a picture, float32 [1, 1, H, W]."""
    import cv2

    scaled = cv2.resize(picture, (640, 352)).astype(np.float32) / 255
    scaled = (scaled - np.array(text.MEAN_BGR)) / np.array(text.DEVIATION_BGR)
    return load_once().run(None, {"x": scaled.transpose(2, 0, 1)[None].astype(np.float32)})[0]


def corners(box: np.ndarray) -> list[float]:
    return [*box.min(axis=0).tolist(), *box.max(axis=0).tolist()]


def test_boxes_are_drawn_where_the_detector_saw_them() -> None:
    seen = np.zeros((1, 80, 120, 3), dtype=np.uint8)
    shown = np.zeros((1, 40, 60, 3), dtype=np.uint8)  # half the size that was scored
    boxes = {"boxes": [[[10, 10], [60, 10], [60, 40], [10, 40]]]}
    [[panel]] = text.draw([View(shown, seen, (0.0,), json.dumps(boxes))], text.TextAreaParams())
    red = np.argwhere((panel.picture == text.RED).all(axis=2))
    assert (np.abs(red.min(axis=0) - [5, 5]) <= 1).all() and (np.abs(red.max(axis=0) - [20, 30]) <= 1).all()
    assert panel.caption == "1 line of text"
    assert not shown.any()
    [[none]] = text.draw([View(shown, seen, (0.0,), '{"boxes":[]}')], text.TextAreaParams())
    assert none.caption == "no text found" and not none.picture.any()


def test_wrong_weights_are_told_in_three_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = videos.write_video(tmp_path / "a.mp4", [written()] * 2)
    package = tmp_path / "rapidocr"
    (package / "models").mkdir(parents=True)
    there: list[ModuleSpec | None] = [None]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there[0])
    [measured] = measure_task(task(clip, spec(NAME, longest_side=320))).measured  # no other test has loaded that
    assert "not installed" in measured.bug and "pip install rapidocr" in measured.bug
    assert "Traceback" not in measured.bug
    there[0] = ModuleSpec("rapidocr", None, origin=str(package / "__init__.py"))
    with pytest.raises(text.WeightsError, match="does not exist"):
        text.weights_path()
    (package / text.WEIGHTS_FILE).write_bytes(b"not the weights")
    with pytest.raises(text.WeightsError, match="SHA-256"):
        text.weights_path()


def test_the_tutorials_subtitles_are_found(media: Path) -> None:
    """CRAFT finds 0.067 of video1 and boxes twice what overlaps; the three frames show the same lines."""
    measured = measure(media / "video1.mp4", NAME)
    assert measured.values[0] == pytest.approx(0.077, abs=0.01)
    assert min(measured.window_values) > 0.05
