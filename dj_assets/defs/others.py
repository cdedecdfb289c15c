"""Events for shards that a run was not asked for, but whose verdicts it has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (  # not exported, and nothing else sets them
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)


def tell(
    context: dg.AssetExecutionContext,
    asset: dg.AssetKey,
    shard: str,
    metadata: Mapping[str, Any],
    data_version: str = "",
    *,
    newer_inputs: Sequence[dg.AssetKey] = (),
) -> None:
    """Record that an asset's partition has been written again, from what it was made from last but for `newer_inputs`.

    data_version: empty where Dagster is to make one.
    """
    tags = _tags(context.instance, asset, shard, newer_inputs)
    if data_version:
        tags |= {DATA_VERSION_TAG: data_version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    context.log_event(dg.AssetMaterialization(asset, metadata=dict(metadata), partition=shard, tags=tags))


def _tags(
    instance: dg.DagsterInstance, asset: dg.AssetKey, shard: str, newer_inputs: Sequence[dg.AssetKey]
) -> dict[str, str]:
    """Code version and inputs as Dagster records them itself for what a run was asked for. Without them it would take
    the partition for up to date, whatever is edited later."""
    last = _newest(instance, asset, shard)
    if last is None:
        return {}
    kept = (CODE_VERSION_TAG, INPUT_DATA_VERSION_TAG_PREFIX, INPUT_EVENT_POINTER_TAG_PREFIX)
    tags = {name: value for name, value in _tags_of(last).items() if name.startswith(kept)}
    for dep in newer_inputs:
        newest = _newest(instance, dep, shard)
        if newest is not None and (version := _tags_of(newest).get(DATA_VERSION_TAG)):
            tags[get_input_data_version_tag(dep)] = version
            tags[get_input_event_pointer_tag(dep)] = str(newest.storage_id)
    return tags


def _newest(instance: dg.DagsterInstance, asset: dg.AssetKey, shard: str) -> dg.EventLogRecord | None:
    wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[shard])
    return next(iter(instance.fetch_materializations(wanted, limit=1).records), None)


def _tags_of(record: dg.EventLogRecord) -> Mapping[str, str]:
    materialization = record.asset_materialization
    return materialization.tags or {} if materialization is not None else {}
