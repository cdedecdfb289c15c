"""What runs by itself: new data drops, what follows from changed inputs, and runs whose process is gone."""

# No `from __future__ import annotations`: Dagster wants the type of `context` itself, not its name.

import time
from typing import TYPE_CHECKING

import dagster as dg

from dj_assets.defs.abandoned import free_abandoned_runs
from dj_assets.defs.partitions import shard_partitions
from dj_assets.defs.resources import StoreResource
from dj_assets.errors import DjAssetsError
from dj_assets.plan import Plan

if TYPE_CHECKING:
    from dj_assets.landing import Known, Tick
    from dj_assets.store.store import Store

MOST_SHARDS_A_TICK = 200
"""Runs that one tick asks for. The daemon makes about four a second, after the tick."""

BUDGET_SECONDS = 20.0
"""What a tick may take to read manifests; Dagster ends it after 60 s."""

SHOWN = 5
DROP_TAG = "dj_assets/drop"
LOOK_FOR_THE_DEAD_EVERY_SECONDS = 30


def automation_sensor(*, is_running: bool) -> dg.AutomationConditionSensorDefinition:
    """Carries changed content from `samples` to `export`."""
    return dg.AutomationConditionSensorDefinition(
        "follow_changed_inputs",
        target=dg.AssetSelection.all(),
        default_status=_status(is_running),
        description="Materializes a shard of what comes after samples or stats whose content has changed.",
    )


def drops_sensor(plan: Plan) -> dg.SensorDefinition:
    """Runs each shard of a recipe's dataset that is new or has changed. On by itself where `landing.watch` is true."""
    recipe = plan.recipe
    landing = recipe.settings.landing

    @dg.sensor(
        name=f"{recipe.name}_drops",
        job_name=recipe.name,
        minimum_interval_seconds=landing.every_seconds,
        default_status=_status(landing.watch),
        description=f"Looks for new and changed data drops in {recipe.dataset_path} and runs their shards.",
        tags={"dj_assets/recipe": recipe.name},
    )
    def drops(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        try:
            return _look(context, plan, store.open())
        except DjAssetsError as error:
            raise dg.Failure(description=str(error)) from error

    return drops


def _look(context: dg.SensorEvaluationContext, plan: Plan, store: "Store") -> dg.SensorResult:
    from dj_assets import landing

    known = _known(context, plan, store)
    arrivals = landing.look(plan.recipe)
    end = time.monotonic() + BUDGET_SECONDS
    tick = landing.advance(
        arrivals,
        known,
        plan.recipe,
        now_ns=time.time_ns(),
        most_shards=MOST_SHARDS_A_TICK,
        is_over=lambda: time.monotonic() > end,
    )
    for line in told(tick, plan):
        context.log.warning(line)
    requests = [
        dg.RunRequest(
            run_key=run.run_key,
            partition_key=run.shard_key,
            tags={"dj_assets/recipe": plan.recipe.name, DROP_TAG: run.drop},
        )
        for run in tick.runs
    ]
    new = [run.shard_key for run in tick.runs]
    cursor = store.remember_landing(plan.recipe.name, landing.to_text(tick.known)) if tick.known != known else None
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else in_words(tick, len(arrivals)),
        dynamic_partitions_requests=[shard_partitions(plan.recipe.name).build_add_request(new)] if new else [],
        cursor=cursor or context.cursor,
    )


def _known(context: dg.SensorEvaluationContext, plan: Plan, store: "Store") -> "dict[str, Known]":
    """What the cursor stands for. Nothing where it was reset or the store is another one: run keys see to it that what
    has run does not run again."""
    from dj_assets.landing import from_text

    text = store.recall_landing(plan.recipe.name, context.cursor) if context.cursor else None
    if context.cursor and text is None:
        context.log.warning(f"what was known under {context.cursor} is not in the store; every drop is looked at anew")
    try:
        return from_text(text) if text else {}
    except ValueError as error:
        context.log.warning(f"what was known cannot be read ({error}); every drop is looked at anew")
        return {}


def told(tick: "Tick", plan: Plan) -> list[str]:
    """What people should know of a look, besides the runs."""
    lines = []
    if tick.withdrawn:
        lines.append(f"{_some(tick.withdrawn)} gone from {plan.recipe.dataset_path}; what was made of it stays")
    if tick.vanished:
        lines.append(f"shards that their drop has no more: {_some(tick.vanished)}; dj-assets drops rm forgets them")
    if tick.postponed:
        lines.append(f"{len(tick.runs)} shards taken, {tick.postponed} data drops are left for the next look")
    return lines


def in_words(tick: "Tick", num_drops: int) -> str:
    """Why a look asks for no run."""
    waiting = [f"{name}: {reason}" for name, reason in tick.waiting.items()]
    parts = [f"{num_drops - len(waiting)} data drops known and unchanged"]
    if waiting:
        parts.append(f"{len(waiting)} not complete: {_some(waiting, separator='; ')}")
    if gone := [name for name, one in tick.known.items() if one.is_withdrawn]:
        parts.append(f"{len(gone)} gone: {_some(gone)}")
    return ", ".join(parts)


def _some(names: "list[str] | tuple[str, ...]", *, separator: str = ", ") -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(names[:SHOWN]) + more


def abandoned_runs_sensor() -> dg.SensorDefinition:
    """Fails runs whose process is gone, which Dagster would take for running for ever, and frees their pool slots."""

    @dg.sensor(
        name="abandoned_runs",
        minimum_interval_seconds=LOOK_FOR_THE_DEAD_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks runs as failed whose process was killed, frees their slots, and lets the daemon retry them.",
    )
    def abandoned_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        found = free_abandoned_runs(context.instance)
        for run_id in found:
            context.log.warning(f"run {run_id} had been killed; it is marked as failed, and its pool slots are free")
        return dg.SkipReason(f"{len(found)} abandoned runs")

    return abandoned_runs


def _status(is_running: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if is_running else dg.DefaultSensorStatus.STOPPED
