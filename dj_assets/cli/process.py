"""`dj-assets process`: run a recipe here and now, recorded in the Dagster instance; a drop-in for dj-process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dj_assets.cli.arguments import TAKES_OVERRIDES, read_arguments, recipe_arguments
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import EXIT_CODES, FAILED, OK, UNDECIDED
from dj_assets.cli.interrupts import stopping_cleanly
from dj_assets.cli.progress import showing_progress
from dj_assets.cli.verbosity import is_verbose, quiet_libraries

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.cli.outcome import Outcome
    from dj_assets.defs.jobs import RunReport
    from dj_assets.plan import Plan

MOST_RUNS = 10


@click.command(
    name="process",
    context_settings=TAKES_OVERRIDES,
    epilog=f"""\b
Examples:
  dj-assets process recipes/video_time.yaml
  dj-assets process --config recipes/video_time.yaml --export_path out/res.jsonl --np 2
  dj-assets process recipes/video_time.yaml --video_motion_score_filter.min_score 3
  dj-assets process recipes/video_time.yaml --dj-assets.on-undecided keep
{EXIT_CODES}""",
)
@recipe_arguments
def command(configs: tuple[str, ...], tokens: tuple[str, ...]) -> None:
    """Run a recipe: measure what is not known yet, decide, export.

    Any key of the recipe, of `dj_assets:` and of an operator can be overridden, with underscores or hyphens. Each
    shard is a run in the Dagster instance, which `dj-assets ui` shows.
    """
    from dj_assets.cli.dataset import find_dataset
    from dj_assets.cli.tables import print_plan
    from dj_assets.defs.project import store_root
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    out, err = console(), console(stderr=True)
    plan = make_plan(load_recipe(*read_arguments(configs, tokens)))
    dataset = find_dataset(plan.recipe)
    print_plan(out, plan)
    print_lines(out, [f"{dataset}; store {store_root()}", ""])
    _require(plan)
    with stopping_cleanly(), quiet_libraries(lambda line: print_lines(err, [line])):
        report, outcome = _run(plan, err, num_shards=len(dataset.shards))
    _print_closing(out, plan, report, outcome)
    _print_loss(err, plan, report)
    click.get_current_context().exit(exit_code(plan, report))


def _require(plan: Plan) -> None:
    """Raise what a step lacks (weights, a package), unless the store may know its numbers: then its run will tell."""
    from dj_assets.defs.project import store_root
    from dj_assets.plan import lacking
    from dj_assets.store.store import Store

    store = Store(store_root())
    for step, error in lacking(plan.all_steps):
        if not store.knows_measure(step.operator_name, step.measure_id):
            raise error


def _run(plan: Plan, err: Console, *, num_shards: int) -> tuple[RunReport, Outcome]:
    from dj_assets.cli.outcome import Outcome, gather
    from dj_assets.defs.jobs import run_recipe
    from dj_assets.defs.project import store_root
    from dj_assets.defs.resources import project_instance
    from dj_assets.store.store import Store

    with project_instance() as instance, showing_progress(err, num_shards=num_shards) as view:
        report = run_recipe(
            plan,
            instance=instance,
            store_root=store_root(),
            on_shard=view.begin_shard,
            on_progress=view,
            verbose=is_verbose(),
        )
    store, outcome = Store(store_root()), Outcome()
    for stage in plan.stages:
        decided = [shard.shard_key for shard in report.shards if shard.summary_of(stage) is not None]
        outcome.add(gather(stage, store, decided))
    return report, outcome


def exit_code(plan: Plan, report: RunReport) -> int:
    """What a finished run exits with. Undecided samples are a loss where the recipe sets them aside."""
    if not report.success:
        return FAILED
    return UNDECIDED if _set_aside(plan, report) else OK


def _set_aside(plan: Plan, report: RunReport) -> int:
    """How many samples are undecided, in whatever stage, and in no export for that reason alone."""
    if plan.recipe.settings.on_undecided != "set_aside":
        return 0
    found = [report.summary_of(stage) for stage in plan.stages]
    return sum(sum(summary.undecided.values()) for summary in found if summary is not None)


def _print_closing(out: Console, plan: Plan, report: RunReport, outcome: Outcome) -> None:
    print_table(out, ("outcome", "samples", "because of"), _verdict_rows(plan, report), numbers=("samples",))
    examples = [(example.path, example.status, example.reason) for example in outcome.examples]
    print_table(out, ("undecided, for example", "status", "reason"), examples)
    videos = [(key, *(str(count) for count in vars(counts).values())) for key, counts in outcome.videos.items()]
    counts = ("measured", "reused", "skipped", "unmeasured")
    print_table(out, ("videos by step", *counts), videos, numbers=counts)
    print_table(out, ("file", "path"), _files(plan, report))
    runs = [(run.shard_key, run.run_id, f"{run.seconds:.1f}") for run in report.shards]
    shown = runs if len(runs) <= MOST_RUNS else [*runs[:MOST_RUNS], (f"... and {len(runs) - MOST_RUNS} more", "", "")]
    print_table(out, ("shard", "Dagster run", "seconds"), shown, numbers=("seconds",))
    failed = f", {len(report.failed)} failed" if report.failed else ""
    print_lines(out, [f"{counted(len(report.shards), 'shard')} in {report.seconds:.1f} s{failed}"])


def _verdict_rows(plan: Plan, report: RunReport) -> Iterator[tuple[str, str, str]]:
    """Stage by stage; what a mapper makes of the samples that one stage keeps is what the next one has."""
    for stage in plan.stages:
        summary = report.summary_of(stage)
        if summary is None:
            return
        made_by = f"made by {stage.made_by.key} of the samples kept so far" if stage.made_by else ""
        yield "samples", str(summary.samples), made_by
        yield "kept", str(summary.kept), ""
        for step in stage.steps:
            if summary.dropped.get(step.key):
                yield "dropped", str(summary.dropped[step.key]), f"{step.key}: not {step.keeps}"
        for status, count in summary.undecided.items():
            yield "undecided", str(count), status


def _files(plan: Plan, report: RunReport) -> Iterator[tuple[str, str]]:
    from dj_assets.evidence import evidence_folder

    for name, path in report.paths.items():
        yield name, str(path)
    wanted = plan.recipe.settings.evidence
    folder = evidence_folder(plan.recipe)
    if wanted.is_wanted and folder.is_dir():
        yield "evidence", str(folder)


def _print_loss(err: Console, plan: Plan, report: RunReport) -> None:
    """Why the exit code is not 0."""
    print_failures(err, report)
    if not report.failed and (lost := _set_aside(plan, report)):
        print_lines(
            err,
            [
                "",
                f"{counted(lost, 'sample')} undecided and set aside: the file of dropped samples lists each with its "
                "reason. Exit code 3.",
                "  try: mend the files and process again, or set dj_assets.on_undecided to drop or keep",
            ],
        )


def print_failures(err: Console, report: RunReport) -> None:
    """Each shard that failed, and why."""
    for shard in report.failed:
        print_lines(err, ["", f"shard {shard.shard_key} failed:", shard.failure])
        if shard.traceback:
            print_lines(err, [shard.traceback if is_verbose() else "  (--verbose shows the traceback)"])
    if report.failed:
        logs = "each failed run" if len(report.failed) > 1 else "the failed run"
        print_lines(err, [f"  see: dj-assets ui, for the whole log of {logs}; what was measured is kept"])
