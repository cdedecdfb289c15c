"""Look at records with steps on records, as a run would: plan, tables, verdicts; no file, no video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dj_assets import operators
from dj_assets.decide import decide
from dj_assets.errors import NoValue
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import Recipe, Settings, StepSource
from dj_assets.records import tables_of
from dj_assets.samples import Sample
from dj_assets.store.rows import Verdict

Record = Mapping[str, Any]


def judged(operator: str, record: Record, **params: Any) -> float | str:
    """The number that an operator finds in a record, or its status. Fails the test on a fault of the operator."""
    declared = operators.get(operator)
    assert declared.judge is not None
    try:
        [value] = declared.judge(record, declared.params(**params))
    except NoValue as error:
        assert error.given and error.allowed and error.try_, "a message has three parts"
        return error.status
    return value


def plan_of(*steps: tuple[str, Mapping[str, Any]], **recipe: Any) -> Plan:
    """The plan of a recipe with these steps. recipe: fields of `Recipe`, and of its settings."""
    settings = {name: recipe.pop(name) for name in list(recipe) if name in Settings.model_fields}
    sources = tuple(StepSource(number, *step) for number, step in enumerate(steps, start=1))
    return make_plan(
        Recipe(
            name="r",
            file="recipes/r.yaml",
            sha256="0" * 64,
            dataset_path=recipe.pop("dataset_path", Path("/data/ds.jsonl")),
            export_path=recipe.pop("export_path", Path("/out/res.jsonl")),
            steps=sources,
            settings=Settings(**settings),
            **recipe,
        )
    )


def samples_of(records: Sequence[Record]) -> list[Sample]:
    """A sample per record, without videos."""
    return [Sample(f"ds.jsonl:{n}", "ds.jsonl", n, dict(record)) for n, record in enumerate(records, start=1)]


def verdicts_on(plan: Plan, records: Sequence[Record]) -> list[Verdict]:
    """What becomes of records under a plan whose steps are all on records."""
    samples = samples_of(records)
    return decide(plan, samples, tables_of(plan.steps, samples))


def kept(operator: str, records: Sequence[Record], **options: Any) -> list[int]:
    """Indices of the records that a recipe with this one step keeps."""
    outcomes = verdicts_on(plan_of((operator, options)), records)
    return [number for number, verdict in enumerate(outcomes) if verdict.outcome == "kept"]
