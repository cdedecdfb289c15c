"""`dj-assets evidence`: pictures that explain numbers and verdicts, from what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dj_assets.cli.check import named_recipe
from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import FAILED, OK, UNDECIDED
from dj_assets.cli.verbosity import verbose_option
from dj_assets.errors import RecipeError, StoreError

if TYPE_CHECKING:
    from dj_assets.evidence import Drawn, Exhibit, Near
    from dj_assets.evidence.asked import Asked, Decided
    from dj_assets.plan import Plan, Step
    from dj_assets.store.store import Store

Row = tuple[str, str, str, str]
"""Step, number, what it keeps, and the picture."""

DEFAULT_COUNT = 2
"""Of each kind, where neither a video nor a number was given."""


@click.command(
    name="evidence",
    epilog="""\b
Examples:
  dj-assets evidence vids/video1.mp4 --recipe recipes/video_space.yaml
  dj-assets evidence ds.jsonl:2 --recipe video_time -o /tmp/why
  dj-assets evidence --recipe video_time --boundary 5

\b
Exit codes:
  0    every picture was drawn
  1    one could not be drawn; the table says why
  2    the recipe or the command line cannot be right; nothing was drawn
  3    something asked for was never measured, or has no number
""",
)
@click.argument("asked", metavar="[VIDEO]", required=False)
@click.option("--recipe", required=True, metavar="RECIPE", help="Whose steps explain it; its file, or its name.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the pictures go. Default: <export>_evidence beside the export.",
)
@click.option("--kept", type=click.IntRange(min=0), metavar="N", help="Draw N kept samples.")
@click.option("--dropped", type=click.IntRange(min=0), metavar="N", help="Draw N dropped samples.")
@click.option("--boundary", type=click.IntRange(min=0), metavar="N", help="Draw the N nearest each bound, either side.")
@click.option("--operator", "step", default="", metavar="STEP", help="Of this step alone; its key, or its operator.")
@verbose_option
def command(
    asked: str | None,
    recipe: str,
    folder: Path | None,
    kept: int | None,
    dropped: int | None,
    boundary: int | None,
    step: str,
) -> None:
    """Draw what the operators saw: text boxes on frames, motion as colour, curves.

    VIDEO is a path, a content hash or a sample id, as dj-assets why takes it: a sheet of every step that has a number
    for it, whether the recipe was processed on it or not. Without VIDEO, samples of the recipe are drawn; by default 2
    of each kind. Nothing is measured, and only what is shown is decoded.
    """
    from dj_assets.defs.project import store_root
    from dj_assets.evidence import evidence_folder
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe
    from dj_assets.store.store import Store

    plan = make_plan(load_recipe(named_recipe(recipe)))
    whole = _only(replace(plan, steps=plan.every_step), step)
    store = Store(store_root())
    counts = (kept, dropped, boundary)
    if asked is None:
        default = DEFAULT_COUNT if counts == (None, None, None) else 0
        codes = [OK]
        for stage in plan.stages:
            shown = replace(stage, steps=tuple(one for one in stage.steps if one in whole.steps))
            if not shown.steps and len(plan.stages) > 1:
                continue  # there is nothing to draw between two mappers
            into = _folder_of(stage, folder) if folder else evidence_folder(stage.recipe)
            wanted = (default if count is None else count for count in counts)
            codes.append(_of_recipe(store, stage, shown, into.absolute(), *wanted))
        code = max(codes)
    elif counts == (None, None, None):
        code = _of_video(store, plan, whole.steps, asked, (folder or evidence_folder(plan.recipe)).absolute())
    else:
        raise RecipeError(
            "a video and a number of samples were given",
            allowed="VIDEO, or some of --kept --dropped --boundary",
            try_=f"dj-assets evidence --recipe {recipe} --boundary 5",
            file="command line",
        )
    click.get_current_context().exit(code)


def _folder_of(stage: Plan, folder: Path) -> Path:
    """Where the pictures of a stage go: the folder that was named; for the stages before a mapper, one in it."""
    return folder / stage.recipe.name if stage.recipe.stage_of else folder


def _only(plan: Plan, wanted: str) -> Plan:
    """The plan with the steps of that name alone; whole without one."""
    if not wanted:
        return plan
    steps = tuple(step for step in plan.steps if wanted in (step.key, step.operator.name))
    if not steps:
        raise RecipeError(
            f"--operator {wanted!r} is no step of {plan.recipe.name}",
            allowed=", ".join(step.key for step in plan.steps) or "the recipe has no steps",
            try_="leave it out to see all",
            file="command line",
        )
    return replace(plan, steps=steps)


# --- one video


def _of_video(store: Store, plan: Plan, steps: Sequence[Step], asked: str, folder: Path) -> int:
    """plan: the recipe's, with its stages. steps: those to draw, of any stage."""
    from dj_assets.evidence.asked import find_asked

    out = console()
    rows: list[Row] = []
    codes = []
    shown = replace(plan, steps=tuple(steps))
    for found in find_asked(store, shown, asked):
        content = found.video.content_hash
        print_lines(out, [f"{found.video.path}, content {content or 'not known'}", *filter(None, [found.stream]), ""])
        for step in shown.measured_steps:
            code, told = _of_step(plan, step, found, folder)
            codes.append(code)
            rows += told
    print_table(out, ("step", "number", "keeps", "picture, or why there is none"), rows)
    if folder.is_dir():
        print_lines(out, [f"pictures are in {folder}"])
    return FAILED if FAILED in codes else UNDECIDED if UNDECIDED in codes or not codes else OK


def _of_step(plan: Plan, step: Step, found: Asked, folder: Path) -> tuple[int, list[Row]]:
    """(exit code, lines of the table) of one video under one step; draws where there is something to draw."""
    from dj_assets.evidence import file_name, title_of, write_pictures
    from dj_assets.evidence.asked import passes, telling

    if step.is_about_samples:
        return OK, [(step.key, "", step.keeps, "looks at records, not at videos; there is nothing to draw")]
    facts = found.facts.get(step.key, ())
    stage = next(stage for stage in plan.stages if any(step.key == one.key for one in stage.steps))
    if not facts and found.stages and stage.recipe.name not in found.stages:
        whose = f"what {stage.made_by.key} makes" if stage.made_by else "the dataset's own videos"
        return OK, [(step.key, "", step.keeps, f"not asked: it looks at {whose}")]
    if not facts:
        why = f"not measured: dj-assets process {plan.recipe.file} does, if its dataset lists the video"
        return UNDECIDED, [(step.key, "none", step.keeps, why)]
    does = {True: "passes", False: "fails", None: "undecided"}[passes(step, facts)]
    numbers = ", ".join(f"{fact.value:.6g}" if fact.value is not None else f"none: {fact.status}" for fact in facts)
    head = (step.key, numbers, f"{step.keeps}: {does}")
    if any(fact.value is None for fact in facts):
        return UNDECIDED, [(*head, "; ".join(fact.reason for fact in facts if fact.reason))]
    if step.operator.plan is None:
        return OK, [(*head, found.stream or "read from the header; there is nothing to draw")]
    fact = telling(step, facts)
    name = file_name(Path(found.video.path).stem, fact.content_hash[:8], step.key)
    drawn = write_pictures(
        step,
        found.video,
        fact,
        title=f"{title_of(step, fact, does)}   {Path(found.video.path).name}",
        outcome={"passes": "kept", "fails": "dropped"}.get(does, ""),
        path=folder / f"{name}.jpg",
        roots=found.roots,
        limits=plan.recipe.settings.limits,
    )
    is_drawn = all(one.path is not None for one in drawn)
    return OK if is_drawn else FAILED, [(*head, _told(one, folder)) for one in drawn]


def _told(drawn: Drawn, folder: Path) -> str:
    """Where a picture is, below the folder, or why there is none."""
    return drawn.problem if drawn.path is None else str(drawn.path.relative_to(folder))


# --- a recipe's samples


def _of_recipe(store: Store, plan: Plan, shown: Plan, folder: Path, kept: int, dropped: int, boundary: int) -> int:
    """plan: by which the shards were decided. shown: the same with the steps to draw alone."""
    from dj_assets.evidence import choose, near_bounds, nearest, write_evidence

    exhibits: list[Exhibit] = []
    near: list[Near] = []
    num_seen = 0
    left = {"kept": kept, "dropped": dropped}
    for shard in _decided(store, plan):
        given = (shown, shard.samples, shard.verdicts, shard.tables)
        found = choose(*given, kept=left["kept"], dropped=left["dropped"])
        exhibits += found
        for outcome in left:
            left[outcome] -= len({one.sample.sample_id for one in found if one.verdict == outcome})
        near = nearest([*near, *near_bounds(*given, count=boundary)], boundary)
        num_seen += len(shard.samples)
        if not boundary and not any(left.values()):
            break
    drawn: list[Drawn] = write_evidence(exhibits, plan, roots=plan.roots, folder=folder)
    drawn += _boundary(plan, near, folder)
    out = console()
    rows = [(one.path.parent.name if one.path else "none", _told(one, folder)) for one in drawn]
    print_table(out, ("drawn for", "picture, or why there is none"), rows)
    num_drawn = sum(one.path is not None for one in drawn)
    print_lines(out, [f"{counted(num_drawn, 'picture')} of {counted(num_seen, 'sample')} looked through, in {folder}"])
    return FAILED if num_drawn < len(drawn) else OK


def _decided(store: Store, plan: Plan) -> Iterator[Decided]:
    """The recipe's shards that were decided as it stands. Says of the others why not; raises where there is none."""
    from dj_assets.evidence.asked import read_decided

    err, num_read, last = console(stderr=True), 0, None
    shards = store.decided_shards(plan.recipe.name)
    for shard in shards:
        try:
            yield read_decided(store, plan, shard)
            num_read += 1
        except StoreError as error:
            print_lines(err, [f"left out: {error.one_line()}"])
            last = error
    if not num_read:
        raise last or StoreError(
            f"{plan.recipe.name} has no verdicts in {store.root}",
            allowed="a recipe that was processed",
            try_=f"dj-assets process {plan.recipe.file}",
        )


def _boundary(plan: Plan, near: Sequence[Near], folder: Path) -> list[Drawn]:
    """A contact sheet of those nearest the bounds, and a sheet of each."""
    from dj_assets.evidence import Exhibit, contact_sheet, near_sections, write_evidence, write_one

    if not near:
        return []
    title = f"{plan.recipe.name}: nearest the bounds"
    limits = plan.recipe.settings.limits
    sheet = write_one(
        folder / "boundary" / "contact_sheet.jpg",
        lambda: contact_sheet(near_sections(near), title=title, roots=plan.roots, limits=limits),
    )
    exhibits = [Exhibit("boundary", one.sample, one.video, one.step, one.fact, one.verdict.outcome) for one in near]
    return [sheet, *write_evidence(exhibits, plan, roots=plan.roots, folder=folder)]
