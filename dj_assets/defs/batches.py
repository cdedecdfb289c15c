"""One run over many shards, for assets that decode nothing: each shard's own figures, and no shard lost by another's
fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import dagster as dg

from dj_assets.defs.progress import ShardLog
from dj_assets.defs.versions import joint_version
from dj_assets.errors import DjAssetsError

Result = TypeVar("Result")

LOG_EVERY_SECONDS = 5.0
SHOWN = 5


@dataclass(frozen=True)
class Done:
    """What became of one shard. data_version: empty where Dagster is to make one."""

    metadata: Mapping[str, Any]
    data_version: str = ""
    check_results: Sequence[dg.AssetCheckResult] = field(default_factory=list)


def each_shard(
    context: dg.AssetExecutionContext, do: Callable[[str], Result]
) -> tuple[dict[str, Result], dict[str, DjAssetsError]]:
    """(results, failures) by shard key. A failure that people can mend keeps no other shard from being done."""
    done: dict[str, Result] = {}
    failed: dict[str, DjAssetsError] = {}
    keys = context.partition_keys
    logged_at = time.monotonic()
    for key in keys:
        try:
            done[key] = do(key)
        except DjAssetsError as error:
            failed[key] = error
        if time.monotonic() - logged_at >= LOG_EVERY_SECONDS:
            logged_at = time.monotonic()
            log = ShardLog(context.log, recipe=context.asset_key.path[0], shard=key, run_id=context.run_id)
            log.info(f"{len(done) + len(failed)} of {len(keys)} shards, {len(failed)} failed")
    return done, failed


def reported(
    context: dg.AssetExecutionContext,
    asset: dg.AssetKey,
    done: Mapping[str, Done],
    failed: Mapping[str, DjAssetsError],
) -> dg.MaterializeResult:
    """The result of a run over these shards. Raises `Failure` where one failed, with the others materialized."""
    if failed:
        for key, one in done.items():
            tags = {"dagster/data_version": one.data_version} if one.data_version else {}
            context.log_event(dg.AssetMaterialization(asset, metadata=dict(one.metadata), partition=key, tags=tags))
        raise dg.Failure(description=_failure_text(failed, len(done)), allow_retries=False)
    for key, one in done.items():
        context.add_asset_metadata(one.metadata, asset_key=asset, partition_key=key)
    versions = {key: one.data_version for key, one in done.items()}
    return dg.MaterializeResult(
        asset_key=asset,
        data_version=dg.DataVersion(joint_version(versions)) if all(versions.values()) else None,
        check_results=list(_joint_checks(done)),
    )


def _failure_text(failed: Mapping[str, DjAssetsError], num_done: int) -> str:
    if not num_done and len(failed) == 1:
        return str(next(iter(failed.values())))
    lines = [f"{key}: {error}" for key, error in list(failed.items())[:SHOWN]]
    more = [f"and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
    return "\n".join([f"{len(failed)} shards failed, {num_done} are done", *lines, *more])


def _joint_checks(done: Mapping[str, Done]) -> Iterable[dg.AssetCheckResult]:
    """One result per check, since Dagster takes one per run: failed where it failed for one shard, which is named."""
    by_name: dict[str, dict[str, dg.AssetCheckResult]] = {}
    for key, one in done.items():
        for result in one.check_results:
            by_name.setdefault(result.check_name or "", {})[key] = result
    for results in by_name.values():
        yield _joint_check(results)


def _joint_check(results: Mapping[str, dg.AssetCheckResult]) -> dg.AssetCheckResult:
    first = next(iter(results.values()))
    bad = {key: result for key, result in results.items() if not result.passed}
    if len(results) == 1 or not bad:
        shown = first if len(results) == 1 else first._replace(metadata={"shards": dg.MetadataValue.int(len(results))})
        return shown
    lines = [f"{key}: {result.description or 'failed'}" for key, result in list(bad.items())[:SHOWN]]
    return first._replace(
        passed=False,
        severity=max((result.severity for result in bad.values()), key=lambda one: one == dg.AssetCheckSeverity.ERROR),
        description="\n".join(lines),
        metadata={
            "shards": dg.MetadataValue.int(len(results)),
            "failed": dg.MetadataValue.int(len(bad)),
            "failed_shards": dg.MetadataValue.json(list(bad)),
        },
    )
