"""A recipe with steps over the whole dataset, on real clips: whatever looks at its results tells the same, or says why
it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.analysis import analyse, columns_of_shards
from dj_assets.cli.why import verdict_text
from dj_assets.columns import stored_columns
from dj_assets.decide_sql import verdicts
from dj_assets.defs.jobs import run_recipe
from dj_assets.diff import compare
from dj_assets.errors import DjAssetsError
from dj_assets.evidence import choose, choose_sheet
from dj_assets.evidence.asked import read_decided
from dj_assets.plan import Plan, make_plan
from dj_assets.rebuild import rebuild
from dj_assets.recipe import load_recipe
from dj_assets.store.lineage import explain
from dj_assets.store.store import Store
from dj_assets.studio.bounds import state_of
from dj_assets.studio.session import Session
from dj_assets_tests.operators.test_video_near_deduplicator import resized, scene
from dj_assets_tests.videos import remux, write_video

RECIPE = """
dataset_path: {folder}/drops
export_path: {folder}/out/res.jsonl
keep_stats_in_res_ds: true
open_tracer: true
process:
  - video_duration_filter:
      min_duration: 0.5
  - video_deduplicator:
  - video_near_deduplicator:
      keep: highest_resolution
  - topk_specified_field_selector:
      field_key: __dj__stats__.video_duration
      topk: 3
"""

KEPT = ["a.jsonl:1", "a.jsonl:2", "b.jsonl:3"]
DROPPED = {
    "b.jsonl:1": ("video_deduplicator", "a.jsonl:1"),
    "b.jsonl:2": ("video_deduplicator", "a.jsonl:2"),
    "c.jsonl:1": ("video_near_deduplicator", "b.jsonl:3"),
    "c.jsonl:2": ("topk_specified_field_selector", ""),
}


@dataclass(frozen=True)
class Processed:
    folder: Path
    plan: Plan
    store: Store


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processed]:
    """Three drops: two clips; a copy, a remux and a third clip; that one made smaller, a fourth, and a missing file."""
    folder = tmp_path_factory.mktemp("whole")
    drops = folder / "drops"
    drops.mkdir()
    for number in range(4):
        write_video(drops / f"s{number}.mp4", scene(number, num_frames=24))
    (drops / "copy0.mp4").write_bytes((drops / "s0.mp4").read_bytes())
    remux(drops / "s1.mp4", drops / "remux1.mov")
    write_video(drops / "small2.mp4", map(resized(0.5), scene(2, num_frames=24)))
    listed = {
        "a": ["s0.mp4", "s1.mp4"],
        "b": ["copy0.mp4", "remux1.mov", "s2.mp4"],
        "c": ["small2.mp4", "s3.mp4", "no"],
    }
    for drop, names in listed.items():
        lines = (json.dumps({"text": name, "videos": [name]}) for name in names)
        (drops / f"{drop}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "clips.yaml").write_text(RECIPE.format(folder=folder))
    plan = make_plan(load_recipe(folder / "clips.yaml"))
    with dg.DagsterInstance.ephemeral() as instance:
        report = run_recipe(plan, instance=instance, store_root=folder / "store")
    assert report.success, report.failed
    yield Processed(folder, plan, Store(folder / "store"))


def test_tables_and_files_say_who_stays_and_in_whose_place(processed: Processed) -> None:
    found = [one for shard in "abc" for one in processed.store.read_verdicts("clips", f"{shard}-00000")]
    assert [one.sample_id for one in found if one.outcome == "kept"] == KEPT
    assert {one.sample_id: (one.step, one.in_favour_of) for one in found if one.outcome == "dropped"} == DROPPED
    assert [one.status for one in found if one.outcome == "undecided"] == ["missing"]
    names = [json.loads(line)["text"] for line in (processed.folder / "out" / "res.jsonl").read_text().splitlines()]
    assert names == ["s0.mp4", "s1.mp4", "s2.mp4"]


def test_traces_are_named_as_upstream_names_them(processed: Processed) -> None:
    folder = processed.folder / "out" / "res_trace"
    counts = {path.name: len(path.read_text().splitlines()) for path in folder.iterdir()}
    assert counts == {
        "filter-video_duration_filter.jsonl": 0,
        "duplicate-video_deduplicator.jsonl": 2,
        "duplicate-video_near_deduplicator.jsonl": 1,
        "filter-topk_specified_field_selector.jsonl": 1,
    }


def test_a_rebuilt_export_has_the_same_bytes(processed: Processed, tmp_path: Path) -> None:
    found = rebuild(processed.folder / "out" / "res_manifest.json", store=processed.store, folder=tmp_path)
    assert found.is_same


def test_why_gives_the_reason(processed: Processed) -> None:
    story = explain(processed.store.root, "c.jsonl:1", recipe="clips")
    [decision] = story.decisions
    assert decision.in_favour_of == "b.jsonl:3"
    text = verdict_text(decision)
    assert text.startswith("dropped by video_near_deduplicator: a near copy of b.jsonl:3, ")
    assert text.endswith("which has more pixels (320x180)")


def test_the_studio_leaves_them_out_of_its_counts_and_says_so(processed: Processed) -> None:
    session = Session(processed.plan, stored_columns(processed.plan, processed.store), processed.store)
    assert [one["key"] for one in session.describe()["whole"]] == [step.key for step in processed.plan.whole_steps]
    assert [one["key"] for one in session.describe()["steps"]] == ["video_duration_filter"]
    counts = session.count(state_of(session.plan), show="curves")
    assert (counts["kept"], counts["undecided"]) == (7, 1)
    session.take_plan(processed.plan)
    assert len(session.whole) == 3


def test_what_goes_sample_by_sample_refuses_them(processed: Processed) -> None:
    columns = stored_columns(processed.plan, processed.store)
    with pytest.raises(DjAssetsError, match="decides over the whole dataset"):
        compare(columns, columns)
    with pytest.raises(ValueError, match="decides over the whole dataset"):
        columns.outcomes()
    with pytest.raises(ValueError, match="decides over the whole dataset"):
        verdicts(processed.plan, processed.store)


def test_an_analysis_has_their_measures_and_nothing_of_selectors(processed: Processed) -> None:
    found = analyse(columns_of_shards(processed.plan, processed.store), processed.store)
    assert [one.stat for one in found.stats] == ["video_duration", "video_packet_bytes", "video_hashed_frames"]
    assert [one.measured for one in found.stats] == [7, 7, 7]
    assert all(cost.spared == 0 for cost in found.costs)


def test_evidence_is_chosen_of_what_has_frames(processed: Processed) -> None:
    of_shard = read_decided(processed.store, processed.plan, "c-00000")
    decided = (processed.plan, of_shard.samples, of_shard.verdicts, of_shard.tables)
    assert [one.step.key for one in choose(*decided, kept=9, dropped=9)] == ["video_near_deduplicator"]
    sections = choose_sheet(*decided, boundary=4, undecided=4, random=4)
    assert {section.heading for section in sections} >= {"undecided", "at random, of the others"}
