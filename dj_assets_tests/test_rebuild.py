"""An export again from its manifest and the store alone: the same bytes, or why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dj_assets.decide import decide
from dj_assets.errors import StoreError
from dj_assets.export import ExportResult, merge_parts, write_part
from dj_assets.plan import Plan
from dj_assets.ranges import StatRange
from dj_assets.rebuild import rebuild
from dj_assets.samples import Sample, cut_shards, find_drops, read_shard
from dj_assets.store.rows import Fact, Provenance, Row
from dj_assets.store.store import Store
from dj_assets_tests.plans import Value, a_broken_sample, a_fact, a_plan, a_sample, a_step

MOTION = a_step("video_motion_score_filter", StatRange("video_motion_score", 2.0, inf, high_is_set=False))
LENGTH = a_step("video_duration_filter", StatRange("video_duration", 1.0, inf, high_is_set=False), number=2)
PROVENANCE = Provenance(asset="r/x", shard="", recipe="r", recipe_sha256="0" * 64, code_version="1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "res.jsonl"


def hashed(sample: Sample) -> Sample:
    """The sample with a content hash per path, as identification gives it."""
    return replace(sample, videos=tuple(replace(v, content_hash=f"hash of {v.path}") for v in sample.videos))


def export(
    plan: Plan, shards: dict[str, tuple[Sequence[Sample], Sequence[Sequence[Value]]]], store: Store
) -> ExportResult:
    """Everything that a run leaves: samples, facts and parts of each shard, then the files.

    Values: per step, one per video in sample order.
    """
    for key, (given, values) in shards.items():
        samples = [hashed(sample) for sample in given]
        store.write_samples("r", key, samples, replace(PROVENANCE, shard=key))
        tables = {step.key: _table(step, samples, found) for step, found in zip(plan.steps, values, strict=True)}
        facts = [row.fact for rows in tables.values() for row in rows if row.fact.status != "skipped"]
        if facts:
            store.append_facts(facts, PROVENANCE)
        write_part(plan, key, samples, decide(plan, samples, tables), tables, store.export_parts("r"))
    return merge_parts(plan, list(shards), store.export_parts("r"), software="a 1")


def _table(step: Any, samples: Sequence[Sample], values: Sequence[Value]) -> list[Row]:
    videos = [(sample, video) for sample in samples for video in sample.videos]
    stat = step.operator.stats[0].name
    facts: list[Fact] = [
        replace(a_fact(step, stat, value), content_hash=video.content_hash)
        for (_, video), value in zip(videos, values, strict=True)
    ]
    return [
        Row(sample.sample_id, video.field, video.position, video.path, fact)
        for (sample, video), fact in zip(videos, facts, strict=True)
    ]


def two_shards(plan: Plan, store: Store) -> ExportResult:
    """Kept, dropped, skipped, undecided and malformed samples, over two shards."""
    first = [a_sample(1, "a.mp4", "b.mp4"), a_sample(2, "c.mp4"), a_broken_sample(3, raw="{oops")]
    second = [a_sample(4, "d.mp4"), a_sample(5, "e.mp4"), a_sample(6)]
    return export(
        plan,
        {
            "ds-00000": (first, [[3.5, 2.5, 0.5], [9.0, 9.5, "skipped"]]),
            "ds-00001": (second, [["crashed", 4.0], [8.0, "too_short"]]),
        },
        store,
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("res.jsonl", {}),
        ("res.jsonl", {"keep_stats_in_res_ds": True, "export_shard_size": 60, "on_undecided": "keep"}),
        ("res.json", {"export_type": "json", "export_paths": "as_given"}),
        ("res.parquet", {"export_type": "parquet", "keep_stats_in_res_ds": True}),
    ],
    ids=["jsonl", "jsonl cut by size", "json", "parquet"],
)
def test_the_same_bytes_from_the_manifest_and_the_store_alone(
    tmp_path: Path, store: Store, name: str, options: dict[str, Any]
) -> None:
    plan = a_plan(MOTION, LENGTH, export_path=tmp_path / "out" / name, **options)
    result = two_shards(plan, store)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "cited").mkdir()
    manifest = result.paths["manifest"].rename(tmp_path / "cited" / "res_manifest.json")

    rebuilt = rebuild(manifest, store=store, folder=tmp_path / "again", software="a 1")
    assert rebuilt.is_same and rebuilt.differences == ()
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before


def test_an_export_that_was_deleted_comes_back_beside_its_manifest(out: Path, store: Store) -> None:
    result = two_shards(a_plan(MOTION, LENGTH, export_path=out), store)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    for name in ("kept", "dropped"):
        result.paths[name].unlink()
    assert rebuild(result.paths["manifest"], store=store, software="a 1").is_same
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


def test_numbers_found_since_do_not_leak_into_an_old_export(out: Path, store: Store) -> None:
    """What was skipped or crashed then has a number now, by another recipe: the old export stays what it was."""
    result = two_shards(a_plan(MOTION, LENGTH, export_path=out), store)
    samples = [hashed(a_sample(2, "c.mp4")), hashed(a_sample(4, "d.mp4"))]
    gaps = {(MOTION.key, "d.mp4"), (LENGTH.key, "c.mp4")}
    later = [row.fact for step in (MOTION, LENGTH) for row in _table(step, samples, [7.0, 7.0])]
    store.append_facts([fact for fact in later if (fact.operator, fact.content_hash[-5:]) in gaps], PROVENANCE)
    assert rebuild(result.paths["manifest"], store=store, software="a 1").is_same


def test_lines_that_were_appended_since_are_left_out(out: Path, store: Store, tmp_path: Path) -> None:
    plan = a_plan(MOTION, export_path=out)
    result = export(plan, {"ds-00000": ([a_sample(1, "a.mp4")], [[3.0]])}, store)
    manifest = result.paths["manifest"].rename(tmp_path / "res_manifest.json")
    export(plan, {"ds-00000": ([a_sample(1, "a.mp4"), a_sample(2, "b.mp4")], [[3.0, 4.0]])}, store)
    assert len(out.read_text().splitlines()) == 2
    assert rebuild(manifest, store=store, folder=tmp_path / "again", software="a 1").is_same
    assert len((tmp_path / "again" / "res.jsonl").read_text().splitlines()) == 1


def test_the_types_of_a_parquet_drop_are_remembered(tmp_path: Path, store: Store) -> None:
    table = pa.table({"videos": [["a.mp4"]], "small": pa.array([7], pa.int8())})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "ds.parquet")
    dataset = tmp_path / "data" / "ds.parquet"
    [shard] = cut_shards(find_drops(dataset), 10)
    samples = read_shard(shard, video_keys=["videos"])
    plan = a_plan(MOTION, export_path=tmp_path / "out" / "res.parquet", dataset_path=dataset, export_type="parquet")
    result = export(plan, {shard.key: (samples, [[3.0]])}, store)
    assert pq.read_schema(result.paths["kept"]).field("small").type == pa.int8()
    dataset.unlink()
    assert rebuild(result.paths["manifest"], store=store, software="a 1").is_same


def test_other_numbers_are_named_and_replace_nothing(out: Path, store: Store, tmp_path: Path) -> None:
    result = export(a_plan(MOTION, export_path=out), {"ds-00000": ([a_sample(1, "a.mp4")], [[3.0]])}, store)
    [row] = _table(MOTION, [hashed(a_sample(1, "a.mp4"))], [1.0])
    store.append_facts([replace(row.fact, measured_at="2999-01-01T00:00:00+00:00")], PROVENANCE)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}

    rebuilt = rebuild(result.paths["manifest"], store=store, software="a 2")
    assert [file.expected.name for file in rebuilt.files if not file.is_same] == ["kept", "stats", "dropped"]
    assert rebuilt.differences == (
        "software was a 1; now it is a 2",
        "video_motion_score_filter: numbers of shard ds-00000 were measured again since, and are others now",
        "kept: 1 then, 0 now",
        "dropped: {'video_motion_score_filter': 0} then, {'video_motion_score_filter': 1} now",
    )
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before

    rebuild(result.paths["manifest"], store=store, folder=tmp_path / "look", software="a 2")
    assert len((tmp_path / "look" / "res_dropped.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("samples table", "the samples of shard ds-00000 of recipe r: there is no table"),
        ("other bytes", "the samples that shard ds-00000 of recipe r had: its table was made from other records or"),
        ("measure", "1 numbers of video_motion_score_filter 1, measure"),
    ],
)
def test_what_the_store_no_longer_holds_is_said_in_three_parts(out: Path, store: Store, lost: str, said: str) -> None:
    result = export(a_plan(MOTION, export_path=out), {"ds-00000": ([a_sample(1, "a.mp4")], [[3.0]])}, store)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    if lost == "samples table":
        store.samples_path("r", "ds-00000").unlink()
    elif lost == "other bytes":
        store.write_samples("r", "ds-00000", [a_sample(1, "a.mp4")], PROVENANCE)
    else:
        for path in (store.root / "measures").rglob("*.parquet"):
            path.unlink()
    with pytest.raises(StoreError) as caught:
        rebuild(result.paths["manifest"], store=store)
    assert said in caught.value.given and caught.value.allowed and "DJ_ASSETS_STORE" in caught.value.try_
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before  # nor is anything left over
