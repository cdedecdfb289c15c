"""Keeps samples whose field has one of some values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from dj_assets.operators._contract import Operator, Params, flag
from dj_assets.operators._fields import listed, look_up, look_up_or_null

Scalar = str | int | float | bool | None


class SpecifiedFieldParams(Params):
    """Which field, and which values are wanted."""

    field_key: str = Field("", description="dotted name of a manifest field, such as meta.license; empty: all pass")
    target_value: tuple[Scalar, ...] = Field(
        (), description="a list of texts, numbers, booleans, nulls; empty: all pass"
    )

    def warnings(self) -> Sequence[str]:
        """Tells of a step that asks for nothing."""
        return (
            () if self.field_key and self.target_value else ("field_key or target_value is empty: every sample passes",)
        )


def judge(record: Mapping[str, Any], params: SpecifiedFieldParams) -> tuple[float]:
    """1 where the field's value, or each entry of a list, is one of those wanted."""
    if not params.field_key or not params.target_value:
        return (1.0,)
    return (float(all(value in params.target_value for value in listed(look_up(record, params.field_key)))),)


OPERATOR = Operator(
    name="specified_field_filter",
    version=1,
    summary="whether a field has one of the wanted values, 1 for yes",
    compute="record",
    params=SpecifiedFieldParams,
    stats=(flag("field_is_target"),),
    bounds=(),
    judge=judge,
    fields=lambda params: [params.field_key],
    shown=lambda record, params: look_up_or_null(record, params.field_key),
    named=lambda params: params.field_key,
)
