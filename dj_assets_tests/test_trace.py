"""Traces: the first samples that each step rejected, beside the export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import pytest

from dj_assets.decide import decide
from dj_assets.defs.versions import export_code_version
from dj_assets.errors import RecipeError, StoreError
from dj_assets.export import ExportResult, merge_parts, output_paths, write_part
from dj_assets.export_manifest import read_manifest, remembered_plan
from dj_assets.plan import Plan
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample
from dj_assets.trace import DroppedLines, trace_folder, write_traces
from dj_assets_tests.plans import Value, a_broken_sample, a_plan, a_sample, a_step, a_table

LENGTH = a_step("video_duration_filter", StatRange("video_duration", 1.0, inf, high_is_set=False))
MOTION = a_step("video_motion_score_filter", StatRange("video_motion_score", 2.0, inf, high_is_set=False), number=2)
ON = {"open_tracer": True}

Shards = dict[str, list[tuple[Value, Value]]]

SHARDS: Shards = {
    "ds-00000": [(0.5, 9.0), (3.0, 1.0), (3.0, 3.0), ("crashed", 3.0), (3.0, 0.5)],
    "ds-00001": [(3.0, 3.0)],
    "ds-00002": [(0.25, 0.0), (3.0, 0.25)],
}
"""Duration and motion of each sample's video. Samples are numbered through from 1."""


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return tmp_path / "parts"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "res.jsonl"


def export(plan: Plan, parts: Path, shards: Shards = SHARDS, *, last: Sequence[Sample] = ()) -> ExportResult:
    """Write the parts and merge them. last: samples without videos, in a shard of their own."""
    number = 0
    for key, values in shards.items():
        samples = [a_sample(number + n, f"{number + n}.mp4") for n in range(1, len(values) + 1)]
        number += len(samples)
        tables = {
            step.key: a_table(step, samples, [pair[index] for pair in values]) for index, step in enumerate(plan.steps)
        }
        write_part(plan, key, samples, decide(plan, samples, tables), tables, parts)
    if last:
        empty: dict[str, Any] = {step.key: [] for step in plan.steps}
        write_part(plan, "zz-00000", last, decide(plan, last, empty), empty, parts)
    return merge_parts(plan, [*shards, *(["zz-00000"] if last else [])], parts)


def traces(out: Path) -> dict[str, list[str]]:
    """{file: texts of its records}, of everything in the export's trace folder."""
    folder = out.with_name(f"{out.stem}_trace")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: [json.loads(line)["text"] for line in path.read_bytes().splitlines()] for path in found}


def test_each_step_has_the_samples_that_it_rejected_in_the_order_of_the_dataset(out: Path, parts: Path) -> None:
    result = export(a_plan(LENGTH, MOTION, export_path=out, **ON), parts, last=[a_broken_sample(9)])
    assert traces(out) == {
        "filter-video_duration_filter.jsonl": ["sample 1", "sample 7"],
        "filter-video_motion_score_filter.jsonl": ["sample 2", "sample 5", "sample 8"],
    }
    assert result.paths["trace"] == out.with_name("res_trace")
    assert result.set_aside == 2, "what is undecided was rejected by no step"


def test_a_line_is_that_of_the_dropped_file(out: Path, parts: Path) -> None:
    """Data-Juicer's tracer shows a rejected sample without the stats that rejected it."""
    export(a_plan(LENGTH, MOTION, export_path=out, **ON), parts)
    [first, *_] = (out.parent / "res_trace" / "filter-video_motion_score_filter.jsonl").read_bytes().splitlines()
    assert first in out.with_name("res_dropped.jsonl").read_bytes().splitlines()
    record = json.loads(first)
    assert record["__dj__stats__"] == {"video_duration": [3.0], "video_motion_score": [1.0]}
    verdict = record["__dj__verdict__"]
    assert (verdict["step"], verdict["values"], verdict["bound"]) == (
        "video_motion_score_filter",
        [1.0],
        "video_motion_score >= 2",
    )


@pytest.mark.parametrize(
    ("trace_num", "length", "motion"),
    [(0, [], []), (1, [1], [2]), (2, [1, 7], [2, 5]), (3, [1, 7], [2, 5, 8]), (10**9, [1, 7], [2, 5, 8])],
)
def test_trace_num_is_per_step_and_over_all_shards(
    out: Path, parts: Path, trace_num: int, length: list[int], motion: list[int]
) -> None:
    export(a_plan(LENGTH, MOTION, export_path=out, trace_num=trace_num, **ON), parts)
    assert list(traces(out).values()) == [[f"sample {n}" for n in numbers] for numbers in (length, motion)]


def test_only_the_operators_that_are_asked_for(out: Path, parts: Path) -> None:
    wanted = ("video_motion_score_filter",)
    export(a_plan(LENGTH, MOTION, export_path=out, op_list_to_trace=wanted, **ON), parts)
    assert list(traces(out)) == ["filter-video_motion_score_filter.jsonl"]


def test_an_operator_that_is_listed_twice_has_two_traces(out: Path, parts: Path) -> None:
    again = a_step(
        "video_duration_filter_2",
        StatRange("video_duration", 2.0, inf),
        number=2,
        stat_names=("video_duration_2",),
    )
    plan = a_plan(LENGTH, again, export_path=out, op_list_to_trace=("video_duration_filter",), **ON)
    export(plan, parts, {"ds-00000": [(0.5, 0.5), (1.5, 1.5)]})
    assert traces(out) == {
        "filter-video_duration_filter.jsonl": ["sample 1"],
        "filter-video_duration_filter_2.jsonl": ["sample 2"],
    }


def test_a_step_that_rejected_nothing_has_an_empty_file(out: Path, parts: Path) -> None:
    export(a_plan(LENGTH, MOTION, export_path=out, **ON), parts, {"ds-00000": [(3.0, 0.0)]})
    assert traces(out)["filter-video_duration_filter.jsonl"] == []


@pytest.mark.parametrize("suffix", ["parquet", "json"])
def test_traces_are_lines_whatever_the_export_is(tmp_path: Path, parts: Path, suffix: str) -> None:
    out = tmp_path / f"res.{suffix}"
    export(a_plan(LENGTH, MOTION, export_path=out, export_type=suffix, **ON), parts)
    assert traces(out)["filter-video_duration_filter.jsonl"] == ["sample 1", "sample 7"]


def test_two_exports_in_one_folder_have_their_own_traces(tmp_path: Path) -> None:
    for name, bound in (("a.jsonl", 1.0), ("b.jsonl", 0.4)):
        step = a_step("video_duration_filter", StatRange("video_duration", bound, inf))
        export(a_plan(step, MOTION, export_path=tmp_path / name, **ON), tmp_path / f"parts {name}")
    assert traces(tmp_path / "a.jsonl")["filter-video_duration_filter.jsonl"] == ["sample 1", "sample 7"]
    assert traces(tmp_path / "b.jsonl")["filter-video_duration_filter.jsonl"] == ["sample 7"]


# --- again and again


def test_the_tracer_is_turned_on_over_the_parts_that_are_there(out: Path, parts: Path) -> None:
    export(a_plan(LENGTH, MOTION, export_path=out), parts)
    assert traces(out) == {}
    before = {path: path.stat().st_mtime_ns for path in parts.glob("*.part")}
    plan = a_plan(LENGTH, MOTION, export_path=out, **ON)
    result = merge_parts(plan, list(SHARDS), parts)
    assert (result.stale_shards, result.missing_shards) == ((), ())
    assert len(traces(out)) == 2
    assert {path: path.stat().st_mtime_ns for path in parts.glob("*.part")} == before


def test_merging_twice_gives_the_same_bytes(out: Path, parts: Path) -> None:
    plan = a_plan(LENGTH, MOTION, export_path=out, **ON)
    export(plan, parts)
    before = {path: path.read_bytes() for path in trace_folder(plan.recipe).iterdir()}
    merge_parts(plan, list(SHARDS), parts)
    assert {path: path.read_bytes() for path in trace_folder(plan.recipe).iterdir()} == before


@pytest.mark.parametrize("later", [{"open_tracer": False}, {**ON, "op_list_to_trace": ("video_motion_score_filter",)}])
def test_traces_that_are_not_asked_for_any_more_go_and_other_files_stay(
    out: Path, parts: Path, later: dict[str, Any]
) -> None:
    export(a_plan(LENGTH, MOTION, export_path=out, **ON), parts)
    folder = out.parent / "res_trace"
    others = {
        "filter-notes.jsonl": '{"mine": 1}\n',
        "filter-other_filter.jsonl": '{"__dj__verdict__": {"step": "another"}}\n',
        "filter-deep.jsonl": "[" * 100_000,
        "sample_trace-video_duration_filter.jsonl": "",
        "read me.txt": "mine",
    }
    for name, text in others.items():
        (folder / name).write_text(text)
    killed = folder / f".filter-video_duration_filter.jsonl.{'0' * 32}.tmp"
    killed.write_text("half")
    (folder / "filter-gone_filter.jsonl").write_text("")
    merge_parts(a_plan(LENGTH, MOTION, export_path=out, **later), list(SHARDS), parts)
    kept = {"filter-video_motion_score_filter.jsonl"} if later["open_tracer"] else set()
    assert {path.name for path in folder.iterdir()} == {*others, *kept}
    assert {name: (folder / name).read_text() for name in others} == others


def test_the_folder_goes_with_its_last_trace(out: Path, parts: Path) -> None:
    export(a_plan(LENGTH, MOTION, export_path=out, **ON), parts)
    merge_parts(a_plan(LENGTH, MOTION, export_path=out), list(SHARDS), parts)
    assert not (out.parent / "res_trace").exists()


def test_a_shard_in_which_nothing_was_rejected_is_not_read(tmp_path: Path) -> None:
    """A merge happens after each shard: it must not take a million dropped records apart for ten lines."""
    key = LENGTH.key

    def unread() -> Any:
        raise AssertionError("read for nothing")

    first = DroppedLines({key: 2, MOTION.key: 0}, lambda: [(key, b"{}\n"), (key, b"{}\n")])
    shards = [DroppedLines({key: 0, MOTION.key: 0}, unread), first, DroppedLines({key: 5}, unread)]
    plan = a_plan(LENGTH, MOTION, export_path=tmp_path / "res.jsonl", trace_num=2, **ON)
    folder = write_traces(plan, shards)
    assert folder is not None
    assert (folder / f"filter-{key}.jsonl").read_bytes() == b"{}\n{}\n"


def test_a_file_in_the_folders_place_is_said(out: Path, parts: Path) -> None:
    out.parent.mkdir()
    (out.parent / "res_trace").write_text("mine")
    with pytest.raises(StoreError, match="cannot write"):
        export(a_plan(LENGTH, MOTION, export_path=out, **ON), parts)
    assert (out.parent / "res_trace").read_text() == "mine"
    export(a_plan(LENGTH, MOTION, export_path=out), parts)


@pytest.mark.parametrize("dataset", ["res_trace/filter-video_duration_filter.jsonl", "res_trace"])
@pytest.mark.parametrize("is_on", [True, False])
def test_a_trace_that_is_the_dataset_is_not_replaced(out: Path, dataset: str, is_on: bool) -> None:
    plan = a_plan(LENGTH, export_path=out, dataset_path=out.parent / dataset, open_tracer=is_on)
    with pytest.raises(RecipeError, match="would overwrite the dataset"):
        output_paths(plan.recipe)


def test_what_is_traced_moves_the_exports_version_and_only_where_it_is_traced(out: Path) -> None:
    def version(**recipe: Any) -> str:
        return export_code_version(a_plan(LENGTH, MOTION, export_path=out, **recipe))

    versions = [version(), version(**ON), version(trace_num=3, **ON), version(op_list_to_trace=(LENGTH.key,), **ON)]
    assert len(set(versions)) == 4
    assert version(trace_num=3, op_list_to_trace=(LENGTH.key,)) == version()


def test_the_manifest_remembers_the_tracer_and_lists_no_trace(out: Path, parts: Path) -> None:
    """Traces are excerpts of res_dropped.jsonl, which it lists; `rebuild` promises bytes of whole files only."""
    result = export(a_plan(LENGTH, MOTION, export_path=out, trace_num=3, **ON), parts)
    manifest = read_manifest(result.paths["manifest"])
    assert [file.name for file in manifest.files] == ["kept", "stats", "dropped"]
    recipe = remembered_plan(manifest, file="m.json").recipe
    assert (recipe.open_tracer, recipe.op_list_to_trace, recipe.trace_num) == (True, (), 3)
    for name in ("open_tracer", "op_list_to_trace", "trace_num"):
        del manifest.recipe["content"][name]
    assert not remembered_plan(manifest, file="m.json").recipe.open_tracer, "an export from before there were traces"


def test_a_full_disk_leaves_whole_files(out: Path, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(a_plan(LENGTH, MOTION, export_path=out, **ON), parts)
    before = traces(out)
    replace = Path.replace

    def refuse_traces(path: Path, target: Path) -> Path:
        if "filter-" in path.name:
            raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse_traces)
    with pytest.raises(StoreError, match="No space left"):
        merge_parts(a_plan(LENGTH, MOTION, export_path=out, trace_num=1, **ON), list(SHARDS), parts)
    assert traces(out) == before
