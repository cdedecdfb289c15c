"""Tags that records bring, any or all of them. The table is that of upstream's own tests, its tags written down."""

from __future__ import annotations

from typing import Any

import pytest

from dj_assets_tests.operators.on_records import judged, kept, plan_of, verdicts_on

NAME = "video_tagging_from_frames_filter"

V1 = ["animal", "ray", "text", "writing", "yellow", "game", "screenshot", "cartoon", "cartoon dragon", "robot"]
V2 = ["man", "shirt", "t shirt", "wear", "white", "boy", "hand", "catch", "bulletin board", "Girl"]
V3 = ["woman", "table", "sit", "person", "laptop", "bulletin board", "conference room", "conference table", "girl"]


def tagged(*tags: list[str]) -> dict[str, Any]:
    return {"videos": ["v.mp4"] * len(tags), "__dj__meta__": {"video_frame_tags": [*tags]}}


SINGLE = [tagged(V1), tagged(V2), tagged(V3)]
PAIRS = [tagged(V1, V2), tagged(V2, V3), tagged(V1, V3)]


@pytest.mark.parametrize(
    ("what", "records", "options", "expected"),
    [
        ("any of one", SINGLE, {"tags": ["cartoon"]}, [0]),
        ("case does not matter", SINGLE, {"tags": ["GIRL"]}, [1, 2]),
        ("any of two", SINGLE, {"tags": ["cartoon", "laptop"]}, [0, 2]),
        ("all of two", SINGLE, {"tags": ["girl", "person"], "contain": "all"}, [2]),
        ("any tag, any video", PAIRS, {"tags": ["cartoon", "fish"]}, [0, 2]),
        ("all tags, any video", PAIRS, {"tags": ["girl", "person"], "contain": "all"}, [1, 2]),
        ("any tag, all videos", PAIRS, {"tags": ["cartoon", "person"], "any_or_all": "all"}, [2]),
        ("reversed, of each video", PAIRS, {"tags": ["cartoon"], "reversed_range": True}, [0, 1, 2]),
        ("reversed, all videos", PAIRS, {"tags": ["cartoon"], "reversed_range": True, "any_or_all": "all"}, [1]),
        ("no tags wanted, any", SINGLE, {"tags": []}, []),
        ("no tags wanted, all", SINGLE, {"tags": [], "contain": "all"}, [0, 1, 2]),
        ("no videos", [tagged()], {"tags": ["cartoon"]}, [0]),
        ("no videos, as upstream's mapper leaves them", [tagged([])], {"tags": ["cartoon"]}, []),
        ("as recipes of upstream's have it", SINGLE, {"tags": ["cartoon"], "frame_sampling_method": "uniform"}, [0]),
    ],
)
def test_those_are_kept_that_data_juicer_keeps(
    what: str, records: list[dict], options: dict[str, Any], expected: list[int]
) -> None:
    assert kept(NAME, records, **options) == expected


def test_another_field_may_hold_them() -> None:
    record = {"__dj__meta__": {"mine": [["dog"]]}}
    assert judged(NAME, record, tags=["dog"], tag_field_name="mine") == 1


@pytest.mark.parametrize(
    "record",
    [{}, {"__dj__meta__": None}, {"__dj__meta__": {}}, {"__dj__meta__": {"video_frame_tags": "dog"}}, tagged([1])],  # type: ignore[list-item]
    ids=str,
)
def test_a_record_without_tags_is_undecided_and_says_who_makes_them(record: dict) -> None:
    [verdict] = verdicts_on(plan_of((NAME, {})), [record])
    assert (verdict.outcome, verdict.status) == ("undecided", "no_value")
    assert "__dj__meta__.video_frame_tags" in verdict.reason
