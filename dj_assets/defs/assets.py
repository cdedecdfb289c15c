"""Plan → assets: samples → stats of each pass → filtered → export. Each reads, calls, writes and reports."""

# No `from __future__ import annotations`: Dagster wants the type of `context` itself, not its name.

import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from dj_assets.decide import decide, still_in, summarize
from dj_assets.defs import batches, checks, metadata, others, retries, versions
from dj_assets.defs.abandoned import show_life
from dj_assets.defs.analysis import analysis_asset
from dj_assets.defs.automation import follows_its_inputs
from dj_assets.defs.failures import failing_clearly
from dj_assets.defs.partitions import dataset_shards, find_shard, partitions_name, shard_partitions
from dj_assets.defs.progress import RUN_DIGITS, ProgressLog, ShardLog
from dj_assets.defs.resources import CPU_POOL, GPU_POOL, IN_PROCESS, executor_name, step_retries
from dj_assets.errors import DjAssetsError, StoreError
from dj_assets.operators._contract import Compute
from dj_assets.plan import MapperStep, Pass, Plan, Step
from dj_assets.recipe import Evidence, Recipe
from dj_assets.samples import Sample, read_shard
from dj_assets.store.rows import Provenance, Row, Verdict
from dj_assets.store.schemas import SAMPLES, STATS, VERDICTS

ENGINES: Mapping[Compute, str] = {"record": "", "header": "cpu", "cpu": "cpu", "gpu": "gpu"}
"""By pass, the resource that says how many workers there are; empty where it has none."""

ON_DEMAND_TAG = "dj_assets/on_demand"
"""Of an asset that nothing makes by itself, so that neither backfill nor stale miss it."""

MANY_SHARDS_A_RUN = dg.BackfillPolicy.single_run()
"""Of what decodes nothing: starting a run takes seconds, deciding a shard milliseconds. Whatever measures has a run per
shard, which can fail and be retried alone."""

# The pin on Dagster covers the beta; and that a job of all assets takes one shard a run is what we want of it.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying BackfillPolicies")

if TYPE_CHECKING:
    from dj_assets.evidence import Drawn
    from dj_assets.export import ExportResult, PartSummary
    from dj_assets.measure import PassResult, Retry
    from dj_assets.produce import ProduceResult
    from dj_assets.store.store import Store


_DecidedShard = tuple[Plan, list[Sample], list[Verdict], dict[str, list[Row]]]

_Decided = tuple[dict[str, batches.Done], dict[str, DjAssetsError]]
"""What `filtered` did, by shard, and where it failed."""


def build_recipe_defs(plan: Plan) -> dg.Definitions:
    """The asset graph of one recipe: its assets and checks, and a job of all of them named after the recipe.

    Of a recipe with mappers, the assets of every stage: what a mapper makes is the samples of the next one. Resources
    `store`, `cpu` and `gpu` come from whoever merges it (see `resources.project_resources`).
    """
    assets = [asset for stage in plan.stages for asset in _stage_assets(RecipeGraph(stage, plan))]
    job = dg.define_asset_job(
        plan.recipe.name,
        selection=dg.AssetSelection.assets(*RecipeGraph(plan).keys),
        description="Everything of one shard: samples, measures, verdicts, export; pictures where the recipe asks.",
    )
    return dg.Definitions(assets=assets, jobs=[job])


def _stage_assets(graph: "RecipeGraph") -> list[dg.AssetsDefinition]:
    return [
        _samples_asset(graph) if graph.plan.made_by is None else _made_samples_asset(graph, graph.plan.made_by),
        *(_pass_assets(graph, pass_) for pass_ in graph.plan.passes),
        _filtered_asset(graph),
        _export_asset(graph),
        _evidence_asset(graph),
        analysis_asset(graph.plan, graph.analysis, inputs=graph.measured),
    ]


def broken_recipe_defs(name: str, file: Path, error: str) -> dg.Definitions:
    """What a recipe that cannot be loaded leaves in the UI: one asset that says why."""

    @dg.asset(
        key=[name, "recipe_error"],
        group_name=name,
        description=f"`{file.name}` cannot be loaded:\n\n```\n{error}\n```\n\nMend it, then reload definitions.",
        metadata={"recipe": dg.MetadataValue.path(str(file)), "error": dg.MetadataValue.text(error)},
        kinds={"error"},
    )
    def recipe_error() -> dg.MaterializeResult:
        raise dg.Failure(description=error, allow_retries=False)

    return dg.Definitions(assets=[recipe_error])


@dataclass(frozen=True)
class RecipeGraph:
    """The names of one stage's assets, and what follows from its plan alone. A recipe without mappers is one stage.

    whole: the recipe's last stage, where this one is run as a part of that.
    """

    plan: Plan
    whole: Plan | None = None

    @property
    def name(self) -> str:
        return self.plan.recipe.name

    @property
    def group(self) -> str:
        """Of the assets of all stages: the recipe's name."""
        return self.plan.recipe.family

    def later_steps(self) -> Iterator[tuple[dg.AssetKey, Step | MapperStep]]:
        """What makes an asset of a later stage, and its key."""
        stages = self.whole.stages if self.whole is not None else (self.plan,)
        for stage in stages[len(self.plan.stages) :]:
            graph = RecipeGraph(stage)
            if stage.made_by is not None:
                yield graph.samples, stage.made_by
            yield from ((graph.stats(step), step) for step in stage.steps)

    @property
    def before(self) -> "RecipeGraph":
        """Of the stage before this one, which a mapper made it of."""
        assert self.plan.before is not None
        return RecipeGraph(self.plan.before)

    @property
    def samples(self) -> dg.AssetKey:
        return dg.AssetKey([self.name, "samples"])

    def stats(self, step: Step) -> dg.AssetKey:
        return dg.AssetKey([self.name, "stats", step.key])

    @property
    def filtered(self) -> dg.AssetKey:
        return dg.AssetKey([self.name, "filtered"])

    @property
    def export(self) -> dg.AssetKey:
        return dg.AssetKey([self.name, "export"])

    @property
    def evidence(self) -> dg.AssetKey:
        return dg.AssetKey([self.name, "evidence"])

    @property
    def measured(self) -> list[dg.AssetKey]:
        """What is there before any verdict: samples and stats."""
        return [self.samples, *(self.stats(step) for step in self.plan.measured_steps)]

    @property
    def until_verdicts(self) -> list[dg.AssetKey]:
        """What the next stage hangs on."""
        return [*self.measured, self.filtered]

    @property
    def analysis(self) -> dg.AssetKey:
        return dg.AssetKey([self.name, "analysis"])

    @property
    def draws_evidence(self) -> bool:
        """Whether the recipe asks for pictures. Where not, they are made when somebody materializes them by hand:
        what runs by itself decodes nothing for a moved bound."""
        return self.plan.recipe.settings.evidence.is_wanted

    @property
    def own_keys(self) -> list[dg.AssetKey]:
        """What the recipe's job makes of this stage; the analysis is over all shards, and evidence may be made by hand
        alone."""
        return [*self.measured, self.filtered, self.export, *([self.evidence] if self.draws_evidence else [])]

    @property
    def keys(self) -> list[dg.AssetKey]:
        """What the recipe's job makes: of this stage and of all before it, those first."""
        return [key for stage in self.plan.stages for key in RecipeGraph(stage).own_keys]

    @cached_property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        return shard_partitions(self.group)

    @cached_property
    def tags(self) -> dict[str, str]:
        return {"dj_assets/recipe": self.group}

    @property
    def owners(self) -> list[str]:
        """Whom the assets belong to, as the recipe says."""
        return list(self.plan.recipe.settings.owners)

    def earlier_steps(self, pass_: Pass) -> list[Step]:
        """Steps whose drops spare this pass work; none where every stat is wanted of every video."""
        if not self.plan.recipe.settings.short_circuit:
            return []
        return list(self.plan.sparing_steps(pass_))


class _ShardWork:
    """One op at work on one shard: what it reads from the store and what it writes there."""

    def __init__(self, graph: RecipeGraph, context: dg.AssetExecutionContext, shard_key: str = "") -> None:
        self.graph = graph
        self.plan = graph.plan
        self.recipe = graph.plan.recipe
        self.context = context
        self.shard_key = shard_key or context.partition_key
        self.store: Store = context.resources.store.open()
        self.wish = retries.wish_of(context.run.tags)
        if executor_name() == IN_PROCESS:
            show_life(context.instance, context.run, self.store.root / "running")
        self.log = ShardLog(context.log, recipe=self.recipe.name, shard=self.shard_key, run_id=context.run.run_id)
        self._started_seconds = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time since the op began."""
        return time.perf_counter() - self._started_seconds

    def provenance(self, asset: dg.AssetKey, *, code_version: str) -> Provenance:
        """Origin of what this op writes; the store adds the time and the number of rows."""
        return Provenance(
            asset="/".join(asset.path),
            shard=self.shard_key,
            recipe=self.recipe.name,
            recipe_sha256=self.recipe.sha256,
            code_version=code_version,
            run_id=self.context.run.run_id,
            versions=versions.library_versions(),
        )

    def read_samples(self) -> list[Sample]:
        """The samples of this stage. Raises `StoreError` where there are none, or another mapper made them."""
        if self.plan.made_by is not None:
            provenance = self.store.samples_provenance(self.recipe.name, self.shard_key)
            if provenance and provenance.code_version != versions.made_samples_code_version(self.plan):
                raise self._outdated(self.graph.samples, f"was made by another {self.plan.made_by.key}")
        return self.store.read_samples(self.recipe.name, self.shard_key)

    def read_tables(self, samples: Sequence[Sample]) -> dict[str, list[Row]]:
        """Every stats table, by step. Raises `StoreError` where one is missing or answers another question."""
        return {step.key: self._read_table(step, samples) for step in self.plan.measured_steps}

    def read_current_table(self, step: Step, samples: Sequence[Sample]) -> list[Row] | None:
        """One stats table, or None where it is missing or answers another question."""
        try:
            return self._read_table(step, samples)
        except StoreError as error:
            self.log.info(f"measuring without {step.key}: {error.one_line()}")
            return None

    def read_earlier_table(self, step: Step) -> list[Row]:
        """One stats table of this measure, whatever videos it was made of; empty where there is none."""
        provenance = self.store.stats_provenance(self.recipe.name, step.key, self.shard_key)
        if provenance is None or provenance.code_version != step.measure_id:
            return []
        return self.store.read_stats(self.recipe.name, step.key, self.shard_key)

    def _read_table(self, step: Step, samples: Sequence[Sample]) -> list[Row]:
        asset = self.graph.stats(step)
        rows, provenance = self.store.read_stats_and_origin(self.recipe.name, step.key, self.shard_key)
        if provenance.code_version != step.measure_id:
            raise self._outdated(asset, f"was measured as {provenance.code_version}, not {step.measure_id}")
        if checks.measured_other_videos(step, samples, rows):
            raise self._outdated(asset, f"was measured on other {'records' if step.is_about_samples else 'videos'}")
        if outside := checks.outside_range(step, rows):
            # The check has blocked its own run; this keeps the table out of every other one.
            raise self._outdated(asset, f"has {len(outside)} numbers that cannot be, {outside[0]} the first")
        return rows

    def read_verdicts(self, samples: Sequence[Sample]) -> list[Verdict]:
        """The verdicts on these samples. Raises `StoreError` where they are missing or answer another question."""
        provenance = self.store.verdicts_provenance(self.recipe.name, self.shard_key)
        if provenance is not None and provenance.code_version != self.plan.bounds_id:
            raise self._outdated(self.graph.filtered, "was decided under other bounds")
        verdicts = self.store.read_verdicts(self.recipe.name, self.shard_key)
        if [verdict.sample_id for verdict in verdicts] != [sample.sample_id for sample in samples]:
            raise self._outdated(self.graph.filtered, "was decided on other samples")
        return verdicts

    def _outdated(self, asset: dg.AssetKey, what: str) -> StoreError:
        name = asset.to_user_string()
        return StoreError(
            f"{name} of shard {self.shard_key} {what}",
            allowed="a table made from the recipe and the samples as they are now",
            try_=f"materialize {name} for this partition first",
        )

    def refresh_index(self) -> None:
        """Let `stats.duckdb` see the new files."""
        _refresh_index(self.context)


def _refresh_index(context: dg.AssetExecutionContext) -> None:
    """A locked or broken index is a line in the log, not a failure."""
    warning = context.resources.store.open().refresh_index()
    if warning:
        context.log.warning(f"run={context.run.run_id[:RUN_DIGITS]} {warning}")


# ---------------------------------------------------------------------------------------------------------- samples


def _samples_asset(graph: RecipeGraph) -> dg.AssetsDefinition:
    recipe = graph.plan.recipe
    code_version = versions.samples_code_version(graph.plan)

    @dg.asset(
        key=graph.samples,
        group_name=graph.group,
        partitions_def=graph.partitions,
        code_version=code_version,
        description=f"The samples of one shard of `{recipe.dataset_path.name}`, and the identity of their videos: "
        "which file, which bytes, or why it cannot be opened.",
        kinds={"parquet", "video"},
        tags=graph.tags,
        owners=graph.owners,
        metadata={
            **metadata.recipe_metadata(recipe),
            "dataset": dg.MetadataValue.path(str(recipe.dataset_path)),
            "dagster/column_schema": metadata.column_schema(SAMPLES),
        },
        check_specs=[checks.lines_are_samples(graph.samples)],
        required_resource_keys={"store"},
        retry_policy=step_retries(),
        freshness_policy=_freshness(recipe),
    )
    def samples(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failing_clearly():
            work = _ShardWork(graph, context)
            found, num_records = _asked_again(work) if work.wish.statuses else _read(work)
            provenance = work.provenance(graph.samples, code_version=code_version)
            path = work.store.write_samples(recipe.name, work.shard_key, found, provenance)
            work.refresh_index()
            return dg.MaterializeResult(
                metadata={
                    **metadata.samples_figures(found, seconds=work.seconds),
                    **metadata.path_figures({"table": path}),
                },
                data_version=dg.DataVersion(versions.samples_version(found)),
                check_results=[checks.check_lines(graph.samples, found, num_records=num_records)],
            )

    return samples


def _freshness(recipe: Recipe) -> dg.FreshnessPolicy | None:
    """When a new data drop is overdue: Dagster then calls the asset stale in its pages, and alerts may go by that."""
    hours = recipe.settings.landing.expect_every_hours
    return None if hours is None else dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours))


def _read(work: _ShardWork) -> tuple[list[Sample], int]:
    """(samples, number of records) of the shard as its data drop has them now."""
    recipe = work.recipe
    shard, num_records = find_shard(recipe, work.shard_key)
    read = read_shard(
        shard,
        video_keys=work.plan.video_keys,
        text_key=recipe.text_key,
        video_special_token=recipe.video_special_token,
        suffixes=recipe.suffixes,
    )
    known = work.store.recall_identities(shard) if recipe.settings.trust_mtime else None
    found = _identified(work.graph, read, known)
    work.store.remember_identities(shard, found)
    return found, num_records


def _asked_again(work: _ShardWork) -> tuple[list[Sample], int]:
    """(samples, number of records) of the shard as they were, but for the files of the videos that are retried."""
    samples = work.read_samples()
    tables = [work.read_earlier_table(step) for step in work.plan.measured_steps]
    places = retries.places_to_retry(tables, work.wish.statuses)
    found = _identified(work.graph, retries.asked_again(samples, places), None)
    return retries.with_videos_of(samples, found), len(samples)


def _identified(
    graph: RecipeGraph, samples: Sequence[Sample], known: Mapping[str, tuple[str, int, int]] | None
) -> list[Sample]:
    from dj_assets.measure import identify

    return identify(samples, roots=graph.plan.roots, limits=graph.plan.recipe.settings.limits, known=known)


def _made_samples_asset(graph: RecipeGraph, step: MapperStep) -> dg.AssetsDefinition:
    """What a mapper makes of the samples that the stage before keeps."""
    recipe = graph.plan.recipe
    engine = "gpu" if step.compute == "gpu" else "cpu"
    code_version = versions.made_samples_code_version(graph.plan)

    @dg.asset(
        key=graph.samples,
        group_name=graph.group,
        partitions_def=graph.partitions,
        deps=[graph.before.filtered],
        code_version=code_version,
        automation_condition=follows_its_inputs(),
        description=metadata.mapper_description(graph.plan, step),
        kinds={"parquet", "video", step.compute},
        tags={**graph.tags, "dj_assets/operator": step.mapper.name, "dj_assets/compute": step.compute},
        owners=graph.owners,
        metadata={
            **metadata.recipe_metadata(recipe, line=metadata.source_of(graph.plan, step).line, operator=step.mapper),
            "measure_id": step.measure_id,
            "params": dg.MetadataValue.json(step.params.canonical()),
            "dagster/column_schema": metadata.column_schema(SAMPLES),
        },
        check_specs=[checks.kept_went_on(graph.samples)],
        pool=GPU_POOL if step.compute == "gpu" else CPU_POOL,
        required_resource_keys={"store", engine},
        retry_policy=step_retries(),
    )
    def samples(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failing_clearly():
            work = _ShardWork(graph, context)
            kept, result = _produced(work, step, ProgressLog(work.log))
            for changed in result.changed:
                work.log.warning(f"{changed} was not as {step.key} had made it, and was made again")
            work.refresh_index()
            _raise_errors({step.key: result.error} if result.error is not None else {})
            provenance = work.provenance(graph.samples, code_version=code_version)
            path = work.store.write_samples(recipe.name, work.shard_key, result.samples, provenance)
            work.refresh_index()
            return dg.MaterializeResult(
                metadata={
                    **metadata.produced_figures(step, kept, result),
                    **metadata.path_figures({"table": path}),
                },
                data_version=dg.DataVersion(versions.samples_version(result.samples)),
                check_results=[checks.check_went_on(graph.samples, kept, result.samples)],
            )

    return samples


def _produced(work: _ShardWork, step: MapperStep, progress: ProgressLog) -> "tuple[list[Sample], ProduceResult]":
    """(samples that the stage before keeps, what the mapper made of them)."""
    from dj_assets.export import leaves_export, stats_by_sample
    from dj_assets.produce import produce

    earlier = _ShardWork(work.graph.before, work.context, work.shard_key)
    every = earlier.read_samples()
    verdicts = earlier.read_verdicts(every)
    stats = stats_by_sample(earlier.plan.filters, every, earlier.read_tables(every))
    kept = [
        sample
        for sample, verdict in zip(every, verdicts, strict=True)
        if not leaves_export(earlier.plan, sample, verdict)
    ]
    engine = work.context.resources.gpu if step.compute == "gpu" else work.context.resources.cpu
    return kept, produce(
        step,
        work.recipe,
        kept,
        parent_recipe=earlier.recipe.name,
        stats=stats,
        store=work.store,
        limits=work.recipe.settings.limits,
        roots=work.plan.roots,
        workers=engine.workers_for(work.recipe),
        provenance=work.provenance(work.graph.samples, code_version=step.measure_id),
        progress=progress,
        but_not_statuses=work.wish.statuses,
        is_distrusted=step.measure_id in work.wish.measures,
    )


# ------------------------------------------------------------------------------------------------------------ stats


def _pass_assets(graph: RecipeGraph, pass_: Pass) -> dg.AssetsDefinition:
    """One op that decodes each video once and fills a table per step; any subset of the tables can be asked for.

    A pass on records opens no video, so that it needs no engine and waits for no pool.
    """
    engine = ENGINES[pass_.compute]
    names = ", ".join(step.key for step in pass_.steps)

    @dg.multi_asset(
        name=f"{graph.name}__measure_{pass_.compute}",
        specs=[_stats_spec(graph, pass_, step) for step in pass_.steps],
        check_specs=[spec for step in pass_.steps for spec in _stats_checks(graph, step)],
        group_name=graph.group,
        partitions_def=graph.partitions,
        can_subset=True,
        pool={"gpu": GPU_POOL, "cpu": CPU_POOL}.get(engine),
        required_resource_keys={"store", *filter(None, [engine])},
        retry_policy=step_retries(),
        description=f"One decode of each video for {names}." if engine else f"A look at each record for {names}.",
    )
    def measure(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        with failing_clearly():
            work = _ShardWork(graph, context)
            samples = work.read_samples()
            steps = [step for step in pass_.steps if graph.stats(step) in context.selected_asset_keys]
            _require(work, samples)
            progress = ProgressLog(work.log)
            result = _measure(work, pass_, steps, samples, progress)
            for step in steps:
                if step.key in result.tables:
                    yield _stats_written(work, step, samples, result, num_videos=progress.num_videos)
            work.refresh_index()
            _raise_errors(result.errors)

    return measure


def _stats_checks(graph: RecipeGraph, step: Step) -> list[dg.AssetCheckSpec]:
    asset = graph.stats(step)
    return [
        checks.rows_are_videos(asset),
        checks.numbers_in_range(asset, step),
        checks.medians_as_usual(asset, graph.plan.recipe.settings.checks),
    ]


def _stats_spec(graph: RecipeGraph, pass_: Pass, step: Step) -> dg.AssetSpec:
    source = metadata.source_of(graph.plan, step)
    return dg.AssetSpec(
        graph.stats(step),
        deps=[graph.samples, *(graph.stats(earlier) for earlier in graph.earlier_steps(pass_))],
        skippable=True,
        code_version=step.measure_id,
        automation_condition=follows_its_inputs(),
        description=metadata.step_description(graph.plan, step),
        kinds={"parquet", step.compute},
        owners=graph.owners,
        tags={
            **graph.tags,
            "dj_assets/operator": step.operator.name,
            "dj_assets/compute": step.compute,
        },
        metadata={
            **metadata.recipe_metadata(graph.plan.recipe, line=source.line, operator=step.operator),
            "measure_id": step.measure_id,
            "params": dg.MetadataValue.json(step.params.canonical()),
            "unit": ", ".join(f"{stat.name}: {stat.unit}" for stat in step.operator.stats),
            "dagster/column_schema": metadata.column_schema(STATS),
        },
    )


def _measure(
    work: _ShardWork, pass_: Pass, steps: Sequence[Step], samples: Sequence[Sample], progress: ProgressLog
) -> "PassResult":
    from dj_assets.measure import measure_pass

    engine = ENGINES[pass_.compute]
    return measure_pass(
        pass_,
        samples=samples,
        store=work.store,
        limits=work.recipe.settings.limits,
        roots=work.graph.plan.roots,
        workers=getattr(work.context.resources, engine).workers_for(work.recipe) if engine else 0,
        wanted=[step.key for step in steps],
        still_in=_still_in(work, pass_, samples),
        provenance=work.provenance(dg.AssetKey([work.recipe.name, "stats"]), code_version=""),
        progress=progress,
        retry=_retry(work, steps),
    )


def _require(work: _ShardWork, samples: Sequence[Sample]) -> None:
    """Raise what a step of this run lacks, those of later passes and stages included: before anything is decoded for
    nothing. What a later stage will look at is not known yet: where the store has a step's measure, it may go on.
    """
    from dj_assets.measure import require

    asked = work.context.run.asset_selection
    steps = [step for step in work.plan.steps if not asked or work.graph.stats(step) in asked]
    require(steps, samples, work.store)
    for key, step in work.graph.later_steps():
        if (asked and key not in asked) or work.store.knows_measure(step.operator_name, step.measure_id):
            continue
        if (error := step.lacks) is not None:
            raise error


def _retry(work: _ShardWork, steps: Sequence[Step]) -> "Retry | None":
    earlier = {step.key: work.read_earlier_table(step) for step in steps} if work.wish else {}
    return retries.retry_of(work.wish, earlier, steps, work.store.contents_of_run)


def _still_in(work: _ShardWork, pass_: Pass, samples: Sequence[Sample]) -> Collection[str] | None:
    """Samples that no earlier pass has dropped, by those of its tables that are there and up to date."""
    earlier = work.graph.earlier_steps(pass_)
    if not earlier:
        return None
    tables = {step.key: rows for step in earlier if (rows := work.read_current_table(step, samples)) is not None}
    return still_in(earlier, samples, tables)


def _stats_written(
    work: _ShardWork, step: Step, samples: Sequence[Sample], result: "PassResult", *, num_videos: int
) -> dg.MaterializeResult:
    """Write one table, then say so: an event without its file would be a lie after a kill."""
    asset = work.graph.stats(step)
    rows = result.tables[step.key]
    provenance = work.provenance(asset, code_version=step.measure_id)
    path = work.store.write_stats(work.recipe.name, step.key, work.shard_key, rows, provenance)
    checked = {key.asset_key for key in work.context.selected_asset_check_keys}
    return dg.MaterializeResult(
        asset_key=asset,
        metadata={
            **metadata.stats_figures(step, rows, result, num_videos=num_videos),
            **metadata.histograms(step, rows),
            "dagster/column_lineage": metadata.stats_lineage(work.graph.samples, step),
            **metadata.path_figures({"table": path}),
        },
        data_version=dg.DataVersion(versions.table_version(rows)),
        check_results=_stats_checked(work, step, samples, rows) if asset in checked else [],
    )


def _stats_checked(
    work: _ShardWork, step: Step, samples: Sequence[Sample], rows: Sequence[Row]
) -> list[dg.AssetCheckResult]:
    asset, recipe = work.graph.stats(step), work.recipe
    others = work.store.numbers_of_others(recipe.name, step.key, code_version=step.measure_id, but_not=[work.shard_key])
    return [
        checks.check_rows(asset, step, samples, rows),
        checks.check_range(asset, step, rows),
        checks.check_medians(asset, step, rows, others, recipe.settings.checks),
    ]


def _raise_errors(errors: Mapping[str, Exception]) -> None:
    """Fail the step for the operators that are at fault, after the tables of the others were written."""
    if not errors:
        return
    lines = [f"{step_key}: {type(error).__name__}: {error}" for step_key, error in errors.items()]
    raise dg.Failure(
        description="an operator failed; the tables of the others were written\n" + "\n".join(lines),
        metadata={step_key: repr(error) for step_key, error in errors.items()},
        allow_retries=False,
    ) from ExceptionGroup("operators failed", list(errors.values()))


# --------------------------------------------------------------------------------------------- filtered and export


def _filtered_asset(graph: RecipeGraph) -> dg.AssetsDefinition:
    plan = graph.plan

    @dg.asset(
        key=graph.filtered,
        group_name=graph.group,
        partitions_def=graph.partitions,
        deps=graph.measured,
        code_version=plan.bounds_id,
        automation_condition=follows_its_inputs(),
        description=metadata.filtered_description(plan),
        kinds={"parquet"},
        tags=graph.tags,
        owners=graph.owners,
        metadata={
            **metadata.recipe_metadata(plan.recipe),
            "bounds_id": plan.bounds_id,
            "dagster/column_schema": metadata.column_schema(VERDICTS),
        },
        check_specs=[
            checks.one_verdict_each(graph.filtered),
            checks.nothing_skipped_in_vain(graph.filtered),
            checks.few_undecided(graph.filtered, plan.recipe.settings.checks),
            checks.something_kept(graph.filtered),
            checks.keep_rate_as_usual(graph.filtered, plan.recipe.settings.checks),
        ],
        required_resource_keys={"store"},
        retry_policy=step_retries(),
        backfill_policy=MANY_SHARDS_A_RUN,
    )
    def filtered(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failing_clearly():
            decide_shards = _settled if plan.whole_steps else _each_decided
            done, failed = decide_shards(graph, context)
            done = _keep_rates_compared(graph, context.resources.store.open(), done)
            _refresh_index(context)
            return batches.reported(context, graph.filtered, done, failed)

    return filtered


def _keep_rates_compared(
    graph: RecipeGraph, store: "Store", done: Mapping[str, batches.Done]
) -> dict[str, batches.Done]:
    """The shards of a run with the check of their keep rates; few files are read, however many shards there are."""
    others = store.outcomes_of_others(graph.name, code_version=graph.plan.bounds_id, but_not=done)
    results = checks.check_keep_rates(
        graph.filtered,
        {key: (one.metadata["kept"], one.metadata["rows"]) for key, one in done.items()},
        {key: (outcomes["kept"], outcomes.total()) for key, outcomes in others.items()},
        graph.plan.recipe.settings.checks,
    )
    found = dict(results)
    return {
        key: replace(one, check_results=[*one.check_results, *([found[key]] if key in found else [])])
        for key, one in done.items()
    }


def _each_decided(graph: RecipeGraph, context: dg.AssetExecutionContext) -> _Decided:
    return batches.each_shard(context, lambda key: _decided(_ShardWork(graph, context, key)))


def _decided(work: _ShardWork) -> batches.Done:
    """Write the verdicts of one shard."""
    plan, asset = work.plan, work.graph.filtered
    samples = work.read_samples()
    tables = work.read_tables(samples)
    verdicts = decide(plan, samples, tables)
    provenance = work.provenance(asset, code_version=plan.bounds_id)
    path = work.store.write_verdicts(plan.recipe.name, work.shard_key, verdicts, provenance)
    return _verdicts_told(work, samples, verdicts, path, versions.verdicts_version(samples, tables, verdicts))


def _settled(graph: RecipeGraph, context: dg.AssetExecutionContext) -> _Decided:
    """Write the verdicts of a run's shards where steps decide over the whole dataset, and those of every other shard
    that change by that."""
    from dj_assets.settle import settle

    plan, asset = graph.plan, graph.filtered
    cast, failed = batches.each_shard(context, lambda key: _cast(_ShardWork(graph, context, key)))
    store: Store = context.resources.store.open()
    shards = _shards_with_partition(plan.recipe, context.instance)

    def provenance(key: str) -> Provenance:
        return _ShardWork(graph, context, key).provenance(asset, code_version=plan.bounds_id)

    with store.settling(plan.recipe.name):
        found = settle(plan, store, shards, anyway=cast, provenance=provenance)
    done = {}
    for key, one in found.items():
        work = _ShardWork(graph, context, key)
        if key in cast:
            done[key] = _verdicts_told(work, work.read_samples(), one.verdicts, one.path, one.version)
            continue
        work.log.info("its verdicts have changed, since other shards have")
        figures = metadata.verdict_figures(plan, one.verdicts, summarize(plan, one.verdicts), seconds=work.seconds)
        others.tell(context, asset, key, {**figures, **metadata.path_figures({"table": one.path})}, one.version)
    return done, {**failed, **{key: _withdrawn(plan, key) for key in cast.keys() - done.keys()}}


def _cast(work: _ShardWork) -> None:
    """Bring one shard's samples before the steps over the whole dataset."""
    from dj_assets.settle import cast, vote

    samples = work.read_samples()
    tables = work.read_tables(samples)
    found = vote(work.plan, samples, tables)
    inputs = versions.verdicts_version(samples, tables, found.alone)
    origin = work.provenance(work.graph.filtered, code_version=work.plan.bounds_id)
    cast(work.plan, work.store, work.shard_key, found, inputs=inputs, provenance=origin)


def _withdrawn(plan: Plan, key: str) -> StoreError:
    return StoreError(
        f"shard {key} is in {plan.recipe.dataset_path} no more; {plan.whole_steps[0].key} looks at the whole dataset",
        allowed="shards that the dataset has now",
        try_="bring its data drop back, or delete the partition: dj-assets drops rm",
    )


def _verdicts_told(
    work: _ShardWork, samples: Sequence[Sample], verdicts: Sequence[Verdict], path: Path, data_version: str
) -> batches.Done:
    """What `filtered` says of one shard whose verdicts are written."""
    plan, asset = work.plan, work.graph.filtered
    summary = summarize(plan, verdicts)
    return batches.Done(
        metadata={
            **metadata.verdict_figures(plan, verdicts, summary, seconds=work.seconds),
            "dagster/column_lineage": metadata.verdicts_lineage(
                work.graph.samples, [work.graph.stats(step) for step in plan.measured_steps]
            ),
            **metadata.path_figures({"table": path}),
        },
        data_version=data_version,
        check_results=[
            checks.check_verdicts(asset, samples, verdicts),
            checks.check_skips(asset, verdicts),
            checks.check_undecided(asset, summary, plan.recipe.settings.checks),
            checks.check_kept(asset, summary),
        ],
    )


def _export_asset(graph: RecipeGraph) -> dg.AssetsDefinition:
    recipe = graph.plan.recipe
    code_version = versions.export_code_version(graph.plan)

    @dg.asset(
        key=graph.export,
        group_name=graph.group,
        partitions_def=graph.partitions,
        deps=[graph.filtered],
        code_version=code_version,
        automation_condition=follows_its_inputs(),
        description="The kept samples as Data-Juicer writes them, their stats, and every sample that left, with the "
        "reason. Each shard adds its part; the files hold the parts of all shards.",
        kinds={"parquet" if recipe.export_type == "parquet" else "json"},
        tags=graph.tags,
        owners=graph.owners,
        metadata={
            **metadata.recipe_metadata(recipe),
            "export_path": dg.MetadataValue.path(str(recipe.export_path)),
        },
        check_specs=[checks.lines_are_samples_out(graph.export), checks.lines_are_verdicts(graph.export)],
        required_resource_keys={"store"},
        retry_policy=step_retries(),
        backfill_policy=MANY_SHARDS_A_RUN,
    )
    def export(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failing_clearly():
            store: Store = context.resources.store.open()
            # What is settled must not change between rendering and merging.
            with store.settling(graph.name) if graph.plan.whole_steps else nullcontext():
                parts, failed = batches.each_shard(context, lambda key: _part_written(_ShardWork(graph, context, key)))
                changed = _other_parts_written(graph, context, store) if graph.plan.whole_steps and parts else {}
                merged = merge_export(graph.plan, store, context.instance, run_id=context.run.run_id) if parts else None
            _refresh_index(context)
            if merged is None:
                return batches.reported(context, graph.export, {}, failed)
            for key, (part, _, seconds) in changed.items():
                figures = metadata.export_figures(part, merged, seconds=seconds)
                others.tell(context, graph.export, key, figures, newer_inputs=[graph.filtered])
            done = {
                key: batches.Done(
                    metadata=metadata.export_figures(part, merged, seconds=seconds),
                    check_results=results,
                )
                for key, (part, results, seconds) in parts.items()
            }
            return batches.reported(context, graph.export, done, failed)

    return export


def _other_parts_written(
    graph: RecipeGraph, context: dg.AssetExecutionContext, store: "Store"
) -> "dict[str, tuple[PartSummary, list[dg.AssetCheckResult], float]]":
    """Render the parts of those other shards again that were settled anew, by this run or by one that died before its
    export."""
    from dj_assets.export import part_version

    plan, folder = graph.plan, store.export_parts(graph.name)
    settled = store.read_settled(graph.name)
    of_run = set(context.partition_keys)
    written = {}
    for key in _shards_with_partition(plan.recipe, context.instance):
        if key in of_run or key not in settled or part_version(plan, key, folder) == settled[key]:
            continue
        work = _ShardWork(graph, context, key)
        try:
            written[key] = _part_written(work)
        except DjAssetsError as error:
            work.log.info(f"its part of the export stays as it is: {error.one_line()}")
    return written


def _part_written(work: _ShardWork) -> "tuple[PartSummary, list[dg.AssetCheckResult], float]":
    """(what one shard adds to the export, its checks, seconds). A part that fails one is withdrawn again."""
    from dj_assets.export import lines_of_part, withdraw_part, write_part

    samples = work.read_samples()
    verdicts = work.read_verdicts(samples)
    tables = work.read_tables(samples)
    folder = work.store.export_parts(work.recipe.name)
    version = work.store.read_settled(work.recipe.name).get(work.shard_key, "") if work.plan.whole_steps else ""
    part = write_part(work.plan, work.shard_key, samples, verdicts, tables, folder, version=version)
    asset, keeps_undecided = work.graph.export, work.recipe.settings.on_undecided == "keep"
    lines = lines_of_part(work.plan, work.shard_key, folder)
    results = [
        checks.check_lines_written(asset, part, num_samples=len(samples)),
        checks.check_lines_by_outcome(asset, lines, samples, verdicts, keeps_undecided=keeps_undecided),
    ]
    if not all(result.passed for result in results):
        withdraw_part(work.shard_key, folder)
    return part, results, work.seconds


def merge_export(plan: Plan, store: "Store", instance: dg.DagsterInstance, *, run_id: str) -> "ExportResult":
    """Put the parts of all shards into a recipe's files, once for however many shards a run has.

    Raises `StoreError` where there is no part, or a file cannot be written.
    """
    from dj_assets.export import merge_parts

    recipe = plan.recipe
    software = versions.library_versions()
    folder = store.export_parts(recipe.name)
    merged = merge_parts(plan, _shards_with_partition(recipe, instance), folder, software=software)
    store.record_export(
        merged.recorded_manifest,
        Provenance(
            asset="/".join(RecipeGraph(plan).export.path),
            shard="",
            recipe=recipe.name,
            recipe_sha256=recipe.sha256,
            code_version=versions.export_code_version(plan),
            run_id=run_id,
            rows=merged.samples,
            versions=software,
        ),
    )
    return merged


ON_DEMAND = Evidence(boundary=2, undecided=4, random=4)
"""What is drawn by hand for a recipe that asks for no pictures of its own."""


def _evidence_asset(graph: RecipeGraph) -> dg.AssetsDefinition:
    recipe = graph.plan.recipe
    when = (
        "How many is the recipe's `dj_assets: evidence`."
        if graph.draws_evidence
        else "Made only when you materialize it: the recipe asks for none (`dj_assets: evidence`), so no run decodes "
        "any video for it."
    )

    @dg.asset(
        key=graph.evidence,
        group_name=graph.group,
        partitions_def=graph.partitions,
        deps=[graph.filtered],
        code_version=versions.EVIDENCE_CODE_VERSION,
        description="Pictures that explain verdicts, drawn from the stored rows: text boxes on frames, flow as colour, "
        "with values and bounds; and a contact sheet of the samples nearest each bound, of undecided ones, and of some "
        f"drawn by lot. {when}",
        kinds={"jpeg"},
        tags={**graph.tags, **({} if graph.draws_evidence else {ON_DEMAND_TAG: "true"})},
        owners=graph.owners,
        metadata=metadata.recipe_metadata(recipe),
        pool=CPU_POOL,
        required_resource_keys={"store"},
        retry_policy=step_retries(),
    )
    def evidence(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failing_clearly():
            return _drawn(_ShardWork(graph, context), recipe.settings.evidence if graph.draws_evidence else ON_DEMAND)

    return evidence


def _drawn(work: _ShardWork, wanted: Evidence) -> dg.MaterializeResult:
    """Draw one shard's pictures, in place of those that were drawn of its earlier verdicts."""
    from dj_assets.evidence import choose, evidence_folder, replace_listed, write_evidence

    plan, roots = work.plan, work.plan.roots
    samples = work.read_samples()
    shard: _DecidedShard = (plan, samples, work.read_verdicts(samples), work.read_tables(samples))
    folder = evidence_folder(work.recipe) / work.shard_key
    exhibits = choose(*shard, kept=wanted.kept, dropped=wanted.dropped)
    drawn = write_evidence(exhibits, plan, roots=roots, folder=folder)
    sheet = _contact_sheet(work, shard, wanted, folder / "contact_sheet.jpg") if wanted.has_sheet else None
    every = [*drawn, *([sheet] if sheet is not None else [])]
    for one in every:
        if one.path is None:
            work.log.warning(f"no picture {one.name}: {one.problem}")
    replace_listed(folder, [one.path for one in every if one.path is not None])
    return dg.MaterializeResult(metadata=metadata.evidence_figures(drawn, sheet, folder, seconds=work.seconds))


def _contact_sheet(work: _ShardWork, shard: _DecidedShard, wanted: Evidence, path: Path) -> "Drawn":
    from dj_assets.evidence import choose_sheet, contact_sheet, write_one

    sections = choose_sheet(*shard, boundary=wanted.boundary, undecided=wanted.undecided, random=wanted.random)
    return write_one(
        path,
        lambda: contact_sheet(
            sections,
            title=f"{work.recipe.name}, shard {work.shard_key}",
            roots=work.plan.roots,
            limits=work.recipe.settings.limits,
            max_bytes=metadata.MAX_PREVIEW_BYTES,
        ),
    )


def _shards_with_partition(recipe: Recipe, instance: dg.DagsterInstance) -> list[str]:
    """Shards that belong into the final files: those of the dataset, in its order, that have a partition."""
    registered = set(instance.get_dynamic_partitions(partitions_name(recipe.family)))
    return [shard.key for shard in dataset_shards(recipe) if shard.key in registered]
