"""What `process` and `plan` say before they begin: the resolved configuration, notes and warnings, the steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dj_assets.cli.console import print_lines, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.operators._contract import Device, Params
    from dj_assets.plan import MapperStep, Plan, Step
    from dj_assets.recipe import Recipe


def print_plan(out: Console, plan: Plan) -> None:
    """Configuration, notes, warnings and steps of a plan, each once."""
    from dj_assets.plan import lacking

    print_lines(out, [f"recipe {plan.recipe.name}", ""])
    print_table(out, ("key", "value", "set in"), _configuration(plan.recipe))
    warnings = [*plan.warnings, *(error.one_line() for _, error in lacking(plan.all_steps))]
    remarks = [*(f"note: {note}" for note in plan.notes), *(f"warning: {warning}" for warning in warnings)]
    print_lines(out, [*remarks, ""] if remarks else [])
    headings = ("step", "operator", "pass", "params", "keeps", "measure")
    print_table(out, headings, [_step_cells(step) for step in plan.all_steps], numbers=("step",))


def _configuration(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    for key, value in recipe.resolved.items():
        if not key.startswith("process."):  # the steps have a table of their own
            yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _place(recipe, key)


def _place(recipe: Recipe, key: str) -> str:
    if key not in recipe.places:
        return "default"
    file, line = recipe.places[key]
    return f"{file}:{line}" if line else file


def _step_cells(step: Step | MapperStep) -> tuple[str, ...]:
    from dj_assets.plan import MapperStep

    computed_on = f"{step.compute} (on {step.device})" if step.compute == "gpu" else step.compute
    if isinstance(step, MapperStep):
        return str(step.number), step.key, computed_on, changed_params(step), makes(step), step.measure_id
    if not step.operator.stats:
        return str(step.number), step.key, "none", changed_params(step), step.keeps, "none"
    is_usual = step.rule is not None or step.any_or_all == step.operator.any_or_all_default
    keeps = step.keeps + ("" if is_usual else f" ({step.any_or_all} of the videos)")
    return str(step.number), step.key, computed_on, changed_params(step), keeps, step.measure_id


def makes(step: MapperStep) -> str:
    """What becomes of a sample, in the column of what filters keep: `makes clips, the original stays`."""
    each = ", each a sample" if step.clip_per_sample else ""
    stays = ", the original stays" if step.keeps_original else ""
    return f"makes {step.mapper.role}{each}{stays}"


def changed_params(step: Step | MapperStep) -> str:
    """The params that differ from their defaults on the step's device, as `frame_sample_num=5`; `defaults` for none."""
    rule = getattr(step, "rule", None)
    every = [step.params, *([rule.params] if rule is not None else [])]
    return ", ".join(shown for params in every for shown in _changed(params, step.device)) or "defaults"


def _changed(params: Params, device: Device) -> Iterator[str]:
    defaults = type(params).model_construct().on(device).model_dump(mode="json")
    for name, value in params.model_dump(mode="json").items():
        if name not in defaults or value != defaults[name]:
            yield f"{name}={json.dumps(value, ensure_ascii=False)}"
