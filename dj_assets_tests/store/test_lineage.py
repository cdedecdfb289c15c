"""Lineage: everything known of one video, and everything that rests on one measure, run, video or export."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dj_assets.errors import RecipeError, StoreError
from dj_assets.store.lineage import Affected, Question, affected_shards, blast_radius, explain, read_bounds
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.rows import Verdict
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_fact, a_row, a_sample, content_hash

MOTION = "video_motion_score_filter"
OLD, NEW = "0123456789abcdef", "fedcba9876543210"


def manifest(store: Store, recipe: str, path: str, shards: list[str], keeps: str, *, step: str = MOTION) -> Path:
    """What an export leaves in the store; only what lineage reads of it."""
    record = {
        "export_path": path,
        "recipe": {"name": recipe, "sha256": "", "content": {"dj_assets": {"on_undecided": "set_aside"}}},
        "steps": [{"key": step, "operator": step, "keeps": keeps}],
        "counts": {"samples": 2, "kept": 1, "set_aside": 0, "dropped": {step: 1}, "undecided": {}},
        "files": [
            {"name": "kept", "file": "res.jsonl", "records": 1, "num_bytes": 9, "sha256": ""},
            {"name": "dropped", "file": "res_dropped.jsonl", "records": 1, "num_bytes": 9, "sha256": ""},
        ],
        "software": "",
        "input": {"dataset_path": "/ds.jsonl", "shards": [{"shard": shard} for shard in shards]},
    }
    file = store.export_parts(recipe) / "aa.manifest.json"
    file.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return file


@pytest.fixture
def filled(store: Store) -> Store:
    """Recipe `space` over videos 1 and 2 in two shards under version 1; `time` over a copy of video 1 under version 2.

    Under `space` 1 scored 1.5 and was dropped by `>= 2`, and 2 scored 3.5 and was kept.
    """
    for number, value, outcome in ((1, 1.5, "dropped"), (2, 3.5, "kept")):
        shard, verdict = f"ds-0000{number}", Verdict(f"ds:{number}", "kept")
        if outcome == "dropped":
            bound = "video_motion_score >= 2"
            verdict = Verdict(f"ds:{number}", "dropped", MOTION, MOTION, "video_motion_score", (value,), bound)
        store.write_samples("space", shard, [a_sample(number)], PROVENANCE)
        store.append_facts([a_fact(number, value=value)], PROVENANCE)
        store.write_stats("space", MOTION, shard, [a_row(number, value=value)], PROVENANCE)
        store.write_verdicts("space", shard, [verdict], PROVENANCE)
    store.describe_measure(MeasureInfo(MOTION, OLD, 1, {"sampling_fps": 2.0}))
    later = replace(PROVENANCE, recipe="time", run_id="run-2")
    copied = replace(a_sample(1), sample_id="other:9", drop="other")
    copied = replace(copied, videos=(replace(copied.videos[0], path="/elsewhere/one.mp4", given="one.mp4"),))
    store.write_samples("time", "other-00000", [copied], later)
    store.append_facts([a_fact(1, measure_id=NEW, value=9.0)], later)
    row = replace(a_row(1, measure_id=NEW, value=9.0), sample_id="other:9", path="/elsewhere/one.mp4")
    store.write_stats("time", MOTION, "other-00000", [row], later)
    store.write_verdicts("time", "other-00000", [Verdict("other:9", "kept")], later)
    store.describe_measure(MeasureInfo(MOTION, NEW, 2, {"sampling_fps": 4.0}))
    manifest(store, "space", "/out/res.jsonl", ["ds-00001", "ds-00002"], "video_motion_score >= 2")
    return store


# --- bounds ---------------------------------------------------------------------------------------------------------

MARGINS = {
    "above a minimum": ("x >= 2", 2.5, 0.5),
    "below a minimum": ("x >= 2", 1.5, -0.5),
    "nearer to the maximum": ("x >= 2 and x <= 5", 4.0, 1.0),
    "above the maximum": ("x >= 2 and x < 5", 7.0, -2.0),
    "on the limit": ("x >= 2", 2.0, 0.0),
    "outside a reversed range": ("x <= 2 or x >= 5", 6.5, 1.5),
    "inside a reversed range": ("x <= 2 or x >= 5", 3.0, -1.0),
    "a maximum that is no limit": ("x >= 2 and x <= 9.223372037e+18", 100.0, 98.0),
}


@pytest.mark.parametrize(("text", "value", "margin"), MARGINS.values(), ids=MARGINS)
def test_margin_is_the_distance_to_the_nearest_limit_and_negative_outside(
    text: str, value: float, margin: float
) -> None:
    assert read_bounds(text)["x"].margin(value) == margin


def test_each_stat_of_a_step_has_its_own_bounds() -> None:
    bounds = read_bounds("width >= 100 and height >= 50 and height <= 60")
    assert {stat: one.text for stat, one in bounds.items()} == {
        "width": "width >= 100",
        "height": "height >= 50 and height <= 60",
    }
    assert read_bounds("everything") == {}


# --- one video ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["ds:1", content_hash(1), content_hash(1)[:6], "/videos/1.mp4", "1.mp4", "one.mp4"])
def test_a_video_is_found_by_sample_hash_and_path_with_all_its_copies(filled: Store, asked: str) -> None:
    story = explain(filled.root, asked)
    assert story.contents == (content_hash(1),)
    assert {(copy["recipe"], copy["path"]) for copy in story.copies} == {
        ("space", "/videos/1.mp4"),
        ("time", "/elsewhere/one.mp4"),
    }
    assert {(one["measure_id"], one["value"], one["version"], one["run_id"]) for one in story.measures} == {
        (OLD, 1.5, 1, "run-1"),
        (NEW, 9.0, 2, "run-2"),
    }
    assert story.measures[0]["window_values"] == [1.0, 2.0]


def test_a_renamed_file_is_known_by_its_bytes(filled: Store, tmp_path: Path) -> None:
    """`content_hash(1)` is the digest of the text `1`, so a file of that text is video 1."""
    (tmp_path / "renamed.mp4").write_text("1")
    assert explain(filled.root, str(tmp_path / "renamed.mp4")).contents == (content_hash(1),)


def test_a_verdict_comes_with_bound_margin_run_and_export(filled: Store) -> None:
    [decision] = explain(filled.root, "ds:1").decisions
    [number] = decision.numbers
    assert (decision.outcome, decision.step, decision.run_id) == ("dropped", MOTION, "run-1")
    assert (number.value, number.bound, number.margin) == (1.5, "video_motion_score >= 2", -0.5)
    assert [(one.path, one.section, one.is_current) for one in decision.exported] == [
        ("/out/res_dropped.jsonl", "dropped", True)
    ]
    [kept] = explain(filled.root, "ds:2").decisions
    assert (kept.numbers[0].margin, kept.exported[0].path) == (1.5, "/out/res.jsonl")


def test_bounds_of_an_older_export_are_not_taken_for_those_of_the_verdict(filled: Store) -> None:
    file = manifest(filled, "space", "/out/res.jsonl", ["ds-00001", "ds-00002"], "video_motion_score >= 3")
    os.utime(file, ns=(0, 0))
    [dropped] = explain(filled.root, "ds:1").decisions
    assert (dropped.bounds_from, dropped.numbers[0].margin) == ("", -0.5), "the verdict itself says >= 2"
    [kept] = explain(filled.root, "ds:2").decisions
    assert (kept.numbers[0].bound, kept.numbers[0].margin, kept.exported[0].is_current) == ("", None, False)


def test_one_recipe_alone_by_name_or_file(filled: Store) -> None:
    for recipe in ("time", "recipes/time.yaml"):
        assert {copy["recipe"] for copy in explain(filled.root, content_hash(1), recipe=recipe).copies} == {"time"}


def test_a_sample_without_a_video_has_its_verdict_all_the_same(filled: Store) -> None:
    bad = replace(a_sample(3), videos=(), status="malformed", reason="not JSON")
    filled.write_samples("space", "ds-00003", [bad], PROVENANCE)
    verdict = Verdict("ds:3", "undecided", status="malformed", reason="not JSON")
    filled.write_verdicts("space", "ds-00003", [verdict], PROVENANCE)
    story = explain(filled.root, "ds:3")
    assert (story.copies, story.measures, story.samples[0]["reason"]) == ((), (), "not JSON")
    assert story.decisions[0].status == "malformed"


def test_a_video_that_is_not_measured_yet_is_found(filled: Store) -> None:
    filled.write_samples("space", "ds-00004", [a_sample(4)], PROVENANCE)
    story = explain(filled.root, content_hash(4))
    assert ([copy["sample_id"] for copy in story.copies], story.measures, story.decisions) == (["ds:4"], (), ())


# --- many -----------------------------------------------------------------------------------------------------------

ONE, TWO, COPY = Affected("space", "ds-00001", 1), Affected("space", "ds-00002", 1), Affected("time", "other-00000", 1)

QUESTIONS = {
    "measure": (Question(measure_id=OLD), [ONE, TWO]),
    "first digits of a measure": (Question(measure_id="fed"), [COPY]),
    "operator": (Question(operator=MOTION), [ONE, TWO, COPY]),
    "a version of it": (Question(operator=MOTION, version=1), [ONE, TWO]),
    "run": (Question(run_id="run-2"), [COPY]),
    "video": (Question(video=content_hash(1)), [ONE, COPY]),
    "export, which keeps one of two": (Question(export="/out/res.jsonl"), [TWO]),
    "its file of dropped samples": (Question(export="/out/res_dropped.jsonl"), [TWO]),
}


@pytest.mark.parametrize(("question", "shards"), QUESTIONS.values(), ids=QUESTIONS)
def test_what_rests_on_it(filled: Store, question: Question, shards: list[Affected]) -> None:
    assert affected_shards(filled.root, question) == shards
    radius = blast_radius(filled.root, question)
    assert list(radius.shards) == shards
    assert radius.samples == len(shards)
    assert radius.recipes == tuple(sorted({one.recipe for one in shards}))


def test_a_wrong_version_names_its_exports_and_runs(filled: Store) -> None:
    radius = blast_radius(filled.root, Question(operator=MOTION, version=1), most_samples=1)
    assert radius.exports == ({"recipe": "space", "path": "/out/res.jsonl", "shards": 2},)
    assert radius.runs == ({"run_id": "run-1", "videos": 2},)
    assert [(one["measure_id"], one["version"], one["samples"]) for one in radius.measures] == [(OLD, 1, 2)]
    assert [(one["sample_id"], one["outcome"]) for one in radius.first_samples] == [("ds:1", "dropped")]
    assert len(blast_radius(filled.root, Question(operator=MOTION), most_samples=None).first_samples) == 3


def test_what_was_skipped_or_not_there_rests_on_no_measure(filled: Store) -> None:
    gone = replace(a_row(5, value=None, status="missing"), sample_id="ds:5")
    rows = [replace(gone, fact=replace(gone.fact, content_hash="")), a_row(6, value=None, status="skipped")]
    filled.write_stats("space", MOTION, "ds-00005", rows, PROVENANCE)
    assert affected_shards(filled.root, Question(measure_id=OLD)) == [ONE, TWO]


def test_a_run_says_how_many_tables_lie_there_as_it_left_them(filled: Store) -> None:
    assert blast_radius(filled.root, Question(run_id="run-1")).tables == 6
    later = replace(PROVENANCE, run_id="run-3", created_at="2026-11-23T10:00:00+00:00")
    filled.write_verdicts("space", "ds-00001", [], later)
    assert blast_radius(filled.root, Question(run_id="run-1")).tables == 5


# --- what cannot be answered ----------------------------------------------------------------------------------------

UNKNOWN = {
    "sample": (lambda root: explain(root, "ds:11"), "ds:1"),
    "path": (lambda root: explain(root, "on.mp4"), "did you mean one.mp4"),
    "recipe": (lambda root: explain(root, "ds:1", recipe="spce"), "did you mean space"),
    "measure": (lambda root: blast_radius(root, Question(measure_id="77")), OLD),
    "operator": (lambda root: blast_radius(root, Question(operator="video_motion_score")), f"did you mean {MOTION}"),
    "version": (lambda root: blast_radius(root, Question(operator=MOTION, version=3)), "allowed: 1, 2"),
    "run": (lambda root: blast_radius(root, Question(run_id="run-7")), "did you mean run-"),
    "several runs": (lambda root: blast_radius(root, Question(run_id="run")), "2 runs begin with 'run'"),
    "export": (lambda root: blast_radius(root, Question(export="/out/rse.jsonl")), "did you mean /out/res.jsonl"),
    "video": (lambda root: blast_radius(root, Question(video="ffffffff")), "nothing is known of 'ffffffff'"),
}


@pytest.mark.parametrize(("ask", "answer"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_unknown_is_answered_with_what_is_near(filled: Store, ask, answer: str) -> None:
    with pytest.raises(RecipeError) as caught:
        ask(filled.root)
    assert answer in str(caught.value)
    assert caught.value.allowed and caught.value.try_


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no store at"):
        explain(tmp_path / "nowhere", "ds:1")


def test_a_damaged_table_is_named(filled: Store) -> None:
    filled.stats_path("space", MOTION, "ds-00001").write_bytes(b"junk")
    with pytest.raises(StoreError, match=r"ds-00001\.parquet"):
        blast_radius(filled.root, Question(operator=MOTION))


@pytest.mark.parametrize("folder", ["it's", "[x]", "shard=7"])
def test_the_store_may_lie_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    store = Store(tmp_path / folder / "store")
    store.write_samples("space", "ds-00001", [a_sample(1)], PROVENANCE)
    store.append_facts([a_fact(1)], PROVENANCE)
    store.write_stats("space", MOTION, "ds-00001", [a_row(1)], PROVENANCE)
    assert len(explain(store.root, content_hash(1)).measures) == 1
    assert affected_shards(store.root, Question(operator=MOTION)) == [ONE]
