"""Run a recipe's assets in this process, shard by shard, and record every run in the Dagster instance."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import RunFailureReason  # not exported; there is no other sign of an interrupt

from dj_assets.decide import Summary, summarize
from dj_assets.defs.abandoned import free_abandoned_runs, sign_of_life
from dj_assets.defs.analysis import Analysed, analysis_asset
from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.partitions import register_shards
from dj_assets.defs.progress import Listener, listening
from dj_assets.defs.resources import CPU_POOL, GPU_POOL, project_resources
from dj_assets.defs.retries import Wish
from dj_assets.errors import StoreError
from dj_assets.plan import Plan

_log = logging.getLogger(__name__)

# What goes wrong is in the report, and everything is in the event log; the console belongs to the caller.
QUIET, TALKATIVE = ({"loggers": {"console": {"config": {"log_level": level}}}} for level in ("CRITICAL", "DEBUG"))

NEVER_RETRIED = {"dagster/max_retries": "0"}
"""Whoever runs a command runs it again; the daemon must not do so behind their back, after Ctrl-C least of all."""


@dataclass(frozen=True)
class ShardReport:
    """What became of one shard.

    failure: text for people, empty on success. traceback: where the failure is a bug rather than something to mend.
    summary: counts of its verdicts; None where `filtered` was not reached or not asked for. earlier: of a recipe with
    mappers, the same for each stage before the last, by its name, as far as it was reached.
    """

    shard_key: str
    run_id: str
    success: bool
    seconds: float
    failure: str = ""
    traceback: str = ""
    summary: Summary | None = None
    earlier: Mapping[str, Summary] = field(default_factory=dict)

    def summary_of(self, stage: Plan) -> Summary | None:
        """Of one stage of the recipe; None where that was not reached."""
        return self.earlier.get(stage.recipe.name, None if stage.recipe.stage_of else self.summary)

    def after(self, before: ShardReport | None) -> ShardReport:
        """Of both, where the shard had a run for its earlier stages before this one."""
        if before is None:
            return self
        return replace(
            self,
            seconds=before.seconds + self.seconds,
            summary=self.summary or before.summary,
            earlier={**before.earlier, **self.earlier},
        )


@dataclass(frozen=True)
class RunReport:
    """What became of a recipe. paths: the export's files as the last shard wrote them, by their short names."""

    recipe: str
    shards: tuple[ShardReport, ...]
    seconds: float
    paths: dict[str, Path]

    @property
    def failed(self) -> tuple[ShardReport, ...]:
        return tuple(shard for shard in self.shards if not shard.success)

    @property
    def success(self) -> bool:
        """Whether every shard went through; undecided samples are a success (see `summary`)."""
        return not self.failed

    @property
    def summary(self) -> Summary | None:
        """Counts over all shards that have verdicts; None where none has."""
        return total_summary([shard.summary for shard in self.shards if shard.summary is not None])

    def summary_of(self, stage: Plan) -> Summary | None:
        """Counts over all shards that have verdicts in one stage of the recipe; None where none has."""
        found = [shard.summary_of(stage) for shard in self.shards]
        return total_summary([summary for summary in found if summary is not None])


def total_summary(summaries: Sequence[Summary]) -> Summary | None:
    """The sum of several shards' counts."""
    if not summaries:
        return None
    dropped: Counter[str] = Counter()
    undecided: Counter[str] = Counter()
    for summary in summaries:
        dropped.update(summary.dropped)
        undecided.update(summary.undecided)
    return Summary(
        samples=sum(summary.samples for summary in summaries),
        kept=sum(summary.kept for summary in summaries),
        dropped=dict(dropped),
        undecided=dict(undecided),
    )


def run_recipe(
    plan: Plan,
    *,
    instance: dg.DagsterInstance,
    store_root: Path,
    shard_keys: Sequence[str] | None = None,
    selection: dg.AssetSelection | Sequence[dg.AssetKey] | None = None,
    on_progress: Listener | None = None,
    on_shard: Callable[[str], None] | None = None,
    verbose: bool = False,
    wish: Wish | None = None,
) -> RunReport:
    """Materialize a recipe's assets for each shard, one run per shard, going on with the others when one fails.

    A step over the whole dataset that stands before a mapper has its say over all shards first: then each has one more
    run, for what comes after, and so have other shards whose samples there are not those that are kept by now.

    shard_keys: default every shard of the dataset; all are registered as partitions first. selection: default all
    assets of the recipe. on_progress: called for each `measure.Progress`. on_shard: called with each key before its
    last run. verbose: Dagster's log on the console. wish: what to ask for again, where this is a retry. What the store
    knows already is not measured again, so running twice is cheap. Raises `RecipeError` where there is no dataset,
    KeyboardInterrupt where the user ended it.
    """
    started_seconds = time.perf_counter()
    current = register_shards(instance, plan)
    for run_id in free_abandoned_runs(instance):
        _log.warning("run %s had been killed; it is marked as failed now, and its pool slots are free", run_id)
    _tell_who_holds_the_pools(instance)
    runner = _Runner(plan, instance, store_root, selection, run_config=TALKATIVE if verbose else QUIET)
    asked = list(current if shard_keys is None else shard_keys)
    reports: dict[str, ShardReport] = {}
    paths: dict[str, Path] = {}
    rounds = runner.rounds()
    with sign_of_life(store_root / "running") as signs, listening(on_progress):
        tags = {**signs, **(wish.tags if wish else {})}
        for number, stages in enumerate(rounds, start=1):
            of_round: dict[str, Path] = {}
            behind = runner.behind(stages[0], but_not=asked, of=current) if number > 1 else []
            for shard_key in [*asked, *behind]:
                before = reports.get(shard_key)
                if before is not None and not before.success:
                    continue
                if on_shard is not None and number == len(rounds):
                    on_shard(shard_key)
                result, report = runner.run(shard_key, stages, tags)
                reports[shard_key] = report.after(before)
                # Not merged: a growing export that is cut by size names its files anew (`kept-00-of-02`).
                of_round = runner.exported_paths(result) or of_round
            paths |= of_round
    counted = tuple(runner.counted_again(report) for report in reports.values())
    return RunReport(plan.recipe.name, counted, time.perf_counter() - started_seconds, paths)


def run_analysis(
    plan: Plan, *, instance: dg.DagsterInstance, store_root: Path, folder: Path | None = None, verbose: bool = False
) -> Analysed:
    """Materialize a recipe's analysis, over all shards, from what the store knows.

    folder: where the files go, default beside the export. Raises `StoreError` where the run fails, KeyboardInterrupt
    where the user ended it.
    """
    graph = RecipeGraph(plan)
    found: list[Analysed] = []
    asset = analysis_asset(plan, graph.analysis, inputs=graph.measured, tell=found.append)
    defs = dg.Definitions(assets=[asset], resources={"store": project_resources(store_root)["store"]})
    with sign_of_life(store_root / "running") as signs:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            run_config={
                **(TALKATIVE if verbose else QUIET),
                "ops": {asset.op.name: {"config": {"folder": str(folder or "")}}},
            },
            raise_on_error=False,
            tags={**signs, **NEVER_RETRIED},
        )
    if _was_interrupted(result):
        raise KeyboardInterrupt("interrupted in the analysis")
    if not result.success:
        text, traceback = _failure(result)
        raise StoreError("\n".join([text, *([traceback] if verbose else [])]))
    return found[0]


def _tell_who_holds_the_pools(instance: dg.DagsterInstance) -> None:
    """A run waits for its slot without a word, so say beforehand whom it may have to wait for."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    for pool, info in storage.get_concurrency_infos([CPU_POOL, GPU_POOL]).items():
        if info.slot_count and len(info.claimed_slots) >= info.slot_count:
            holders = ", ".join(sorted({slot.run_id for slot in info.claimed_slots}))
            _log.warning("pool %s is full; this waits until run %s is done with it", pool, holders)


class _Runner:
    """A recipe's job, resolved once for all shards (`dg.materialize` would resolve it again for each)."""

    def __init__(
        self,
        plan: Plan,
        instance: dg.DagsterInstance,
        store_root: Path,
        selection: dg.AssetSelection | Sequence[dg.AssetKey] | None,
        *,
        run_config: dict[str, Any],
    ) -> None:
        self.plan = plan
        self.graph = RecipeGraph(plan)
        self.instance = instance
        self.run_config = run_config
        resources = project_resources(store_root)
        self.store = resources["store"].open()
        defs = dg.Definitions.merge(build_recipe_defs(plan), dg.Definitions(resources=resources))
        self.job = defs.resolve_job_def(plan.recipe.name)
        self.selected = self._resolve(defs, selection)

    def _resolve(
        self, defs: dg.Definitions, selection: dg.AssetSelection | Sequence[dg.AssetKey] | None
    ) -> list[dg.AssetKey]:
        if selection is None:
            return self.graph.keys
        chosen = selection if isinstance(selection, dg.AssetSelection) else dg.AssetSelection.assets(*selection)
        return sorted(chosen.resolve(defs.resolve_asset_graph()))

    def rounds(self) -> list[list[Plan]]:
        """The stages, cut after each whose kept samples hang on all shards; without those of which nothing is asked."""
        rounds: list[list[Plan]] = [[]]
        for stage in self.plan.stages:
            rounds[-1].append(stage)
            if stage.whole_steps and stage is not self.plan:
                rounds.append([])
        return [stages for stages in rounds if self._selected(stages)]

    def _selected(self, stages: Sequence[Plan]) -> list[dg.AssetKey]:
        names = {stage.recipe.name for stage in stages}
        return [key for key in self.selected if key.path[0] in names]

    def behind(self, stage: Plan, *, but_not: Collection[str], of: Sequence[str]) -> list[str]:
        """Those other shards whose samples in a stage are not made of those that the stage before keeps by now."""
        if stage.before is None or RecipeGraph(stage).samples not in self.selected:
            return []
        return [key for key in of if key not in but_not and self._is_behind(stage, stage.before, key)]

    def _is_behind(self, stage: Plan, before: Plan, shard_key: str) -> bool:
        from dj_assets.export import leaves_export

        name, name_before = stage.recipe.name, before.recipe.name
        if self.store.samples_provenance(name, shard_key) is None:
            return False
        try:
            samples = self.store.read_samples(name_before, shard_key)
            verdicts = {verdict.sample_id: verdict for verdict in self.store.read_verdicts(name_before, shard_key)}
            made = self.store.read_samples(name, shard_key)
        except StoreError:
            return False  # its own run has to come first, which is not asked for; nor must others fail for it
        if verdicts.keys() != {sample.sample_id for sample in samples}:
            return False  # a run of it died on the way from samples to verdicts: the same
        kept = {one.sample_id for one in samples if not leaves_export(before, one, verdicts[one.sample_id])}
        return kept != {sample.parent_id for sample in made}

    def run(
        self, shard_key: str, stages: Sequence[Plan], tags: dict[str, str]
    ) -> tuple[dg.ExecuteInProcessResult, ShardReport]:
        """One run of the selected assets of one shard, of these stages."""
        started_seconds = time.perf_counter()
        result = self.job.execute_in_process(
            instance=self.instance,
            partition_key=shard_key,
            asset_selection=self._selected(stages),
            run_config=self.run_config,
            raise_on_error=False,
            tags={**tags, **NEVER_RETRIED},
        )
        if _was_interrupted(result):
            raise KeyboardInterrupt(f"interrupted in shard {shard_key}")
        failure, traceback = _failure(result)
        report = ShardReport(
            shard_key=shard_key,
            run_id=result.run_id,
            success=result.success,
            seconds=time.perf_counter() - started_seconds,
            failure=failure,
            traceback=traceback,
            summary=self._summary(self.plan, result, shard_key),
            earlier={
                stage.recipe.name: summary
                for stage in self.plan.stages[:-1]
                if (summary := self._summary(stage, result, shard_key)) is not None
            },
        )
        return result, report

    def _summary(self, plan: Plan, result: dg.ExecuteInProcessResult, shard_key: str) -> Summary | None:
        if not _materializations(result, RecipeGraph(plan).filtered):
            return None
        return summarize(plan, self.store.read_verdicts(plan.recipe.name, shard_key))

    def counted_again(self, report: ShardReport) -> ShardReport:
        """With the counts of today's verdicts, where later shards may have changed them."""
        found = {
            stage.recipe.name: summarize(stage, self.store.read_verdicts(stage.recipe.name, report.shard_key))
            for stage in self.plan.stages
            if stage.whole_steps and report.summary_of(stage) is not None
        }
        last = found.pop(self.plan.recipe.name, report.summary)
        return replace(report, summary=last, earlier={**report.earlier, **found})

    def exported_paths(self, result: dg.ExecuteInProcessResult) -> dict[str, Path]:
        """Files that this run's exports wrote, as their metadata names them; of an earlier stage, whose kept samples
        went on, those of the samples that left it."""
        paths = _export_paths(result, self.graph)
        for number, stage in enumerate(self.plan.stages[:-1], start=1):
            found = _export_paths(result, RecipeGraph(stage))
            paths |= {f"dropped_stage{number}": found["dropped"]} if "dropped" in found else {}
        return paths


def _export_paths(result: dg.ExecuteInProcessResult, graph: RecipeGraph) -> dict[str, Path]:
    return {
        name.removeprefix("path_"): Path(str(value.value))
        for materialization in _materializations(result, graph.export)
        for name, value in materialization.metadata.items()
        if name.startswith("path_")
    }


def _materializations(result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> list[dg.AssetMaterialization]:
    found = [event.materialization for event in result.get_asset_materialization_events()]
    return [materialization for materialization in found if materialization.asset_key == asset]


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Dagster takes Ctrl-C and SIGTERM for itself while a run lasts, and makes a failure of them."""
    ends = [event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
    return any(event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION for event in ends)


def _failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """(text, traceback) of the steps that failed; both empty on success."""
    texts: list[str] = []
    tracebacks: list[str] = []
    for event in result.get_step_failure_events():
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            texts.append(f"{event.step_key}: {data.user_failure_data.description}")
        elif data.error is not None:
            cause = data.error.cause or data.error
            texts.append(f"{event.step_key}: {cause.message.strip()}")
            tracebacks.append(cause.to_string())
    if not texts and not result.success:
        texts = [f"run {result.run_id} failed; its event log says why"]
    return "\n".join(texts), "\n".join(tracebacks)
