"""Haar cascades: the boxes of OpenCV 4, which computed those that are written here."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dj_assets.frames import Size
from dj_assets.operators import _haar
from dj_assets.operators._haar import FRONTAL_FACE, Box, Cascade, CascadeError, detect, grouped, read_cascade


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return read_cascade(FRONTAL_FACE)


@pytest.fixture(scope="module")
def astronaut() -> Any:
    """Grey, 512x512, from scikit-image. Read by OpenCV, as it was when OpenCV 4 found its boxes."""
    import skimage

    return cv2.imread(str(Path(skimage.__file__).parent / "data" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)


@pytest.fixture(scope="module")
def crowd() -> Any:
    """A hundred faces of LFW, 600x600, from scikit-image."""
    from skimage import data

    faces = (data.lfw_subset()[:100] * 255).clip(0, 255).astype(np.uint8)
    return np.block([[cv2.resize(faces[10 * row + column], (60, 60)) for column in range(10)] for row in range(10)])


def test_the_cascade_is_lienharts(cascade: Cascade) -> None:
    assert cascade.window == Size(20, 20)
    assert (len(cascade.stages), sum(len(stage.stumps) for stage in cascade.stages)) == (22, 2135)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), [(176, 66, 97, 97), (265, 323, 72, 72)]),
        ((300, 300), [(104, 39, 57, 57), (154, 189, 41, 41)]),
        ((517, 411), [(176, 42, 100, 100)]),
    ],
)
def test_boxes_are_those_of_opencv_4(
    size: tuple[int, int], expected: list[tuple[int, ...]], cascade: Cascade, astronaut: Any
) -> None:
    """size: (width, height). OpenCV 4.12: detectMultiScale(picture, scaleFactor=1.1, minNeighbors=3)."""
    picture = astronaut if size == (512, 512) else cv2.resize(astronaut, size)
    assert [tuple(box) for box in detect(cascade, picture)] == expected


def test_every_hit_is_one_of_opencv_4(cascade: Cascade, crowd: Any, astronaut: Any) -> None:
    """Its count of windows that pass, and sums of their edges: one window more or less would show."""
    found = [detect(cascade, picture, min_neighbors=0) for picture in (crowd, astronaut)]
    assert [len(boxes) for boxes in found] == [3684, 43]
    sums = [np.array(boxes).sum(axis=0).tolist() for boxes in found]
    assert sums == [[1_033_199, 1_043_967, 202_469, 202_463], [8554, 4859, 3728, 3728]]


def test_boxes_within_bounds_are_those_of_opencv_4(cascade: Cascade, crowd: Any) -> None:
    bounds = {"scale_factor": 1.3, "min_neighbors": 2, "min_size": Size(30, 30), "max_size": Size(200, 200)}
    found = detect(cascade, crowd, **bounds)  # type: ignore[arg-type]
    assert (len(found), np.array(found).sum(axis=0).tolist()) == (97, [26_570, 26_095, 5302, 5302])


@pytest.mark.parametrize("shape", [(19, 400), (400, 19), (1, 1), (20, 20)])
def test_pictures_too_small_or_flat_hold_no_face(shape: tuple[int, int], cascade: Cascade) -> None:
    assert detect(cascade, np.full(shape, 7, dtype=np.uint8)) == []


def test_every_second_window_after_a_rejected_one() -> None:
    rejected = np.array([[1, 1, 1, 0, 0, 1, 1, 0, 1]], dtype=bool)
    # Looked at in order: 0 (then 1 is skipped), 2 (3), 4, 5 (6), 7, 8.
    assert _haar._visited(rejected)[0].tolist() == [True, False, True, False, True, True, False, True, True]


def test_groups_are_means_and_few_hits_are_none() -> None:
    near = [Box(10 + index, 10, 40, 40) for index in range(5)]
    far = [Box(200, 200, 40, 40)] * 3
    assert grouped([*near, *far], 3) == [Box(12, 10, 40, 40)]
    assert grouped([*near, *far], 2) == [Box(12, 10, 40, 40), Box(200, 200, 40, 40)]
    assert grouped(near, 0) == near


def test_a_few_hits_inside_a_group_of_many_go() -> None:
    outer, inner = [Box(0, 0, 100, 100)] * 9, [Box(30, 30, 25, 25)] * 2
    assert grouped([*outer, *inner], 1) == [Box(0, 0, 100, 100)]


XML = """<?xml version="1.0"?><opencv_storage><cascade><stageType>BOOST</stageType>
<featureType>{kind}</featureType><height>4</height><width>6</width><stages><_><stageThreshold>0.5</stageThreshold>
<weakClassifiers><_><internalNodes>{nodes}</internalNodes><leafValues>1. 0.</leafValues></_></weakClassifiers></_>
</stages><features><_><rects><_>0 0 6 4 -1.</_><_>0 0 3 4 2.</_></rects><tilted>{tilted}</tilted></_></features>
</cascade></opencv_storage>"""
PARTS = {"kind": "HAAR", "nodes": "0 -1 0 0.1", "tilted": "0"}


def test_other_cascades_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "own.xml"
    path.write_text(XML.format(**PARTS))
    cascade = read_cascade(path)
    assert cascade.window == Size(4, 6)
    # Whole less twice its left half: the two rectangles share two corners.
    assert [tuple(corner) for corner in cascade.stages[0].stumps[0].corners] == [
        (0, 0, 1), (0, 3, -2), (0, 6, 1), (4, 0, -1), (4, 3, 2), (4, 6, -1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (XML.format(**{**PARTS, "kind": "LBP"}), "LBP"),
        (XML.format(**{**PARTS, "tilted": "1"}), "tilted"),
        (XML.format(**{**PARTS, "nodes": "1 2 0 0.1 0 -1 0 0.1"}), "trees"),
        (XML.format(**{**PARTS, "nodes": "0 -1 9 0.1"}), "cascade"),
        ("<a/>", "no cascade"),
        ("not xml", "syntax error"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entities"),
    ],
)
def test_what_is_no_cascade_is_told(content: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.xml"
    path.write_text(content)
    with pytest.raises(CascadeError, match=why):
        read_cascade(path)


def test_a_broken_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "odd.xml.gz"
    path.write_bytes(gzip.compress(b"<a/>")[:-6])
    with pytest.raises(CascadeError):
        read_cascade(path)
