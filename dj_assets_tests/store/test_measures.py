"""Measure ids can be read backwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dj_assets.store.measures import MeasureInfo
from dj_assets.store.store import Store

TWO_FPS = MeasureInfo("video_motion_score_filter", "aaaa", 1, {"sampling_fps": 2.0, "relative": False})


def test_written_once_and_found_by_operator(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.measures() == []
    store.describe_measure(TWO_FPS)
    store.describe_measure(TWO_FPS)
    duration = MeasureInfo("video_duration_filter", "bbbb", 1)
    store.describe_measure(duration)
    assert store.measures() == [duration, TWO_FPS]
    assert store.measures("video_motion_score_filter") == [TWO_FPS]


def test_a_damaged_description_is_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.describe_measure(TWO_FPS)
    [path] = tmp_path.rglob("measure.json")
    path.write_text("{")
    assert store.measures() == []


@pytest.mark.parametrize(
    ("name", "new", "words"),
    [
        ("same", TWO_FPS, []),
        (
            "param",
            MeasureInfo(TWO_FPS.operator, "c", 1, {"sampling_fps": 4.0, "relative": False}),
            ["sampling_fps 2.0 → 4.0"],
        ),
        ("version", MeasureInfo(TWO_FPS.operator, "c", 2, TWO_FPS.params), ["version 1 → 2"]),
        (
            "param that is new",
            MeasureInfo(TWO_FPS.operator, "c", 1, {**TWO_FPS.params, "size": 120}),
            ["size null → 120"],
        ),
        ("device", MeasureInfo(TWO_FPS.operator, "c", 1, TWO_FPS.params, "cuda"), ["device cpu → cuda"]),
    ],
)
def test_what_differs_in_words(name: str, new: MeasureInfo, words: list[str]) -> None:
    assert new.differs_from(TWO_FPS) == words, name


def test_a_param_that_came_later_had_the_value_it_was_worked_by() -> None:
    sized = replace(TWO_FPS, measure_id="c", params={**TWO_FPS.params, "size": 120})
    assert sized.differs_from(TWO_FPS, {"size": 360}) == ["size 360 → 120"]
    assert TWO_FPS.differs_from(sized, {"size": 360}) == ["size 120 → 360"]
