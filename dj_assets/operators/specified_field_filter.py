"""Keeps samples whose field has one of some values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from dj_assets.errors import NoValue
from dj_assets.operators._contract import Operator, Params, flag
from dj_assets.operators._fields import listed, look_up, look_up_or_null

Scalar = str | int | float | bool | None


class SpecifiedFieldParams(Params):
    """Which field, and which values are wanted."""

    field_key: str = Field("", description="dotted name of a manifest field, such as meta.license; empty: none is kept")
    target_value: tuple[Scalar, ...] = Field(
        (), description="a list of texts, numbers, booleans, nulls; empty: all pass"
    )

    def warnings(self) -> Sequence[str]:
        """Tells of a step that asks for nothing."""
        if not self.field_key:
            return ("field_key is empty: no sample has such a field, so none is kept, as in Data-Juicer",)
        return () if self.target_value else ("target_value is empty: every sample passes",)


def judge(record: Mapping[str, Any], params: SpecifiedFieldParams) -> tuple[float]:
    """1 where the field's value, or each entry of a list, is one of those wanted. Raises `NoValue`."""
    if not params.field_key:
        raise NoValue("field_key is empty", allowed="the name of a field", try_="set it in the recipe")
    found = look_up(record, params.field_key)
    return (float(not params.target_value or all(value in params.target_value for value in listed(found))),)


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
