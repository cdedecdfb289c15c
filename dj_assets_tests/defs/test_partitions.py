"""Shards of a dataset against the partitions that an instance knows."""

from __future__ import annotations

import logging
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.defs.partitions import ShardChanges, compare_shards, find_shard, register_shards
from dj_assets.errors import RecipeError, StoreError
from dj_assets_tests.defs.small_project import make_test_plan, write_manifest


@pytest.mark.parametrize(
    ("current", "registered", "new", "vanished"),
    [
        pytest.param([], [], (), (), id="nothing anywhere"),
        pytest.param(["b-0", "a-0"], [], ("b-0", "a-0"), (), id="all new, in the dataset's order"),
        pytest.param(["a-0", "a-1"], ["a-1", "a-0"], (), (), id="all known, order does not matter"),
        pytest.param(["a-0", "a-1"], ["a-0", "x-0"], ("a-1",), ("x-0",), id="one grown, one withdrawn"),
        pytest.param([], ["a-0"], (), ("a-0",), id="dataset emptied"),
    ],
)
def test_compare_shards(
    current: list[str], registered: list[str], new: tuple[str, ...], vanished: tuple[str, ...]
) -> None:
    assert compare_shards(current, registered) == ShardChanges(tuple(current), new, vanished)


def test_registering_twice_adds_once_and_a_grown_manifest_adds_its_new_shards(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    write_manifest(tmp_path, 5)
    plan = make_test_plan(tmp_path, shard_size=2)
    three = ["ds-00000", "ds-00001", "ds-00002"]
    assert register_shards(instance, plan) == three
    assert register_shards(instance, plan) == three
    assert instance.get_dynamic_partitions("clips_shards") == three

    write_manifest(tmp_path, 7)
    assert register_shards(instance, plan) == [*three, "ds-00003"]
    assert instance.get_dynamic_partitions("clips_shards") == [*three, "ds-00003"]


def test_a_vanished_shard_is_reported_and_kept(
    tmp_path: Path, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    write_manifest(tmp_path, 4)
    plan = make_test_plan(tmp_path, shard_size=2)
    register_shards(instance, plan)
    write_manifest(tmp_path, 2)
    with caplog.at_level(logging.WARNING):
        assert register_shards(instance, plan) == ["ds-00000"]
    assert "ds-00001" in caplog.text
    assert instance.get_dynamic_partitions("clips_shards") == ["ds-00000", "ds-00001"]


@pytest.mark.parametrize(
    ("key", "start", "num_records"),
    [pytest.param("ds-00000", 0, 3, id="a full shard"), pytest.param("ds-00001", 3, 2, id="the rest")],
)
def test_a_shard_knows_how_many_records_it_has(tmp_path: Path, key: str, start: int, num_records: int) -> None:
    write_manifest(tmp_path, 5)
    shard, found = find_shard(make_test_plan(tmp_path, shard_size=3).recipe, key)
    assert (shard.key, shard.start, found) == (key, start, num_records)


def test_an_unknown_shard_is_answered_with_those_there_are(tmp_path: Path) -> None:
    write_manifest(tmp_path, 2)
    with pytest.raises(StoreError, match=r"(?s)partition ds-00007 .* allowed: ds-00000"):
        find_shard(make_test_plan(tmp_path).recipe, "ds-00007")


def test_a_missing_dataset_is_the_recipes_fault(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with pytest.raises(RecipeError, match=r"clips\.yaml"):
        register_shards(instance, make_test_plan(tmp_path))
