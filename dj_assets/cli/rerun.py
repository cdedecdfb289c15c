"""`dj-assets rerun`: retry the videos that could not be measured, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dj_assets.cli.changes import print_changes
from dj_assets.cli.check import own_recipes
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import CANNOT_BE_RIGHT, EXIT_CODES, FAILED, OK, UNDECIDED
from dj_assets.cli.interrupts import stopping_cleanly
from dj_assets.cli.progress import showing_progress
from dj_assets.cli.verbosity import is_verbose, quiet_libraries, verbose_option
from dj_assets.errors import STATUSES, RecipeError, Status

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.defs.rerun import RerunReport, Unmeasured
    from dj_assets.plan import Plan

NOT_RETRIED = {
    "ok": "it is a number",
    "malformed": "mend the line of the manifest, then process",
    "no_value": "mend the record, or the step that reads it, then process",
    "skipped": "loosen the bounds of the step that dropped the sample, then process",
}
MOST_OUTDATED = 5


@click.command(
    name="rerun",
    epilog=f"""\b
Examples:
  dj-assets rerun --status crashed,timed_out
  dj-assets rerun --status unreadable,missing --recipe recipes/video_time.yaml --dry-run
{EXIT_CODES}""",
)
@click.option(
    "--status",
    "statuses",
    required=True,
    metavar="STATUS[,STATUS]...",
    help=f"Of the videos to retry: {', '.join(status for status in STATUSES if status not in NOT_RETRIED)}.",
)
@click.option("--recipe", "recipes", multiple=True, metavar="RECIPE", help="Default: every recipe in recipes/.")
@click.option("--dry-run", is_flag=True, help="Say which videos that is, and run nothing.")
@verbose_option
def command(statuses: str, recipes: tuple[str, ...], dry_run: bool) -> None:
    """Measure again the videos that have no number for these reasons; then decide and export.

    No other video is measured, and none of the dataset's changes is taken in. The files of these videos are looked at
    anew. Which verdicts changed is told at the end.
    """
    wanted = read_statuses(statuses)
    out, err = console(), console(stderr=True)
    codes = [_rerun(path, wanted, out, err, dry_run=dry_run) for path in recipes or own_recipes()]
    worst_first = (FAILED, CANNOT_BE_RIGHT, UNDECIDED, OK)
    click.get_current_context().exit(next(code for code in worst_first if code in codes))


def read_statuses(text: str) -> tuple[Status, ...]:
    """`crashed,timed_out` → the statuses. Raises `RecipeError` for one that cannot be retried."""
    given = [word.strip().replace("-", "_") for word in text.split(",") if word.strip()]
    allowed = [status for status in STATUSES if status not in NOT_RETRIED]
    for word in given or [text]:
        if word not in allowed:
            raise RecipeError(
                f"--status {word!r} cannot be retried",
                allowed=", ".join(allowed),
                try_=NOT_RETRIED.get(word, "dj-assets rerun --status crashed,timed_out"),
                file="command line",
            )
    return tuple(dict.fromkeys(given))  # type: ignore[arg-type]  # the names of Status, as checked


def _rerun(path: str, statuses: Sequence[Status], out: Console, err: Console, *, dry_run: bool) -> int:
    """One recipe. Returns the exit code; a recipe that cannot be right stops no other."""
    from dj_assets.defs.partitions import dataset_shards
    from dj_assets.defs.project import store_root
    from dj_assets.defs.rerun import find_unmeasured
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe
    from dj_assets.store.store import Store

    try:
        plan = make_plan(load_recipe(path))
        shard_keys = [shard.key for shard in dataset_shards(plan.recipe)]
    except RecipeError as error:
        print_lines(err, [str(error)])
        return CANNOT_BE_RIGHT
    found = find_unmeasured(plan, Store(store_root()), shard_keys, statuses)
    _print_unmeasured(out, plan, found)
    if dry_run or not found.shards:
        return OK
    with stopping_cleanly(), quiet_libraries(lambda line: print_lines(err, [line])):
        report = _run(plan, statuses, found, err)
    print_lines(out, [""])
    print_changes(out, report)
    for shard in report.run.failed:
        print_lines(err, ["", f"shard {shard.shard_key} failed:", shard.failure])
    return _exit_code(plan, report)


def _run(plan: Plan, statuses: Sequence[Status], found: Unmeasured, err: Console) -> RerunReport:
    from dj_assets.defs.project import store_root
    from dj_assets.defs.rerun import rerun_statuses
    from dj_assets.defs.resources import project_instance

    with project_instance() as instance, showing_progress(err, num_shards=len(found.shards)) as view:
        return rerun_statuses(
            plan,
            statuses=statuses,
            shard_keys=list(found.shards),
            instance=instance,
            store_root=store_root(),
            on_shard=view.begin_shard,
            on_progress=view,
            verbose=is_verbose(),
        )


def _print_unmeasured(out: Console, plan: Plan, found: Unmeasured) -> None:
    name = plan.recipe.name
    rows = [(step, status, str(count)) for (step, status), count in found.by_step.items()]
    print_table(out, ("step", "status", "videos"), rows, numbers=("videos",))
    videos = counted(sum(found.shards.values()), "video")
    print_lines(out, [f"{name}: {videos} to retry in {counted(len(found.shards), 'shard')}"])
    for shard_key, reason in list(found.outdated.items())[:MOST_OUTDATED]:
        print_lines(out, [f"note: shard {shard_key} is left out: {reason}; dj-assets process measures it"])
    if (more := len(found.outdated) - MOST_OUTDATED) > 0:
        print_lines(out, [f"note: ... and {counted(more, 'more shard')} left out"])


def _exit_code(plan: Plan, report: RerunReport) -> int:
    if not report.run.success:
        return FAILED
    summaries = [report.run.summary_of(stage) for stage in plan.stages]
    undecided = sum(sum(summary.undecided.values()) for summary in summaries if summary is not None)
    return UNDECIDED if undecided and plan.recipe.settings.on_undecided == "set_aside" else OK
