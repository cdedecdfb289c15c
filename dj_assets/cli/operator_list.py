"""`dj-assets check --operators`: what a recipe may name, and the options that each operator takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dj_assets.cli.console import print_lines, print_table
from dj_assets.errors import DjAssetsError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.operators._contract import Bound, Operator

NO_LIMIT = 2**63 - 1
"""Upstream's defaults that mean no bound at all: the greatest integer, the greatest float."""


def print_operators(out: Console) -> None:
    """A table of all operators, and one of each operator's options.

    Raises `DjAssetsError`, after the tables, where an outside package's operator cannot be imported.
    """
    from dj_assets import operators
    from dj_assets.plan import VERDICT_OPTIONS

    known: list[Operator] = []
    faults: list[str] = []
    for name in operators.names():
        try:
            known.append(operators.get(name))
        except Exception as error:  # of a package that is not ours: it must not hide the operators that work
            faults.append(f"{name} ({operators.locations()[name]}): {type(error).__name__}: {error}")
    rows = [(operator.name, operator.compute, operator.summary) for operator in known]
    print_table(out, ("operator", "pass", "keeps or drops videos by"), rows)
    for operator in known:
        bounds = operator.bounds if operator.kind == "filter" else ()
        options = [*_param_rows(operator), *(_bound_row(operator, bound) for bound in bounds)]
        print_table(out, (operator.name, "default", "moves", "meaning"), options)
    every = ", ".join([*VERDICT_OPTIONS, "video_key", "accelerator"])
    print_lines(out, [f"Every filter takes these as well: {every}."])
    if faults:
        raise DjAssetsError(
            "operators that cannot be imported: " + "; ".join(faults),
            allowed="modules that hold an OPERATOR",
            try_="mend or remove the package that brings them",
        )


def _param_rows(operator: Operator) -> Iterator[tuple[str, ...]]:
    for name, info in operator.params.model_fields.items():
        default = info.get_default(call_default_factory=True)
        shown = "required" if info.is_required() else json.dumps(default, ensure_ascii=False, default=str)
        moves = "nothing" if name in operator.params.whereabouts else "the number"
        yield name, shown, moves, info.description or ""


def _bound_row(operator: Operator, bound: Bound) -> tuple[str, ...]:
    unit = next(stat.unit for stat in operator.stats if stat.name == bound.stat)
    least = "least" if bound.side == "min" else "most"
    default = "no limit" if abs(bound.default) >= NO_LIMIT else f"{bound.default:g}"
    return bound.option, default, "the verdict", f"{bound.stat} at {least}: {bound.help or unit}"
