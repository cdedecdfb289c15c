"""The asset `<recipe>/analysis`: what all shards' numbers look like, over the whole recipe at once."""

# No `from __future__ import annotations`: Dagster wants the type of `context` itself, not its name.

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from dj_assets.defs import metadata, versions
from dj_assets.defs.failures import failing_clearly
from dj_assets.defs.partitions import dataset_shards
from dj_assets.defs.resources import StoreResource
from dj_assets.errors import RecipeError, StoreError
from dj_assets.plan import Plan

if TYPE_CHECKING:
    from dj_assets.analysis import Analysis
    from dj_assets.analysis_report import Written
    from dj_assets.store.store import Store


class AnalysisConfig(dg.Config):
    """folder: where the files go; empty for `<export>_analysis` beside the export."""

    folder: str = ""


@dataclass(frozen=True)
class Analysed:
    """An analysis, and the files that say it."""

    analysis: "Analysis"
    written: "Written"
    run_id: str


def analysis_asset(
    plan: Plan, key: dg.AssetKey, *, inputs: Sequence[dg.AssetKey], tell: Callable[[Analysed], None] | None = None
) -> dg.AssetsDefinition:
    """One asset over every shard that was measured. tell: gets what was found, for a caller in the same process.

    It has no partitions, is no part of the recipe's job, and nothing materializes it by itself: it reads the numbers of
    all shards, so that doing it after each of a thousand would read them a thousand times for one page that anybody
    looks at. People ask for it, by its button or by `dj-assets analyze`.
    """
    recipe = plan.recipe

    @dg.asset(
        key=key,
        group_name=recipe.family,
        deps=list(inputs),
        code_version=versions.analysis_code_version(plan),
        description="How every stat is spread over all shards, what was not measured and why, how stats go together, "
        "what each operator cost and what short circuit saved: one page, tables and pictures beside the export. From "
        "what the store knows; decodes nothing. Materialize it when you want to look.",
        kinds={"html"},
        tags={"dj_assets/recipe": recipe.family},
        owners=list(recipe.settings.owners),
        metadata=metadata.recipe_metadata(recipe),
    )
    def analysis(
        context: dg.AssetExecutionContext, config: AnalysisConfig, store: StoreResource
    ) -> dg.MaterializeResult:
        with failing_clearly():
            from dj_assets.analysis_report import overall_markdown

            started_seconds = time.perf_counter()
            found = _analysed(plan, store.open(), Path(config.folder) if config.folder else None, context.run.run_id)
            if tell is not None:
                tell(found)
            return dg.MaterializeResult(
                metadata=metadata.analysis_figures(
                    found.analysis,
                    found.written,
                    overall_markdown(found.analysis),
                    seconds=time.perf_counter() - started_seconds,
                )
            )

    return analysis


def _analysed(plan: Plan, store: "Store", folder: Path | None, run_id: str) -> Analysed:
    """Raises `StoreError` where no shard was ever read."""
    from dj_assets.analysis import analyse, columns_of_shards
    from dj_assets.analysis_report import About, analysis_folder, write_analysis

    shards = _shards(plan)
    columns = columns_of_shards(plan, store, shards)
    if not columns.num_samples and shards != []:
        raise StoreError(
            f"no shard of {plan.recipe.name} was ever measured",
            allowed="a recipe of which some shards are materialized",
            try_=f"dj-assets analyze {plan.recipe.file}, which measures them first",
        )
    analysis = analyse(columns, store, shards=shards)
    about = About(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"), software=versions.library_versions(), run_id=run_id
    )
    written = write_analysis(analysis, columns, folder or analysis_folder(plan.recipe), about)
    return Analysed(analysis, written, run_id)


def _shards(plan: Plan) -> list[str] | None:
    """Keys of the dataset's shards; None where the dataset is gone, and the store is all there is."""
    try:
        return [shard.key for shard in dataset_shards(plan.recipe)]
    except RecipeError as error:
        logging.getLogger(__name__).warning("every shard in the store is analysed: %s", error.one_line())
        return None
