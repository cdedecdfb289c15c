"""What is done every day without being asked: retries of what may pass, a tidy store, exports put together anew."""

# No `from __future__ import annotations`: Dagster wants the type of `context` itself, not its name.

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from dj_assets.defs.assets import merge_export
from dj_assets.defs.failures import failing_clearly
from dj_assets.defs.partitions import partitions_name
from dj_assets.defs.resources import StoreResource
from dj_assets.defs.retries import Wish
from dj_assets.errors import DjAssetsError, Status
from dj_assets.plan import Plan

if TYPE_CHECKING:
    from dj_assets.store.store import Store

MAY_PASS: tuple[Status, ...] = ("timed_out", "crashed", "missing")
"""Reasons that are the machine's or the moment's as much as the file's."""

RETRY_AT, TIDY_AT, EXPORT_AT = "0 2 * * *", "0 3 * * *", "0 4 * * *"
MOST_RETRIES = 200
"""Shards that one night retries; the next one goes on."""


def retry_schedule(plan: Plan) -> dg.ScheduleDefinition:
    """Asks again for the videos of one recipe that could not be measured for a reason that may have passed."""
    name = plan.recipe.name

    @dg.schedule(
        name=f"{name}_retry_undecided",
        job_name=name,
        cron_schedule=RETRY_AT,
        default_status=_status(plan),
        description=f"Measures again what is undecided for {', '.join(MAY_PASS)}, and nothing else.",
        tags={"dj_assets/recipe": name},
    )
    def retry(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        with failing_clearly():
            stages = [store.open().undecided_shards(stage.recipe.name, MAY_PASS) for stage in plan.stages]
            shards = dict.fromkeys(shard for found in stages for shard in found)
        registered = set(context.instance.get_dynamic_partitions(partitions_name(name)))
        wanted = [shard for shard in shards if shard in registered][:MOST_RETRIES]
        for shard in wanted:
            yield dg.RunRequest(
                run_key=f"{context.scheduled_execution_time:%Y-%m-%d}:{shard}",
                partition_key=shard,
                tags={**Wish(statuses=frozenset(MAY_PASS)).tags, "dj_assets/recipe": name},
            )
        if not wanted:
            yield dg.SkipReason(f"nothing of {name} is undecided for {', '.join(MAY_PASS)}")

    return retry


def tidy_job() -> dg.JobDefinition:
    """Merges small files of facts and removes what killed writers left; everything that `dj-assets gc` does unasked."""

    @dg.op(name="tidy_files", required_resource_keys={"store"})
    def tidy(context: dg.OpExecutionContext) -> None:
        from dj_assets.store import gc

        with failing_clearly():
            root: Path = context.resources.store.open().root
            done = gc.do(root, gc.find_chores(root))
        context.log.info(f"{done.merged} files merged, {done.removed} removed, {done.freed_bytes / 1e6:.1f} MB freed")
        for line in done.kept:
            context.log.warning(f"kept: {line}")

    @dg.job(name="tidy_store", description="Merges small files of facts; removes what killed writers left.")
    def job() -> None:
        tidy()

    return job


def exports_job(plans: Sequence[Plan]) -> dg.JobDefinition:
    """Puts every recipe's export together from the parts of its shards, as each shard's run does: once more, in case
    that the last of them could not."""

    @dg.op(name="merge_parts", required_resource_keys={"store"})
    def merge(context: dg.OpExecutionContext) -> None:
        store: Store = context.resources.store.open()
        failed = []
        for plan in (stage for whole in plans for stage in whole.stages):
            if not any(store.export_parts(plan.recipe.name).glob("*.part")):
                continue
            try:
                merged = merge_export(plan, store, context.instance, run_id=context.run.run_id)
            except DjAssetsError as error:
                failed.append(f"{plan.recipe.name}: {error}")
            else:
                context.log.info(f"{plan.recipe.name}: {merged.kept} of {merged.samples} samples kept")
        if failed:
            raise dg.Failure(description="\n".join(failed), allow_retries=False)

    @dg.job(name="merge_exports", description="Puts every recipe's export together from the parts of its shards.")
    def job() -> None:
        merge()

    return job


def upkeep_defs(plans: Sequence[Plan]) -> dg.Definitions:
    """Jobs and schedules that recipes share; on by themselves where some recipe watches its landing folder."""
    watched = [plan for plan in plans if plan.recipe.settings.landing.watch]
    status = dg.DefaultScheduleStatus.RUNNING if watched else dg.DefaultScheduleStatus.STOPPED
    tidy, exports = tidy_job(), exports_job(plans)
    return dg.Definitions(
        jobs=[tidy, exports],
        schedules=[
            dg.ScheduleDefinition(name="tidy_store_daily", job=tidy, cron_schedule=TIDY_AT, default_status=status),
            dg.ScheduleDefinition(
                name="merge_exports_daily", job=exports, cron_schedule=EXPORT_AT, default_status=status
            ),
        ],
    )


def _status(plan: Plan) -> dg.DefaultScheduleStatus:
    watches = plan.recipe.settings.landing.watch
    return dg.DefaultScheduleStatus.RUNNING if watches else dg.DefaultScheduleStatus.STOPPED
