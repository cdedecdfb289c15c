"""The manifest of an export: what it says, that it is the same for the same export, and that it can be read back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dj_assets.errors import StoreError
from dj_assets.export_manifest import (
    dump_places,
    load_places,
    read_manifest,
    recipe_record,
    remembered_plan,
    step_record,
)
from dj_assets.operators._contract import Stat
from dj_assets.ranges import StatRange
from dj_assets.recipe import load_recipe
from dj_assets_tests.plans import a_broken_sample, a_plan, a_sample, a_step
from dj_assets_tests.test_export import export

MOTION = a_step("video_motion_score_filter", StatRange("video_motion_score", 2.0, inf, high_is_set=False))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "res.jsonl"


def test_it_says_what_was_exported_and_from_what(out: Path, tmp_path: Path) -> None:
    samples = [a_sample(1, "a.mp4"), a_sample(2, "b.mp4"), a_sample(3, "c.mp4"), a_broken_sample(4)]
    plan = a_plan(MOTION, export_path=out)
    result = export(plan, {"ds-00000": (samples, [3.5, 1.5, "timed_out"])}, tmp_path / "parts")

    path = out.with_name("res_manifest.json")
    assert result.paths["manifest"] == path
    found = json.loads(path.read_text())
    assert found["counts"] == {
        "samples": 4,
        "kept": 1,
        "set_aside": 2,
        "dropped": {"video_motion_score_filter": 1},
        "undecided": {"malformed": 1, "timed_out": 1},
    }
    [step] = found["steps"]
    assert (step["operator"], step["version"], step["device"]) == ("video_motion_score_filter", 1, "cpu")
    assert (step["measure_id"], step["keeps"]) == (MOTION.measure_id, "video_motion_score >= 2")
    [shard] = found["input"]["shards"]
    assert (shard["shard"], shard["drop"], shard["samples"]) == ("ds-00000", "ds.jsonl", 4)
    assert shard["gaps"] == {
        "video_motion_score_filter": [{"status": "timed_out", "reason": "because timed_out", "at": "2"}]
    }
    for file, records in zip(found["files"], (1, 1, 3), strict=True):
        content = (out.parent / file["file"]).read_bytes()
        assert (file["records"], file["num_bytes"]) == (records, len(content))
        assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_same_export_again_is_the_same_manifest(out: Path, tmp_path: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    shards = {"ds-00000": ([a_sample(1, "a.mp4"), a_sample(2, "b.mp4")], [3.5, 1.5])}
    for parts in ("one", "two"):
        result = export(plan, shards, tmp_path / parts)
        text = result.paths["manifest"].read_bytes()
        assert result.recorded_manifest.read_bytes() == text
        (tmp_path / f"{parts}.json").write_bytes(text)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.parametrize("what", ["record", "content", "number", "bound"])
def test_whatever_moves_the_export_moves_the_manifest(out: Path, tmp_path: Path, what: str) -> None:
    sample, value, step = a_sample(1, "a.mp4"), 3.5, MOTION
    before = export(a_plan(step, export_path=out), {"ds-00000": ([sample], [value])}, tmp_path / "parts")
    text = before.paths["manifest"].read_text()
    if what == "record":
        sample = replace(sample, record={**sample.record, "text": "other"})
    elif what == "content":
        sample = replace(sample, videos=(replace(sample.videos[0], content_hash="ab"),))
    elif what == "number":
        value = 3.25
    else:
        step = replace(MOTION, ranges=(StatRange("video_motion_score", 2.5, inf),))
    export(a_plan(step, export_path=out), {"ds-00000": ([sample], [value])}, tmp_path / "parts")
    assert before.paths["manifest"].read_text() != text


def test_a_shard_that_is_left_out_is_named(out: Path, tmp_path: Path) -> None:
    from dj_assets.export import merge_parts

    plan = a_plan(MOTION, export_path=out)
    export(plan, {"ds-00000": ([a_sample(1, "a.mp4")], [3.5])}, tmp_path / "parts")
    result = merge_parts(plan, ["ds-00000", "ds-00001"], tmp_path / "parts")
    assert read_manifest(result.paths["manifest"]).missing_shards == ("ds-00001",)


def test_the_steps_of_a_manifest_decide_as_those_that_wrote_it(out: Path, tmp_path: Path) -> None:
    ranges = [
        StatRange("video_width", 1.0, 9.223372036854775807e18, low_is_set=False),
        StatRange("video_height", -inf, 480.0, high_closed=False, is_reversed=True),
    ]
    stats = [Stat("video_width", "px", is_integer=True), Stat("video_height", "px", is_integer=True)]
    step = a_step("video_resolution_filter", *ranges, any_or_all="all", stats=stats)
    result = export(a_plan(step, export_path=out, export_type="json"), {}, tmp_path / "parts")
    plan = remembered_plan(read_manifest(result.paths["manifest"]), file="m.json")
    [found] = plan.steps
    assert found.ranges == step.ranges and found.bounds_text == step.bounds_text
    assert step_record(found) == step_record(step)
    assert plan.recipe.export_type == "json" and plan.recipe.settings == a_plan().recipe.settings


def test_the_content_of_the_recipe_is_that_recipe(tmp_path: Path) -> None:
    text = """\
dataset_path: ds.jsonl
export_path: out/res.parquet
text_keys: caption
suffixes: [.jsonl]
keep_stats_in_res_ds: true
process:
  - video_aspect_ratio_filter: {min_ratio: "9/21", max_ratio: .inf}
  - video_duration_filter:
dj_assets: {shard_size: 7, limits: {timeout_seconds: 5}}
"""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "again").mkdir()
    (tmp_path / "recipes" / "r.yaml").write_text(text.replace("max_ratio: .inf", "max_ratio: 1e3"))
    recipe = load_recipe(tmp_path / "recipes" / "r.yaml")
    (tmp_path / "again" / "r.yaml").write_text(json.dumps(recipe_record(recipe)["content"]))
    assert load_recipe(tmp_path / "again" / "r.yaml").sha256 == recipe.sha256

    (tmp_path / "recipes" / "r.yaml").write_text(text)
    endless = recipe_record(load_recipe(tmp_path / "recipes" / "r.yaml"))["content"]
    assert endless["process"][0]["video_aspect_ratio_filter"]["max_ratio"] == "inf"  # JSON has no such number


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1}', '{"format": 99}', '{"videos": []}'], ids=lambda text: text or "empty"
)
def test_what_is_no_manifest_is_said_in_three_parts(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(StoreError) as caught:
        read_manifest(tmp_path / "m.json")
    assert "m.json" in caught.value.given and caught.value.allowed and caught.value.try_


@given(st.sets(st.integers(0, 300)))
def test_places_survive_being_written(numbers: set[int]) -> None:
    assert list(load_places(dump_places(sorted(numbers)))) == sorted(numbers)


def test_places_are_short() -> None:
    assert dump_places([0, 1, 2, 3, 7, 9, 10]) == "0-3 7 9-10"
