"""`dj-assets lineage`: what rests on a measure, an operator, a run or a video, and what an export rests on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import EXIT_CODES
from dj_assets.cli.verbosity import verbose_option
from dj_assets.cli.why import parsed
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.store.lineage import Question, Radius

MOST_ROWS = 10


@click.command(
    name="lineage",
    epilog=f"""\b
Examples:
  dj-assets lineage --operator video_motion_score_filter --version 1
  dj-assets lineage --operator video_motion_score_filter --version 1 --rerun
  dj-assets lineage --measure 58e02d15 --all
  dj-assets lineage --export outputs/video_time_output/res.jsonl --json
{EXIT_CODES}""",
)
@click.option("--measure", "measure_id", default="", metavar="ID", help="A measure id, or its first digits.")
@click.option("--operator", default="", metavar="NAME", help="Every measure of an operator.")
@click.option("--version", type=int, default=None, metavar="V", help="With --operator: of this version alone.")
@click.option("--run", "run_id", default="", metavar="RUN_ID", help="What a run measured; its id, or its first digits.")
@click.option("--export", default="", metavar="PATH", help="What an export rests on; one of its files.")
@click.option("--video", default="", metavar="HASH", help="A video, by its content hash or by its path.")
@click.option("--all", "lists_all", is_flag=True, help="List every sample and shard, not the first few.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--rerun",
    "reruns",
    is_flag=True,
    help="With --measure, --operator or --run: measure exactly that again, and say which verdicts changed.",
)
@verbose_option
def command(
    measure_id: str,
    operator: str,
    version: int | None,
    run_id: str,
    export: str,
    video: str,
    lists_all: bool,
    as_json: bool,
    reruns: bool,
) -> None:
    """Say what rests on something: samples, shards, recipes, exports.

    Name one thing. Numbers that were skipped or could not be looked for, since the file was missing, rest on nothing.
    """
    from dj_assets.defs.project import store_root
    from dj_assets.store.lineage import FIRST_SAMPLES, blast_radius

    question = read_question(measure_id, operator, version, run_id, export, video)
    if reruns and (export or video or as_json):
        raise RecipeError(
            "--rerun was given with --export, --video or --json",
            allowed="--rerun beside --measure, --operator or --run",
            try_="name the measure that is wrong: dj-assets why VIDEO shows the ids",
            file="command line",
        )
    radius = blast_radius(store_root(), question, most_samples=None if lists_all else FIRST_SAMPLES)
    if as_json:
        measures = [{**one, "params": parsed(one["params"])} for one in radius.measures]
        record = {**asdict(radius), "recipes": radius.recipes, "measures": measures}
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print_radius(console(), radius, lists_all=lists_all)
    if reruns:
        from dj_assets.cli.remeasure import remeasure

        blamed: dict[str, list[str]] = {}
        for one in radius.measures:
            blamed.setdefault(one["operator"], []).append(one["measure_id"])
        click.get_current_context().exit(remeasure(radius.shards, blamed, of_run=radius.run_id))


def read_question(
    measure_id: str, operator: str, version: int | None, run_id: str, export: str, video: str
) -> Question:
    """The options as one question. Raises `RecipeError` where they are not exactly one."""
    from dj_assets.store.lineage import Question

    given = {"--measure": measure_id, "--operator": operator, "--run": run_id, "--export": export, "--video": video}
    named = [option for option, value in given.items() if value]
    if len(named) != 1 or (version is not None and not operator):
        raise RecipeError(
            "--version was given without --operator"
            if version is not None and not operator
            else f"{len(named)} things were named: {', '.join(named)}"
            if named
            else "nothing was named",
            allowed=f"one of {', '.join(given)}; and --version beside --operator",
            try_="dj-assets lineage --operator video_motion_score_filter",
            file="command line",
        )
    return Question(
        measure_id=measure_id, operator=operator, version=version, run_id=run_id, export=export, video=video
    )


def print_radius(out: Console, radius: Radius, *, lists_all: bool) -> None:
    """Counts, then tables: measures, runs, shards, exports, samples."""
    counts = (
        f"{counted(radius.samples, 'sample')} of {counted(radius.videos, 'video')}, "
        f"in {counted(len(radius.shards), 'shard')} of {counted(len(radius.recipes), 'recipe')}, "
        f"{counted(len(radius.exports), 'export')}"
    )
    lines = [f"{radius.what}: {counts}", *(f"note: {note}" for note in radius.notes)]
    if radius.tables:
        lines.append(f"{counted(radius.tables, 'table')} as this run wrote them, numbers that it reused included")
    print_lines(out, [*lines, ""])
    measures = [
        (one["operator"] or "?", _version(one["version"]), one["measure_id"], str(one["samples"]))
        for one in radius.measures
    ]
    print_table(out, ("operator", "version", "measure", "samples"), measures, numbers=("samples",))
    runs = [(one["run_id"], str(one["videos"])) for one in radius.runs]
    _print_some(out, ("measured by run", "videos"), runs, lists_all=lists_all)
    shards = [(one.recipe, one.shard, str(one.samples)) for one in radius.shards]
    _print_some(out, ("recipe", "shard", "samples"), shards, lists_all=lists_all)
    exports = [(one["path"], one["recipe"], str(one["shards"])) for one in radius.exports]
    _print_some(out, ("export", "recipe", "shards"), exports, lists_all=True)
    samples = [(one["recipe"], one["sample_id"], one["outcome"] or "not decided yet") for one in radius.first_samples]
    print_table(out, ("recipe", "sample", "verdict"), samples)
    if radius.samples > len(samples):
        print_lines(out, [f"and {radius.samples - len(samples)} more samples; --all lists them"])


def _version(version: int | None) -> str:
    return "?" if version is None else str(version)


def _print_some(out: Console, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, lists_all: bool) -> None:
    print_table(out, columns, rows if lists_all else rows[:MOST_ROWS], numbers=columns[-1:])
    if len(rows) > MOST_ROWS and not lists_all:
        print_lines(out, [f"and {len(rows) - MOST_ROWS} more; --all lists them", ""])
