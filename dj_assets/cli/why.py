"""`dj-assets why`: everything that the store knows of one video or sample."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import EXIT_CODES
from dj_assets.cli.verbosity import verbose_option

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.store.lineage import Decision, Number, Story

RUN_DIGITS = 8
"""Enough to tell runs apart, as Dagster's own pages do; --json has all of them."""

MOST_WINDOWS = 8
MOST_COPIES = 10


@click.command(
    name="why",
    epilog=f"""\b
Examples:
  dj-assets why vids/video1.mp4
  dj-assets why ds.jsonl:2 --recipe video_time
  dj-assets why 98a67709 --json
{EXIT_CODES}""",
)
@click.argument("asked", metavar="VIDEO_OR_SAMPLE")
@click.option("--recipe", default="", metavar="RECIPE", help="Look at this recipe alone; its name, or its file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, every window value in it.")
@verbose_option
def command(asked: str, recipe: str, as_json: bool) -> None:
    """Tell everything known of a video or sample: copies, numbers, what it was made of, verdicts, exports.

    A video is named by its path or by its content hash, of which four digits may do; a sample by its id, DROP:LINE, or
    DROP:LINE#1 for one that a mapper made. A file that was renamed or copied is known by its bytes. Of a product, the
    way back to the dataset is told, each hop with its times and params. Nothing is decoded.
    """
    from dj_assets.defs.project import store_root
    from dj_assets.store.lineage import explain

    story = explain(store_root(), asked, recipe=recipe)
    if as_json:
        click.echo(json.dumps(_record(story), indent=2, ensure_ascii=False))
    else:
        print_story(console(), story)


def _record(story: Story) -> dict[str, Any]:
    """The story as JSON; params as an object, not as text."""
    record = asdict(story)
    for name in ("measures", "origins"):
        record[name] = [{**one, "params": parsed(one["params"])} for one in record[name]]
    return record


def parsed(params: str | None) -> Any:
    """Params as the store keeps them, JSON text, as an object; None where they are not known."""
    return None if params is None else json.loads(params)


def print_story(out: Console, story: Story) -> None:
    """Identity, copies, numbers, then a verdict per sample and recipe."""
    print_lines(out, [*_heading(story), ""])
    copies = [
        (copy["path"] or copy["given"], copy["recipe"], copy["sample_id"], copy["status"], copy["reason"])
        for copy in story.copies
    ]
    print_table(out, ("listed as", "recipe", "sample", "status", "reason"), copies[:MOST_COPIES])
    if len(copies) > MOST_COPIES:
        print_lines(out, [f"and {len(copies) - MOST_COPIES} more places; --json has them all", ""])
    _print_measures(out, story)
    print_lines(out, _origin_lines(story))
    _print_descendants(out, story)
    for decision in story.decisions[:MOST_COPIES]:
        _print_decision(out, decision)
    if len(story.decisions) > MOST_COPIES:
        print_lines(out, [f"and {len(story.decisions) - MOST_COPIES} more verdicts; --json has them all"])


def _heading(story: Story) -> Iterator[str]:
    from dj_assets.store.probes import stream_line

    sizes = {copy["content_hash"]: copy["num_bytes"] for copy in story.copies}
    for content in story.contents:
        places = len({copy["path"] for copy in story.copies if copy["content_hash"] == content})
        yield f"content {content}, {sizes[content]:,} bytes, {counted(places, 'path')}"
        yield from (stream_line(probe) for probe in story.probes if probe["content_hash"] == content)
    if not story.contents:
        yield f"{story.asked}: no content is known of it, since no file of it could be read"
    for sample in story.samples:
        if sample["status"] != "ok":
            yield f"{sample['sample_id']} in recipe {sample['recipe']} is {sample['status']}: {sample['reason']}"


def _print_measures(out: Console, story: Story) -> None:
    rows = []
    for one in story.measures:
        version = "?" if one["version"] is None else str(one["version"])
        made = (f"{one['measured_at']} on {one['device']}", one["run_id"][:RUN_DIGITS] or "?", _cost(one))
        rows.append((one["stat"], _value(one), f"{one['operator']} {version}", one["measure_id"], *made))
    headings = ("stat", "value", "operator, version", "measure", "measured", "run", "seconds")
    print_table(out, headings, rows, numbers=("seconds",))
    for one in story.measures:
        if len(one["window_values"] or ()) > 1:
            print_lines(out, [f"{one['stat']} by window: {_windows(one['window_values'])}"])
        if params := parsed(one["params"]):
            shown = ", ".join(f"{name}={json.dumps(value)}" for name, value in params.items())
            print_lines(out, [f"{one['operator']} {one['measure_id']}: {shown}"])
    if story.measures:
        print_lines(out, [""])


def _origin_lines(story: Story) -> list[str]:
    """Each hop back from what was asked about, nearest first: which mapper, with which params, of which video.

    `ds.jsonl:3#1 (recipe r) was made of ds.jsonl:3 (r__1) by video_split_by_scene_mapper 1, threshold=27.0`
    """
    lines: list[str] = []
    shown = set(story.contents)
    for hop in story.origins[:MOST_COPIES]:
        version = "" if hop.version is None else f" {hop.version}"
        params = ", ".join(f"{name}={json.dumps(value)}" for name, value in (parsed(hop.params) or {}).items())
        lines.append(
            f"{hop.sample_id} (recipe {hop.recipe}) was made of {hop.parent_id} ({hop.parent_recipe}) by {hop.made_by}"
            + (version if hop.made_by == hop.mapper else f", {hop.mapper}{version}")
            + (f": {params}" if params else "")
        )
        # Of a sample of many clips those that were asked about; all where that is none of them.
        asked = [one for one in hop.products if one["content_hash"] in shown or one["path"] == story.asked]
        products = asked or list(hop.products)
        shown |= {one["parent_hash"] for one in products}
        lines += [f"  {_product_text(one)}" for one in products[:MOST_COPIES]]
        if len(products) > MOST_COPIES:
            lines.append(f"  and {len(products) - MOST_COPIES} more; --json has them all")
    if len(story.origins) > MOST_COPIES:
        lines.append(f"and {len(story.origins) - MOST_COPIES} more hops; --json has them all")
    return [*lines, ""] if lines else []


def _product_text(product: dict[str, Any]) -> str:
    """`a_0-24.mp4: 1 s to 2.5 s of a.mp4`."""
    if product["path"] == product["parent_path"]:
        return f"{product['path']}: the video itself, nothing was to do"
    begin, end = product["begin_seconds"], product["end_seconds"]
    when = f"{begin:.6g} s to {end:.6g} s of " if end > begin else f"at {begin:.6g} s of " if begin or end else "of "
    return f"{product['path'] or 'words'}: {when}{product['parent_path']}"


def _print_descendants(out: Console, story: Story) -> None:
    rows = [
        (
            one["sample_id"],
            one["recipe"],
            one["made_by"],
            str(one["products"]),
            one["outcome"] or "not decided yet" if one["status"] == "ok" else one["status"],
        )
        for one in story.descendants
    ]
    print_table(out, ("became", "recipe", "by", "products", "verdict"), rows[:MOST_COPIES], numbers=("products",))
    if len(rows) > MOST_COPIES:
        print_lines(out, [f"and {len(rows) - MOST_COPIES} more samples; --json has them all", ""])


def _value(row: dict[str, Any]) -> str:
    return f"{row['value']:.6g}" if row["value"] is not None else f"none: {row['status']}"


def _cost(row: dict[str, Any]) -> str:
    return f"{row['cost_seconds']:.3f}"


def _windows(values: list[float]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:MOST_WINDOWS])
    more = f" and {len(values) - MOST_WINDOWS} more" if len(values) > MOST_WINDOWS else ""
    return f"{shown}{more}, from {min(values):.4g} to {max(values):.4g}"


def _print_decision(out: Console, decision: Decision) -> None:
    print_lines(
        out, [f"{decision.sample_id} in recipe {decision.recipe}, shard {decision.shard}: {verdict_text(decision)}"]
    )
    rows = [
        (one.step, one.stat, _number_text(one), one.bound, margin_text(one), one.path if one.field else "(the record)")
        for one in decision.numbers
    ]
    print_table(out, ("step", "stat", "value", "keeps", "margin", "video"), rows, numbers=("margin",))
    lines = [f"decided {decision.created_at} by run {decision.run_id or '?'}"]
    if not decision.bounds_from:
        lines.append("bounds of the other steps: no export says them that is as new as the verdict")
    for one in decision.exported:
        age = "" if one.is_current else ", written before this verdict"
        lines.append(f"exported to {one.path} ({one.section}{age})")
    print_lines(out, [*lines, ""])


def verdict_text(decision: Decision) -> str:
    """`dropped by video_motion_score_filter: not video_motion_score >= 2`, or the reason that a step over the whole
    dataset gives."""
    if decision.outcome == "kept":
        return "kept"
    if decision.outcome == "dropped":
        return f"dropped by {decision.step}: {decision.reason or f'not {decision.bound}'}"
    step = f" at {decision.step}" if decision.step else ""
    return f"undecided{step}: {decision.status}, {decision.reason}"


def _number_text(number: Number) -> str:
    return f"{number.value:.6g}" if number.value is not None else f"none: {number.status}"


def margin_text(number: Number) -> str:
    """`+1.52` inside the bounds, `-0.4` outside, empty where one of the two numbers is not known."""
    return "" if number.margin is None else f"{number.margin:+.4g}"
