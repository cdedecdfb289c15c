"""`dj-assets diff`: what another recipe, or an earlier one, would keep instead. Decodes nothing but thumbnails."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dj_assets.cli.arguments import TAKES_OVERRIDES
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import CANNOT_TELL, DIFFERS, OK
from dj_assets.cli.verbosity import verbose_option
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.cli.diff_samples import Samples
    from dj_assets.diff import Diff, Moved
    from dj_assets.plan import Plan

FORMAT = 1
"""Of the JSON object; raised when a key changes its meaning."""

MOST_PRINTED = 20


@dataclass(frozen=True)
class Asked:
    """Two recipes to compare. *_name: how to call them. *_command: what to type to measure each; it exports nothing."""

    old: Plan
    new: Plan
    old_name: str
    new_name: str
    old_command: str
    new_command: str


@click.command(
    name="diff",
    context_settings=TAKES_OVERRIDES,
    epilog="""\b
Examples:
  dj-assets diff recipes/strict.yaml recipes/loose.yaml
  dj-assets diff recipes/video_time.yaml --git HEAD~1 -o diff.html
  dj-assets diff a.yaml a.yaml --video_motion_score_filter.min_score 3
  dj-assets diff a.yaml --git origin/main --json --exit-code

\b
Exit codes:
  0    told; with --exit-code: nothing enters or leaves
  1    the store cannot be read, or a fault of the software
  2    a recipe, the revision or the command line cannot be right
  4    with --exit-code: some sample enters or leaves
  5    with --exit-code: none is known to, but of some it cannot be known
""",
)
@click.argument("tokens", nargs=-1, type=click.UNPROCESSED, metavar="OLD NEW [--KEY VALUE]...")
@click.option("--git", "revision", metavar="REV", help="Compare one recipe with what it was at this git revision.")
@click.option("--over", metavar="DATASET", help="Compare over this dataset, whichever the recipes name.")
@click.option("--stored", is_flag=True, help="Compare over the samples of the last run; no dataset is read.")
@click.option("--most", type=click.IntRange(min=0), metavar="N", help="Samples to list of each kind. [20; JSON: 1000]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="HTML", help="Write a page with thumbnails.")
@click.option("--no-thumbnails", is_flag=True, help="A page without pictures; nothing is decoded for it.")
@click.option("--exit-code", "tells_by_code", is_flag=True, help="Exit with 4 where some sample enters or leaves.")
@verbose_option
def command(
    tokens: tuple[str, ...],
    revision: str | None,
    over: str | None,
    stored: bool,
    most: int | None,
    as_json: bool,
    output: Path | None,
    no_thumbnails: bool,
    tells_by_code: bool,
) -> None:
    """Say which samples enter and leave the export from OLD to NEW, and by which step.

    Overrides, as process takes them, apply to NEW. Goes by the numbers that the store has; what nobody has measured is
    said to be unknown, with what to run. Decodes nothing, but one frame for each thumbnail of a page.
    """
    from dj_assets.cli.diff_samples import columns_of_both
    from dj_assets.defs.project import store_root
    from dj_assets.diff import MOST_LISTED, compare
    from dj_assets.plan import refuse_mappers
    from dj_assets.store.store import Store

    asked = _read(tokens, revision, over)
    for plan in (asked.old, asked.new):
        refuse_mappers(plan, "diff", try_="process both recipes, and compare their exports: dj-assets sql on verdicts")
    samples = columns_of_both(asked.old, asked.new, Store(store_root()), stored=stored)
    diff = compare(samples.old, samples.new, most=MOST_LISTED if most is None else most)
    if as_json:
        click.echo(_json_text(as_record(asked, samples, diff)))
    else:
        print_diff(console(), asked, samples, diff, most=MOST_PRINTED if most is None else most)
    if output is not None:
        _write_page(output, asked, samples, diff, with_thumbnails=not no_thumbnails)
    code = DIFFERS if diff.num_entering or diff.num_leaving else CANNOT_TELL if diff.num_unknown else OK
    click.get_current_context().exit(code if tells_by_code else OK)


def _read(tokens: Sequence[str], revision: str | None, over: str | None) -> Asked:
    from dj_assets.cli.git import read_revision
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    names, overrides = _split(tokens, wanted=2 if revision is None else 1)
    path = Path(names[-1])
    dataset = ("--dataset_path", over) if over else ()
    new = make_plan(load_recipe(path, (*overrides, *dataset)))
    new_command = _analyze(names[-1], *overrides, *dataset)
    if revision is None:
        old = make_plan(load_recipe(names[0], dataset))
        return Asked(old, new, names[0], names[-1], _analyze(names[0], *dataset), new_command)
    shown_as = f"{revision}:{names[0]}"
    old = make_plan(load_recipe(path, dataset, content=read_revision(path, revision), shown_as=shown_as))
    return Asked(old, new, shown_as, names[-1], _analyze_revision(path, revision, dataset), new_command)


def _analyze(*arguments: str) -> str:
    """What measures a recipe's videos. Not `process`, which would export: a glance at an older recipe, or over another
    dataset, must not put its samples in place of the export."""
    return shlex.join(["dj-assets", "analyze", *arguments])


def _analyze_revision(path: Path, revision: str, dataset: Sequence[str]) -> str:
    """The same of a recipe as it was, saved into the working directory, where its relative paths mean what they did."""
    real = path.resolve()
    folder, saved = os.path.relpath(real.parent), f"old_{real.name}"
    show = ["git", "-C", folder, "show", f"{revision}:./{real.name}"]
    analyze = _analyze(saved, *dataset, "-o", f"old_{real.stem}_analysis")
    return f"{shlex.join(show)} > {shlex.quote(saved)} && {analyze}"


def _split(tokens: Sequence[str], *, wanted: int) -> tuple[list[str], list[str]]:
    """Recipes, which come first, and the overrides after them."""
    first = next((place for place, token in enumerate(tokens) if token.startswith("--")), len(tokens))
    names, overrides = list(tokens[:first]), list(tokens[first:])
    if len(names) != wanted:
        raise RecipeError(
            f"{counted(len(names), 'recipe')} named{': ' + ', '.join(names) if names else ''}",
            allowed="one recipe with --git REV, and then overrides"
            if wanted == 1
            else "two recipes, the old one first, and then overrides; or one with --git REV",
            try_="dj-assets diff recipes/NAME.yaml --git HEAD" if wanted == 1 else "dj-assets diff OLD.yaml NEW.yaml",
            file="command line",
        )
    return names, overrides


def _write_page(output: Path, asked: Asked, samples: Samples, diff: Diff, *, with_thumbnails: bool) -> None:
    from dj_assets.diff.page import Heading, Thumbnails, page
    from dj_assets.store.files import write_atomically

    heading = Heading(asked.old_name, asked.new_name, samples.words(), asked.old_command, asked.new_command)
    thumbnails = Thumbnails(asked.new.roots, asked.new.recipe.settings.limits) if with_thumbnails else None
    text = page(diff, heading, thumbnails)

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(output, write)
    drawn = thumbnails.drawn if thumbnails else 0
    print_lines(console(stderr=True), [f"wrote {output}; decoded one frame of {counted(drawn, 'video')}"])


# --- for people


def print_diff(out: Console, asked: Asked, samples: Samples, diff: Diff, *, most: int) -> None:
    """Changes, counts, flows, then the samples, at most so many of each kind."""
    print_lines(out, [f"{asked.old_name} → {asked.new_name}", f"{samples.words()}; 0 videos decoded", ""])
    changes = [
        (one.what, one.kind if not one.option else one.option, one.old, one.new, _remark(one)) for one in diff.changes
    ]
    print_table(out, ("what changed", "option", "old", "new", ""), changes)
    if not changes:
        print_lines(out, ["the recipes mean the same", ""])
    print_table(out, ("outcome", "because of", "old", "new"), list(_total_rows(diff)), numbers=("old", "new"))
    flows = [(_flow(f.old, f.old_by), _flow(f.new, f.new_by), str(f.samples)) for f in diff.flows if not _stays(f)]
    print_table(out, ("was", "is", "samples"), flows, numbers=("samples",))
    _print_samples(out, "enters", diff.entering, diff.num_entering, most)
    _print_samples(out, "leaves", diff.leaving, diff.num_leaving, most)
    _print_samples(out, "dropped by another step", diff.changed_cause, diff.num_changed_cause, most)
    _print_samples(out, "cannot be known", diff.unknown, diff.num_unknown, most)
    gaps = [(one.side, one.step, str(one.samples), str(one.videos)) for one in diff.gaps]
    print_table(out, ("not measured in", "step", "samples", "videos"), gaps, numbers=("samples", "videos"))
    print_lines(out, [*closing_lines(diff), *(f"  try: {line}" for line in _commands(asked, diff))])


def closing_lines(diff: Diff) -> Iterator[str]:
    """What it comes to, and what has to be said with it."""
    cause = f", {diff.num_changed_cause} dropped by another step" if diff.num_changed_cause else ""
    yield f"{diff.num_entering} enter, {diff.num_leaving} leave{cause}, of {counted(diff.samples, 'sample')}"
    if diff.asked_again:
        yield (
            f"{counted(diff.asked_again, 'sample')} undecided for a reason that a run asks again (timed_out, crashed, "
            "too_large); taken as they came out last"
        )
    if diff.num_unknown:
        yield f"{counted(diff.num_unknown, 'sample')} cannot be known: counted neither as entering nor as leaving"


def _commands(asked: Asked, diff: Diff) -> Iterator[str]:
    sides = {gap.side for gap in diff.gaps}
    if "new" in sides:
        yield asked.new_command
    if "old" in sides:
        yield asked.old_command


def _remark(change: Any) -> str:
    if change.measures_anew:
        return "another measure"
    return "" if change.moves_verdicts else "moves no verdict"


def _total_rows(diff: Diff) -> Iterator[tuple[str, str, str, str]]:
    old, new = diff.old, diff.new
    yield "kept", "", str(old.kept), str(new.kept)
    for key in dict.fromkeys([*new.dropped, *old.dropped]):
        counts = [str(one.dropped[key]) if key in one.dropped else "" for one in (old, new)]
        yield "dropped", key, counts[0], counts[1]
    for status in sorted({*old.undecided, *new.undecided}):
        yield "undecided", status, str(old.undecided.get(status, 0)), str(new.undecided.get(status, 0))
    if old.not_measured or new.not_measured:
        yield "not measured", "", str(old.not_measured), str(new.not_measured)
    yield "exported", "for certain", str(old.exported), str(new.exported)


def _stays(flow: Any) -> bool:
    return (flow.old, flow.old_by) == (flow.new, flow.new_by)


def _flow(outcome: str, by: str) -> str:
    words = outcome.replace("_", " ")
    if outcome == "absent":
        return "not in the dataset"
    return f"dropped by {by}" if outcome == "dropped" else f"{words}: {by}" if by else words


def _print_samples(out: Console, title: str, moved: Sequence[Moved], count: int, most: int) -> None:
    from dj_assets.diff.words import standing_text

    rows = [
        (one.sample_id, ", ".join(video.given for video in one.videos), standing_text(one.old), standing_text(one.new))
        for one in moved[:most]
    ]
    print_table(out, (f"{title} ({count})", "videos", "was", "is"), rows)
    if rows and len(rows) < count:
        print_lines(out, [f"and {count - len(rows)} more; --most N and --json list more", ""])


# --- for machines


def as_record(asked: Asked, samples: Samples, diff: Diff) -> dict[str, Any]:
    """The whole as plain JSON values, keys as docs/cli.md lists them."""
    lists = {
        "entering": (diff.entering, diff.num_entering),
        "leaving": (diff.leaving, diff.num_leaving),
        "changed_cause": (diff.changed_cause, diff.num_changed_cause),
        "cannot_be_known": (diff.unknown, diff.num_unknown),
    }
    return {
        "format": FORMAT,
        "old": _side(asked.old, asked.old_name, asdict(diff.old)),
        "new": _side(asked.new, asked.new_name, asdict(diff.new)),
        "samples": diff.samples,
        "samples_from": samples.source,
        "why_stored": samples.why_stored,
        "changes": [{**asdict(one), "text": str(one)} for one in diff.changes],
        "counts": {name: count for name, (_, count) in lists.items()},
        "asked_again": diff.asked_again,
        "flows": [asdict(flow) for flow in diff.flows],
        **{name: [_moved(one) for one in moved] for name, (moved, _) in lists.items()},
        "not_listed": {name: count - len(moved) for name, (moved, count) in lists.items()},
        "not_measured": [asdict(gap) for gap in diff.gaps],
        "try": list(_commands(asked, diff)),
    }


def _side(plan: Plan, name: str, totals: Mapping[str, Any]) -> dict[str, Any]:
    recipe = plan.recipe
    return {
        "recipe": recipe.name,
        "file": name,
        "sha256": recipe.sha256,
        "dataset_path": str(recipe.dataset_path),
        "on_undecided": recipe.settings.on_undecided,
        **totals,
    }


def _moved(one: Moved) -> dict[str, Any]:
    videos = [{"field": v.field, "path": v.given, "content_hash": v.content_hash} for v in one.videos]
    place = {"sample_id": one.sample_id, "drop": one.drop, "line_number": one.line_number}
    return {**place, "videos": videos, "old": asdict(one.old), "new": asdict(one.new)}


def _json_text(record: Any) -> str:
    """JSON that any parser reads: no NaN, and half a surrogate pair as its escape."""
    text = json.dumps(_finite(record), ensure_ascii=False, indent=2, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
