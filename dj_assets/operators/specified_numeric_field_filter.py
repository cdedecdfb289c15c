"""Keeps samples by a number that a field of theirs holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from dj_assets.errors import NoValue
from dj_assets.operators._contract import MAX_INT, Bound, Operator, Params, Stat
from dj_assets.operators._fields import look_up, look_up_or_null
from dj_assets.operators._text import kind_of


class SpecifiedNumericFieldParams(Params):
    """Which field, and what is a number."""

    field_key: str = Field("", description="dotted name of a manifest field, such as meta.fps; empty: none is kept")
    data_juicer_zero: bool = Field(False, description="true: take 0 for no number, as Data-Juicer does; or false")

    def warnings(self) -> Sequence[str]:
        """Tells where upstream's number differs."""
        if not self.field_key:
            return ("field_key is empty: no sample has such a field, so none is kept, as in Data-Juicer",)
        if self.data_juicer_zero:
            return ("samples whose field is 0 are not kept, as Data-Juicer has it (data_juicer_zero)",)
        return ("0 is a number like any other; Data-Juicer drops samples that have it, unless data_juicer_zero: true",)


def judge(record: Mapping[str, Any], params: SpecifiedNumericFieldParams) -> tuple[float]:
    """The field as a number; a text that spells one counts. Raises `NoValue` where it is none."""
    value: Any = look_up(record, params.field_key) if params.field_key else None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (params.data_juicer_zero and not value):
        text = f" {value!r}" if isinstance(value, str | int | float) and len(repr(value)) <= 60 else ""
        raise NoValue(
            f"field {params.field_key!r} is {kind_of(value)}{text}",
            allowed="a finite number" + (" other than 0 (data_juicer_zero)" if params.data_juicer_zero else ""),
            try_="mend the record, or take the sample for dropped: it is not kept",
        )
    return (number,)


OPERATOR = Operator(
    name="specified_numeric_field_filter",
    version=1,
    summary="the number in a field, as the record has it",
    compute="record",
    params=SpecifiedNumericFieldParams,
    stats=(Stat("field_value", unit="units of the record", low=-math.inf),),
    bounds=(
        Bound("min_value", "field_value", "min", -MAX_INT, help="a number"),
        Bound("max_value", "field_value", "max", MAX_INT, help="a number"),
    ),
    judge=judge,
    fields=lambda params: [params.field_key],
    shown=lambda record, params: look_up_or_null(record, params.field_key),
    named=lambda params: params.field_key,
)
