"""`dj-assets plan`: what a run would compute, reuse and decode, and why. Decodes nothing, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dj_assets.cli.arguments import TAKES_OVERRIDES, read_arguments, recipe_arguments
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import EXIT_CODES

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.cli.dataset import Dataset
    from dj_assets.cli.forecast import Forecast, MapperForecast, PassForecast, StageForecast, StepForecast
    from dj_assets.plan import Plan as RecipePlan
    from dj_assets.recipe import Recipe


@click.command(
    name="plan",
    context_settings=TAKES_OVERRIDES,
    epilog=f"""\b
Examples:
  dj-assets plan recipes/video_time.yaml
  dj-assets plan recipes/video_time.yaml --video_motion_score_filter.sampling_fps 4
  dj-assets plan recipes/video_time.yaml --json
  dj-assets plan recipes/video_time.yaml --decode videos/a.mp4
{EXIT_CODES}""",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@click.option(
    "--decode",
    "video",
    metavar="VIDEO",
    help="What decoding this one video takes instead: frames wanted, packets sent to the decoder and left out.",
)
@recipe_arguments
def command(configs: tuple[str, ...], tokens: tuple[str, ...], as_json: bool, video: str | None) -> None:
    """Say what a run would measure, reuse and decode, and why.

    Reads the files that it does not know yet once, to know their content; decodes none, and writes nothing.
    """
    if video is not None:
        _tell_decode(configs, tokens, video, as_json)
        return
    from dj_assets.cli.dataset import find_dataset
    from dj_assets.cli.tables import print_plan
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    out = console()
    made = make_plan(load_recipe(*read_arguments(configs, tokens)))
    dataset = find_dataset(made.recipe)
    first, *later = _forecast(made, dataset)
    if as_json:
        record = as_record(made, dataset, first.forecast)
        if later:
            record["later_stages"] = [_stage_record(stage) for stage in later]
        click.echo(json.dumps(record, ensure_ascii=False, indent=2))
        return
    print_plan(out, made)
    _print_forecast(out, made, dataset, first.forecast)
    for stage in later:
        _print_stage(out, stage)


def _tell_decode(configs: tuple[str, ...], tokens: tuple[str, ...], video: str, as_json: bool) -> None:
    from dj_assets.cli.decode import print_decode, report_passes
    from dj_assets.plan import make_plan, refuse_mappers
    from dj_assets.recipe import load_recipe

    made = make_plan(load_recipe(*read_arguments(configs, tokens)))
    refuse_mappers(made, "plan --decode", try_="a copy of the recipe with the filters of one stage alone")
    found = report_passes(made, video)
    if as_json:
        click.echo(json.dumps({compute: asdict(report) for compute, report in found.items()}, indent=2))
    else:
        print_decode(console(), made, video, found)


def _forecast(made: RecipePlan, dataset: Dataset) -> list[StageForecast]:
    from dj_assets.cli.forecast import add_shard, forecast_stages
    from dj_assets.defs.project import store_root
    from dj_assets.measure import identify
    from dj_assets.samples import read_shard
    from dj_assets.store.store import Store

    recipe, first = made.recipe, made.stages[0]
    store = Store(store_root())
    stages = forecast_stages(made, store)
    for shard in dataset.shards:
        samples = read_shard(
            shard,
            video_keys=first.video_keys,
            text_key=recipe.text_key,
            video_special_token=recipe.video_special_token,
            suffixes=recipe.suffixes,
        )
        known = store.recall_identities(shard) if recipe.settings.trust_mtime else None
        identified = identify(samples, roots=first.roots, limits=recipe.settings.limits, known=known)
        add_shard(stages, shard.key, identified, store)
    return stages


def workers_of(recipe: Recipe, one: PassForecast) -> int:
    """Worker processes of a pass, as a run on this machine would have them; none for records."""
    from dj_assets.defs.project import cpu_workers, gpu_workers

    if one.pass_.compute == "record":
        return 0
    return gpu_workers(recipe) if one.pass_.compute == "gpu" else cpu_workers(recipe)


def expected_seconds(recipe: Recipe, one: PassForecast) -> float | None:
    """Wall time of a pass; None where the store holds no cost to go by."""
    if one.pass_.compute == "record":
        return 0.0
    worker_seconds = one.worker_seconds
    at_work = max(1, min(workers_of(recipe, one), one.num_videos))
    return None if worker_seconds is None else worker_seconds / at_work


# --- for people


def _print_forecast(out: Console, made: RecipePlan, dataset: Dataset, forecast: Forecast) -> None:
    listed = f"{counted(forecast.videos, 'video')} listed, {counted(len(forecast.contents), 'distinct content')}"
    print_lines(out, [f"{dataset}; {listed}", ""])
    _print_passes(out, made.stages[0], forecast)


def _print_passes(out: Console, made: RecipePlan, forecast: Forecast) -> None:
    headings = ("pass", "step", "reuse", "measure", "skip", "cannot open", "seconds", "why")
    rows = [_step_cells(made, one, step) for one in forecast.passes for step in one.steps]
    print_table(out, headings, rows, numbers=headings[2:7])
    examples = [(path, status, reason) for status, some in forecast.examples.items() for path, reason in some.items()]
    print_table(out, ("cannot open, for example", "status", "reason"), examples)
    if forecast.malformed:
        print_lines(out, [f"{counted(forecast.malformed, 'sample')} malformed: manifest lines that are no samples"])
    print_lines(out, [_pass_line(made.recipe, one) for one in forecast.passes])


def _print_stage(out: Console, stage: StageForecast) -> None:
    """What a mapper will make, and what its samples ask for, as far as they are there."""
    made, forecast = stage.made, stage.forecast
    assert made is not None
    step = made.step
    seconds = made.worker_seconds
    workers = _mapper_workers(stage.plan.recipe, made)
    time = "seconds unknown" if seconds is None else f"about {seconds / workers:.1f} s"
    maybe = f", and {len(made.maybe)} only if no step before it drops them" if made.maybe else ""
    print_lines(
        out,
        [
            "",
            f"step {step.number}, {step.key}: makes {counted(len(made.make), 'video')} anew{maybe}, "
            f"{len(made.reuse)} made before; {counted(workers, 'worker')}, {time}",
        ],
    )
    if made.waiting:
        waiting = counted(made.waiting, "sample")
        print_lines(out, [f"what it makes of {waiting} is known once it has run, and not in the figures below"])
    listed = f"{counted(forecast.videos, 'video')} listed, {counted(len(forecast.contents), 'distinct content')}"
    print_lines(out, [f"{counted(forecast.samples, 'sample')} made so far; {listed}", ""])
    _print_passes(out, stage.plan, forecast)


def _mapper_workers(recipe: Recipe, made: MapperForecast) -> int:
    from dj_assets.defs.project import cpu_workers, gpu_workers

    return gpu_workers(recipe) if made.step.compute == "gpu" else cpu_workers(recipe)


def _step_cells(made: RecipePlan, one: PassForecast, step: StepForecast) -> tuple[str, ...]:
    seconds = step.worker_seconds
    if step.step.is_about_samples:
        return one.pass_.compute, step.step.key, "0", "0", "0", "0", "0.0", "a look at every record, each time"
    return (
        one.pass_.compute,
        step.step.key,
        str(len(step.reuse)),
        str(len(step.measure)),
        str(len(step.skip)),
        str(step.cannot_open.total()),
        "unknown" if seconds is None else f"{seconds / workers_of(made.recipe, one):.1f}",
        "; ".join(_reasons(step)),
    )


def _reasons(step: StepForecast) -> Iterator[str]:
    if step.reuse:
        yield f"measure {step.step.measure_id} is in the store for {len(step.reuse)}"
    if step.num_maybe:
        yield f"{step.num_maybe} to measure only if no earlier pass drops them"
    if step.skip:
        yield "known numbers of earlier passes drop all samples of those to skip"
    if step.cannot_open:
        yield "cannot open: " + ", ".join(f"{count} {status}" for status, count in step.cannot_open.items())
    for change, contents in step.otherwise_known.items():
        if again := len(contents & set(step.measure)):
            yield f"{again} known, but {change}"
    if step.measure and not step.reuse and not step.otherwise_known:
        yield f"nothing in the store under measure {step.step.measure_id}"


def _pass_line(recipe: Recipe, one: PassForecast) -> str:
    compute = one.pass_.compute
    if compute == "record":
        return "pass record: reads records, opens no video, no worker"
    work = (
        "reads packets, decodes nothing" if compute == "header" else f"decodes {counted(one.num_decodes, 'video')} once"
    )
    seconds = expected_seconds(recipe, one)
    time = (
        "seconds unknown: the store holds no cost of such videos yet" if seconds is None else f"about {seconds:.1f} s"
    )
    return f"pass {compute}: {work}, {counted(workers_of(recipe, one), 'worker')}, {time}"


# --- for machines


def as_record(made: RecipePlan, dataset: Dataset, forecast: Forecast) -> dict[str, Any]:
    """The forecast as plain JSON values. Steps count distinct contents; `cannot_open` counts videos as listed."""
    return {
        "recipe": made.recipe.name,
        "dataset_path": str(made.recipe.dataset_path),
        "samples": forecast.samples,
        "malformed_samples": forecast.malformed,
        "shards": len(dataset.shards),
        "videos": forecast.videos,
        "distinct_contents": len(forecast.contents),
        "cannot_open": dict(forecast.cannot_open),
        "passes": [_pass_record(made.recipe, one) for one in forecast.passes],
        "notes": list(made.notes),
        "warnings": list(made.warnings),
    }


def _stage_record(stage: StageForecast) -> dict[str, Any]:
    """A stage after a mapper: what is to be made, and what is asked of the samples that are there already."""
    made, forecast = stage.made, stage.forecast
    assert made is not None
    return {
        "stage": stage.plan.recipe.name,
        "made_by": made.step.key,
        "measure_id": made.step.measure_id,
        "reuse": len(made.reuse),
        "make": len(made.make),
        "make_only_if_not_dropped": len(made.maybe),
        "samples_not_known_yet": made.waiting,
        "samples": forecast.samples,
        "videos": forecast.videos,
        "passes": [_pass_record(stage.plan.recipe, one) for one in forecast.passes],
    }


def _pass_record(recipe: Recipe, one: PassForecast) -> dict[str, Any]:
    return {
        "pass": one.pass_.compute,
        "decodes": one.num_decodes,
        "workers": workers_of(recipe, one),
        "expected_seconds": expected_seconds(recipe, one),
        "steps": [
            {
                "step": step.step.key,
                "operator": step.step.operator.name,
                "measure_id": step.step.measure_id,
                "reuse": len(step.reuse),
                "measure": len(step.measure),
                "measure_only_if_not_dropped": step.num_maybe,
                "skip": len(step.skip),
                "cannot_open": dict(step.cannot_open),
            }
            for step in one.steps
        ],
    }
