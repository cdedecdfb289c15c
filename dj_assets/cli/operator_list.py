"""What a recipe may name, the options that each operator takes, and what of Data-Juicer's is refused here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dj_assets.cli.console import print_lines, print_table
from dj_assets.errors import DjAssetsError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.operators import AnyOperator
    from dj_assets.operators._contract import Bound, Operator

NO_LIMIT = 2**63 - 1
"""Upstream's defaults that mean no bound at all: the greatest integer, the greatest float."""


def print_operators(out: Console, names: Sequence[str] = ()) -> None:
    """A table of operators, one of each operator's options, and those of Data-Juicer's that are refused.

    names: only these. Raises `RecipeError` for a name that cannot be in a recipe, and `DjAssetsError`, after the
    tables, where an outside package's operator cannot be imported.
    """
    from dj_assets import operators
    from dj_assets.step_options import VERDICT_OPTIONS

    if names:
        for name in names:
            _print_options(out, operators.get(name))
        return
    known: list[AnyOperator] = []
    faults: list[str] = []
    for name in operators.names():
        try:
            known.append(operators.get(name))
        except Exception as error:  # of a package that is not ours: it must not hide the operators that work
            faults.append(f"{name} ({operators.locations()[name]}): {type(error).__name__}: {error}")
    rows = [(one.name, one.kind, _compute(one), one.summary) for one in known]
    print_table(out, ("operator", "kind", "pass", "what it goes by"), rows)
    for operator in known:
        _print_options(out, operator)
    every = ", ".join([*VERDICT_OPTIONS, "video_key", "accelerator"])
    print_lines(out, [f"Every filter takes these as well: {every}.", ""])
    _print_refused(out)
    if faults:
        raise DjAssetsError(
            "operators that cannot be imported: " + "; ".join(faults),
            allowed="modules that hold an OPERATOR",
            try_="mend or remove the package that brings them",
        )


def _compute(operator: Any) -> str:
    """The pass that it belongs to; `dataset` for one that looks at all samples and measures none of them."""
    measure = getattr(operator, "measure", operator)
    return measure.compute if measure is not None else "dataset"


def _print_options(out: Console, operator: Any) -> None:
    options = [
        *_param_rows(operator),
        *(_bound_row(operator, bound) for bound in getattr(operator, "bounds", ())),
        *(_engine_rows(operator) if operator.kind == "mapper" else ()),
        *((name, "", "nothing", reason) for name, reason in operator.ignored.items()),
        *((name, "Data-Juicer's", "no other value is taken", remedy) for name, remedy in operator.refused.items()),
    ]
    print_table(out, (operator.name, "default", "moves", "meaning"), options)


def _param_rows(operator: Any) -> Iterator[tuple[str, ...]]:
    """Options of what it measures, and of what it does with that."""
    measure = getattr(operator, "measure", None)
    moves = {"filter": "the number", "mapper": "what is made"}.get(operator.kind, "the choice")
    parts = [(measure, "the number")] if measure is not None else []
    for part, what in [*parts, (operator, moves)]:
        for name, info in part.params.model_fields.items():
            default = info.get_default(call_default_factory=True)
            shown = "required" if info.is_required() else json.dumps(default, ensure_ascii=False, default=str)
            yield name, shown, "nothing" if name in part.params.whereabouts else what, info.description or ""


def _bound_row(operator: Operator, bound: Bound) -> tuple[str, ...]:
    unit = next(stat.unit for stat in operator.stats if stat.name == bound.stat)
    least = "least" if bound.side == "min" else "most"
    default = "no limit" if abs(bound.default) >= NO_LIMIT else f"{bound.default:g}"
    return bound.option, default, "the verdict", f"{bound.stat} at {least}: {bound.help or unit}"


def _engine_rows(mapper: Any) -> Iterator[tuple[str, ...]]:
    """Options of a mapper that change none of its products."""
    known = {
        mapper.keeps_original: ("true", "true: the sample itself stays, before what is made of it"),
        mapper.frames_option: ("video_frames", "manifest field of the pictures"),
        mapper.folder_option: ("null", "folder of what is made; null: beside each video"),
        "clip_per_sample": ("false", "true: each piece is a sample of its own"),
    }
    for name in mapper.engine_options:
        yield name, known[name][0], "where it goes", known[name][1]
    for old, new in mapper.aliases.items():
        yield old, "", "what is made", f"older name of {new}"


def _print_refused(out: Console) -> None:
    """Data-Juicer's operators that no package provides: the ones on videos one by one, the others by group."""
    from dj_assets import operators
    from dj_assets.operator_table import refused_groups
    from dj_assets.operators import _upstream

    provided = set(operators.names())
    refused = {name: one for name, one in sorted(_upstream.KNOWN.items()) if name not in provided}
    rows = [
        (name, one.does, one.reason or _upstream.NOT_BUILT, one.instead or "take the step out")
        for name, one in refused.items()
    ]
    print_lines(out, [f"Refused here, of {_upstream.RELEASE}:"])
    print_table(out, ("operator", "what it finds or makes", "why it is refused", "instead"), rows)
    others = ", ".join(f"{len(names)} on {group.about}" for group, names in refused_groups() if names)
    print_lines(out, [f"Refused as well: {others}. `dj-assets operators NAME` says why."])
