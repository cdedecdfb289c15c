"""Keeps samples whose fields meet a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from dj_assets.errors import NoValue
from dj_assets.operators._conditions import compares_with_null, compiled, names_in
from dj_assets.operators._contract import Operator, Params, flag


class GeneralFieldParams(Params):
    """The condition."""

    filter_condition: str = Field(
        "",
        description="comparisons (< <= > >= == != in, not in) of fields (num, __dj__meta__.a), texts, numbers and "
        "lists, joined by and, or, not; empty: all pass",
    )

    @field_validator("filter_condition")
    @classmethod
    def _can_be_read(cls, condition: str) -> str:
        if condition.strip():
            compiled(condition)
        return condition.strip()

    def warnings(self) -> Sequence[str]:
        """Tells of a condition that asks for nothing, or for what nothing meets."""
        if not self.filter_condition:
            return ("filter_condition is empty: every sample passes",)
        if compares_with_null(self.filter_condition):
            return (
                "a comparison with None is never true, as in Data-Juicer; a field that is not there counts as None",
            )
        return ()


def judge(record: Mapping[str, Any], params: GeneralFieldParams) -> tuple[float]:
    """1 where the condition holds. Raises `NoValue` where it compares what cannot be compared."""
    if not params.filter_condition:
        return (1.0,)
    try:
        return (float(bool(compiled(params.filter_condition)(record))),)
    except (TypeError, RecursionError) as error:
        raise NoValue(
            f"{params.filter_condition!r} cannot be answered: {error}",
            allowed="fields of the types that the condition compares",
            try_="mend the record, or name in the condition which samples it is about",
        ) from None


OPERATOR = Operator(
    name="general_field_filter",
    version=1,
    summary="whether a condition over the record's fields holds, 1 for yes",
    compute="record",
    params=GeneralFieldParams,
    stats=(flag("general_field_filter_condition"),),
    bounds=(),
    judge=judge,
    fields=lambda params: names_in(params.filter_condition) if params.filter_condition else [],
    ignored={"reversed_range": "Data-Juicer has none here: write not (…)"},
)
