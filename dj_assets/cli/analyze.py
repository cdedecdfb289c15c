"""`dj-assets analyze`: measure every stat of every video, decide nothing, and show what there is; Data-Juicer's
dj-analyze."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dj_assets.cli.arguments import TAKES_OVERRIDES, read_arguments, recipe_arguments
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import EXIT_CODES, FAILED, OK, UNDECIDED
from dj_assets.cli.interrupts import stopping_cleanly
from dj_assets.cli.process import print_failures
from dj_assets.cli.progress import showing_progress
from dj_assets.cli.verbosity import is_verbose, quiet_libraries

MOST_EXAMPLES = 10

MOST_STATS_BESIDE = 6
"""In columns of the table of figures; more of them are its lines, with fewer figures."""

SHORT_FIGURES = ("count", "mean", "min", "5%", "50%", "95%", "max")
"""Those that fit beside the names of many stats; the files and the page have all."""

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.analysis import Analysis
    from dj_assets.analysis_report import Written
    from dj_assets.defs.jobs import RunReport
    from dj_assets.plan import Plan


@click.command(
    name="analyze",
    context_settings=TAKES_OVERRIDES,
    epilog=f"""\b
Examples:
  dj-assets analyze recipes/video_time.yaml
  dj-assets analyze recipes/video_time.yaml --percentiles "[0.01, 0.99]" -o /tmp/look
  dj-assets analyze --config recipes/video_time.yaml --no-measure
{EXIT_CODES}""",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the files go; default <export>_analysis beside the export.",
)
@click.option("--no-measure", "only_stored", is_flag=True, help="Look at what the store knows; measure nothing.")
@recipe_arguments
def command(configs: tuple[str, ...], tokens: tuple[str, ...], folder: Path | None, only_stored: bool) -> None:
    """Measure every stat of every video, decide nothing, and say what there is.

    Writes one page that opens offline, the tables and pictures of dj-analyze, and every number. Nothing is skipped, as
    if dj_assets.short_circuit were off, so that each stat is that of the whole dataset. What is known is not measured
    again, and a later process reuses all of it. What a mapper makes hangs on what is kept before it: there verdicts are
    made, too, and each stage has an analysis of its own.
    """
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    out, err = console(), console(stderr=True)
    plan = make_plan(load_recipe(*read_arguments(configs, tokens)))
    report = None
    with stopping_cleanly(), quiet_libraries(lambda line: print_lines(err, [line])):
        if not only_stored:
            report = _measure(plan, out, err)
            print_failures(err, report)
        wanted = [stage for stage in plan.stages if stage.steps or len(plan.stages) == 1]
        found = [(stage, *_analyse(stage, folder)) for stage in wanted]
    codes = [OK]
    for stage, analysis, written in found:
        if len(plan.stages) > 1:
            made_by = f", made by {stage.made_by.key}" if stage.made_by else ""
            print_lines(out, [f"{stage.recipe.name}{made_by}", ""])
        _print(out, analysis, written)
        codes.append(exit_code(plan, analysis, report))
        if codes[-1] == UNDECIDED:
            _print_loss(err, analysis)
    click.get_current_context().exit(next(code for code in (FAILED, UNDECIDED, OK) if code in codes))


def _measure(plan: Plan, out: Console, err: Console) -> RunReport:
    """Samples and stats of every shard, whatever the bounds."""
    from dj_assets.cli.dataset import find_dataset
    from dj_assets.cli.tables import print_plan
    from dj_assets.defs.assets import RecipeGraph
    from dj_assets.defs.jobs import run_recipe
    from dj_assets.defs.project import store_root
    from dj_assets.defs.resources import project_instance

    dataset = find_dataset(plan.recipe)
    print_plan(out, plan)
    print_lines(out, [f"{dataset}; store {store_root()}", ""])
    whole = unspared(plan)
    with project_instance() as instance, showing_progress(err, num_shards=len(dataset.shards)) as view:
        return run_recipe(
            whole,
            instance=instance,
            store_root=store_root(),
            selection=[
                *(key for stage in whole.stages[:-1] for key in RecipeGraph(stage).until_verdicts),
                *RecipeGraph(whole).measured,
            ],
            on_shard=view.begin_shard,
            on_progress=view,
            verbose=is_verbose(),
        )


def unspared(plan: Plan) -> Plan:
    """The plan without short circuit: every pass measures every video."""
    settings = plan.recipe.settings.model_copy(update={"short_circuit": False})
    before = unspared(plan.before) if plan.before is not None else None
    return replace(plan, recipe=replace(plan.recipe, settings=settings), before=before)


def _analyse(plan: Plan, folder: Path | None) -> tuple[Analysis, Written]:
    from dj_assets.defs.jobs import run_analysis
    from dj_assets.defs.project import store_root
    from dj_assets.defs.resources import project_instance

    with project_instance() as instance:
        found = run_analysis(
            plan,
            instance=instance,
            store_root=store_root(),
            folder=None
            if folder is None
            else (folder / plan.recipe.name if plan.recipe.stage_of else folder).absolute(),
            verbose=is_verbose(),
        )
    return found.analysis, found.written


def exit_code(plan: Plan, analysis: Analysis, report: RunReport | None) -> int:
    """What it exits with. Samples that could not be measured are a loss where the recipe sets them aside."""
    if report is not None and not report.success:
        return FAILED
    is_loss = analysis.unmeasurable and plan.recipe.settings.on_undecided == "set_aside"
    return UNDECIDED if is_loss else OK


def _print(out: Console, analysis: Analysis, written: Written) -> None:
    from dj_assets.analysis_report import overall, shown, shown_share

    names = [stat.name for stat in analysis.stats]
    rows = [
        (name, *((shown_share if name.endswith("_share") else shown)(value) for value in values))
        for name, values in overall(analysis, every_reason=False)
    ]
    if len(names) > MOST_STATS_BESIDE:
        by_figure = {row[0]: row[1:] for row in rows}
        lines = list(zip(names, *(by_figure[figure] for figure in SHORT_FIGURES), strict=True))
        print_table(out, ("stat", *SHORT_FIGURES), lines, numbers=SHORT_FIGURES)
    else:
        print_table(out, ("", *names), rows if names else [], numbers=names)
    costs = ("videos", "worker time", "per video", "per video-minute", "short circuit spares", "saves")
    print_table(out, ("step", *costs), _cost_rows(analysis), numbers=costs)
    print_table(out, ("without a number, for example", "status", "reason"), _examples(analysis))
    print_table(out, ("file", "path"), [(name, str(path)) for name, path in _files(written)])
    print_lines(out, _counts(analysis))


def _examples(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Of what could not be measured, each once; of what nobody asked about the closing lines tell."""
    from dj_assets.analysis import UNASKED

    every = [one for stat in analysis.stats for one in stat.examples if one.status not in UNASKED]
    return list(dict.fromkeys((one.path, one.status, one.reason) for one in every))[:MOST_EXAMPLES]


def _cost_rows(analysis: Analysis) -> Iterator[tuple[str, ...]]:
    from dj_assets.analysis_report import shown_seconds

    for cost in analysis.costs:
        is_guess = bool(cost.spared_seconds) and cost.spared_measured < cost.spared
        yield (
            cost.step,
            str(cost.measured),
            shown_seconds(cost.seconds),
            shown_seconds(cost.seconds_per_video),
            shown_seconds(cost.seconds_per_video_minute),
            str(cost.spared),
            ("about " if is_guess else "") + shown_seconds(cost.spared_seconds),
        )


def _files(written: Written) -> Iterator[tuple[str, Path]]:
    yield "page", written.page
    for name, path in written.paths.items():
        if path != written.page and name not in written.pictures:
            yield name, path
    yield f"{len(written.pictures)} pictures", written.folder


def _counts(analysis: Analysis) -> Iterator[str]:
    yield (
        f"{counted(analysis.samples, 'sample')}, {counted(analysis.videos, 'video')}, "
        f"{counted(len(analysis.shards), 'shard')}; something could not be measured in "
        f"{counted(analysis.unmeasurable, 'sample')}, {counted(analysis.malformed, 'malformed line')} among them"
    )
    if analysis.missing_shards:
        yield f"{counted(len(analysis.missing_shards), 'shard')} of the dataset never read, and not in here"
    if unasked := sum(stat.not_measured for stat in analysis.stats):
        yield f"{counted(unasked, 'number')} never asked for, and not in here: analyze without --no-measure asks"
    if skipped := sum(stat.skipped for stat in analysis.stats):
        what = "skipped, since an earlier pass drops the sample"
        yield f"{counted(skipped, 'number')} {what}: analyze without --no-measure asks"


def _print_loss(err: Console, analysis: Analysis) -> None:
    print_lines(
        err,
        [
            "",
            f"{counted(analysis.unmeasurable, 'sample')} not wholly measured: the page and the file of all stats say "
            "why. Exit code 3.",
            "  try: mend the files and analyze again, or set dj_assets.on_undecided to drop or keep",
        ],
    )
