"""video_face_ratio_filter: dlib's frontal detector on a portrait (NASA's, public domain, from scikit-image's wheel)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dj_assets import operators
from dj_assets.frames import Look, Windows
from dj_assets.operators import video_face_ratio_filter as face
from dj_assets.operators._contract import View
from dj_assets.plan import lacking, make_plan
from dj_assets.recipe import load_recipe
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_face_ratio_filter"


@pytest.fixture(scope="module")
def portrait() -> npt.NDArray[np.uint8]:
    """A face of about 90 pixels, RGB, uint8 [256, 256, 3]."""
    from skimage.data import astronaut

    return astronaut()[:256, 100:356].copy()


@pytest.fixture(scope="module")
def video(portrait: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames; frames 3, 4, 5, 9 and 11 show the face."""
    nobody = videos.texture(height=256, width=256)
    frames = [portrait if index in (3, 4, 5, 9, 11) else nobody for index in range(12)]
    return videos.write_video(tmp_path_factory.mktemp("faces") / "a.mp4", frames, lossless=True)


@pytest.mark.parametrize(
    ("interval", "with_face"),
    [(1, [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]), (2, [0, 1, 1, 0, 1, 1]), (3, [0, 1, 0, 1]), (12, [1])],
)
def test_it_is_the_share_of_every_nth_frame_counted_as_upstream(
    video: Path, interval: int, with_face: list[int]
) -> None:
    found = measure(video, NAME, detect_interval=interval)
    assert found.window_values == tuple(map(float, with_face))
    assert found.values == pytest.approx([sum(with_face) / len(with_face)])


def test_fewer_frames_than_the_interval_are_no_number(video: Path) -> None:
    found = measure(video, NAME, detect_interval=13)
    assert found.status == "too_short" and "12 frames" in found.reason and not found.values


def test_the_box_is_around_the_face_and_is_drawn(portrait: npt.NDArray[np.uint8]) -> None:
    data = portrait[None, None, :, :, ::-1].copy()
    model = face.load(face.FaceParams(), "cpu")
    scores = face.score(Windows(data, np.array([[0]]), np.array([[0.0]]), Look("bgr24")), face.FaceParams(), model)
    [[x_min, y_min, x_max, y_max]] = json.loads(scores.details[0])["faces"]
    assert x_min < 122 < x_max and y_min < 115 < y_max, "the nose"
    small = np.zeros((128, 128, 3), dtype=np.uint8)
    [(panel,)] = face.draw([View(small[None], data[0], (0.0,), scores.details[0])], face.FaceParams())
    assert panel.caption == "1 face"
    assert panel.picture[y_min // 2 + 10, round(x_min / 2)].tolist() == [255, 0, 0]
    assert not small.any()


def test_all_videos_must_pass_by_default() -> None:
    assert operators.get(NAME).any_or_all_default == "all"


def test_without_dlib_the_recipe_has_a_plan_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n  - {NAME}:\n")
    plan = make_plan(load_recipe(path))
    assert list(lacking(plan.steps)) == []
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dlib" else find_spec(name))
    [(_, error)] = lacking(plan.steps)
    assert "dlib" in error.given and error.try_ == "pip install 'dj-assets[faces]'"
