"""Exports as Data-Juicer writes them, and a file for every sample that left."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dj_assets.decide import decide
from dj_assets.errors import RecipeError, StoreError
from dj_assets.export import ExportResult, lines_of_part, merge_parts, output_paths, withdraw_part, write_part
from dj_assets.operators._contract import Stat
from dj_assets.plan import Plan
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample, cut_shards, find_drops, loads_record, read_shard
from dj_assets.store.rows import Row
from dj_assets_tests.plans import Value, a_broken_sample, a_plan, a_sample, a_step, a_table

MOTION = a_step("video_motion_score_filter", StatRange("video_motion_score", 2.0, inf, high_is_set=False))
WIDTH = a_step(
    "video_resolution_filter",
    StatRange("video_width", -inf, inf),
    stats=[Stat("video_width", "px", is_integer=True)],
    number=2,
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def export(plan: Plan, shards: dict[str, tuple[Sequence[Sample], Sequence[Value]]], folder: Path) -> ExportResult:
    """Write a part per shard and merge them. Values: the one stat of the plan's one step."""
    for key, (samples, values) in shards.items():
        put(plan, key, samples, values, folder)
    return merge_parts(plan, list(shards), folder)


def put(plan: Plan, key: str, samples: Sequence[Sample], values: Sequence[Value], folder: Path) -> None:
    tables: dict[str, list[Row]] = {step.key: a_table(step, samples, values) for step in plan.steps}
    write_part(plan, key, samples, decide(plan, samples, tables), tables, folder)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return tmp_path / "parts"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "res.jsonl"


# --- what is in the files


def test_three_files_hold_every_sample_once(out: Path, parts: Path) -> None:
    samples = [a_sample(1, "a.mp4"), a_sample(2, "b.mp4"), a_sample(3, "c.mp4"), a_broken_sample(4, raw="{oops")]
    result = export(a_plan(MOTION, export_path=out), {"ds-00000": (samples, [3.5, 1.5, "timed_out"])}, parts)

    assert lines(out) == [{"text": "sample 1", "videos": ["/data/a.mp4"]}]
    assert lines(out.with_name("res_stats.jsonl")) == [{"__dj__stats__": {"video_motion_score": [3.5]}}]
    dropped, timed_out, malformed = lines(out.with_name("res_dropped.jsonl"))
    assert dropped == {
        "text": "sample 2",
        "videos": ["/data/b.mp4"],
        "__dj__stats__": {"video_motion_score": [1.5]},
        "__dj__verdict__": {
            "sample_id": "ds.jsonl:2",
            "outcome": "dropped",
            "step": "video_motion_score_filter",
            "operator": "video_motion_score_filter",
            "stat": "video_motion_score",
            "values": [1.5],
            "bound": "video_motion_score >= 2",
            "status": "ok",
            "reason": "",
        },
    }
    assert timed_out["__dj__stats__"] == {"video_motion_score": [None]}
    assert timed_out["__dj__verdict__"]["outcome"] == "undecided"
    assert timed_out["__dj__verdict__"]["reason"] == "because timed_out"
    assert timed_out["__dj__verdict__"]["values"] == [None]
    assert (malformed["__dj__raw__"], malformed["__dj__verdict__"]["status"]) == ("{oops", "malformed")

    assert (result.samples, result.kept, result.set_aside) == (4, 1, 2)
    assert result.dropped == {"video_motion_score_filter": 1}
    assert result.undecided == {"malformed": 1, "timed_out": 1}
    assert result.paths == output_paths(a_plan(export_path=out).recipe)


def test_stats_are_parallel_to_the_videos_and_integers_stay_integers(out: Path, parts: Path) -> None:
    samples = [a_sample(1, "a.mp4", "b.mp4", "a.mp4"), a_sample(2)]
    export(a_plan(WIDTH, export_path=out), {"ds-00000": (samples, [640.0, "crashed", 640.0])}, parts)
    text = out.with_name("res_stats.jsonl").read_text()
    assert text == '{"__dj__stats__": {"video_width": [640, null, 640]}}\n{"__dj__stats__": {"video_width": []}}\n'


def test_a_repeated_operator_has_stats_of_its_own(out: Path, parts: Path) -> None:
    again = replace(
        MOTION, key="video_motion_score_filter_2", number=2, stat_names=("video_motion_score_2",), ranges=()
    )
    plan = a_plan(MOTION, again, export_path=out, keep_stats_in_res_ds=True)
    samples = [a_sample(1, "a.mp4")]
    tables = {MOTION.key: a_table(MOTION, samples, [3.0]), again.key: a_table(again, samples, [4.0])}
    write_part(plan, "ds-00000", samples, decide(plan, samples, tables), tables, parts)
    merge_parts(plan, ["ds-00000"], parts)
    assert lines(out)[0]["__dj__stats__"] == {"video_motion_score": [3.0], "video_motion_score_2": [4.0]}


@pytest.mark.parametrize("keep", [True, False])
def test_stats_and_hashes_stay_in_the_main_file_only_if_asked(out: Path, parts: Path, keep: bool) -> None:
    record = {
        "__dj__hash": "ab",
        "__dj__stats__": {"text_len": 7, "video_motion_score": [9.0]},
        "text": "",
        "videos": ["a.mp4"],
        "__dj__meta__": {"video_frame_tags": ["cat"]},
    }
    plan = a_plan(MOTION, export_path=out, keep_stats_in_res_ds=keep, keep_hashes_in_res_ds=keep)
    export(plan, {"ds-00000": ([a_sample(1, "a.mp4", record=record)], [3.0])}, parts)
    stats = {"text_len": 7, "video_motion_score": [3.0]}
    (main,) = lines(out)
    if keep:
        assert main == record | {"__dj__stats__": stats, "videos": ["/data/a.mp4"]}
        assert list(main) == list(record)
    else:
        assert main == {"text": "", "videos": ["/data/a.mp4"]}
    assert lines(out.with_name("res_stats.jsonl")) == [
        {"__dj__stats__": stats, "__dj__meta__": {"video_frame_tags": ["cat"]}}
    ]


def test_every_other_field_travels_untouched_and_in_order(out: Path, parts: Path) -> None:
    record = {"z": {"ü": [1, {"deep": None}], "big": 2**70}, "videos": ["a.mp4"], "a": "🎬/п", "images": ["i.png"]}
    export(a_plan(export_path=out), {"ds-00000": ([a_sample(1, "a.mp4", record=record)], [])}, parts)
    text = out.read_text(encoding="utf-8")
    assert text == json.dumps(record | {"videos": ["/data/a.mp4"]}, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("export_paths", "given", "exported"),
    [
        ("absolute", ["a.mp4", "a.mp4"], ["/data/a.mp4", "/data/a.mp4"]),
        ("as_given", ["a.mp4", "a.mp4"], ["a.mp4", "a.mp4"]),
        ("absolute", "a.mp4", "/data/a.mp4"),
        ("absolute", None, None),
        ("absolute", [], []),
    ],
)
def test_video_paths(out: Path, parts: Path, export_paths: str, given: Any, exported: Any) -> None:
    paths = [given] if isinstance(given, str) else given or []
    sample = a_sample(1, *paths, record={"videos": given})
    export(a_plan(export_path=out, export_paths=export_paths), {"ds-00000": ([sample], [])}, parts)
    assert lines(out) == [{"videos": exported}]


def test_a_path_that_can_be_none_stays_as_given(out: Path, parts: Path) -> None:
    sample = a_sample(1, "")
    sample = replace(sample, videos=(replace(sample.videos[0], path="", status="missing"),))
    export(a_plan(export_path=out), {"ds-00000": ([sample], [])}, parts)
    assert lines(out) == [{"text": "sample 1", "videos": [""]}]


@pytest.mark.parametrize(
    ("on_undecided", "kept", "left"), [("set_aside", [1], [2, 3]), ("drop", [1], [2, 3]), ("keep", [1, 2], [3])]
)
def test_undecided_samples_go_where_the_recipe_says(
    out: Path, parts: Path, on_undecided: str, kept: list[int], left: list[int]
) -> None:
    """A malformed line has no record to keep: it is in the dropped file whatever the recipe says."""
    plan = a_plan(MOTION, export_path=out, on_undecided=on_undecided)
    samples = [a_sample(1, "a.mp4"), a_sample(2, "b.mp4"), a_broken_sample(3)]
    result = export(plan, {"ds-00000": (samples, [3.0, "unreadable"])}, parts)
    assert [record["text"] for record in lines(out)] == [f"sample {number}" for number in kept]
    verdicts = [record["__dj__verdict__"] for record in lines(out.with_name("res_dropped.jsonl"))]
    assert [(verdict["sample_id"], verdict["outcome"]) for verdict in verdicts] == [
        (f"ds.jsonl:{number}", "undecided") for number in left
    ]
    assert (result.kept, result.set_aside) == (len(kept), len(left))
    assert result.undecided == {"malformed": 1, "unreadable": 1}


def test_half_a_surrogate_pair_can_be_exported(out: Path, parts: Path) -> None:
    export(a_plan(export_path=out), {"d-00000": ([a_sample(1, record={"text": "\ud800é"})], [])}, parts)
    assert lines(out) == [{"text": "\ud800é"}]


# --- several shards


def numbered(first: int, count: int) -> list[Sample]:
    return [a_sample(n, f"{n}.mp4") for n in range(first, first + count)]


def test_shards_are_merged_in_the_order_of_their_keys(out: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    put(plan, "b-00000", numbered(1, 2), [3.0, 1.0], parts)
    put(plan, "a-00000", numbered(3, 2), [3.0, 3.0], parts)
    result = merge_parts(plan, ["b-00000", "a-00000"], parts)
    assert [record["text"] for record in lines(out)] == ["sample 1", "sample 3", "sample 4"]
    assert (result.samples, result.kept, result.dropped) == (4, 3, {"video_motion_score_filter": 1})


def test_a_shard_that_is_not_materialized_is_left_out_and_named(out: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    put(plan, "ds-00001", numbered(1, 1), [3.0], parts)
    result = merge_parts(plan, ["ds-00000", "ds-00001"], parts)
    assert (result.missing_shards, result.stale_shards, result.samples) == (("ds-00000",), (), 1)


def test_a_part_of_other_bounds_or_options_is_not_mixed_in(out: Path, parts: Path) -> None:
    put(a_plan(MOTION, export_path=out), "ds-00000", numbered(1, 1), [3.0], parts)
    moved = replace(MOTION, ranges=(replace(MOTION.ranges[0], low=5.0),))
    for plan in (a_plan(moved, export_path=out), a_plan(MOTION, export_path=out, keep_stats_in_res_ds=True)):
        put(plan, "ds-00001", numbered(2, 1), [9.0], parts)
        result = merge_parts(plan, ["ds-00000", "ds-00001"], parts)
        assert result.stale_shards == ("ds-00000",)
        assert [record["text"] for record in lines(out)] == ["sample 2"]


def test_nothing_materialized_leaves_an_earlier_export_alone(out: Path, parts: Path) -> None:
    out.parent.mkdir()
    out.write_text("precious\n")
    with pytest.raises(StoreError, match="none of 1 shards") as caught:
        merge_parts(a_plan(export_path=out), ["ds-00000"], parts)
    assert caught.value.allowed and caught.value.try_
    assert out.read_text() == "precious\n"


def test_no_sample_kept_gives_empty_files(out: Path, parts: Path) -> None:
    result = export(a_plan(MOTION, export_path=out), {"ds-00000": (numbered(1, 1), [0.0])}, parts)
    assert out.read_bytes() == out.with_name("res_stats.jsonl").read_bytes() == b""
    assert result.kept == 0


def test_a_second_run_gives_the_same_bytes(out: Path, parts: Path) -> None:
    shards = {"ds-00000": (numbered(1, 3), [3.0, 1.0, None])}
    export(a_plan(MOTION, export_path=out), shards, parts)
    first = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    export(a_plan(MOTION, export_path=out), shards, parts)
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == first


# --- other formats


def test_a_json_export_is_one_array(tmp_path: Path, parts: Path) -> None:
    out = tmp_path / "res.json"
    plan = a_plan(MOTION, export_path=out, export_type="json")
    shards = {"a-00000": (numbered(1, 2), [3.0, 3.0]), "b-00000": (numbered(3, 1), [3.0])}
    export(plan, shards, parts)
    assert [record["text"] for record in json.loads(out.read_text())] == ["sample 1", "sample 2", "sample 3"]
    assert len(lines(tmp_path / "res_stats.jsonl")) == 3

    export(plan, {"a-00000": (numbered(1, 1), [0.0])}, parts)
    assert json.loads(out.read_text()) == []


def test_a_size_in_bytes_cuts_the_main_file_as_upstream_does(out: Path, parts: Path) -> None:
    """5 records of 47 bytes and 100 allowed: 235 // 100 + 1 = 3 files of 2, 2 and 1."""
    plan = a_plan(MOTION, export_path=out, export_shard_size=100)
    shards = {"a-00000": (numbered(1, 3), [3.0] * 3), "b-00000": (numbered(4, 2), [3.0] * 2)}
    result = export(plan, shards, parts)
    names = ["res-00-of-03.jsonl", "res-01-of-03.jsonl", "res-02-of-03.jsonl"]
    found = [[record["text"][-1] for record in lines(out.with_name(name))] for name in names]
    assert found == [["1", "2"], ["3", "4"], ["5"]]
    assert [path.name for path in result.paths.values()] == [
        *names,
        "res_stats.jsonl",
        "res_dropped.jsonl",
        "res_manifest.json",
    ]
    assert len(lines(out.with_name("res_stats.jsonl"))) == 5
    assert not out.exists()


def test_an_export_that_is_cut_differently_leaves_no_stale_files(out: Path, parts: Path) -> None:
    out.parent.mkdir()
    users_own = [out.with_name(n) for n in ("res-1-of-2.jsonl", "res-04-of-03.jsonl", "res2-00-of-03.jsonl")]
    for path in users_own:
        path.write_text("mine")
    shards = {"a-00000": (numbered(1, 5), [3.0] * 5)}
    beside = [out.with_name(n) for n in ("res_stats.jsonl", "res_dropped.jsonl", "res_manifest.json")]

    def files() -> set[Path]:
        return set(out.parent.iterdir()) - set(users_own) - set(beside)

    export(a_plan(MOTION, export_path=out, export_shard_size=100), shards, parts)
    assert len(files()) == 3
    export(a_plan(MOTION, export_path=out, export_shard_size=200), shards, parts)
    assert {path.name for path in files()} == {"res-00-of-02.jsonl", "res-01-of-02.jsonl"}
    export(a_plan(MOTION, export_path=out), shards, parts)
    assert files() == {out}
    export(a_plan(MOTION, export_path=out, export_shard_size=10**9), shards, parts)
    assert {path.name for path in files()} == {"res-00-of-01.jsonl"}
    assert all(path.read_text() == "mine" for path in users_own)


def test_parquet_from_json_records(tmp_path: Path, parts: Path) -> None:
    out = tmp_path / "res.parquet"
    first = [
        a_sample(1, "a.mp4", record={"videos": ["a.mp4"], "n": 1, "extra": None}),
        a_sample(2, "b.mp4", record={"videos": ["b.mp4"], "only_here": {"deep": [1]}}),
    ]
    second = [a_sample(3, record={"n": 2.5, "extra": {"x": "ü"}, "only_here": {"other": True}})]
    plan = a_plan(WIDTH, export_path=out, export_type="parquet", keep_stats_in_res_ds=True)
    put(plan, "a-00000", first, [640.0, None], parts)
    put(plan, "b-00000", second, [], parts)
    result = merge_parts(replace(plan, recipe=plan.recipe), ["a-00000", "b-00000"], parts)
    assert result.kept == 2 and result.set_aside == 1
    table = pq.read_table(out)
    assert table.schema.field("__dj__stats__").type == pa.struct([("video_width", pa.list_(pa.int64()))])
    assert table.to_pylist() == [
        {
            "videos": ["/data/a.mp4"],
            "n": 1.0,
            "extra": None,
            "__dj__stats__": {"video_width": [640]},
            "only_here": None,
        },
        {
            "videos": None,
            "n": 2.5,
            "extra": {"x": "ü"},
            "__dj__stats__": {"video_width": []},
            "only_here": {"other": True},
        },
    ]


def test_parquet_in_parquet_out_keeps_types(tmp_path: Path, parts: Path) -> None:
    odd = 1_704_067_200_123_456_789
    source = pa.table(
        {
            "videos": pa.array([["a.mp4"], ["b.mp4"], None], pa.list_(pa.string())),
            "small": pa.array([1, None, 3], pa.int8()),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "blob": pa.array([b"\x00\xff", b"", None], pa.large_binary()),
            "at": pa.array([odd, odd + 211, None], pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.50"), None, Decimal("2.25")], pa.decimal128(9, 2)),
            "tags": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
            "__dj__stats__": pa.array([{"text_len": 3}, {"text_len": 4}, None]),
        }
    )
    pq.write_table(source, tmp_path / "ds.parquet", row_group_size=1)
    out = tmp_path / "out" / "res.parquet"
    plan = a_plan(
        MOTION, export_path=out, dataset_path=tmp_path / "ds.parquet", export_type="parquet", export_paths="as_given"
    )
    for shard in cut_shards(find_drops(tmp_path / "ds.parquet"), 2):
        samples = read_shard(shard, video_keys=plan.video_keys)
        put(plan, shard.key, samples, [3.0] * sum(len(sample.videos) for sample in samples), parts)
    merge_parts(plan, ["ds.parquet-00000", "ds.parquet-00001"], parts)
    expected = pq.read_table(tmp_path / "ds.parquet").drop_columns(["__dj__stats__"])
    found = pq.read_table(out)
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        values = [column[name].cast(pa.string()) if name == "at" else column[name] for column in (found, expected)]
        assert values[0].to_pylist() == values[1].to_pylist()
    assert [record["__dj__stats__"] for record in lines(out.with_name("res_stats.jsonl"))] == [
        {"text_len": 3, "video_motion_score": [3.0]},
        {"text_len": 4, "video_motion_score": [3.0]},
        {"video_motion_score": []},
    ]


def test_parquet_in_json_out(tmp_path: Path, parts: Path, out: Path) -> None:
    row = {"videos": ["a.mp4"], "at": datetime(2024, 2, 29, tzinfo=UTC), "blob": b"\xff", "price": Decimal("1.50")}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "ds.parquet")
    plan = a_plan(export_path=out, dataset_path=tmp_path / "ds.parquet")
    (shard,) = cut_shards(find_drops(tmp_path / "ds.parquet"), 10)
    put(plan, shard.key, read_shard(shard, video_keys=["videos"]), [], parts)
    merge_parts(plan, [shard.key], parts)
    assert lines(out) == [
        {"videos": [str(tmp_path / "a.mp4")], "at": "2024-02-29T00:00:00+00:00", "blob": "/w==", "price": "1.50"}
    ]


def test_parquet_cut_by_size(tmp_path: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=tmp_path / "res.parquet", export_type="parquet", export_shard_size=900)
    result = export(plan, {"a-00000": (numbered(1, 3), [3.0] * 3), "b-00000": (numbered(4, 2), [3.0] * 2)}, parts)
    mains = [path for name, path in result.paths.items() if name.startswith("kept")]
    assert len(mains) > 1
    texts = [record["text"] for path in mains for record in pq.read_table(path).to_pylist()]
    assert texts == [f"sample {n}" for n in range(1, 6)]


def test_parquet_without_a_kept_sample_is_a_valid_file(tmp_path: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=tmp_path / "res.parquet", export_type="parquet")
    export(plan, {"a-00000": (numbered(1, 1), [0.0])}, parts)
    assert pq.read_table(tmp_path / "res.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [({"x": 1}, {"x": "one"}), ({"x": 2**70}, {}), ({"x": {}}, {"x": {}})],
    ids=["two types", "too large an integer", "an object without fields"],
)
@pytest.mark.parametrize("in_one_shard", [True, False])
def test_what_parquet_cannot_hold_is_said_and_replaces_nothing(
    tmp_path: Path, parts: Path, first: dict[str, Any], second: dict[str, Any], in_one_shard: bool
) -> None:
    out = tmp_path / "res.parquet"
    out.write_text("precious")
    plan = a_plan(export_path=out, export_type="parquet")
    samples = [a_sample(1, record=first), a_sample(2, record=second)]
    shards = [samples] if in_one_shard else [samples[:1], samples[1:]]
    with pytest.raises(StoreError, match="Parquet") as caught:
        export(plan, {f"a-0000{n}": (shard, []) for n, shard in enumerate(shards)}, parts)
    assert ".jsonl" in caught.value.try_
    assert out.read_text() == "precious"


# --- faults, kills and neighbours


def test_verdicts_of_other_samples_are_a_bug(parts: Path) -> None:
    plan = a_plan(MOTION)
    samples = numbered(1, 2)
    tables = {MOTION.key: a_table(MOTION, samples, [3.0, 3.0])}
    verdicts = decide(plan, samples, tables)
    for wrong in (verdicts[:1], verdicts[::-1]):
        with pytest.raises(ValueError, match="one verdict per sample"):
            write_part(plan, "ds-00000", samples, wrong, tables, parts)
    with pytest.raises(ValueError, match="no row for"):
        write_part(plan, "ds-00000", samples, verdicts, {MOTION.key: tables[MOTION.key][:1]}, parts)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_lines_of_a_part_are_counted_in_its_file(out: Path, parts: Path, suffix: str) -> None:
    plan = a_plan(MOTION, export_path=out.with_suffix(f".{suffix}"))
    put(plan, "ds-00000", numbered(1, 4), [3.0, 1.0, None, 5.0], parts)
    assert lines_of_part(plan, "ds-00000", parts) == {"kept": 2, "dropped": 1, "undecided": 1}


def test_a_part_that_is_withdrawn_is_missing_from_the_export(out: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    put(plan, "ds-00000", numbered(1, 1), [3.0], parts)
    put(plan, "ds-00001", numbered(2, 1), [3.0], parts)
    withdraw_part("ds-00001", parts)
    result = merge_parts(plan, ["ds-00000", "ds-00001"], parts)
    assert (result.kept, result.missing_shards) == (1, ("ds-00001",))
    with pytest.raises(StoreError, match="has no part"):
        lines_of_part(plan, "ds-00001", parts)


def test_a_damaged_part_is_said_and_replaces_nothing(out: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    export(plan, {"ds-00000": (numbered(1, 2), [3.0, 1.0])}, parts)
    before = out.read_bytes()
    (part,) = parts.glob("*.part")
    content = part.read_bytes()
    for damaged in (content[:-1], b"", b"{}\n", content + b"x"):
        part.write_bytes(damaged)
        with pytest.raises(StoreError, match="cannot be read") as caught:
            merge_parts(plan, ["ds-00000"], parts)
        assert "materialize" in caught.value.try_
    assert out.read_bytes() == before


def test_a_part_whose_lines_do_not_add_up_is_said(out: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    put(plan, "ds-00000", numbered(1, 2), [3.0, 1.0], parts)
    (part,) = parts.glob("*.part")
    part.write_bytes(part.read_bytes().replace(b'"samples": 2', b'"samples": 3'))
    with pytest.raises(StoreError, match="3 samples went in"):
        merge_parts(plan, ["ds-00000"], parts)


def test_an_unsafe_shard_key_is_refused(parts: Path) -> None:
    with pytest.raises(StoreError):
        write_part(a_plan(), "../evil", [], [], {}, parts)


def test_a_failed_write_leaves_the_old_part_and_no_litter(
    out: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = a_plan(MOTION, export_path=out)
    put(plan, "ds-00000", numbered(1, 1), [3.0], parts)
    before = (parts / "ds-00000.part").read_bytes()

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        with pytest.raises(StoreError, match="No space left"):
            put(plan, "ds-00000", numbered(1, 2), [3.0, 3.0], parts)
    assert (parts / "ds-00000.part").read_bytes() == before
    assert not list(parts.glob(".*.tmp"))


def _killed_while_replacing(plan: Plan, parts: Path, name: str) -> None:
    def kill(source: Any, target: Any) -> None:
        if Path(target).name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        Path(source).rename(target)

    os.replace = kill  # type: ignore[assignment]  # this process ends here
    put(plan, "ds-00000", numbered(1, 2), [3.0, 1.0], parts)
    merge_parts(plan, ["ds-00000"], parts)


@pytest.mark.parametrize("name", ["ds-00000.part", "res.jsonl", "res_dropped.jsonl", "res_manifest.json"])
def test_a_kill_leaves_old_files_or_new_ones_and_the_next_run_cleans_up(out: Path, parts: Path, name: str) -> None:
    plan = a_plan(MOTION, export_path=out)
    export(plan, {"ds-00000": (numbered(1, 1), [3.0])}, parts)
    old = (parts if name.endswith(".part") else out.parent) / name
    before = old.read_bytes()

    process = multiprocessing.get_context("fork").Process(target=_killed_while_replacing, args=(plan, parts, name))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert old.read_bytes() == before
    assert list(old.parent.glob(".*.tmp"))  # what the killed process was writing

    export(plan, {"ds-00000": (numbered(1, 2), [3.0, 1.0])}, parts)
    assert len(lines(out)) == len(lines(out.with_name("res_dropped.jsonl"))) == 1
    expected = {"res.jsonl", "res_stats.jsonl", "res_dropped.jsonl", "res_manifest.json"}
    assert {path.name for path in out.parent.iterdir()} == expected


def _materialize(plan: Plan, parts: Path, number: int, shard_keys: list[str]) -> None:
    put(plan, shard_keys[number], numbered(10 * number, 5), [3.0, 1.0, 3.0, None, 3.0], parts)
    merge_parts(plan, shard_keys, parts)


def test_shards_materialized_at_the_same_moment_do_not_interleave(out: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    keys = [f"ds-{n:05d}" for n in range(6)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_materialize, args=(plan, parts, n, keys)) for n in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    expected = [f"sample {10 * n + k}" for n in range(6) for k in (0, 2, 4)]
    assert [record["text"] for record in lines(out)] == expected
    assert len(lines(out.with_name("res_dropped.jsonl"))) == 12


def test_a_merge_waits_for_the_lock_of_the_output_folder(out: Path, parts: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    put(plan, "ds-00000", numbered(1, 1), [3.0], parts)
    out.parent.mkdir()
    descriptor = os.open(out.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    merge = threading.Thread(target=merge_parts, args=(plan, ["ds-00000"], parts))
    merge.start()
    merge.join(0.3)
    assert merge.is_alive() and not out.exists()
    os.close(descriptor)
    merge.join()
    assert len(lines(out)) == 1


def test_an_export_never_replaces_its_dataset(tmp_path: Path) -> None:
    """Somebody runs the recipe again over res_dropped.jsonl, which the run would write."""
    plan = a_plan(dataset_path=tmp_path / "res_dropped.jsonl", export_path=tmp_path / "res.jsonl")
    with pytest.raises(RecipeError, match="would overwrite the dataset"):
        output_paths(plan.recipe)


def test_records_that_went_through_the_store_are_exported_alike(out: Path, parts: Path) -> None:
    """The store keeps records as text: what comes out of it must be what went in."""
    from dj_assets.samples import dumps_record

    sample = a_sample(1, "a.mp4", record={"videos": ["a.mp4"], "x": [1.0, "ü", None, {"__dj_assets_type__": 1}]})
    stored = replace(sample, record=loads_record(dumps_record(sample.record)))
    export(a_plan(export_path=out), {"ds-00000": ([stored], [])}, parts)
    assert lines(out) == [sample.record | {"videos": ["/data/a.mp4"]}]
