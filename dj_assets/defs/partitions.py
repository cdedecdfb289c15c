"""Shards as Dagster's dynamic partitions: what a dataset holds now against what the instance has registered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from dj_assets.errors import RecipeError, StoreError
from dj_assets.plan import Plan
from dj_assets.recipe import Recipe
from dj_assets.samples import (
    Drop,
    Shard,
    Source,
    cut_shards,
    find_drops,
    find_sources,
    key_prefixes,
    num_samples,
    shard_key,
)

_log = logging.getLogger(__name__)

SHOWN_KEYS = 5


@dataclass(frozen=True)
class ShardChanges:
    """Shard keys of a dataset, compared with the partitions that Dagster knows.

    current: every shard of the dataset, in its order. new: those of them without a partition yet.
    vanished: partitions whose shard the dataset no longer has.
    """

    current: tuple[str, ...]
    new: tuple[str, ...]
    vanished: tuple[str, ...]


def partitions_name(recipe_name: str) -> str:
    """Name under which an instance keeps the shards of a recipe."""
    return f"{recipe_name}_shards"


def shard_partitions(recipe_name: str) -> dg.DynamicPartitionsDefinition:
    """The partitions of every asset of a recipe."""
    return dg.DynamicPartitionsDefinition(name=partitions_name(recipe_name))


def dataset_shards(recipe: Recipe) -> list[Shard]:
    """The shards that a recipe's dataset holds now, in its order. Raises `RecipeError` where there is no dataset."""
    return cut_shards(_drops(recipe), recipe.settings.shard_size)


def _drops(recipe: Recipe) -> list[Drop]:
    try:
        return find_drops(recipe.dataset_path, suffixes=recipe.suffixes, by_folder=recipe.drops_are_folders)
    except RecipeError as error:
        raise recipe.located(error) from None


def _sources(recipe: Recipe) -> list[Source]:
    try:
        return find_sources(recipe.dataset_path, suffixes=recipe.suffixes, by_folder=recipe.drops_are_folders)
    except RecipeError as error:
        raise recipe.located(error) from None


def find_shard(recipe: Recipe, key: str) -> tuple[Shard, int]:
    """The shard of a partition, and how many records it holds as counted when the dataset was cut.

    Raises `StoreError` where the dataset has no such shard any more.
    """
    sources = _sources(recipe)
    prefixes = key_prefixes(source.name for source in sources)
    size = recipe.settings.shard_size
    for source in sources:  # of thousands of drops only the one in question is opened and counted
        prefix = prefixes[source.name]
        number = key.removeprefix(f"{prefix}-")
        if number != key and number.isdecimal() and shard_key(prefix, int(number)) == key:
            start, num_records = int(number) * size, num_samples(source, recipe.suffixes)
            if start < num_records:
                return Shard(key, source.name, source.path, start, size), min(size, num_records - start)
    shards = [shard.key for shard in dataset_shards(recipe)]
    shown = [*shards[:SHOWN_KEYS], *(["…"] if len(shards) > SHOWN_KEYS else [])]
    raise StoreError(
        f"partition {key} has no shard in {recipe.dataset_path} any more",
        allowed=", ".join(shown) or "none: the dataset is empty",
        try_="bring its data drop back, or delete the partition",
    )


def compare_shards(current: Sequence[str], registered: Sequence[str]) -> ShardChanges:
    """Which shards are new and which have vanished; both keep the order in which they were given."""
    known, there = set(registered), set(current)
    return ShardChanges(
        current=tuple(current),
        new=tuple(key for key in current if key not in known),
        vanished=tuple(key for key in registered if key not in there),
    )


def find_shard_changes(instance: dg.DagsterInstance, plan: Plan) -> ShardChanges:
    """Look at the dataset and at the instance; changes neither."""
    current = [shard.key for shard in dataset_shards(plan.recipe)]
    return compare_shards(current, instance.get_dynamic_partitions(partitions_name(plan.recipe.family)))


def register_shards(instance: dg.DagsterInstance, plan: Plan) -> list[str]:
    """Give every shard of the dataset a partition. Returns the keys of the dataset's shards, in its order.

    Keys are added in shard order, since ranges of partitions follow the order of adding. Vanished ones are reported
    and kept: their tables are still in the store, and deleting a partition deletes what the UI knows of it.
    """
    changes = find_shard_changes(instance, plan)
    if changes.new:
        instance.add_dynamic_partitions(partitions_name(plan.recipe.family), list(changes.new))
    if changes.vanished:
        _log.warning(
            "%s: %d partitions have no shard in %s any more and were left alone: %s",
            plan.recipe.name,
            len(changes.vanished),
            plan.recipe.dataset_path,
            ", ".join(changes.vanished[:SHOWN_KEYS]) + (", …" if len(changes.vanished) > SHOWN_KEYS else ""),
        )
    return list(changes.current)


def registered_shards(instance: dg.DagsterInstance, plan: Plan) -> list[str]:
    """The keys of a recipe's partitions, in the order of their adding."""
    return list(instance.get_dynamic_partitions(partitions_name(plan.recipe.family)))


def forget_shards(instance: dg.DagsterInstance, plan: Plan, keys: Sequence[str]) -> None:
    """Delete partitions. What was recorded of them stays in the event log, and their tables in the store."""
    for key in keys:
        instance.delete_dynamic_partition(partitions_name(plan.recipe.family), key)
