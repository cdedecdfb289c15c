"""What upstream's unit tests of filters expect to be kept, row by row, through the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dj_assets_tests.conftest import MEDIA
from dj_assets_tests.upstream import clips
from dj_assets_tests.upstream.project import Project

DURATION = "video_duration_filter"
RESOLUTION = "video_resolution_filter"
ASPECT = "video_aspect_ratio_filter"
MOTION = "video_motion_score_filter"
OCR = "video_ocr_area_ratio_filter"

SINGLE = (("v1",), ("v2",), ("v3",))
PAIRS = (("v1", "v2"), ("v2", "v3"), ("v1", "v3"))
"""The rows of upstream's tests of `any_or_all`."""

W_400_TO_500 = {"min_width": 400, "max_width": 500}
A_3_4_TO_16_9 = {"min_ratio": "3/4", "max_ratio": "16/9"}

HEADER = [
    pytest.param(DURATION, {}, SINGLE, [1, 2, 3], 1, id="duration, default"),
    pytest.param(DURATION, {"max_duration": 15}, SINGLE, [1], 1, id="duration, at most 15"),
    pytest.param(DURATION, {"min_duration": 30}, SINGLE, [3], 1, id="duration, at least 30"),
    pytest.param(DURATION, {"min_duration": 16, "max_duration": 42}, SINGLE, [2], 1, id="duration, 16 to 42"),
    pytest.param(DURATION, {"min_duration": 15, "max_duration": 30}, SINGLE, [2], 2, id="duration, two processes"),
    pytest.param(
        DURATION, {"min_duration": 15, "max_duration": 30, "any_or_all": "any"}, PAIRS, [1, 2], 1, id="duration, any"
    ),
    pytest.param(
        DURATION, {"min_duration": 15, "max_duration": 30, "any_or_all": "all"}, PAIRS, [], 1, id="duration, all"
    ),
    pytest.param(RESOLUTION, {}, SINGLE, [1, 2, 3], 1, id="resolution, default"),
    pytest.param(RESOLUTION, {"min_width": 480, "min_height": 480}, SINGLE, [2], 1, id="resolution, at least"),
    pytest.param(RESOLUTION, {"max_width": 640, "max_height": 480}, SINGLE, [1], 1, id="resolution, at most"),
    pytest.param(RESOLUTION, W_400_TO_500, SINGLE, [2], 1, id="resolution, between"),
    pytest.param(RESOLUTION, W_400_TO_500, SINGLE, [2], 2, id="resolution, two processes"),
    pytest.param(RESOLUTION, {**W_400_TO_500, "any_or_all": "any"}, PAIRS, [1, 2], 1, id="resolution, any"),
    pytest.param(RESOLUTION, {**W_400_TO_500, "any_or_all": "all"}, PAIRS, [], 1, id="resolution, all"),
    pytest.param(ASPECT, {}, SINGLE, [1, 2, 3], 1, id="aspect, default"),
    pytest.param(ASPECT, A_3_4_TO_16_9, SINGLE, [1, 2], 1, id="aspect, between"),
    pytest.param(ASPECT, A_3_4_TO_16_9, SINGLE, [1, 2], 2, id="aspect, two processes"),
    pytest.param(ASPECT, {**A_3_4_TO_16_9, "any_or_all": "any"}, PAIRS, [1, 2, 3], 1, id="aspect, any"),
    pytest.param(ASPECT, {**A_3_4_TO_16_9, "any_or_all": "all"}, PAIRS, [1], 1, id="aspect, all"),
]
MOVES = [
    pytest.param({}, SINGLE, [1, 2, 3], 1, id="default"),
    pytest.param({"min_score": 1.0, "size": 120}, SINGLE, [1, 2], 1, id="short side 120"),
    pytest.param({"min_score": 1.0, "size": 120, "max_size": 160}, SINGLE, [1, 2], 1, id="long side at most 160"),
    pytest.param(
        {"min_score": 0.005, "size": [120, 160], "relative": True}, SINGLE, [1, 2], 1, id="share of the diagonal"
    ),
    pytest.param({"min_score": 3.0}, SINGLE, [2], 1, id="at least 3"),
    pytest.param({"min_score": 0.0, "max_score": 1.5}, SINGLE, [3], 1, id="at most 1.5"),
    pytest.param({"min_score": 1.5, "max_score": 3.0}, SINGLE, [1], 1, id="1.5 to 3"),
    pytest.param({"min_score": 1.5, "max_score": 3.0}, SINGLE, [1], 2, id="two processes"),
    pytest.param({"min_score": 1.5, "max_score": 3.0, "any_or_all": "any"}, PAIRS, [1, 3], 1, id="any"),
    pytest.param({"min_score": 1.5, "max_score": 3.0, "any_or_all": "all"}, PAIRS, [], 1, id="all"),
]
READS = [
    pytest.param({}, SINGLE, [1, 2, 3], 1, id="default"),
    pytest.param({"max_area_ratio": 0.1}, SINGLE, [1, 3], 1, id="at most 0.1"),
    pytest.param({"min_area_ratio": 0.2}, SINGLE, [2], 1, id="at least 0.2"),
    pytest.param({"min_area_ratio": 0.07, "max_area_ratio": 0.1}, SINGLE, [3], 1, id="0.07 to 0.1"),
    pytest.param({"min_area_ratio": 0.07, "max_area_ratio": 0.1}, SINGLE, [3], 2, id="two processes"),
    pytest.param({"min_area_ratio": 0.07, "max_area_ratio": 0.1, "any_or_all": "any"}, PAIRS, [2, 3], 1, id="any"),
    pytest.param({"min_area_ratio": 0.07, "max_area_ratio": 0.1, "any_or_all": "all"}, PAIRS, [], 1, id="all"),
]


@pytest.fixture(scope="module")
def by_header(_folder: Path) -> dict[str, Path]:
    """The tutorial's clips where they are; flat ones of their size and length elsewhere."""
    found = {name: MEDIA / f"video{name[1]}.mp4" for name in ("v1", "v2")}
    return {
        name: found[name] if name in found and found[name].exists() else clips.flat(_folder / f"{name}.mp4", name)
        for name in clips.SIZES
    }


@pytest.fixture(scope="module")
def slow(_folder: Path) -> Path:
    return clips.slow(_folder / "clips" / "slow.mp4")


@pytest.fixture(scope="module")
def with_some_text(_folder: Path) -> Path:
    return clips.with_some_text(_folder / "clips" / "text.mp4")


def tutorial(media: Path, third: Path) -> dict[str, Path]:
    return {"v1": media / "video1.mp4", "v2": media / "video2.mp4", "v3": third}


@pytest.mark.parametrize(("operator", "options", "rows", "kept", "np"), HEADER)
def test_by_the_header(
    project: Project,
    by_header: dict[str, Path],
    operator: str,
    options: dict[str, Any],
    rows: tuple[tuple[str, ...], ...],
    kept: list[int],
    np: int,
) -> None:
    assert replace(project, clips=by_header).kept([{operator: options}], rows, np=np) == kept


@pytest.mark.media
@pytest.mark.parametrize(("options", "rows", "kept", "np"), MOVES)
def test_by_motion(
    project: Project,
    media: Path,
    slow: Path,
    options: dict[str, Any],
    rows: tuple[tuple[str, ...], ...],
    kept: list[int],
    np: int,
) -> None:
    assert replace(project, clips=tutorial(media, slow)).kept([{MOTION: options}], rows, np=np) == kept


@pytest.mark.media
@pytest.mark.weights
@pytest.mark.parametrize(("options", "rows", "kept", "np"), READS)
def test_by_text(
    project: Project,
    media: Path,
    with_some_text: Path,
    options: dict[str, Any],
    rows: tuple[tuple[str, ...], ...],
    kept: list[int],
    np: int,
) -> None:
    assert replace(project, clips=tutorial(media, with_some_text)).kept([{OCR: options}], rows, np=np) == kept


def test_the_same_operator_twice_is_two_measures(project: Project, moving_2px: Path) -> None:
    """Upstream keeps both under one key, so that the second step takes the first one's number."""
    steps = [{MOTION: {"sampling_fps": 24, "min_score": 0}}, {MOTION: {"sampling_fps": 6, "min_score": 0}}]
    [record] = replace(project, clips={"a": moving_2px}).process(steps, [["a"]])
    stats = record["__dj__stats__"]
    assert set(stats) == {"video_motion_score", "video_motion_score_2"}
    [each_frame], [each_fourth] = stats["video_motion_score"], stats["video_motion_score_2"]
    assert each_frame == pytest.approx(2, rel=0.2), "2 px from frame to frame"
    assert each_fourth == pytest.approx(7, rel=0.2), "8 px from every fourth frame to the next, and one pair of 2 px"


def test_each_of_two_steps_decides_by_its_own_number(project: Project, moving_2px: Path, still: Path) -> None:
    """A bound between the two numbers: with one number for both steps, either nothing would stay or all would."""
    both = replace(project, clips={"moving": moving_2px, "still": still})
    rows = [["moving"], ["still"]]
    slow_then_fast = [
        {MOTION: {"sampling_fps": 24, "max_score": 4, "min_score": 0}},
        {MOTION: {"sampling_fps": 6, "min_score": 4}},
    ]
    assert both.kept(slow_then_fast, rows) == [1]
    assert both.kept(slow_then_fast[::-1], rows) == [1]
