"""`dj-assets why` and `dj-assets lineage`: what is printed, and what is said of a name that means nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dj_assets.store.store import Store
from dj_assets_tests.cli.project_store import MEASURE, dj_assets
from dj_assets_tests.store.made import write_stages
from dj_assets_tests.store.nouns import content_hash


def rows(text: str) -> list[list[str]]:
    """The words of each printed line."""
    return [line.split() for line in text.splitlines()]


def test_why_tells_value_bound_margin_run_and_file(filled: Store) -> None:
    result = dj_assets("why", "ds:1")
    assert result.exit_code == 0
    assert f"content {content_hash(1)}, 4,096 bytes, 1 path" in result.stdout
    printed = rows(result.stdout)
    measured = ["2026-11-22T10:00:00+00:00", "on", "cpu", "run-1", "0.250"]
    assert ["video_duration", "0.5", "video_duration_filter", "1", MEASURE, *measured] in printed
    bound = ["video_duration", ">=", "2"]
    assert ["video_duration_filter", "video_duration", "0.5", *bound, "-1.5", "/videos/1.mp4"] in printed
    assert "dropped by video_duration_filter: not video_duration >= 2" in result.stdout
    assert "exported to /out/res_dropped.jsonl (dropped)" in result.stdout


def test_why_never_shows_a_number_for_what_could_not_be_measured(filled: Store) -> None:
    result = dj_assets("why", "ds:3")
    assert "none: unreadable" in result.stdout
    assert "undecided at video_duration_filter: unreadable, cut short" in result.stdout


def test_why_as_json_has_everything(filled: Store) -> None:
    story = json.loads(dj_assets("why", content_hash(2)[:8], "--recipe", "short", "--json").stdout)
    assert story["contents"] == [content_hash(2)]
    assert story["measures"][0]["window_values"] == [1.0, 2.0]
    assert story["measures"][0]["params"] == {}
    assert story["decisions"][0]["numbers"][0]["margin"] == 1.5


def test_lineage_counts_and_names_what_rests_on_a_measure(filled: Store) -> None:
    result = dj_assets("lineage", "--operator", "video_duration_filter", "--version", "1")
    assert result.exit_code == 0
    assert "3 samples of 3 videos, in 1 shard of 1 recipe, 1 export" in result.stdout
    printed = rows(result.stdout)
    assert ["short", "ds-00000", "3"] in printed
    assert ["/out/res.jsonl", "short", "1"] in printed
    assert ["short", "ds:2", "kept"] in printed


def test_lineage_as_json_has_recipes_and_params(filled: Store) -> None:
    record = json.loads(dj_assets("lineage", "--run", "run-1", "--json").stdout)
    assert (record["recipes"], record["samples"], record["tables"]) == (["short"], 3, 3)
    assert record["measures"][0]["params"] == {}


UNKNOWN = {
    "sample": (("why", "ds:11"), "did you mean ds:1"),
    "recipe": (("why", "ds:1", "--recipe", "shrt"), "did you mean short"),
    "operator": (("lineage", "--operator", "video_duration"), "did you mean video_duration_filter"),
    "nothing named": (("lineage",), "nothing was named"),
    "two things named": (("lineage", "--run", "a", "--video", "b"), "2 things were named: --run, --video"),
    "version alone": (("lineage", "--run", "a", "--version", "1"), "--version was given without --operator"),
}


@pytest.mark.parametrize(("arguments", "answer"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_right_exits_with_2(filled: Store, arguments: tuple[str, ...], answer: str) -> None:
    result = dj_assets(*arguments)
    assert result.exit_code == 2
    assert answer in result.stderr
    assert "\n  allowed: " in result.stderr
    assert "\n  try: " in result.stderr


def test_why_walks_a_product_back_hop_by_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_stages(tmp_path / "store")
    monkeypatch.setenv("DJ_ASSETS_STORE", str(store.root))
    result = dj_assets("why", "ds.jsonl:3#2#1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    first = lines.index("ds.jsonl:3#2#1 (recipe r) was made of ds.jsonl:3#2 (r__2) by video_extract_frames_mapper 2")
    assert lines[first + 1] == "  /v/b/frame_0.jpg: at 1.5 s of /v/b.mp4"
    scene = "ds.jsonl:3#2 (recipe r__2) was made of ds.jsonl:3 (r__1) by video_split_by_scene_mapper 1: threshold=27.0"
    assert lines[first + 2] == scene
    assert lines[first + 3] == "  /v/b.mp4: 6 s to 9.9 s of /v/film.mp4"
    for stage in ("r", "r__2", "r__1"):
        assert any(f"in recipe {stage}, shard ds-00000: kept" in line for line in lines)
    became = dj_assets("why", "ds.jsonl:3").stdout
    assert ["ds.jsonl:3#1", "r__2", "video_split_by_scene_mapper", "1", "dropped"] in rows(became)
    story = json.loads(dj_assets("why", "ds.jsonl:3#2", "--json").stdout)
    assert story["origins"][0]["params"] == {"threshold": 27.0}
